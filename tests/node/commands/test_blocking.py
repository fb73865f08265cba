"""Clients that wait for lists: order, wake-ups, chains, ends. Scripts of several clients, run beside redis-server too.

A script is a list of (client, command). After each step every client's new output is taken; what is compared is all
that each client got, in the order of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from node.net.resp import RequestParser
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

Step = tuple[int, str]

SCRIPTS: dict[str, list[Step]] = {
    "first come, first served": [
        (1, "BLPOP k 0"), (2, "BRPOP k 0"), (3, "BLPOP k 0"),
        (0, "RPUSH k a b"), (0, "LLEN k"), (0, "LPUSH k c d e"), (0, "LRANGE k 0 -1"),
    ],
    "keys in the order named, then what is made first": [
        (0, "RPUSH b 1"), (1, "BLPOP a b 0"), (1, "BLPOP a b c 0"), (0, "RPUSH c 2"), (1, "BLPOP a a 0"),
        (0, "RPUSH a 3"), (0, "EXISTS a b c"),
    ],
    "a chain of moves": [
        (1, "BLMOVE a b LEFT RIGHT 0"), (2, "BLMOVE b c RIGHT LEFT 0"), (3, "BRPOPLPUSH c d 0"), (4, "BLPOP d 0"),
        (0, "RPUSH a x"), (0, "EXISTS a b c d"),
    ],
    "a move to itself": [(1, "BLMOVE a a LEFT RIGHT 0"), (0, "RPUSH a 1 2 3"), (0, "LRANGE a 0 -1")],
    "a circle of moves": [
        (1, "BRPOPLPUSH a b 0"), (2, "BRPOPLPUSH b a 0"), (0, "RPUSH a foo"), (0, "LRANGE a 0 -1"), (0, "EXISTS b"),
    ],
    "a wrong target is the mover's error, and the element stays": [
        (0, "SET t x"), (1, "BLMOVE a t LEFT LEFT 0"), (2, "BLPOP a 0"), (0, "RPUSH a 1"), (0, "EXISTS a"),
    ],
    "what is no list wakes nobody": [
        (1, "BLPOP k 0"), (0, "SET k v"), (0, "APPEND k w"), (0, "DEL k"), (0, "RPUSH k 1"),
    ],
    "several at once": [
        (1, "BLMPOP 0 2 a b RIGHT COUNT 3"), (2, "BLMPOP 0 1 b LEFT"), (0, "RPUSH b 1 2 3 4"), (0, "EXISTS b"),
    ],
    "a wrong type among the keys is an error at once": [(0, "SET s x"), (1, "BLPOP k s 0"), (1, "BLPOP s k 0")],
    "whatever makes the key: RENAME": [(0, "RPUSH x 1"), (1, "BLPOP k 0"), (0, "RENAME x k"), (0, "EXISTS k")],
    "whatever makes the key: LMOVE": [(0, "RPUSH x 1"), (1, "BLPOP k 0"), (0, "LMOVE x k LEFT LEFT")],
    "whatever makes the key: COPY": [(0, "RPUSH x 1 2"), (1, "BLPOP k 0"), (0, "COPY x k"), (0, "LRANGE k 0 -1")],
    "whatever makes the key: MOVE": [
        (0, "SELECT 1"), (0, "RPUSH k 1"), (1, "BLPOP k 0"), (0, "MOVE k 0"), (0, "EXISTS k"),
    ],
    "whatever makes the key: SWAPDB": [
        (0, "SELECT 1"), (0, "RPUSH k 1 2"), (1, "BLPOP k 0"), (0, "SWAPDB 0 1"), (0, "SELECT 0"), (0, "LRANGE k 0 -1"),
    ],
    "databases do not meet": [(1, "SELECT 2"), (1, "BLPOP k 0"), (0, "RPUSH k 1"), (0, "SELECT 2"), (0, "LPUSH k 2")],
    "a pushed list that is gone before anyone looks": [
        (1, "BLPOP k 0"), (0, "RPUSH k 1"), (2, "BLPOP k 0"), (2, "PING"), (0, "RPUSH k 2"),
    ],
    "requests sent meanwhile wait": [(1, "BLPOP k 0"), (1, "PING"), (1, "LLEN k"), (0, "RPUSH k 1 2")],
    "the time is over": [
        (1, "BLPOP k 0.01"), (2, "BLMOVE k l LEFT LEFT 0.01"), (3, "BLMPOP 0.01 1 k LEFT"), (4, "BRPOPLPUSH k l 0.01"),
    ],
}  # fmt: skip


class Theirs:
    """Several connections to redis-server; what each has got since it was asked last."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.wires: dict[int, Wire] = {}

    def __call__(self, number: int, text: str) -> None:
        if number not in self.wires:
            self.wires[number] = self.server.wire()
        self.wires[number].send(*text.split())
        if text.startswith("B") or (number and text in ("PING", "LLEN k")):
            with self.server.wire() as probe:  # later commands of others must not overtake this one
                probe("PING")

    def got(self, number: int, count: int) -> bytes:
        return b"".join(self.wires[number].read_raw() for _ in range(count))


class Ours:
    """The same for a node of ours."""

    def __init__(self) -> None:
        self.node = LocalNode()
        self.clients: dict[int, Any] = {}
        self.sent: dict[int, int] = {}

    def __call__(self, number: int, text: str) -> None:
        if number not in self.clients:
            self.clients[number] = self.node.client()
        self.sent[number] = self.sent.get(number, 0) + 1
        self.node.server.read_clock()
        session = self.clients[number].session
        words = text.split()
        data = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
        if session.parked is None:
            session.receive(data)
        else:
            session.parser.feed(data)  # the reactor would not read it now
        self.settle()

    def settle(self) -> None:
        """Serve who has input left, as the reactor would."""
        for client in self.clients.values():
            session = client.session
            while session.parked is None and (session.more or session.parser.waiting_bytes):
                session.proceed()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(hz=500) as server:
        yield server


@pytest.mark.parametrize("title", SCRIPTS)
def test_a_script(redis: RedisServer, title: str) -> None:
    with redis.wire() as wire:
        wire("FLUSHALL")
    theirs, ours = Theirs(redis), Ours()
    for number, text in SCRIPTS[title]:
        theirs(number, text)
        ours(number, text)
    ours.node.pass_ms(20)
    for number, count in ours.sent.items():
        assert bytes(ours.clients[number].session.out) == theirs.got(number, count), number
    for keyspace_key in ours.node.keyspace.waiters.keys:
        raise AssertionError(f"somebody still waits for {keyspace_key}")


class Journal:
    """Takes the entries of our journal."""

    def __init__(self, node: LocalNode) -> None:
        self.entries: list[list[bytes]] = []
        node.server.journal.add_reader(self)

    def take_entry(self, _db: int, entry: bytes) -> None:
        parser = RequestParser(1 << 30)
        parser.feed(entry)
        self.entries += parser.parse()


def test_a_woken_client_is_journalled_behind_what_woke_it() -> None:
    ours = Ours()
    journal = Journal(ours.node)
    for number, text in [
        (1, "BLMOVE a b LEFT RIGHT 0"), (2, "BRPOP b 0"), (3, "BLMPOP 0 1 c LEFT COUNT 5"), (4, "BRPOPLPUSH d e 0"),
        (0, "RPUSH a x"), (0, "RPUSH c 1 2"), (0, "RPUSH d y"),
    ]:  # fmt: skip
        ours(number, text)
    assert [b" ".join(entry).decode() for entry in journal.entries] == [
        "RPUSH a x", "LMOVE a b LEFT RIGHT", "RPOP b", "RPUSH c 1 2", "LPOP c 2", "RPUSH d y", "RPOPLPUSH d e",
    ]  # fmt: skip


def test_nobody_is_served_with_what_is_over_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that makes the key runs longer than the key lives."""
    ours = Ours()
    platform, journal = ours.node.platform, Journal(ours.node)
    ours.node.server.config.put("enable-debug-command", "yes")
    monkeypatch.setattr(platform, "block", lambda _seconds: setattr(platform, "time_ms", platform.time_ms + 200))
    for number, text in [
        (1, "BRPOP k 0"), (0, "MULTI"), (0, "RPUSH k x"), (0, "PEXPIRE k 100"), (0, "DEBUG SLEEP 0.2"), (0, "EXEC"),
    ]:  # fmt: skip
        ours(number, text)
    assert not ours.clients[1].session.out
    assert journal.entries[-2:] == [[b"EXEC"], [b"DEL", b"k"]], "it goes as for any other reader"
    ours(0, "RPUSH k y")
    assert ours.clients[1].session.out.endswith(b"y\r\n")


def test_unblocked_by_another_client() -> None:
    ours = Ours()
    ours(1, "BLPOP k 0")
    ours(2, "BLPOP k 0")
    ids = [ours.clients[number].session.id for number in (1, 2)]
    ours(0, f"CLIENT UNBLOCK {ids[0]}")
    ours(0, f"CLIENT UNBLOCK {ids[1]} ERROR")
    ours(0, f"CLIENT UNBLOCK {ids[1]}")
    ours(0, "RPUSH k 1")
    out = [bytes(ours.clients[number].session.out) for number in (0, 1, 2)]
    assert out == [b":1\r\n:1\r\n:0\r\n:1\r\n", b"*-1\r\n", b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"]


def test_who_goes_leaves_the_element_to_the_next() -> None:
    ours = Ours()
    ours(1, "BLPOP k 0")
    ours(2, "BLPOP k 0")
    ours.clients[1].session.close()
    ours(0, "RPUSH k 1")
    assert bytes(ours.clients[2].session.out) == b"*2\r\n$1\r\nk\r\n$1\r\n1\r\n"


def test_who_may_not_wait_answers_at_once() -> None:
    ours = Ours()
    ours(1, "PING")
    session = ours.clients[1].session
    session.may_block = False
    session.out.clear()
    for text in ("BLPOP k 0", "BLMOVE k l LEFT LEFT 0", "BLMPOP 0 1 k LEFT"):
        ours(1, text)
    assert bytes(session.out) == b"*-1\r\n$-1\r\n*-1\r\n" and not ours.node.keyspace.waiters.keys


def test_a_new_primary_sends_the_waiting_away() -> None:
    ours = Ours()
    ours(1, "BLPOP k 0")
    ours(0, "REPLICAOF 127.0.0.1 1")
    assert bytes(ours.clients[1].session.out).startswith(b"-UNBLOCKED force unblock")


def test_a_hundred_wait_and_each_gets_his() -> None:
    ours = Ours()
    for number in range(1, 101):
        ours(number, "BLPOP k 0")
    for number in range(1, 101, 2):
        ours(0, f"RPUSH k {number} {number + 1}")
    for number in range(1, 101):
        text = b"%d" % number
        assert bytes(ours.clients[number].session.out) == b"*2\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(text), text)
    assert not ours.node.keyspace.waiters.keys


@pytest.mark.parametrize("text", ["BLPOP k 0", "BLMOVE k l LEFT LEFT 0", "BLMPOP 0 1 k LEFT", "WAIT 1 0"])
def test_nobody_waits_in_a_transaction(redis: RedisServer, text: str) -> None:
    with redis.wire() as wire:
        wire("FLUSHALL")
        expected = b"".join(wire.raw(*words.split()) for words in ("MULTI", text, "EXEC"))
    ours = Ours()
    for words in ("MULTI", text, "EXEC"):
        ours(1, words)
    assert bytes(ours.clients[1].session.out) == expected


def test_what_a_transaction_makes_and_takes_wakes_nobody() -> None:
    ours = Ours()
    for number, text in [(1, "BLPOP k 0"), (0, "MULTI"), (0, "RPUSH k 1"), (0, "DEL k"), (0, "EXEC")]:
        ours(number, text)
    assert not ours.clients[1].session.out
    for number, text in [(0, "MULTI"), (0, "RPUSH k 1"), (0, "LPUSH k 2"), (0, "EXEC"), (0, "LRANGE k 0 -1")]:
        ours(number, text)
    assert bytes(ours.clients[1].session.out) == b"*2\r\n$1\r\nk\r\n$1\r\n2\r\n"
