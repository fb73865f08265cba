"""A world in which slots are handed over: hosts with keys, clients that write to them, links between two hosts.

The machines are the product's: the cluster's, `Arrival` and `Departure`.  What `gossip.moving.imports` and `exports`
carry out is done here on sets of numbers: a write is a number that a host has confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gossip.events import (
    AnnounceSlots,
    AskVoters,
    ClusterError,
    DropSlotKeys,
    Effect,
    Event,
    KeepSlots,
    Leftover,
    ReturnSlots,
    SaveConfig,
    TakeSlots,
)
from gossip.handover import have_answered
from gossip.moving import arrival, departure
from gossip.moving.arrival import Arrival
from gossip.moving.departure import Departure
from gossip.packet import slots_in
from tests.sim.world import STALL_MS, Host, World

PAUSE_MS = 2000
SILENCE_MS = 3000
SLOTS = range(100, 104)
MOVED = sum(1 << slot for slot in SLOTS)
"""The slots that move about, p1's at first."""
CLIENT_MS = 10

Data = dict[int, set[int]]


class Pipe:
    """The link of one attempt: in order, stalled while its ends are cut off from one another, and it can break."""

    def __init__(self, world: World, source: MovingHost, target: MovingHost) -> None:
        self.world, self.source, self.target = world, source, target
        self.alive = True
        self.free_ms = {source.name: 0, target.name: 0}

    def send(self, to: MovingHost, what: Callable[[], None]) -> None:
        world = self.world
        arrival_ms = max(self.free_ms[to.name], world.now_ms + world.rng.randint(*world.delay_ms))
        self.free_ms[to.name] = arrival_ms
        world.at(arrival_ms, partial(self._deliver, to, what))

    def _deliver(self, to: MovingHost, what: Callable[[], None]) -> None:
        world = self.world
        if not self.alive or to.machine is None:
            return
        wait_ms = to.frozen_until_ms - world.now_ms
        if world.is_cut(self.source, self.target):
            wait_ms = max(wait_ms, STALL_MS)
        if wait_ms > 0:
            self.free_ms[to.name] = world.now_ms + wait_ms
            world.after(wait_ms, partial(self._deliver, to, what))
            return
        what()

    def break_(self, by: MovingHost) -> None:
        """One end is gone; the other hears of it, once it can."""
        if self.alive:
            other = self.target if by is self.source else self.source
            self.send(other, partial(self._lost, other))

    def _lost(self, other: MovingHost) -> None:
        self.alive = False
        if other is self.source and other.export is not None and other.export.pipe is self:
            other.export.handle(departure.LinkLost("lost"))
        if other is self.target and other.arrival is not None and other.arrival.pipe is self:
            other.arrival.handle(arrival.Failed("lost"))


class Leaving:
    """The source's side of one attempt."""

    def __init__(self, host: MovingHost, pipe: Pipe) -> None:
        world = host.world
        self.host, self.pipe = host, pipe
        self.log: list[tuple[int, int]] | None = []
        self.machine = Departure(
            world.now_ms, silence_ms=SILENCE_MS, pause_ms=PAUSE_MS, lag_max_bytes=1, answered=self.answered
        )
        snapshot = {slot: set(host.data.get(slot, ())) for slot in SLOTS}
        world.after(world.rng.randrange(20, 300), lambda: self.copied(snapshot))
        self.arm()

    def answered(self, since_ms: int) -> bool:
        core = self.host.up.core
        return have_answered(core, core.state.nodes[self.host.node_of(self.pipe.target)], since_ms)

    def copied(self, snapshot: Data) -> None:
        if self.log is None or self.host.export is not self:
            return
        self.tell(lambda side: side.got(snapshot))
        log, self.log = self.log, None
        for slot, number in log:
            self.tell(partial(_got_write, slot, number))
        self.handle(departure.CopySent())

    def wrote(self, slot: int, number: int) -> None:
        if self.log is not None:
            self.log.append((slot, number))
        else:
            self.tell(partial(_got_write, slot, number))

    def tell(self, what: Callable[[Coming], None]) -> None:
        def hear() -> None:
            side = self.pipe.target.arrival
            if side is not None and side.pipe is self.pipe:
                what(side)

        self.pipe.send(self.pipe.target, hear)

    def handle(self, event: departure.Event) -> None:
        host = self.host
        if host.export is not self:
            return
        for effect in self.machine.handle(event, host.world.now_ms):
            self.perform(effect)
            if host.export is not self:
                return
        self.arm()

    def perform(self, effect: departure.Effect) -> None:
        host = self.host
        match effect:
            case departure.TellReady():
                self.tell(lambda side: side.handle(arrival.SourceReady()))
            case departure.HoldWrites():
                host.held |= MOVED
                self.tell(lambda side: side.handle(arrival.Final()))
            case departure.ReleaseWrites():
                host.held = 0
            case departure.Ask():
                host.handle(AskVoters())
            case departure.Keep(epoch):
                host.handle(KeepSlots(epoch))
            case departure.TellFailure(reason, again):
                self.tell(lambda side: side.handle(arrival.Failed(reason, again)))
            case departure.Over(reason):
                host.world.note(host, f"=> export over: {reason or 'done'}")
                host.export = None

    def arm(self) -> None:
        at_ms = self.machine.wake_ms
        if at_ms < departure.NEVER:
            self.host.later(at_ms, lambda: self.handle(departure.Wakeup()))


def _got_write(slot: int, number: int, side: Coming) -> None:
    side.host.arriving[slot].add(number)


class Coming:
    """The target's side of one attempt."""

    def __init__(self, host: MovingHost, source: MovingHost) -> None:
        world = host.world
        self.host, self.source = host, source
        self.pipe = Pipe(world, source, host)
        self.machine = Arrival(world.now_ms, silence_ms=SILENCE_MS, pause_ms=PAUSE_MS)
        host.arriving = {slot: set() for slot in SLOTS}
        host.handle(Leftover(MOVED))
        self.pipe.send(source, self.asked)
        self.arm()

    def asked(self) -> None:
        """The source hears SYNC."""
        source = self.source
        if source.machine is None or source.export is not None or MOVED & ~source.up.state.myself.slots:
            self.pipe.send(self.host, lambda: self.handle(arrival.Failed("refused")))
            return
        source.export = Leaving(source, self.pipe)
        self.pipe.send(self.host, lambda: self.handle(arrival.Connected()))

    def got(self, snapshot: Data) -> None:
        for slot, numbers in snapshot.items():
            self.host.arriving[slot] |= numbers
        self.handle(arrival.Copied())

    def handle(self, event: arrival.Event) -> None:
        host = self.host
        if host.arrival is not self:
            return
        for effect in self.machine.handle(event, host.world.now_ms):
            self.perform(effect)
            if host.arrival is not self:
                return
        self.arm()

    def tell(self, event: departure.Event) -> None:
        def hear() -> None:
            side = self.source.export
            if side is not None and side.pipe is self.pipe:
                side.handle(event)

        self.pipe.send(self.source, hear)

    def perform(self, effect: arrival.Effect) -> None:
        host = self.host
        match effect:
            case arrival.AskPause(epoch):
                self.tell(departure.PauseAsked(epoch))
            case arrival.GiveUp(reason):
                self.tell(departure.TargetGaveUp(reason))
            case arrival.Settle():
                epoch = host.up.state.max_epoch() + 1
                host.later(
                    host.world.now_ms + host.world.rng.randrange(20), lambda: self.handle(arrival.Settled(epoch))
                )
            case arrival.Take(epoch, before_ms):
                self.take(epoch, before_ms)
            case arrival.Over(reason):
                host.world.note(host, f"=> import over: {reason or 'done'}")
                host.arrival = None
                host.drop_arriving()
                self.pipe.break_(host)

    def take(self, epoch: int, before_ms: int) -> None:
        """The commit; the host may be stopped before it saves, and before it looks at the clock again."""
        host, world = self.host, self.host.world
        assert world.now_ms < before_ms
        host.is_taking = True  # what follows is one call: no other event comes in between
        host.stop_maybe()
        host.later(world.now_ms, lambda: self.save(epoch, before_ms), urgent=True)

    def save(self, epoch: int, before_ms: int) -> None:
        host = self.host
        try:
            host.handle(TakeSlots(MOVED, host.node_of(self.source), epoch))
        except ClusterError as error:
            host.is_taking = False
            self.handle(arrival.Failed(str(error)))
            return
        if host.machine is None:
            return
        host.stop_maybe()
        host.later(host.world.now_ms, lambda: self.look_again(before_ms), urgent=True)

    def look_again(self, before_ms: int) -> None:
        host = self.host
        if host.world.now_ms >= before_ms:
            host.handle(ReturnSlots(MOVED, host.node_of(self.source)))
            host.is_taking = False
            self.handle(arrival.Failed("saved too late"))
            return
        host.is_taking = False
        host.data.update(host.arriving)
        host.arriving = {}
        host.handle(AnnounceSlots())
        self.handle(arrival.Taken())

    def arm(self) -> None:
        at_ms = self.machine.wake_ms
        if at_ms < arrival.NEVER:
            self.host.later(at_ms, lambda: self.handle(arrival.Wakeup()))


class MovingHost(Host):
    """A host with keys, which keeps them over a crash; those that were arriving, too, as its file has them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.data: Data = {slot: set() for slot in SLOTS} if self.name == "p1" else {}
        self.arriving: Data = {}
        self.held = 0
        self.frozen_until_ms = 0
        self.freeze_rate = 0.0
        self.is_taking = False
        self.export: Leaving | None = None
        self.arrival: Coming | None = None

    def node_of(self, other: Host) -> str:
        return next(node_id for node_id, name in self.world.ids.items() if name == other.name)

    def later(self, at_ms: int, what: Callable[[], None], *, urgent: bool = False) -> None:
        """Do something then, in this life of the host, and not while it is stopped.  Urgent: before all else."""
        machine = self.machine

        def now() -> None:
            if self.machine is not machine:
                return
            wait_ms = self.frozen_until_ms - self.world.now_ms
            if wait_ms > 0 or (self.is_taking and not urgent):
                self.world.after(max(1, wait_ms - urgent), now)
            else:
                what()

        self.world.at(max(at_ms, self.frozen_until_ms - urgent), now)

    def stop_maybe(self) -> None:
        """SIGSTOP, SIGCONT: nothing happens here for a while."""
        rng = self.world.rng
        if self.freeze_rate and rng.random() < self.freeze_rate:
            self.frozen_until_ms = self.world.now_ms + rng.randrange(100, 5000)
            self.world.note(self, f"=> stopped for {self.frozen_until_ms - self.world.now_ms} ms")

    # ---- as the node around the machine ----

    def handle(self, event: Event) -> None:
        own = isinstance(event, TakeSlots | ReturnSlots | AnnounceSlots)
        if self.machine is not None and not own and (self.world.now_ms < self.frozen_until_ms or self.is_taking):
            self.later(self.world.now_ms, lambda: self.handle(event))
            return
        super().handle(event)

    def perform(self, effect: Effect) -> None:
        super().perform(effect)
        if isinstance(effect, DropSlotKeys):
            for slot in effect.slots:
                self.data.pop(slot, None)
            self.world.after(0, lambda: self.handle(Leftover(MOVED if self.arriving else 0)))
        if isinstance(effect, SaveConfig) and self.export is not None:
            mine, target = self.up.state.myself, self.up.state.nodes.get(self.node_of(self.export.pipe.target))
            if mine.is_replica or MOVED & ~mine.slots:
                self.export.handle(departure.OwnerChanged(target is not None and not MOVED & ~target.slots))

    def drop_arriving(self) -> None:
        self.arriving = {}
        self.handle(Leftover(0))

    def crash(self) -> None:
        super().crash()
        for side in (self.export, self.arrival):
            if side is not None:
                side.pipe.break_(self)
        self.export = self.arrival = None
        for slot, numbers in self.arriving.items():
            self.data.setdefault(slot, set()).update(numbers)
        self.arriving, self.held, self.is_taking, self.frozen_until_ms = {}, 0, False, 0

    def slots_with_keys(self) -> tuple[int, ...]:
        return tuple(self.data)

    def serves(self, slot: int) -> bool:
        if self.machine is None or self.is_taking or self.world.now_ms < self.frozen_until_ms:
            return False
        state = self.machine.state
        return state.myself.is_primary and state.ok and bool(state.serving[slot]) and not self.held >> slot & 1


class MovingWorld(World):
    """Clients write to whoever serves; now and then the slots are to go to another host."""

    host_type = MovingHost
    hosts: dict[str, MovingHost]  # type: ignore[assignment]

    def __init__(self, seed: int, **shape: int) -> None:
        super().__init__(seed, **shape)
        self.confirmed: list[tuple[int, int, bool]] = []
        """(slot, number, by a host that was cut off from the majority at that moment)"""
        self.moved = 0
        self.after(2000, self.write)

    def reaches_majority(self, host: MovingHost) -> bool:
        reached = [
            other
            for other in self.hosts.values()
            if other is host
            or (other.machine is not None and not self.is_cut(host, other) and other.frozen_until_ms <= self.now_ms)
        ]
        return 2 * len(reached) > len(self.hosts)

    def write(self) -> None:
        slot = self.rng.choice(SLOTS)
        serving = [host for host in self.hosts.values() if host.serves(slot)]
        if serving:
            host = self.rng.choice(serving)
            number = len(self.confirmed)
            host.data.setdefault(slot, set()).add(number)
            self.confirmed.append((slot, number, not self.reaches_majority(host)))
            if host.export is not None:
                host.export.wrote(slot, number)
        self.after(CLIENT_MS, self.write)

    def begin_move(self) -> bool:
        """Have another host get the slots from who owns them, if both know that, and no attempt is on its way."""
        owners = [
            host for host in self.hosts.values() if host.machine is not None and not MOVED & ~host.up.state.myself.slots
        ]
        others = [
            host for host in self.hosts.values() if host.machine is not None and host not in owners and not host.arrival
        ]
        if len(owners) != 1 or not others:
            return False
        target = self.rng.choice(others)
        if target.is_taking or target.frozen_until_ms > self.now_ms or set(target.data) & set(SLOTS):
            return False
        self.moved += 1
        machine = target.machine
        coming = Coming(target, owners[0])
        if target.machine is machine:
            target.arrival = coming
        else:  # it crashed as soon as it began
            coming.pipe.alive = False
        return True

    def check_keys(self) -> None:
        """Every slot has one owner, who has every confirmed write; nobody else has any; nothing is held."""
        for slot in SLOTS:
            owners = {host.up.state.owners[slot] and host.up.state.owners[slot].id for host in self.hosts.values()}
            assert len(owners) == 1 and None not in owners, f"slot {slot}: {owners}"
            (owner_id,) = owners
            owner = self.hosts[self.ids[str(owner_id)]]
            lost = [n for at, n, excused in self.confirmed if at == slot and not excused and n not in owner.data[slot]]
            assert not lost, f"slot {slot} of {owner}: {len(lost)} confirmed writes are lost"
            for host in self.hosts.values():
                assert host is owner or slot not in host.data, f"{host} still has keys of slot {slot}, {owner}'s"
        assert not any(host.held or host.arriving for host in self.hosts.values())


def moved_slots() -> list[int]:
    return slots_in(MOVED)
