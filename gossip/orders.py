"""Orders of an operator about slots, roles and epochs: each is checked whole before it changes anything.

The texts of the refusals are Redis's.
"""

from __future__ import annotations

from gossip.core import Core, Proposal, known_node
from gossip.electorate import Electorate
from gossip.events import (
    AddSlots,
    BecomePrimary,
    Broadcast,
    BumpEpoch,
    ClusterError,
    DataLoaded,
    DelSlots,
    DropSlotKeys,
    EmptyData,
    FlushSlots,
    Replicate,
    Reply,
    Reset,
    SetConfigEpoch,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
    SetSlotStable,
)
from gossip.heartbeat import drop_all_links, pong_to_all
from gossip.packet import EPOCH_MAX, PUBLISH, PUBLISH_SHARD, Publish, bitmap_from, slots_in
from gossip.roles import bump_epoch, follow, make_primary, reset_manual
from gossip.state import ALL_SLOTS, Node
from node.slots import SLOTS


def _check_slots(core: Core, slots: tuple[int, ...], *, owned: bool) -> None:
    """Refuse slots that do not exist, come twice, or have an owner when they must have none (or the reverse)."""
    seen: set[int] = set()
    for slot in slots:
        if not 0 <= slot < SLOTS:
            raise ClusterError("ERR Invalid or out of range slot")
    for slot in slots:
        if (core.state.owners[slot] is not None) != owned:
            raise ClusterError(f"ERR Slot {slot} is already {'unassigned' if owned else 'busy'}")
        if slot in seen:
            raise ClusterError(f"ERR Slot {slot} specified multiple times")
        seen.add(slot)


def _slots_changed(core: Core) -> None:
    core.save()
    core.judge = True


def add_slots(core: Core, order: AddSlots) -> None:
    _check_slots(core, order.slots, owned=False)
    core.state.give(bitmap_from(order.slots), core.myself)
    for slot in order.slots:
        core.state.set_importing(slot, None)
    _slots_changed(core)


def del_slots(core: Core, order: DelSlots) -> None:
    _check_slots(core, order.slots, owned=True)
    core.state.give(bitmap_from(order.slots), None)
    _slots_changed(core)


def flush_slots(core: Core, _order: FlushSlots) -> None:
    if core.facts.key_count():
        raise ClusterError("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")
    core.state.give(core.myself.slots, None)
    _slots_changed(core)


# ---- SETSLOT ---------------------------------------------------------------------------------------------------------


def _setslot_target(core: Core, slot: int, node_id: str, unknown: str) -> Node:
    _require_primary(core)
    if not 0 <= slot < SLOTS:
        raise ClusterError("ERR Invalid or out of range slot")
    node = core.state.nodes.get(node_id)
    if node is None:
        raise ClusterError(f"ERR {unknown} {node_id}")
    if node.is_replica:
        raise ClusterError("ERR Target node is not a master")
    return node


def _require_primary(core: Core) -> None:
    if core.myself.is_replica:
        raise ClusterError("ERR Please use SETSLOT only with masters.")


def set_slot_migrating(core: Core, order: SetSlotMigrating) -> None:
    _require_primary(core)
    if core.state.owners[order.slot] is not core.myself:
        raise ClusterError(f"ERR I'm not the owner of hash slot {order.slot}")
    target = _setslot_target(core, order.slot, order.node_id, "I don't know about node")
    core.state.set_migrating(order.slot, target)
    _slots_changed(core)


def set_slot_importing(core: Core, order: SetSlotImporting) -> None:
    _require_primary(core)
    if core.state.owners[order.slot] is core.myself:
        raise ClusterError(f"ERR I'm already the owner of hash slot {order.slot}")
    origin = _setslot_target(core, order.slot, order.node_id, "I don't know about node")
    core.state.set_importing(order.slot, origin)
    _slots_changed(core)


def set_slot_stable(core: Core, order: SetSlotStable) -> None:
    _require_primary(core)
    core.state.set_importing(order.slot, None)
    core.state.set_migrating(order.slot, None)
    _slots_changed(core)


def set_slot_node(core: Core, order: SetSlotNode) -> None:
    """Hand a slot over for good.  At the importer this takes a new epoch, so that its claim wins everywhere."""
    state, myself, slot = core.state, core.myself, order.slot
    node = _setslot_target(core, slot, order.node_id, "Unknown node")
    was_mine, is_open = state.owners[slot] is myself, slot in state.migrating or slot in state.importing
    if state.owners[slot] is node and not is_open:
        state.unclaimed &= ~(1 << slot)
        return  # the new owner's own word was faster: nothing changes, so there is nothing to save
    if was_mine and node is not myself and core.facts.keys_in_slot(slot):
        raise ClusterError(
            f"ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
        )
    if not core.facts.keys_in_slot(slot):
        state.set_migrating(slot, None)
    state.give(1 << slot, node)
    if was_mine and node is not myself and not myself.slots and core.settings.allow_replica_migration:
        core.log(
            "warning",
            f"Lost my last slot during slot migration. Reconfiguring myself as a replica of {node.shown}",
        )
        follow(core, node)
    if node is myself and slot in state.importing:
        if bump_epoch(core):
            core.log("warning", f"configEpoch updated after importing slot {slot}")
        state.set_importing(slot, None)
        pong_to_all(core)
    _slots_changed(core)


# ---- roles -----------------------------------------------------------------------------------------------------------


def replicate(core: Core, order: Replicate) -> None:
    node, myself = known_node(core, order.node_id), core.myself
    if node is myself:
        raise ClusterError("ERR Can't replicate myself")
    if node.is_replica:
        raise ClusterError("ERR I can only replicate a master, not a replica.")
    if myself.is_primary and (myself.slots or core.facts.key_count()):
        raise ClusterError("ERR To set a master the node must be empty and without assigned slots.")
    follow(core, node)


def reset(core: Core, order: Reset) -> None:
    """Forget the cluster; hard: also who we were."""
    state, myself = core.state, core.myself
    if myself.is_primary and core.facts.key_count():
        raise ClusterError("ERR CLUSTER RESET can't be called with master nodes containing keys")
    if myself.is_replica:
        make_primary(core, myself)
        core.emit(BecomePrimary())
        core.emit(EmptyData())
        myself.shard_id = core.fresh_id()
    state.close_all_slots()
    state.leftover = 0
    state.cluster_id = ""
    reset_manual(core)
    state.give(ALL_SLOTS, None)
    for node in list(state.others()):
        drop_all_links(core, node)
        state.remove(node)
    was_voter = state.electorate.binds(myself.id)
    state.electorate, core.proposal = Electorate(), Proposal()
    if order.hard:
        _become_another(core)
    elif was_voter:
        # It forgets what it promised as a voter, so it must not be taken for that voter again.
        state.rename(myself, core.fresh_id())
        core.log("notice", f"Leaving the agreed voters, now I'm {myself.id}")
    core.save(fsync=True)
    core.judge = True


def _become_another(core: Core) -> None:
    state, myself = core.state, core.myself
    state.current_epoch = myself.config_epoch = state.ballot.epoch = 0
    core.log("warning", "configEpoch set to 0 via CLUSTER RESET HARD")
    myself.shard_id = core.fresh_id()
    state.rename(myself, core.fresh_id())
    core.log("notice", f"Node hard reset, now I'm {myself.id}")


# ---- epochs ----------------------------------------------------------------------------------------------------------


def set_config_epoch(core: Core, order: SetConfigEpoch) -> None:
    if not 0 <= order.epoch <= EPOCH_MAX:
        raise ClusterError(f"ERR Invalid config epoch specified: {order.epoch}")
    if len(core.state.nodes) > 1:
        raise ClusterError("ERR The user can assign a config epoch only when the node does not know any other node.")
    if core.myself.config_epoch:
        raise ClusterError("ERR Node config epoch is already non-zero")
    core.myself.config_epoch = order.epoch
    core.log("warning", f"configEpoch set to {order.epoch} via CLUSTER SET-CONFIG-EPOCH")
    core.state.current_epoch = max(core.state.current_epoch, order.epoch)
    core.save()
    core.judge = True


def bump(core: Core, _order: BumpEpoch) -> None:
    word = "BUMPED" if bump_epoch(core) else "STILL"
    core.emit(Reply(f"{word} {core.myself.config_epoch}"))


# ---- data and messages --------------------------------------------------------------------------------------------


def data_loaded(core: Core, event: DataLoaded) -> None:
    """Keys that were loaded lie in slots that are not ours: take the free ones, import the others."""
    state = core.state
    if core.myself.is_replica:
        return
    astray = bitmap_from(event.slots) & ~core.myself.slots & ~state.importing_bits
    leftover, state.leftover = astray & state.leftover, astray & state.leftover
    if leftover:
        core.log("notice", "I have keys of slots that I was importing or had handed over. Dropping them.")
        core.emit(DropSlotKeys(tuple(slots_in(leftover))))
        astray &= ~leftover
    core.save()
    for slot in slots_in(astray):
        owner = state.owners[slot]
        if owner is None:
            core.log("notice", f"I have keys for unassigned slot {slot}. Taking responsibility for it.")
            state.give(1 << slot, core.myself)
        else:
            core.log(
                "notice",
                f"I have keys for slot {slot}, but the slot is assigned to another node. "
                "Setting it to importing state.",
            )
            state.set_importing(slot, owner)
    if astray:
        _slots_changed(core)


def broadcast(core: Core, event: Broadcast) -> None:
    """Pass a client's message on: to all nodes, or to those of our shard."""
    packet = core.packet(PUBLISH_SHARD if event.sharded else PUBLISH, Publish(event.channel, event.message))
    if not event.sharded:
        core.broadcast(packet)
        return
    primary = core.myself.source
    shard = [node for node in (primary, *primary.replicas) if node is not core.myself]
    core.send(tuple(node.link for node in shard if node.link is not None and node.link_up), packet)
