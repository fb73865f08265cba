"""Hashes, sets and rosters against plain models; every operation keeps their invariants."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.config.config import Config
from node.datatypes import roster
from node.datatypes.hashes import Hash
from node.datatypes.sets import HASHTABLE, INTSET, LISTPACK, Set, difference, intersection, union

names = st.integers(0, 40).map(lambda n: b"%d" % n)
BIG = 2 * roster.SMALL_MAX


class SetMachine(RuleBasedStateMachine):
    """A set that is big from the start, so that it has a roster, beside a Python set."""

    def __init__(self) -> None:
        super().__init__()
        self.random = Random(1)
        self.model = {b"%d" % n for n in range(-BIG, 0)}
        self.ours = Set(self.model)
        self.ours.scan(0, 1)

    @rule(name=names)
    def add(self, name: bytes) -> None:
        assert self.ours.add(name) == (name not in self.model)
        self.model.add(name)

    @rule(name=names)
    def remove(self, name: bytes) -> None:
        assert self.ours.remove(name) == (name in self.model)
        self.model.discard(name)

    @rule()
    def pop(self) -> None:
        if not self.model:
            return
        name = self.ours.pop(self.random)
        self.model.remove(name)

    @rule(count=st.integers(1, 300))
    def remove_many(self, count: int) -> None:
        for name in sorted(self.model)[:count]:
            assert self.ours.remove(name)
            self.model.remove(name)
        if not self.model:
            self.add(b"0")

    @rule(count=st.integers(0, 50))
    def draw(self, count: int) -> None:
        if self.model:
            assert self.ours.draw(self.random) in self.model
            found = self.ours.sample(count, self.random)
            assert len(found) == len(set(found)) == min(count, len(self.model)) and set(found) <= self.model
            assert set(self.ours.draw_with_repeats(count, self.random)) <= self.model

    @rule()
    def copy(self) -> None:
        kept = self.ours
        self.ours = self.ours.copy()
        kept.shed(7)

    @invariant()
    def same(self) -> None:
        self.ours.check()
        assert set(self.ours) == self.model
        assert len(self.ours) == len(self.model)


TestSetMachine = SetMachine.TestCase
TestSetMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


class HashMachine(RuleBasedStateMachine):
    """A hash with a roster and deadlines, beside dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.random = Random(1)
        self.model = {b"%d" % n: b"v" for n in range(-BIG, 0)}
        self.deadlines: dict[bytes, int] = {}
        self.ours = Hash(self.model)
        self.ours.scan(0, 1)

    @rule(name=names, value=names)
    def set(self, name: bytes, value: bytes) -> None:
        assert self.ours.set(name, value) == (name not in self.model)
        self.model[name] = value
        self.deadlines.pop(name, None)

    @rule(name=names)
    def remove(self, name: bytes) -> None:
        assert self.ours.remove(name) == self.model.pop(name, None)
        self.deadlines.pop(name, None)

    @rule(name=names, when=st.integers(1, 20))
    def set_deadline(self, name: bytes, when: int) -> None:
        if name in self.model:
            self.ours.set_deadline(name, when)
            self.deadlines[name] = when

    @rule(name=names)
    def persist(self, name: bytes) -> None:
        assert self.ours.persist(name) == (self.deadlines.pop(name, None) is not None)

    @rule(now=st.integers(0, 21))
    def look(self, now: int) -> None:
        alive = {name: value for name, value in self.model.items() if self.deadlines.get(name, 99) > now}
        view = self.ours.alive(now)
        assert dict(view.items()) == alive
        assert list(view.values()) == list(alive.values())
        assert list(view) == list(alive)
        assert len(view) == len(alive)
        over = self.ours.expired(now, 1000)
        assert set(over) == self.model.keys() - alive.keys()
        assert self.ours.expired(now, 2) == over[:2]
        for name in over[:1]:
            assert name not in view and view.get(name) is None and name in self.ours
        if alive:
            assert view.draw(self.random) in alive
            assert set(view.sample(5, self.random)) <= alive.keys()
            assert set(view.draw_with_repeats(5, self.random)) <= alive.keys()
        fields: set[bytes] = set()
        cursor = -1
        while cursor:
            cursor, found = view.scan(max(cursor, 0), 100)
            fields.update(found)
        assert fields == alive.keys()

    @rule()
    def copy(self) -> None:
        kept = self.ours
        self.ours = self.ours.copy()
        kept.shed(7)

    @invariant()
    def same(self) -> None:
        self.ours.check()
        assert dict(self.ours.items()) == self.model
        assert dict(self.ours.deadlines()) == self.deadlines
        assert self.ours.soonest_ms == min(self.deadlines.values(), default=1 << 62)


TestHashMachine = HashMachine.TestCase
TestHashMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_walk_meets_whatever_was_there_throughout(data: st.DataObject) -> None:
    random = Random(data.draw(st.integers(0, 1 << 30)))
    one = Set(b"%d" % n for n in range(BIG))
    throughout = set(one)
    met: set[bytes] = set()
    cursor, found = one.scan(0, 20)
    met.update(found)
    while cursor:
        for _ in range(random.randrange(60)):
            if random.random() < 0.7 and len(one) > 1:
                gone = one.pop(random) if random.random() < 0.5 else one.draw(random)
                one.remove(gone)
                throughout.discard(gone)
            else:
                one.add(b"new%d" % random.randrange(1000))
        cursor, found = one.scan(cursor, 20)
        met.update(found)
    assert throughout <= met
    one.check()


def test_each_member_is_drawn_as_often_as_any_other() -> None:
    """Also after removals, which leave holes, and after members came back."""
    random = Random(5)
    for size in (10, BIG):
        one = Set(b"%d" % n for n in range(size))
        one.draw(random)
        for n in range(0, size, 3):
            one.remove(b"%d" % n)
        for n in range(0, size, 6):
            one.add(b"%d" % n)
        draws = 60 * len(one)
        counts: dict[bytes, int] = {}
        for name in one.draw_with_repeats(draws, random):
            counts[name] = counts.get(name, 0) + 1
        for _ in range(draws):
            name = one.draw(random)
            counts[name] = counts.get(name, 0) + 1
        assert counts.keys() == set(one)
        assert min(counts.values()) > 60 and max(counts.values()) < 190  # 120 expected, deviation 11


def test_costs_do_not_grow() -> None:
    """Draws, pops and steps of a walk look at a few places, however many members there are."""

    class Counting(list[bytes]):
        looks = 0

        def __getitem__(self, place: object) -> object:  # type: ignore[override]
            Counting.looks += 1
            return super().__getitem__(place)  # type: ignore[index]

    one = roster.Roster(b"%d" % n for n in range(100_000))
    one.names = Counting(one.names)  # type: ignore[arg-type]
    random = Random(3)
    for _ in range(100):
        one.draw(random)
        one.take(random)
    _, below = one.walk(0, 10)
    assert one.walk(below, 10)[1] == below - 10
    assert Counting.looks <= 400
    size = len(one)
    for name in list(one.names)[:-5]:  # all but a few go: the list is closed up on the way, a little at a time
        Counting.looks = 0
        one.remove(name)  # type: ignore[arg-type]
        size -= 1
        assert Counting.looks <= roster.CLOSING_STEP and len(one) == size
        assert len(one.names) <= 4 * size + roster.DEAD_MIN + 4 * roster.CLOSING_STEP
    one.check({name for name in one.names if name is not None and name not in one.gone})


def test_a_very_big_container_has_its_roster_before_anybody_asks() -> None:
    """Made when it is due, and not by the first SSCAN or HSCAN of a million."""
    members = [b"%d" % n for n in range(roster.KEPT_MIN + 5)]
    grown, made = Set(), Set(members)
    fields = Hash()
    for member in members:
        grown.add(member)
        fields.set(member, b"")
    for one in (grown, made, fields, Hash(dict.fromkeys(members, b"")), made.copy(), fields.copy()):
        assert one._roster is not None
        one.check()


sets = st.lists(st.sets(names, max_size=10), min_size=1, max_size=4)


@given(sets, st.integers(1, 5))
def test_algebra(found: list[set[bytes]], limit: int) -> None:
    ours = [Set(one) if one else None for one in found]
    assert intersection(ours) == set.intersection(*found)
    assert union(ours) == set.union(*found)
    assert difference(ours) == found[0].difference(*found[1:])
    some = intersection(ours, limit)
    assert len(some) == min(limit, len(set.intersection(*found))) and some <= set.intersection(*found)


def test_forms_never_go_back() -> None:
    config = Config()
    one = Set([b"1"])
    assert one.encoding(config) == INTSET
    one.add(b"x")
    one.settle([b"x"], config)
    assert one.encoding(config) == LISTPACK
    one.remove(b"x")
    assert one.encoding(config) == LISTPACK
    one.add(b"y" * 65)
    one.settle([b"y" * 65], config)
    one.remove(b"y" * 65)
    assert one.encoding(config) == HASHTABLE
    many = Set(b"%d" % n for n in range(513))
    assert many.encoding(config) == HASHTABLE
    hash_ = Hash({b"a": b"b"})
    assert hash_.encoding(config) == b"listpack"
    hash_.set_deadline(b"a", 5)
    assert hash_.encoding(config) == b"listpackex"
    hash_.set(b"a", b"c" * 65)
    hash_.settle([b"a", b"c" * 65], config)
    hash_.set(b"a", b"c")
    assert hash_.encoding(config) == b"hashtable"


def test_shedding_ends() -> None:
    one = Set(b"%d" % n for n in range(BIG))
    one.scan(0, 1)
    two = Hash({b"%d" % n: b"" for n in range(BIG)})
    two.scan(0, 1)
    two.set_deadline(b"5", 7)
    for container in (one, two):
        while len(container):
            before = len(container)
            container.shed(100)
            assert len(container) == max(0, before - 100)
