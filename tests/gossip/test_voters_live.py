"""Small clusters of processes: a killed primary is replaced by its replicas' votes, and not where a genuine node is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import HexadServer, RedisServer, wait_until
from tests.support.servers import Server
from tests.support.wire import Wire

pytestmark = pytest.mark.long
OPTIONS: dict[str, Any] = {"cluster_enabled": "yes", "cluster_node_timeout": 1000, "repl_diskless_sync_delay": 0}


@contextlib.contextmanager
def small_cluster(shards: int, kinds: list[type[Server]]) -> Iterator[list[Server]]:
    """Primaries with a share of the slots each, then replicas in turn; `redis-cli` makes none with fewer than three."""
    with contextlib.ExitStack() as stack:
        servers = []
        for kind in kinds:
            votes = {"cluster_replica_votes": "yes"} if kind is HexadServer else {}
            servers.append(stack.enter_context(kind(**OPTIONS, **votes)))
        wires = [stack.enter_context(server.wire()) for server in servers]
        for number in range(shards):
            wires[number]("CLUSTER", "ADDSLOTSRANGE", 16384 * number // shards, 16384 * (number + 1) // shards - 1)
            wires[number]("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            assert wires[0]("CLUSTER", "MEET", "127.0.0.1", server.port) == "OK"
        wait_until(lambda: all(info(wire)["cluster_known_nodes"] == str(len(servers)) for wire in wires), 20, "all met")
        wait_until(
            lambda: all(b"handshake" not in wire("CLUSTER", "NODES") for wire in wires), 20, "all know one another"
        )
        for number in range(shards, len(servers)):
            primary_id = wires[number % shards]("CLUSTER", "MYID")
            assert wires[number]("CLUSTER", "REPLICATE", primary_id) == "OK"
        wait_until(lambda: all(info(wire)["cluster_state"] == "ok" for wire in wires), 20, "all say ok")
        yield servers


def info(wire: Wire) -> dict[str, str]:
    lines = wire("CLUSTER", "INFO").decode().split()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def voters(server: Server) -> int:
    with server.wire() as wire:
        return int(info(wire).get("cluster_voters_agreed", 0))


@pytest.mark.parametrize(("shards", "nodes", "agreed"), [(1, 3, 3), (2, 4, 3)])
def test_a_killed_primary_is_replaced(shards: int, nodes: int, agreed: int) -> None:
    with small_cluster(shards, [HexadServer] * nodes) as servers:
        wait_until(lambda: all(voters(server) == agreed for server in servers), 20, "the voters are agreed on")
        primary, rest = servers[0], servers[1:]
        key = "{06S}"
        with primary.wire() as wire:
            assert wire("SET", key, "kept") == "OK"
            wait_until(lambda: wire("WAIT", 1, 1000) >= 1, 10, "a replica has it")
        primary.kill()
        heirs = servers[shards::shards]

        def heir() -> Server | None:
            for server in heirs:
                with server.wire() as wire:
                    if wire("ROLE")[0] == b"master" and info(wire)["cluster_state"] == "ok":
                        return server
            return None

        wait_until(lambda: heir() is not None, 20, "a replica was elected")
        found = heir()
        assert found is not None
        with found.wire() as wire:
            assert wire("GET", key) == b"kept" and wire("SET", key, "new") == "OK"
        wait_until(lambda: all(map(is_ok, rest)), 20, "all say ok")
        primary.start()
        with primary.wire() as wire:
            wait_until(lambda: wire("ROLE")[0] == b"slave", 20, "the old primary follows")


def is_ok(server: Server) -> bool:
    with server.wire() as wire:
        return info(wire)["cluster_state"] == "ok"


def test_beside_a_genuine_node_the_rule_of_redis_holds_and_the_reason_is_told() -> None:
    with small_cluster(1, [HexadServer, HexadServer, RedisServer]) as servers:
        with servers[2].wire() as wire:
            genuine = wire("CLUSTER", "MYID").decode()
        why = f"node {genuine} is no Hexad node"
        with servers[0].wire() as wire:
            wait_until(lambda: why in wire("CLUSTER", "INFO").decode(), 10, "the reason is told")
        assert f"cluster-replica-votes has no effect: {why}." in servers[0].log()
        assert voters(servers[0]) == 0
        servers[0].kill()
        with servers[1].wire() as wire:
            wait_until(lambda: info(wire)["cluster_state"] == "fail", 20, "it is known to be down")
            assert wire("ROLE")[0] == b"slave"
