"""Claims of slots and their epochs: what a message's bitmap changes here.

A primary claims slots with its config epoch in each ping, pong and meet; an update tells a third node's
claim.  The larger epoch wins a slot.  Whoever claims with a smaller one is sent an update about the real owner.
Two primaries with one epoch cannot both stay: the one with the smaller id takes a new one.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.events import DropSlotKeys
from gossip.packet import UPDATE, Packet, Update, bitmap_of, slots_in
from gossip.roles import follow, make_primary, make_replica
from gossip.state import ALL_SLOTS, ClusterState, Node


def learn_role(core: Core, sender: Node, packet: Packet) -> None:
    """Take over whether the sender is a primary, or whose replica."""
    if not packet.primary_id:
        make_primary(core, sender)
        return
    primary = core.state.nodes.get(packet.primary_id)
    make_replica(core, sender, primary)
    if sender is core.myself.primary:
        _leave_sub_replica(core)


def _leave_sub_replica(core: Core) -> None:
    """Our primary replicates somebody itself: go to that one."""
    primary = core.myself.primary
    if primary is None or primary.primary is None or primary.primary is core.myself:
        return
    core.log(
        "warning",
        f"I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {primary.primary.shown}",
    )
    follow(core, primary.primary)


def learn_slots(core: Core, sender: Node, packet: Packet) -> None:
    """Compare the slots in a message of a known sender with those we know; unchanged ones cost one comparison."""
    owner = sender.source
    if packet.slots != owner.slots_wire:
        claimed = bitmap_of(packet.slots)
        if sender.is_primary:
            accept_claim(core, sender, packet.config_epoch, claimed)
        _correct(core, sender, packet.config_epoch, claimed)
    elif owner.slots & core.state.unclaimed:
        core.state.unclaimed &= ~owner.slots
    if sender.is_primary and packet.config_epoch == core.myself.config_epoch and core.myself.is_primary:
        _resolve_collision(core, sender)


def _correct(core: Core, sender: Node, epoch: int, claimed: int) -> None:
    """Tell a sender of an owner with a larger epoch, if it claims a slot of one; one at a time is enough."""
    wrong = [
        node
        for node in core.state.nodes.values()
        if node is not sender and node.config_epoch > epoch and node.slots & claimed
    ]
    if not wrong:
        return
    owner = min(wrong, key=lambda node: node.slots & claimed & -(node.slots & claimed))
    core.log("verbose", f"Node {sender.id} has old slots configuration, sending an UPDATE message about {owner.id}")
    core.send_to(sender, core.packet(UPDATE, Update(owner.config_epoch, owner.id, owner.slots_wire)))


def hear_update(core: Core, body: Update) -> None:
    """A third node told us who owns what: believe it if its epoch is larger than the one we know."""
    node = core.state.nodes.get(body.node_id)
    if node is None or node.config_epoch >= body.config_epoch:
        return
    if node is core.myself:
        core.log("verbose", "Discarding UPDATE message about myself.")
        return
    make_primary(core, node)  # an update names primaries only
    node.config_epoch = body.config_epoch
    core.save(fsync=True)
    accept_claim(core, node, body.config_epoch, bitmap_of(body.slots))


def accept_claim(core: Core, sender: Node, epoch: int, claimed: int) -> None:
    """Give a claimer what its epoch entitles it to.

    Three cases for what we lose by it.  The last slot of ours, or of our primary's: we become a replica of
    the claimer.  Some slots of ours: their keys are dropped.  None: nothing else happens.
    """
    state, myself = core.state, core.myself
    ours = myself.source
    before = ours.slots
    won = _entitled(state, sender, epoch, claimed)
    # What the sender owns and no longer claims is up for grabs; what it claims again is not.
    state.unclaimed = state.unclaimed & ~(claimed & sender.slots) | sender.slots & ~claimed
    if not won:
        return
    lost, lost_mine = won & before, won & myself.slots
    state.give(won, sender)
    # What others take from one another is their promise, and nothing here depends on it: a crash that forgets it is a
    # message that came too late. To wait for the disk would stall every node of the cluster at each slot that moves.
    core.save(fsync=bool(lost))
    core.judge = True
    took_all_from_us = claimed.bit_count() == lost.bit_count()
    if lost and not ours.slots and (core.settings.allow_replica_migration or took_all_from_us):
        core.log("warning", f"Configuration change detected. Reconfiguring myself as a replica of {sender.shown}")
        follow(core, sender)
    elif lost_mine:
        state.leftover |= lost_mine
        core.emit(DropSlotKeys(tuple(slots_in(lost_mine))))


def _entitled(state: ClusterState, sender: Node, epoch: int, claimed: int) -> int:
    """Return which claimed slots change hands: neither the sender's already nor being imported by us, and
    free, given up by their owner, or owned with a smaller epoch."""
    wanted = claimed & ~sender.slots & ~state.importing_bits
    if not wanted:
        return 0
    won = wanted & (ALL_SLOTS ^ state.owned | state.unclaimed)
    for node in state.nodes.values():
        if node.slots & wanted and node.config_epoch < epoch:
            won |= node.slots & wanted
    return won


def _resolve_collision(core: Core, sender: Node) -> None:
    """Two primaries have one epoch: the smaller id gives way by taking a new one."""
    state, myself = core.state, core.myself
    if sender.id <= myself.id:
        return
    state.current_epoch += 1
    myself.config_epoch = state.current_epoch
    core.save(fsync=True)
    core.log(
        "verbose",
        f"WARNING: configEpoch collision with node {sender.shown}. configEpoch set to {myself.config_epoch}",
    )
