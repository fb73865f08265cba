"""Live nodes that come back: with less than their replica has, and all at other addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.gossip.test_lost_directory import have_replica
from tests.support import HexadServer, Wire, wait_until
from tests.support.cluster import LocalCluster, once_loaded, parse_nodes
from tests.support.ports import free_port

WAIT_S = 30.0
KEYS = 200
TIMEOUT_MS = 15_000
SETTINGS: dict[str, Any] = {
    "cluster_enabled": "yes", "cluster_node_timeout": TIMEOUT_MS, "repl_diskless_sync_delay": 0,
}  # fmt: skip
Make = Callable[..., HexadServer]


@contextmanager
def shard(make: Make, **more: str) -> Iterator[tuple[HexadServer, HexadServer, Wire]]:
    """A primary with all slots, its replica, and a wire to the replica; KEYS keys are at both."""
    first, second = make(**SETTINGS, **more), make(**SETTINGS, **more)
    with first.wire() as primary, second.wire() as replica:
        have_replica(primary, replica, first.port)
        assert primary.pipeline([("SET", f"key:{n}", n) for n in range(KEYS)]) == ["OK"] * KEYS
        assert primary("WAIT", 1, 5000) == 1
        yield first, second, replica


@pytest.mark.parametrize("saved", [False, pytest.param(True, marks=pytest.mark.long)])
def test_an_unsaved_primary_that_is_restarted_at_once_loses_no_confirmed_write(hexad_server: Make, saved: bool) -> None:
    """Long before its node timeout is over; with an older file, too."""
    with shard(hexad_server) as (first, second, replica):
        if saved:
            with first.wire() as primary:
                assert primary("SAVE") == "OK"
                assert primary("SET", "key:0", "later") == "OK" and primary("WAIT", 1, 5000) == 1
        first.kill()
        first.start()
        wait_until(lambda: replica("SET", "new", "value") == "OK", WAIT_S, "the replica takes writes")
        assert replica("DBSIZE") == KEYS + 1
        assert replica("GET", "key:0") == (b"later" if saved else b"0")
        with first.wire() as old:
            wait_until(lambda: old.info("replication").get("master_link_status") == "up", WAIT_S, "it follows")
            wait_until(lambda: old("DBSIZE") == KEYS + 1, WAIT_S, "it has what was written since its snapshot, too")
        assert "came back with less data" in second.log_path.read_text()


@pytest.mark.long
def test_a_primary_that_saved_everything_stays_primary(hexad_server: Make) -> None:
    with shard(hexad_server) as (first, _second, replica):
        with first.wire() as primary:
            assert primary("SAVE") == "OK"
        first.kill()
        first.start()
        with first.wire() as primary:
            wait_until(lambda: primary("SET", "new", "value") == "OK", WAIT_S, "the primary takes writes")
            assert primary("DBSIZE") == KEYS + 1 and primary("WAIT", 1, 5000) == 1
        wait_until(lambda: replica("DBSIZE") == KEYS + 1, WAIT_S, "the replica follows")


@pytest.mark.long
def test_an_empty_primary_takes_no_write_before_its_replica_was_heard(hexad_server: Make) -> None:
    with shard(hexad_server) as (first, second, _replica):
        second.kill()
        first.kill()
        first.start()
        with first.wire() as primary:
            assert primary("SET", "key:0", "new").text.startswith("CLUSTERDOWN")
            wait_until(lambda: primary("SET", "key:0", "new") == "OK", WAIT_S, "it gives up waiting")
            uptime_s = int(primary.info("server")["uptime_in_seconds"])
        assert uptime_s >= 4


def test_all_nodes_at_new_ports_find_each_other_by_seeds() -> None:
    with LocalCluster(HexadServer, nodes=3, replicas=0, cluster_node_timeout=5000) as cluster:
        before = {seen.id: seen.slots for seen in cluster.seen_by(cluster.nodes[0])}
        for node in cluster.nodes:
            node.kill()
        ports = [free_port() for _ in cluster.nodes]
        for node, port in zip(cluster.nodes, ports, strict=True):
            node.port = port
            node.options["cluster_seeds"] = [f"localhost:{ports[1]}", "nobody.invalid:7000"]
            node.start()
        wait_until(lambda: all(map(cluster.state_is_ok, cluster.nodes)), WAIT_S, "all say ok")
        for node in cluster.nodes:

            def knows_all(node: HexadServer = node) -> bool:
                with node.wire() as wire:
                    seen = parse_nodes(once_loaded(wire, "CLUSTER", "NODES").decode())
                return {entry.port for entry in seen} == set(ports) and {e.id: e.slots for e in seen} == before

            wait_until(knows_all, WAIT_S, "it knows where all are")
