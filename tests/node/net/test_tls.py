"""A TLS socket by itself: what it promises to whoever counts bytes, and handshakes that never end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.config import Config
from node.log import Log
from node.net.peer import Peer
from node.net.reactor import Reactor
from node.net.tls import OWN_BYTES_MAX, BadTls, TlsContexts, TlsSettings, TlsSocket
from node.platform import Platform, Socket
from node.timers import Timers
from node.tls import HANDSHAKE_TIMEOUT_MS, HANDSHAKES_MAX, Tls
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    ca = Authority(tmp_path_factory.mktemp("certificates"))
    made = ca.issue("node")
    return {"cert_file": str(made.cert), "key_file": str(made.key), "ca_cert_file": str(ca.cert)}


def settings_of(files: dict[str, str], **changes: object) -> TlsSettings:
    unset = dict.fromkeys(
        "client_cert_file client_key_file client_key_file_pass key_file_pass ca_cert_dir dh_params_file "
        "protocols ciphers".split(),
        "",
    )
    more = {"auth_clients": "yes", "prefer_server_ciphers": False, "must_verify": False}
    return TlsSettings(**{**unset, **more, **files, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def contexts(files: dict[str, str]) -> TlsContexts:
    return TlsContexts(settings_of(files))


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends with little room in between."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ends


def received(sock: Socket, size: int = 65536) -> bytes:
    try:
        return sock.recv(size)
    except BlockingIOError:
        return b""


def shaken(contexts: TlsContexts, version: ssl.TLSVersion | None = None) -> tuple[TlsSocket, TlsSocket]:
    """(server's, client's) socket after the handshake, both sides of which only ever see what `recv` sees."""
    left, right = pair()
    server = TlsSocket(left, contexts.clients, server_side=True)
    client = TlsSocket(right, contexts.outgoing, server_side=False)
    with pytest.raises(BlockingIOError):
        client.send(b"too early")
    client._step()
    for _ in range(100):
        assert received(server) == received(client) == b""
        server.flush()
        client.flush()
        if server.is_ready and client.is_ready:
            return server, client
    raise AssertionError("they never agreed")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60_000), max_size=8), st.lists(st.integers(700, 30_000), min_size=1, max_size=8))
def test_every_byte_arrives_once_whatever_the_room(contexts: TlsContexts, sizes: list[int], reads: list[int]) -> None:
    """As the reactor does it: the front of what is left is offered until `send` says that it has gone."""
    server, client = shaken(contexts)
    sent = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    left, came, turn = bytearray(sent), bytearray(), 0
    while len(came) < len(sent):
        if left:
            with suppress(BlockingIOError):
                del left[: server.send(left)]
        came += received(client, reads[turn % len(reads)])
        turn += 1
    assert came == sent
    assert not left or server.send(left) == len(left)
    server.close()
    client.close()


def test_signs_of_life_are_no_part_of_what_follows(contexts: TlsContexts) -> None:
    server, client = shaken(contexts)
    for _ in range(500):
        client.send_soon(b"\n")
    came = bytearray(received(server))
    data = b"REPLCONF ACK 1\r\n"
    while data:
        came += received(server)
        with suppress(BlockingIOError):
            data = data[client.send(data) :]
    came += received(server)
    assert came.lstrip(b"\n") == b"REPLCONF ACK 1\r\n"


def test_an_end_is_told_after_the_last_bytes(contexts: TlsContexts) -> None:
    server, client = shaken(contexts)
    assert client.send(b"last") == 4
    client.close()
    assert server.recv(65536) == b"last"
    assert server.recv(65536) == b""
    assert server.recv(65536) == b""


def test_half_a_record_is_nothing_yet(contexts: TlsContexts) -> None:
    server, client = shaken(contexts)
    client._tls.write(b"word")
    record = client._outgoing.read()
    for at in range(len(record) - 1):
        client.below.send(record[at : at + 1])
        with pytest.raises(BlockingIOError):
            server.recv(65536)
    client.below.send(record[-1:] + b"\0")
    assert server.recv(65536) == b"word"


def test_who_makes_us_speak_and_does_not_listen_is_cut_off(contexts: TlsContexts) -> None:
    """A peer that only ever asks for answers of TLS itself: what waits for it is bounded."""
    server, client = shaken(contexts)
    server._outgoing.write(b"x" * (OWN_BYTES_MAX + 100_000))  # stands for answers to key updates
    client._tls.write(b"word")
    record = client._outgoing.read()
    client.below.send(record[:-1])
    with pytest.raises(ConnectionAbortedError):
        server.recv(65536)


def test_settings_that_make_no_sense(files: dict[str, str], tmp_path: Path) -> None:
    def refusal(**changes: object) -> str:
        with pytest.raises(BadTls) as refused:
            TlsContexts(settings_of(files, **changes))
        return str(refused.value)

    empty = tmp_path / "empty"
    empty.write_text("")
    assert refusal(cert_file=str(empty)).startswith(f"Failed to load certificate: {empty} with ")
    assert refusal(client_cert_file=str(empty), client_key_file=str(empty)).startswith("Failed to load certificate:")
    assert "no version may be missing in between" in refusal(protocols="TLSv1.1 TLSv1.3")
    assert refusal(protocols=" ").startswith("Invalid tls-protocols")
    assert TlsContexts(settings_of(files, auth_clients="no", ca_cert_file="")).clients.verify_mode == ssl.CERT_NONE
    assert refusal(auth_clients="no", ca_cert_file="", must_verify=True).startswith("Either tls-ca-cert-file")
    assert TlsContexts(settings_of(files, auth_clients="no", must_verify=True)).bus.verify_mode == ssl.CERT_REQUIRED


# --- handshakes ---------------------------------------------------------------------------------------------------


class Host:
    """A node with nothing but TLS, whose clock the test moves."""

    def __init__(self, files: dict[str, str]) -> None:
        self.platform = Platform()
        self.config = Config()
        self.lines: list[str] = []
        self.log = Log(self.platform, self.lines.append)
        self.now_ms = 0.0
        self.timers = Timers(lambda: self.now_ms)
        self.reactor = Reactor(self.platform)
        self.tls = Tls(self)
        for name, value in files.items():
            self.config.put("tls-" + name.replace("_", "-"), value)
        self.config.put("tls-port", 1)
        self.tls.configure()


@pytest.fixture
def host(files: dict[str, str]) -> Iterator[Host]:
    made = Host(files)
    yield made
    made.reactor.close()


def nobody(_sock: Socket) -> Peer | None:
    raise AssertionError("nobody has arrived")


def test_a_handshake_has_an_end(host: Host) -> None:
    ours, theirs = pair()
    host.tls.receive(ours, "addr=1 laddr=2", nobody)
    host.reactor.turn()
    host.now_ms = HANDSHAKE_TIMEOUT_MS - 1
    host.timers.run_due()
    host.reactor.turn()
    assert len(host.tls.arrivals) == 1
    host.now_ms += 2
    host.timers.run_due()
    host.reactor.turn()
    assert not host.tls.arrivals and not host.reactor.connections
    assert theirs.recv(10) == b""
    assert "the TLS handshake took too long (addr=1 laddr=2)" in host.lines[-1]


def test_only_so_many_shake_hands_at_a_time(host: Host) -> None:
    ends = [pair() for _ in range(20)]
    for ours, _ in ends:
        assert host.tls.has_room
        host.tls.receive(ours, "", nobody)
    host.tls.arrivals.update(object() for _ in range(HANDSHAKES_MAX - 20))  # type: ignore[misc]
    assert not host.tls.has_room
    ends[0][1].close()
    host.reactor.turn()
    assert host.tls.has_room


class Echo(Peer):
    def receive(self, data: bytes) -> None:
        self.out += data


def test_the_first_words_may_come_with_the_end_of_the_handshake(host: Host) -> None:
    """The reply leaves in the same batch, from whoever took the connection over."""
    assert host.tls.contexts is not None
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    client = TlsSocket(theirs, host.tls.contexts.outgoing, server_side=False)

    def welcome(sock: Socket) -> Peer:
        echo = Echo()
        host.reactor.add(sock, echo)
        return echo

    host.tls.receive(ours, "", welcome)
    client._step()
    host.reactor.turn()
    client._incoming.write(theirs.recv(65536))
    client._tls.do_handshake()
    client._tls.write(b"first")
    client.below.send(client._outgoing.read())
    client.is_ready = True
    host.reactor.turn()
    assert received(client) == b"first"
    client.close()
    host.reactor.turn()
    assert not host.reactor.connections
