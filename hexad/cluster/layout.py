"""A new cluster: who becomes a primary of which slots, who whose replica, and what to do next for that. Pure.

The layout follows from the list of nodes alone, and what to do next from all nodes as they are: so a `create` that was
cut short is run again with the same words, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from hexad.cluster.picture import ClusterError, Node
from hexad.reach import Address, show
from hexad.sight import SLOT_COUNT, Range, ranges_of, ranges_text, slots_in

PRIMARIES_MIN = 3
SWAP_ROUNDS_MAX = 20
"""Each round of swaps makes the placement better or is the last one."""


@dataclass(frozen=True)
class Layout:
    """Roles by address; the slots of primaries are equal shares in their order."""

    primaries: tuple[Address, ...]
    replicas: tuple[tuple[Address, Address], ...]
    """(replica, primary)."""

    @property
    def addresses(self) -> list[Address]:
        return [*self.primaries, *(replica for replica, _ in self.replicas)]

    def slots_of(self, primary: Address) -> Range:
        count, at = len(self.primaries), self.primaries.index(primary)
        first, end = ((2 * n * SLOT_COUNT + count) // (2 * count) for n in (at, at + 1))
        return first, end - 1

    @property
    def same_host(self) -> int:
        """How many replicas share their primary's host."""
        return sum(replica[0] == primary[0] for replica, primary in self.replicas)


def make_layout(addresses: Sequence[Address], replicas: int) -> Layout:
    """Spread primaries over hosts, and put replicas on other hosts than their primaries, as far as there are such.

    replicas -- of each primary; nodes that are left over become further replicas. Raises ClusterError.
    """
    if len(set(addresses)) < len(addresses):
        raise ClusterError("a node is named twice")
    if replicas < 0:
        raise ClusterError(f"--replicas {replicas}: cannot be negative")
    count = len(addresses) // (replicas + 1)
    if count < PRIMARIES_MIN:
        need = PRIMARIES_MIN * (replicas + 1)
        raise ClusterError(
            f"{len(addresses)} nodes with {replicas} replica(s) each make {count} primaries; a cluster needs "
            f"{PRIMARIES_MIN} to vote: name {need} nodes, or fewer --replicas"
        )
    hosts: dict[str, list[Address]] = {}
    for address in addresses:
        hosts.setdefault(address[0], []).append(address)
    spread = [address for row in zip_longest(*hosts.values()) for address in row if address is not None]
    primaries, others = spread[:count], spread[count:]
    pairs = [(replica, primaries[at % count]) for at, replica in enumerate(others)]
    return Layout(tuple(primaries), tuple(_swapped(pairs)))


def _swapped(pairs: list[tuple[Address, Address]]) -> list[tuple[Address, Address]]:
    """Exchange the primaries of two replicas as long as that puts more of them on other hosts."""

    def cost(at: int, primary: Address) -> int:
        replica = pairs[at][0]
        siblings = sum(one[0] == replica[0] and to == primary for n, (one, to) in enumerate(pairs) if n != at)
        return (len(pairs) + 1) * (replica[0] == primary[0]) + siblings

    for _ in range(SWAP_ROUNDS_MAX):
        swapped = False
        for one in range(len(pairs)):
            for two in range(one):
                (a, to_a), (b, to_b) = pairs[one], pairs[two]
                if a[0] == b[0] or to_a == to_b:
                    continue
                before = cost(one, to_a) + cost(two, to_b)
                pairs[one], pairs[two] = (a, to_b), (b, to_a)
                if cost(one, to_b) + cost(two, to_a) < before:
                    swapped = True
                else:
                    pairs[one], pairs[two] = (a, to_a), (b, to_b)
        if not swapped:
            break
    return pairs


# --- what to do next --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddSlots:
    """The node takes slots that nobody owns."""

    address: Address
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class SetEpoch:
    """A new node gets a configuration epoch that no other has."""

    address: Address
    epoch: int


@dataclass(frozen=True, slots=True)
class Introduce:
    """One node makes the acquaintance of another."""

    address: Address
    other: Address
    bus_port: int


@dataclass(frozen=True, slots=True)
class Follow:
    """A node becomes a replica."""

    address: Address
    primary_id: str
    primary: Address


@dataclass(frozen=True, slots=True)
class Wait:
    """The nodes are at it themselves."""

    why: str


Act: TypeAlias = AddSlots | SetEpoch | Introduce | Follow
Decision: TypeAlias = list[Act] | Wait


def decide(layout: Layout, nodes: Sequence[Node]) -> Decision:
    """What to do now, given every node of the layout as it is; an empty list at the end. Raises ClusterError."""
    check_new(layout, nodes)
    for rule in RULES:
        decision = rule(layout, nodes)
        if decision:
            return decision
    return []


def check_new(layout: Layout, nodes: Sequence[Node]) -> None:
    """Refuse what would mix two clusters, or lose data. Raises ClusterError."""
    ours = {node.id for node in nodes}
    for node in nodes:
        if not node.info.get("redis_mode", "cluster").startswith("cluster"):
            raise ClusterError(f"{node.name} is not in cluster mode: start it with cluster-enabled yes")
        strangers = [known for known in node.known if known.id not in ours and not known.is_arriving]
        if strangers:
            where = show((strangers[0].host, strangers[0].port))
            raise ClusterError(f"{node.name} is in a cluster with {where} already: CLUSTER RESET it, or leave it out")
        if len(node.known) == 1 and node.keys:
            raise ClusterError(f"{node.name} holds {node.keys} keys: empty it (FLUSHALL), or leave it out")
        planned = {slot for pair in _planned(layout, node) for slot in range(pair[0], pair[1] + 1)}
        if len(node.known) == 1 and not node.slots <= planned:
            wrong = ranges_text(ranges_of(node.slots - planned))
            raise ClusterError(f"{node.name} owns slots {wrong} already: CLUSTER RESET it, or leave it out")


def _planned(layout: Layout, node: Node) -> list[Range]:
    return [layout.slots_of(node.address)] if node.address in layout.primaries else []


def _assign(layout: Layout, nodes: Sequence[Node]) -> Decision:
    owned = {slot for node in nodes for known in node.known for slot in slots_in(known.ranges)}
    acts: list[Act] = []
    for node in nodes:
        missing = slots_in(_planned(layout, node)) - owned
        if missing and node.is_primary:
            acts.append(AddSlots(node.address, ranges_of(missing)))
    return acts


def _number(_layout: Layout, nodes: Sequence[Node]) -> Decision:
    used = {known.config_epoch for node in nodes for known in node.known}
    free = (epoch for epoch in range(1, len(used) + len(nodes) + 1) if epoch not in used)
    fresh = [node for node in nodes if len(node.known) == 1 and not node.me.config_epoch]
    return [SetEpoch(node.address, epoch) for node, epoch in zip(fresh, free, strict=False)]


def _introduce(_layout: Layout, nodes: Sequence[Node]) -> Decision:
    """The node that knows most meets those that it does not know, or that do not know it; gossip does the rest."""
    ids = {node.id for node in nodes}
    known = {node.id: {one.id for one in node.known if not one.is_arriving} for node in nodes}
    host = max(nodes, key=lambda node: len(known[node.id]))
    arriving = {(one.host, one.port) for one in host.known if one.is_arriving}
    acts: list[Act] = [
        Introduce(host.address, node.address, node.me.bus_port)
        for node in nodes
        if not (node.id in known[host.id] and host.id in known[node.id]) and node.address not in arriving
    ]
    if acts:
        return acts
    knowing = sum(ids <= seen for seen in known.values())
    return [] if knowing == len(nodes) else Wait(f"{knowing} of {len(nodes)} nodes know all others")


def _follow(layout: Layout, nodes: Sequence[Node]) -> Decision:
    by_address = {node.address: node for node in nodes}
    acts: list[Act] = []
    for replica, primary in layout.replicas:
        node, wanted = by_address[replica], by_address[primary]
        if node.is_primary and not node.slots and wanted.is_primary:
            acts.append(Follow(replica, wanted.id, primary))
    return acts


def _await_health(_layout: Layout, nodes: Sequence[Node]) -> Decision:
    serving = sum(node.state == "ok" for node in nodes)
    if serving < len(nodes):
        return Wait(f"cluster_state:ok on {serving} of {len(nodes)} nodes")
    synced, replicas = sum(not n.is_primary and n.is_synced for n in nodes), sum(not n.is_primary for n in nodes)
    if synced < replicas:
        return Wait(f"{synced} of {replicas} replicas have their primary's data")
    followers = {node.id: node.me.primary for node in nodes if not node.is_primary}
    for node in nodes:
        seen = {known.id: known.primary for known in node.known if known.is_replica}
        if seen != followers:
            return Wait("all nodes to know who follows whom")
        if len(node.owners) < SLOT_COUNT:
            return Wait("all nodes to know who owns which slots")
    return []


RULES: tuple[Callable[[Layout, Sequence[Node]], Decision], ...] = (_assign, _number, _introduce, _follow, _await_health)
