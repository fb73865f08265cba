"""WATCH beside a real redis-server: two and three clients take turns, and each EXEC answers alike."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gossip.bus import PERFORM
from gossip.events import DropSlotKeys
from node.slots import slot_of
from tests.node.commands.traces import Line
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
CLIENTS = 3

Turn = tuple[int, Line]
"""(number of a client, its command)"""

CHANGES = (
    """
SET K V|SET K V NX|INCR K|APPEND K|DEL K|RENAME K K|COPY K K|RPUSH K V|LPOP K|SORT K STORE K|SADD K V|SUNIONSTORE K K K
HSET K V V|EXPIRE K 100000|EXPIRE K -1|PERSIST K|MOVE K 1|SETRANGE K 0 x|GETDEL K|SETEX K 100000 V|GETEX K PERSIST
SELECT 1|SELECT 0|SELECT 0|SWAPDB 0 1|FLUSHDB|FLUSHALL|GET K|TOUCH K|TYPE K|SMOVE K K V|LMOVE K K LEFT RIGHT
""".strip()
    .replace("\n", "|")
    .split("|")
)
WATCHING = ["WATCH K", "WATCH K K", "WATCH K K K", "WATCH K K", "WATCH", "UNWATCH", "GET K"]
QUEUED = [*CHANGES, "WATCH K", "UNWATCH", "PING", "PING"]
ENDING = [*["EXEC"] * 9, "DISCARD", "RESET", "MULTI", "NONSENSE", "UNWATCH"]


def episode(luck: Random) -> list[str]:
    """A client watches, looks, queues and executes, mostly."""

    def some(templates: list[str], most: int, least: int = 0) -> list[str]:
        return luck.choices(templates, k=luck.randint(least, most))

    return [
        *some(WATCHING, 2, 1),
        *some(["GET K", "PING", *CHANGES[:3]], 2),
        "MULTI",
        *some(QUEUED, 3),
        *some(ENDING, 2, 1),
    ]


def program_of(seed: int) -> list[Turn]:
    """Three clients take turns: two with transactions, one that only writes or has transactions, too."""
    luck = Random(seed)

    def filled(template: str) -> Line:
        return [
            {"K": luck.choice("abc"), "V": luck.choice("12x")}.get(word, word).encode() for word in template.split()
        ]

    stories = [[line for _ in range(3) for line in episode(luck)] for _ in range(2)]
    stories.append(luck.choices(CHANGES, k=12) if luck.random() < 0.5 else episode(luck))
    program: list[Turn] = []
    while any(stories):
        number = luck.choice([number for number, story in enumerate(stories) if story])
        program.append((number, filled(stories[number].pop(0))))
    return program


class Together:
    """The same clients at both servers."""

    def __init__(self, redis: RedisServer, protocol: int = 2) -> None:
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.theirs = [redis.wire(protocol=protocol) for _ in range(CLIENTS)]
        self.ours = [self.node.client() for _ in range(CLIENTS)]
        for client in self.ours:
            client.raw("HELLO", protocol)
        self.protocol = protocol
        self.executed = self.refused = 0

    def run(self, program: list[Turn]) -> None:
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        for number in range(CLIENTS):
            self.turn(number, [b"RESET"])
            for server in (self.theirs[number], self.ours[number]):
                server.raw("HELLO", self.protocol)
        self.turn(0, [b"FLUSHALL"])
        for number, words in program:
            self.turn(number, words)
        self.node.keyspace.databases[0].check()

    def turn(self, number: int, words: Line) -> bytes:
        expected, got = self.theirs[number].raw(*words), self.ours[number].raw(*words)
        assert got == expected, (number, words)
        if words[0].upper() == b"EXEC":
            self.executed += expected[:1] == b"*" and expected != b"*-1\r\n"
            self.refused += expected in (b"*-1\r\n", b"_\r\n")
        return got

    def close(self) -> None:
        for wire in self.theirs:
            wire.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(enable_debug_command="yes") as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_programs(redis: RedisServer, protocol: int) -> None:
    both = Together(redis, protocol)

    @settings(
        max_examples=25 * PROOF,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.integers(0, 1 << 32))
    def run(seed: int) -> None:
        both.run(program_of(seed))

    try:
        run()
    finally:
        both.close()
    assert both.executed > 20 and both.refused > 20
    both.ours.clear()
    for session in list(both.node.server.sessions.values()):
        session.lost("")
    assert not both.node.keyspace.watching.keys and not both.node.keyspace.listening


# --- what random programs do not meet ---------------------------------------------------------------------------------


@pytest.fixture
def both(redis: RedisServer) -> Iterator[Together]:
    together = Together(redis)
    together.run([])
    yield together
    together.close()


def say(both: Together, *script: str) -> bytes:
    """`0 WATCH a`: the first client says WATCH a. The reply to the last line."""
    reply = b""
    for words in script:
        number, *argv = words.encode().split()
        reply = both.turn(int(number), argv)
    return reply


NIL, DONE = b"*-1\r\n", b"*1\r\n+PONG\r\n"
TRY = ("0 MULTI", "0 PING", "0 EXEC")


def let_pass(both: Together, *written: str) -> None:
    """Give these keys a deadline and let it pass, with nobody removing them by himself."""
    for wire in (both.theirs[2], both.ours[2]):
        wire.raw("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    say(both, *(f"2 PEXPIRE {key} 2" for key in written))
    time.sleep(0.004)
    both.node.platform.time_ms += 4


def test_a_key_that_expires_spoils(both: Together) -> None:
    say(both, "1 SET a 1", "0 WATCH a")
    let_pass(both, "a")
    assert say(both, *TRY) == NIL
    say(both, "1 SET a 1", "0 WATCH a")
    let_pass(both, "a")
    assert say(both, "1 GET a", *TRY) == NIL


def test_a_key_that_had_expired_when_it_was_watched_is_as_good_as_not_there(both: Together) -> None:
    for event, told in (
        ("1 PING", DONE),
        ("1 GET a", DONE),
        ("1 DEL a", DONE),
        ("1 SET a 1", NIL),
        ("1 FLUSHALL", DONE),
    ):
        say(both, "1 SET a 1")
        let_pass(both, "a")
        assert say(both, "0 WATCH a", event, *TRY) == told, event


@pytest.mark.parametrize("over_here", [False, True])
@pytest.mark.parametrize("over_there", [False, True])
def test_swapdb_and_expired_keys(both: Together, over_here: bool, over_there: bool) -> None:
    """`a` is in both databases, or in one, alive or over: only what a reader could see counts."""
    for script in (["1 SET a 1"], ["1 SELECT 1", "1 SET a 2", "1 SELECT 0"], ["1 SET a 1", "1 COPY a a DB 1"]):
        say(both, "1 FLUSHALL", *script)
        if over_here:
            let_pass(both, "a")
        if over_there:
            say(both, "2 SELECT 1")
            let_pass(both, "a")
            say(both, "2 SELECT 0")
        say(both, "0 WATCH a", "1 SWAPDB 0 1", *TRY)


def test_flags_of_who_watches(both: Together) -> None:
    numbers = [int(client.raw("CLIENT", "ID")[1:]) for client in (both.theirs[0], both.ours[0])]

    def flags() -> list[bytes]:
        lists = [
            both.theirs[1].raw("CLIENT", "LIST", "ID", numbers[0]),
            both.ours[1].raw("CLIENT", "LIST", "ID", numbers[1]),
        ]
        return [text.split(b" flags=")[1].split()[0] for text in lists]

    for event, told in (("0 WATCH a b", b"N"), ("1 SET a 1", b"d"), ("0 MULTI", b"xd"), ("0 EXEC", b"N")):
        say(both, event)
        assert flags() == [told, told]


def test_a_client_that_is_gone_watches_nothing(both: Together) -> None:
    say(both, "0 WATCH a", "1 WATCH a b")
    watching = both.node.keyspace.watching
    both.ours[0].session.lost("")
    assert {key for _, key in watching.keys} == {b"a", b"b"}
    both.ours[1].session.lost("")
    assert not watching.keys and not both.node.keyspace.listening


def test_a_slot_that_is_lost_and_a_full_synchronization_spoil(both: Together) -> None:
    """What no command does: the places where the node itself empties or replaces."""
    node, (first, second, _) = both.node, both.ours
    second.raw("SET", "a", 1)
    for event in (lambda db: db.tell(b"a", "del", "g"), lambda db: node.keyspace.watching.replace(db)):
        first.raw("WATCH", "a")
        event(node.keyspace.databases[0])
        assert first.session.watcher is not None and first.session.watcher.spoiled
        first.raw("UNWATCH")
    first.raw("WATCH", "a", "b")
    beside = type(node.keyspace.databases[0])(0, node.keyspace)
    beside.set(b"b", b"1")
    beside.flush()  # a load that was given up: not what clients see
    assert not first.session.watcher.spoiled


# --- cluster ----------------------------------------------------------------------------------------------------------


def test_keys_of_a_lost_slot_spoil_and_are_told() -> None:
    """What the cluster drops with a slot is a change like any other."""
    node = LocalNode()
    first, tracker = node.client(), node.client()
    first.raw("SET", "key", 1)
    first.raw("WATCH", "key", "other")
    tracker.raw("HELLO", 3)
    tracker.raw("CLIENT", "TRACKING", "ON", "BCAST")
    drop: Any = PERFORM[DropSlotKeys]
    drop(SimpleNamespace(server=node.server), DropSlotKeys((slot_of(b"key"),)))
    first.raw("MULTI")
    assert first.raw("EXEC") == NIL, "at once"
    while node.server.background.trimmer.slice():
        pass
    node.server.before_send()
    assert b"invalidate" in tracker.session.out


def test_a_cluster_sends_watch_where_its_keys_are() -> None:
    told = []
    for kind in (RedisServer, HexadServer):
        with kind(cluster_enabled="yes") as server, server.wire() as wire, server.wire() as other:
            wire("CLUSTER", "ADDSLOTSRANGE", 0, 12000)
            wire("CONFIG", "SET", "cluster-require-full-coverage", "no")
            wait_until(lambda: other("SET", "b", 1) == "OK", 10, "the slots are served")
            replies = [wire(*words.split()) for words in ("WATCH a", "WATCH b c", "WATCH b", "MULTI", "GET b")]
            other("SET", "b", 2)
            told.append([*replies, wire("EXEC")])
    assert told[1] == told[0]
