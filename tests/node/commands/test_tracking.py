"""Client-side caching beside a real redis-server: the same programs, the same messages to the same clients."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.traces import Line
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
CLIENTS = 3

Turn = tuple[int, str]
"""(number of a client, its words; ID0 is the first client's number, CONTROL the number of one that is not tracked)"""

CHANGES = [
    "SET K V", "SET K V NX", "INCR K", "APPEND K V", "DEL K", "RENAME K K", "COPY K K", "RPUSH K V", "LPOP K",
    "SADD K V", "SORT K STORE K", "SUNIONSTORE K K K", "HSET K V V", "EXPIRE K 100000", "EXPIRE K -1", "PERSIST K",
    "MSET K V K V", "SETRANGE K 0 x", "GETDEL K", "GETEX K PERSIST", "FLUSHDB", "UNLINK K K",
]  # fmt: skip
READS = [
    "GET K", "GET K", "GET K", "MGET K K K", "EXISTS K", "LRANGE K 0 -1", "HGETALL K", "TYPE K", "SUNION K K", "TTL K",
]  # fmt: skip
MODES = [
    "CLIENT TRACKING ON", "CLIENT TRACKING ON NOLOOP", "CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON OPTOUT",
    "CLIENT TRACKING ON OPTIN NOLOOP", "CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON BCAST NOLOOP",
    "CLIENT TRACKING ON BCAST PREFIX a PREFIX b", "CLIENT TRACKING ON BCAST PREFIX b NOLOOP",
    "CLIENT TRACKING ON REDIRECT ID0", "CLIENT TRACKING ON REDIRECT ID1 NOLOOP", "CLIENT TRACKING ON REDIRECT CONTROL",
    "CLIENT TRACKING ON BCAST REDIRECT ID2", "CLIENT TRACKING OFF",
]  # fmt: skip
ASIDE = [
    "MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "CLIENT CACHING YES", "CLIENT CACHING YES", "CLIENT CACHING NO",
    "PING", "CLIENT TRACKINGINFO", "NONSENSE", "WATCH K", "CLIENT GETNAME", "SELECT 1", "SELECT 0",
]  # fmt: skip


def program_of(seed: int) -> list[Turn]:
    luck = Random(seed)

    def filled(template: str) -> str:
        names = {"K": ("aa", "ab", "b", "c"), "V": ("1", "2", "x")}
        return " ".join(luck.choice(names[word]) if word in names else word for word in template.split())

    program = [(number, luck.choice(MODES)) for number in range(CLIENTS - 1)]
    for _ in range(50):
        templates = luck.choices([READS, CHANGES, ASIDE, MODES], [8, 6, 5, 1])[0]
        program.append((luck.randrange(CLIENTS), filled(luck.choice(templates))))
    return program


def in_any_order(text: bytes) -> list[bytes]:
    """What is redirected to the client whose command is running: 7.0 writes it before the reply, behind it, or into the
    midst of EXEC's array, as it happens; ours comes before. The order of all other messages has its own tests."""
    return sorted(text.split(b"\r\n"))


class Together:
    """The same clients at both servers. One more tracks all the time, so that ours never drops its table."""

    def __init__(self, redis: RedisServer) -> None:
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.theirs = [redis.wire(protocol=3) for _ in range(CLIENTS + 1)]
        self.control: Wire = redis.wire(protocol=3)
        self.node.server.clients.next_id = self.theirs[0]("CLIENT", "ID")  # the same numbers, which replies show
        self.ours = [self.node.client() for _ in range(CLIENTS + 1)]
        self.our_control = self.node.client()
        for client in [*self.ours, self.our_control]:
            client.raw("HELLO", 3)
        self.names = {f"ID{at}": client.raw("CLIENT", "ID")[1:-2] for at, client in enumerate(self.ours)}
        self.names["CONTROL"] = self.control.raw("CLIENT", "ID")[1:-2]
        self.messages = 0

    def close(self) -> None:
        for wire in [*self.theirs, self.control]:
            wire.close()

    def run(self, program: list[Turn]) -> None:
        for number in range(CLIENTS + 1):
            for server in (self.theirs[number], self.ours[number]):
                server.raw("RESET")
            self.turn(number, "HELLO 3", compare=False)
        self.turn(0, "FLUSHALL")
        self.turn(CLIENTS, "CLIENT TRACKING ON")
        for number, words in program:
            self.turn(number, words)

    def turn(self, number: int, words: str, *, compare: bool = True) -> None:
        """One client says something; what every client (and at last the control) has got by then."""
        line = [self.names.get(word, word.encode()) for word in words.split()]
        expected = self.their_turn(number, line)
        got = self.our_turn(number, line)
        self.messages += sum(text.count(b"invalidate") for text in got)
        assert not compare or [in_any_order(text) for text in got] == [in_any_order(text) for text in expected], (
            number,
            words,
        )

    def their_turn(self, number: int, words: Line) -> list[bytes]:
        wire = self.theirs[number]
        wire.send(*words)
        assert select.select([wire.socket], [], [], 10)[0], "no reply"
        self.control.send("PING")  # once it has its reply, all the others have theirs
        told = b""
        while not told.endswith(b"+PONG\r\n"):
            told += self.control.read_some()
        return [drained(one) for one in self.theirs] + [told.removesuffix(b"+PONG\r\n")]

    def our_turn(self, number: int, words: Line) -> list[bytes]:
        reply = self.ours[number].raw(*words)
        self.node.server.before_send()
        texts = []
        for at, client in enumerate([*self.ours, self.our_control]):
            texts.append((reply if at == number else b"") + bytes(client.session.out))
            client.session.out.clear()
        return texts


def drained(wire: Wire) -> bytes:
    text = b""
    while select.select([wire.socket], [], [], 0)[0]:
        text += wire.read_some()
    return text


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_random_programs(redis: RedisServer) -> None:
    both = Together(redis)

    @settings(
        max_examples=50 * PROOF,
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
    assert both.messages > 200
