"""A router with links that only note what is sent: the proxy's way of commands without sockets and time."""

from __future__ import annotations

from typing import Any

from node.slots import slot_of
from node.timers import Timers
from proxy.calls import Call, Router
from proxy.link import Link
from proxy.topology import LinkKey, Node, Shard, Topology

A, B, C = ("a", 1), ("b", 2), ("c", 3)
HALVES = [Shard(A, (C,), ((0, 8191),)), Shard(B, (), ((8192, 16383),))]


class World:
    """A router with links that only note what is sent, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.dropped: list[Node] = []
        self.topology = Topology(is_cluster=True, dropped=self.dropped.append)
        self.topology.adopt(HALVES)
        self.timers = Timers(lambda: self.now_ms)
        self.looks = 0
        self.links: dict[tuple[str, Any], Link] = {}
        self.clock: Any = type("Clock", (), {"now_ms": 0})
        self.router = Router(
            self.topology, self.timers, link=self.link, trouble=self.look, retry_timeout_ms=1000, clock=self.clock
        )
        self.answers: list[bytes] = []
        self.detours = self.unknowns = 0

    # The host of the links

    def monotonic_ms(self) -> float:
        return self.now_ms

    def dial(self, link: Link) -> None:
        link.ready = True

    def handshake(self, _link: Link) -> list[list[bytes]]:
        return []

    def link_ended(self, link: Link) -> None:
        self.links = {name: other for name, other in self.links.items() if other is not link}

    # What the router asks for

    def link(self, node: Node, key: LinkKey) -> Link:
        if (node.name, key) not in self.links:
            self.links[node.name, key] = Link(self, node, key)
        return self.links[node.name, key]

    def look(self) -> None:
        self.looks += 1

    # The owner of the calls

    def answered(self, call: Call) -> None:
        assert call.raw is not None
        self.answers.append(call.raw)

    def detour(self) -> None:
        self.detours += 1

    def unknown(self) -> None:
        self.unknowns += 1

    def send(self, *argv: bytes, reads: bool = False) -> Call:
        call = Call(self.router, self, list(argv), slot_of(argv[1]), LinkKey(), reads)
        self.router.send(call)
        return call

    def at(self, name: str) -> Link:
        return self.links[name, LinkKey()]

    def sent(self, name: str) -> list[list[bytes]]:
        return [pending.argv for pending in self.at(name).pending] if (name, LinkKey()) in self.links else []

    def pass_time(self, ms: float) -> None:
        self.now_ms += ms
        self.timers.run_due()
