"""What a hand-over changes in the cluster's state, and every reason to refuse it."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.events import (
    AnnounceSlots,
    AskVoters,
    ClusterError,
    DropSlotKeys,
    KeepSlots,
    Leftover,
    ReturnSlots,
    SaveConfig,
    Send,
    SetSlotImporting,
    TakeSlots,
)
from gossip.handover import have_answered
from gossip.nodesconf import NodesConfError, parse, render
from gossip.packet import FAILED, Extensions, Gossip, Packet, PacketReader, bitmap_bytes, encode
from tests.sim.world import Host, World

SLOTS = 0b1111 << 100
EPOCH = 9


@pytest.fixture
def world() -> World:
    """p1 owns the slots, p3 is to get them."""
    world = World(1, replicas=1)
    world.run_until(world.agreed, 10_000)
    return world


def node_id(world: World, name: str) -> str:
    return next(node_id for node_id, known in world.ids.items() if known == name)


def give(world: World, host: Host, event: Any) -> list[Any]:
    return host.up.handle(event, world.now_ms)


def order(world: World, epoch: int = EPOCH) -> TakeSlots:
    return TakeSlots(SLOTS, node_id(world, "p1"), epoch)


def test_taking_saves_and_tells_nobody_until_it_is_announced(world: World) -> None:
    target = world.hosts["p3"]
    effects = give(world, target, order(world))
    assert effects[0] == SaveConfig(fsync=True) and not any(isinstance(effect, Send) for effect in effects)
    state = target.up.state
    assert state.myself.slots & SLOTS == SLOTS and state.myself.config_epoch == state.current_epoch == EPOCH
    state.check()
    sent = [effect for effect in give(world, target, AnnounceSlots()) if isinstance(effect, Send)]
    assert len(sent) == len(world.hosts) - 1


def test_all_hear_of_it_and_the_source_drops_its_keys(world: World) -> None:
    target, source = world.hosts["p3"], world.hosts["p1"]
    target.handle(order(world))
    target.handle(AnnounceSlots())
    world.run_until(world.agreed, 1000)
    assert all(host.up.state.owners[101].id == node_id(world, "p3") for host in world.hosts.values())  # type: ignore[union-attr]
    assert source.up.state.leftover == SLOTS
    assert any("p1: => drop keys of 4 slots" in line for line in world.trace)


def test_what_was_saved_too_late_is_given_back(world: World) -> None:
    target = world.hosts["p3"]
    give(world, target, order(world))
    give(world, target, ReturnSlots(SLOTS, node_id(world, "p1")))
    state = target.up.state
    assert not state.myself.slots & SLOTS and state.myself.config_epoch == EPOCH and state.leftover == SLOTS
    state.check()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda state, source: setattr(state, "ok", False), "cluster is down"),
        (lambda state, source: setattr(source, "flags", source.flags | FAILED), "may have failed"),
        (lambda state, source: setattr(state, "current_epoch", EPOCH), "new epoch meanwhile"),
        (lambda state, source: state.give(1 << 101, None), "another owner"),
        (lambda state, source: state.set_importing(101, source), "key by key"),
    ],
)
def test_every_reason_to_refuse_changes_nothing(world: World, spoil: Any, why: str) -> None:
    target = world.hosts["p3"]
    state = target.up.state
    spoil(state, state.nodes[node_id(world, "p1")])
    before = render(state)
    with pytest.raises(ClusterError, match=why):
        give(world, target, order(world))
    assert render(state) == before


def test_a_replica_takes_nothing(world: World) -> None:
    with pytest.raises(ClusterError, match="replica"):
        give(world, world.hosts["r3"], order(world))


def test_a_source_that_keeps_its_slots_is_above_the_epoch_it_heard_of(world: World) -> None:
    source = world.hosts["p1"]
    effects = give(world, source, KeepSlots(EPOCH))
    assert effects[0] == SaveConfig(fsync=True) and source.up.state.myself.config_epoch == EPOCH + 1
    # ... so a claim that comes after all loses, everywhere.
    world.hosts["p3"].handle(order(world))
    world.hosts["p3"].handle(AnnounceSlots())
    world.run(3000)
    world.run_until(world.agreed, 10_000)
    assert source.up.state.myself.slots & SLOTS == SLOTS


def test_an_answer_is_one_that_was_asked_for(world: World) -> None:
    source = world.hosts["p1"]
    core, target = source.up.core, source.up.state.nodes[node_id(world, "p3")]
    world.cut("p1", "p3")
    world.run(1)
    since = world.now_ms - 1  # an answer of the same millisecond does not count, and here there is no delay
    assert not have_answered(core, target, since)
    source.handle(AskVoters())
    world.run(100)
    assert have_answered(core, None, since) and not have_answered(core, None, world.now_ms)


def test_leftover_is_kept_in_the_file_and_dropped_by_who_loads_it(world: World) -> None:
    target = world.hosts["p3"]
    assert SaveConfig(fsync=True) in give(world, target, Leftover(SLOTS))
    assert give(world, target, Leftover(SLOTS)) == []
    text = render(target.up.state)
    assert " leftover 100-103 " in text and parse(text).leftover == SLOTS
    with pytest.raises(NodesConfError):
        parse(text.replace("leftover 100-103", "leftover 103-100"))
    target.durable = text
    target.written = text
    target.slots_with_keys = lambda: (101, 12_000)  # type: ignore[method-assign]
    target.crash()
    target.start()
    assert target.up.state.leftover == 1 << 101 and not target.up.state.importing
    assert any("p3: => drop keys of 1 slots" in line for line in world.trace)


def test_a_replica_is_told_what_of_its_primarys_data_is_not_its_own(world: World) -> None:
    target, heir = world.hosts["p3"], world.hosts["r3"]
    target.handle(Leftover(SLOTS))
    world.run(50)
    assert heir.up.state.nodes[node_id(world, "p3")].leftover == SLOTS
    assert world.hosts["p1"].up.state.nodes[node_id(world, "p3")].leftover == 0
    target.crash()
    world.run_until(lambda: heir.up.state.myself.is_primary, 20_000)
    assert heir.up.state.leftover == SLOTS
    assert any("r3: => drop keys of 4 slots" in line for line in world.trace)


def test_the_extension_keeps_its_form() -> None:
    body = Gossip((), Extensions(shard_id="a" * 40, standing=1, leftover=bitmap_bytes(SLOTS)))
    packet = Packet(1, "b" * 40, 1, 2, 1, body=body)
    (heard,) = PacketReader().feed(encode(packet))
    assert isinstance(heard, Packet) and isinstance(heard.body, Gossip)
    assert heard.body.extensions == body.extensions


def test_an_import_key_by_key_and_one_as_a_whole_do_not_mix(world: World) -> None:
    target = world.hosts["p3"]
    give(world, target, SetSlotImporting(102, node_id(world, "p1")))
    with pytest.raises(ClusterError, match="key by key"):
        give(world, target, order(world))
    assert not [effect for effect in give(world, target, AskVoters()) if isinstance(effect, DropSlotKeys)]
