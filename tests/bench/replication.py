"""Throughput of SET under `-P 16` with replicas that follow, and how far they are behind meanwhile.

Each server has replicas of its own kind. A marker is written to the primary every now and then; the lag is the time
from its reply until a replica shows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.measuring import benchmark, middle
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

REQUESTS = 400_000
REPLICAS = (1, 3)
MARKER_EVERY_S = 0.02
LOOK_EVERY_S = 0.002
LAG_S_MAX = 60.0


class Lags(threading.Thread):
    """Writes markers and waits for them at one replica after the other, until `over` is set."""

    def __init__(self, primary: Server, replicas: list[Server]) -> None:
        super().__init__()
        self.over = threading.Event()
        self.seconds: list[float] = []
        self._up = primary.wire(timeout_s=LAG_S_MAX)
        self._down = [replica.wire(timeout_s=LAG_S_MAX) for replica in replicas]

    def run(self) -> None:
        number = 0
        while not self.over.wait(MARKER_EVERY_S):
            number += 1
            self._up("SET", "marker", number)
            started = time.perf_counter()
            replica = self._down[number % len(self._down)]
            while int(replica("GET", "marker") or 0) < number:
                time.sleep(LOOK_EVERY_S)
            self.seconds.append(time.perf_counter() - started)

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]


@contextmanager
def group(kind: type[Server], count: int) -> Iterator[tuple[Server, list[Server]]]:
    """A primary and its replicas, in sync."""
    with ExitStack() as stack:
        primary = stack.enter_context(kind(repl_diskless_sync_delay=0))
        options = {"replicaof": ["127.0.0.1", str(primary.port)]}
        replicas = [stack.enter_context(kind(**options)) for _ in range(count)]
        with primary.wire() as wire:
            wait_until(lambda: wire.info("replication").get(f"slave{count - 1}", "").count("online"), 30, "in sync")
            wait_until(lambda: wire("WAIT", count, 1000) == count, 30, "all online")
        yield primary, replicas


def run(primary: Server, replicas: list[Server]) -> tuple[float, float]:
    """(requests a second, the lag in s that 99 of 100 markers kept)."""
    lags = Lags(primary, replicas)
    lags.start()
    try:
        rate = benchmark(
            primary.port, "-c", "50", "-P", "16", "-n", str(REQUESTS), "-r", "100000", "-d", "32", "-t", "set"
        )
    finally:
        lags.over.set()
        lags.join()
    return rate, lags.percentile(0.99)


def table(rounds: int) -> str:
    lines = [
        "| `redis-benchmark -c 50 -P 16 -t set` | throughput Hexad | Redis | ratio | lag p99 Hexad | Redis |",
        "|---|---|---|---|---|---|",
    ]
    for count in REPLICAS:
        with group(HexadServer, count) as ours, group(RedisServer, count) as theirs:
            run(*ours), run(*theirs)
            pairs = [(run(*ours), run(*theirs)) for _ in range(rounds)]
        rates = [middle([pair[side][0] for pair in pairs]) for side in (0, 1)]
        lags = [middle([pair[side][1] for pair in pairs]) for side in (0, 1)]
        ratio = middle([mine[0] / his[0] for mine, his in pairs])
        lines.append(
            f"| {count} replica{'s' if count > 1 else ''} | {rates[0] / 1000:.0f} k/s | {rates[1] / 1000:.0f} k/s | "
            f"**{ratio:.2f}** | {lags[0] * 1000:.0f} ms | {lags[1] * 1000:.0f} ms |"
        )
    return "\n".join(lines) + "\n"
