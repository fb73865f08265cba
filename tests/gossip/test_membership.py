"""Joining, moving and leaving, seen from one node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.events import (
    Broadcast,
    CloseLink,
    ClusterError,
    DeliverMessage,
    Dial,
    DialFailed,
    Forget,
    LinkDown,
    LinkUp,
    Meet,
    PacketReceived,
    ReplicateFrom,
    Wakeup,
)
from gossip.packet import (
    FAIL,
    FAILED,
    MEET,
    NOADDR,
    PFAIL,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    PUBLISH_SHARD,
    REPLICA,
    Extensions,
    Gossip,
    GossipEntry,
    Packet,
    PacketError,
    Publish,
)
from tests.gossip.machines import IDS, Alone, logged, sent

NEW = "c1" * 20


def entry(node_id: str = NEW, flags: int = PRIMARY, ip: str = "10.0.0.77", pong_s: int = 0) -> GossipEntry:
    return GossipEntry(node_id, 0, pong_s, ip, 7000, 17000, flags)


def test_meet_dials_and_greets_and_the_answer_tells_who_it_is() -> None:
    alone = Alone("p1")
    (dial,) = [e for e in alone.handle(Meet("10.0.0.9", 7000, 17000)) if isinstance(e, Dial)]
    assert alone.handle(Meet("10.0.0.9", 7000, 17000)) == [], "it is on its way"
    assert sent(alone.handle(LinkUp(dial.link)), MEET)
    pong = Packet(PONG, NEW, 7000, 17000, PRIMARY, body=Gossip())
    alone.handle(PacketReceived(dial.link, pong, "10.0.0.9", "10.0.0.1"))
    node = alone.machine.state.nodes[NEW]
    assert node.is_primary and not node.in_handshake and node.link == dial.link


def test_whom_we_meet_may_be_ourselves_or_known() -> None:
    alone = Alone("p1")
    for who in (IDS["p1"], IDS["p2"]):
        (dial,) = [e for e in alone.handle(Meet("10.0.0.99", 7000, 17000)) if isinstance(e, Dial)]
        alone.handle(LinkUp(dial.link))
        pong = Packet(PONG, who, 7000, 17000, PRIMARY, slots=alone.node("p2").slots_wire, config_epoch=2, body=Gossip())
        assert CloseLink(dial.link) in alone.handle(PacketReceived(dial.link, pong, "10.0.0.99", "10.0.0.1"))
        assert len(alone.machine.state.nodes) == 6
    assert alone.node("p2").ip == "10.0.0.99", "a known node that answers elsewhere has moved there"


def test_a_handshake_that_nobody_answers_ends() -> None:
    alone = Alone("p1")
    (dial,) = [e for e in alone.handle(Meet("10.0.0.9", 7000, 17000)) if isinstance(e, Dial)]
    alone.handle(DialFailed(dial.link, "refused"))
    alone.now_ms += 2001
    alone.handle(Wakeup())
    assert len(alone.machine.state.nodes) == 6


def test_a_stranger_is_answered_but_only_a_meet_makes_it_known() -> None:
    alone = Alone("p1")
    gossip = Gossip((entry("c2" * 20),))
    stranger = Packet(PING, NEW, 7000, 17000, PRIMARY, body=gossip)
    assert sent(alone.handle(PacketReceived(-1, stranger, "10.0.0.50", "10.0.0.1")), PONG)
    assert len(alone.machine.state.nodes) == 6
    effects = alone.handle(PacketReceived(-1, replace(stranger, kind=MEET), "10.0.0.50", "10.0.0.1"))
    assert sent(effects, PONG) and any(isinstance(e, Dial) and e.ip == "10.0.0.50" for e in effects)
    alone.handle(PacketReceived(-2, replace(stranger, kind=FAIL, body=None), "10.0.0.50", "10.0.0.1"))
    assert "c2" * 20 not in alone.machine.state.nodes and not alone.node("p2").is_failed


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry(flags=PRIMARY | NOADDR), "no address"),
        (entry(node_id="Z" * 40), "no id"),
        (entry(ip="nonsense"), "no ip"),
    ],
)
def test_gossip_introduces_who_could_be_a_node(bad: GossipEntry, why: str) -> None:
    alone = Alone("p1")
    alone.hear("p2", PING, Gossip((bad,)))
    assert len(alone.machine.state.nodes) == 6, why
    alone.hear("p2", PING, Gossip((entry(),)))
    assert alone.machine.state.nodes[NEW].ip == "10.0.0.77"


def test_the_forgotten_stay_away_for_a_minute() -> None:
    alone = Alone("p1")
    alone.handle(Forget(IDS["r2"]))
    again = entry(IDS["r2"], REPLICA)
    alone.hear("p2", PING, Gossip((again,)))
    assert IDS["r2"] not in alone.machine.state.nodes
    alone.now_ms += 60_000
    alone.hear("p2", PING, Gossip((again,)))
    assert IDS["r2"] in alone.machine.state.nodes


def test_an_order_to_forget_may_come_after_the_news_of_it() -> None:
    """redis-cli tells all nodes in turn, and the first one's pings may be faster."""
    alone = Alone("p1")
    alone.hear("p2", PING, Gossip((), Extensions(forgotten=((IDS["r3"], 60),))))
    assert IDS["r3"] not in alone.machine.state.nodes
    alone.handle(Forget(IDS["r3"]))
    with pytest.raises(ClusterError, match="Unknown node"):
        alone.handle(Forget("f" * 40))
    alone.now_ms += 60_000
    with pytest.raises(ClusterError, match="Unknown node"):
        alone.handle(Forget(IDS["r3"]))


def test_others_forgetting_is_ours_too_but_not_of_ourselves_or_our_primary() -> None:
    alone = Alone("r1")
    forgotten = tuple((IDS[name], 60) for name in ("r1", "p1", "r3"))
    alone.hear("p2", PING, Gossip((), Extensions(forgotten=forgotten)))
    assert set(alone.machine.state.nodes) == set(IDS.values()) - {IDS["r3"]}


def test_a_verdict_needs_a_majority_within_two_timeouts() -> None:
    alone = Alone("p1")
    down = Gossip((entry(IDS["r3"], REPLICA | PFAIL),))
    alone.hear("p2", PING, down)
    assert not alone.node("r3").is_troubled, "we reach it ourselves"
    alone.node("r3").flags |= PFAIL
    alone.now_ms += 4001
    alone.hear("r2", PING, down)
    assert not alone.node("r3").is_failed, "the report of p2 is too old, a replica's does not count"
    effects = alone.hear("p2", PING, down)
    assert alone.node("r3").is_failed and sent(effects, FAIL)
    alone.hear("r3", PONG, Gossip())
    assert not alone.node("r3").is_troubled


def test_a_pong_in_gossip_is_believed_unless_it_is_from_the_future() -> None:
    alone = Alone("p1")
    node, now_s = alone.node("r3"), alone.now_ms // 1000
    alone.now_ms += 3000
    alone.hear("p2", PING, Gossip((entry(IDS["r3"], REPLICA, "10.0.0.6", now_s + 3),)))
    assert node.pong_received_ms == (now_s + 3) * 1000
    alone.hear("p2", PING, Gossip((entry(IDS["r3"], REPLICA, "10.0.0.6", now_s + 9),)))
    assert node.pong_received_ms == (now_s + 3) * 1000


def test_addresses_are_learned_from_pings_and_from_gossip_about_the_lost() -> None:
    alone = Alone("r1")
    effects = alone.hear("p1", PING, Gossip(), ip="10.1.1.1")
    assert ReplicateFrom("10.1.1.1", 7000) in effects and "Address updated for node" in logged(effects)
    alone.hear("p2", PING, Gossip((entry(IDS["p3"], PRIMARY, "10.3.3.3"),)))
    assert alone.node("p3").ip == "10.0.0.3", "it looks well here"
    alone.node("p3").flags |= FAILED
    alone.hear("p2", PING, Gossip((entry(IDS["p3"], PRIMARY, "10.3.3.3"),)))
    assert alone.node("p3").ip == "10.3.3.3"


def test_another_node_behind_an_address_takes_it_away() -> None:
    alone = Alone("p1")
    link = alone.node("p3").link
    assert link is not None
    pong = alone.packet("p2", PONG, Gossip())
    assert CloseLink(link) in alone.handle(PacketReceived(link, pong, "10.0.0.3", "10.0.0.1"))
    assert not alone.node("p3").has_address


def test_links_are_dialled_again_later_and_later() -> None:
    alone = Alone("p1")
    link = alone.node("p3").link
    assert link is not None
    alone.handle(LinkDown(link))
    waits = []
    for _ in range(6):
        begun_ms = alone.now_ms
        while not (dials := [e for e in alone.handle(Wakeup()) if isinstance(e, Dial) and e.ip == "10.0.0.3"]):
            alone.now_ms += 50
        waits.append(alone.now_ms - begun_ms)
        alone.handle(DialFailed(dials[0].link, "refused"))
    assert waits == [100, 200, 400, 800, 1000, 1000]
    alone.hear("p3", PING, Gossip())
    assert any(isinstance(e, Dial) and e.ip == "10.0.0.3" for e in alone.handle(Wakeup())), "it is alive"


def test_what_is_no_packet_costs_the_packet_or_the_link() -> None:
    alone = Alone("p1")
    link = alone.node("p3").link
    assert link is not None
    assert alone.handle(PacketReceived(link, PacketError("odd"))) and alone.node("p3").link == link
    assert CloseLink(link) in alone.handle(PacketReceived(link, PacketError("lost", closes=True)))
    assert alone.node("p3").link is None


def test_messages_go_to_all_or_to_the_shard_and_arrive() -> None:
    alone = Alone("p1")
    (all_of_them,) = sent(alone.handle(Broadcast(b"c", b"m")), PUBLISH)
    assert all_of_them.body == Publish(b"c", b"m")
    effects = alone.handle(Broadcast(b"c", b"m", sharded=True))
    assert [e.links for e in effects] == [(alone.node("r1").link,)]  # type: ignore[union-attr]
    assert DeliverMessage(b"x", b"y", True) in alone.hear("r1", PUBLISH_SHARD, Publish(b"x", b"y"))


def test_a_node_answers_only_over_the_link_that_stands() -> None:
    """What it said before its link broke does not tell who is at its address now."""
    alone = Alone("r1")
    primary = alone.node("p1")
    for sender, answers in ((primary.id, True), ("ff" * 20, False)):
        assert primary.answers and primary.link is not None
        alone.handle(LinkDown(primary.link))
        assert not primary.answers
        alone.now_ms += 200
        dials = [effect for effect in alone.handle(Wakeup()) if isinstance(effect, Dial)]
        alone.handle(LinkUp(dials[0].link))
        assert not primary.answers
        alone.hear("p1", PONG, Gossip(), sender=sender)
        assert primary.answers == answers
