"""One cluster of genuine and Hexad nodes: they gossip, vote for one another's replicas, and slots move both ways."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.gossip.load import ClusterClient, Counting
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.cluster import LocalCluster
from tests.support.servers import Server

pytestmark = pytest.mark.long
TIMEOUT_MS = 2000


class MixedCluster(LocalCluster):
    """Primaries: genuine, genuine, ours. Replicas: ours of the first, theirs of ours."""

    def __init__(self) -> None:
        super().__init__(RedisServer, nodes=2, replicas=0, cluster_node_timeout=TIMEOUT_MS)
        options = {"cluster_enabled": "yes", "cluster_node_timeout": TIMEOUT_MS, "repl_diskless_sync_delay": 0}
        self.nodes.append(HexadServer(**options))
        self.our_replica, self.their_replica = HexadServer(**options), RedisServer(**options)

    def create(self) -> None:
        super().create()
        for replica, primary in ((self.our_replica, self.nodes[0]), (self.their_replica, self.nodes[2])):
            self.stack.enter_context(replica)
            with primary.wire() as wire:
                primary_id = wire("CLUSTER", "MYID").decode()
            command = ["redis-cli", "--cluster", "add-node", at(replica), at(self.nodes[1])]
            command += ["--cluster-slave", "--cluster-master-id", primary_id]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            self.nodes.append(replica)
        self.wait_until_whole()
        wait_until(
            lambda: all(sum(not one.is_primary for one in self.seen_by(node)) == 2 for node in self.nodes),
            20,
            "all know the replicas",
        )


def at(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def my_id(server: Server) -> str:
    with server.wire() as wire:
        return wire("CLUSTER", "MYID").decode()


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedCluster]:
    with MixedCluster() as cluster:
        yield cluster


def test_slots_move_both_ways_under_load(mixed: MixedCluster) -> None:
    theirs, ours = mixed.nodes[0], mixed.nodes[2]
    with Counting(mixed.ports, [f"counter:{n}" for n in range(60)]) as load:
        for source, target in ((theirs, ours), (ours, theirs)):
            command = [
                "redis-cli",
                "--cluster",
                "reshard",
                at(mixed.nodes[1]),
                "--cluster-yes",
                "--cluster-slots",
                "600",
            ]
            command += ["--cluster-from", my_id(source), "--cluster-to", my_id(target)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        before = load.total
        wait_until(lambda: load.total > before + 100 or load.failure, 20, "the load goes on")
    load.prove()


@pytest.mark.parametrize("which", ["theirs", "ours"])
def test_a_killed_primary_is_replaced_by_a_replica_of_the_other_kind(mixed: MixedCluster, which: str) -> None:
    victim, heir = (mixed.nodes[0], mixed.our_replica) if which == "theirs" else (mixed.nodes[2], mixed.their_replica)
    client = ClusterClient(mixed.ports)
    keys = [f"{which}:{n}" for n in range(100)]
    for key in keys:
        assert client("SET", key, key) == "OK"
    with victim.wire() as wire:
        assert wire("WAIT", 1, 5000) == 1
    victim.kill()
    with heir.wire() as wire:
        wait_until(lambda: wire("ROLE")[0] == b"master", 20, "it was elected")
    wait_until(lambda: all(map(mixed.state_is_ok, mixed.alive())), 20, "all say ok")
    assert [client("GET", key) for key in keys] == [key.encode() for key in keys]
    client.close()
    victim.start()
    with victim.wire() as wire:
        wait_until(lambda: wire("ROLE")[0] == b"slave", 20, "the old primary follows")
        wait_until(lambda: wire.info("replication")["master_link_status"] == "up", 20, "it has the data")
    mixed.wait_until_whole()
