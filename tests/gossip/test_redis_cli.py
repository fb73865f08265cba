"""`redis-cli --cluster` runs unchanged against Hexad nodes: what operators do, with a load that must lose nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.slots import slot_of
from tests.gossip.load import ClusterClient, Counting
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.cluster import LocalCluster, once_loaded, parse_nodes
from tests.support.servers import Server

pytestmark = pytest.mark.long
LIMIT_S = 120
KEYS = 300


def cli(*words: object, fails: bool = False, answer: str = "") -> str:
    """Run redis-cli --cluster; its output."""
    command = ["redis-cli", "--cluster", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, input=answer)
    assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def at(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def my_id(server: Server) -> str:
    with server.wire() as wire:
        return once_loaded(wire, "CLUSTER", "MYID").decode()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three primaries of ours, and keys over all of them: counters, and plain ones."""
    with LocalCluster(HexadServer, nodes=3, replicas=0, cluster_node_timeout=3000) as made:
        yield made


@pytest.fixture(scope="module")
def counters() -> list[str]:
    return [f"counter:{number}" for number in range(50)]


def sizes(cluster: LocalCluster) -> list[int]:
    found = []
    for node in cluster.nodes:
        with node.wire() as wire:
            found.append(wire("DBSIZE"))
    return found


def fill(cluster: LocalCluster) -> None:
    """Keys over all slots, some with a deadline."""
    lines = "".join(f"SET key:{n} {n} EX {1000 if n % 3 else 100000}\n" for n in range(KEYS))
    subprocess.run(
        ["redis-cli", "-c", "-p", str(cluster.ports[0])], input=lines, text=True, check=True, capture_output=True
    )


def test_check_and_info(cluster: LocalCluster) -> None:
    fill(cluster)
    told = cli("check", at(cluster.nodes[1]))
    assert "[OK] All 16384 slots covered" in told and "All nodes agree about slots configuration" in told
    told = cli("info", at(cluster.nodes[2]))
    assert f"[OK] {KEYS} keys in 3 masters" in told


def test_call_set_timeout_and_backup(cluster: LocalCluster, tmp_path: Path) -> None:
    told = cli("call", at(cluster.nodes[0]), "CLUSTER", "COUNTKEYSINSLOT", "0")
    assert all(f"{at(node)}: " in told for node in cluster.nodes)
    cli("set-timeout", at(cluster.nodes[0]), 2500)
    for node in cluster.nodes:
        with node.wire() as wire:
            assert wire("CONFIG", "GET", "cluster-node-timeout") == [b"cluster-node-timeout", b"2500"]
    cli("backup", at(cluster.nodes[0]), tmp_path)
    saved = sorted(path.suffix for path in tmp_path.iterdir())
    assert saved == [".json", ".rdb", ".rdb", ".rdb"]
    for path in tmp_path.glob("*.rdb"):
        subprocess.run(["redis-check-rdb", str(path)], check=True, capture_output=True)


def test_reshard_under_load_loses_nothing(cluster: LocalCluster, counters: list[str]) -> None:
    fill(cluster)
    first, second = cluster.nodes[:2]
    with Counting(cluster.ports, counters) as load:
        wait_until(lambda: load.total > 200 or load.failure, 20, "the load runs")
        moved = ("--cluster-from", my_id(first), "--cluster-to", my_id(second), "--cluster-slots", 1500)
        told = cli("reshard", at(cluster.nodes[2]), *moved, "--cluster-yes")
        assert told.count("Moving slot") >= 1500
        before = load.total
        wait_until(lambda: load.total > before + 200 or load.failure, 20, "the load goes on")
    load.prove()
    assert sum(sizes(cluster)) == KEYS + len(counters)
    with cluster.nodes[1].wire() as wire:
        moved_keys = [f"key:{n}" for n in range(KEYS) if slot_of(b"key:%d" % n) < 1500]
        assert moved_keys and all(900 < wire("TTL", key) <= 100000 for key in moved_keys)
    assert "[OK] All 16384 slots covered" in cli("check", at(first))


@pytest.mark.parametrize("stays", [True, False])
def test_import_brings_the_keys_of_a_lone_server(cluster: LocalCluster, stays: bool) -> None:
    with RedisServer() as source, source.wire() as wire:
        for number in range(200):
            wire("SET", f"imported:{stays}:{number}", number, "EX", 100_000)
        options = ["--cluster-copy"] if stays else []
        cli("import", at(cluster.nodes[0]), "--cluster-from", at(source), *options)
        assert wire("DBSIZE") == (200 if stays else 0)
    client = ClusterClient(cluster.ports)
    for number in range(200):
        key = f"imported:{stays}:{number}"
        assert client("GET", key) == str(number).encode()
        assert 99_000 < client("TTL", key) <= 100_000
        assert client("DEL", key) == 1
    client.close()


def test_rebalance(cluster: LocalCluster) -> None:
    cli("rebalance", at(cluster.nodes[0]), "--cluster-threshold", 1)
    wait_until(
        lambda: all(entry.slots in range(5300, 5600) for node in cluster.nodes for entry in cluster.seen_by(node)),
        10,
        "all see even shares",
    )
    assert sum(sizes(cluster)) == KEYS + 50


def test_fix_finishes_a_move_that_was_cut_short(cluster: LocalCluster) -> None:
    """A slot is open on both sides and some of its keys have moved; then: open, and the target has died before."""
    slot = slot_of(b"{fix}")
    primaries = {node.port: node for node in cluster.nodes}
    with cluster.nodes[0].wire() as wire:
        lines = parse_nodes(once_loaded(wire, "CLUSTER", "NODES").decode())
        owner_port = next(line.port for line in lines if owns(wire, line.id, slot))
    source = primaries.pop(owner_port)
    target = next(iter(primaries.values()))
    with source.wire() as here, target.wire() as there:
        for number in range(20):
            here("SET", f"{{fix}}:{number}", number)
        assert there("CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
        assert here("CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target)) == "OK"
        keys = [f"{{fix}}:{number}" for number in range(7)]
        assert here("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys) == "OK"
        assert "[WARNING]" in cli("check", at(source), fails=True)
        cli("fix", at(source))
        assert "[OK] All 16384 slots covered" in cli("check", at(source))
        total = here("CLUSTER", "COUNTKEYSINSLOT", slot) + there("CLUSTER", "COUNTKEYSINSLOT", slot)
        assert total == 20
        for wire in (here, there):
            assert b"[" not in wire("CLUSTER", "NODES").split(b"myself")[1].split(b"\n")[0]


def owns(wire: object, node_id: str, slot: int) -> bool:
    for entry in wire("CLUSTER", "SLOTS"):  # type: ignore[operator]
        if entry[0] <= slot <= entry[1]:
            return entry[2][2].decode() == node_id
    return False


def test_fix_covers_slots_that_nobody_has(cluster: LocalCluster) -> None:
    node = cluster.nodes[0]
    with node.wire() as wire:
        first = next(e[0] for e in wire("CLUSTER", "SLOTS") if e[2][2].decode() == my_id(node))
    for one in cluster.nodes:
        with one.wire() as wire:
            assert wire("CLUSTER", "DELSLOTSRANGE", first, first + 9) == "OK"
    assert "Not all 16384 slots are covered" in cli("check", at(node), fails=True)
    cli("fix", at(node), answer="yes\n")
    wait_until(lambda: "[OK] All 16384 slots covered" in _checked(node), 20, "all slots are covered")


def _checked(node: Server) -> str:
    return subprocess.run(
        ["redis-cli", "--cluster", "check", at(node)], capture_output=True, text=True, timeout=LIMIT_S
    ).stdout


LIBRARY = "#!lua name=everywhere\nredis.register_function{function_name='f', callback=function() return 'here' end}"


def test_nodes_are_added_and_deleted(cluster: LocalCluster) -> None:
    fill(cluster)
    for node in cluster.primaries():
        with node.wire() as wire:
            assert wire("FUNCTION", "LOAD", "REPLACE", LIBRARY) == b"everywhere"
    options = {"cluster_enabled": "yes", "cluster_node_timeout": 3000, "repl_diskless_sync_delay": 0}
    with HexadServer(**options) as primary, HexadServer(**options) as replica:
        wait_until(lambda: "[ERR]" not in _checked(cluster.nodes[0]), 20, "all agree about what was moved before")
        cli("add-node", at(primary), at(cluster.nodes[0]))
        with primary.wire() as wire:
            assert wire("FCALL", "f", 0) == b"here"  # redis-cli has brought the cluster's functions
        wait_until(lambda: "16384 slots covered" in _checked(primary) and "[ERR]" not in _checked(primary), 20, "known")
        known = lambda node: my_id(primary) in {entry.id for entry in cluster.seen_by(node)}  # noqa: E731
        wait_until(lambda: all(map(known, cluster.nodes)), 20, "all know the new primary")
        try:
            cli("add-node", at(replica), at(cluster.nodes[0]), "--cluster-slave", "--cluster-master-id", my_id(primary))
        except AssertionError:  # redis-cli does not wait until gossip has brought the newcomer its primary's name
            wait_until(lambda: known(replica), 20, "the replica knows its primary")
            with replica.wire() as wire:
                assert wire("CLUSTER", "REPLICATE", my_id(primary)) == "OK"
        with replica.wire() as wire:
            wait_until(lambda: wire.info("replication")["master_link_status"] == "up", 20, "it follows")
        everyone = {my_id(node) for node in (primary, replica, *cluster.nodes)}
        wait_until(
            lambda: all({entry.id for entry in cluster.seen_by(node)} == everyone for node in cluster.nodes),
            20,
            "all know the new ones",
        )
        wait_until(lambda: cluster.state_is_ok(primary), 20, "the new primary says ok")
        weight = f"{my_id(primary)}=0.1"  # some hundred slots, and as many back
        cli("rebalance", at(cluster.nodes[0]), "--cluster-use-empty-masters", "--cluster-weight", weight)
        with primary.wire() as wire:
            assert wire("DBSIZE") > 0
        assert re.search(r"is not empty", cli("del-node", at(cluster.nodes[0]), my_id(primary), fails=True))
        cli("rebalance", at(cluster.nodes[0]), "--cluster-weight", f"{my_id(primary)}=0")
        primary_id, replica_id = my_id(primary), my_id(replica)
        for gone in (replica_id, primary_id):  # not while one takes its data anew, and refuses to say who it is
            wait_until(lambda gone=gone: cli("del-node", at(cluster.nodes[0]), gone), 30, "the node is deleted")
        for node in cluster.nodes:
            seen = {entry.id for entry in cluster.seen_by(node)}
            assert not seen & {primary_id, replica_id}
        with primary.wire() as wire:
            assert wire("CLUSTER", "INFO").count(b"cluster_known_nodes:1") == 1
    assert "[OK] All 16384 slots covered" in cli("check", at(cluster.nodes[0]))
