"""SCAN's promise: what was there from start to end is returned, whatever else happens meanwhile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.keyspace import database
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.scan import scan
from node.slots import SLOTS

changes = st.lists(st.tuples(st.sampled_from("+-"), st.integers(0, 1500)), max_size=60)


def name(number: int) -> bytes:
    """Two thirds in one slot, so that it has an order; the rest anywhere."""
    return b"%d" % number if number % 3 == 0 else b"{tag}%d" % number


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.lists(changes, min_size=1, max_size=12), st.integers(0, 1500))
def test_what_stays_is_returned(count: int, meanwhile: list[list[tuple[str, int]]], keys_at_first: int) -> None:
    db = Keyspace(1, Journal()).databases[0]
    for number in range(keys_at_first):
        db.set(name(number), b"")
    throughout = {name(number) for number in range(keys_at_first)}
    seen: set[bytes] = set()
    cursor, calls = 0, 0
    while True:
        cursor, found = scan(db, cursor, count)
        seen.update(found)
        if not cursor:
            break
        for kind, number in meanwhile[calls % len(meanwhile)]:
            if kind == "+":
                db.set(name(number), b"")
            else:
                db.remove(name(number))
                throughout.discard(name(number))
        calls += 1
        assert calls < 20_000
    assert throughout <= seen
    db.check()


def test_an_order_stays_while_its_slot_shrinks_and_grows() -> None:
    """A new order would put keys where the walk has been."""
    db = Keyspace(1, Journal()).databases[0]
    names = [b"{t}%d" % number for number in range(database.ORDERED_KEYS_MIN + 1)]
    for key in names:
        db.set(key, b"")
    cursor, seen = scan(db, 0, 300)
    stays = next(key for key in names if key not in seen)
    for key in names:
        if key != stays:
            db.remove(key)
    for number in range(2 * database.ORDERED_KEYS_MIN):
        db.set(b"{t}new%d" % number, b"")
    found: list[bytes] = []
    while cursor:
        cursor, more = scan(db, cursor, 100)
        found += more
    assert stays in found


def test_a_call_costs_what_it_was_asked_for() -> None:
    db = Keyspace(1, Journal()).databases[0]
    for number in range(5000):
        db.set(b"{t}%d" % number, b"")
    cursor, found = scan(db, 0, 10)
    assert len(found) == 10 and cursor
    assert scan(db, SLOTS - 1, 10) == (0, [])
    assert scan(db, 2**64 - 1, 10)[0] == 0
