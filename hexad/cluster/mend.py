"""How a damaged cluster is mended: steps for slots without one owner, open slots, and keys that lie astray. Pure.

The order matters. First every slot gets one owner: nothing can be served, nor moved, before. Then moves that were cut
short are finished, then open slots are closed, then keys come to the owners of their slots.

What a slot's owner is: the claimant with most of its keys, since that may be the only copy; then the one with the
latest configuration epoch, whom the others believe anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hexad.cluster.findings import command, strays
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.cluster.steps import CloseSlot, GatherKeys, MoveSlots, Step, TakeSlots


def mend(picture: Picture, *, give_up_unreachable: bool = False) -> list[Step]:
    """All steps, in order. Raises ClusterError where only a person can decide.

    give_up_unreachable -- slots of primaries that do not answer go to others; their data is lost.
    """
    plan = _Plan(picture)
    plan.own_all(give_up_unreachable)
    plan.mend_open()
    plan.gather()
    return [*plan.taken(), *plan.moves(), *plan.rest]


def finish_moves(picture: Picture) -> list[Step]:
    """The steps for open slots alone: what a run that moved slots has left, if it was cut short."""
    plan = _Plan(picture)
    plan.mend_open()
    return [*plan.moves(), *plan.rest]


@dataclass
class _Plan:
    picture: Picture
    owners: dict[int, str] = field(default_factory=dict)
    """Owners that differ from what the picture says."""
    takes: dict[tuple[str, tuple[str, ...]], list[int]] = field(default_factory=dict)
    finished: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    rest: list[Step] = field(default_factory=list)
    counted: set[tuple[int, str]] = field(default_factory=set)
    """(slot, node) whose keys a step takes care of already."""

    def taken(self) -> list[Step]:
        return [TakeSlots(node, tuple(sorted(slots)), losers) for (node, losers), slots in self.takes.items()]

    def moves(self) -> list[Step]:
        return [MoveSlots(*pair, tuple(sorted(slots))) for pair, slots in self.finished.items()]

    # --- owners ---------------------------------------------------------------------------------------------------

    def own_all(self, give_up_unreachable: bool) -> None:
        picture = self.picture
        if not picture.primaries:
            raise ClusterError("no primary answers: start the nodes, then run hexad cluster check")
        if not give_up_unreachable:
            self._refuse_unreachable()
        for slot, claimants in sorted(picture.contested.items()):
            self._take(slot, _best(slot, claimants), claimants)
        lost = set(picture.uncovered)
        if give_up_unreachable:
            lost |= {slot for node in picture.nodes if node.is_primary and not node.answers for slot in node.slots}
        held = {slot: [node for node in picture.primaries if slot in node.keys_in] for slot in lost}
        for slot in sorted(slot for slot in lost if held[slot]):
            self._take(slot, _best(slot, held[slot]), [])
        self._spread(sorted(slot for slot in lost if not held[slot]))

    def _spread(self, slots: list[int]) -> None:
        """Slots without keys go to the primaries that own slots, in as few ranges as an even share allows."""
        takers = [node for node in self.picture.primaries if node.slots] or self.picture.primaries
        counts = {node.id: len(node.slots) for node in takers}
        gains = dict.fromkeys(counts, 0)
        for _ in slots:
            gains[min(gains, key=lambda id: (counts[id] + gains[id], id))] += 1
        at = 0
        for id, gain in sorted(gains.items()):
            for slot in slots[at : at + gain]:
                self._take(slot, self.picture.by_id[id], [])
            at += gain

    def _refuse_unreachable(self) -> None:
        lost = [node for node in self.picture.nodes if node.is_primary and node.slots and not node.answers]
        if lost:
            names = ", ".join(node.name for node in lost)
            raise ClusterError(
                f"{names}: primaries that own slots and do not answer. Start them again, let a replica take over "
                f"({command(self.picture, 'failover', 'REPLICA', '--force')}), or give their data up "
                "(--give-up-unreachable)"
            )

    def _take(self, slot: int, owner: Node, claimants: Iterable[Node]) -> None:
        losers = tuple(node.id for node in claimants if node.id != owner.id and node.answers)
        self.owners[slot] = owner.id
        self.takes.setdefault((owner.id, losers), []).append(slot)

    def _owner(self, slot: int) -> Node | None:
        id = self.owners.get(slot)
        if id is not None:
            return self.picture.by_id[id]
        claimants = self.picture.claims.get(slot, [])
        return claimants[0] if len(claimants) == 1 else None

    # --- open slots -----------------------------------------------------------------------------------------------

    def mend_open(self) -> None:
        for slot in sorted({slot for slot, _ in self.picture.open_slots()}):
            owner = self._owner(slot)
            if owner is None or not owner.answers:
                continue  # nobody to settle it with: told as another finding
            self._mend_slot(slot, owner)

    def _mend_slot(self, slot: int, owner: Node) -> None:
        importing = {node.id: node for node in self.picture.primaries if slot in dict(node.me.importing)}
        target = self.picture.by_id.get(dict(owner.me.migrating).get(slot, ""))
        if target is not None and not (target.answers and target.is_primary):
            target = None
        if target is not None and (target.id in importing or slot in target.keys_in):
            # Begun on both sides. The owner serves a key that it still has, so its copy is the right one.
            self.finished.setdefault((owner.id, target.id), []).append(slot)
            self.counted.add((slot, target.id))
            importing.pop(target.id, None)
            settled = target
        else:
            settled = owner
            if slot in dict(owner.me.migrating) or owner.id in importing:
                self.rest.append(CloseSlot(owner.id, slot))
        stale = {node.id: node for node in self.picture.primaries if slot in dict(node.me.migrating) and node != owner}
        for node in (importing | stale).values():
            if node.id in (owner.id, settled.id):
                continue
            self.counted.add((slot, node.id))
            if slot in node.keys_in:
                self.rest.append(GatherKeys(slot, settled.id, node.id))
            else:
                self.rest.append(CloseSlot(node.id, slot))

    # --- keys -----------------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Keys of nodes that own not their slot: where nobody owned it, others than the new owner may hold some."""
        found = list(strays(self.picture))
        for slot in self.owners:
            found += [(slot, node) for node in self.picture.primaries if slot in node.keys_in]
        for slot, node in dict.fromkeys((slot, node.id) for slot, node in found):
            owner = self._owner(slot)
            if owner is None or owner.id == node or not owner.answers or (slot, node) in self.counted:
                continue
            self.counted.add((slot, node))
            self.rest.append(GatherKeys(slot, owner.id, node))


def _best(slot: int, claimants: Iterable[Node]) -> Node:
    return max(claimants, key=lambda node: (node.answers, node.keys_in.get(slot, 0), node.me.config_epoch, node.id))
