"""Either process of a migration kills itself at each of its named points: rolled back, or completed.

As test_migrating_crashes.py, but with processes that the kernel ends. Afterwards all agree about who owns the slots,
epochs have not gone back, and every key is there once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from gossip.moving.mover import POINTS
from tests.gossip.deadly import FILE
from tests.gossip.migrating import cluster_info, key_in, primary_of, statuses
from tests.support import HexadServer, wait_until
from tests.support.cluster import LocalCluster

FIRST, LAST = 100, 139
KEYS = [key_in(slot, number) for slot in range(FIRST, LAST + 1) for number in range(20)]
BIG, FIELDS = key_in(FIRST, 99), 5000
"""A hash that goes in pieces."""
OVER_S = 60.0
IN_CI = ("target copied", "target saved", "source held")


class DeadlyServer(HexadServer):
    program = (sys.executable, "-m", "tests.gossip.deadly")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    options = {"cluster_node_timeout": 2000, "appendonly": "yes", "cluster_slot_migration_write_pause_timeout": 2000}
    with LocalCluster(DeadlyServer, nodes=3, replicas=0, **options) as cluster:
        with cluster.wire_for(primary_of(cluster, FIRST)) as wire:
            assert wire.pipeline([("SET", key, key) for key in KEYS]) == ["OK"] * len(KEYS)
            assert wire("HSET", BIG, *[word for at in range(FIELDS) for word in (f"field:{at}", at)]) == FIELDS
        yield cluster


def epochs(cluster: LocalCluster) -> list[int]:
    """Of each node."""
    found = []
    for node in cluster.nodes:
        with node.wire() as wire:
            found.append(int(cluster_info(wire)["cluster_my_epoch"]))
    return found


def look_over(cluster: LocalCluster) -> bool:
    """No node knows of a migration that goes on, and no key is anywhere but with its owner."""
    sizes = []
    for node in cluster.nodes:
        with node.wire() as wire:
            going = [task for task in statuses(wire) if task["state"] not in ("completed", "failed", "canceled")]
            assert not going, going
            sizes.append(wire("DBSIZE"))
    assert sum(sizes) == len(KEYS) + 1, sizes
    return True


@pytest.mark.parametrize(
    ("point", "who"),
    [
        pytest.param(point, who, marks=pytest.mark.long if point in IN_CI else pytest.mark.proof)
        for point in POINTS
        for who in ["source" if point == "dropping" else point.partition(" ")[0]]
    ],
)
def test_death_of_a_process(cluster: LocalCluster, point: str, who: str) -> None:
    cluster.wait_until_agreed()
    source = cluster.node(primary_of(cluster, FIRST))
    target = next(node for node in cluster.nodes if node is not source)
    dying = source if who == "source" else target
    before = epochs(cluster)
    (dying.directory / FILE).write_text(point)
    with target.wire() as wire:
        task_id = wire("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
    assert isinstance(task_id, bytes) and len(task_id) == 40
    process = dying.process
    assert process is not None
    wait_until(lambda: process.poll() is not None, OVER_S, f"{who} dies at {point!r}")
    dying.start()
    cluster.wait_until_agreed()
    wait_until(lambda: look_over(cluster), OVER_S, "the migration is over, and every key there once")
    assert all(now >= then for now, then in zip(epochs(cluster), before, strict=True))
    owner = cluster.node(primary_of(cluster, FIRST))
    assert all(primary_of(cluster, slot) == owner.port for slot in range(FIRST, LAST + 1))
    with owner.wire() as wire:
        assert wire.pipeline([("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]
        assert wire("HLEN", BIG) == FIELDS
        assert wire("SET", KEYS[0], KEYS[0]) == "OK", "writes are taken"
