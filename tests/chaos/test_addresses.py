"""Addresses of a cluster in containers: clients inside and outside at once, and all nodes at new ones."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import time
from collections.abc import Iterator

import pytest
from redis.cluster import RedisCluster

from tests.chaos.compose import ComposeCluster, compose_cluster
from tests.support.containers import build_image, engine_environment

NETWORKS = ("172.30.80", "172.30.81")
WHOLE_S_MAX = 60.0
PROOF_ROUNDS = 10
KEYS = 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[ComposeCluster]:
    engine = engine_environment()
    with compose_cluster(engine, build_image(engine), NETWORKS[0]) as cluster:
        yield cluster


def inside(cluster: ComposeCluster, *words: str) -> str:
    """redis-cli in node3's container, which knows node1 by its name there."""
    at_node1 = ["redis-cli", "-c", "-h", "node1", "-p", str(cluster.ports[0])]
    return cluster.compose.docker("exec", cluster.compose.container("node3"), *at_node1, *words).strip()


def write(cluster: ComposeCluster, name: str) -> None:
    with RedisCluster(host="127.0.0.1", port=cluster.ports[0]) as client:
        assert {node.host for node in client.get_nodes()} == {"127.0.0.1"}
        assert {node.port for node in client.get_nodes()} <= set(cluster.ports)
        for number in range(KEYS):
            client.set(f"{name}:{number}", number)


def missing(cluster: ComposeCluster, name: str) -> list[int]:
    with RedisCluster(host="127.0.0.1", port=cluster.ports[1]) as client:
        return [number for number in range(KEYS) if client.get(f"{name}:{number}") != b"%d" % number]


@pytest.mark.long
def test_clients_inside_and_outside_are_told_what_they_reach(cluster: ComposeCluster) -> None:
    write(cluster, "outside")
    subnet = cluster.compose.env["HEXAD_NET"]
    for number in range(20):
        assert inside(cluster, "get", f"outside:{number}") == str(number)
    assert {line.split()[1].rpartition(".")[0] for line in inside(cluster, "cluster", "nodes").splitlines()} == {subnet}
    assert "127.0.0.1" not in inside(cluster, "cluster", "slots") + inside(cluster, "cluster", "shards")


@pytest.mark.long
def test_slots_are_moved_from_outside(cluster: ComposeCluster) -> None:
    """redis-cli sends MIGRATE with the addresses that it was told, which the nodes do not reach under them."""
    write(cluster, "moved")
    sights = {sight.port: sight.me for sight in cluster.sights() if not sight.me.is_replica}
    source, target = list(sights.values())[:2]
    command = ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{cluster.ports[0]}", "--cluster-yes"]
    wish = ["--cluster-from", source.id, "--cluster-to", target.id, "--cluster-slots", "200"]
    done = subprocess.run([*command, *wish], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster.wait_until_whole(WHOLE_S_MAX)
    assert missing(cluster, "moved") == []


def move(cluster: ComposeCluster, subnet: str) -> float:
    """Take it down and up again in another network. Seconds from `up` until all nodes agree."""
    ids = {sight.me.id for sight in cluster.sights()}
    cluster.compose("down", "-t", "20")
    cluster.compose.env["HEXAD_NET"] = subnet
    begun_s = time.monotonic()
    cluster.up()
    taken_s = time.monotonic() - begun_s
    assert {sight.me.id for sight in cluster.sights()} == ids
    return taken_s


@pytest.mark.long
def test_all_nodes_come_back_in_another_network(cluster: ComposeCluster) -> None:
    write(cluster, "kept")
    move(cluster, NETWORKS[1])
    assert missing(cluster, "kept") == []
    assert {line.split()[1].rpartition(".")[0] for line in inside(cluster, "cluster", "nodes").splitlines()} == {
        NETWORKS[1]
    }


@pytest.mark.proof
def test_all_nodes_come_back_in_another_network_ten_times(cluster: ComposeCluster) -> None:
    times_s = []
    for number, subnet in zip(range(PROOF_ROUNDS), itertools.cycle(reversed(NETWORKS)), strict=False):
        write(cluster, f"round{number}")
        times_s.append(move(cluster, subnet))
        for before in range(number + 1):
            assert missing(cluster, f"round{before}") == []
    print(
        f"\n{PROOF_ROUNDS} times down and up in another network: whole again after {statistics.median(times_s):.1f} s "
        f"(median), {max(times_s):.1f} s (longest), with the start of the containers; no key lost"
    )
