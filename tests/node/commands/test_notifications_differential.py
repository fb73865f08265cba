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
from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.local import LocalClient, LocalNode
from tests.support.servers import Server

EXAMPLES = 12 * PROOF
EVENTS_MIN = 100
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


def is_small(words: Line) -> bool:
    """No bit so far out that the servers would be busy for seconds making room for it."""
    return all(len(word) < 10 for word in words[2:])


FAMILIES = {
    "strings": some(string_traces.commands),
    "lists": some(list_traces.commands),
    "hashes": some(test_hashes_sets_differential.hash_commands),
    "sets": some(test_hashes_sets_differential.set_commands),
    "sorted sets": some(st.one_of(zset_traces.zset_commands, zset_traces.algebra_commands)),
    "geo": some(zset_traces.geo_commands),
    "bitmaps": some(test_bits_differential.bit_commands.filter(is_small)),
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


SCRIPT = """
blocked BLPOP l 0; RPUSH l x y; LRANGE l 0 -1; DEL l
blocked BLMOVE l m LEFT RIGHT 0; RPUSH l x; LRANGE m 0 -1
blocked BRPOPLPUSH l m 0; MULTI; RPUSH l x; SET k v; EXEC; DEL m
blocked BZPOPMIN z 0; ZADD z 1 a; EXISTS z
blocked BZMPOP 0 1 z MAX COUNT 2; ZADD z 1 a 2 b; EXISTS z
XGROUP CREATE x g $ MKSTREAM; XGROUP CREATECONSUMER x g c
blocked XREADGROUP GROUP g c BLOCK 0 STREAMS x >; XADD x 1-1 f v; XACK x g 1-1
DEL x
SADD s only; SPOP s; SADD s 1 2 3; SPOP s 2; SPOP s 5
SET t v PX 1000; WAITGONE t; SET t v; EXPIRE t 100; PERSIST t; EXPIRE t -1
SET u v; GETEX u EX 100; GETEX u PERSIST; GETDEL u; SETEX u 100 v; SET u v KEEPTTL; APPEND u w; SETRANGE u 1 z
RENAME u w; COPY w u; MOVE w 1; SWAPDB 0 1; SWAPDB 0 1; UNLINK u
SET big 10; INCRBYFLOAT big 1.5; DEL big; INCR big; DECRBY big 3; MSET a 1 b 2; MSETNX a 1 c 2; MSETNX c 3 d 4
RESTORED a; RESTORED b; FLUSHALL; RPUSH l 1 2 3; LTRIM l 5 6; RPUSH l 1; LREM l 0 1; RPOPLPUSH l m; LSET m 0 x
HSET h f 1 g 2; HINCRBY h f 2; HINCRBYFLOAT h g 1.5; HDEL h f; HDEL h g; PFADD p a; PFMERGE q p
GEOADD geo 13 38 p; GEOSEARCHSTORE near geo FROMMEMBER p BYRADIUS 1 km
GEOSEARCHSTORE near geo FROMLONLAT 1 1 BYRADIUS 1 m
SETBIT bits 7 1; BITOP NOT dest bits; BITFIELD bits SET u8 0 1; BITFIELD bits GET u8 0; BITOP AND dest none
MULTI; SET k 1; DEL k; EXEC; GET none; TTL none; EXISTS none; TYPE none; OBJECT ENCODING none
"""


def events_of_script(kind: type[Server]) -> list[tuple[str, list[Event]]]:
    """Each command of the script with the events that it and the client that waits for it have caused."""
    told = []
    with kind() as server, server.wire() as wire, server.wire() as listener, server.wire() as waiting:
        listener("PSUBSCRIBE", "__key*__:*")
        listener("SUBSCRIBE", END)
        wire("CONFIG", "SET", "notify-keyspace-events", FLAGS)
        queuing = False
        for command in SCRIPT.replace("\n", ";").split(";"):
            words = command.split()
            if not words:
                continue
            if words[0] == "blocked":
                waiting.send(*words[1:])
                wait_until(lambda: wire.info("clients")["blocked_clients"] == "1", 10, "it waits")
            elif words[0] == "WAITGONE":
                wait_until(lambda key=words[1]: wire("DBSIZE") == 0 or wire("EXISTS", key) == 0, 10, "it has expired")
            elif words[0] == "RESTORED":
                payload = wire("DUMP", words[1])
                wire("RESTORE", words[1], 0, payload, "REPLACE")
                wire("RESTORE", words[1] + "x", 100_000, payload)
            else:
                wire(*words)
            queuing = words[0] == "MULTI" or (queuing and words[0] != "EXEC")
            if queuing:
                continue
            wire("PUBLISH", END, "")
            events: list[Event] = []
            while (message := listener.read())[1] != END:
                events.append((message[2], message[3]))
            told.append((command.strip(), events if words[0] != "WAITGONE" else without_misses(events)))
    return told


def test_events_of_waiting_clients_and_of_rare_commands() -> None:
    for mine, his in zip(events_of_script(HexadServer), events_of_script(RedisServer), strict=True):
        assert mine == his
