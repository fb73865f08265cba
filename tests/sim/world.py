"""A world of cluster machines out of one seed: virtual time, wires that delay and break, disks that forget.

Everything that is not a machine is here, and nothing real is: a run is repeated exactly by its seed.  Wires behave
like TCP: in order, stalled (not lossy) while two nodes are cut off from one another, or broken.  A disk keeps
what was fsynced; what was only written may be gone after a crash.  The judge is outside the machines: it looks
at what they say on the wires and at their states.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from gossip.comeback import keeps_data
from gossip.electorate import Electorate
from gossip.events import (
    BecomePrimary,
    CloseLink,
    ClusterStateChanged,
    DataLoaded,
    Dial,
    DialFailed,
    DropSlotKeys,
    Effect,
    EmptyData,
    Event,
    Failover,
    LinkDown,
    LinkUp,
    Log,
    PacketReceived,
    PauseWrites,
    ReplicateFrom,
    Resolve,
    Resolved,
    SaveConfig,
    Send,
    UnpauseWrites,
    WakeAt,
    Wakeup,
)
from gossip.machine import ClusterMachine
from gossip.nodesconf import parse, render
from gossip.packet import AUTH_ACK, AUTH_REQUEST, MODULE, Packet, PacketReader, encode
from gossip.settings import ClusterSettings
from gossip.state import Node
from node.votes import majority

EPOCH_MS = 1_700_000_000_000
"""Unix time at which a world begins."""
STALL_MS = 20
"""How often a stalled wire tries again."""
CHECK_EVERY = 97
"""The states' own invariants are checked after every so many events (they walk all slots)."""


@dataclass(eq=False, slots=True)
class Wire:
    """One connection: (node, link number) at each end, and when each direction is free."""

    ends: tuple[tuple[Host, int], tuple[Host, int]]
    alive: bool = True
    free_ms: list[int] = field(default_factory=lambda: [0, 0])
    _readers: tuple[PacketReader, PacketReader] | None = None

    @property
    def readers(self) -> tuple[PacketReader, PacketReader]:
        """Made when they are needed: a thousand nodes have a million wires, which carry no bytes."""
        if self._readers is None:
            self._readers = PacketReader(), PacketReader()
        return self._readers

    def side(self, host: Host, link: int) -> int:
        return 0 if self.ends[0] == (host, link) else 1


class Host:
    """One machine with its disk, its data (an offset) and its wires."""

    def __init__(self, world: World, name: str, number: int, text: str) -> None:
        self.world, self.name = world, name
        self.ip = f"10.0.{number >> 8}.{number & 255}"
        self.settings = ClusterSettings(port=7000, cport=17000, node_timeout_ms=world.timeout_ms)
        self.settings.replica_votes = world.replica_votes
        self.durable = self.written = text
        self.machine: ClusterMachine | None = None
        self.wires: dict[int, Wire] = {}
        self.accepted = 0
        self.wake_ms = -1
        self.data_offset = 0
        self.paused_until_ms = 0
        self.heard_primary_ms = 0
        self.crash_rate = 0.0
        self.voters_seen = 0
        self.by_vote = True
        self.genuine = False
        """It passes for a genuine Redis node: it neither shows nor sees what only Hexad has."""
        self.keys: dict[int, int] = {}

    def __repr__(self) -> str:
        return self.name

    # ---- Facts ----

    def key_count(self) -> int:
        return sum(self.keys.values())

    def keys_in_slot(self, slot: int) -> int:
        return self.keys.get(slot, 0)

    def offset(self) -> int:
        return self.data_offset

    def data_is_complete(self) -> bool:
        return False

    def holds_data_of(self, slots: int) -> bool:
        return True

    def primary_silence_ms(self, now_ms: int) -> int:
        return now_ms - self.heard_primary_ms

    # ---- life ----

    @property
    def up(self) -> ClusterMachine:
        assert self.machine is not None, f"{self} is down"
        return self.machine

    def start(self) -> None:
        self.machine = ClusterMachine(parse(self.durable), self.settings, self, Random(self.world.rng.random()))
        self.written = self.durable
        self.heard_primary_ms = self.world.now_ms
        self.handle(Wakeup())
        self.handle(DataLoaded(self.slots_with_keys()))

    def slots_with_keys(self) -> tuple[int, ...]:
        """What its file has when it starts."""
        return ()

    def crash(self) -> None:
        """Stop at once: wires break, and what was written but not fsynced is there or not."""
        self.machine = None
        self.durable = self.world.rng.choice((self.durable, self.written))
        for link in list(self.wires):
            self.world.close(self, link)

    def handle(self, event: Event) -> None:
        """Give the machine an event and perform the effects in order; a crash may come after any of them."""
        if self.machine is None:
            return
        self.by_vote = not (type(event) is Failover and event.mode == "TAKEOVER")
        for effect in self.machine.handle(event, self.world.now_ms):
            self.perform(effect)
            if self.crash_rate and self.world.rng.random() < self.crash_rate:
                self.crash()
                self.world.after(self.world.rng.randrange(100, 3000), self.start)
                return
        self.world.judge(self)

    def perform(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case SaveConfig(fsync):
                self.written = render(self.up.state)
                if fsync:
                    self.durable = self.written
            case Send(links, packet):
                if packet.kind == AUTH_ACK:
                    world.saw_vote(self, self.up.core.links[links[0]].id, packet.current_epoch)
                elif packet.kind == AUTH_REQUEST and self.up.state.ballot.epoch == packet.current_epoch:
                    world.saw_vote(self, packet.sender, packet.current_epoch)
                if self.genuine:
                    packet = replace(packet, mflags=packet.mflags & 0xFF, voters=0)
                data = encode(packet)
                for link in links:
                    world.carry(self, link, data)
            case Dial(link, ip, _cport):
                world.dial(self, link, ip)
            case Resolve(name, port, cport):
                ips = world.names.get(name, ())
                world.after(1, lambda: self.handle(Resolved(port, cport, tuple(ips))))
            case CloseLink(link):
                world.close(self, link)
            case WakeAt(at_ms):
                self.wake_ms = at_ms
                if at_ms < 1 << 60:
                    world.at(at_ms, lambda: self.wake(at_ms))
            case BecomePrimary():
                world.saw_winner(self)
                world.note(self, "=> become primary")
            case ReplicateFrom(ip, _):
                world.note(self, f"=> replicate from {ip}")
            case PauseWrites(until_ms):
                self.paused_until_ms = until_ms
                world.note(self, f"=> pause writes until {(until_ms - EPOCH_MS) / 1000:.3f}")
            case UnpauseWrites():
                self.paused_until_ms = 0
                world.note(self, "=> unpause writes")
            case DropSlotKeys(slots):
                world.note(self, f"=> drop keys of {len(slots)} slots")
            case EmptyData():
                self.keys.clear()
                world.note(self, "=> empty data")
            case Log(level, text):
                if level in ("notice", "warning"):
                    world.note(self, text)
            case ClusterStateChanged():
                pass  # its log line tells
            case _:
                raise AssertionError(f"unexpected effect {effect}")

    def wake(self, at_ms: int) -> None:
        if self.wake_ms == at_ms:
            self.handle(Wakeup())


class World:
    """Hosts, time, the network between them, and the judge."""

    host_type = Host

    def __init__(
        self, seed: int, timeout_ms: int = 2000, primaries: int = 3, replicas: int = 1, replica_votes: bool = False
    ) -> None:
        self.rng = Random(seed)
        self.replica_votes = replica_votes
        self.versions: dict[int, tuple[str, ...]] = {}
        """The agreed voters, by version."""
        self.timeout_ms = timeout_ms
        self.now_ms = EPOCH_MS
        self.tie = itertools.count()
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.cuts: set[frozenset[str]] = set()
        self.delay_ms = (0, 2)
        self.break_rate = 0.0
        self.replicas_lose = False
        """Whether replicas copy a primary that has less; without, a script may set their offsets as it likes."""
        self.votes: dict[tuple[str, int], str] = {}
        self.winners: dict[int, str] = {}
        self.events = 0
        self.trace: list[str] = []
        self.hosts: dict[str, Host] = {}
        self.check_every = CHECK_EVERY
        self.names: dict[str, list[str]] = {}
        """What a name server knows."""
        self.ids: dict[str, str] = {}
        self.found(primaries, replicas)
        self.after(0, self.replicate)

    def found(self, primaries: int, replicas: int) -> None:
        """Begin with a finished cluster: p1 p2 p3 with a share of the slots each, and r1 r2 r3 (s1 …) after them."""
        names = [f"p{n + 1}" for n in range(primaries)]
        names += ["rstu"[k] + f"{n + 1}" for k in range(replicas) for n in range(primaries)]
        self.ids = {f"{number:02x}" * 20: name for number, name in enumerate(names, 0xA1)}
        id_of = {name: node_id for node_id, name in self.ids.items()}
        for me in names:
            lines = []
            for number, name in enumerate(names, 1):
                place = (number - 1) % primaries
                flags = ("myself," if name == me else "") + ("master" if number <= primaries else "slave")
                primary = "-" if number <= primaries else id_of[f"p{place + 1}"]
                slots = f" {16384 * place // primaries}-{16384 * (place + 1) // primaries - 1}"
                lines.append(
                    f"{id_of[name]} 10.0.0.{number}:7000@17000,,tls-port=0,shard-id={place + 1:040x} {flags} {primary} "
                    f"0 0 {place + 1} connected{slots if number <= primaries else ''}"
                )
            lines.append(f"vars currentEpoch {primaries} lastVoteEpoch 0")
            self.hosts[me] = self.host_type(self, me, names.index(me) + 1, "\n".join(lines) + "\n")
        for host in self.hosts.values():
            self.after(self.rng.randrange(50), host.start)

    # ---- time ----

    def at(self, when_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (max(when_ms, self.now_ms), next(self.tie), what))

    def after(self, delay_ms: int, what: Callable[[], None]) -> None:
        self.at(self.now_ms + delay_ms, what)

    def run(self, for_ms: int) -> None:
        """Let so much time pass."""
        end_ms = self.now_ms + for_ms
        while self.queue and self.queue[0][0] <= end_ms:
            self.now_ms, _, what = heapq.heappop(self.queue)
            what()
        self.now_ms = end_ms

    def run_until(self, good: Callable[[], bool], limit_ms: int) -> int:
        """Let time pass until `good`, at most so much; return how long it took."""
        begin_ms = self.now_ms
        while not good():
            assert self.now_ms - begin_ms < limit_ms, "\n".join([*self.trace[-60:], self.describe()])
            self.run(50)
        return self.now_ms - begin_ms

    # ---- the network ----

    def cut(self, one: str, other: str) -> None:
        self.cuts.add(frozenset((one, other)))

    def is_cut(self, one: Host, other: Host) -> bool:
        return frozenset((one.name, other.name)) in self.cuts

    def isolate(self, names: list[str]) -> None:
        """Cut some hosts off from all others, not from one another."""
        for one in names:
            for other in self.hosts:
                if other not in names:
                    self.cut(one, other)

    def heal(self) -> None:
        self.cuts.clear()

    def at_address(self, ip: str) -> Host | None:
        return next((host for host in self.hosts.values() if host.ip == ip), None)

    def dial(self, host: Host, link: int, ip: str) -> None:
        target = self.at_address(ip)
        machine = host.machine

        def arrive() -> None:
            if host.machine is not machine:
                return
            if target is not None and self.is_cut(host, target):
                return  # nobody answers; the machine has to give up by itself
            if target is None or target.machine is None:
                host.handle(DialFailed(link, "Connection refused"))
                return
            target.accepted -= 1
            wire = Wire(((host, link), (target, target.accepted)))
            host.wires[link] = target.wires[target.accepted] = wire
            host.handle(LinkUp(link))

        self.after(self.rng.randint(*self.delay_ms), arrive)

    def carry(self, host: Host, link: int, data: bytes) -> None:
        wire = host.wires.get(link)
        if wire is None or not wire.alive:
            return
        if self.break_rate and self.rng.random() < self.break_rate:
            self.close(host, link)
            self.after(0, lambda: host.handle(LinkDown(link)))
            return
        side = wire.side(host, link)
        wire.free_ms[side] = max(wire.free_ms[side], self.now_ms + self.rng.randint(*self.delay_ms))
        self.at(wire.free_ms[side], lambda: self.deliver(wire, side, data))

    def deliver(self, wire: Wire, side: int, data: bytes) -> None:
        (sender, _), (receiver, link) = wire.ends if side == 0 else wire.ends[::-1]
        if not wire.alive or receiver.machine is None:
            return
        if self.is_cut(sender, receiver):
            wire.free_ms[side] = max(wire.free_ms[side], self.now_ms + STALL_MS)
            self.at(self.now_ms + STALL_MS, lambda: self.deliver(wire, side, data))
            return
        for packet in wire.readers[side].feed(data):
            if receiver.genuine and isinstance(packet, Packet):
                if packet.kind == MODULE:
                    continue
                packet = replace(packet, mflags=packet.mflags & 0xFF, voters=0)
            if link in receiver.wires:
                receiver.handle(PacketReceived(link, packet, sender.ip, receiver.ip))

    def close(self, host: Host, link: int) -> None:
        """One end closes a wire; the other hears of it, unless it is cut off."""
        wire = host.wires.pop(link, None)
        if wire is None:
            return
        wire.alive = False
        other, far = wire.ends[1 - wire.side(host, link)]
        machine = other.machine

        def hear() -> None:
            if other.machine is machine and other.wires.get(far) is wire:
                if self.is_cut(host, other):
                    self.after(STALL_MS, hear)
                    return
                del other.wires[far]
                other.handle(LinkDown(far))

        self.after(self.rng.randint(*self.delay_ms), hear)

    # ---- data ----

    def replicate(self) -> None:
        """Primaries write all the time; replicas that reach their primary have what it had a moment ago."""
        for host in self.hosts.values():
            if host.machine is None:
                continue
            myself = host.machine.state.myself
            if myself.is_primary:
                written = self.rng.randrange(100) if host.paused_until_ms < self.now_ms else 0
                host.data_offset += written if host.machine.state.ok else 0
            elif myself.primary is not None:
                primary = self.host_of(myself.primary.id)
                if primary.machine is not None and not self.is_cut(host, primary):
                    self.copy(host, myself.primary, primary)
                    host.heard_primary_ms = self.now_ms
        self.after(100, self.replicate)

    def copy(self, host: Host, node: Node, primary: Host) -> None:
        """A replica catches up; one that is further than its primary loses what that does not have, if it lets it."""
        lag = self.rng.choice((0, 0, 50))
        if host.data_offset <= primary.data_offset or not self.replicas_lose:
            host.data_offset = max(host.data_offset, primary.data_offset - lag)
        elif node.answers and not keeps_data(host.up.core, node):
            self.note(host, f"=> copy of {primary.name}: {host.data_offset - primary.data_offset} bytes less")
            host.data_offset = primary.data_offset

    def host_of(self, node_id: str) -> Host:
        return self.hosts[self.ids[node_id]]

    # ---- the judge ----

    def saw_vote(self, voter: Host, target: str, epoch: int) -> None:
        """A vote is given, to another or to the voter itself: it must be its only one of that epoch."""
        known = self.votes.setdefault((voter.name, epoch), target)
        assert known == target, f"{voter} votes twice in epoch {epoch}: {self.ids[known]}, {self.ids[target]}"

    def saw_winner(self, host: Host) -> None:
        if not host.by_vote:
            return  # an operator's takeover asks nobody; the collision rule has to sort out its epoch
        epoch = host.up.state.myself.config_epoch
        known = self.winners.setdefault(epoch, host.name)
        assert known == host.name, f"epoch {epoch} was won by {known} and {host}"

    def saw_voters(self, host: Host, electorate: Electorate) -> None:
        """A host goes by a version of the voters: it is the same for all, and one step from those around it."""
        host.voters_seen = electorate.version
        if electorate.version:
            known = self.versions.setdefault(electorate.version, electorate.members)
            assert known == electorate.members, f"{host}: version {electorate.version} of the voters is not one"
        before, after = self.versions.get(electorate.version - 1, ()), electorate.members
        if before and after:
            assert len(set(before) ^ set(after)) == 1, f"version {electorate.version} is more than one step"
            together = majority(len(before)) + majority(len(after))
            assert together > len(set(before) | set(after)), "two majorities need not meet"

    def judge(self, host: Host) -> None:
        self.events += 1
        if host.machine is not None and host.machine.state.electorate.version != host.voters_seen:
            self.saw_voters(host, host.machine.state.electorate)
        if host.machine is not None and self.events % self.check_every == 0:
            host.machine.state.check()
            self.check_owners()

    def check_owners(self) -> None:
        """No slot has two primaries with the same config epoch."""
        claims: dict[int, list[tuple[Host, int]]] = {}
        for host in self.hosts.values():
            if host.machine is not None and host.machine.state.myself.votes:
                myself = host.machine.state.myself
                claims.setdefault(myself.config_epoch, []).append((host, myself.slots))
        for epoch, claimers in claims.items():
            for (one, mine), (other, its) in itertools.combinations(claimers, 2):
                assert not mine & its, f"{one} and {other} both own slots in epoch {epoch}"

    def agreed(self) -> bool:
        """Whether all are up, call the cluster ok, and name the same owners of all slots, each alive."""
        views = set()
        for host in self.hosts.values():
            if host.machine is None or not host.machine.state.ok:
                return False
            state = host.machine.state
            if any(node.is_troubled for node in state.nodes.values()):
                return False
            views.add(tuple(sorted((node.id, node.slots) for node in state.nodes.values() if node.slots)))
        return len(views) == 1

    # ---- what happened, as text ----

    def named(self, text: str) -> str:
        for node_id, name in self.ids.items():
            text = text.replace(node_id, name)
        for host in self.hosts.values():
            text = text.replace(host.ip + ":7000", host.name).replace(host.ip, host.name)
        return text

    def note(self, host: Host, text: str) -> None:
        self.trace.append(f"{(self.now_ms - EPOCH_MS) / 1000:7.3f} {host.name}: {self.named(text)}")

    def describe(self) -> str:
        """Each host's view of everybody."""
        lines = []
        for host in self.hosts.values():
            if host.machine is None:
                lines.append(f"{host}: down")
                continue
            state = host.machine.state
            views = [
                f"{self.ids.get(node.id, node.id[:6])}"
                f"{'*' if node.is_primary else '<' + self.ids.get(node.primary.id, '?') if node.primary else '?'}"
                f"{'!' if node.is_failed else '~' if node.is_suspect else ''}"
                f"{f'({node.slot_count}@{node.config_epoch})' if node.slots else ''}"
                for node in state.nodes.values()
            ]
            lines.append(f"{host}: {'ok' if state.ok else 'fail'} epoch {state.current_epoch} {' '.join(views)}")
        return "\n".join(lines)
