"""CLUSTER SLOT-STATS on a live node: what is counted for which slot, its orders and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from node.slots import SLOTS, slot_of
from tests.support import HexadServer, wait_until
from tests.support.wire import ReplyError, Wire

SLOT = slot_of(b"k")


@pytest.fixture(scope="module")
def server() -> Iterator[HexadServer]:
    with HexadServer(cluster_enabled="yes", enable_debug_command="yes") as server, server.wire() as wire:
        wire("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(lambda: wire("GET", "k") is None, 10, "the cluster is up")
        yield server


@pytest.fixture
def wire(server: HexadServer) -> Iterator[Wire]:
    with server.wire() as wire:
        wire("FLUSHALL")
        wire("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
        wire("CONFIG", "RESETSTAT")
        yield wire
        wire("CONFIG", "SET", "cluster-slot-stats-enabled", "no")


def stats(wire: Wire, slot: int = SLOT) -> dict[bytes, int]:
    ((found, pairs),) = wire("CLUSTER", "SLOT-STATS", "SLOTSRANGE", slot, slot)
    assert found == slot
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def in_and_out(wire: Wire, slot: int = SLOT) -> tuple[int, int]:
    found = stats(wire, slot)
    return found[b"network-bytes-in"], found[b"network-bytes-out"]


SET = len(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n")
GET = len(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")


def test_bytes_are_those_on_the_wire(wire: Wire) -> None:
    assert in_and_out(wire) == (0, 0)
    wire("SET", "k", "value")
    assert in_and_out(wire) == (SET, len(b"+OK\r\n"))
    for _ in range(3):
        wire("GET", "k")
    assert in_and_out(wire) == (SET + 3 * GET, 5 + 3 * len(b"$5\r\nvalue\r\n"))
    wire("PING")
    wire("GET", "k", "too", "many")
    wire("MGET", "k", "elsewhere")  # CROSSSLOT: not served
    wire("GET", "other")
    assert in_and_out(wire)[0] == SET + 3 * GET and in_and_out(wire, slot_of(b"other"))[0] == GET + 4
    assert stats(wire)[b"key-count"] == 1


def test_a_pipeline_and_a_transaction_are_counted_whole(wire: Wire) -> None:
    for words in (("MULTI",), ("SET", "k", "value"), ("GET", "k"), ("EXEC",)):
        wire.send(*words)
    for _ in range(4):
        last = wire.read()
    assert last == ["OK", b"value"]
    exec_ = len(b"*1\r\n$4\r\nEXEC\r\n")
    assert in_and_out(wire) == (SET + GET + exec_, len(b"*2\r\n+OK\r\n$5\r\nvalue\r\n"))


def test_scripts_messages_and_time(wire: Wire) -> None:
    script = "local n = 0; for i = 1, 100000 do n = n + i end; return redis.call('GET', KEYS[1])"
    wire("EVAL", script, 1, "k")
    assert stats(wire)[b"cpu-usec"] > 200
    sent = in_and_out(wire)[1]
    wire("SPUBLISH", "k", "hello")
    assert in_and_out(wire)[1] == sent + len(b":0\r\n")


def test_a_reader_in_resp3_sees_maps(wire: Wire) -> None:
    wire("HELLO", 3)
    ((slot, found),) = wire("CLUSTER", "SLOT-STATS", "SLOTSRANGE", SLOT, SLOT)
    names = [name for name, _ in found.pairs]
    assert slot == SLOT and names == [b"key-count", b"cpu-usec", b"network-bytes-in", b"network-bytes-out"]


def test_switched_off_only_keys_are_told_and_the_rest_is_forgotten(wire: Wire) -> None:
    wire("SET", "k", "value")
    wire("CONFIG", "SET", "cluster-slot-stats-enabled", "no")
    wire("SET", "k", "value")
    assert stats(wire) == {b"key-count": 1}
    wire("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
    assert in_and_out(wire) == (0, 0)
    wire("SET", "k", "value")
    wire("CONFIG", "RESETSTAT")
    assert in_and_out(wire) == (0, 0)


def test_slots_that_are_given_away_are_forgotten(wire: Wire) -> None:
    wire("GET", "k")
    wire("CLUSTER", "DELSLOTS", SLOT)
    assert wire("CLUSTER", "SLOT-STATS", "SLOTSRANGE", SLOT, SLOT) == []
    wire("CLUSTER", "ADDSLOTS", SLOT)
    wait_until(lambda: wire("GET", "other") is None, 10, "the cluster is up again")
    assert in_and_out(wire) == (0, 0)


def order(wire: Wire, *words: Any) -> Any:
    found = wire("CLUSTER", "SLOT-STATS", "ORDERBY", *words)
    return found if isinstance(found, ReplyError) else [slot for slot, _ in found]


def test_orders(wire: Wire) -> None:
    for key, count in (("{a}", 3), ("{b}", 1), ("{c}", 3)):
        for number in range(count):
            wire("SET", f"{key}{number}", "x")
    a, b, c = (slot_of(name) for name in (b"a", b"b", b"c"))
    assert order(wire, "key-count", "LIMIT", 4) == [*sorted((a, c)), b, 0]
    assert order(wire, "KEY-COUNT", "DESC", "LIMIT", 1) == [min(a, c)]
    assert order(wire, "key-count", "ASC", "LIMIT", 3) == [0, 1, 2]
    assert order(wire, "network-bytes-in", "LIMIT", 3)[-1] == b
    assert len(order(wire, "cpu-usec", "LIMIT", 5)) == 5


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("SLOTSRANGE 5 3", "ERR Start slot number 5 is greater than end slot number 3"),
        ("SLOTSRANGE 0 16384", "ERR Invalid or out of range slot"),
        ("SLOTSRANGE 0", "ERR syntax error"),
        ("NONSENSE key-count", "ERR syntax error"),
        ("ORDERBY nonsense", "ERR Unrecognized sort metric for ORDERBY."),
        ("ORDERBY key-count LIMIT 0", "ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."),
        ("ORDERBY key-count LIMIT", "ERR syntax error"),
        ("ORDERBY key-count ASC DESC", "ERR you cannot provide multiple filters of the same type."),
        ("ORDERBY key-count LIMIT 1 LIMIT 1", "ERR you cannot provide multiple filters of the same type."),
    ],
)
def test_refusals(wire: Wire, words: str, text: str) -> None:
    assert wire("CLUSTER", "SLOT-STATS", *words.split()) == ReplyError(text)


def test_what_is_not_counted_cannot_order(wire: Wire) -> None:
    wire("CONFIG", "SET", "cluster-slot-stats-enabled", "no")
    assert order(wire, "cpu-usec") == ReplyError("ERR Unrecognized sort metric for ORDERBY.")
