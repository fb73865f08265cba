"""The snapshot beside a deep copy made at its start, under every kind of change between its batches."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.datatypes.hashes import Hash
from node.datatypes.reading import LONG_ELEMENTS
from node.keyspace import database
from node.keyspace.database import ORDERED_KEYS_MIN, Database
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.snapshot import Snapshot
from node.slots import slot_of

State = dict[int, dict[bytes, tuple[bytes, int | None]]]

KEYS = [b"a", b"b", b"c", *(b"{t}%d" % number for number in range(40))]
TAG_SLOT = slot_of(b"{t}")


class Counted(bytearray):
    """Bytes that count how often they were copied."""

    copies = 0

    def copy(self) -> bytearray:
        self.copies += 1
        return bytearray(self)

    def reading(self) -> None:
        """They are not long."""


def new_keyspace(databases: int = 2) -> Keyspace:
    return Keyspace(databases, Journal())


def content(keyspace: Keyspace, slots: set[int] | None = None) -> State:
    """A deep copy of all keys (of some slots)."""
    return {
        db.index: {
            key: (bytes(value), slot.deadlines.get(key))
            for number, slot in enumerate(db.slots)
            if slot and (slots is None or number in slots)
            for key, value in slot.values.items()
        }
        for db in keyspace.databases
    }


class Reading:
    """A snapshot, what it has given so far, and what it must give in the end."""

    def __init__(self, keyspace: Keyspace, slots: set[int] | None = None) -> None:
        self.expected = content(keyspace, slots)
        self.snapshot = Snapshot(keyspace, slots)
        self.seen: State = {index: {} for index in self.expected}

    def read(self, limit: int) -> bool:
        """Take one batch, as the wire would: at once. False at the end."""
        found = self.snapshot.next_batch(limit)
        if found is None:
            return False
        part, batch = found
        for key, value, deadline in batch:
            assert key not in self.seen[part.index], f"{key!r} came twice"
            self.seen[part.index][key] = (bytes(value), deadline)
        return True

    def finish(self, limit: int = 7) -> None:
        while self.read(limit):
            pass
        assert self.seen == self.expected
        assert self.snapshot.processed == self.snapshot.total == sum(map(len, self.expected.values()))


def append(db: Database, key: bytes, data: bytes) -> None:
    """As APPEND does."""
    value = db.open(key)
    if value is None:
        db.set(key, data)
    elif type(value) is bytearray:
        value += data
    else:
        db.replace(key, bytearray(value) + data)


class Changes(RuleBasedStateMachine):
    """Readings begin at any time and go on at any pace between changes of all kinds.

    Slots count as big from 8 keys on, so that small examples meet every turn: a slot that grows, shrinks and grows
    while it is being read.
    """

    @initialize(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(database, "ORDERED_KEYS_MIN", 8)
        self.keyspace = new_keyspace()
        self.readings: list[Reading] = []
        for key in data.draw(st.lists(st.sampled_from(KEYS), unique=True)):
            self.keyspace.databases[0].set(key, b"first")
        self.begin(None)

    def teardown(self) -> None:
        for reading in self.readings:
            reading.finish()
        for db in self.keyspace.databases:
            db.check()
            assert not db.preservers
        self.patch.undo()

    database_numbers = st.sampled_from([0, 0, 0, 1])
    key = st.sampled_from(KEYS)

    @rule(slots=st.one_of(st.none(), st.just({TAG_SLOT}), st.just({slot_of(b"a"), 7})))
    def begin(self, slots: set[int] | None) -> None:
        if len(self.readings) < 4:
            self.readings.append(Reading(self.keyspace, slots))

    @rule(which=st.integers(0, 3), limit=st.integers(1, 12))
    def read(self, which: int, limit: int) -> None:
        if which < len(self.readings):
            self.readings[which].read(limit)

    @rule(which=st.integers(0, 3))
    def close(self, which: int) -> None:
        if which < len(self.readings):
            self.readings.pop(which).snapshot.close()

    @rule(db=database_numbers, key=key, value=st.sampled_from([b"x", b"y"]))
    def set(self, db: int, key: bytes, value: bytes) -> None:
        self.keyspace.databases[db].set(key, value)

    @rule(db=database_numbers, keys=st.lists(key, max_size=20))
    def set_many(self, db: int, keys: list[bytes]) -> None:
        for key in keys:
            self.keyspace.databases[db].set(key, b"many")

    @rule(db=database_numbers, key=key)
    def append(self, db: int, key: bytes) -> None:
        append(self.keyspace.databases[db], key, b"+")

    @rule(db=database_numbers, key=key)
    def remove(self, db: int, key: bytes) -> None:
        self.keyspace.databases[db].remove(key)

    @rule(db=database_numbers, keys=st.lists(key, max_size=20))
    def remove_many(self, db: int, keys: list[bytes]) -> None:
        for key in keys:
            self.keyspace.databases[db].remove(key)

    @rule(db=database_numbers, key=key, deadline=st.integers(1, 5))
    def expire_at(self, db: int, key: bytes, deadline: int) -> None:
        if self.keyspace.databases[db].peek(key) is not None:
            self.keyspace.databases[db].set_deadline(key, deadline)

    @rule(db=database_numbers, key=key)
    def persist(self, db: int, key: bytes) -> None:
        self.keyspace.databases[db].persist(key)

    @rule(now_ms=st.integers(0, 6), db=database_numbers, key=key)
    def time_passes(self, now_ms: int, db: int, key: bytes) -> None:
        self.keyspace.now_ms = now_ms
        self.keyspace.databases[db].read(key)

    @rule(db=database_numbers)
    def flush(self, db: int) -> None:
        self.keyspace.databases[db].flush()

    @rule()
    def swap(self) -> None:
        self.keyspace.swap(0, 1)

    @rule(db=database_numbers)
    def drop_slot(self, db: int) -> None:
        self.keyspace.databases[db].drop_slot(TAG_SLOT)

    @invariant()
    def nothing_comes_twice(self) -> None:
        for reading in getattr(self, "readings", ()):
            for index, keys in reading.seen.items():
                assert keys.items() <= reading.expected[index].items()


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(4))
def test_one_slot_that_grows_and_shrinks_while_it_is_read(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ORDERED_KEYS_MIN", 8)
    if seed % 2:  # as if every value were so long that it has to be read alone
        monkeypatch.setattr("node.keyspace.snapshot.UNCUT_COST", 0)
    luck = random.Random(seed)
    keys = [b"{t}%d" % number for number in range(16)]
    for _ in range(100):
        keyspace = new_keyspace(1)
        db = keyspace.databases[0]
        for key in keys:
            db.set(key, b"first")
        reading = Reading(keyspace)
        growing = False
        for _ in range(40):
            if luck.random() < 0.1:
                growing = not growing
            key = luck.choice(keys)
            if luck.random() < 0.15:
                reading.read(luck.randint(1, 4))
            elif luck.random() < 0.2:
                append(db, key, b"+")
            elif growing:
                db.set(key, b"again")
            else:
                db.remove(key)
        reading.finish(3)
        db.check()


def test_a_big_slot_is_read_in_slices_whatever_happens_to_it() -> None:
    keyspace = new_keyspace(1)
    db = keyspace.databases[0]
    count = 4 * ORDERED_KEYS_MIN
    for number in range(count):
        db.set(b"{t}%d" % number, b"%d" % number)
    reading = Reading(keyspace)
    step = 0
    while reading.read(10):
        step += 1
        db.remove(b"{t}%d" % (step * 7))
        db.remove(b"{t}%d" % (count - step * 11))
        db.set(b"{t}new%d" % step, b"")
        db.set(b"{t}%d" % (step * 5), b"changed")
    assert step > count // 10
    assert reading.seen == reading.expected


def test_a_batch_is_bounded_where_all_of_a_big_slot_was_changed() -> None:
    keyspace = new_keyspace(1)
    db = keyspace.databases[0]
    for number in range(5000):
        db.set(b"{t}%d" % number, b"old")
    reading = Reading(keyspace)
    for number in range(5000):
        db.set(b"{t}%d" % number, b"new")
    before = 0
    while reading.read(100):
        now = len(reading.seen[0])
        assert now - before <= 100
        before = now
    assert reading.seen == reading.expected


@pytest.mark.parametrize("keys", [100, 2000])
def test_long_values_make_short_batches(keys: int) -> None:
    keyspace = new_keyspace(1)
    db = keyspace.databases[0]
    value = b"x" * 100_000
    for number in range(keys):
        db.set(b"{t}%d" % number, value)
    reading = Reading(keyspace)
    for number in range(0, keys, 3):
        db.remove(b"{t}%d" % number)
    before = 0
    while reading.read(512):
        assert len(reading.seen[0]) - before <= 2
        before = len(reading.seen[0])
        db.set(b"{t}%d" % (before * 7 % keys), b"changed")
    assert reading.seen == reading.expected


def test_only_what_changed_before_its_turn_is_copied() -> None:
    keyspace = new_keyspace(1)
    db = keyspace.databases[0]
    old = Counted(b"1")
    db.set(b"a", old)
    first, second = Reading(keyspace), Reading(keyspace)
    assert db.open(b"a") is old
    assert old.copies == 1, "two snapshots want it: they share one copy"
    old += b"2"
    assert db.open(b"a") is old and old.copies == 1
    first.finish()
    second.finish()
    assert db.open(b"a") is old and old.copies == 1


def test_a_value_that_got_another_name_is_not_changed_under_the_snapshot() -> None:
    keyspace = new_keyspace(2)
    db, other = keyspace.databases
    for key in (b"a", b"b"):
        db.set(key, bytearray(b"old"))
    reading = Reading(keyspace)
    db.set(b"c", db.remove(b"a"))
    append(db, b"c", b"er")
    moved = db.remove(b"b")
    db.let_go(moved)
    other.set(b"b", moved)
    append(other, b"b", b"er")
    reading.finish()


def test_close_lets_go() -> None:
    keyspace = new_keyspace(2)
    for db in keyspace.databases:
        db.set(b"a", b"1")
    reading = Reading(keyspace)
    keyspace.databases[0].flush()
    keyspace.swap(0, 1)
    reading.snapshot.close()
    reading.snapshot.close()
    assert not any(db.preservers for db in keyspace.databases)
    assert reading.snapshot.next_batch() is None


def test_a_long_value_that_is_removed_is_freed_by_its_last_reader() -> None:
    keyspace = new_keyspace(1)
    db = keyspace.databases[0]
    freed: list[object] = []
    keyspace.discard = freed.append
    value = Hash({b"%d" % number: b"x" for number in range(LONG_ELEMENTS + 1)})
    db.set(b"a", value)
    first, second = Snapshot(keyspace), Snapshot(keyspace)
    for snapshot in (first, second):
        while (found := snapshot.next_batch()) is not None and not found[1]:
            pass
        assert found is not None and found[1][0][1].value is value
    db.discard(db.remove(b"a"))
    while first.next_batch() is not None:
        pass
    assert not freed
    while second.next_batch() is not None:
        pass
    assert freed == [value]
