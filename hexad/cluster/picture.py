"""A cluster as its nodes say it is: `Picture`, a value from which everything is decided. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from hexad.reach import Address, show
from hexad.sight import SLOT_COUNT, Known, key_count, slots_in


class ClusterError(Exception):
    """What was asked for cannot be done; the text says why and what to do next."""


@dataclass(frozen=True)
class Node:
    """One node: where it is reached, and what it said of itself, if it answered."""

    address: Address
    known: tuple[Known, ...]
    """The cluster in its eyes; for a node that did not answer only itself, in the eyes of another one."""
    info: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    """cluster_state: "ok" or "fail"; empty if it did not answer."""
    failure: str = ""
    """Why it did not answer; empty if it did."""
    keys_in: Mapping[int, int] = field(default_factory=dict)
    """Keys by slot, where they were counted; slots without keys are left out."""

    @property
    def answers(self) -> bool:
        return not self.failure

    @cached_property
    def me(self) -> Known:
        return next(node for node in self.known if "myself" in node.flags)

    @property
    def id(self) -> str:
        return self.me.id

    @property
    def name(self) -> str:
        return show(self.address)

    @property
    def is_primary(self) -> bool:
        return "master" in self.me.flags

    @cached_property
    def slots(self) -> frozenset[int]:
        """The slots that it says are its own."""
        return frozenset(slots_in(self.me.ranges))

    @cached_property
    def owners(self) -> dict[int, str]:
        """Who owns each slot, in its eyes: slot -> id."""
        return {slot: node.id for node in self.known for slot in slots_in(node.ranges)}

    @property
    def keys(self) -> int:
        return key_count(dict(self.info))

    def number(self, field_name: str) -> int:
        """A field of its INFO that is a number; 0 if it is not there."""
        text = self.info.get(field_name, "").partition(".")[0]
        return int(text) if text.lstrip("-").isdigit() else 0

    @property
    def offset(self) -> int:
        """How much of the journal it has, in bytes."""
        return self.number("slave_repl_offset") if not self.is_primary else self.number("master_repl_offset")

    @property
    def is_synced(self) -> bool:
        """A replica that has its primary's data and a link to it; a primary always."""
        return self.is_primary or self.info.get("master_link_status") == "up"


@dataclass(frozen=True)
class Picture:
    """All nodes that any of them knows, in the order of their addresses."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def answering(self) -> list[Node]:
        return [node for node in self.nodes if node.answers]

    @cached_property
    def primaries(self) -> list[Node]:
        """Primaries that answer, with or without slots."""
        return [node for node in self.answering if node.is_primary]

    def replicas_of(self, id: str) -> list[Node]:
        return [node for node in self.nodes if node.me.primary == id and not node.is_primary]

    @cached_property
    def claims(self) -> dict[int, list[Node]]:
        """Who says "mine" of each slot; a primary that does not answer is spoken for by the others."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            if node.is_primary:
                alone = [node]  # one list for all slots that nobody else claims: mostly for all there are
                for slot in found.keys() & node.slots:
                    found[slot] = [*found[slot], node]
                found |= dict.fromkeys(node.slots - found.keys(), alone)
        return found

    @cached_property
    def uncovered(self) -> set[int]:
        return set(range(SLOT_COUNT)) - self.claims.keys()

    @cached_property
    def contested(self) -> dict[int, list[Node]]:
        if sum(len(node.slots) for node in self.nodes if node.is_primary) == len(self.claims):
            return {}
        return {slot: nodes for slot, nodes in self.claims.items() if len(nodes) > 1}

    def open_slots(self) -> Iterator[tuple[int, Node]]:
        """(slot, node) for each slot that a primary says is on its way."""
        for node in self.primaries:
            for slot, _ in (*node.me.migrating, *node.me.importing):
                yield slot, node

    def name_of(self, id: str) -> str:
        node = self.by_id.get(id)
        return node.name if node is not None else f"the unknown node {id[:8]}"

    def find(self, word: str) -> Node:
        """The node that a person names: HOST:PORT, its id or an unmistakable beginning of that. Raises ClusterError."""
        found = [node for node in self.nodes if word == node.name or node.id == word]
        found = found or [node for node in self.nodes if len(word) >= 4 and node.id.startswith(word)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(node.name for node in self.nodes)
        reason = "could be several nodes" if found else "is no node of this cluster"
        raise ClusterError(f"{word!r} {reason}; name one by its address ({names}) or its id")
