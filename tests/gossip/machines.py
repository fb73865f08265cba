"""One machine alone in a finished cluster of p1 p2 p3 r1 r2 r3, and messages of the others, for table tests."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from gossip.events import DataLoaded, Effect, Event, LinkUp, Log, PacketReceived, Send, Wakeup
from gossip.machine import ClusterMachine
from gossip.nodesconf import parse
from gossip.packet import FAIL, PING, PONG, Body, Failed, Gossip, Packet, bitmap_bytes
from gossip.settings import ClusterSettings
from gossip.state import Node
from tests.gossip.facts import PlainFacts
from tests.sim.world import EPOCH_MS, World

IDS = {f"{'pr'[n // 3]}{n % 3 + 1}": f"{0xA1 + n:02x}" * 20 for n in range(6)}


class Alone(PlainFacts):
    """A machine named `me`, started two and a half seconds ago, with its links up and every node heard of."""

    def __init__(self, me: str, keys: int = 0, timeout_ms: int = 2000) -> None:
        super().__init__(keys, data_offset=100)
        self.settings = ClusterSettings(7000, 0, 17000, node_timeout_ms=timeout_ms)
        self.machine = ClusterMachine(parse(World(1).hosts[me].durable), self.settings, self, Random(1))
        self.now_ms = EPOCH_MS
        self.handle(Wakeup())
        self.handle(DataLoaded(()))
        for link in list(self.machine.core.links):
            self.handle(LinkUp(link))
        self.now_ms += 2500
        self.hear_all()
        self.handle(Wakeup())

    def handle(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(event, self.now_ms)
        self.machine.state.check()
        return effects

    def node(self, name: str) -> Node:
        return self.machine.state.nodes[IDS[name]]

    def packet(self, name: str, kind: int, body: Body = None, **changes: object) -> Packet:
        """A message as `name` would send it, going by what we know of it, with changes."""
        node, state = self.node(name), self.machine.state
        packet = Packet(
            kind,
            node.id,
            node.port,
            node.cport,
            node.flags,
            state.current_epoch,
            node.source.config_epoch,
            node.offset,
            node.source.slots_wire,
            node.primary.id if node.primary else "",
            body=body,
        )
        return replace(packet, **changes)  # type: ignore[arg-type]

    def hear(self, name: str, kind: int, body: Body = None, **changes: object) -> list[Effect]:
        """Receive a message of `name` over our link to it (or, for a ping, over one of its own)."""
        node = self.node(name)
        link = -int(node.id[:2], 16) if kind == PING or node.link is None else node.link
        return self.handle(PacketReceived(link, self.packet(name, kind, body, **changes), node.ip, "10.0.0.9"))

    def hear_all(self) -> None:
        """Everybody who is not held for failed answers."""
        for name in IDS:
            if not self.node(name).is_failed and self.node(name) is not self.machine.state.myself:
                self.hear(name, PONG, body=Gossip())

    def convict(self, name: str, by: str) -> None:
        self.hear(by, FAIL, body=Failed(IDS[name]))


def sent(effects: list[Effect], kind: int) -> list[Packet]:
    return [effect.packet for effect in effects if isinstance(effect, Send) and effect.packet.kind == kind]


def logged(effects: list[Effect]) -> str:
    return "\n".join(effect.text for effect in effects if isinstance(effect, Log))


def slots(*numbers: int) -> bytes:
    return bitmap_bytes(sum(1 << number for number in numbers))
