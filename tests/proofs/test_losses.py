"""Confirmed writes that a failure costs, beside a genuine cluster: same faults, same timeout, at the same time.

Replication is asynchronous in both, so some writes may be lost: those that a killed primary had confirmed and not yet
sent, and those that one which was cut off took until it noticed. No more than in a genuine cluster.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.proofs.fenced import FAULTS, FencedCluster, Lost, await_writes, count_lost, strike, writers
from tests.support.servers import HexadServer, RedisServer, Server

TIMEOUT_MS = 1000
DOWN_S = 4.0
CI_S, PROOF_S, PROOF_RUNS = 20.0, 60.0, 10
NOISE = 20
"""Writes that luck decides about: what was on its way when the signal came."""


@dataclass
class Result:
    """One run of one cluster."""

    lost: dict[str, Lost] = field(default_factory=dict)
    gaps_s: dict[str, list[float]] = field(default_factory=dict)
    replaced: int = 0
    failure: BaseException | None = None

    def run(self, kind: type[Server], network: int, seed: int, for_s: float) -> None:
        try:
            options = {"network": network, "cluster_node_timeout": TIMEOUT_MS}
            with FencedCluster([kind] * 6, **options) as cluster:  # type: ignore[arg-type]
                self._storm(cluster, Random(seed), time.monotonic() + for_s)
        except BaseException as failure:
            self.failure = failure

    def _storm(self, cluster: FencedCluster, rng: Random, end_s: float) -> None:
        """One fault after the other until the time is over, each with a load of its own."""
        names: list[str] = []
        while time.monotonic() < end_s:
            names = names or rng.sample(sorted(FAULTS), len(FAULTS))
            name = names.pop()
            primaries = sorted(cluster.primaries(), key=lambda node: cluster.nodes.index(node))
            with contextlib.ExitStack() as stack:
                load = [stack.enter_context(writer) for writer in writers(cluster)]
                await_writes(load)
                self.replaced += strike(cluster, FAULTS[name], rng.choice(primaries), DOWN_S)
            before = self.lost.get(name, Lost(0, []))
            now = count_lost(cluster, load)
            self.lost[name] = Lost(before.confirmed + now.confirmed, before.keys + now.keys)
            self.gaps_s.setdefault(name, []).append(max(writer.longest_gap_s() for writer in load))
            with contextlib.ExitStack() as stack:
                for primary in cluster.primaries():
                    stack.enter_context(primary.wire())("FLUSHALL")


def side_by_side(seed: int, for_s: float) -> tuple[Result, Result]:
    """(ours, genuine), at the same time, so that both have the same machine."""
    results = Result(), Result()
    threads = [
        threading.Thread(target=result.run, args=(kind, network, seed, for_s))
        for result, kind, network in zip(results, (HexadServer, RedisServer), (1, 2), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if result.failure is not None:
            raise result.failure
    return results


@pytest.mark.long
def test_no_more_is_lost_than_by_redis() -> None:
    ours, theirs = side_by_side(1, CI_S)
    assert ours.replaced and theirs.replaced
    lost, allowed = (sum(len(one.keys) for one in result.lost.values()) for result in (ours, theirs))
    confirmed = sum(one.confirmed for one in ours.lost.values())
    assert confirmed > 1000
    assert lost <= 2 * allowed + NOISE + confirmed // 20, "one run is luck, but not this much"


@pytest.mark.proof
def test_proof_of_losses(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [side_by_side(seed, PROOF_S) for seed in range(PROOF_RUNS)]
    with capsys.disabled():
        print(f"\n{PROOF_RUNS} runs of {PROOF_S:.0f} s, node timeout {TIMEOUT_MS} ms, both clusters at the same time\n")
        print("| fault | rounds | no writes, median Hexad | Redis | confirmed writes Hexad | lost | Redis | lost |")
        print("|---|---|---|---|---|---|---|---|")
        for name in FAULTS:
            cells, rounds = [], 0
            gaps = [[gap for run in runs for gap in run[side].gaps_s.get(name, [])] for side in (0, 1)]
            for side in (0, 1):
                found = [run[side].lost[name] for run in runs if name in run[side].lost]
                cells += [f"{sum(one.confirmed for one in found)} | {sum(len(one.keys) for one in found)}"]
                rounds = max(rounds, len(gaps[side]))
            middles = " | ".join(f"{statistics.median(each):.2f} s" for each in gaps)
            print(f"| {name} | {rounds} | {middles} | {' | '.join(cells)} |")
    rates = []
    for side in (0, 1):
        found = [one for run in runs for one in run[side].lost.values()]
        rates.append(sum(len(one.keys) for one in found) / sum(one.confirmed for one in found))
    assert rates[0] <= rates[1] * 1.1, rates
