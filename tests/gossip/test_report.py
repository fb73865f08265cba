"""Values of CLUSTER SLOTS, SHARDS and NODES beside a real node, for every way to name an endpoint.  (A whole
cluster is compared in test_live.py.)"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from gossip import report
from gossip.core import Core
from gossip.nodesconf import parse
from gossip.settings import ClusterSettings
from tests.gossip.machines import IDS, Alone
from tests.sim.world import Host, World
from tests.support import RedisServer


def plain(value: Any) -> Any:
    """A RESP3 reply as the values that reports are made of."""
    if hasattr(value, "pairs"):
        return {plain(name): plain(part) for name, part in value.pairs}
    return [plain(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("hostname", ["", "n1.example"])
@pytest.mark.parametrize("kind", ["ip", "hostname", "unknown-endpoint"])
def test_endpoints_are_named_as_by_a_real_node(kind: str, hostname: str) -> None:
    options = {"cluster_announce_hostname": hostname} if hostname else {}
    with (
        RedisServer(cluster_enabled="yes", cluster_preferred_endpoint_type=kind, **options) as server,
        server.wire(protocol=3) as wire,
    ):
        wire("CLUSTER", "ADDSLOTSRANGE", 1, 3, 7, 7)
        nodes = wire("CLUSTER", "NODES").text.decode()
        settings = ClusterSettings(preferred_endpoint_type=kind)
        state = parse(nodes + "vars currentEpoch 0 lastVoteEpoch 0\n")
        core = Core(state, settings, Alone("p1"), Random(1))
        core.facts.data_offset = 0  # type: ignore[attr-defined]
        assert report.slots(core) == plain(wire("CLUSTER", "SLOTS"))
        assert report.shards(core) == plain(wire("CLUSTER", "SHARDS"))
        assert report.nodes(core) == nodes


def test_health_of_the_nodes_of_a_shard() -> None:
    alone = Alone("p1")
    alone.convict("p2", by="p3")
    alone.node("r1").offset = 0
    found = {
        node[b"id"].decode(): (node[b"role"], node[b"health"])
        for shard in report.shards(alone.machine.core, loading=True)
        for node in shard[b"nodes"]
    }
    assert found[IDS["p1"]] == (b"master", b"loading")
    assert found[IDS["p2"]] == (b"master", b"fail")
    assert found[IDS["r1"]] == (b"replica", b"loading")
    assert found[IDS["p3"]] == (b"master", b"online")


def test_info_counts_slots_by_their_owners_health() -> None:
    alone = Alone("p1")
    alone.convict("p2", by="p3")
    lines = report.info(alone.machine.core, links_over_limit=4).split("\r\n")
    assert "cluster_slots_fail:5461" in lines and "cluster_slots_ok:10923" in lines
    assert "cluster_stats_messages_fail_received:1" in lines
    assert "total_cluster_links_buffer_limit_exceeded:4" in lines


def test_cluster_slots_is_alike_on_every_node() -> None:
    world = World(3, replicas=2)
    world.run_until(world.agreed, 8000)
    world.run(5000)

    def named(host: Host) -> list[tuple[int, int, list[bytes]]]:
        return [(first, last, [node[2] for node in nodes]) for first, last, *nodes in report.slots(host.up.core)]

    views = [named(host) for host in world.hosts.values()]
    assert all(view == views[0] for view in views) and len(views[0][0][2]) == 3
