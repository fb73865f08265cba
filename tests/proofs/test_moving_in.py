"""A cluster that moves in and out again, node by node under load: Redis to Hexad to Redis. Nothing is lost.

Each node is replaced as the README says: a new one joins as its replica, takes its place by CLUSTER FAILOVER, and the
old one, a replica now, leaves.
"""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from node.slots import SLOTS, slot_of
from tests.proofs.fenced import Writer, await_writes
from tests.support.cluster import LocalCluster
from tests.support.ports import free_port
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError

TIMEOUT_MS = 5000
PRIMARIES = 3
STEP_S = 60.0
GAP_S_MAX = 3.0
"""The machine of CI has other work, too; `test_without_a_gap` measures."""


def cli(*words: str) -> str:
    done = subprocess.run(["redis-cli", *words], capture_output=True, text=True, timeout=STEP_S)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    return done.stdout


def at(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


class Moving(LocalCluster):
    """Three genuine primaries; `replace` puts another node in the place of one."""

    def __init__(self) -> None:
        super().__init__(RedisServer, nodes=PRIMARIES, replicas=0, cluster_node_timeout=TIMEOUT_MS)
        self.ports_to_come = [free_port() for _ in range(2 * PRIMARIES)]

    def replace(self, old: Server, kind: type[Server]) -> None:
        new = kind(
            port=self.ports_to_come.pop(), cluster_enabled="yes", cluster_node_timeout=TIMEOUT_MS,
            repl_diskless_sync_delay=0,
        )  # fmt: skip
        self.stack.enter_context(new)
        with old.wire() as wire:
            old_id = wire("CLUSTER", "MYID").decode()
        cli("--cluster", "add-node", at(new), at(old), "--cluster-slave", "--cluster-master-id", old_id)
        self.nodes.append(new)
        with new.wire() as wire:
            wait_until(lambda: wire.info("replication").get("master_link_status") == "up", STEP_S, "it has the data")
            wait_until(lambda: self.knows(new), STEP_S, "all know the new node")
            assert cli("-p", str(new.port), "cluster", "failover").strip() == "OK"
            wait_until(lambda: wire("ROLE")[0] == b"master", STEP_S, "it is the primary")
        with old.wire() as wire:
            wait_until(lambda: wire("ROLE")[0] == b"slave", STEP_S, "the old one follows")
        self.wait_until_whole()
        cli("--cluster", "del-node", at(new), old_id)
        self.nodes.remove(old)
        old.stop()
        self.wait_until_whole()

    def knows(self, new: Server) -> bool:
        return all(any(one.port == new.port and not one.is_primary for one in self.seen_by(n)) for n in self.nodes)

    def writers(self) -> list[Writer]:
        ports = {port: port for port in (*self.ports, *self.ports_to_come)}
        tags = [next(t for t in map(str, range(1000)) if slot_of(t.encode()) * 3 // SLOTS == n) for n in range(3)]
        return [Writer(tag, ports) for tag in tags]


@pytest.mark.long
def test_redis_to_hexad_to_redis() -> None:
    with Moving() as cluster, contextlib.ExitStack() as stack:
        load = [stack.enter_context(writer) for writer in cluster.writers()]
        for kind in (HexadServer, RedisServer):
            for old in cluster.nodes[:PRIMARIES]:
                await_writes(load)
                cluster.replace(old, kind)
            assert all(type(node) is kind for node in cluster.nodes) and len(cluster.nodes) == PRIMARIES
        await_writes(load)
        stack.close()
        for writer in load:
            for node in cluster.primaries():
                with node.wire() as wire:
                    if not isinstance(wire("GET", writer.key(0)), ReplyError):
                        assert writer.missing(node.port) == []
            assert writer.longest_gap_s() < GAP_S_MAX
