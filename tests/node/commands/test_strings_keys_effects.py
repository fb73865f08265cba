"""What a command leaves behind beside its reply, against redis-server: the replication stream, the keyspace events,
and what INFO counts.

The real server's are read as a replica and as a subscriber; a PUBLISH ends each trace in both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from node.net.resp import RequestParser
from tests.node.commands.traces import Line, traces
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 25 * PROOF
CLOCK_TOLERANCE_MS = 10_000
DEADLINE_MIN_MS = 1_000_000_000_000
"""A larger integer in the stream is a moment."""
END = b"the end of the trace"

Effect = tuple[int, Line]
Event = tuple[bytes, bytes]


def replica(server: RedisServer) -> Wire:
    """A connection that is sent what a replica is."""
    wire = server.wire()
    wire.send("PSYNC", "?", "-1")
    assert str(wire.read().text).startswith("FULLRESYNC")
    wire._deadline = time.monotonic() + 10
    wire._at = 0
    while (line := wire._line()) == b"":  # it keeps the connection alive with line ends
        pass
    if line.startswith(b"$EOF:"):
        mark = line[5:]
        while mark not in wire._buffer[wire._at :]:
            wire._fill()
        del wire._buffer[: wire._buffer.index(mark, wire._at) + len(mark)]
    else:
        size = int(line[1:])
        while len(wire._buffer) < wire._at + size:
            wire._fill()
        del wire._buffer[: wire._at + size]
    return wire


class TheirEffects:
    """The replication stream of the real server, database by database."""

    def __init__(self, server: RedisServer) -> None:
        self.wire = replica(server)
        self.db = 0

    def until_end(self) -> list[Effect]:
        found: list[Effect] = []
        while True:
            argv: list[Any] = self.wire.read()
            name = argv[0].upper()
            if name == b"SELECT":
                self.db = int(argv[1])
            elif name == b"PUBLISH":
                return found
            elif name not in (b"PING", b"MULTI", b"EXEC"):
                found.append((self.db, argv))


class OurEffects:
    """A reader of our journal, and a listener to our events."""

    def __init__(self, node: LocalNode) -> None:
        self.effects: list[Effect] = []
        self.events: list[Event] = []
        node.server.journal.add_reader(self)
        node.keyspace.listening = True
        node.keyspace.notify = self.notify

    def take_entry(self, db: int, entry: bytes) -> None:
        parser = RequestParser(1 << 30)
        parser.feed(entry)
        (argv,) = parser.parse()
        if argv[0] not in (b"MULTI", b"EXEC"):
            self.effects.append((db, argv))

    def notify(self, _kind: str, event: str, key: bytes, db: int) -> None:
        self.events.append((b"__keyevent@%d__:%b" % (db, event.encode()), key))


def their_events(wire: Wire) -> list[Event]:
    found = []
    while True:
        _kind, _pattern, channel, text = wire.read()
        if text == END:
            return found
        found.append((channel, text))


def alike(ours: Effect, theirs: Effect) -> bool:
    if ours[0] != theirs[0] or len(ours[1]) != len(theirs[1]):
        return False
    return all(map(alike_words, ours[1], theirs[1]))


def alike_words(ours: bytes, theirs: bytes) -> bool:
    if ours.lower() == theirs.lower():
        return True
    if not (ours.isdigit() and theirs.isdigit() and int(ours) > DEADLINE_MIN_MS):
        return False
    return abs(int(ours) - int(theirs)) < CLOCK_TOLERANCE_MS


def counts(wire: Wire) -> list[int]:
    """Hits, misses, changes."""
    info = wire.info("everything")
    return [int(info[name]) for name in ("keyspace_hits", "keyspace_misses", "rdb_changes_since_last_save")]


def own_counts(node: LocalNode) -> list[int]:
    databases = node.keyspace.databases
    return [sum(db.hits for db in databases), sum(db.misses for db in databases), node.keyspace.dirty]


def settled(words: Line) -> bool:
    """Not a command that sets a key whose time is over already: when that goes is chance."""
    return not (words[0].upper() == b"SET" and any(word == b"1" for word in words[4:]))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(repl_timeout=3600, notify_keyspace_events="AEmn", repl_diskless_sync_delay=0) as server:
        yield server


def test_random_commands(redis: RedisServer) -> None:
    their_effects = TheirEffects(redis)
    with redis.wire() as theirs, redis.wire() as listener:
        listener("PSUBSCRIBE", "*")
        node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        ours, client = OurEffects(node), node.client()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(traces)
        def compare(trace: list[Line]) -> None:
            trace = [words for words in trace if words[0].upper() != b"RANDOMKEY" and settled(words)]
            node.platform.time_ms = time.time_ns() // 1_000_000
            for run in (client.raw, theirs.raw):
                run("SELECT", 0)
                run("FLUSHALL")
            theirs("PUBLISH", "end", END)
            their_effects.until_end()
            their_events(listener)
            ours.effects.clear()
            ours.events.clear()
            before = counts(theirs), own_counts(node)
            for words in trace:
                client.raw(*words)
            theirs.pipeline([*map(tuple, trace), ("PUBLISH", "end", END)])
            effects = their_effects.until_end()
            events = their_events(listener)
            assert ours.events == events
            after = counts(theirs), own_counts(node)
            moved = [[then - now for now, then in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
            assert moved[0][:2] == moved[1][:2], "hits and misses"
            if not any(words[0].upper().startswith(b"FLUSH") for words in trace):  # of nothing: counted, to be told
                assert moved[0][2] == moved[1][2], "changes"
            for mine, other in zip(ours.effects, effects, strict=True):
                assert alike(mine, other), (mine, other)

        compare()
