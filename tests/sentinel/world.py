"""A world of Sentinels and the nodes that they watch, out of one seed: virtual time, wires that delay and stall, disks.

Nothing real is here: a run is repeated exactly by its seed. Wires behave like TCP: in order, stalled while two hosts
are cut off from one another, ended by a crash. A Sentinel's disk keeps what was saved before the crash. A node is as
much of one as a Sentinel can see: its role, INFO, Pub/Sub of hellos, and the transaction that reconfigures it. The
judge looks from outside: at votes that leave, at leaders, and at what is left when the storm is over.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from node.config.lines import read_lines
from node.net.resp import OK, Argv, Reply, Status
from sentinel import conf
from sentinel.core import Core
from sentinel.events import (
    Answer,
    CloseLink,
    Crash,
    Dial,
    Effect,
    Event,
    Heard,
    HelloReceived,
    LinkDown,
    LinkUp,
    Log,
    Publish,
    QuestionReceived,
    Replied,
    RunScript,
    SaveConfig,
    Saved,
    SaveFailed,
    Send,
    WakeAt,
    Wakeup,
)
from sentinel.machine import SentinelMachine
from sentinel.state import Primary, State

EPOCH_MS = 1_700_000_000_000
STALL_MS = 20
PORT = 6379


class Host:
    """Anything with an address that may be down."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world, self.name = world, name
        self.ip = f"10.0.0.{number}"
        self.run_id = f"{number:02x}" * 20
        self.is_up = False
        self.is_paused = False
        self.life = 0  # how often it began: what was on its way to an earlier life is lost

    def __repr__(self) -> str:
        return self.name

    def answer(self, argv: Argv, wire: Wire) -> Reply:
        raise NotImplementedError


class Wire:
    """One link of a Sentinel to a host."""

    def __init__(self, watcher: Watcher, number: int, target: Host, listens: bool) -> None:
        self.watcher, self.number, self.target, self.listens = watcher, number, target, listens
        self.alive = True
        self.is_subscribed = False
        self.queued: list[Argv] | None = None  # since MULTI
        self.free_ms = [0, 0]


class Node(Host):
    """A node with data, as Sentinels see it."""

    def __init__(self, world: World, name: str, number: int) -> None:
        super().__init__(world, name, number)
        self.follows: str = ""  # the IP of its primary
        self.priority = 100
        self.offset = 0
        self.wires: list[Wire] = []

    @property
    def primary(self) -> Node | None:
        return self.world.node_at(self.follows)

    @property
    def link_is_up(self) -> bool:
        primary = self.primary
        return primary is not None and primary.is_up and not primary.follows and not self.world.is_cut(self, primary)

    def start(self) -> None:
        """It starts with the role that its configuration file has: CONFIG REWRITE is part of each change."""
        self.life += 1
        self.is_up, self.is_paused = True, False
        self.run_id = f"{self.life:02x}" + self.run_id[2:]

    def crash(self) -> None:
        self.is_up = False
        self.world.break_wires(self)

    def info(self) -> bytes:
        lines = [f"run_id:{self.run_id}", f"role:{'slave' if self.follows else 'master'}"]
        if self.follows:
            up = self.link_is_up
            lines += [
                f"master_host:{self.follows}",
                f"master_port:{PORT}",
                f"master_link_status:{'up' if up else 'down'}",
                *([] if up else ["master_link_down_since_seconds:1"]),
                f"slave_priority:{self.priority}",
                f"slave_repl_offset:{self.offset}",
            ]
        else:
            others = [n for n in self.world.nodes.values() if n.primary is self and n.is_up and n.link_is_up]
            lines += [f"slave{at}:ip={n.ip},port={PORT},state=online" for at, n in enumerate(others)]
        return "\r\n".join(lines).encode()

    def answer(self, argv: Argv, wire: Wire) -> Reply:
        word = argv[0].upper()
        if wire.queued is not None and word != b"EXEC":
            wire.queued.append(argv)
            return Status(b"QUEUED")
        if word == b"PING":
            return Status(b"PONG")
        if word == b"INFO":
            return self.info()
        if word == b"SUBSCRIBE":
            wire.is_subscribed = True
            return [b"subscribe", argv[1], 1]
        if word == b"PUBLISH":
            return self.publish(argv)
        if word == b"MULTI":
            wire.queued = []
        elif word == b"EXEC":
            queued, wire.queued = wire.queued or [], None
            return [self.answer(each, wire) for each in queued]
        elif word == b"SLAVEOF":
            self.reconfigure(argv)
        return OK

    def publish(self, argv: Argv) -> int:
        listeners = [wire for wire in self.world.wires if wire.target is self and wire.is_subscribed and wire.alive]
        for wire in listeners:
            self.world.hand_back(wire, Heard(wire.number, [b"message", argv[1], argv[2]]))
        return len(listeners)

    def reconfigure(self, argv: Argv) -> None:
        follows = "" if argv[1] == b"NO" else argv[1].decode()
        if follows != self.follows:
            self.follows = follows
            self.world.note(self, f"=> {'replicate from ' + follows if follows else 'become primary'}")


class Watcher(Host):
    """One Sentinel with its disk and its clock."""

    def __init__(self, world: World, name: str, number: int, text: str) -> None:
        super().__init__(world, name, number)
        self.disk = f"sentinel myid {self.run_id}\n" + text
        self.disk_is_broken = False
        self.machine: SentinelMachine | None = None
        self.wires: dict[int, Wire] = {}
        self.skew_ms = 0
        self.wake = 0
        self.crash_rate = 0.0

    # ---- facts ----

    def port(self) -> int:
        return 26379

    def password(self) -> str:
        return ""

    def resolve(self, host: str) -> str:
        return self.world.names.get(host, "")

    def is_executable(self, _path: str) -> bool:
        return True

    # ---- life ----

    @property
    def up(self) -> SentinelMachine:
        assert self.machine is not None, f"{self} is down"
        return self.machine

    @property
    def primary(self) -> Primary:
        return self.up.state.primaries["m"]

    @property
    def now_ms(self) -> int:
        return self.world.now_ms + self.skew_ms

    def start(self) -> None:
        self.life += 1
        self.is_up, self.is_paused = True, False
        core = Core(State(), self, Random(0))
        core.begin(self.now_ms)
        conf.load(core, read_lines(self.disk))
        self.machine = SentinelMachine(core.state, self, Random(self.world.rng.random()))
        self.handle(Wakeup())

    def crash(self) -> None:
        self.is_up, self.machine = False, None
        self.world.break_wires(self)

    def handle(self, event: Event) -> Reply:
        """Give the machine an event and perform the effects in order; a crash may come after any of them."""
        if self.machine is None:
            return None
        reply: Reply = OK
        later: list[Event] = []
        for effect in self.machine.handle(event, self.now_ms):
            if isinstance(effect, Answer):
                failed = effect.vote and any(isinstance(each, SaveFailed) for each in later)
                reply = effect.refused if failed else effect.reply
                self.world.saw_answer(self, event, reply)
            else:
                self.perform(effect, later)
            if self.crash_rate and self.world.rng.random() < self.crash_rate:
                self.crash()
                self.world.after(self.world.rng.randrange(100, 3000), self.start)
                return None
        for each in later:
            self.handle(each)
        if self.machine is not None:
            self.machine.state.check()
        return reply

    def perform(self, effect: Effect, later: list[Event]) -> None:
        world = self.world
        match effect:
            case SaveConfig():
                if self.disk_is_broken:
                    later.append(SaveFailed())
                    return
                wanted = conf.wanted_lines(self.up.state)
                self.disk = "".join(f"{line}\n" for _, lines in wanted for line, _ in lines)
                if self.up.state.unsaved:
                    later.append(Saved())
            case Dial(link, host, _port, listens):
                world.dial(self, link, host, listens)
            case CloseLink(link):
                wire = self.wires.pop(link, None)
                if wire is not None:
                    world.end(wire)
            case Send(link, argv, ask):
                wire = self.wires.get(link)
                if wire is not None:
                    world.carry(wire, argv, ask)
            case WakeAt(at_ms):
                self.wake += 1
                world.after(at_ms - self.now_ms, lambda wake=self.wake, life=self.life: self.wake_up(wake, life))
            case Log(level, text):
                if level in ("notice", "warning"):
                    world.note(self, text)
                if text.startswith("+elected-leader"):
                    world.saw_leader(self)
            case Publish() | RunScript():
                pass
            case Crash():
                self.crash()
            case _:
                raise AssertionError(f"unexpected effect {effect}")

    def wake_up(self, wake: int, life: int) -> None:
        if (wake, life) != (self.wake, self.life):
            return
        if self.is_paused:
            self.world.after(STALL_MS, lambda: self.wake_up(wake, life))
        else:
            self.handle(Wakeup())

    def answer(self, argv: Argv, wire: Wire) -> Reply:
        word = argv[0].upper()
        if word == b"PING":
            return Status(b"PONG")
        if word == b"PUBLISH":
            self.handle(HelloReceived(argv[2]))
            return 1
        if word == b"SENTINEL":
            return self.handle(QuestionReceived(argv[2].decode(), int(argv[3]), int(argv[4]), argv[5].decode()))
        return OK


class World:
    """Hosts, time, the network between them, and the judge."""

    def __init__(
        self,
        seed: int,
        *,
        sentinels: int = 3,
        replicas: int = 2,
        quorum: int = 2,
        down: int = 1000,
        timeout: int = 5000,
        more: str = "",
    ) -> None:
        self.rng = Random(seed)
        self.now_ms = EPOCH_MS
        self.tie = itertools.count()
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.cuts: set[frozenset[str]] = set()
        self.delay_ms = (0, 2)
        self.names: dict[str, str] = {}  # the resolver's
        self.wires: list[Wire] = []
        self.trace: list[str] = []
        self.events = 0
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.nodes: dict[str, Node] = {}
        self.watchers: dict[str, Watcher] = {}
        for number in range(replicas + 1):
            node = self.nodes[f"n{number + 1}"] = Node(self, f"n{number + 1}", number + 1)
            node.follows = "10.0.0.1" if number else ""
            node.start()
        text = (
            f"sentinel monitor m 10.0.0.1 {PORT} {quorum}\nsentinel down-after-milliseconds m {down}\n"
            f"sentinel failover-timeout m {timeout}\n{more}"
        )
        for number in range(sentinels):
            name = f"s{number + 1}"
            watcher = self.watchers[name] = Watcher(self, name, 100 + number, text)
            self.after(self.rng.randrange(100), watcher.start)
        self.after(0, self.write)

    @property
    def hosts(self) -> dict[str, Host]:
        return {**self.nodes, **self.watchers}

    def node_at(self, ip: str) -> Node | None:
        return next((node for node in self.nodes.values() if node.ip == ip), None)

    def host_at(self, ip: str) -> Host | None:
        return next((host for host in self.hosts.values() if host.ip == ip), None)

    def write(self) -> None:
        """Primaries write all the time; replicas that reach theirs have what it had a moment ago."""
        for node in self.nodes.values():
            if node.is_up and not node.follows:
                node.offset += self.rng.randrange(100)
            elif node.is_up and node.link_is_up:
                assert node.primary is not None
                node.offset = max(node.offset, node.primary.offset - self.rng.choice((0, 0, 50)))
        self.after(100, self.write)

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
            self.events += 1
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

    def isolate(self, names: list[str]) -> None:
        """Cut some hosts off from all others, not from one another."""
        for one in names:
            for other in self.hosts:
                if other not in names:
                    self.cut(one, other)

    def heal(self) -> None:
        self.cuts.clear()

    def is_cut(self, one: Host, other: Host) -> bool:
        return frozenset((one.name, other.name)) in self.cuts

    def dial(self, watcher: Watcher, number: int, host: str, listens: bool) -> None:
        target, life = self.host_at(self.names.get(host, host)), watcher.life

        def arrive() -> None:
            if watcher.life != life or watcher.machine is None or number not in watcher.machine.core.links:
                return
            if target is not None and self.is_cut(watcher, target):
                self.after(5000, lambda: watcher.life == life and watcher.handle(LinkDown(number)))
                return
            if target is None or not target.is_up:
                watcher.handle(LinkDown(number))
                return
            wire = watcher.wires[number] = Wire(watcher, number, target, listens)
            self.wires.append(wire)
            watcher.handle(LinkUp(number, watcher.ip, target.ip))

        self.after(self.rng.randint(*self.delay_ms), arrive)

    def carry(self, wire: Wire, argv: Argv, ask: Any) -> None:
        """A command goes to its target, and the reply comes back."""

        def arrive() -> None:
            reply = wire.target.answer(argv, wire)
            if wire.alive and wire.target.is_up:
                event = Heard(wire.number, reply) if wire.listens else Replied(wire.number, ask, reply)
                self.hand_back(wire, event)

        self.travel(wire, 0, arrive)

    def hand_back(self, wire: Wire, event: Event) -> None:
        def arrive() -> None:
            if wire.watcher.wires.get(wire.number) is wire:
                wire.watcher.handle(event)

        self.travel(wire, 1, arrive)

    def travel(self, wire: Wire, side: int, arrive: Callable[[], None]) -> None:
        """Bring something to an end of a wire, in order; it waits while the ends are cut off or the receiver sleeps."""
        wire.free_ms[side] = max(wire.free_ms[side], self.now_ms + self.rng.randint(*self.delay_ms))
        receiver = wire.target if side == 0 else wire.watcher

        def attempt() -> None:
            if not wire.alive:
                return
            if self.is_cut(wire.watcher, wire.target) or receiver.is_paused:
                wire.free_ms[side] = max(wire.free_ms[side], self.now_ms + STALL_MS)
                self.at(self.now_ms + STALL_MS, attempt)
            else:
                arrive()

        self.at(wire.free_ms[side], attempt)

    def end(self, wire: Wire) -> None:
        wire.alive = False
        if wire in self.wires:
            self.wires.remove(wire)

    def break_wires(self, host: Host) -> None:
        """A host crashed: its wires end, and whoever is not cut off hears of it."""
        for wire in [each for each in self.wires if host in (each.watcher, each.target)]:
            self.end(wire)
            watcher = wire.watcher
            if watcher is host:
                watcher.wires.clear()
            else:
                self.after(self.rng.randint(*self.delay_ms), lambda wire=wire: self.tell_end(wire))

    def tell_end(self, wire: Wire) -> None:
        watcher = wire.watcher
        if watcher.wires.get(wire.number) is not wire:
            return
        if self.is_cut(watcher, wire.target) or watcher.is_paused:
            self.after(STALL_MS, lambda: self.tell_end(wire))
            return
        del watcher.wires[wire.number]
        watcher.handle(LinkDown(wire.number))

    # ---- the judge ----

    def saw_answer(self, voter: Watcher, event: Event, reply: Reply) -> None:
        """A vote leaves: it is the voter's only one of that epoch, and on its disk."""
        if not isinstance(event, QuestionReceived) or not isinstance(reply, list) or reply[1] == b"*":
            return
        candidate, epoch = reply[1].decode(), reply[2]
        known = self.votes.setdefault((voter.name, epoch), candidate)
        assert known == candidate, f"{voter} votes twice in epoch {epoch}: {known}, {candidate}"
        saved = next(int(line.split()[-1]) for line in voter.disk.splitlines() if "leader-epoch" in line)
        assert saved >= epoch, f"{voter} tells of a vote in epoch {epoch} and has saved {saved}"

    def saw_leader(self, watcher: Watcher) -> None:
        """Nobody else is elected in the same epoch; whom an operator told to go ahead was not elected."""
        primary = watcher.primary
        if primary.forced:
            return
        known = self.leaders.setdefault(primary.failover_epoch, watcher.name)
        assert known == watcher.name, f"epoch {primary.failover_epoch} elected {known} and {watcher}"

    def agreed(self) -> bool:
        """Whether all are up, all Sentinels name the same primary, it is one, and all others follow it."""
        if not all(host.is_up for host in self.hosts.values()):
            return False
        places = {watcher.primary.address.ip for watcher in self.watchers.values()}
        chosen = self.node_at(places.pop())
        if places or chosen is None or chosen.follows:
            return False
        if any(node.follows != chosen.ip for node in self.nodes.values() if node is not chosen):
            return False
        return all(self.is_calm(watcher) for watcher in self.watchers.values())

    def is_calm(self, watcher: Watcher) -> bool:
        """Whether a Sentinel finds nobody down and knows everybody."""
        primary = watcher.primary
        counts = (len(primary.replicas), len(primary.fellows))
        everybody = counts == (len(self.nodes) - 1, len(self.watchers) - 1)
        return everybody and not primary.in_failover and not any(each.is_down for each in primary.everybody())

    # ---- what happened, as text ----

    def named(self, text: str) -> str:
        for host in self.hosts.values():
            text = text.replace(f"{host.ip}:{PORT}", host.name).replace(f"{host.ip} {PORT}", host.name)
            text = text.replace(f"{host.ip} 26379", host.name).replace(host.run_id, host.name)
        for host in reversed(self.hosts.values()):
            text = text.replace(host.ip, host.name)
        return text

    def note(self, host: Host, text: str) -> None:
        self.trace.append(f"{(self.now_ms - EPOCH_MS) / 1000:7.3f} {host.name}: {self.named(text)}")

    def describe(self) -> str:
        """Each node's role, and each Sentinel's view of everybody: `~` down for it, `!` down for enough."""
        lines = [
            f"{node}: " + (f"<{self.named(node.follows)}" if node.follows else "*") + ("" if node.is_up else " (down)")
            for node in self.nodes.values()
        ]
        return "\n".join(lines + [self.view_of(watcher) for watcher in self.watchers.values()])

    def view_of(self, watcher: Watcher) -> str:
        """One Sentinel's view of everybody."""
        if watcher.machine is None:
            return f"{watcher}: down"
        primary, state = watcher.primary, watcher.machine.state
        mark = "!" if primary.is_objectively_down else "~" if primary.is_down else ""
        others = [self.named(each.address.ip) + ("~" if each.is_down else "") for each in primary.everybody()[1:]]
        return (
            f"{watcher}: epoch {state.current_epoch} {self.named(primary.address.ip)}{mark}@{primary.config_epoch} "
            f"{primary.step.value} {' '.join(others)}{' TILT' if state.tilt_since_ms else ''}"
        )
