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
