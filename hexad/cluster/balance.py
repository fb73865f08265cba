"""Who should own how much, and which slots go where for that. Pure.

Shares are whole slots: each primary gets the floor or the ceiling of its exact share, and those who have more than the
floor already keep the odd ones. So no slot moves without need, and a plan made anew after any part of the moves names
exactly the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from hexad.cluster.steps import MoveSlots

GROUP_SLOTS = 256
"""A step moves at most so many slots: between two steps the cluster's health is looked at."""

Owned = Mapping[str, Iterable[int]]
"""The slots of each primary, by id."""


def shares(owned: Owned, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """How many slots each should own: weights say in which proportion (1 where none is given)."""
    counts = {id: len(set(slots)) for id, slots in owned.items()}
    total = sum(counts.values())
    weight = {id: weights.get(id, Fraction(1)) for id in counts}
    whole = sum(weight.values())
    if not whole:
        raise ValueError("every primary has the weight 0: none is left to own the slots")
    exact = {id: total * weight[id] / whole for id in counts}
    floors = {id: int(exact[id]) for id in counts}
    odd = total - sum(floors.values())
    # Who has more than the floor now keeps one of them; a node at the end of its moves stands on the right side still.
    order = sorted((id for id in counts if exact[id] > floors[id]), key=lambda id: (counts[id] <= floors[id], id))
    return floors | {id: floors[id] + 1 for id in order[:odd]}


def is_balanced(owned: Owned, wanted: Mapping[str, int], threshold_percent: float) -> bool:
    """Tell whether nobody is further from its share than the threshold; who should have nothing must have nothing."""
    for id, slots in owned.items():
        count, share = len(set(slots)), wanted[id]
        if count != share and (not share or abs(count - share) * 100 > threshold_percent * share):
            return False
    return True


def by_slots(owned: Owned, wanted: Mapping[str, int]) -> list[MoveSlots]:
    """The fewest moves that give each the slots it should own."""
    surplus = {id: sorted(slots)[wanted[id] :] for id, slots in owned.items()}
    missing = {id: wanted[id] - len(set(slots)) for id, slots in owned.items()}
    moves = []
    targets = [id for id in sorted(missing) if missing[id] > 0]
    for source in sorted(surplus):
        left = surplus[source]
        while left:
            target = targets[0]
            taken, left = left[: missing[target]], left[missing[target] :]
            missing[target] -= len(taken)
            if not missing[target]:
                targets.pop(0)
            moves += grouped(source, target, taken)
    return moves


def by_cost(
    owned: Owned, costs: Mapping[int, float], weights: Mapping[str, Fraction], threshold_percent: float
) -> list[MoveSlots]:
    """Moves after which keys, memory or load lie where the weights want them, as near as whole slots allow.

    costs -- what each slot costs; slots that are not named cost nothing, and move only from who should have nothing.

    From who has most beyond its share to who lacks most goes the dearest slot that fits into both gaps; so nobody falls
    below, nor rises above its share by a move, and every move makes the whole more even.
    """
    weight = {id: weights.get(id, Fraction(1)) for id in owned}
    whole = sum(weight.values())
    if not whole:
        raise ValueError("every primary has the weight 0: none is left to own the slots")
    total = sum(costs.get(slot, 0.0) for slots in owned.values() for slot in slots)
    share = {id: float(total * float(weight[id] / whole)) for id in owned}
    excess = {id: sum(costs.get(slot, 0.0) for slot in slots) - share[id] for id, slots in owned.items()}
    dear = {id: sorted((s for s in slots if costs.get(s)), key=lambda s: (-costs[s], s)) for id, slots in owned.items()}
    found: dict[tuple[str, str], list[int]] = {}
    _drain(owned, costs, weight, excess, dear, found)
    while True:
        source = max(sorted(excess), key=lambda id: excess[id])
        target = min((id for id in sorted(excess) if weight[id]), key=lambda id: excess[id])
        if excess[source] * 100 <= threshold_percent * share[source] or source == target:
            break
        slot = next((s for s in dear[source] if costs[s] <= min(excess[source], -excess[target])), None)
        if slot is None:
            break
        dear[source].remove(slot)
        excess[source] -= costs[slot]
        excess[target] += costs[slot]
        found.setdefault((source, target), []).append(slot)
    return [move for (source, target), slots in found.items() for move in grouped(source, target, sorted(slots))]


def _drain(
    owned: Owned,
    costs: Mapping[int, float],
    weight: Mapping[str, Fraction],
    excess: dict[str, float],
    dear: dict[str, list[int]],
    found: dict[tuple[str, str], list[int]],
) -> None:
    """Who should have nothing gives away every slot, each to whoever lacks most."""
    counts = {id: len(set(slots)) for id, slots in owned.items()}
    for source in sorted(id for id in owned if not weight[id]):
        for slot in [*dear[source], *sorted(set(owned[source]) - set(dear[source]))]:
            target = min((id for id in sorted(owned) if weight[id]), key=lambda id: (excess[id], counts[id]))
            excess[source] -= costs.get(slot, 0.0)
            excess[target] += costs.get(slot, 0.0)
            counts[target] += 1
            found.setdefault((source, target), []).append(slot)
        dear[source] = []


def drain(owned: Owned, leaving: str) -> list[MoveSlots]:
    """All slots of one primary go to the others, to those who have fewest; nothing else moves."""
    counts = {id: len(set(slots)) for id, slots in owned.items() if id != leaving}
    if not counts:
        raise ValueError("no other primary is left to own the slots")
    gains = dict.fromkeys(counts, 0)
    slots = sorted(owned[leaving])
    for _ in slots:
        gains[min(gains, key=lambda id: (counts[id] + gains[id], id))] += 1
    moves: list[MoveSlots] = []
    for id in sorted(gains):
        taken, slots = slots[: gains[id]], slots[gains[id] :]
        moves += grouped(leaving, id, taken)
    return moves


def reshard(owned: Owned, target: str, slots: Iterable[int]) -> list[MoveSlots]:
    """These slots go to one primary; those that it has already stay."""
    wanted = set(slots)
    moves = []
    for source in sorted(owned):
        if source != target:
            moves += grouped(source, target, sorted(wanted & set(owned[source])))
    return moves


def choose(owned: Owned, sources: Sequence[str], count: int) -> list[int]:
    """So many slots of these primaries, from each in proportion to what it has. Raises ValueError."""
    have = {id: sorted(owned[id]) for id in sources}
    total = sum(map(len, have.values()))
    if count > total:
        raise ValueError(f"{count} slots are more than the {total} that the sources own")
    exact = {id: Fraction(count * len(slots), total) for id, slots in have.items()} if total else {}
    taken = {id: int(share) for id, share in exact.items()}
    for id in sorted(exact, key=lambda id: (taken[id] - exact[id], id))[: count - sum(taken.values())]:
        taken[id] += 1
    return sorted(slot for id, number in taken.items() for slot in have[id][:number])


def grouped(source: str, target: str, slots: Sequence[int]) -> list[MoveSlots]:
    """Moves of at most GROUP_SLOTS each."""
    starts = range(0, len(slots), GROUP_SLOTS)
    return [MoveSlots(source, target, tuple(slots[at : at + GROUP_SLOTS])) for at in starts]
