"""Primary and replica, ours beside genuine Redis: each test runs with ours on either side, and on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.node.replication.support import (
    PAIRS,
    TIMEOUT_S,
    Proxy,
    follow,
    full_syncs,
    node,
    offset_of,
    partial_syncs,
    wait_connected,
    wait_same_offset,
)
from tests.support import ReplyError, Server, Wire, wait_until

KEYS = 300


@dataclass
class Pair:
    """A primary, a replica, and the link between them."""

    primary: Server
    replica: Server
    proxy: Proxy
    up: Wire
    down: Wire


@pytest.fixture(params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    first, second = request.param
    with ExitStack() as stack:
        primary = stack.enter_context(node(first))
        replica = stack.enter_context(node(second))
        proxy = stack.enter_context(Proxy(primary.port))
        yield Pair(primary, replica, proxy, primary.wire(), replica.wire())


def write(wire: Wire, start: int, count: int = KEYS) -> dict[str, bytes]:
    values = {f"key:{number}": f"value:{number}".encode() for number in range(start, start + count)}
    for reply in wire.pipeline([("SET", key, value) for key, value in values.items()]):
        assert reply == "OK"
    return values


def assert_holds(wire: Wire, values: dict[str, bytes]) -> None:
    assert wire.pipeline([("GET", key) for key in values]) == list(values.values())


def test_full_sync_and_stream(pair: Pair) -> None:
    values = write(pair.up, 0)
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    assert_holds(pair.down, values)
    values |= write(pair.up, 200)
    wait_same_offset(pair.up, pair.down)
    assert_holds(pair.down, values)
    assert pair.down("SET", "x", "y") == ReplyError("READONLY You can't write against a read only replica.")
    role = pair.up("ROLE")
    assert role[0] == b"master" and [each[1] for each in role[2]] == [str(pair.replica.port).encode()]
    assert pair.down("ROLE")[:4] == [b"slave", b"127.0.0.1", pair.proxy.port, b"connected"]


def test_a_cut_link_goes_on_where_it_was(pair: Pair) -> None:
    values = write(pair.up, 0)
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    for turn in range(3):
        wait_same_offset(pair.up, pair.down)
        pair.proxy.is_open = False
        pair.proxy.cut()
        wait_until(lambda: pair.down("ROLE")[3] != b"connected", TIMEOUT_S, "the replica notices")
        values |= write(pair.up, 1000 * turn)
        pair.proxy.is_open = True
        wait_connected(pair.down)
        wait_same_offset(pair.up, pair.down)
        assert_holds(pair.down, values)
    assert (full_syncs(pair.replica), partial_syncs(pair.replica)) == (1, 3)


def test_a_link_cut_in_the_midst_of_writing_loses_nothing(pair: Pair) -> None:
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    values: dict[str, bytes] = {}
    for turn in range(5):
        pair.up.send_raw(b"".join(b"SET big:%d %s\r\n" % (number, b"x" * 900) for number in range(100)))
        pair.proxy.cut()
        for _ in range(100):
            assert pair.up.read() == "OK"
        values |= write(pair.up, 1000 * turn, 50)
    wait_connected(pair.down)
    wait_same_offset(pair.up, pair.down)
    assert_holds(pair.down, values | {f"big:{number}": b"x" * 900 for number in range(100)})
    assert full_syncs(pair.replica) == 1


def test_too_far_behind_needs_a_full_sync(pair: Pair) -> None:
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    pair.proxy.is_open = False
    pair.proxy.cut()
    for number in range(20):
        assert pair.up("SET", f"big:{number}", "x" * 100_000) == "OK"
    pair.proxy.is_open = True
    wait_until(lambda: full_syncs(pair.replica) == 2, TIMEOUT_S, "a second snapshot")
    wait_connected(pair.down)
    wait_same_offset(pair.up, pair.down)
    assert pair.down("GET", "big:19") == b"x" * 100_000


def test_wait_counts_who_has_it(pair: Pair) -> None:
    assert pair.up("WAIT", 0, 0) == 0
    follow(pair.down, pair.proxy.port)
    wait_until(lambda: len(pair.up("ROLE")[2]) == 1, TIMEOUT_S, "the replica is online")
    assert pair.up("SET", "a", "1") == "OK"
    assert pair.up("WAIT", 1, 5000) == 1
    assert pair.down("GET", "a") == b"1"
    assert pair.up("WAIT", 2, 50) == 1
    assert pair.up("SET", "a", "2") == "OK"
    assert pair.up("WAIT", 1, 0) == 1
    assert isinstance(pair.down("WAIT", 0, 0), ReplyError)


def test_promoted_replica_serves_the_old_primary_without_a_copy(pair: Pair) -> None:
    values = write(pair.up, 0)
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    wait_same_offset(pair.up, pair.down)
    assert pair.down("REPLICAOF", "NO", "ONE") == "OK"
    values |= write(pair.down, 5000)
    follow(pair.up, pair.replica.port)
    wait_connected(pair.up)
    wait_same_offset(pair.down, pair.up)
    assert_holds(pair.up, values)
    assert (full_syncs(pair.primary), partial_syncs(pair.primary)) == (0, 1)
    assert pair.down("ROLE")[0] == b"master" and pair.up("ROLE")[0] == b"slave"


def test_an_old_primary_that_wrote_more_is_copied_anew(pair: Pair) -> None:
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    wait_same_offset(pair.up, pair.down)
    pair.proxy.is_open = False
    pair.proxy.cut()
    write(pair.up, 0)  # nobody will ever see these
    assert pair.down("REPLICAOF", "NO", "ONE") == "OK"
    values = write(pair.down, 5000)
    follow(pair.up, pair.replica.port)
    wait_until(lambda: full_syncs(pair.primary) == 1, TIMEOUT_S, "a snapshot")
    wait_connected(pair.up)
    wait_same_offset(pair.down, pair.up)
    assert_holds(pair.up, values)
    assert pair.up("GET", "key:0") is None


def test_pings_keep_an_idle_link_and_count(pair: Pair) -> None:
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    before = offset_of(pair.up)
    wait_until(lambda: offset_of(pair.down) >= before + 14, TIMEOUT_S, "a ping")
    wait_same_offset(pair.up, pair.down)


@pytest.mark.parametrize("kinds", [("hexad", "redis", "hexad"), ("redis", "hexad", "redis"), ("hexad",) * 3])
def test_a_chain_gets_the_same_bytes_and_follows_a_promotion(kinds: tuple[str, str, str]) -> None:
    with node(kinds[0]) as top, node(kinds[1]) as middle, node(kinds[2]) as leaf:
        first, second, third = top.wire(), middle.wire(), leaf.wire()
        values = write(first, 0)
        follow(second, top.port)
        wait_connected(second)
        follow(third, middle.port)
        wait_connected(third)
        values |= write(first, 1000)
        wait_same_offset(first, second, third)
        assert_holds(third, values)
        assert second("REPLICAOF", "NO", "ONE") == "OK"
        values |= write(second, 2000)
        wait_connected(third)
        wait_same_offset(second, third)
        assert_holds(third, values)
        assert (full_syncs(leaf), partial_syncs(leaf)) == (1, 1)
        follow(first, leaf.port)  # the old top at the end of the chain
        wait_connected(first)
        wait_same_offset(second, third, first)
        assert_holds(first, values)
        assert full_syncs(top) == 0


def library(name: str, function: str) -> str:
    return f"#!lua name={name}\nredis.register_function('{function}', function() return '{name}.{function}' end)"


def test_functions(pair: Pair) -> None:
    """Libraries come with the snapshot, in the place of those that were there, and follow with the stream."""
    for name in ("a", "b"):
        assert pair.up("FUNCTION", "LOAD", library(name, "f" + name)) == name.encode()
    assert pair.down("FUNCTION", "LOAD", library("c", "fa")) == b"c"
    follow(pair.down, pair.proxy.port)
    wait_connected(pair.down)
    assert_same_functions(pair, 2)
    dump = pair.up("FUNCTION", "DUMP")
    pair.up("FUNCTION", "LOAD", "REPLACE", library("a", "other"))
    pair.up("FUNCTION", "DELETE", "b")
    assert_same_functions(pair, 1)
    assert pair.down("FCALL", "fa", 0) == ReplyError("ERR Function not found")
    pair.up("FUNCTION", "RESTORE", dump, "REPLACE")
    assert_same_functions(pair, 2)
    pair.up("MULTI")
    pair.up("FUNCTION", "FLUSH")
    pair.up(
        "FUNCTION",
        "LOAD",
        "#!lua name=w\nredis.register_function('w', function(k) return redis.call('incr', k[1]) end)",
    )
    pair.up("FCALL", "w", 1, "key")
    assert pair.up("EXEC") == ["OK", b"w", 1]
    assert_same_functions(pair, 1)
    assert pair.down("GET", "key") == b"1"
    assert pair.down("FUNCTION", "FLUSH") == ReplyError("READONLY You can't write against a read only replica.")
    assert pair.down("FCALL", "w", 1, "key").code == "READONLY"


def assert_same_functions(pair: Pair, count: int) -> None:
    wait_same_offset(pair.up, pair.down)
    lists = [sorted(wire("FUNCTION", "LIST", "WITHCODE")) for wire in (pair.up, pair.down)]
    assert lists[0] == lists[1] and len(lists[0]) == count
