"""A database against a plain dict, and its random draws."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.keyspace.database import Database
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.scan import draw, draw_alive, fitting, slot_of_pattern, slot_sizes

keys = st.sampled_from([b"a", b"b", b"{t}1", b"{t}2", b"{t}3", b"", b"c"])
times = st.integers(1, 60)


class DatabaseModel(RuleBasedStateMachine):
    """Any order of changes leaves what a dict of (value, deadline) would hold, and every count right."""

    @initialize()
    def begin(self) -> None:
        self.keyspace = Keyspace(2, Journal())
        self.db: Database = self.keyspace.databases[0]
        self.keyspace.now_ms = 1000
        self.model: dict[bytes, tuple[bytes, int | None]] = {}

    def expected(self) -> dict[bytes, tuple[bytes, int | None]]:
        now = self.keyspace.now_ms
        return {key: (value, end) for key, (value, end) in self.model.items() if end is None or end > now}

    @rule(key=keys, value=st.binary(max_size=3))
    def set(self, key: bytes, value: bytes) -> None:
        self.db.set(key, value)
        self.model[key] = value, None

    @rule(key=keys, value=st.binary(max_size=3))
    def replace(self, key: bytes, value: bytes) -> None:
        if self.db.peek(key) is not None:
            self.db.replace(key, value)
            self.model[key] = value, self.model[key][1]

    @rule(key=keys, span_ms=times)
    def set_deadline(self, key: bytes, span_ms: int) -> None:
        if self.db.peek(key) is not None:
            self.db.set_deadline(key, self.keyspace.now_ms + span_ms)
            self.model[key] = self.model[key][0], self.keyspace.now_ms + span_ms

    @rule(key=keys)
    def persist(self, key: bytes) -> None:
        alive = self.expected().get(key)
        if self.db.peek(key) is not None:
            assert self.db.persist(key) == (alive is not None and alive[1] is not None)
            self.model[key] = self.model[key][0], None

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        assert self.db.delete(key) == (key in self.expected())
        self.model.pop(key, None)

    @rule(span_ms=times)
    def wait(self, span_ms: int) -> None:
        self.keyspace.now_ms += span_ms

    @rule()
    def swap(self) -> None:
        self.db.swap_contents(self.keyspace.databases[1])
        self.db.swap_contents(self.keyspace.databases[1])

    @rule()
    def flush(self) -> None:
        self.db.flush()
        self.model.clear()

    @rule(seed=st.integers(0, 9))
    def draw(self, seed: int) -> None:
        key = draw_alive(self.db, Random(seed))
        alive = self.expected()
        assert key in alive if alive else key is None

    @rule(key=keys)
    def read(self, key: bytes) -> None:
        alive = self.expected().get(key)
        assert self.db.read(key) == (None if alive is None else alive[0])
        assert alive is None or self.db.deadline(key) == alive[1]

    @invariant()
    def same(self) -> None:
        assert sorted(fitting(self.db, b"*", lambda _key: True)) == sorted(self.expected())

    def teardown(self) -> None:
        self.db.check()
        assert slot_sizes(self.db).total == self.db.size


TestDatabase = DatabaseModel.TestCase
TestDatabase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_draws_are_fair_whatever_the_slots() -> None:
    db = Keyspace(1, Journal()).databases[0]
    names = [b"{one}%d" % n for n in range(600)] + [b"%d" % n for n in range(200)]
    for name in names:
        db.set(name, b"v")
    random = Random(7)
    drawn = Counter(draw(db, random) for _ in range(80_000))
    assert drawn.keys() == set(names)
    assert min(drawn.values()) > 55 and max(drawn.values()) < 155  # 100 on average, more than four deviations
    for name in names[:600]:
        db.remove(name)
    assert {draw(db, random) for _ in range(5000)} == set(names[600:])


def test_an_overwritten_key_expires_before() -> None:
    keyspace = Keyspace(1, Journal())
    db = keyspace.databases[0]
    db.set(b"k", b"old")
    db.set_deadline(b"k", 10)
    keyspace.now_ms = 10
    db.set(b"k", b"new")
    assert keyspace.expired_keys == 1 and keyspace.journal.offset == 1
    assert db.read(b"k") == b"new" and db.deadline(b"k") is None
    db.check()


def test_a_hidden_key_is_overwritten_in_silence() -> None:
    keyspace = Keyspace(1, Journal())
    keyspace.removes_expired = False
    db = keyspace.databases[0]
    db.set(b"k", b"old")
    db.set_deadline(b"k", 10)
    keyspace.now_ms = 10
    assert db.read(b"k") is None and db.size == 1
    db.set(b"k", b"new")
    assert keyspace.journal.offset == 0 and db.read(b"k") == b"new"
    db.check()


def test_patterns_with_one_slot() -> None:
    assert slot_of_pattern(b"{t}*") == slot_of_pattern(b"{t}x")
    assert slot_of_pattern(b"abc") is not None
    for pattern in (b"*{t}", b"{t*}", b"a*", b"{}*", b"[{t}]", b"{t", b"\\{t}"):
        assert slot_of_pattern(pattern) is None or pattern == b"{t"
