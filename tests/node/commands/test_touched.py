"""Every family says which keys it has changed: beside a real redis-server, who tracks all keys hears the same.

WATCH, client-side caching and notifications hang on that. The traces are those with which the families are held against
the real server; what they reply is compared there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands import (
    list_traces,
    test_bits_differential,
    test_hashes_sets_differential,
    test_sort_differential,
    test_streams_differential,
    traces,
    zset_traces,
)
from tests.node.commands.traces import Line
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
FAMILIES = {
    "strings and keys": traces.traces,
    "lists": st.lists(st.one_of(*list_traces.list_commands, *list_traces.other_commands), min_size=40, max_size=60),
    "hashes": test_hashes_sets_differential.traces(test_hashes_sets_differential.hash_commands),
    "sets": test_hashes_sets_differential.traces(test_hashes_sets_differential.set_commands),
    "sorted sets": zset_traces.traces(zset_traces.zset_commands, zset_traces.algebra_commands),
    "places": zset_traces.traces(zset_traces.geo_commands),
    "streams": test_streams_differential.traces,
    "bitmaps": test_bits_differential.traces(test_bits_differential.bit_commands, 40),
    "counts": test_bits_differential.traces(test_bits_differential.hll_commands, 40),
    "sort": test_sort_differential.traces,
}


COMMANDS_A_TRACE = 60
CHANGES_MIN = 10


class Told:
    """What each server says has changed, command by command."""

    def __init__(self, redis: RedisServer) -> None:
        self.theirs: Wire = redis.wire(protocol=3)
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.ours = self.node.client()
        self.listener = self.node.client()
        self.theirs("CLIENT", "TRACKING", "ON", "BCAST")
        self.listener.raw("HELLO", 3)
        self.listener.raw("CLIENT", "TRACKING", "ON", "BCAST")
        self.changes = 0

    def run(self, trace: list[Line]) -> None:
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        for words in ([b"SELECT", b"0"], [b"FLUSHALL"], *trace[:COMMANDS_A_TRACE]):
            if by_the_clock(words):
                continue
            expected, got = self.by_them(words), self.by_us(words)
            self.changes += bool(got)
            assert got == expected, words

    def by_them(self, words: Line) -> bytes:
        """The messages that come before the reply, after it, and at the end of the server's turn."""
        told = b""
        for said in (words, [b"PING"]):
            self.theirs.send(*said)
            while (text := self.theirs.read_raw()).startswith(b">"):
                told += text
        return told

    def by_us(self, words: Line) -> bytes:
        self.ours.raw(*words)
        self.node.server.before_send()
        told = bytes(self.listener.session.out)
        self.listener.session.out.clear()
        return told


def by_the_clock(words: Line) -> bool:
    """EXPIRE key 100 GT changes something if time has passed since the last EXPIRE, and ours stands still."""
    return b"EXPIRE" in words[0].upper() and any(word.upper() in (b"GT", b"LT") for word in words)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_keys_are_told(redis: RedisServer, family: str) -> None:
    both = Told(redis)

    @settings(
        max_examples=3 * PROOF,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(FAMILIES[family])
    def run(trace: list[Line]) -> None:
        both.run(trace)

    with both.theirs:
        run()
    assert both.changes > CHANGES_MIN
