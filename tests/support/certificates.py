"""Certificates for tests, made by the openssl program: a CA, and what it signs.

ca = Authority(directory)
server = ca.issue("server")           # files: server.crt, server.key
context = ca.client_context(server)   # for a Python client that shows this certificate
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
"""Small keys: they are made, and used in handshakes, in a millisecond."""


def openssl(*words: str | Path) -> None:
    made = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key."""

    cert: Path
    key: Path

    def options(self, ca: Authority) -> dict[str, str]:
        """A server's directives, in the form of `tests.support.servers`."""
        return {"tls_cert_file": str(self.cert), "tls_key_file": str(self.key), "tls_ca_cert_file": str(ca.cert)}

    def words(self, ca: Authority) -> list[str]:
        """The arguments of redis-cli and redis-benchmark."""
        return ["--tls", "--cacert", str(ca.cert), "--cert", str(self.cert), "--key", str(self.key)]


class Authority:
    """A CA with its files in a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.cert, self.key = directory / f"{name}.crt", directory / f"{name}.key"
        days = ["-days", "2", "-subj", f"/CN={name}"]
        openssl("req", "-x509", *CURVE, "-nodes", "-keyout", self.key, "-out", self.cert, *days)

    def issue(self, name: str, *, password: str = "", days: int = 2) -> Certificate:
        """A certificate for localhost; with `days=-1` it has expired."""
        made = Certificate(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request = self.directory / f"{name}.csr"
        secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        openssl("req", *CURVE, *secret, "-keyout", made.key, "-out", request, *names)
        issuer = ["-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-copy_extensions", "copy"]
        openssl("x509", "-req", "-in", request, *issuer, "-out", made.cert, "-days", str(days))
        return made

    def client_context(self, shown: Certificate | None = None) -> ssl.SSLContext:
        """A client's context that trusts this CA alone."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if shown is not None:
            context.load_cert_chain(shown.cert, shown.key)
        return context
