"""Writers with WAIT 1 and a fault every few seconds: in the end all have the same, and nothing confirmed is missing."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.node.replication.support import TIMEOUT_S, Proxy, full_syncs, node, offset_of, partial_syncs, wait_connected
from tests.node.replication.writing import Writers
from tests.support import Server, Wire, wait_until

FAULT_EVERY_S = 3.0
PAUSE_S = 1.0
BALLAST_KEYS = 10_000
BALLAST_BYTES = 1000
SYNC_TIMEOUT_S = 60.0


@dataclass
class Follower:
    """A replica behind a link that can be cut."""

    server: Server
    proxy: Proxy

    @property
    def is_up(self) -> bool:
        with self.server.wire() as wire:
            return bool(wire("ROLE")[3] == b"connected")

    def wait_up(self) -> None:
        wait_until(lambda: self.is_up, SYNC_TIMEOUT_S, "the replica is in sync again")

    def hold_after(self, count: int) -> None:
        """Let the primary's next `count` bytes pass and no more, and wait until they have."""
        self.proxy.stop_after_bytes = goal = self.proxy.passed_bytes + count
        wait_until(lambda: self.proxy.passed_bytes >= goal, SYNC_TIMEOUT_S, "the link is held")

    def let_go(self) -> None:
        self.proxy.cut()
        self.proxy.stop_after_bytes = None


def killed(follower: Follower, _up: Wire, _luck: random.Random) -> None:
    follower.server.kill()
    follower.server.start()


def restarted(follower: Follower, _up: Wire, _luck: random.Random) -> None:
    with follower.server.wire() as wire:
        wire("CONFIG", "SET", "save", "3600 1")
    follower.server.restart()


def link_cut(follower: Follower, _up: Wire, _luck: random.Random) -> None:
    follower.proxy.cut()


def link_cut_in_a_partial_sync(follower: Follower, _up: Wire, luck: random.Random) -> None:
    follower.proxy.cut()
    follower.hold_after(luck.randrange(1, 2000))
    follower.let_go()


def link_cut_in_a_full_sync(follower: Follower, _up: Wire, luck: random.Random) -> None:
    follower.server.kill()
    (follower.server.directory / "dump.rdb").unlink(missing_ok=True)  # else it would go on from there
    follower.server.start()
    follower.hold_after(luck.randrange(1000, BALLAST_KEYS * BALLAST_BYTES))
    follower.let_go()


def paused(follower: Follower, _up: Wire, _luck: random.Random) -> None:
    follower.server.signal(signal.SIGSTOP)
    time.sleep(PAUSE_S)
    follower.server.signal(signal.SIGCONT)


def killed_by_the_primary(_follower: Follower, up: Wire, _luck: random.Random) -> None:
    up("CLIENT", "KILL", "TYPE", "replica")


FAULTS: list[Callable[[Follower, Wire, random.Random], None]] = [
    killed, restarted, link_cut, link_cut_in_a_partial_sync, link_cut_in_a_full_sync, paused, killed_by_the_primary,
]  # fmt: skip


def fill(wire: Wire) -> None:
    luck = random.Random(5)
    for start in range(0, BALLAST_KEYS, 1000):
        wire.pipeline([("SET", f"b{number}", luck.randbytes(BALLAST_BYTES)) for number in range(start, start + 1000)])


@pytest.mark.parametrize(
    ("kinds", "duration_s"),
    [
        pytest.param(("hexad", "hexad", "redis"), 60, marks=pytest.mark.long),
        pytest.param(("hexad", "hexad", "redis"), 600, marks=pytest.mark.proof),
        pytest.param(("redis", "hexad", "hexad"), 600, marks=pytest.mark.proof),
    ],
)
def test_soak(kinds: tuple[str, ...], duration_s: float) -> None:
    luck = random.Random(f"{kinds} {duration_s}")
    first, *others = kinds
    with ExitStack() as stack:
        primary = stack.enter_context(node(first, enable_debug_command="yes"))
        up = primary.wire(timeout_s=SYNC_TIMEOUT_S)
        fill(up)
        followers = []
        for kind in others:
            proxy = stack.enter_context(Proxy(primary.port))
            options = {"replicaof": ["127.0.0.1", str(proxy.port)], "enable_debug_command": "yes"}
            followers.append(Follower(stack.enter_context(node(kind, **options)), proxy))
        for follower in followers:
            follower.wait_up()
        writers = stack.enter_context(Writers(4, [primary], copies=1))
        deadline, faults = time.monotonic() + duration_s, dict[str, int]()
        while time.monotonic() < deadline:
            next_fault = time.monotonic() + FAULT_EVERY_S
            fault = luck.choice(FAULTS)
            faults[fault.__name__] = faults.get(fault.__name__, 0) + 1
            fault(luck.choice(followers), up, luck)
            time.sleep(max(0.0, next_fault - time.monotonic()))
        writers.stop()
        for follower in followers:
            follower.wait_up()
        wires = [up, *(follower.server.wire(timeout_s=SYNC_TIMEOUT_S) for follower in followers)]
        wait_connected(*wires[1:])
        wait_until(lambda: len({offset_of(wire) for wire in wires}) == 1, TIMEOUT_S, "the same offset")
        for wire in wires:
            writers.check(wire)
        assert len({str(wire("DEBUG", "DIGEST")) for wire in wires}) == 1
        copies = [(full_syncs(follower.server), partial_syncs(follower.server)) for follower in followers]
        print(f"\n{kinds}: {faults}; {writers.confirmed} writes confirmed; (full, partial) syncs {copies}")
