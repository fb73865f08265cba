"""Random commands of the list family, to our node and to Debian's redis-server: replies, digests, dumps, effects."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from node.datatypes.lists import List
from node.rdb.dump import dump, restore
from tests.node.commands.list_traces import traces
from tests.node.commands.test_strings_keys_effects import END, OurEffects, TheirEffects, alike, their_events
from tests.node.commands.traces import Line
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 220 * PROOF
COMMANDS_MIN = 5000
LONGER_THAN_TIMEOUTS_MS = 5
SHARED = b":2147483647\r\n"
KEYS = (b"a", b"b", b"c", b"{t}1", b"s", b"k\r\n\0\xff")

search = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
)


class Pair:
    """Both servers, with the same data."""

    def __init__(self, theirs: Wire, protocol: int) -> None:
        self.theirs = theirs
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000, enable_debug_command="yes")
        self.ours = self.node.client()
        self.ours.session.resp3 = protocol == 3

    def empty(self) -> None:
        """Begin anew, at the same time."""
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        self.theirs("FLUSHALL")
        self.ours.raw("FLUSHALL")

    def reply(self, words: Line) -> bytes:
        reply = self.ours.raw(*words)
        if self.ours.session.parked is not None:
            assert reply == b""
            self.node.pass_ms(LONGER_THAN_TIMEOUTS_MS)
            reply = bytes(self.ours.session.out)
            self.ours.session.out.clear()
        return reply

    def run(self, trace: list[Line]) -> None:
        theirs = self.theirs
        self.empty()
        for words in trace:
            theirs.send(*words)
        replies = [theirs.read_raw() for _ in trace]  # all of them, so that a failure leaves nothing behind
        for words, expected in zip(trace, replies, strict=True):
            got = self.reply(words)
            assert got == expected or self.alike(words, expected, got), (words, expected, got)
        self.check()

    def alike(self, words: Line, expected: bytes, got: bytes) -> bool:
        """Two replies that differ and may: a copy of a small integer is no shared object with Redis, as others are."""
        return words[0].upper() == b"OBJECT" and {expected, got} == {b":1\r\n", SHARED}

    def check(self) -> None:
        """Both hold the same, and each reads what the other dumps."""
        self.theirs.send("DEBUG", "DIGEST-VALUE", *KEYS)
        assert self.theirs.read_raw() == self.ours.raw("DEBUG", "DIGEST-VALUE", *KEYS)
        for key in KEYS:
            value = self.node.keyspace.databases[0].peek(key)
            if type(value) is List:
                value.check()
                assert list(restore(self.theirs("DUMP", key))) == list(value)
                assert self.theirs("RESTORE", "copy", 0, dump(value), "REPLACE") == "OK"
                assert self.theirs("LRANGE", "copy", 0, -1) == list(value)
                assert self.theirs("DEL", "copy") == 1


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(
        notify_keyspace_events="AEmn", repl_diskless_sync_delay=0, enable_debug_command="yes", hz=500
    ) as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands(redis: RedisServer, protocol: int) -> None:
    counted = 0
    with redis.wire(protocol=protocol) as theirs:

        @search
        @given(traces)
        def compare(trace: list[Line]) -> None:
            nonlocal counted
            counted += len(trace)
            both.run(trace)

        both = Pair(theirs, protocol)
        compare()
    assert counted >= COMMANDS_MIN


def test_what_is_journalled_and_told(redis: RedisServer) -> None:
    their_effects = TheirEffects(redis)
    with redis.wire() as theirs, redis.wire() as listener:
        listener("PSUBSCRIBE", "*")
        both = Pair(theirs, 2)
        ours = OurEffects(both.node)

        @settings(search, max_examples=EXAMPLES // 3)
        @given(traces)
        def compare(trace: list[Line]) -> None:
            both.empty()
            theirs("PUBLISH", "end", END)
            their_effects.until_end()
            their_events(listener)
            ours.effects.clear()
            ours.events.clear()
            before = int(theirs.info("everything")["rdb_changes_since_last_save"]), both.node.keyspace.dirty
            for words in trace:
                both.reply(words)
                theirs.send(*words)
            theirs.send("PUBLISH", "end", END)
            for _ in range(len(trace) + 1):
                theirs.read_raw()
            effects = their_effects.until_end()
            assert ours.events == their_events(listener)
            assert len(ours.effects) == len(effects), (ours.effects, effects)
            for mine, other in zip(ours.effects, effects, strict=True):
                assert alike(mine, other), (mine, other)
            after = int(theirs.info("everything")["rdb_changes_since_last_save"]), both.node.keyspace.dirty
            assert after[0] - before[0] == after[1] - before[1], "changes"

        compare()
