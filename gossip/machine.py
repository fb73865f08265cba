"""The cluster machine: one node's part in the cluster, as events in and effects out.

How to drive it.  One owner calls `handle(event, now_ms)` and performs the effects of the returned list in order, all
of them before the next call; nothing else changes the machine or its state.

- `now_ms` is Unix time in milliseconds from a clock that does not jump (a monotonic one, set to Unix time
  once): gossip carries times, and deadlines are counted in it.
- Begin with `Wakeup()`; then again whenever the time of the last `WakeAt` has come.  There is no tick.
- `SaveConfig` stands before all else: write `nodesconf.render(machine.state)`, and with `fsync` let nothing that
  follows leave before it is durable; without, it may become so later.  If saving fails, stop the node: a vote that is
  forgotten can be given twice.
- `Resolve` looks a name up and is answered by `Resolved`.
- `Dial` opens a link and is answered by `LinkUp` or `DialFailed` with its number; who accepts a link gives it a
  number below 0, feeds a `PacketReader` with its bytes and hands over what that returns in order, as
  `PacketReceived`, errors included.  `CloseLink` ends any link (and is the last of it); a link that ended by itself is
  `LinkDown`.  `Send` never waits: what a link cannot take is queued up to a limit, then the link is closed.
- An order of a client (`Meet`, `AddSlots`, `Failover`…) raises `ClusterError`, whose text is the whole reply,
  before anything has changed; without an error its reply is OK, or the `Reply` among the effects.
- `ReplicateFrom`, `BecomePrimary`, `EmptyData`, `DropSlotKeys`, `PauseWrites`, `UnpauseWrites` are for the node
  around; none of them may call back into the machine before the list is done.
- `machine.state` may be read at any time between calls (routing, reports); `state.serving` and `state.ok` are
  what a session looks at for each command.
- After the data is loaded: `DataLoaded`.  After the settings object has changed: `SettingsChanged`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from gossip import (
    claims,
    comeback,
    election,
    handover,
    heartbeat,
    identity,
    manual,
    membership,
    networks,
    orders,
    seeking,
    suspicion,
    voters,
)
from gossip.core import Core
from gossip.events import (
    AddSlots,
    AnnounceSlots,
    AskVoters,
    Broadcast,
    BumpEpoch,
    CloseLink,
    DataLoaded,
    DeliverMessage,
    DelSlots,
    DialFailed,
    Effect,
    Event,
    Facts,
    Failover,
    FlushSlots,
    Forget,
    KeepSlots,
    Leftover,
    LinkDown,
    LinkUp,
    Meet,
    PacketReceived,
    Replicate,
    ReplicateFrom,
    Reset,
    Resolved,
    ReturnSlots,
    SaveNow,
    SetConfigEpoch,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
    SetSlotStable,
    SettingsChanged,
    TakeSlots,
    Wakeup,
)
from gossip.packet import (
    AUTH_ACK,
    AUTH_REQUEST,
    FAIL,
    HAS_EXTENSIONS,
    MEET,
    MFSTART,
    MODULE,
    MYSELF,
    NOFAILOVER,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    PUBLISH_SHARD,
    SPEAKS_HEXAD,
    UPDATE,
    Failed,
    Gossip,
    Packet,
    PacketError,
    Publish,
    Update,
    bitmap_of,
)
from gossip.settings import ClusterSettings
from gossip.state import ClusterState, Node


def new_state(rng: Random) -> ClusterState:
    """Return the state of a node that has no nodes.conf: alone, with a new id, a primary without slots."""
    myself = Node(f"{rng.getrandbits(160):040x}", MYSELF | PRIMARY)
    myself.shard_id = f"{rng.getrandbits(160):040x}"
    return ClusterState(myself)


class ClusterMachine:
    """One node of the cluster.  `handle` is the only door; `state` is for reading."""

    __slots__ = ("core",)

    def __init__(self, state: ClusterState, settings: ClusterSettings, facts: Facts, rng: Random) -> None:
        self.core = Core(state, settings, facts, rng)
        if not state.myself.shard_id:
            state.myself.shard_id = state.myself.source.shard_id or self.core.fresh_id()
        _read_settings(self.core)

    @property
    def state(self) -> ClusterState:
        return self.core.state

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; return what must be done, in order.

        now_ms -- Unix time in milliseconds.  Raises ClusterError for an order that is refused.
        """
        core = self.core
        core.begin(now_ms)
        HANDLERS[type(event)](core, event)
        if core.judge:
            suspicion.judge_cluster(core)
            identity.draw_if_needed(core)
        return core.finish()


# ---- time and settings ------------------------------------------------------------------------------------------


def _wakeup(core: Core, _event: Wakeup) -> None:
    """Do everything that is due, and find out when the next thing will be."""
    if not core.started_ms:
        _start(core)
    core.woken()
    membership.end_old_handshakes(core)
    heartbeat.beat(core)
    seeking.seek(core)
    suspicion.suspect_the_silent(core)
    manual.watch(core)
    comeback.watch(core)
    election.advance(core)
    voters.watch(core)
    manual.migrate_to_orphan(core)
    if not core.state.ok:
        core.judge = True


def _start(core: Core) -> None:
    core.started_ms = core.now_ms
    core.save(fsync=True)
    core.judge = True
    for node in core.state.others():
        node.created_ms = core.now_ms
        # What was heard before the restart says nothing about now.
        node.ping_sent_ms = node.pong_received_ms = 0
    seeking.begin(core)
    comeback.begin(core)
    primary = core.myself.primary
    if primary is not None and primary.has_address:
        core.emit(ReplicateFrom(primary.ip, primary.port))


def _settings_changed(core: Core, _event: SettingsChanged) -> None:
    allowed_voters = core.myself.allows_voters
    _read_settings(core)
    if core.myself.allows_voters is not allowed_voters:
        heartbeat.pong_to_all(core)  # the others should not find out by the next ping that they may not vote, or may
    core.save()
    core.judge = True
    core.due(core.now_ms)  # deadlines follow the node timeout


def _read_settings(core: Core) -> None:
    """Take into our own entry what others are told about us."""
    settings, myself = core.settings, core.myself
    myself.port, myself.cport, myself.pport = settings.port, settings.cport, settings.pport
    myself.ip = settings.announce_ip or myself.ip
    myself.hostname, myself.nodename = settings.announce_hostname, settings.announce_human_nodename
    myself.allows_voters = settings.replica_votes
    myself.networks = settings.networks
    myself.flags = myself.flags & ~NOFAILOVER | (NOFAILOVER if settings.replica_no_failover else 0)


# ---- links ------------------------------------------------------------------------------------------------------


def _link_up(core: Core, event: LinkUp) -> None:
    heartbeat.link_up(core, event.link)


def _link_down(core: Core, event: LinkDown) -> None:
    heartbeat.link_down(core, event.link)


def _dial_failed(core: Core, event: DialFailed) -> None:
    heartbeat.link_down(core, event.link, event.why or "unknown error")


def _resolved(core: Core, event: Resolved) -> None:
    seeking.hear_addresses(core, event)


def _packet_received(core: Core, event: PacketReceived) -> None:
    """A message: first what every message tells, then what its kind is for."""
    packet = event.packet
    if isinstance(packet, PacketError):
        _bad_packet(core, event.link, packet)
        return
    if event.link > 0 and event.link not in core.links:
        return  # it was on its way when we closed that link
    core.received[packet.kind] += 1
    sender = core.state.nodes.get(packet.sender)
    if sender is core.myself or (sender is not None and sender.in_handshake):
        sender = None
    if sender is not None:
        identity.hear(core, sender, packet)
        if sender.is_foreign:
            sender = None
    if sender is not None:
        _hear_sender(core, sender, event.link, packet)
    if packet.kind in (PING, PONG, MEET):
        _heartbeat_received(core, sender, event, packet)
    elif sender is not None:
        PACKETS.get(packet.kind, _ignore)(core, sender, event.link, packet)


def _bad_packet(core: Core, link: int, error: PacketError) -> None:
    core.log("warning", str(error))
    if error.closes:
        core.emit(CloseLink(link))
        heartbeat.link_down(core, link)


def _hear_sender(core: Core, sender: Node, link: int, packet: Packet) -> None:
    """Whatever a known node sends shows that it lives, its epochs, and its offset."""
    sender.data_received_ms = core.now_ms
    if packet.mflags & HAS_EXTENSIONS:
        sender.shows_extensions = True
    if packet.kind in (PING, PONG, MEET):
        voters.hear(core, sender, packet)
    if link < 0:
        membership.hear_inbound(core, sender, link)
    if sender.link is None and sender.dial_at_ms > core.now_ms:
        sender.dial_at_ms = core.now_ms
        core.due(core.now_ms)
    if packet.current_epoch > core.state.current_epoch:
        core.state.current_epoch = packet.current_epoch
    if packet.config_epoch > sender.config_epoch:
        sender.config_epoch = packet.config_epoch
        core.save(fsync=True)
    sender.offset, sender.offset_ms = packet.offset, core.now_ms
    manual.hear_offset(core, sender, packet)


def _heartbeat_received(core: Core, sender: Node | None, event: PacketReceived, packet: Packet) -> None:
    """Ping, pong, meet.  The address and the answer come first: they are given to strangers too."""
    if packet.kind != PONG:
        if packet.kind == MEET or not core.myself.ip or (sender is not None and not core.address_heard):
            membership.learn_my_address(core, event.local_ip)
            core.address_heard |= sender is not None
        if sender is None and packet.kind == MEET and packet.sender != core.myself.id:
            membership.hear_meet_of_stranger(core, packet, event.peer_ip)
        heartbeat.answer(core, event.link, sender, speaks_hexad=packet.mflags & SPEAKS_HEXAD != 0)
    node = core.links.get(event.link)
    if node is not None:
        if node.in_handshake:
            if identity.is_foreign(core, packet):
                identity.refuse_handshake(core, node, packet)
                return
            if not membership.finish_handshake(core, node, sender, packet, event.peer_ip):
                return
            sender = node
            _hear_sender(core, sender, event.link, packet)
        elif node.id != packet.sender:
            membership.wrong_sender(core, node)
            if sender is not None:
                seeking.found(core, sender, packet, event.peer_ip)
            return
    if sender is None:
        return
    if packet.kind == PING and event.link < 0:
        membership.update_address(core, sender, packet, event.peer_ip)
    if packet.kind == PONG and node is not None:
        suspicion.hear_pong(core, node)
    _learn(core, sender, packet)


def _learn(core: Core, sender: Node, packet: Packet) -> None:
    """What a heartbeat of a known node tells of itself and of others."""
    sender.flags = sender.flags & ~NOFAILOVER | packet.flags & NOFAILOVER
    claims.learn_role(core, sender, packet)
    claims.learn_slots(core, sender, packet)
    body = packet.body
    assert isinstance(body, Gossip), "heartbeats carry gossip"
    membership.hear_gossip(core, sender, body.entries)
    membership.learn_extensions(core, sender, body.extensions)
    comeback.hear_standing(core, sender, body.extensions.standing)
    networks.hear(core, sender, body.extensions)
    sender.leftover = bitmap_of(body.extensions.leftover)


# ---- the other kinds of message, all from known nodes ------------------------------------------------------------


def _failed(core: Core, sender: Node, _link: int, packet: Packet) -> None:
    assert isinstance(packet.body, Failed)
    suspicion.hear_verdict(core, sender, packet.body.node_id)


def _update(core: Core, _sender: Node, _link: int, packet: Packet) -> None:
    assert isinstance(packet.body, Update)
    claims.hear_update(core, packet.body)


def _publish(core: Core, _sender: Node, _link: int, packet: Packet) -> None:
    assert isinstance(packet.body, Publish)
    core.emit(DeliverMessage(packet.body.channel, packet.body.message, packet.kind == PUBLISH_SHARD))


def _auth_request(core: Core, sender: Node, _link: int, packet: Packet) -> None:
    election.consider_vote(core, sender, packet)


def _auth_ack(core: Core, sender: Node, _link: int, packet: Packet) -> None:
    election.count_vote(core, sender, packet)


def _manual_start(core: Core, sender: Node, link: int, _packet: Packet) -> None:
    manual.hear_start(core, sender, link)


def _module(core: Core, sender: Node, _link: int, packet: Packet) -> None:
    """Messages of modules: we have none, but voters speak in them."""
    voters.hear_step(core, sender, packet)


def _ignore(_core: Core, _sender: Node, _link: int, _packet: Packet) -> None:
    """Kinds that do not exist do not come this far; heartbeats have been dealt with."""


PACKETS: dict[int, Callable[[Core, Node, int, Packet], None]] = {
    FAIL: _failed,
    PUBLISH: _publish,
    PUBLISH_SHARD: _publish,
    AUTH_REQUEST: _auth_request,
    AUTH_ACK: _auth_ack,
    UPDATE: _update,
    MFSTART: _manual_start,
    MODULE: _module,
}


# ---- orders ------------------------------------------------------------------------------------------------------


def _meet(core: Core, order: Meet) -> None:
    membership.meet(core, order.ip, order.port, order.cport)


def _forget(core: Core, order: Forget) -> None:
    membership.forget(core, order.node_id)


def _failover(core: Core, order: Failover) -> None:
    manual.order(core, order.mode)


def _save(core: Core, _order: SaveNow) -> None:
    core.save(fsync=True)


def _data_loaded(core: Core, event: DataLoaded) -> None:
    orders.data_loaded(core, event)
    comeback.data_loaded(core)


HANDLERS: dict[type, Callable[[Core, Any], None]] = {
    Wakeup: _wakeup,
    SettingsChanged: _settings_changed,
    LinkUp: _link_up,
    LinkDown: _link_down,
    DialFailed: _dial_failed,
    Resolved: _resolved,
    PacketReceived: _packet_received,
    DataLoaded: _data_loaded,
    Meet: _meet,
    Forget: _forget,
    AddSlots: orders.add_slots,
    DelSlots: orders.del_slots,
    FlushSlots: orders.flush_slots,
    SetSlotMigrating: orders.set_slot_migrating,
    SetSlotImporting: orders.set_slot_importing,
    SetSlotStable: orders.set_slot_stable,
    SetSlotNode: orders.set_slot_node,
    TakeSlots: handover.take_slots,
    AnnounceSlots: handover.announce_slots,
    ReturnSlots: handover.return_slots,
    KeepSlots: handover.keep_slots,
    AskVoters: handover.ask_voters,
    Leftover: handover.set_leftover,
    Replicate: orders.replicate,
    Failover: _failover,
    Reset: orders.reset,
    SetConfigEpoch: orders.set_config_epoch,
    BumpEpoch: orders.bump,
    SaveNow: _save,
    Broadcast: orders.broadcast,
}
