"""MIGRATE beside a real redis-server, as source and as target, and what other clients may do meanwhile."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from node.migration import CHUNK_BYTES, GUARDED_MS
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.ports import free_port
from tests.support.servers import Server
from tests.support.wire import ReplyError, Wire

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server, Server]]:
    """Our node, a real one, and a real one with a password as target of both."""
    with (
        HexadServer(repl_diskless_sync_delay=0) as ours,
        RedisServer() as theirs,
        RedisServer(requirepass="secret") as target,
    ):
        yield ours, theirs, target


@pytest.fixture
def wires(servers: tuple[Server, Server, Server]) -> Iterator[tuple[Wire, Wire, Wire]]:
    ours, theirs, target = servers
    with ours.wire() as mine, theirs.wire() as his, target.wire() as there:
        for wire in (mine, his, there):
            wire("FLUSHALL")
        yield mine, his, there


def both(mine: Wire, his: Wire, *words: str | int) -> tuple[Any, Any]:
    return mine(*words), his(*words)


DEAD_PORT = free_port()

BAD = [
    "MIGRATE",
    "MIGRATE {h} {p} k 0",
    "MIGRATE {h} {p} k 0 x",
    "MIGRATE {h} {p} k x 100",
    "MIGRATE {h} {p} k 0 100 NONSENSE",
    "MIGRATE {h} {p} k 0 100 AUTH",
    "MIGRATE {h} {p} k 0 100 AUTH2 user",
    "MIGRATE {h} {p} k 0 100 KEYS a",
    "MIGRATE {h} {p} missing 0 100",
    "MIGRATE {h} {p} missing 0 100 COPY REPLACE AUTH secret",
    "MIGRATE {h} {p} k 0 1000",
    "MIGRATE {h} {p} k 0 1000 AUTH wrong",
    "MIGRATE {h} {p} k 0 1000 AUTH2 nobody secret",
    "MIGRATE {h} {p} k 99 1000 AUTH secret",
    "MIGRATE {h} {p} k 4000000000 1000 AUTH secret",
    "MIGRATE {h} {p} there 0 1000 AUTH secret",
    "MIGRATE {h} {d} k 0 100",
    "MIGRATE {h} port k 0 100",
    "MIGRATE {h} 70000 k 0 100",
    "MIGRATE {h} {p} k 0 -5 AUTH secret COPY",
]


@pytest.mark.parametrize("line", BAD)
def test_replies_and_errors_are_redis_s(wires: tuple[Wire, Wire, Wire], servers: Any, line: str) -> None:
    mine, his, there = wires
    there("SET", "there", "old")
    for wire in (mine, his):
        wire("SET", "k", "v")
        wire("SET", "there", "new")
    words = line.format(h=HOST, p=servers[2].port, d=DEAD_PORT).split()
    reply = mine(*words)
    left = mine("EXISTS", "k"), mine("EXISTS", "there")
    there("DEL", "k")
    assert reply == his(*words)
    assert left == (his("EXISTS", "k"), his("EXISTS", "there"))


def test_keys_move_with_their_deadlines_and_what_is_there_stays_unless_replaced(
    wires: tuple[Wire, Wire, Wire], servers: Any
) -> None:
    mine, his, there = wires
    for wire in (mine, his):
        there("FLUSHALL")
        there("SET", "b", "old")
        wire("MSET", "a", "1", "b", "2", "c", "x" * 100_000, "d", "x" * 100_000)
        wire("PEXPIRE", "c", 100_000)
        words = ["MIGRATE", HOST, servers[2].port, "", 0, 5000, "AUTH2", "default", "secret", "KEYS"]
        reply = wire(*words, "a", "b", "c", "none", "d")
        assert reply == ReplyError("ERR Target instance replied with error: BUSYKEY Target key name already exists.")
        assert wire("KEYS", "*") == [b"b"]
        assert there("MGET", "a", "b") == [b"1", b"old"] and there("STRLEN", "d") == 100_000
        assert 90_000 < there("PTTL", "c") <= 100_000 and there("PTTL", "a") == -1
        assert wire(*words[:6], "COPY", "REPLACE", *words[6:], "b") == "OK"
        assert wire("GET", "b") == there("GET", "b") == b"2"
        assert wire(*words[:4], 3, *words[5:6], "REPLACE", *words[6:], "b") == "OK"
        assert wire("DBSIZE") == 0
        there("SELECT", 3)
        assert there("GET", "b") == b"2"
        there("SELECT", 0)
        told = wire.info("commandstats")["cmdstat_migrate"]
        assert ",usec=0," not in told and "failed_calls=1" in told


def test_a_connection_is_kept_and_a_closed_one_is_opened_anew(
    wires: tuple[Wire, Wire, Wire], servers: tuple[Server, Server, Server]
) -> None:
    mine, _, there = wires
    words = ("MIGRATE", HOST, servers[2].port, "k", 0, 1000, "REPLACE", "AUTH", "secret")
    for _ in range(2):
        mine("SET", "k", "v")
        assert mine(*words) == "OK"
        assert mine.info("stats")["migrate_cached_sockets"] == "1"
        there("CLIENT", "KILL", "TYPE", "normal")
    assert mine("GET", "k") is None and there("GET", "k") == b"v"


def test_replicas_hear_of_a_deletion(wires: tuple[Wire, Wire, Wire], servers: tuple[Server, Server, Server]) -> None:
    mine = wires[0]
    with RedisServer(replicaof=(HOST, str(servers[0].port))) as replica, replica.wire() as at:
        mine("MSET", "a", 1, "b", 2)
        wait_until(lambda: at("GET", "b") == b"2", 10, "it is synchronized")
        assert mine("MIGRATE", HOST, servers[2].port, "", 0, 1000, "AUTH", "secret", "KEYS", "a", "b") == "OK"
        assert mine("WAIT", 1, 5000) == 1
        assert at("DBSIZE") == 0


def random_text(length: int) -> str:
    """Text that does not shrink when it is packed."""
    return f"{random.Random(1).getrandbits(4 * length):0{length}x}"


class SlowTarget:
    """A node that takes what comes and answers when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.arrived, self.go = threading.Event(), threading.Event()
        self.answer = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self.listener.accept()[0] as sock:
            sock.recv(1 << 16)
            self.arrived.set()
            self.go.wait(20)
            if self.answer:
                sock.sendall(self.answer)
            sock.recv(1)

    def close(self) -> None:
        self.go.set()
        self.listener.close()


@pytest.fixture
def slow() -> Iterator[SlowTarget]:
    target = SlowTarget()
    yield target
    target.close()


def begin(servers: Any, slow: SlowTarget, *keys: str) -> Wire:
    """A client whose MIGRATE waits for the answer of the slow node."""
    wire = servers[0].wire()
    wire.send("MIGRATE", HOST, slow.port, "", 0, 10_000, "KEYS", *keys)
    assert slow.arrived.wait(5)
    return wire


def test_a_key_that_moves_is_read_but_not_changed_and_other_keys_are_free(
    wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget
) -> None:
    mine = wires[0]
    mine("MSET", "k", "v", "other", 1)
    with begin(servers, slow, "k") as moving, servers[0].wire() as writer, servers[0].wire() as flusher:
        writer.send("APPEND", "k", "+lost?")
        flusher.send("FLUSHALL")
        assert mine("INCR", "other") == 2 and mine("GET", "k") == b"v"
        slow.answer = b"+OK\r\n+OK\r\n"
        slow.go.set()
        assert moving.read() == "OK"
        assert writer.read() == 6  # it came after the deletion: a key of its own
        assert flusher.read() == "OK"


def test_a_write_goes_on_when_the_move_fails(wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget) -> None:
    mine = wires[0]
    mine("SET", "k", "v")
    with begin(servers, slow, "k") as moving, servers[0].wire() as writer:
        writer.send("APPEND", "k", "+kept")
        slow.answer = b"+OK\r\n-OOM no place\r\n"
        slow.go.set()
        assert moving.read() == ReplyError("ERR Target instance replied with error: OOM no place")
        assert writer.read() == 6 and mine("GET", "k") == b"v+kept"


def test_what_was_confirmed_before_a_link_broke_is_gone_and_the_rest_is_here(
    wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget
) -> None:
    mine = wires[0]
    mine("MSET", "a", 1, "b", 2)
    wire = servers[0].wire()
    with wire:
        wire.send("MIGRATE", HOST, slow.port, "", 0, 300, "KEYS", "a", "b")
        assert slow.arrived.wait(5)
        slow.answer = b"+OK\r\n+OK\r\n"
        slow.go.set()
        assert wire.read() == ReplyError("IOERR error or timeout reading to target instance")
    assert mine("KEYS", "*") == [b"b"]


def test_a_client_that_goes_does_not_stop_its_move(
    wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget
) -> None:
    mine = wires[0]
    mine("SET", "k", "v")
    begin(servers, slow, "k").close()
    assert mine("EXISTS", "k") == 1
    slow.answer = b"+OK\r\n+OK\r\n"
    slow.go.set()
    wait_until(lambda: mine("EXISTS", "k") == 0, 5, "it is gone")


def test_keys_are_held_again_after_a_rest(wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget) -> None:
    mine = wires[0]
    mine("MSET", "before", 1, "k", "v")
    assert mine("MIGRATE", HOST, servers[2].port, "before", 0, 1000, "AUTH", "secret") == "OK"
    time.sleep(3 * GUARDED_MS / 1000)  # nothing is on its way, and nothing is guarded any more
    with begin(servers, slow, "k") as moving, servers[0].wire() as writer:
        writer.send("APPEND", "k", "+lost?")
        assert mine("GET", "k") == b"v"
        slow.answer = b"+OK\r\n+OK\r\n"
        slow.go.set()
        assert moving.read() == "OK" and writer.read() == 6


def test_a_link_that_breaks_while_nothing_may_be_deleted_ends_the_move_afterwards(
    wires: tuple[Wire, Wire, Wire], servers: Any
) -> None:
    mine = wires[0]
    mine("MSET", "a", random_text(2 * CHUNK_BYTES), "b", 2)
    with socket.create_server((HOST, 0)) as listener, servers[0].wire() as moving:
        moving.send("MIGRATE", HOST, listener.getsockname()[1], "", 0, 5000, "KEYS", "a", "b")
        there = listener.accept()[0]
        mine("CLIENT", "PAUSE", 300, "WRITE")
        there.sendall(b"+OK\r\n+OK\r\n")  # for SELECT and the first key, a chunk of its own
        time.sleep(0.1)
        assert mine("EXISTS", "a", "b") == 2
        there.close()
        assert moving.read() == ReplyError("IOERR error or timeout writing to target instance")
    assert mine("KEYS", "*") == [b"b"]


def test_a_client_that_speaks_while_it_waits_is_heard_afterwards_and_wakes_nobody(
    wires: tuple[Wire, Wire, Wire], servers: Any, slow: SlowTarget
) -> None:
    mine = wires[0]
    mine("SET", "k", "v")
    with begin(servers, slow, "k") as moving:
        moving.send("PING")
        time.sleep(0.05)
        before = int(mine.info("stats")["eventloop_cycles"])
        time.sleep(0.3)
        assert int(mine.info("stats")["eventloop_cycles"]) - before < 20, "unread input must not keep the loop awake"
        slow.answer = b"+OK\r\n+OK\r\n"
        slow.go.set()
        assert moving.read() == "OK" and moving.read() == "PONG"
