"""Readings of big containers that go on changing: what comes is what was there when they began, each once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.datatypes.hashes import Hash, HashReading
from node.datatypes.roster import DEAD_MIN, Roster
from node.datatypes.sets import Set, SetReading
from node.datatypes.sortedsets import SMALL_MAX, SortedSet, SortedSetReading

STEPS = st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "remove", "remove", "take", "pop"]), st.integers()))


def names(luck: random.Random, count: int) -> list[bytes]:
    return [b"name:%d" % luck.randrange(2 * count) for _ in range(count)]


def with_roster(container: Any, luck: random.Random) -> Any:
    """As a big one, with names that are gone already, and perhaps half closed up."""
    members = list(container)
    container._roster = Roster(members)
    for name in luck.sample(members, luck.choice([0, min(3, len(members)), len(members) // 2])):
        container.remove(name)
    return container


@given(seed=st.integers(0, 10_000), steps=STEPS)
@settings(max_examples=150)
def test_a_set_is_read_as_it_was(seed: int, steps: list[tuple[str, int]]) -> None:
    luck = random.Random(seed)
    container = with_roster(Set(names(luck, luck.choice([5, 2 * DEAD_MIN, 10 * DEAD_MIN]))), luck)
    expected, reading, taken = sorted(container), SetReading(container), []
    for what, number in steps:
        name = b"name:%d" % (number % 200)
        if what == "take":
            taken += reading.take(1 + number % 40)
            continue
        reading.hold()
        if what == "add":
            container.add(name)
        elif what == "remove":
            for other in [name, *list(container)[: number % 40]]:
                container.remove(other)
        elif len(container):
            container.pop(luck)
    while more := reading.take(7):
        taken += more
    assert sorted(taken) == expected
    reading.close()
    container.check()
    assert container._roster._views == ()


@given(seed=st.integers(0, 10_000), steps=STEPS)
@settings(max_examples=150)
def test_a_hash_is_read_as_it_was(seed: int, steps: list[tuple[str, int]]) -> None:
    luck = random.Random(seed)
    container = with_roster(Hash(dict.fromkeys(names(luck, luck.choice([5, 10 * DEAD_MIN])), b"old")), luck)
    for name in list(container)[::3]:
        container.set_deadline(name, 1000)
    expected = sorted((name, b"old", container.deadline(name)) for name in container)
    reading, taken = HashReading(container), []
    for what, number in steps:
        name = b"name:%d" % (number % 200)
        if what == "take":
            taken += reading.take(1 + number % 40)
            continue
        reading.hold()
        if what == "add":
            container.set(name, b"new")
        else:
            for other in [name, *list(container)[: number % 40]]:
                container.remove(other)
    while more := reading.take(7):
        taken += more
    assert sorted(taken) == expected
    reading.close()
    container.check()


@given(seed=st.integers(0, 10_000), steps=STEPS)
@settings(max_examples=150)
def test_a_sorted_set_is_read_as_it_was(seed: int, steps: list[tuple[str, int]]) -> None:
    luck = random.Random(seed)
    members = set(names(luck, luck.choice([5, 4 * SMALL_MAX])))
    container = SortedSet.of([(member, float(luck.randrange(50))) for member in members], packed=False)
    expected, reading, taken = sorted(container), SortedSetReading(container), []
    for what, number in steps:
        member = b"name:%d" % (number % 200)
        if what == "take":
            taken += reading.take(1 + number % 40)
            continue
        reading.hold()
        if what == "add":
            container.put(member, float(number % 50))
        elif what == "remove":
            container.remove(member)
            container.remove_ranks(number % 5, number % 11)
        elif len(container):
            container.pop(bool(number % 2))
    while more := reading.take(7):
        taken += more
    assert sorted(taken) == expected
    reading.close()
    container.check()
    assert container._readers is None


@pytest.mark.parametrize("kind", ["set", "hash", "sorted set"])
def test_nothing_of_a_big_container_is_copied_when_it_changes(kind: str) -> None:
    """What is noted at its first change does not grow with its size: a million names would hold the loop too long."""
    count = 20_000
    many = [b"name:%d" % number for number in range(count)]
    if kind == "set":
        members = Set(many)
        in_set = SetReading(members)
        in_set.hold()
        members.remove(many[3])
        noted: list[Any] = [in_set._members._kept, in_set._members._left]  # type: ignore[union-attr]
    elif kind == "hash":
        fields = Hash(dict.fromkeys(many, b"1"))
        in_hash = HashReading(fields)
        in_hash.hold()
        fields.set(many[3], b"2")
        noted = [in_hash._old, in_hash._fields._kept]  # type: ignore[union-attr]
    else:
        scores = SortedSet.of([(member, 1.0) for member in many], packed=False)
        in_scores = SortedSetReading(scores)
        in_scores.hold()
        scores.put(many[3], 2.0)
        noted = [in_scores._lost, in_scores._came]
    assert sum(map(len, noted)) <= 2
