"""What comes to a live node's bus, or lies in its nodes.conf, may be anything: no crash, no hang, clients unharmed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gossip.packet import (
    AUTH_ACK,
    AUTH_REQUEST,
    FAIL,
    MEET,
    MFSTART,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    UPDATE,
    Failed,
    Gossip,
    GossipEntry,
    Packet,
    Publish,
    Update,
    encode,
)
from tests.bench.measuring import resident_bytes
from tests.support import HexadServer, wait_until
from tests.support.servers import Server
from tests.support.wire import Wire

GROWTH_BYTES_MAX = 40 << 20
PONG_WITHIN_S = 1.0


@pytest.fixture(scope="module")
def two() -> Iterator[list[Server]]:
    """Two primaries that share the slots."""
    options = {"cluster_enabled": "yes", "cluster_node_timeout": 5000}
    with HexadServer(**options) as a, HexadServer(**options) as b:
        with a.wire() as at_a, b.wire() as at_b:
            at_a("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            at_b("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            at_a("CLUSTER", "MEET", "127.0.0.1", b.port)
            for wire in (at_a, at_b):
                wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 15, "ok")
        yield [a, b]


def bus(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port + 10000), timeout=2)


def is_well(server: Server, wire: Wire) -> None:
    """It answers at once, and its cluster is whole."""
    started = time.monotonic()
    assert wire("PING") == "PONG"
    assert time.monotonic() - started < PONG_WITHIN_S
    wait_until(lambda: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 15, "its cluster is whole")
    assert server.process is not None and server.process.poll() is None


def packets(sender: str, other: str) -> list[bytes]:
    """One good packet of each kind, as if a known node had sent it."""
    entries = tuple(GossipEntry(f"{n:040x}", 1, 2, "127.0.0.1", 7, 8, PRIMARY) for n in range(3))
    bodies = {
        PING: Gossip(entries), PONG: Gossip(()), MEET: Gossip(entries), FAIL: Failed(other),
        PUBLISH: Publish(b"channel", b"message"), AUTH_REQUEST: None, AUTH_ACK: None, MFSTART: None,
        UPDATE: Update(1, other, bytes(2048)),
    }  # fmt: skip
    return [encode(Packet(kind, sender, 1, 2, PRIMARY, 1, 1, body=body)) for kind, body in bodies.items()]


def mutated(rng: Random, packet: bytes) -> bytes:
    """A packet with some bytes changed, most often in its header, where they matter most."""
    out = bytearray(packet)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(rng.choice((16, 100, 2256, len(out))))
        out[min(at, len(out) - 1)] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(out)


def throw(server: Server, data: bytes) -> None:
    """Send it to the bus, whatever happens to the connection."""
    with contextlib.suppress(OSError), bus(server) as sock:
        sock.settimeout(0.2)
        sock.sendall(data)
        sock.recv(1 << 16)


def test_random_bytes_and_half_packets(two: list[Server]) -> None:
    rng = Random(1)
    with two[0].wire() as wire, two[1].wire() as other:
        whole = packets(other("CLUSTER", "MYID").decode(), wire("CLUSTER", "MYID").decode())
        for _ in range(30):
            throw(two[0], rng.randbytes(rng.choice((1, 8, 2256, 5000))))
        for packet in whole:
            for length in (0, 4, 8, 2255, len(packet) - 1):
                with contextlib.suppress(OSError), bus(two[0]) as sock:
                    sock.sendall(packet[:length])
        is_well(two[0], wire)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_packets_of_strangers(two: list[Server], seed: int) -> None:
    """From a sender that nobody knows: nothing of it may be believed."""
    rng = Random(seed)
    with two[0].wire() as wire:
        whole = packets("ab" * 20, wire("CLUSTER", "MYID").decode())
        before = resident_bytes(two[0].pid)
        for _ in range(40):
            throw(two[0], b"".join(mutated(rng, rng.choice(whole)) for _ in range(5)))
        is_well(two[0], wire)
        assert resident_bytes(two[0].pid) - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("seed", range(3))
def test_mutated_packets_of_a_known_node(two: list[Server], seed: int) -> None:
    """What a known node says is believed, so roles and slots may change: the node must live and answer clients."""
    rng = Random(seed)
    options = {"cluster_enabled": "yes", "cluster_node_timeout": 5000}
    with HexadServer(**options) as node, HexadServer(**options) as known, node.wire() as wire, known.wire() as other:
        wire("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wire("CLUSTER", "MEET", "127.0.0.1", known.port)
        theirs = other("CLUSTER", "MYID")
        wait_until(lambda: theirs in wire("CLUSTER", "NODES"), 10, "they know each other")
        known.kill()
        whole = packets(theirs.decode(), wire("CLUSTER", "MYID").decode())
        for _ in range(40):
            throw(node, b"".join(mutated(rng, rng.choice(whole)) for _ in range(5)))
        assert wire("PING") == "PONG"
        assert b"cluster_known_nodes" in wire("CLUSTER", "INFO")
        assert node.stop() == 0
        assert "BUG REPORT" not in node.log()


def test_a_flood_and_a_crowd_that_says_nothing(two: list[Server]) -> None:
    with two[0].wire() as wire, contextlib.ExitStack() as stack:
        before = resident_bytes(two[0].pid)
        for _ in range(200):
            stack.enter_context(bus(two[0]))
        ping = packets("cd" * 20, "ef" * 20)[0]
        flood = stack.enter_context(bus(two[0]))
        flood.settimeout(0.5)
        with contextlib.suppress(OSError):  # it never reads the answers
            for _ in range(2000):
                flood.sendall(ping)
        is_well(two[0], wire)
        assert resident_bytes(two[0].pid) - before < GROWTH_BYTES_MAX
    with two[0].wire() as wire:
        is_well(two[0], wire)


# ---- nodes.conf ------------------------------------------------------------------------------------------------------


def written(directory: Path) -> bytes:
    """A nodes.conf of a node that knows others and has open slots."""
    with HexadServer(cluster_enabled="yes", directory=directory) as server, server.wire() as wire:
        with HexadServer(cluster_enabled="yes") as other, other.wire() as there:
            theirs = there("CLUSTER", "MYID").decode()
            wire("CLUSTER", "ADDSLOTSRANGE", 0, 99)
            wire("CLUSTER", "MEET", "127.0.0.1", other.port)
            wait_until(lambda: theirs.encode() in wire("CLUSTER", "NODES"), 10, "they know each other")
            wire("CLUSTER", "SETSLOT", 7, "MIGRATING", theirs)
            server.stop()
    return (directory / "nodes.conf").read_bytes()


def starts_or_says_why(directory: Path, content: bytes) -> None:
    (directory / "nodes.conf").write_bytes(content)
    server = HexadServer(cluster_enabled="yes", directory=directory)
    server.log_path.unlink(missing_ok=True)
    with contextlib.closing(server):
        server.start(wait=False)
        assert server.process is not None
        process = server.process
        wait_until(lambda: process.poll() is not None or "Ready to accept" in server.log(), 15, "start or end")
        if process.poll() is None:
            assert server.stop() == 0
        else:
            assert process.returncode == 1
            assert "nodes.conf" in server.log() and "Traceback" not in server.log(), server.log()
            assert (directory / "nodes.conf").read_bytes() == content  # nothing is lost


def truncations(directory: Path, step: int) -> None:
    whole = written(directory)
    for length in range(1, len(whole), step):
        starts_or_says_why(directory, whole[:length])


def test_a_truncated_nodes_conf(tmp_path: Path) -> None:
    truncations(tmp_path, 131)


@pytest.mark.proof
def test_a_nodes_conf_truncated_at_every_byte(tmp_path: Path) -> None:
    truncations(tmp_path, 1)


def test_a_nodes_conf_that_cannot_be_written_ends_the_node(tmp_path: Path) -> None:
    """Whatever would be promised on top of it could be forgotten: so the node says why and ends, as Redis does."""
    directory, gone = tmp_path / "node", tmp_path / "gone"
    directory.mkdir()
    server = HexadServer(cluster_enabled="yes", directory=directory)
    with server:
        with server.wire() as wire:
            assert wire("CLUSTER", "ADDSLOTS", 1) == "OK"
            before = (directory / "nodes.conf").read_bytes()
            shutil.move(directory, gone)
            with contextlib.suppress(OSError):
                wire("CLUSTER", "ADDSLOTS", 2)
        assert server.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(10)
        assert server.process.returncode == 1
        log = (gone / "server.log").read_text()
        assert "Fatal: can't update cluster config file" in log and "BUG REPORT" not in log, log
        assert (gone / "nodes.conf").read_bytes() == before
