"""The bus under fire, fast: mutated packets through the real reader into a real machine, and a judge behind it.

No bus packet proves who sent it, so a forger that knows a member's id can do what that member could; the judge holds
each packet to that. Of a stranger nothing is believed. A member's message changes its own epoch and gives slots to
itself alone; an update gives them to the node it names, for a larger epoch; no other kind moves a slot, unless it is
the vote that decides our own election. Epochs and our vote never go back, whatever arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from gossip.events import (
    CloseLink,
    DataLoaded,
    Dial,
    Effect,
    LinkUp,
    Log,
    PacketReceived,
    SaveConfig,
    Send,
    WakeAt,
    Wakeup,
)
from gossip.machine import ClusterMachine
from gossip.nodesconf import parse, render
from gossip.packet import (
    AUTH_ACK,
    AUTH_REQUEST,
    FAIL,
    HAS_EXTENSIONS,
    HEADER_BYTES,
    KIND_NAMES,
    MEET,
    MFSTART,
    MODULE,
    PFAIL,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    PUBLISH_SHARD,
    REPLICA,
    SPEAKS_HEXAD,
    UPDATE,
    Body,
    Extensions,
    Failed,
    Gossip,
    GossipEntry,
    Module,
    Packet,
    PacketReader,
    Publish,
    Update,
    bitmap_bytes,
    encode,
)
from gossip.settings import ClusterSettings
from gossip.state import ClusterState, Node
from tests.gossip.facts import PlainFacts
from tests.gossip.machines import IDS
from tests.sim.world import EPOCH_MS, World

STRANGER = "f1" * 20
LIFE = 400
"""Packets that one machine takes before a fresh one stands in its place: later ones would find it beyond all repair."""
CHECK_EVERY = 50
STEPS_MS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 40, 700)
NUMBERS = (b"\0", b"\1", b"\xff", b"\0\0", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\x08")
LENGTH_AT, COUNT_AT, SENDER_AT, SLOTS_AT, PRIMARY_AT = 4, 14, 40, 80, 2128

assert HEADER_BYTES == 2256
A_STRANGER_MAY_CAUSE = (Log, Send, CloseLink, WakeAt, Dial, SaveConfig)
View = dict[Node, tuple[int, int]]


def corpus() -> list[bytes]:
    """Good packets of every kind, of members and of a stranger."""
    ids = [*IDS.values(), STRANGER]
    entries = tuple(GossipEntry(i, 0, EPOCH_MS // 1000, f"10.0.0.{n}", 7000, 17000, PRIMARY) for n, i in enumerate(ids))
    told = Extensions("a.b", "n", ((IDS["r2"], 60),), "5" * 40, 3, f"{EPOCH_MS:012x}" + "a" * 28)
    bodies: list[tuple[int, Body]] = [
        (PING, Gossip(entries[:3])), (PONG, Gossip(entries[3:], told)), (PONG, Gossip((), told)), (MEET, Gossip()),
        (PING, Gossip((replace_flags(entries[1], PRIMARY | PFAIL), replace_flags(entries[4], REPLICA | PFAIL)))),
        (FAIL, Failed(IDS["p1"])), (FAIL, Failed(IDS["p3"])), (PUBLISH, Publish(b"channel", b"message")),
        (PUBLISH_SHARD, Publish(b"c", b"")), (AUTH_REQUEST, None), (AUTH_ACK, None), (MFSTART, None),
        (UPDATE, Update(9, IDS["p2"], bitmap_bytes(0xFF))), (MODULE, Module(bytes(8), 1, b"payload")),
    ]  # fmt: skip
    found = []
    for n, (name, node_id) in enumerate((*IDS.items(), ("p9", STRANGER))):
        is_primary = name.startswith("p")
        slots = sum(1 << slot for slot in range(5461 * (n % 3), 5461 * (n % 3 + 1))) if name != "p9" else 1
        base = Packet(
            PING, node_id, 7000, 17000, PRIMARY if is_primary else REPLICA, 3, n % 3 + 1, 100, bitmap_bytes(slots),
            "" if is_primary else IDS[f"p{n - 2}"], mflags=HAS_EXTENSIONS | SPEAKS_HEXAD,
        )  # fmt: skip
        found += [encode(replace(base, kind=kind, body=body)) for kind, body in bodies]
    return found


def replace_flags(entry: GossipEntry, flags: int) -> GossipEntry:
    return entry._replace(flags=flags)


# ---- mutations -----------------------------------------------------------------------------------------------------


def _flip(rng: Random, out: bytearray) -> None:
    """Change some bytes, most often in the header's small fields, where they matter most."""
    for _ in range(rng.randint(1, 5) if out else 0):
        at = int(rng.random() * rng.choice((16, 40, 80, len(out))))
        if at >= SLOTS_AT and rng.random() < 0.7:
            at = PRIMARY_AT + at % (HEADER_BYTES - PRIMARY_AT)
        out[min(at, len(out) - 1)] = rng.getrandbits(8)


def _number(rng: Random, out: bytearray) -> None:
    """An extreme number somewhere."""
    number = rng.choice(NUMBERS)
    at = int(rng.random() * rng.choice((40, len(out))))
    out[at : at + len(number)] = number


def _identity(rng: Random, out: bytearray) -> None:
    """Another sender, another primary, or an id anywhere in the body."""
    node_id = rng.choice((*IDS.values(), STRANGER, "XX" * 20, "0" * 40)).encode()
    at = rng.choice((SENDER_AT, PRIMARY_AT, HEADER_BYTES, HEADER_BYTES + 8))
    out[at : at + 40] = node_id


def _slots(rng: Random, out: bytearray) -> None:
    """Claim slots: some, all, none."""
    at, size = (HEADER_BYTES + 48, 2048) if len(out) > HEADER_BYTES + 2048 else (SLOTS_AT, 2048)
    out[at : at + size] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(1) + bytes(size - 1)))


def _epoch(rng: Random, out: bytearray) -> None:
    at = rng.choice((16, 24, 32))
    out[at : at + 8] = rng.choice((0, 1, 4, 9, 1 << 62, (1 << 62) + 1, (1 << 64) - 1)).to_bytes(8, "big")


def _cut(rng: Random, out: bytearray) -> None:
    """Shorter or longer than it says; half of the time it says so."""
    if rng.random() < 0.5:
        del out[int(rng.random() * len(out)) :]
    else:
        out += rng.randbytes(rng.choice((1, 8, 104)))
    if rng.random() < 0.5 and len(out) >= LENGTH_AT + 4:
        out[LENGTH_AT : LENGTH_AT + 4] = len(out).to_bytes(4, "big")


def _count(rng: Random, out: bytearray) -> None:
    """More or fewer entries than there are."""
    out[COUNT_AT : COUNT_AT + 2] = rng.choice((0, 1, 2, 65535)).to_bytes(2, "big")


MUTATIONS: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip,
    _flip,
    _number,
    _identity,
    _slots,
    _epoch,
    _cut,
    _count,
)


# ---- the machine and its judge ---------------------------------------------------------------------------------------


class Target:
    """A machine in a finished cluster, links up, that takes bytes of a link."""

    def __init__(self, me: str, rng: Random, conf: str) -> None:
        self.rng = rng
        self.machine = ClusterMachine(
            parse(conf), ClusterSettings(7000, 0, 17000, node_timeout_ms=1000), PlainFacts(data_offset=100), rng
        )
        self.now_ms = EPOCH_MS
        self.wake_ms = EPOCH_MS
        self.perform(self.machine.handle(Wakeup(), self.now_ms))
        self.perform(self.machine.handle(DataLoaded(()), self.now_ms))
        for link in list(self.machine.core.links):
            self.perform(self.machine.handle(LinkUp(link), self.now_ms))
        self.me = me

    @property
    def state(self) -> ClusterState:
        return self.machine.state

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Send:
                encode(effect.packet)
            elif type(effect) is WakeAt:
                self.wake_ms = effect.at_ms
            elif type(effect) is Dial and self.rng.random() < 0.5:
                self.perform(self.machine.handle(LinkUp(effect.link), self.now_ms))

    def take(self, data: bytes) -> int:
        """Receive what may be a packet over one of our links or an accepted one. Returns how many were understood."""
        links = list(self.machine.core.links)
        link = self.rng.choice(links) if links and self.rng.random() < 0.5 else -1 - self.rng.getrandbits(2)
        good = 0
        for packet in PacketReader().feed(data):
            self.now_ms += self.rng.choice(STEPS_MS)
            if self.now_ms >= self.wake_ms:
                self.perform(self.machine.handle(Wakeup(), self.now_ms))
            if isinstance(packet, Packet):
                self.judged(link, packet)
                good += 1
            else:
                self.perform(self.machine.handle(PacketReceived(link, packet, "10.0.0.9", "10.0.0.1"), self.now_ms))
        return good

    def judged(self, link: int, packet: Packet) -> None:
        """Hand the machine a packet, and hold what changed against what its sender may change."""
        state = self.state
        sender = state.nodes.get(packet.sender)
        is_member = sender is not None and sender is not state.myself and not sender.in_handshake
        before, epoch, vote = view(state), state.current_epoch, state.ballot.epoch
        mine = state.myself.config_epoch
        met = self.machine.core.links.get(link)
        in_handshake = met is not None and met.in_handshake
        effects = self.machine.handle(PacketReceived(link, packet, "10.0.0.9", "10.0.0.1"), self.now_ms)
        what = f"{KIND_NAMES[packet.kind]} of {packet.sender} at {self.me}"
        assert state.current_epoch >= epoch and state.ballot.epoch >= vote, f"{what}: an epoch went back"
        assert state.myself.config_epoch >= mine, f"{what}: our epoch went back"
        if is_member:
            assert sender is not None
            self.judge_member(packet, sender, before, what)
        elif not in_handshake:  # a handshake ends with an answer: there a stranger becomes a member
            assert view(state) == before and state.current_epoch == epoch, f"{what}: a stranger was believed"
            assert all(type(effect) in A_STRANGER_MAY_CAUSE for effect in effects), f"{what}: {effects}"
        self.perform(effects)

    def judge_member(self, packet: Packet, sender: Node, before: View, what: str) -> None:
        state, body = self.state, packet.body
        may_gain = {sender}
        if isinstance(body, Update):
            may_gain = {node for node in before if node.id == body.node_id}
        elif packet.kind not in (PING, PONG, MEET):
            may_gain = {state.myself} if packet.kind == AUTH_ACK else set()
        for node in state.nodes.values():
            slots, config_epoch = before.get(node, (0, 0))
            assert node in may_gain or not node.slots & ~slots, f"{what}: {node} gained slots"
            if isinstance(body, Update) and node in may_gain and node.slots & ~slots:
                assert node.config_epoch > config_epoch, f"{what}: {node} gained slots by an old update"
            assert node in (sender, state.myself) or node in may_gain or node.config_epoch == config_epoch, (
                f"{what}: another's epoch was changed: {node}"
            )
            assert node.config_epoch >= config_epoch, f"{what}: an epoch went back: {node}"


def view(state: ClusterState) -> View:
    """Slots and epoch of each member."""
    return {node: (node.slots, node.config_epoch) for node in state.nodes.values() if not node.in_handshake}


def fire(seed: int, packets: int) -> int:
    """So many mutated packets at machines in both roles; returns how many of them could be read as packets still."""
    rng = Random(seed)
    whole = corpus()
    confs = {me: World(1).hosts[me].durable for me in ("p1", "r1")}
    good = 0
    for number in range(packets):
        if number % LIFE == 0:
            me = rng.choice(("p1", "r1"))
            target = Target(me, rng, confs[me])
        out = bytearray(rng.choice(whole))
        for _ in range(rng.randint(0, 3)):
            rng.choice(MUTATIONS)(rng, out)
        good += target.take(bytes(out))
        if number % CHECK_EVERY == 0:
            target.state.check()
            parse(render(target.state))
    return good
