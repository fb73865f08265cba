"""What happens to nodes in production happens here to containers, under a load that writes and checks.

After each fault: the slots take writes again within a bound, all nodes agree within another, no slot has two primaries
(every node is asked), and no key is missing whose write was confirmed by `WAIT 1`. `make test-long` runs one round of
each fault, `make proof` ten, beside ten with genuine Redis in the same containers, and prints a table.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from node.slots import slot_of
from tests.chaos.compose import FAULTS, NODE_TIMEOUT_MS, ComposeCluster, Fault, compose_cluster, doubly_owned
from tests.chaos.load import Load
from tests.support.containers import build_genuine_image, build_image, engine_environment

NETWORK = "172.30.79"
DOWN_S_MAX = 2 * NODE_TIMEOUT_MS / 1000 + 2
RESTART_S_MAX = 30.0
WHOLE_S_MAX = 30.0
CONFIRMED_WRITES = 50
"""Before each fault, and after it, in each shard."""
PROOF_ROUNDS = 10


class Outcome(NamedTuple):
    """One round: times in seconds, numbers of writes."""

    down_s: float
    """The longest time in which the shard took no write."""
    whole_s: float
    """From the end of the fault until all nodes agree and all replicas follow."""
    confirmed: int
    unconfirmed: int
    lost: list[str]
    doubly_owned: list[str]


def run_round(cluster: ComposeCluster, fault: Fault, name: str) -> Outcome:
    """Do it to the first primary; the cluster is whole before and after."""
    shards = cluster.shards()
    victim = min(shards)
    with Load(shards, cluster.ports, victim, name) as load:
        load.await_confirmed(CONFIRMED_WRITES, WHOLE_S_MAX)
        begun_s = time.monotonic()
        fault.begin(cluster, victim)
        try:
            if fault.replaced:
                load.await_taken(victim, CONFIRMED_WRITES, WHOLE_S_MAX)
        finally:
            fault.end(cluster, victim)
        ended_s = time.monotonic()
        cluster.wait_until_whole(WHOLE_S_MAX)
        whole_s = time.monotonic() - ended_s
        load.await_confirmed(CONFIRMED_WRITES, WHOLE_S_MAX)
        down_s = load.writers[victim].longest_gap_s(begun_s)
    return Outcome(
        down_s,
        whole_s,
        sum(len(writer.confirmed) for writer in load.all),
        sum(writer.unconfirmed for writer in load.all),
        lost_writes(cluster, load, victim),
        doubly_owned(cluster.sights()),
    )


def lost_writes(cluster: ComposeCluster, load: Load, victim: int) -> list[str]:
    """Confirmed writes that were missed while the load ran, or are missing now."""
    owners = {primary: shard_owner(cluster, load.writers[primary].tags[0]) for primary in load.writers}
    missing = [key for primary, writer in load.writers.items() for key in writer.lost(owners[primary])]
    missing += load.insisting.lost(owners[victim])
    return missing + [violation for writer in load.all for violation in writer.violations]


def shard_owner(cluster: ComposeCluster, tag: str) -> int:
    """The port of the primary of a tag's slot."""
    slot = slot_of(tag.encode())
    return next(port for port, ranges in cluster.shards().items() if any(a <= slot <= b for a, b in ranges))


@pytest.fixture(scope="module")
def engine() -> dict[str, str]:
    return engine_environment()


@pytest.fixture(scope="module")
def cluster(engine: dict[str, str]) -> Iterator[ComposeCluster]:
    with compose_cluster(engine, build_image(engine), NETWORK) as cluster:
        yield cluster


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_confirmed_write_is_lost(cluster: ComposeCluster, fault: Fault) -> None:
    outcome = run_round(cluster, fault, "once")
    assert not outcome.lost and not outcome.doubly_owned
    assert outcome.down_s <= (DOWN_S_MAX if fault.replaced else RESTART_S_MAX)


@pytest.mark.proof
@pytest.mark.parametrize("build", [build_image, build_genuine_image], ids=["hexad", "redis"])
def test_ten_rounds(engine: dict[str, str], build: Callable[[dict[str, str]], str]) -> None:
    with compose_cluster(engine, build(engine), NETWORK) as cluster:
        outcomes = {
            fault: [run_round(cluster, fault, str(number)) for number in range(PROOF_ROUNDS)] for fault in FAULTS
        }
    print(f"\n{cluster.compose.env['HEXAD_IMAGE']}, cluster-node-timeout {NODE_TIMEOUT_MS} ms\n{table(outcomes)}")
    for fault, rounds in outcomes.items():
        assert not any(outcome.lost or outcome.doubly_owned for outcome in rounds), fault.name
        assert max(outcome.down_s for outcome in rounds) <= (DOWN_S_MAX if fault.replaced else RESTART_S_MAX)


def table(outcomes: dict[Fault, list[Outcome]]) -> str:
    """Markdown."""
    lines = [
        "| fault | rounds | no writes, median (max) | whole again, median (max) | confirmed writes | of these lost |",
        "|---|---|---|---|---|---|",
    ]
    for fault, rounds in outcomes.items():
        down, whole = ([getattr(outcome, name) for outcome in rounds] for name in ("down_s", "whole_s"))
        lines.append(
            f"| {fault.name} | {len(rounds)} | {statistics.median(down):.2f} s ({max(down):.2f} s) "
            f"| {statistics.median(whole):.2f} s ({max(whole):.2f} s) "
            f"| {sum(outcome.confirmed for outcome in rounds)} | {sum(len(outcome.lost) for outcome in rounds)} |"
        )
    return "\n".join(lines)
