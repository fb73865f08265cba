"""The shell around the cluster machine: links are peers of the reactor, dialling is a Trio task, effects are performed.

It decides nothing. Each effect has one method; a failure of a link is an event for the machine and nothing else.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from gossip.events import (
    BecomePrimary,
    CloseLink,
    ClusterStateChanged,
    DeliverMessage,
    Dial,
    DialFailed,
    DropSlotKeys,
    Effect,
    EmptyData,
    Event,
    LinkDown,
    LinkUp,
    Log,
    PacketReceived,
    PauseWrites,
    ReplicateFrom,
    Reply,
    Resolve,
    Resolved,
    SaveConfig,
    Send,
    UnpauseWrites,
    WakeAt,
    Wakeup,
)
from gossip.machine import ClusterMachine
from gossip.packet import Packet, PacketReader, encode
from node.net.peer import CLOSE_NOW, Peer
from node.platform import Connected, Listener, Socket
from node.server import Server

LINK_BYTES = 1000
"""About what a link costs beside its buffers."""
ACCEPT_AGAIN_S = 0.1
"""How long no link is taken where there is no descriptor, or no place to shake hands, for one more."""


class BusLink(Peer):
    """One connection to another node's bus, dialled (number above 0) or accepted (below 0)."""

    __slots__ = ("bus", "created_ms", "local_ip", "number", "peer_ip", "reader")

    def __init__(self, bus: "Bus", number: int, peer_ip: str, local_ip: str) -> None:
        super().__init__()
        self.bus = bus
        self.number = number
        self.peer_ip = peer_ip
        self.local_ip = local_ip
        self.created_ms = bus.server.platform.now_ms()
        self.reader = PacketReader()

    @property
    def memory_bytes(self) -> int:
        """What it holds, about."""
        unsent = len(self.out) if self.transport is None else self.transport.unsent_bytes()
        return LINK_BYTES + unsent + self.reader.held_bytes

    def receive(self, data: bytes) -> None:
        for packet in self.reader.feed(data):
            if isinstance(packet, Packet) and packet.kind == self.bus.deaf_to:
                continue
            self.bus.handle(PacketReceived(self.number, packet, self.peer_ip, self.local_ip))

    def lost(self, reason: str) -> None:
        self.bus.link_lost(self)


class Bus:
    """Drives one `ClusterMachine`. `events` come from links, timers and clients by `handle`."""

    def __init__(self, server: Server, machine: ClusterMachine, save_config: Callable[[bool], None]) -> None:
        self.server = server
        self.machine = machine
        self.links: dict[int, BusLink] = {}
        self.links_over_limit = 0  # how many were closed for what they could not take
        self.deaf_to = -1  # a type of packet that is dropped as if it had not come: DEBUG DROP-CLUSTER-PACKET-FILTER
        self.went_down: Callable[[], None] = lambda: None  # told when the cluster's state has become "fail"
        self._save_config = save_config
        self._accepted = 0
        self._dials: dict[int, trio.CancelScope] = {}
        self._resolving: set[str] = set()
        self._unknown_names: set[str] = set()  # they could not be resolved when last tried
        self._timer: Any = None
        self._queue: deque[Event] = deque()
        self._performing = False
        self._offset_ms = 0.0  # from the monotonic clock to Unix time

    def begin(self) -> None:
        """Start the clock, Unix time that never jumps: the wall clock once, the monotonic one from then on."""
        self._offset_ms = self.server.platform.now_ms() - self.server.timers.monotonic_ms()
        self.handle(Wakeup())

    def end(self) -> None:
        """The node ends: what becomes of the links is no news any more, and nothing is dialled."""
        self.links.clear()
        if self._timer is not None:
            self._timer.cancel()

    def now_ms(self) -> int:
        return int(self.server.timers.monotonic_ms() + self._offset_ms)

    # --- events in, effects out -----------------------------------------------------------------------------------

    def handle(self, event: Event) -> str:
        """Take one event; the reply of a client's order. Raises ClusterError if that is refused."""
        if self._performing:  # an effect caused it: after the others
            self._queue.append(event)
            return "OK"
        was_ok = self.machine.state.ok
        reply = self._perform(self.machine.handle(event, self.now_ms()))
        while self._queue:
            self._perform(self.machine.handle(self._queue.popleft(), self.now_ms()))
        if was_ok and not self.machine.state.ok:
            self.went_down()
        return reply

    def _perform(self, effects: list[Effect]) -> str:
        reply = "OK"
        self._performing = True
        try:
            for effect in effects:
                if isinstance(effect, Reply):
                    reply = effect.text
                else:
                    PERFORM[type(effect)](self, effect)
        finally:
            self._performing = False
        return reply

    def _save(self, effect: SaveConfig) -> None:
        """Write nodes.conf before anything else of the list happens."""
        self._save_config(effect.fsync)

    def _send(self, effect: Send) -> None:
        data = encode(effect.packet)
        limit = self.server.config["cluster-link-sendbuf-limit"]
        for number in effect.links:
            link = self.links.get(number)
            if link is None:
                continue
            link.out += data
            link.touch()
            if limit and len(link.out) > limit:
                self.links_over_limit += 1
                self.server.log.warning(
                    f"Freeing outbound cluster link to node {link.peer_ip}, exceeding memory limit. "
                    f"It has {len(link.out)} bytes in its send buffer."
                )
                link.close(CLOSE_NOW)

    def _wake_at(self, effect: WakeAt) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.server.timers.at(effect.at_ms - self._offset_ms, self._wake, vital=True)

    def _wake(self) -> None:
        self._timer = None
        self.handle(Wakeup())

    def _log(self, effect: Log) -> None:
        self.server.log.line(effect.level, effect.text)

    # --- links ----------------------------------------------------------------------------------------------------

    async def accept(self, listener: Listener) -> None:
        """Take the links that other nodes dial."""
        while True:
            await listener.wait()
            try:
                while self.server.tls.has_room and (accepted := listener.accept()) is not None:
                    self._let_in(*accepted)
                if not self.server.tls.has_room:
                    await trio.sleep(ACCEPT_AGAIN_S)
            except OSError as error:
                self.server.log.warning(f"Error accepting cluster node: {error.strerror}")
                await trio.sleep(ACCEPT_AGAIN_S)

    def _let_in(self, sock: Connected, addr: str, laddr: str) -> None:
        def add(sock: Socket) -> BusLink:
            self._accepted -= 1
            return self._add(sock, self._accepted, addr, laddr)

        if self.server.config["tls-cluster"]:
            self.server.tls.receive(sock, f"addr={addr} laddr={laddr}", add, is_bus=True)
        else:
            add(sock)

    def _add(self, sock: Socket, number: int, addr: str, laddr: str) -> BusLink:
        link = BusLink(self, number, _ip(addr), _ip(laddr))
        self.links[number] = link
        self.server.reactor.add(sock, link)
        return link

    def _dial(self, effect: Dial) -> None:
        scope = self._dials[effect.link] = trio.CancelScope()
        self.server.spawn(self._connect, effect, scope)

    async def _connect(self, effect: Dial, scope: trio.CancelScope) -> None:
        """Open one link. The machine gives up by CloseLink; until then the kernel's own patience holds."""
        platform = self.server.platform
        failure: OSError | None = None
        with scope:
            try:
                sock = await self.server.tls.dial(effect.ip, effect.cport, is_tls=self.server.config["tls-cluster"])
            except OSError as error:
                failure = error
        if scope.cancelled_caught:
            return
        self._dials.pop(effect.link, None)
        if failure is not None:
            self.handle(DialFailed(effect.link, failure.strerror or str(failure)))
            return
        try:
            addr, laddr = platform.addresses_of(sock)
        except OSError as error:  # it was reset as soon as it stood
            sock.close()
            self.handle(DialFailed(effect.link, str(error)))
            return
        self._add(sock, effect.link, addr, laddr)
        self.handle(LinkUp(effect.link))

    def _resolve(self, effect: Resolve) -> None:
        if effect.name not in self._resolving:
            self._resolving.add(effect.name)
            self.server.spawn(self._look_up, effect)

    async def _look_up(self, effect: Resolve) -> None:
        """Find a name's addresses. That one is unknown is told once, until it is known again."""
        try:
            ips = await self.server.platform.resolve(effect.name)
        except OSError as error:
            if effect.name not in self._unknown_names:
                self._unknown_names.add(effect.name)
                why = error.strerror or str(error)
                self.server.log.warning(f"Can't resolve {effect.name}, where other nodes may be: {why}")
            return
        finally:
            self._resolving.discard(effect.name)
        self._unknown_names.discard(effect.name)
        self.handle(Resolved(effect.port, effect.cport, tuple(ips)))

    def _close_link(self, effect: CloseLink) -> None:
        scope = self._dials.pop(effect.link, None)
        if scope is not None:
            scope.cancel()
        link = self.links.pop(effect.link, None)
        if link is not None:
            link.close(CLOSE_NOW)

    def link_lost(self, link: BusLink) -> None:
        """The connection is gone; the machine hears of it unless it closed it itself."""
        if self.links.pop(link.number, None) is not None:
            self.handle(LinkDown(link.number))

    # --- the node around ------------------------------------------------------------------------------------------

    def _become_primary(self, _effect: BecomePrimary) -> None:
        self.server.replication.become_primary()

    def _replicate_from(self, effect: ReplicateFrom) -> None:
        self.server.replication.become_replica(effect.ip, effect.port)

    def _empty_data(self, _effect: EmptyData) -> None:
        for db in self.server.keyspace.databases:
            db.flush()
        self.server.keyspace.emptied()

    def _drop_slot_keys(self, effect: DropSlotKeys) -> None:
        """Keys of slots that went to another primary: our replicas drop them with us, in slices."""
        trimmer = self.server.background.trimmer
        trimmer.take(self.server.keyspace.databases[0], effect.slots)
        trimmer.done()  # it tells of which slots something is left

    def _pause_writes(self, effect: PauseWrites) -> None:
        self.server.clients.pause("failover", True, effect.until_ms - self.now_ms())
        self.server.replication.primary.quiet = True  # the offset that was promised must not move by a ping

    def _unpause_writes(self, _effect: UnpauseWrites) -> None:
        self.server.clients.unpause("failover")
        self.server.replication.primary.quiet = False

    def _deliver(self, effect: DeliverMessage) -> None:
        """A message that another node's client has published: for subscribers of this node."""
        self.server.pubsub.publish(effect.channel, effect.message, sharded=effect.sharded)

    def _state_changed(self, _effect: ClusterStateChanged) -> None:
        self.server.conditions_changed()


def _ip(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


PERFORM: dict[type, Callable[[Bus, Any], None]] = {
    SaveConfig: Bus._save,
    Send: Bus._send,
    Dial: Bus._dial,
    Resolve: Bus._resolve,
    CloseLink: Bus._close_link,
    WakeAt: Bus._wake_at,
    Log: Bus._log,
    BecomePrimary: Bus._become_primary,
    ReplicateFrom: Bus._replicate_from,
    EmptyData: Bus._empty_data,
    DropSlotKeys: Bus._drop_slot_keys,
    PauseWrites: Bus._pause_writes,
    UnpauseWrites: Bus._unpause_writes,
    DeliverMessage: Bus._deliver,
    ClusterStateChanged: Bus._state_changed,
}
