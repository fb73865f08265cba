"""Random commands of all families: the same keyspace events in the same order as from Debian's redis-server.

Both have every class of events on, `m` and `n` too, and one subscriber. Behind each command goes a message of its own
that closes its events, so that a difference names its command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands import list_traces, test_bits_differential, test_hashes_sets_differential, zset_traces
from tests.node.commands import test_streams_differential as stream_traces
from tests.node.commands import traces as string_traces
from tests.node.commands.beside import PROOF
from tests.node.commands.traces import Line, line
from tests.support import RedisServer, Wire
from tests.support.local import LocalClient, LocalNode

EXAMPLES = 12 * PROOF
EVENTS_MIN = 300
FLAGS = "KEAmn"
END = b"end of a command"

Event = tuple[bytes, bytes]
"""Channel and message."""

WAITING = {b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"}

MISSES_DIFFER = {b"BITCOUNT", b"BITPOS", b"XREAD"}
"""BITCOUNT and BITPOS look at their arguments before the key since 7.2; XREAD of 7.0 may miss one key twice."""

sort_commands = st.one_of(
    line("RPUSH", st.just(b"l"), st.lists(st.sampled_from([b"1", b"3", b"2"]), min_size=1, max_size=3)),
    line("SORT", st.sampled_from([b"l", b"nokey"]), st.just([b"STORE", b"c"])),
    line("SORT", st.just(b"l"), st.just([b"STORE", b"l"])),
    line("SORT", st.just(b"l"), st.just([b"BY", b"w_*", b"GET", b"w_*", b"STORE", b"c"])),
    line("DEL", st.just(b"l")),
)


def some(commands: st.SearchStrategy[Line]) -> st.SearchStrategy[list[Line]]:
    return st.lists(commands.filter(lambda words: words[0].upper() not in WAITING), min_size=40, max_size=60)


FAMILIES = {
    "strings": some(string_traces.commands),
    "lists": some(list_traces.commands),
    "hashes": some(test_hashes_sets_differential.hash_commands),
    "sets": some(test_hashes_sets_differential.set_commands),
    "sorted sets": some(st.one_of(zset_traces.zset_commands, zset_traces.algebra_commands)),
    "geo": some(zset_traces.geo_commands),
    "bitmaps": some(test_bits_differential.bit_commands),
    "hyperloglogs": some(test_bits_differential.hll_commands),
    "streams": some(stream_traces.commands).map(stream_traces.with_consumers),
    "sort": some(sort_commands),
}


class Events:
    """A subscriber's side: messages in, grouped by the command that caused them."""

    def __init__(self, theirs: Wire, subscriber: Wire) -> None:
        self.theirs, self.subscriber = theirs, subscriber
        subscriber("PSUBSCRIBE", "__key*__:*")
        subscriber("SUBSCRIBE", END)
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.ours: LocalClient = self.node.client()
        self.listener = self.node.client()
        self.listener.raw("PSUBSCRIBE", "__key*__:*")
        for server in (theirs, self.ours.raw):
            server("CONFIG", "SET", "notify-keyspace-events", FLAGS)
        self.count = 0

    def run(self, trace: list[Line]) -> None:
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        for words in ([b"SELECT", b"0"], [b"FLUSHALL"]):
            self.theirs(*words)
            self.ours.raw(*words)
        for words in trace:
            self.theirs.send(*words)
            self.theirs.send("PUBLISH", END, "")
        replies = [self.theirs.read() for _ in range(2 * len(trace))][::2]
        theirs = [self._their_events() for _ in trace]
        for words, reply, expected in zip(trace, replies, theirs, strict=True):
            self.ours.raw(*words)
            got = self._our_events()
            if words[0].upper() in MISSES_DIFFER:
                got, expected = without_misses(got), without_misses(expected)
            assert got == expected, (words, reply, expected, got)
            self.count += len(got)

    def _their_events(self) -> list[Event]:
        events = []
        while (message := self.subscriber.read())[1] != END:
            events.append((message[2], message[3]))
        return events

    def _our_events(self) -> list[Event]:
        out = self.listener.session.out
        data, events = bytes(out), []
        out.clear()
        at = 0
        while at < len(data):
            words, at = array_at(data, at)
            events.append((words[2], words[3]))
        return events


def without_misses(events: list[Event]) -> list[Event]:
    return [(channel, message) for channel, message in events if b"keymiss" not in (message, channel[-7:])]


def array_at(data: bytes, at: int) -> tuple[list[bytes], int]:
    """The words of an array of bulk strings in `data`, and where it ends."""
    end = data.index(b"\r\n", at)
    count, at = int(data[at + 1 : end]), end + 2
    words = []
    for _ in range(count):
        end = data.index(b"\r\n", at)
        start = end + 2
        at = start + int(data[at + 1 : end]) + 2
        words.append(data[start : at - 2])
    return words, at


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_events(redis: RedisServer, family: str) -> None:
    with redis.wire() as theirs, redis.wire() as subscriber:
        both = Events(theirs, subscriber)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a failure names the command
        )
        @given(FAMILIES[family])
        def compare(trace: list[Line]) -> None:
            both.run(trace)

        run: Callable[[], None] = compare
        run()
    assert both.count >= EVENTS_MIN
