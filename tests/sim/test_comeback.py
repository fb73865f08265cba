"""Clusters whose nodes all come back, at other addresses or with less than they had."""

from __future__ import annotations

import pytest

from gossip.events import Dial, LinkUp, PacketReceived, Resolve, Resolved
from gossip.packet import PONG, PRIMARY, Gossip, Packet
from tests.gossip.machines import IDS, Alone
from tests.sim.world import Host, World

FOUND_MS = 15_000


def settled(**shape: int) -> tuple[World, list[Host]]:
    world = World(7, **shape)
    world.replicas_lose = True
    world.run_until(world.agreed, 8000)
    return world, list(world.hosts.values())


def move(world: World, hosts: list[Host], net: str = "10.9.0") -> None:
    """All stop at once and start again, each at a new address."""
    for host in hosts:
        host.crash()
    world.run(300)
    for number, host in enumerate(hosts, 1):
        host.ip = f"{net}.{number}"
    for host in hosts:
        host.start()


def knows_where_all_are(world: World) -> bool:
    hosts = world.hosts.values()
    return world.agreed() and all(
        node.ip == world.host_of(node.id).ip for host in hosts for node in host.up.state.nodes.values()
    )


def test_seeds_bring_all_together_at_new_addresses() -> None:
    world, hosts = settled()
    for host in hosts:
        host.settings.seeds = (("cluster.example", 7000, 17000),)
    world.names["cluster.example"] = ["10.9.0.2"]
    move(world, hosts)
    assert world.run_until(lambda: knows_where_all_are(world), FOUND_MS) < FOUND_MS
    assert all(len(host.up.state.nodes) == len(hosts) for host in hosts)


def test_a_seed_that_nobody_knows_yet_is_asked_for_again() -> None:
    world, hosts = settled()
    for host in hosts:
        host.settings.seeds = (("cluster.example", 7000, 17000),)
    move(world, hosts)
    world.run(4000)
    assert not knows_where_all_are(world)
    world.names["cluster.example"] = [host.ip for host in hosts]
    world.run_until(lambda: knows_where_all_are(world), FOUND_MS)


def test_their_names_bring_them_together() -> None:
    world, hosts = settled()
    for host in hosts:
        host.settings.announce_hostname = f"{host.name}.example"
        host.crash()
        host.start()
    world.run_until(lambda: all(n.hostname for h in hosts for n in h.up.state.others()), 20_000)
    for host in hosts:
        host.durable = host.written  # as an operator's CLUSTER SAVECONFIG would
    for number, host in enumerate(hosts, 1):
        world.names[f"{host.name}.example"] = [f"10.9.0.{number}"]
    move(world, hosts)
    world.run_until(lambda: knows_where_all_are(world), FOUND_MS)


def test_one_survivor_brings_the_others_together() -> None:
    world, hosts = settled()
    move(world, hosts[1:])
    world.run_until(lambda: knows_where_all_are(world), FOUND_MS)


def test_addresses_that_were_dealt_out_anew() -> None:
    world, hosts = settled()
    for host in hosts:
        host.crash()
    world.run(300)
    ips = [host.ip for host in hosts]
    for host, ip in zip(hosts, ips[1:] + ips[:1], strict=True):
        host.ip = ip
    for host in hosts:
        host.start()
    world.run_until(lambda: knows_where_all_are(world), FOUND_MS)


def probe(alone: Alone, ip: str) -> int:
    (dial,) = [e for e in alone.handle(Resolved(7000, 17000, (ip,))) if isinstance(e, Dial)]
    alone.handle(LinkUp(dial.link))
    return dial.link


def test_a_stranger_behind_a_seed_stays_one() -> None:
    alone = Alone("p1")
    link = probe(alone, "10.0.0.77")
    pong = Packet(PONG, "c1" * 20, 7000, 17000, PRIMARY, body=Gossip())
    alone.handle(PacketReceived(link, pong, "10.0.0.77", "10.0.0.1"))
    assert alone.machine.state.nodes.keys() == set(IDS.values())


def test_a_node_within_reach_is_left_where_it_is() -> None:
    alone = Alone("p1")
    link = probe(alone, "10.0.0.77")
    alone.handle(PacketReceived(link, alone.packet("p2", PONG, Gossip()), "10.0.0.77", "10.0.0.1"))
    assert alone.node("p2").ip == "10.0.0.2" and alone.node("p2").link_up


def test_addresses_at_which_we_know_somebody_are_not_tried() -> None:
    alone = Alone("p1")
    assert not [e for e in alone.handle(Resolved(7000, 17000, ("10.0.0.2", "nonsense"))) if isinstance(e, Dial)]


@pytest.mark.parametrize("seeds", [(), (("cluster.example", 7000, 17000),)])
def test_names_are_asked_for_ever_more_seldom(seeds: tuple[tuple[str, int, int], ...]) -> None:
    world, hosts = settled()
    hosts[0].settings.seeds = seeds
    asked = []
    perform = hosts[0].perform
    hosts[0].perform = lambda e: (asked.append(e) if isinstance(e, Resolve) else None, perform(e))[1]  # type: ignore[method-assign]
    world.run(20_000)
    assert not asked, "all are within reach"
    hosts[5].crash()
    world.run(60_000)
    assert len(asked) <= 12 * len(seeds)
    assert len(asked) >= 6 * len(seeds)


# ---- primaries that come back with less ---------------------------------------------------------------------------


def come_back(world: World, host: Host, offset: int, after_ms: int = 100) -> None:
    """Die, and start again soon with so much of the data."""
    host.crash()
    host.data_offset = offset
    world.run(after_ms)
    host.start()


@pytest.mark.parametrize("shape", [{}, {"primaries": 1}, {"primaries": 2}, {"timeout_ms": 15000}])
@pytest.mark.parametrize("offset", [0, 200])
def test_a_primary_with_less_makes_way_for_its_replica(shape: dict[str, int], offset: int) -> None:
    world, _ = settled(**shape)
    world.run(2000)
    primary, replica = world.hosts["p1"], world.hosts["r1"]
    had = replica.data_offset
    assert had > 200
    come_back(world, primary, offset)
    world.run_until(lambda: replica.up.state.myself.is_primary and world.agreed(), 10_000)
    assert replica.data_offset >= had and primary.up.state.myself.is_replica
    assert not any("r1: => copy of p1" in line for line in world.trace)
    since = next(at for at, line in enumerate(world.trace) if "came back with less" in line)
    told = [line.split("p1: ")[1] for line in world.trace[since:] if "p1: " in line]
    assert told.index("=> replicate from r1") < told.index("Cluster state changed: ok"), "it served nobody before"


def test_without_the_switch_the_replica_is_wiped_as_by_redis() -> None:
    world, hosts = settled()
    for host in hosts:
        host.settings.hand_over_when_behind = False
    world.run(2000)
    come_back(world, hosts[0], 0)
    world.run(5000)
    assert world.agreed() and hosts[0].up.state.myself.is_primary
    assert any("r1: => copy of p1" in line for line in world.trace)


def test_of_two_replicas_the_one_with_more_goes_first() -> None:
    world, _ = settled(replicas=2)
    world.run(2000)
    primary, less, more = (world.hosts[name] for name in ("p1", "r1", "s1"))
    primary.crash()
    primary.data_offset, less.data_offset, more.data_offset = 10, 500, 700
    world.run(100)
    primary.start()
    world.run_until(lambda: more.up.state.myself.is_primary and world.agreed(), 10_000)
    assert more.data_offset >= 700


def test_who_comes_back_with_everything_stays_primary() -> None:
    world, hosts = settled()
    world.run(2000)
    come_back(world, hosts[0], hosts[0].data_offset)
    assert world.run_until(world.agreed, 4000) <= 2500
    assert hosts[0].up.state.myself.is_primary


def test_a_replica_that_is_gone_is_not_waited_for_for_long() -> None:
    world, hosts = settled(timeout_ms=15000)
    hosts[3].crash()
    come_back(world, hosts[0], 0)
    world.run(4000)
    assert not hosts[0].up.state.ok
    assert world.run_until(lambda: hosts[0].up.state.ok, 5000) <= 1500


def test_a_whole_cluster_that_was_restarted_keeps_what_its_replicas_have() -> None:
    world, hosts = settled()
    world.run(2000)
    had = [host.data_offset for host in hosts[3:]]
    for host in hosts:
        host.crash()
    for host in hosts[:3]:
        host.data_offset = 0
    world.run(200)
    for host in hosts:
        host.start()
    world.run_until(world.agreed, 30_000)
    assert all(host.up.state.myself.is_primary for host in hosts[3:])
    assert all(host.data_offset >= offset for host, offset in zip(hosts[3:], had, strict=True))
