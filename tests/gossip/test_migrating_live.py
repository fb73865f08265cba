"""Slots that move atomically between node processes, under load, and beside a genuine Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gossip.load import Counting
from tests.gossip.migrating import cluster_info, key_in, primary_of, statuses, wait_over
from tests.gossip.test_redis_cli import cli
from tests.support import HexadServer, RedisServer, ReplyError, Wire, wait_until
from tests.support.cluster import LocalCluster

FIRST, LAST = 0, 399
SLOW_S = 2.0
"""No client is without an answer for as long, on whatever machine; the pause itself is told by the nodes."""
PAUSE_MS_MAX = 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(HexadServer, nodes=3, replicas=0, cluster_node_timeout=5000) as cluster:
        yield cluster


def test_slots_go_round_under_load(cluster: LocalCluster) -> None:
    """Every confirmed INCR is there, nobody was asked to ASK, redis-cli finds the cluster in order."""
    keys = [key_in(slot, 1) for slot in range(FIRST, LAST + 1, 40)]
    others = [key_in(slot, n) for slot in range(FIRST, LAST + 1) for n in range(2, 7)]
    with cluster.wire_for(primary_of(cluster, FIRST)) as wire:
        for key in others:
            assert wire("SET", key, key) == "OK"
    ports, pauses = [node.port for node in cluster.nodes], list[int]()
    with Counting(ports, keys) as load:
        wait_until(lambda: load.total > 50 or load.failure, 20, "the load runs")
        for _ in range(2):
            source = primary_of(cluster, FIRST)
            target = next(port for port in ports if port != source)
            with cluster.wire_for(source) as one, cluster.wire_for(target) as other:
                task = wait_over(other, other("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST))
                assert task["state"] == "completed", task
                wait_until(lambda one=one: statuses(one)[-1]["state"] == "completed", 10, "the source knows")
                pauses.append(statuses(one)[-1]["write_pause_ms"])
                wait_until(lambda one=one: one("DBSIZE") == 0, 10, "nothing is left at the source")
                info = cluster_info(one)
                assert info["cluster_slot_migration_active_tasks"] == "0"
                wait_until(lambda one=one: trimmed(one) > 0, 10, "the source has told its replicas of it all")
                assert other("DBSIZE") == len(keys) + len(others)
                assert other("CLUSTER", "COUNTKEYSINSLOT", FIRST + 1) == 5
        before = load.total
        wait_until(lambda: load.total > before + 50 or load.failure, 20, "the load goes on")
    load.prove()
    assert load.longest_s < SLOW_S and min(pauses) < PAUSE_MS_MAX, (load.longest_s, pauses)
    assert all(b"asking" not in node_wire_stats(cluster, port) for port in ports)
    assert "[OK] All 16384 slots covered" in cli("check", f"127.0.0.1:{ports[0]}")


def trimmed(wire: Wire) -> int:
    """How many jobs of dropping keys are done."""
    return int(cluster_info(wire)["cluster_slot_migration_stats_active_trim_completed"])


def node_wire_stats(cluster: LocalCluster, port: int) -> bytes:
    """INFO commandstats: what clients have sent."""
    with cluster.wire_for(port) as wire:
        return bytes(wire("INFO", "commandstats"))


def test_a_redis_is_told_of_the_other_way(cluster: LocalCluster) -> None:
    ours = cluster.node(primary_of(cluster, 16_000))
    with RedisServer(cluster_enabled="yes", cluster_node_timeout=5000) as theirs, theirs.wire() as their:
        with ours.wire() as wire:
            assert their("CLUSTER", "MEET", "127.0.0.1", ours.port) == "OK"
            their_id = their("CLUSTER", "MYID").decode()
            wait_until(lambda: their_id in wire("CLUSTER", "NODES").decode(), 20, "they know one another")
            refused = wait_until(
                lambda: _refusal(wire("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 16_000, 16_001, "NODE", their_id)),
                20,
                "it is refused",
            )
            assert "redis-cli --cluster reshard" in refused


def _refusal(reply: object) -> str:
    return reply.text if isinstance(reply, ReplyError) and "atomic" in reply.text else ""
