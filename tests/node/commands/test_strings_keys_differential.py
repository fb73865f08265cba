"""Random commands of the string and key families, to our node and to Debian's redis-server, compared byte by byte.

HEXAD_PROOF multiplies the number of examples. What 7.0 answers differently from 7.2 stands in `KNOWN_DIFFERENCES`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.node.commands.traces import Line, traces
from tests.support import RedisServer, Wire
from tests.support.local import LocalClient, LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 100 * PROOF
COMMANDS_MIN = 5000
CLOCK_TOLERANCE_MS = 10_000
DATABASES = 3

KNOWN_DIFFERENCES: dict[tuple[bytes, bytes], bytes] = {}
"""(what 7.0 says, what 7.2 and we say), as whole replies; the value tells why."""


class Pair:
    """Both servers, with the same data, and what is not compared byte by byte."""

    def __init__(self, theirs: Wire, protocol: int) -> None:
        self.theirs = theirs
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.ours: LocalClient = self.node.client()
        self.ours.session.resp3 = protocol == 3

    def run(self, trace: list[Line]) -> None:
        """The same commands to both, from the same empty beginning."""
        theirs = self.theirs
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        theirs("SELECT", 0)
        theirs("FLUSHALL")
        self.ours.raw("SELECT", 0)
        self.ours.raw("FLUSHALL")
        for words in trace:
            theirs.send(*words)
        replies = [theirs.read_raw() for _ in trace]  # all of them, so that a failure leaves nothing behind
        for words, expected in zip(trace, replies, strict=True):
            got = self.ours.raw(*words)
            assert self._alike(words, expected, got), (words, expected, got)

    def _alike(self, words: Line, expected: bytes, got: bytes) -> bool:
        if expected == got or (expected, got) in KNOWN_DIFFERENCES:
            return True
        name = words[0].upper()
        if name in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME") and len(words) == 2:
            return _near(expected, got, CLOCK_TOLERANCE_MS if name[:1] == b"P" else CLOCK_TOLERANCE_MS // 1000)
        if name == b"OBJECT" and words[1].upper() == b"IDLETIME":
            return expected[:1] == got[:1] == b":"  # integers that keys share keep the clock of their last use
        if name == b"OBJECT" and len(words) == 3:
            return self._integral_float(words[2], expected, got)
        if name in (b"KEYS", b"SCAN"):
            return sorted(expected[:-2].split(b"\r\n$")) == sorted(got[:-2].split(b"\r\n$"))
        if name == b"RANDOMKEY":
            return got[:1] == expected[:1] == b"$"
        return False

    def _integral_float(self, key: bytes, expected: bytes, got: bytes) -> bool:
        """INCRBYFLOAT leaves an integer that Redis keeps as text until it is loaded again; we know no such text."""
        value = self.ours.session.db.peek(key)
        return (got, expected) == (b"$3\r\nint\r\n", b"$6\r\nembstr\r\n") or (
            value is not None and expected == b":1\r\n" and got == b":2147483647\r\n"
        )

    def check(self) -> None:
        for number in range(DATABASES):
            self.node.keyspace.databases[number].check()


def _near(expected: bytes, got: bytes, tolerance: int) -> bool:
    if not (expected[:1] == got[:1] == b":"):
        return False
    first, second = int(expected[1:]), int(got[1:])
    return (first > 0 and second >= 0 and abs(first - second) <= tolerance) or (first == 0 and 0 <= second <= tolerance)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands(redis: RedisServer, protocol: int) -> None:
    counted = 0
    with redis.wire(protocol=protocol) as theirs:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(traces)
        def compare(trace: list[Line]) -> None:
            nonlocal counted
            counted += len(trace)
            both.run(trace)
            if counted % 7 == 0:
                both.check()

        both = Pair(theirs, protocol)
        compare()
    assert counted >= COMMANDS_MIN
