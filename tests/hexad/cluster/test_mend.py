"""Damage of every kind, mended on a model: one owner a slot, nothing open, no key lost, wherever a run is cut."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexad.cluster.findings import PROBLEM, findings
from hexad.cluster.mend import finish_moves, mend
from hexad.cluster.picture import ClusterError
from hexad.cluster.steps import CloseSlot, GatherKeys, MoveSlots, Step, TakeSlots
from hexad.sight import SLOT_COUNT
from tests.hexad.cluster.pictures import Model, apply, covered, node_id, picture

ROUNDS_MAX = 5
A, B, C = map(node_id, "abc")


def three() -> list[Model]:
    """Three primaries that own all slots, with keys in some of them."""
    thirds = [set(range(n * SLOT_COUNT // 3, (n + 1) * SLOT_COUNT // 3)) for n in range(3)]
    return [
        Model(name, slots, {slot: 2 for slot in slots if slot % 1000 == 7}, epoch=number)
        for number, (name, slots) in enumerate(zip("abc", thirds, strict=True), 1)
    ]


def by_id(models: Iterable[Model]) -> dict[str, Model]:
    return {model.id: model for model in models}


def mended(models: list[Model], cuts: Iterable[int] = ()) -> list[Step]:
    """Plan and do until there is nothing left; runs are cut short after so many steps. All steps that were done."""
    done: list[Step] = []
    for cut in [*cuts, *[1000] * ROUNDS_MAX]:
        steps = mend(picture(models))
        if not steps:
            break
        for step in steps[:cut]:
            apply(by_id(models), step)
            done.append(step)
    assert mend(picture(models)) == []
    return done


def sound(models: list[Model], keys: int) -> None:
    assert covered(models)
    assert not any(model.importing or model.migrating for model in models)
    assert all(slot in model.slots for model in models for slot, count in model.keys.items() if count)
    assert sum(sum(model.keys.values()) for model in models) == keys
    assert [found for found in findings(picture(models)) if found.severity == PROBLEM] == []


@st.composite
def damages(draw: st.DrawFn) -> list[Model]:
    """Slots without owner or with several, open on any side, and keys anywhere: up to a dozen of them."""
    models = three()
    for slot in draw(st.sets(st.sampled_from([7, 8, 1007, 6000, 6007, 12007, 12345, 16383]), max_size=8)):
        for model in models:
            kind = draw(st.integers(0, 7))
            if kind == 0:
                model.slots.discard(slot)
            elif kind == 1:
                model.slots.add(slot)
            elif kind in (2, 3):
                model.keys[slot] = draw(st.integers(1, 3))
            if draw(st.integers(0, 3)) == 0 and slot in model.slots:
                model.migrating[slot] = draw(st.sampled_from([one.id for one in models if one is not model] + ["gone"]))
            elif draw(st.integers(0, 3)) == 0 and slot not in model.slots:
                model.importing[slot] = draw(st.sampled_from([one.id for one in models if one is not model]))
    return models


@given(damages(), st.lists(st.integers(0, 3), max_size=4))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_is_mended(models: list[Model], cuts: list[int]) -> None:
    keys = sum(sum(model.keys.values()) for model in models)
    other = deepcopy(models)
    mended(models, cuts)
    sound(models, keys)
    mended(other)
    sound(other, keys)


def test_a_sound_cluster_needs_nothing() -> None:
    assert mend(picture(three())) == [] and finish_moves(picture(three())) == []


def test_a_move_that_was_cut_short_is_finished() -> None:
    models = three()
    a, b = models[:2]
    a.migrating[7], b.importing[7] = B, A
    assert mend(picture(models)) == [MoveSlots(A, B, (7,))] == finish_moves(picture(models))
    b.importing.clear()  # the target has died and come back, before it got anything: nothing has begun
    assert mend(picture(models)) == [CloseSlot(A, 7)]
    b.keys[7] = 1  # or after it had got a key
    assert mend(picture(models)) == [MoveSlots(A, B, (7,))]


def test_open_on_one_side_alone() -> None:
    models = three()
    models[1].importing[7] = A
    assert mend(picture(models)) == [CloseSlot(B, 7)]
    models[1].keys[7] = 1
    assert mend(picture(models)) == [GatherKeys(7, A, B)]
    models[2].importing[7] = A
    assert mend(picture(models)) == [GatherKeys(7, A, B), CloseSlot(C, 7)]


def test_a_target_that_is_gone() -> None:
    models = three()
    models[0].migrating[7] = "gone"
    assert mend(picture(models)) == [CloseSlot(A, 7)]


def test_the_source_was_not_told_of_the_end_of_a_move() -> None:
    models = three()
    models[0].slots.discard(7)
    models[0].keys.pop(7)
    models[1].slots.add(7)
    models[0].migrating[7] = B
    assert mend(picture(models)) == [CloseSlot(A, 7)]


def test_slots_that_nobody_owns_go_to_who_has_their_keys() -> None:
    models = three()
    for model in models:
        model.slots -= {7, 8}
    models[2].keys[7] = 5
    assert mend(picture(models)) == [
        TakeSlots(C, (7,)),
        TakeSlots(A, (8,)),
        GatherKeys(7, C, A),
    ]


def test_a_contested_slot_stays_with_most_of_its_keys() -> None:
    models = three()
    models[1].slots.add(7)
    assert mend(picture(models)) == [TakeSlots(A, (7,), (B,))]
    models[1].keys[7] = 3
    assert mend(picture(models)) == [TakeSlots(B, (7,), (A,)), GatherKeys(7, B, A)]


def test_slots_of_a_dead_primary_need_a_word() -> None:
    models = three()
    models[0].answers = False
    with pytest.raises(ClusterError, match="give-up-unreachable"):
        mend(picture(models))
    steps = mend(picture(models), give_up_unreachable=True)
    assert {slot for step in steps if isinstance(step, TakeSlots) for slot in step.slots} == models[0].slots
    shares = [len(step.slots) for step in steps if isinstance(step, TakeSlots)]
    assert max(shares) - min(shares) <= 1
    with pytest.raises(ClusterError, match="no primary answers"):
        mend(picture([Model("a", answers=False)]))
