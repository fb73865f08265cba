"""Clients that wait for sorted sets: scripts with several clients, on our node and on redis-server, whose transcripts
are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import RedisServer, Wire, wait_until
from tests.support.local import LocalClient, LocalNode

Step = tuple[int, str]
"""(number of the client, its command in words)"""

CLIENTS = 4
END = "the end"

SCRIPTS: dict[str, list[Step]] = {
    "there is something": [
        (0, "ZADD b 2 two 1 one 3 three"),
        (1, "BZPOPMIN a b 0"),
        (1, "BZPOPMAX a b 0.5"),
        (1, "BZMPOP 0 2 a b MIN COUNT 5"),
    ],
    "first come, first served": [
        (0, "BZPOPMIN a 0"),
        (1, "BZPOPMAX a 0"),
        (2, "BZPOPMIN a 0"),
        (3, "ZADD a 1 one 2 two 3 three"),
        (3, "EXISTS a"),
    ],
    "only as many as there are": [
        (0, "BZPOPMIN a 0"),
        (1, "BZPOPMIN a 0"),
        (3, "ZADD a 1 one"),
        (3, "EXISTS a"),
        (3, "ZINCRBY a 5 five"),
    ],
    "the key that appears first": [
        (0, "BZPOPMIN a b c 0"),
        (3, "ZADD c 1 x"),
        (0, "BZMPOP 0 3 a b c MAX COUNT 2"),
        (3, "ZADD b 1 x 2 y 3 z"),
        (3, "ZRANGE b 0 -1 WITHSCORES"),
    ],
    "made by other commands": [
        (3, "ZADD s 1 x 2 y"),
        (0, "BZPOPMIN a 0"),
        (3, "ZRANGESTORE a s 0 -1"),
        (0, "BZPOPMIN a b 0"),
        (3, "RENAME s b"),
        (0, "BZPOPMAX d 0"),
        (3, "COPY b d"),
        (0, "BZPOPMAX g 0"),
        (3, "GEOADD g 13.361389 38.115556 Palermo"),
        (0, "BZPOPMAX g 0"),
        (3, "GEOADD h 13.361389 38.115556 Palermo"),
        (3, "GEOSEARCHSTORE g h FROMLONLAT 13 38 BYRADIUS 200 km"),
    ],
    "another type does not wake": [
        (0, "BZPOPMIN a 0"),
        (3, "SET a x"),
        (3, "DEL a"),
        (3, "ZADD a 1 x"),
    ],
    "wrong": [
        (3, "SET s x"),
        (0, "BZPOPMIN a s 0"),
        (0, "BZPOPMIN a -1"),
        (0, "BZPOPMIN a x"),
        (0, "BZMPOP x 1 a MIN"),
        (0, "BZMPOP 0 0 a MIN"),
        (0, "BZMPOP x 0 a MIN"),
        (0, "BZMPOP 0 2 a MIN"),
        (0, "BZMPOP 0 1 a MID"),
        (0, "BZMPOP 0 1 a MIN COUNT 0"),
        (0, "BZMPOP 0 1 a MIN COUNT 1 COUNT 1"),
        (0, "BZMPOP 0 1 s MIN"),
        (0, "BZMPOP 0 2 nosuch s MAX COUNT 2"),
    ],
    "unblocked": [
        (0, "CLIENT ID"),
        (0, "BZPOPMIN a 0"),
        (3, "CLIENT UNBLOCK {0}"),
        (0, "BZMPOP 0 1 a MIN"),
        (3, "CLIENT UNBLOCK {0} ERROR"),
    ],
    "a timeout": [
        (0, "BZPOPMIN a 0.01"),
        (0, "BZMPOP 0.01 1 a MIN"),
    ],
}


class Ours:
    """Our node's side of a script."""

    def __init__(self, protocol: int) -> None:
        self.node = LocalNode()
        self.clients: list[LocalClient] = [self.node.client() for _ in range(CLIENTS)]
        for client in self.clients:
            client.session.resp3 = protocol == 3
        self.transcripts = [b""] * CLIENTS

    def step(self, number: int, words: list[str]) -> int:
        """Run a command; how many clients wait then."""
        self.transcripts[number] += self.clients[number].raw(*words)
        if words[-1] == "0.01" or words[1] == "0.01":
            self.node.pass_ms(11)
        for at, client in enumerate(self.clients):
            self.transcripts[at] += bytes(client.session.out)
            client.session.out.clear()
        return sum(client.session.parked is not None for client in self.clients)

    def id_of(self, number: int) -> str:
        return str(self.clients[number].session.id)


class Theirs:
    """The real server's."""

    def __init__(self, wires: list[Wire], control: Wire) -> None:
        self.wires = wires
        self.control = control
        self.ids = [str(wire("CLIENT", "ID")) for wire in wires]
        control("FLUSHALL")

    def step(self, number: int, words: list[str], waiting: int) -> None:
        self.wires[number].send(*words)
        wait_until(lambda: int(self.control.info("clients")["blocked_clients"]) == waiting, 5, f"{waiting} wait")

    def transcript(self, number: int) -> bytes:
        wire = self.wires[number]
        wire.send("ECHO", END)
        seen = b""
        while not seen.endswith(b"%b\r\n" % END.encode()):
            seen += wire.read_raw()
        return seen[: -len(b"$7\r\nthe end\r\n")]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("protocol", [2, 3])
def test_scripts(redis: RedisServer, protocol: int, script: str) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(redis.wire(protocol=protocol)) for _ in range(CLIENTS)]
        ours, theirs = Ours(protocol), Theirs(wires, stack.enter_context(redis.wire()))
        for number, command in SCRIPTS[script]:
            if command == "CLIENT ID":
                continue
            waiting = ours.step(number, command.format(ours.id_of(0)).split())
            theirs.step(number, command.format(theirs.ids[0]).split(), waiting)
        for number in range(CLIENTS):
            assert ours.clients[number].session.parked is None
            assert ours.transcripts[number] == theirs.transcript(number), number
        assert not ours.node.keyspace.waiters.keys


def test_a_wait_is_journalled_as_the_pop_that_it_was() -> None:
    node = LocalNode()
    waiting, other = node.client(), node.client()
    entries: list[bytes] = []

    class Reader:
        def take_entry(self, _db: int, entry: bytes) -> None:
            entries.append(entry)

    node.server.journal.add_reader(Reader())
    waiting.raw("BZMPOP", 0, 1, "a", "MAX", "COUNT", 5)
    other.raw("ZADD", "a", 1, "x", 2, "y")
    waiting.raw("BZPOPMIN", "a", 0)
    other.raw("ZADD", "a", 1, "x")
    assert [entry.split(b"\r\n")[2::2] for entry in entries] == [
        [b"ZADD", b"a", b"1", b"x", b"2", b"y"],
        [b"ZPOPMAX", b"a", b"2"],
        [b"ZADD", b"a", b"1", b"x"],
        [b"ZPOPMIN", b"a"],
    ]
