"""Who is a primary and who replicates whom: the moves that set all of a role at once."""

from __future__ import annotations

from gossip.core import Core
from gossip.events import BecomePrimary, DropSlotKeys, ReplicateFrom, UnpauseWrites
from gossip.heartbeat import pong_to_all
from gossip.packet import MIGRATE_TO, PRIMARY, REPLICA, slots_in
from gossip.state import Node


def make_primary(core: Core, node: Node) -> None:
    """Turn a node into a primary in our eyes; its slots are another matter."""
    if node.is_primary:
        return
    state = core.state
    if node.primary is not None:
        state.detach(node)
        if node is not state.myself:
            # It came out of a shard with replicas, so it may hope for replicas of its own.
            node.flags |= MIGRATE_TO
    node.flags = node.flags & ~REPLICA | PRIMARY
    core.save()
    core.judge = True


def make_replica(core: Core, node: Node, primary: Node | None) -> None:
    """Turn another node into a replica of `primary` (None: of one we do not know); a primary loses its slots."""
    state = core.state
    if not node.is_replica:
        state.give(node.slots, None)
        node.flags = node.flags & ~(PRIMARY | MIGRATE_TO) | REPLICA
        core.save()
        core.judge = True
    if primary is not None and primary is not node and node.primary is not primary:
        state.attach(node, primary)
        core.save()


def follow(core: Core, primary: Node) -> None:
    """Become a replica of `primary`.  We must have no slots left."""
    state, myself = core.state, core.myself
    assert primary is not myself and not myself.slots, f"following {primary} with {myself.slot_count} slots"
    if myself.is_primary:
        myself.flags = myself.flags & ~(PRIMARY | MIGRATE_TO) | REPLICA
        state.close_all_slots()
    state.leftover = 0  # its data takes the place of ours
    state.attach(myself, primary)
    myself.shard_id = primary.shard_id or myself.shard_id
    core.emit(ReplicateFrom(primary.ip, primary.port))
    reset_manual(core)
    core.save()
    core.judge = True
    # As long as its primary does not know, it does not hear that we want its place; as long as the others do not, they
    # refuse us their votes: in Redis an order to fail back at once stops the writers for five seconds, and fails.
    pong_to_all(core)


def replace_my_primary(core: Core) -> None:
    """Take our primary's place: its slots are ours, and everybody hears of it at once."""
    myself, primary = core.myself, core.myself.primary
    if primary is None:
        return
    slots = primary.slots
    leftover = primary.leftover & ~slots
    make_primary(core, myself)
    core.emit(BecomePrimary())
    core.state.give(slots, myself)
    if leftover:  # half of what it was importing, or of what it had handed over: another's, all the same
        core.state.leftover |= leftover
        core.emit(DropSlotKeys(tuple(slots_in(leftover))))
    core.save(fsync=True)
    core.judge = True
    pong_to_all(core)
    reset_manual(core)


def reset_manual(core: Core) -> None:
    """End a manual failover, successful or not; a primary lets its clients write again."""
    manual = core.manual
    if manual.replica is not None:
        core.emit(UnpauseWrites())
    manual.end_ms, manual.may_start, manual.primary_offset, manual.replica = 0, False, None, None


def bump_epoch(core: Core) -> bool:
    """Take a new config epoch without asking anybody, unless ours is the largest already.  True if it changed."""
    state, myself = core.state, core.myself
    largest = state.max_epoch()
    if myself.config_epoch != 0 and myself.config_epoch == largest:
        return False
    state.current_epoch = largest + 1
    myself.config_epoch = state.current_epoch
    core.save(fsync=True)
    core.log("warning", f"New configEpoch set to {myself.config_epoch}")
    return True
