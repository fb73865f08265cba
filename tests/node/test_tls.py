"""TLS as clients and operators meet it: genuine programs against our port, mutual trust, and certificates renewed."""

from __future__ import annotations

import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support import HexadServer, RedisServer, Server, Wire, encode, wait_until
from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port

ALIVE_S = 10.0


class Trust:
    """A CA with a server's and a client's certificate, and a CA that nobody trusts."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.strange = Authority(directory), Authority(directory, "strange-ca")
        self.server, self.client = self.ca.issue("server"), self.ca.issue("client")
        self.stranger = self.strange.issue("stranger")
        self.expired = self.ca.issue("expired", days=-1)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(tmp_path_factory.mktemp("certificates"))


def serving(kind: type[Server], trust: Trust, **options: str | int) -> Server:
    return kind(**{"tls_port": free_port(), **trust.server.options(trust.ca), **options})


@pytest.fixture(scope="module")
def ours(trust: Trust) -> Iterator[Server]:
    with serving(HexadServer, trust) as server:
        yield server


def tls_port(server: Server) -> int:
    return int(str(server.options["tls_port"]))


def wire_to(server: Server, trust: Trust, shown: Certificate | None = None, **settings: object) -> Wire:
    context = trust.ca.client_context(shown or trust.client)
    return Wire(tls_port(server), "localhost", tls=context, **settings)


def cli(server: Server, *words: str) -> str:
    command = ["redis-cli", "-p", str(tls_port(server)), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=ALIVE_S).stdout.strip()


# --- programs -----------------------------------------------------------------------------------------------------


def test_redis_cli_and_benchmark(ours: Server, trust: Trust) -> None:
    shown = trust.client.words(trust.ca)
    assert cli(ours, *shown, "PING") == "PONG"
    load = ["redis-benchmark", "-p", str(tls_port(ours)), *shown, "-c", "20", "-n", "2000", "-t", "set,get", "-q"]
    assert subprocess.run(load, capture_output=True, timeout=60).returncode == 0


def test_redis_py(ours: Server, trust: Trust) -> None:
    with redis.Redis(
        "localhost",
        tls_port(ours),
        ssl=True,
        ssl_ca_certs=str(trust.ca.cert),
        ssl_certfile=str(trust.client.cert),
        ssl_keyfile=str(trust.client.key),
    ) as client:
        client.set("name", "value")
        assert client.get("name") == b"value"
        assert client.info("server")["listener1"]["name"] == "tls"


def test_openssl(ours: Server, trust: Trust) -> None:
    files = ["-CAfile", trust.ca.cert, "-cert", trust.client.cert, "-key", trust.client.key]
    command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{tls_port(ours)}", *map(str, files)]
    talked = subprocess.run(command, input=b"PING\r\nQUIT\r\n", capture_output=True, timeout=ALIVE_S)
    assert talked.stdout == b"+PONG\r\n+OK\r\n"


def test_a_goodbye_right_behind_the_last_request(ours: Server, trust: Trust) -> None:
    """Both come in one read: the request is answered, and then the connection ends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.ca.client_context(trust.client).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", tls_port(ours)), ALIVE_S) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(encode("PING"))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())
        while data := sock.recv(65536):
            incoming.write(data)
        assert tls.read() == b"+PONG\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(ours: Server, trust: Trust, version: ssl.TLSVersion) -> None:
    context = trust.ca.client_context(trust.client)
    context.minimum_version = context.maximum_version = version
    with Wire(tls_port(ours), "localhost", tls=context) as wire:
        assert wire("ECHO", "x" * 100_000) == b"x" * 100_000


def test_protocols_and_ciphers_are_those_of_the_configuration(trust: Trust) -> None:
    chosen = {"tls_protocols": "TLSv1.2", "tls_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384", "tls_auth_clients": "no"}
    with serving(HexadServer, trust, **chosen) as server:
        with wire_to(server, trust) as wire:
            assert isinstance(wire.socket, ssl.SSLSocket)
            assert wire.socket.version() == "TLSv1.2"
            assert (wire.socket.cipher() or ("",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        modern = trust.ca.client_context()
        modern.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(ssl.SSLError):
            Wire(tls_port(server), "localhost", tls=modern)


# --- who may come -------------------------------------------------------------------------------------------------


def may_come(server: Server, context: ssl.SSLContext) -> bool:
    """A refusal reaches a client of TLS 1.3 only with its first read."""
    try:
        with Wire(tls_port(server), "localhost", tls=context) as wire:
            return bool(wire("PING") == "PONG")
    except OSError:
        return False


@pytest.mark.parametrize("kind", [HexadServer, RedisServer])
def test_who_may_come(trust: Trust, kind: type[Server]) -> None:
    """Ours and Redis's must agree: (trusted, none, of a strange CA, expired) for each setting."""
    contexts = [trust.ca.client_context(shown) for shown in (trust.client, None, trust.stranger, trust.expired)]
    wanted = {"yes": "1000", "optional": "1100", "no": "1111"}
    with serving(kind, trust) as server, server.wire() as plain:
        for setting, pattern in wanted.items():
            assert plain("CONFIG", "SET", "tls-auth-clients", setting) == "OK"
            assert "".join(str(int(may_come(server, context))) for context in contexts) == pattern, setting
        assert plain("PING") == "PONG"


def test_a_client_that_does_not_trust_us(ours: Server, trust: Trust) -> None:
    with pytest.raises(ssl.SSLError, match=r"self.signed|unable to get"):
        Wire(tls_port(ours), "localhost", tls=trust.strange.client_context(trust.client))
    ours.wait_for_log("Error accepting a client connection: SSL routines::.*unknown ca.* \\(addr=.*laddr=.*\\)")
    assert may_come(ours, trust.ca.client_context(trust.client))


def test_an_expired_certificate_of_ours(trust: Trust) -> None:
    with serving(HexadServer, trust, **trust.expired.options(trust.ca)) as server, server.wire() as plain:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            wire_to(server, trust)
        assert plain("PING") == "PONG"


@pytest.mark.parametrize("kind", [HexadServer, RedisServer])
def test_no_handshake_where_there_is_no_room(trust: Trust, kind: type[Server]) -> None:
    with serving(kind, trust, maxclients=1) as server:
        first = wait_until(lambda: wire_to(server, trust), ALIVE_S, "whoever asked whether it runs has left")
        with first as wire:
            assert wire("PING") == "PONG"
            with pytest.raises(OSError):
                wire_to(server, trust)
            assert wire.info("stats")["rejected_connections"] != "0"


def test_a_password_and_a_push_from_others(trust: Trust) -> None:
    """What comes outside of a client's own turn leaves as well."""
    with serving(HexadServer, trust, requirepass="secret") as server:
        with wire_to(server, trust) as stranger, server.wire() as plain:
            assert stranger("PING").code == "NOAUTH"
            assert stranger("AUTH", "secret") == "OK"
            stranger.send("BLPOP", "list", 0)
            wait_until(lambda: b"cmd=blpop" in plain("CLIENT", "LIST"), ALIVE_S, "it waits")
            assert plain("RPUSH", "list", "x" * 40_000) == 1
            assert stranger.read() == [b"list", b"x" * 40_000]
            assert stranger("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
            assert plain("PUBLISH", "news", "today") == 1
            assert stranger.read() == [b"message", b"news", b"today"]


# --- what goes wrong ----------------------------------------------------------------------------------------------


def closed_by(server: Server, data: bytes) -> bool:
    with Wire(tls_port(server)) as wire:
        wire.send_raw(data)
        return wire.is_closed()


def test_plain_bytes_close_only_their_connection(ours: Server, trust: Trust) -> None:
    with wire_to(ours, trust) as wire:
        assert wire("PING") == "PONG"
        assert closed_by(ours, encode("PING"))
        assert closed_by(ours, b"GET / HTTP/1.0\r\n\r\n")
        assert wire("PING") == "PONG"


@pytest.mark.parametrize("rounds", [150, pytest.param(5000, marks=pytest.mark.long)])
def test_random_bytes(ours: Server, trust: Trust, rounds: int) -> None:
    """Noise, pieces of a handshake, and a good handshake with noise behind it: only their connections end."""
    luck = random.Random(7)
    hello = client_hello(trust)
    with wire_to(ours, trust) as wire:
        for _ in range(rounds):
            data = bytearray(luck.choice((hello, luck.randbytes(luck.randrange(1, 400)))))
            for _ in range(luck.randrange(4)):
                data[luck.randrange(len(data))] = luck.randrange(256)
            with socket.create_connection(("127.0.0.1", tls_port(ours)), ALIVE_S) as sock:
                sock.sendall(data[: luck.randrange(1, len(data) + 1)])
        assert wire("PING") == "PONG"
        for _ in range(10):
            with wire_to(ours, trust) as victim:
                assert victim("PING") == "PONG"
                assert isinstance(victim.socket, ssl.SSLSocket)
                with socket.socket(fileno=victim.socket.detach()) as raw:
                    raw.sendall(luck.randbytes(100))
        assert wire("PING") == "PONG"
    with ours.wire() as plain:
        wait_until(lambda: plain.info("clients")["connected_clients"] == "1", ALIVE_S, "all of them are gone")


def client_hello(trust: Trust) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = trust.ca.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_an_end_without_goodbye(ours: Server, trust: Trust) -> None:
    with ours.wire() as plain, wire_to(ours, trust) as wire:
        assert wire("CLIENT", "SETNAME", "gone") == "OK"
        assert isinstance(wire.socket, ssl.SSLSocket)
        with socket.socket(fileno=wire.socket.detach()) as raw:
            raw.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: b"name=gone" not in plain("CLIENT", "LIST"), ALIVE_S, "the client is gone")


def test_a_blocked_client_that_leaves(ours: Server, trust: Trust) -> None:
    with ours.wire() as plain:
        with wire_to(ours, trust) as wire:
            wire.send("BLPOP", "nothing", 0)
            wait_until(lambda: b"cmd=blpop" in plain("CLIENT", "LIST"), ALIVE_S, "it waits")
        wait_until(lambda: b"cmd=blpop" not in plain("CLIENT", "LIST"), ALIVE_S, "it is gone")


# --- much ---------------------------------------------------------------------------------------------------------


def test_big_values_and_long_pipelines(ours: Server, trust: Trust) -> None:
    value = random.Random(1).randbytes(12_000_000)
    with wire_to(ours, trust) as wire:
        assert wire("SET", "big", value) == "OK"
        assert wire("GET", "big") == value
        assert wire.pipeline([("ECHO", str(number)) for number in range(5000)]) == [
            b"%d" % number for number in range(5000)
        ]
        assert wire("DEL", "big") == 1


def test_a_slow_reader_meets_the_output_limit(ours: Server, trust: Trust) -> None:
    with ours.wire() as plain, wire_to(ours, trust) as slow:
        assert plain("SET", "large", b"x" * 1_000_000) == "OK"
        assert plain("CONFIG", "SET", "client-output-buffer-limit", "normal 30mb 0 0") == "OK"
        assert slow("CLIENT", "SETNAME", "slow") == "OK"
        slow.send_raw(encode("GET", "large") * 10)
        wait_until(lambda: b"name=slow" in (line := plain("CLIENT", "LIST")) and b"events=rw" in line, 10, "it is full")
        fields = next(line for line in plain("CLIENT", "LIST").split(b"\n") if b"name=slow" in line)
        assert int(fields.partition(b" omem=")[2].split()[0]) > 3_000_000
        slow.send_raw(encode("GET", "large") * 60)
        wait_until(lambda: b"name=slow" not in plain("CLIENT", "LIST"), ALIVE_S, "it was closed")
        ours.wait_for_log("name=slow.*overcoming of output buffer limits")
        assert plain("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0") == "OK"


# --- settings -----------------------------------------------------------------------------------------------------


def shown_name(server: Server, trust: Trust) -> str:
    with wire_to(server, trust) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        return dict(pair for (pair,) in (wire.socket.getpeercert() or {})["subject"])["commonName"]


def test_certificates_are_renewed_without_dropping_clients(trust: Trust, tmp_path: Path) -> None:
    cert, key = tmp_path / "now.crt", tmp_path / "now.key"

    def put(what: Certificate) -> None:
        shutil.copy(what.cert, cert)
        shutil.copy(what.key, key)

    put(trust.server)
    with serving(HexadServer, trust, tls_cert_file=str(cert), tls_key_file=str(key)) as server:
        with wire_to(server, trust) as old, server.wire() as plain:
            assert shown_name(server, trust) == "server"
            put(trust.client)
            assert shown_name(server, trust) == "server"
            assert plain("CONFIG", "SET", "tls-cert-file", str(cert)) == "OK"  # the same name, other content
            assert shown_name(server, trust) == "client"
            pair = ("tls-cert-file", str(trust.server.cert), "tls-key-file", str(trust.server.key))
            assert plain("CONFIG", "SET", *pair) == "OK"
            assert shown_name(server, trust) == "server"
            cert.write_text("no certificate")
            refused = plain("CONFIG", "SET", "tls-cert-file", str(cert), "tls-key-file", str(key))
            assert "Unable to update TLS configuration. Check server logs." in refused.text
            assert plain("CONFIG", "GET", "tls-cert-file") == [b"tls-cert-file", str(trust.server.cert).encode()]
            assert shown_name(server, trust) == "server"
            assert old("PING") == "PONG"


def test_refusals_beside_redis(trust: Trust) -> None:
    """The same replies; the log's lines say the same, but for OpenSSL's own words."""
    with serving(HexadServer, trust) as ours, serving(RedisServer, trust) as theirs:
        for name, value in (
            ("tls-cert-file", "/not-there"),
            ("tls-cert-file", str(trust.client.cert)),
            ("tls-key-file", "/not-there"),
            ("tls-ca-cert-file", "/not-there"),
            ("tls-ca-cert-file", ""),
            ("tls-ciphers", "no-such-cipher"),
            ("tls-protocols", "SSLv2"),
            ("tls-protocols", "tlsv1.2 TLSv1.3"),
            ("tls-auth-clients", "perhaps"),
            ("tls-auth-clients", "optional"),
            ("tls-dh-params-file", str(trust.server.cert)),
            ("tls-prefer-server-ciphers", "yes"),
            ("tls-port", "0"),
        ):
            with ours.wire() as mine, theirs.wire() as his:
                replies = mine("CONFIG", "SET", name, value), his("CONFIG", "SET", name, value)
                assert replies[0] == replies[1], (name, value)
        for words in ("Failed to load certificate: /not-there", "Failed to configure ciphers: no-such-cipher",
                      "Failed to configure CA certificate.s. file/directory: ", "Invalid tls-protocols specified.",
                      "Either tls-ca-cert-file or tls-ca-cert-dir must be", "failed to read DH params"):  # fmt: skip
            assert ours.wait_for_log(words) and theirs.wait_for_log(words)


@pytest.mark.parametrize("missing", ["tls_cert_file", "tls_key_file", "tls_ca_cert_file"])
def test_starts_that_fail(trust: Trust, missing: str) -> None:
    ends = []
    for kind in (HexadServer, RedisServer):
        server = serving(kind, trust, **{missing: ""})
        ended = subprocess.run(server.command_line(), capture_output=True, text=True, timeout=ALIVE_S, cwd=".")
        ends.append((ended.returncode, [line.partition(" # ")[2] for line in ended.stdout.splitlines()[-2:]]))
        server.close()
    assert ends[0] == ends[1] and ends[0][0] == 1, ends
    assert ends[0][1][1] == "Failed to configure TLS. Check logs for more info."


def test_keys_with_passwords_and_a_port_that_comes_later(trust: Trust) -> None:
    locked = trust.ca.issue("locked", password="sesame")
    with HexadServer(**locked.options(trust.ca)) as server, server.wire() as plain:
        port = free_port()
        assert plain("CONFIG", "SET", "tls-port", port).code == "ERR"
        assert plain("CONFIG", "SET", "tls-key-file-pass", "sesame", "tls-port", port) == "OK"
        server.options["tls_port"] = port
        assert shown_name(server, trust) == "locked"
        assert plain("CONFIG", "SET", "tls-port", 0) == "OK"
        with pytest.raises(ConnectionRefusedError):
            wire_to(server, trust)
        assert plain("PING") == "PONG"


def test_a_node_without_tls_does_not_load_it() -> None:
    check = "import sys, node.app; print('node.net.tls' in sys.modules)"
    ended = subprocess.run([HexadServer.program[0], "-c", check], capture_output=True, text=True, timeout=ALIVE_S)
    assert ended.stdout.strip() == "False", ended.stderr
