"""Claims seen from one node: who gets a slot, who is corrected, who gives way."""

from __future__ import annotations

import pytest

from gossip.events import DropSlotKeys, ReplicateFrom, SaveConfig, SetSlotImporting
from gossip.packet import PING, PONG, UPDATE, Gossip, Update
from gossip.state import ALL_SLOTS
from tests.gossip.machines import IDS, Alone, logged, sent, slots


def test_a_larger_epoch_takes_slots_and_their_keys_go() -> None:
    alone = Alone("p1")
    effects = alone.hear("p2", PING, Gossip(), config_epoch=7, slots=slots(0, 1, *range(5461, 10922)))
    assert DropSlotKeys((0, 1)) in effects and effects[0] == SaveConfig(fsync=True)
    assert alone.machine.state.myself.slot_count == 5459 and not alone.machine.state.serving[0]


def test_what_others_take_from_one_another_need_not_be_durable_at_once() -> None:
    """Each slot that moves would have every node of the cluster stand still until its disk has written."""
    alone = Alone("p3")
    alone.hear("p2", PING, Gossip(), config_epoch=7, slots=alone.node("p2").slots_wire)
    effects = alone.hear("p2", PING, Gossip(), config_epoch=7, slots=slots(0, 1, *range(5461, 10922)))
    assert alone.machine.state.owners[1] is alone.node("p2") and effects[0] == SaveConfig(fsync=False)


def test_the_last_slot_makes_us_a_replica_of_the_claimer() -> None:
    alone = Alone("p1")
    claim = alone.node("p1").slots | alone.node("p2").slots
    effects = alone.hear("p2", PING, Gossip(), config_epoch=7, slots=claim.to_bytes(2048, "little"))
    assert ReplicateFrom("10.0.0.2", 7000) in effects and alone.machine.state.myself.primary is alone.node("p2")


def test_without_replica_migration_only_who_takes_all_from_us_is_followed() -> None:
    alone = Alone("p1")
    alone.settings.allow_replica_migration = False
    claim = alone.node("p1").slots | alone.node("p2").slots
    effects = alone.hear("p2", PING, Gossip(), config_epoch=7, slots=claim.to_bytes(2048, "little"))
    assert not any(isinstance(effect, ReplicateFrom) for effect in effects)
    assert alone.machine.state.myself.is_primary


def test_a_smaller_epoch_is_told_better() -> None:
    alone = Alone("p3")
    effects = alone.hear("p1", PING, Gossip(), slots=slots(0, 5461))
    (update,) = sent(effects, UPDATE)
    assert update.body == Update(2, IDS["p2"], alone.node("p2").slots_wire)
    assert alone.machine.state.owners[5461] is alone.node("p2")


def test_an_update_is_believed_if_its_epoch_is_new() -> None:
    alone = Alone("p3")
    everything = (ALL_SLOTS >> 8192).to_bytes(2048, "little")
    alone.hear("p2", UPDATE, Update(1, IDS["r1"], everything))
    assert alone.node("r1").is_replica, "an old epoch"
    alone.hear("p2", UPDATE, Update(9, IDS["r1"], everything))
    assert alone.node("r1").is_primary and alone.node("r1").slot_count == 8192
    alone.hear("p2", UPDATE, Update(10, IDS["p3"], everything))
    assert alone.machine.state.myself.config_epoch == 3, "about ourselves nobody knows better"


def test_a_slot_that_we_import_is_not_given_away() -> None:
    alone = Alone("p3")
    alone.handle(SetSlotImporting(0, IDS["p1"]))
    alone.hear("p2", PING, Gossip(), config_epoch=9, slots=slots(0, 1))
    assert alone.machine.state.owners[0] is alone.node("p1")
    assert alone.machine.state.owners[1] is alone.node("p2")


def test_what_its_owner_no_longer_claims_anybody_may_have() -> None:
    alone = Alone("p3")
    alone.hear("p2", PING, Gossip(), slots=slots(*range(5462, 10922)))
    assert alone.machine.state.owners[5461] is alone.node("p2"), "nobody else wants it"
    alone.hear("p1", PING, Gossip(), slots=slots(*range(5462)))
    assert alone.machine.state.owners[5461] is alone.node("p1"), "though p1's epoch is smaller"


@pytest.mark.parametrize(("me", "other", "moves"), [("p1", "p2", True), ("p2", "p1", False)])
def test_of_two_with_one_epoch_the_smaller_id_gives_way(me: str, other: str, moves: bool) -> None:
    alone = Alone(me)
    epoch = alone.machine.state.myself.config_epoch
    effects = alone.hear(other, PING, Gossip(), config_epoch=epoch)
    assert ("configEpoch collision" in logged(effects)) == moves
    assert alone.machine.state.myself.config_epoch == (4 if moves else epoch)


def test_a_replica_whose_primary_became_one_goes_to_the_grandmaster() -> None:
    alone = Alone("r1")
    effects = alone.hear("p1", PONG, Gossip(), primary_id=IDS["p2"], slots=alone.node("p2").slots_wire, config_epoch=2)
    assert ReplicateFrom("10.0.0.2", 7000) in effects and "sub-replica" in logged(effects)
