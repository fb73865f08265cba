"""Two clusters stay two: whoever shows another cluster's id is heard as a stranger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.events import Dial, Effect, LinkUp, Meet, PacketReceived, Reset
from gossip.identity import SETTLE_MS
from gossip.nodesconf import parse, render
from gossip.packet import PING, PONG, PRIMARY, SPEAKS_HEXAD, Extensions, Gossip, GossipEntry, Packet
from tests.gossip.machines import IDS, Alone, logged, sent, slots
from tests.sim.world import EPOCH_MS, World

NEW = "c1" * 20
OLD = EPOCH_MS - 10 * SETTLE_MS


def cluster_id(drawn_ms: int, letter: str) -> str:
    return f"{drawn_ms:012x}" + letter * 28


OURS, THEIRS = cluster_id(OLD, "a"), cluster_id(OLD + 1, "b")
STRANGER = GossipEntry(NEW, 0, 0, "10.0.0.77", 7000, 17000, PRIMARY)


def settled(me: str = "p1") -> Alone:
    alone = Alone(me)
    alone.machine.state.cluster_id = OURS
    return alone


def met(alone: Alone, told: str) -> list[Effect]:
    """Meet a new node that is of this cluster."""
    (dial,) = [e for e in alone.handle(Meet("10.0.0.77", 7000, 17000)) if isinstance(e, Dial)]
    alone.handle(LinkUp(dial.link))
    body = Gossip(extensions=Extensions(cluster_id=told))
    pong = Packet(PONG, NEW, 7000, 17000, PRIMARY, mflags=SPEAKS_HEXAD, body=body)
    return alone.handle(PacketReceived(dial.link, pong, "10.0.0.77", "10.0.0.1"))


@pytest.mark.parametrize(("told", "joins"), [(THEIRS, False), (OURS, True), ("", True), ("nonsense", True)])
def test_a_node_of_another_cluster_is_not_met(told: str, joins: bool) -> None:
    alone = settled()
    effects = met(alone, told)
    assert (NEW in alone.machine.state.nodes) == joins
    assert ("another cluster" in logged(effects)) != joins
    assert len(alone.machine.state.nodes) == len(IDS) + joins


def test_what_a_known_node_of_another_cluster_says_changes_nothing() -> None:
    alone = settled()
    body = Gossip((STRANGER,), Extensions(cluster_id=THEIRS))
    alone.hear("p2", PING, body, config_epoch=9, slots=slots(0, 1), port=1)
    state = alone.machine.state
    assert NEW not in state.nodes and state.owners[0] is state.myself and alone.node("p2").port == 7000
    alone.hear("p2", PING, Gossip((STRANGER,)))
    assert NEW not in state.nodes, "what it says without telling its cluster neither"
    alone.hear("p2", PING, Gossip((STRANGER,), Extensions(cluster_id=OURS)))
    assert NEW in state.nodes, "it has come back"


@pytest.mark.parametrize("mine", ["", cluster_id(EPOCH_MS, "a")])
@pytest.mark.parametrize("theirs", [cluster_id(OLD, "b"), cluster_id(EPOCH_MS - 1, "b")])
def test_a_cluster_that_is_just_being_made_takes_the_older_id(mine: str, theirs: str) -> None:
    alone = Alone("p1")
    alone.machine.state.cluster_id = mine
    alone.hear("p2", PONG, Gossip(extensions=Extensions(cluster_id=theirs)))
    assert alone.machine.state.cluster_id == theirs and not alone.node("p2").is_foreign


def test_strangers_are_told_the_id_only_if_they_know_what_it_is() -> None:
    alone = settled()
    for mflags, told in ((0, ""), (SPEAKS_HEXAD, OURS)):
        ping = Packet(PING, NEW, 7000, 17000, PRIMARY, mflags=mflags, body=Gossip())
        (pong,) = sent(alone.handle(PacketReceived(-5, ping, "10.0.0.77", "10.0.0.1")), PONG)
        assert isinstance(pong.body, Gossip) and pong.body.extensions.cluster_id == told


def test_a_cluster_has_one_id_which_outlives_a_restart() -> None:
    world = World(5)
    world.run_until(world.agreed, 8000)
    world.run(5000)
    ids = {host.up.state.cluster_id for host in world.hosts.values()}
    assert len(ids) == 1 and ids != {""}
    text = render(world.hosts["p1"].up.state)
    assert {parse(text).cluster_id} == ids
    state = world.hosts["r1"].up.state
    world.hosts["r1"].handle(Reset())
    assert state.cluster_id == ""


def test_extensions_of_ours_survive_the_wire() -> None:
    from gossip.packet import decode, encode

    body = Gossip((STRANGER,), Extensions("host", "name", (), "d" * 40, 5, OURS))
    packet = replace(Packet(PING, NEW, 7000, 17000, PRIMARY, body=body), mflags=4 | SPEAKS_HEXAD)
    assert decode(encode(packet)) == packet
