"""Worlds of many machines: what a cluster of a hundred or a thousand nodes costs, and whether it still agrees.

As `World`, but for what grows with the square of the nodes: messages travel as they are, not as bytes (what those cost
is measured on real processes), files are written when they are read, and the judge walks the states seldom.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from gossip.events import Effect, PacketReceived, SaveConfig, Send
from gossip.nodesconf import render
from gossip.packet import AUTH_ACK, Packet
from tests.sim.world import Host, Wire, World

CHECK_EVERY = 50_000


class CrowdHost(Host):
    """A host whose messages are counted and not encoded."""

    world: Crowd

    def crash(self) -> None:
        self.durable = self.written = render(self.up.state)
        super().crash()

    def perform(self, effect: Effect) -> None:
        if type(effect) is SaveConfig:
            return  # the file is written when somebody is to read it: see `crash`
        if type(effect) is not Send:
            super().perform(effect)
            return
        if effect.packet.kind == AUTH_ACK:
            self.world.saw_vote(self, effect.links[0], effect.packet.current_epoch)
        self.world.messages += len(effect.links)
        for link in effect.links:
            self.world.hand_over(self, link, effect.packet)


class Crowd(World):
    """A finished cluster of so many primaries, `p1` and so on, each with one replica, `r1` and so on."""

    def __init__(self, primaries: int, seed: int = 1, timeout_ms: int = 2000) -> None:
        self.messages = 0
        super().__init__(seed, timeout_ms, primaries=primaries)
        self.check_every = CHECK_EVERY
        self.by_ip = {host.ip: host for host in self.hosts.values()}

    def at_address(self, ip: str) -> Host | None:
        return self.by_ip.get(ip)

    def found(self, primaries: int, replicas: int) -> None:
        names = [f"p{n + 1}" for n in range(primaries)] + [f"r{n + 1}" for n in range(primaries)]
        self.ids = {f"{number:040x}": name for number, name in enumerate(names, 0xA000)}
        lines = [self.line(node_id, number, primaries) for number, node_id in enumerate(self.ids)]
        for number, name in enumerate(names):
            mine = lines[number].replace(" master ", " myself,master ").replace(" slave ", " myself,slave ")
            text = "\n".join((*lines[:number], mine, *lines[number + 1 :]))
            host = CrowdHost(self, name, number + 1, f"{text}\nvars currentEpoch {primaries} lastVoteEpoch 0\n")
            self.hosts[name] = host
            self.after(self.rng.randrange(50), host.start)

    def line(self, node_id: str, number: int, primaries: int) -> str:
        """One node's line of nodes.conf, as a third one writes it."""
        place = number % primaries
        address = f"10.0.{number + 1 >> 8}.{number + 1 & 255}:7000@17000,,tls-port=0,shard-id={place + 1:040x}"
        if number >= primaries:
            return f"{node_id} {address} slave {0xA000 + place:040x} 0 0 {place + 1} connected"
        slots = f"{16384 * place // primaries}-{16384 * (place + 1) // primaries - 1}"
        return f"{node_id} {address} master - 0 0 {place + 1} connected {slots}"

    def hand_over(self, host: Host, link: int, packet: Packet) -> None:
        """As `carry`, with the message itself."""
        wire = host.wires.get(link)
        if wire is None or not wire.alive:
            return
        side = wire.side(host, link)
        wire.free_ms[side] = max(wire.free_ms[side], self.now_ms + self.rng.randint(*self.delay_ms))
        self.at(wire.free_ms[side], lambda: self.arrive(wire, side, packet))

    def arrive(self, wire: Wire, side: int, packet: Packet) -> None:
        (sender, _), (receiver, link) = wire.ends if side == 0 else wire.ends[::-1]
        if wire.alive and receiver.machine is not None and link in receiver.wires:
            receiver.handle(PacketReceived(link, packet, sender.ip, receiver.ip))

    def named(self, text: str) -> str:
        return text  # as it is: looking for a thousand names in each line would take longer than all else

    def elected(self, names: list[str]) -> bool:
        """All that are up agree that `names` are primaries now, and serve all slots."""
        ids = {node_id for node_id, name in self.ids.items() if name in names}
        for host in self.hosts.values():
            if host.machine is None:
                continue
            nodes = host.machine.state.nodes
            if not host.machine.state.ok or not all(nodes[node_id].votes for node_id in ids):
                return False
        return True


@contextmanager
def without_collector() -> Iterator[None]:
    """A crowd is millions of objects and no garbage: to walk them again and again would cost more than all else."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
