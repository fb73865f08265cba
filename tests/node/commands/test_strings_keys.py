"""Corners that random commands seldom reach: limits, payloads, whole walks, cluster mode; beside redis-server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import HexadServer, RedisServer, Wire
from tests.support.local import START_MS, LocalClient, LocalNode
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(proto_max_bulk_len="1mb") as server:
        yield server


@pytest.fixture
def theirs(redis: RedisServer) -> Iterator[Wire]:
    with redis.wire() as wire:
        wire("FLUSHALL")
        yield wire


@pytest.fixture
def ours() -> LocalClient:
    return LocalNode(now_ms=time.time_ns() // 1_000_000, proto_max_bulk_len=1 << 20).client()


MIB = 1 << 20
LINES: list[tuple[Any, ...]] = [
    # the longest string
    ("SETRANGE", "k", MIB - 1, "x"),
    ("SETRANGE", "k", MIB, "x"),
    ("SETRANGE", "k", MIB, ""),
    ("SETRANGE", "none", MIB, ""),
    ("SETRANGE", "none", MIB - 1, "xx"),
    ("SETRANGE", "none", 2**63 - 1, "x"),
    ("SETRANGE", "none", -1, ""),
    ("EXISTS", "none"),
    ("APPEND", "k", ""),
    ("APPEND", "k", "x"),
    ("STRLEN", "k"),
    ("GETRANGE", "k", MIB - 3, -1),
    # LCS within and beyond the table that Redis would need
    ("MSET", "x", "ab" * 250, "y", "ba" * 250, "z", "a" * 1000),
    ("LCS", "x", "y", "IDX", "WITHMATCHLEN"),
    ("LCS", "x", "y", "IDX", "MINMATCHLEN", 5),
    ("LCS", "x", "y", "LEN"),
    ("LCS", "x", "none"),
    ("LCS", "none", "none2", "IDX"),
    ("LCS", "z", "z", "LEN"),
    ("LCS", "z", "z"),
    ("LCS", "z", "z", "IDX", "LEN"),
    ("LCS", "z", "z", "MINMATCHLEN"),
    # encodings
    *[
        line
        for value in (
            "12",
            "9999",
            "10000",
            "-1",
            "01",
            "9223372036854775807",
            "9223372036854775808",
            "x" * 44,
            "x" * 45,
        )
        for line in (("SET", "e", value), ("OBJECT", "ENCODING", "e"), ("OBJECT", "REFCOUNT", "e"), ("DUMP", "e"))
    ],
    ("SET", "e", "1"),
    ("APPEND", "e", "2"),
    ("OBJECT", "ENCODING", "e"),
    ("INCR", "e"),
    ("OBJECT", "ENCODING", "e"),
    ("COPY", "e", "f"),
    ("OBJECT", "ENCODING", "f"),
    ("OBJECT", "ENCODING", "nothing"),
    ("OBJECT", "ENCODING"),
    ("OBJECT", "NOSUCH", "e"),
    ("OBJECT",),
    ("OBJECT", "FREQ", "e"),
    # long doubles
    ("SET", "n", "3.0e3"),
    ("INCRBYFLOAT", "n", "0.1"),
    ("INCRBYFLOAT", "n", "1e17"),
    ("INCRBYFLOAT", "n", "-1e-17"),
    ("INCRBYFLOAT", "n", "1e4932"),
    ("SET", "n", "1e4932"),
    ("INCRBYFLOAT", "n", "1e4932"),
    ("SET", "n", "inf"),
    ("INCRBYFLOAT", "n", "1"),
    ("INCRBYFLOAT", "n", "nan"),
    # times
    ("SET", "t", "v", "EX", 9223372036854775),
    ("SET", "t", "v", "PX", 9223372036854775807),
    ("SET", "t", "v", "EX", 9223372036854776),
    ("SET", "t", "v", "EX", 1, "KEEPTTL"),
    ("SET", "t", "v", "EX", 1, "PX", 1),
    ("SET", "t", "v", "NX", "XX"),
    ("SET", "t", "v", "GET", "NX"),
    ("SET", "t", "w", "XX", "GET"),
    ("SETEX", "t", 0, "v"),
    ("PSETEX", "t", -1, "v"),
    ("GETEX", "t", "EX", 0),
    ("GETEX", "none", "EX", 0),
    ("GETEX", "none", "EX", "x"),
    ("GETEX", "t", "PERSIST", "EX", 1),
    ("GETEX", "t", "NX"),
    ("EXPIRE", "t", 9223372036854775807),
    ("EXPIRE", "t", -9223372036854775808),
    ("PEXPIRE", "t", 9223372036854775807),
    ("PEXPIREAT", "t", 9223372036854775807),
    ("PEXPIRETIME", "t"),
    ("EXPIRETIME", "t"),
    ("EXPIREAT", "t", 9223372036854776),
    ("EXPIRE", "t", 10, "NX", "GT"),
    ("EXPIRE", "t", 10, "LT", "GT"),
    ("EXPIRE", "t", 10, "nosuch"),
    ("EXPIRE", "t", "x", "nosuch"),
    ("PEXPIREAT", "t", 1, "GT"),
    ("PEXPIREAT", "t", 1, "LT"),
    ("EXISTS", "t"),
    # other databases
    ("MOVE", "x", 0),
    ("MOVE", "x", 16),
    ("MOVE", "x", "x"),
    ("MOVE", "x", 2**31),
    ("COPY", "x", "x"),
    ("COPY", "x", "x", "DB", 0),
    ("COPY", "x", "x", "DB", 1),
    ("COPY", "x", "x", "DB", 1),
    ("COPY", "x", "x", "DB", 1, "REPLACE"),
    ("COPY", "x", "y", "DB", 16),
    ("COPY", "x", "y", "DB"),
    ("SWAPDB", 0, 16),
    ("SWAPDB", "x", "y"),
    ("SWAPDB", 0, "y"),
    ("SWAPDB", 0, 2**40),
    ("SWAPDB", 0, 0),
    ("SWAPDB", 0, 1),
    ("DBSIZE",),
    ("FLUSHALL", "now"),
    ("FLUSHDB", "SYNC", "ASYNC"),
    ("FLUSHDB", "async"),
    ("DBSIZE",),
]


def test_corners(theirs: Wire, ours: LocalClient) -> None:
    for line in LINES:
        assert ours.raw(*line) == theirs.raw(*line), line


VALUES = [b"", b"x", b"-12", b"300", b"70000", b"2147483648", b"a" * 1000, bytes(range(256)) * 9, b"\r\n" * 50]


def test_payloads_go_both_ways(theirs: Wire, ours: LocalClient) -> None:
    for number, value in enumerate(VALUES):
        name = f"k{number}"
        theirs("SET", name, value)
        ours.raw("SET", name, value)
        dumped = ours.raw("DUMP", name).split(b"\r\n", 1)[1][:-2]
        assert ours.raw("RESTORE", "copy", 0, theirs("DUMP", name), "REPLACE") == b"+OK\r\n"
        assert ours.raw("GET", "copy") == theirs.raw("GET", name)
        assert theirs("RESTORE", "copy", 0, dumped, "REPLACE") == "OK"
        assert theirs("GET", "copy") == value


def test_restore(theirs: Wire, ours: LocalClient) -> None:
    theirs("RPUSH", "list", "a")
    theirs("SET", "s", "value")
    payload = theirs("DUMP", "s")
    for line in (
        ("RESTORE", "k", 0, payload),
        ("RESTORE", "k", 0, payload),
        ("RESTORE", "k", 0, b"bad"),
        ("RESTORE", "k", 0, payload[:-1] + b"x", "REPLACE"),
        ("RESTORE", "k", -1, payload, "REPLACE"),
        ("RESTORE", "k", "x", payload, "REPLACE"),
        ("RESTORE", "k", 0, payload, "IDLETIME", -1),
        ("RESTORE", "k", 0, payload, "FREQ", 256),
        ("RESTORE", "k", 0, payload, "IDLETIME", 1, "FREQ", 1),
        ("RESTORE", "k", 0, payload, "IDLETIME"),
        ("RESTORE", "k", 1, payload, "ABSTTL", "REPLACE"),
        ("EXISTS", "k"),
        ("RESTORE", "k", 1, payload, "ABSTTL"),
        ("EXISTS", "k"),
        ("RESTORE", "k", 4102444800000, payload, "absttl", "replace", "idletime", 1000),
        ("PEXPIRETIME", "k"),
        ("OBJECT", "IDLETIME", "k"),
        ("GET", "k"),
        ("OBJECT", "IDLETIME", "k"),
    ):
        expected, got = theirs.raw(*line), ours.raw(*line)
        if line[:2] != ("OBJECT", "IDLETIME"):
            assert got == expected, line
        elif int(expected[1:]) < 100:
            assert got == b":0\r\n"


def test_idle_time_follows_accesses() -> None:
    node = LocalNode(now_ms=START_MS)
    client = node.client()
    node.pass_ms(5000)
    client.raw("SET", "k", "v")
    node.pass_ms(7000)
    for line in ("EXISTS", "TYPE", "TTL"):
        client.raw(line, "k")
    assert client.raw("OBJECT", "IDLETIME", "k") == b":7\r\n"
    client.raw("TOUCH", "k")
    assert client.raw("OBJECT", "IDLETIME", "k") == b":0\r\n"


WRITES_IN_PLACE: list[tuple[str, ...]] = [
    ("RPUSH", "k", "v"), ("SADD", "k", "v"), ("HSET", "k", "f", "v"), ("HSET", "k", "f", "v", "g", "w"),
    ("ZADD", "k", "1", "v"), ("XADD", "k", "*", "f", "v"),
]  # fmt: skip


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "allkeys-lfu"])
@pytest.mark.parametrize("write", WRITES_IN_PLACE, ids=" ".join)
def test_a_write_in_place_is_an_access(write: tuple[str, ...], policy: str) -> None:
    node = LocalNode(now_ms=START_MS, maxmemory=1 << 30, maxmemory_policy=policy, lfu_log_factor=0)
    client = node.client()
    client.raw(*write)
    node.pass_ms(7000)
    for count in (1, 2):
        client.raw(*write)
        if policy == "allkeys-lfu":
            assert client.raw("OBJECT", "FREQ", "k") == b":%d\r\n" % (5 + count)
        else:
            assert client.raw("OBJECT", "IDLETIME", "k") == b":0\r\n"


def walk(run: Any, *options: Any) -> list[bytes]:
    found, cursor = [], b"0"
    while True:
        cursor, keys = run("SCAN", cursor, *options)
        found += keys
        if cursor == b"0":
            return found


def test_whole_walks(theirs: Wire, ours: LocalClient) -> None:
    class Ours:
        def __call__(self, *line: Any) -> Any:
            raw = ours.raw(*line).split(b"\r\n")
            return raw[2], raw[5:-1:2]

    for number in range(1500):
        name = f"{{tag}}{number}" if number % 2 else str(number)
        for run in (theirs.raw, ours.raw):
            run("SET", name, "v")
    for options in ((), ("COUNT", 1000), ("COUNT", 7), ("MATCH", "{tag}*"), ("MATCH", "*[05]"), ("TYPE", "string")):
        assert set(walk(Ours(), *options)) == set(walk(theirs, *options))
    assert walk(Ours(), "TYPE", "hash") == []


def test_random_keys_are_spread(ours: LocalClient) -> None:
    for number in range(50):
        ours.raw("SET", number, "v")
    drawn = {ours.raw("RANDOMKEY") for _ in range(1000)}
    assert len(drawn) == 50


def test_randomkey_skips_what_is_over() -> None:
    node = LocalNode()
    client = node.client()
    client.raw("SET", "k", "v", "PX", 5)
    node.keyspace.removes_expired = False
    node.platform.time_ms += 10
    assert client.raw("RANDOMKEY") == b"$1\r\nk\r\n"  # a replica may not remove it
    node.keyspace.removes_expired = True
    assert client.raw("RANDOMKEY") == b"$-1\r\n"
    assert client.raw("KEYS", "*") == b"*0\r\n"


def test_a_random_key_is_drawn_while_writes_are_paused_and_all_are_over() -> None:
    node = LocalNode()
    client = node.client()
    client.raw("SET", "k", "v", "PX", "100")
    client.raw("CLIENT", "PAUSE", "3000", "WRITE")
    node.pass_ms(500)
    assert client.raw("RANDOMKEY") == b"$1\r\nk\r\n"  # it may not be removed now
    node.pass_ms(3000)
    assert client.raw("RANDOMKEY") == b"$-1\r\n"


CLUSTER_LINES: list[tuple[Any, ...]] = [
    ("SET", "{a}1", "v"),
    ("MOVE", "{a}1", 0),
    ("MOVE", "{a}1", 1),
    ("SWAPDB", 0, 0),
    ("SWAPDB", "x", 1),
    ("COPY", "{a}1", "{a}2", "DB", 0),
    ("COPY", "{a}1", "{a}3", "DB", 1),
    ("SCAN", 0),
    ("KEYS", "{a}1"),
]


def test_cluster_mode() -> None:
    with RedisServer(cluster_enabled="yes") as server, server.wire() as theirs:
        theirs("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in theirs("CLUSTER", "INFO"), 10, "the cluster is up")
        node = LocalNode()
        node.server.config.put("cluster-enabled", True)  # after the start: nobody joins, nothing is redirected
        client = node.client()
        for line in CLUSTER_LINES:
            expected, got = theirs.raw(*line), client.raw(*line)
            assert got == expected or line == ("SCAN", 0), line


def test_bytearrays_do_not_leak_into_replies(ours: LocalClient) -> None:
    """What a reply holds must not change with the value."""
    ours.raw("SET", "k", "a")
    ours.raw("APPEND", "k", "b")
    from node.commands import strings

    session = ours.session
    for command, argv in ((strings.get, [b"GET", b"k"]), (strings.mget, [b"MGET", b"k"])):
        reply = command(session, argv)
        assert reply in (b"ab", [b"ab"]) and b"".join(reply if isinstance(reply, list) else [reply]) == b"ab"
        assert type(reply[0] if isinstance(reply, list) else reply) is bytes


def test_an_append_costs_its_tail(ours: LocalClient) -> None:
    generator = random.Random(3)
    expected = b""
    for _ in range(200):
        tail = generator.randbytes(generator.randrange(5))
        expected += tail
        assert ours.raw("APPEND", "k", tail) == b":%d\r\n" % len(expected)
    value = ours.session.db.peek(b"k")
    assert type(value) is bytearray and value == expected
    ours.raw("APPEND", "k", "x")
    assert ours.session.db.peek(b"k") is value


def test_a_running_server_expires_by_itself() -> None:
    with HexadServer() as server, server.wire() as wire:
        for number in range(100):
            wire("SET", number, "v", "PX", 50 + number)
        wire("SET", "stays", "v", "EX", 100)
        wait_until(lambda: wire("DBSIZE") == 1, 5, "all but one are gone")
        assert wire("FLUSHALL", "ASYNC") == "OK"
        assert wire("DBSIZE") == 0


WRONG_TYPE_LINES: list[tuple[Any, ...]] = [
    ("GET", "list"),
    ("SET", "list", "v", "GET"),
    ("SET", "list", "v", "NX"),
    ("SET", "list", "v", "NX", "GET"),
    ("SETNX", "list", "v"),
    ("GETSET", "list", "v"),
    ("GETDEL", "list"),
    ("GETEX", "list"),
    ("GETEX", "list", "EX", "x"),
    ("MGET", "list", "s"),
    ("MSETNX", "new", "v", "list", "v"),
    ("INCR", "list"),
    ("DECRBY", "list", 1),
    ("INCRBY", "list", "x"),
    ("INCRBYFLOAT", "list", 1),
    ("INCRBYFLOAT", "list", "x"),
    ("APPEND", "list", "v"),
    ("STRLEN", "list"),
    ("SETRANGE", "list", 0, ""),
    ("SETRANGE", "list", 2**31, "x"),
    ("SETRANGE", "list", -1, "x"),
    ("GETRANGE", "list", 0, 1),
    ("GETRANGE", "list", "x", 1),
    ("LCS", "list", "s"),
    ("LCS", "s", "list", "nosuch"),
    ("EXPIRE", "list", 1000),
    ("PERSIST", "list"),
    ("RENAME", "list", "list2"),
    ("RENAME", "list2", "list"),
    ("SET", "list", "v"),
    ("TYPE", "list"),
]


class Container:
    """Something that is no string."""

    def __len__(self) -> int:
        return 1


def test_strings_commands_refuse_other_types(theirs: Wire, ours: LocalClient) -> None:
    theirs("RPUSH", "list", "a")
    theirs("SET", "s", "v")
    ours.session.db.set(b"list", Container())
    ours.raw("SET", "s", "v")
    for line in WRONG_TYPE_LINES:
        assert ours.raw(*line) == theirs.raw(*line), line
