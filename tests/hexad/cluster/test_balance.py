"""Shares and moves: every slot once, nobody above its ceiling, no needless move, and runs that are cut short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexad.cluster import balance
from hexad.cluster.steps import MoveSlots

IDS = [f"node-{letter}" for letter in "abcdefg"]
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
WEIGHTS = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1), Fraction(1), Fraction(5, 2)])


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, set[int]]:
    """Some hundred slots over some primaries, in ranges of any length."""
    ids = IDS[: draw(st.integers(1, len(IDS)))]
    total = draw(st.integers(1, 300))
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=6, max_size=12)))
    owned: dict[str, set[int]] = {id: set() for id in ids}
    for first, last in zip([0, *cuts], [*cuts, total], strict=True):
        owned[draw(st.sampled_from(ids))] |= set(range(first, last))
    return owned


@st.composite
def weights(draw: st.DrawFn) -> dict[str, Fraction]:
    found = {id: draw(WEIGHTS) for id in IDS}
    found[IDS[0]] = Fraction(1)  # somebody must own the slots
    return found


def done(owned: Mapping[str, set[int]], moves: Iterable[MoveSlots]) -> dict[str, set[int]]:
    """The slots after these moves; each must be where the move takes it from."""
    after = {id: set(slots) for id, slots in owned.items()}
    for move in moves:
        assert set(move.slots) <= after[move.source] and len(set(move.slots)) == len(move.slots) <= balance.GROUP_SLOTS
        after[move.source] -= set(move.slots)
        after[move.target] |= set(move.slots)
    return after


def one_by_one(moves: Iterable[MoveSlots]) -> list[MoveSlots]:
    return [MoveSlots(move.source, move.target, (slot,)) for move in moves for slot in move.slots]


@RELAXED
@given(clusters(), weights())
def test_shares_are_floors_and_ceilings(owned: dict[str, set[int]], given_weights: dict[str, Fraction]) -> None:
    wanted = balance.shares(owned, given_weights)
    total, whole = sum(map(len, owned.values())), sum(given_weights[id] for id in owned)
    assert sum(wanted.values()) == total
    for id in owned:
        exact = total * given_weights[id] / whole
        assert int(exact) <= wanted[id] <= ceil(exact)


@RELAXED
@given(clusters(), weights())
def test_every_slot_once_and_the_fewest_moves(owned: dict[str, set[int]], given_weights: dict[str, Fraction]) -> None:
    wanted = balance.shares(owned, given_weights)
    moves = balance.by_slots(owned, wanted)
    after = done(owned, moves)
    assert {id: len(slots) for id, slots in after.items()} == wanted
    # Whoever has more than it may keep has to give at least that away: this is no more.
    total, whole = sum(map(len, owned.values())), sum(given_weights[id] for id in owned)
    exact = {id: total * given_weights[id] / whole for id in owned}
    odd = sum(wanted.values()) - sum(int(share) for share in exact.values())
    keep_odd = sorted((id for id in owned if exact[id] > int(exact[id])), key=lambda id: -(len(owned[id]) > exact[id]))
    fewest = {id: int(exact[id]) + (id in keep_odd[:odd]) for id in owned}
    assert sum(len(move.slots) for move in moves) == sum(max(0, len(owned[id]) - fewest[id]) for id in owned)


@RELAXED
@given(clusters(), weights(), st.data())
def test_a_run_that_was_cut_short_is_resumed(
    owned: dict[str, set[int]], given_weights: dict[str, Fraction], data: st.DataObject
) -> None:
    whole = one_by_one(balance.by_slots(owned, balance.shares(owned, given_weights)))
    cut = data.draw(st.integers(0, len(whole)))
    there = done(owned, whole[:cut])
    assert balance.shares(there, given_weights) == balance.shares(owned, given_weights)
    rest = one_by_one(balance.by_slots(there, balance.shares(there, given_weights)))
    assert cut + len(rest) == len(whole)
    assert {id: len(slots) for id, slots in done(there, rest).items()} == balance.shares(owned, given_weights)


@RELAXED
@given(clusters(), weights(), st.dictionaries(st.integers(0, 300), st.integers(1, 1000), max_size=80), st.data())
def test_costs_are_evened_out(
    owned: dict[str, set[int]], given_weights: dict[str, Fraction], costs: dict[int, float], data: st.DataObject
) -> None:
    def off(now: Mapping[str, Iterable[int]]) -> dict[str, float]:
        total = sum(costs.get(slot, 0) for slots in now.values() for slot in slots)
        whole = sum(given_weights[id] for id in now)
        return {
            id: sum(costs.get(slot, 0) for slot in slots) - float(total * given_weights[id] / whole)
            for id, slots in now.items()
        }

    moves = one_by_one(balance.by_cost(owned, costs, given_weights, 0))
    after = done(owned, moves)
    assert sum(map(len, after.values())) == sum(map(len, owned.values()))
    assert all(not after[id] for id in owned if not given_weights[id])
    if all(given_weights[id] for id in owned):  # nobody is worse off, on either side
        for id, now in off(after).items():
            before = off(owned)[id]
            assert min(before, 0) - 1e-6 <= now <= max(before, 0) + 1e-6
    cut = data.draw(st.integers(0, len(moves)))
    there = done(owned, moves[:cut])
    resumed = off(done(there, balance.by_cost(there, costs, given_weights, 0)))
    dearest = max([costs[slot] for slots in owned.values() for slot in slots if slot in costs], default=0)
    assert max(resumed.values()) <= max(max(off(after).values()), dearest) + 1e-6


@RELAXED
@given(clusters(), st.data())
def test_a_drain_gives_to_those_who_have_least(owned: dict[str, set[int]], data: st.DataObject) -> None:
    leaving = data.draw(st.sampled_from(sorted(owned)))
    if len(owned) == 1:
        with pytest.raises(ValueError, match="no other primary"):
            balance.drain(owned, leaving)
        return
    moves = balance.drain(owned, leaving)
    after = done(owned, moves)
    assert not after[leaving] and {move.source for move in moves} <= {leaving}
    gained = [id for id in owned if id != leaving and len(after[id]) > len(owned[id])]
    if gained:  # nobody who got something has more than one beyond anybody else
        assert max(len(after[id]) for id in gained) - min(len(after[id]) for id in owned if id != leaving) <= 1


@RELAXED
@given(clusters(), st.data())
def test_reshard(owned: dict[str, set[int]], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(sorted(owned)))
    sources = [id for id in sorted(owned) if id != target]
    total = sum(len(owned[id]) for id in sources)
    count = data.draw(st.integers(0, total))
    chosen = balance.choose(owned, sources, count)
    assert len(chosen) == len(set(chosen)) == count and not set(chosen) & owned[target]
    for id in sources:
        assert abs(len(set(chosen) & owned[id]) - (count * len(owned[id]) / total if total else 0)) < 1
    moves = balance.reshard(owned, target, chosen)
    after = done(owned, moves)
    assert set(chosen) <= after[target] and balance.reshard(after, target, chosen) == []
    with pytest.raises(ValueError, match="more than"):
        balance.choose(owned, sources, total + 1)


def test_thresholds() -> None:
    owned = {"a": range(105), "b": range(105, 200)}
    wanted = balance.shares(owned, {})
    assert wanted == {"a": 100, "b": 100}
    assert balance.is_balanced(owned, wanted, 5) and not balance.is_balanced(owned, wanted, 4.9)
    empty = balance.shares(owned, {"b": Fraction(0)})
    assert not balance.is_balanced(owned, empty, 100), "who should have nothing must have nothing"
    with pytest.raises(ValueError, match="weight 0"):
        balance.shares(owned, {"a": Fraction(0), "b": Fraction(0)})
