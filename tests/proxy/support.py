"""A proxy process for tests, and clusters to put it in front of."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from tests.support.cluster import LocalCluster
from tests.support.ports import free_port
from tests.support.servers import ROOT, Server


class ProxyServer(Server):
    """`hexad proxy` in front of what `cluster`, `nodes` or `sentinel` names, by ports of this machine."""

    program = (sys.executable, "-m", "hexad", "proxy")
    nodes: list[Server]
    environment: ClassVar[dict[str, str]] = {"PYTHONPATH": str(ROOT)}

    def __init__(self, *, cluster: list[int] | None = None, nodes: list[int] | None = None, **options: Any) -> None:
        seeds = {"cluster": cluster, "nodes": nodes}
        named = {name: ",".join(f"127.0.0.1:{port}" for port in ports) for name, ports in seeds.items() if ports}
        super().__init__(port=free_port(), **named, **options)


def move_slot(cluster: LocalCluster, slot: int, target: Server) -> None:
    """Move a slot with its keys as redis-cli does, a few keys at a time."""
    ids = {node.port: node.wire()("CLUSTER", "MYID").decode() for node in cluster.nodes}
    owners = cluster.nodes[0].wire()("CLUSTER", "SLOTS")
    port = next(primary[1] for first, last, primary, *_ in owners if first <= slot <= last)
    source = cluster.node(port)
    if source is target:
        return
    with source.wire() as from_node, target.wire() as to_node:
        assert to_node("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port]) == "OK"
        assert from_node("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port]) == "OK"
        while keys := from_node("CLUSTER", "GETKEYSINSLOT", slot, 20):
            assert from_node("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys) == "OK"
        for wire in (to_node, from_node):
            assert wire("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port]) == "OK"
        for node in cluster.nodes:
            node.wire()("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
