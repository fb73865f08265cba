"""A node of ours beside Debian's redis-server: the same commands to both, replies compared byte by byte.

After each trace the digests of all keys are compared too, so that what no reply has shown shows there. A family hands
in what it allows to differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.traces import Line
from tests.support import Wire
from tests.support.local import LocalClient, LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))

Alike = Callable[[Line, bytes, bytes], bool]
"""(command, their reply, ours): do they say the same, though the bytes differ?"""


def never_alike(_words: Line, _theirs: bytes, _ours: bytes) -> bool:
    return False


class Beside:
    """Both servers, with the same data; `compared` counts commands."""

    def __init__(self, theirs: Wire, protocol: int = 2, alike: Alike = never_alike) -> None:
        self.theirs = theirs
        self.alike = alike
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.ours: LocalClient = self.node.client()
        self.ours.session.resp3 = protocol == 3
        self.compared = 0

    def run(self, trace: list[Line]) -> None:
        """The same commands to both, from the same empty beginning, and then the digests."""
        theirs, ours = self.theirs, self.ours
        self.node.platform.time_ms = time.time_ns() // 1_000_000
        theirs("FLUSHALL")
        ours.raw("FLUSHALL")
        while self.node.server.background.reclaimer.slice():
            pass  # no timers run here that would free what was flushed
        for words in trace:
            theirs.send(*words)
        replies = [theirs.read_raw() for _ in trace]  # all of them, so that a failure leaves nothing behind
        for words, expected in zip(trace, replies, strict=True):
            got = ours.raw(*words)
            assert expected == got or self.alike(words, expected, got), (words, expected, got)
        self.compared += len(trace)
        self.node.keyspace.databases[0].check()
        self.compare_digests()

    def compare_digests(self) -> None:
        """All keys hold the same."""
        keys = [key for slot in self.node.keyspace.databases[0].slots if slot for key in slot.values]
        for words in ([b"DBSIZE"], [b"DEBUG", b"DIGEST-VALUE", *sorted(keys)]):
            self.theirs.send(*words)
            expected, got = self.theirs.read_raw(), self.ours.raw(*words)
            assert expected == got, (words, expected, got)


def compare(both: Beside, traces: st.SearchStrategy[list[Line]], examples: int) -> None:
    """Run `examples` random traces; HEXAD_PROOF multiplies them."""

    @settings(
        max_examples=examples * PROOF,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(traces)
    def run(trace: list[Line]) -> None:
        both.run(trace)

    run()
