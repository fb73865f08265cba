"""Random programs of three clients that subscribe, leave and publish, beside Debian's redis-server.

After each step every client's output is compared, whoever caused it. Two orders are each server's own affair: that of
names where a client leaves all at once or PUBSUB lists them, and that of the messages of one PUBLISH. 7.0 sends what a
client publishes to itself before the reply, 7.2 and we behind it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from node.net.replies import ReplyParser
from tests.node.commands.beside import PROOF
from tests.node.commands.traces import Line, cased, line
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

EXAMPLES = 25 * PROOF
CLIENTS = 3
STEPS_MIN = 800

channels = st.sampled_from([b"a", b"b", b"ab", b"news.art", b"news.it", b"", b"k\r\n\0\xff"])
patterns = st.sampled_from([b"*", b"a*", b"news.*", b"[ab]", b"?", b"", b"k*"])
texts = st.one_of(st.sampled_from([b"hello", b"", b"x" * 2000]), st.binary(max_size=10))


def some(names: st.SearchStrategy[bytes], least: int = 1) -> st.SearchStrategy[list[bytes]]:
    return st.lists(names, min_size=least, max_size=3)


subscribing = st.one_of(
    line("SUBSCRIBE", some(channels)), line("PSUBSCRIBE", some(patterns)), line("SSUBSCRIBE", some(channels))
)
leaving = st.one_of(
    line("UNSUBSCRIBE", some(channels, 0)),
    line("PUNSUBSCRIBE", some(patterns, 0)),
    line("SUNSUBSCRIBE", some(channels, 0)),
)
publishing = st.one_of(line("PUBLISH", channels, texts), line("SPUBLISH", channels, texts))
looking = st.one_of(
    line("PUBSUB", cased("CHANNELS"), st.lists(patterns, max_size=2)),
    line("PUBSUB", cased("SHARDCHANNELS"), st.lists(patterns, max_size=1)),
    line("PUBSUB", cased("NUMSUB"), some(channels, 0)),
    line("PUBSUB", cased("SHARDNUMSUB"), some(channels, 0)),
    line("PUBSUB", st.sampled_from([b"NUMPAT", b"nosuch"])),
    line("CLIENT", cased("INFO")),
)
others = st.one_of(
    line("PING", st.lists(texts, max_size=2)),
    line("GET", st.just(b"nokey")),
    line("HELLO", st.sampled_from([b"2", b"3"])),
    line("RESET"),
    st.sampled_from([[b"SUBSCRIBE"], [b"PSUBSCRIBE"], [b"PUBLISH", b"a"], [b"PUBSUB"], [b"SPUBLISH", b"a", b"b", b""]]),
)
steps = st.tuples(
    st.integers(0, CLIENTS - 1),
    st.one_of(subscribing, subscribing, leaving, publishing, publishing, publishing, looking, others),
)
programs = st.lists(steps, min_size=30, max_size=50)


def parsed(data: bytes) -> list[Any]:
    parser = ReplyParser()
    parser.feed(data)
    found = parser.parse()
    assert parser.is_between_replies, data
    return found


SHOWN = re.compile(rb" (flags=\S+|sub=\d+|psub=\d+|ssub=\d+|resp=\d)")


def comparable(words: Line, replies: list[Any]) -> Any:
    """What one command sent to one client, in a form that is equal where both say the same."""
    if words[0].upper() == b"CLIENT":
        replies = [b"".join(SHOWN.findall(bytes(one))) if b"flags=" in bytes(one) else one for one in replies]
    if words[0].upper() == b"HELLO":
        return [type(one) for one in replies]
    if words[0].upper().endswith(b"UNSUBSCRIBE") and len(words) == 1:
        flat = [sorted(map(repr, column)) for column in zip(*replies, strict=True)] if len(replies) > 1 else replies
        return [type(one) for one in replies], flat
    if words[0].upper() == b"PUBSUB" and len(words) > 1 and words[1].upper().endswith(b"CHANNELS"):
        replies = [sorted(one) if isinstance(one, list) else one for one in replies]
    return sorted((type(one).__name__, repr(one)) for one in replies)


class Both:
    """Three clients of either server."""

    def __init__(self, wires: list[Wire]) -> None:
        self.wires = wires
        self.steps = 0

    def run(self, program: list[tuple[int, Line]]) -> None:
        node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        clients = [node.client() for _ in self.wires]
        for wire in self.wires:
            wire("RESET")
        for at, words in program:
            self.wires[at].send(*words)
            first = self._their_output(at)  # once it has its reply, everybody has the messages that it caused
            theirs = [self._their_output(other) for other in range(CLIENTS)]
            theirs[at] = first + theirs[at]
            answer = clients[at].raw(*words)
            for other, client in enumerate(clients):
                ours = (answer if other == at else b"") + bytes(client.session.out)
                client.session.out.clear()
                expected, got = comparable(words, parsed(theirs[other])), comparable(words, parsed(ours))
                assert got == expected, (at, words, other, theirs[other], ours)
            self.steps += 1
        node.server.pubsub.check()
        for client in clients:
            client.session.lost("")
        assert not node.server.pubsub.has_listeners and not node.server.pubsub.shard_channels

    def _their_output(self, at: int) -> bytes:
        """All that has come to a client by now."""
        token = b"token %d" % self.steps
        self.wires[at].send("PING", token)
        data = b""
        while True:
            raw = self.wires[at].read_raw()
            if token in raw:
                return data
            data += raw


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_random_programs(redis: RedisServer) -> None:
    both = Both([redis.wire() for _ in range(CLIENTS)])

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(programs)
    def compare(program: list[tuple[int, Line]]) -> None:
        both.run(program)

    run: Callable[[], None] = compare
    run()
    assert both.steps >= STEPS_MIN
    for wire in both.wires:
        wire.close()
