"""How nodes are reached from the command line: addresses, credentials, TLS, and the options that say so."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from node.platform import Platform, Socket

Address = tuple[str, int]
Dial = Callable[[str, int], Awaitable[Socket]]
PASSWORD_VARIABLES = ("HEXAD_PASSWORD", "REDISCLI_AUTH")


# ---- addresses -------------------------------------------------------------------------------------------------------


def show(address: Address) -> str:
    """An address for people and for command lines."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(text: str) -> Address:
    """The address in "host:port" or "[ip]:port". Raises ValueError that says what is wrong."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host, int(port)


# ---- who we are ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to every node, and who it is to us."""

    user: str = ""
    password: str = ""
    tls: bool = False
    ca_cert_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False

    @property
    def auth(self) -> list[str]:
        """The words behind AUTH; empty for none."""
        if not self.password:
            return []
        return [self.user, self.password] if self.user else [self.password]


def tls_dial(platform: Platform, mine: Credentials) -> Dial:
    """Opens connections by TLS. Raises OSError if the certificates cannot be used."""
    from node.net.tls import BadTls, TlsSocket, caller_context

    try:
        context = caller_context(mine.ca_cert_file, mine.cert_file, mine.key_file, verify=not mine.insecure)
    except BadTls as error:
        raise OSError(f"--tls: {error}") from error

    async def dial(host: str, port: int) -> Socket:
        sock = TlsSocket(await platform.connect_tcp(host, port), context, server_side=False)
        try:
            await sock.shake_hands(platform)
        except BaseException:
            sock.close()
            raise
        return sock

    return dial


# ---- options ---------------------------------------------------------------------------------------------------------


def add_reach(made: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options that say how nodes are reached; `credentials_of` reads them."""
    reach = made.add_argument_group("how nodes are reached")
    reach.add_argument("--user", default="", metavar="NAME", help="who we are")
    reach.add_argument("--password", default="", metavar="PASSWORD", help="safer: HEXAD_PASSWORD, REDISCLI_AUTH")
    reach.add_argument("--timeout-ms", type=positive, default=5000, metavar="MS", help="for an answer (5000)")
    reach.add_argument("--tls", action="store_true", help="connect by TLS")
    reach.add_argument("--cacert", default="", metavar="FILE", help="the CA whose certificates are believed")
    reach.add_argument("--cert", default="", metavar="FILE", help="our certificate, if nodes want one")
    reach.add_argument("--key", default="", metavar="FILE", help="its private key")
    reach.add_argument("--insecure", action="store_true", help="believe any certificate")
    return reach


def credentials_of(wanted: argparse.Namespace, platform: Platform) -> Credentials:
    """What the options say; the password may stand in the environment."""
    known = next(filter(None, map(platform.environment, PASSWORD_VARIABLES)), "")
    password = wanted.password or known
    return Credentials(wanted.user, password, wanted.tls, wanted.cacert, wanted.cert, wanted.key, wanted.insecure)


def address(text: str) -> Address:
    """The type of an argument that is an address."""
    try:
        return address_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    """The type of an argument that is a number above 0."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)
