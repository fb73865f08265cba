"""Slots that leave, or come, as a whole: counted right at once, told of in slices, whatever snapshot reads them."""

from __future__ import annotations

from random import Random

import pytest

from node.keyspace.database import Database
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.reclaim import Reclaimer
from node.keyspace.snapshot import Snapshot
from node.keyspace.trimming import UNLINK_KEYS, Trimmer
from node.net.resp import RequestParser
from node.slots import slot_of

KEYS = [b"{%d}:%d" % (tag, number) for tag in range(5) for number in range(200)]


class Told:
    """A reader of the journal that remembers the names of removed keys."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.longest = 0
        self.parser = RequestParser(1 << 30)

    def take_entry(self, db: int, entry: bytes) -> None:
        self.parser.feed(entry)
        for name, *keys in self.parser.parse():
            assert name == b"UNLINK" and db == 0
            self.keys += keys
            self.longest = max(self.longest, len(keys))


def filled() -> tuple[Keyspace, Database, Trimmer, Told]:
    keyspace, told = Keyspace(1, Journal()), Told()
    keyspace.journal.add_reader(told)
    db = keyspace.databases[0]
    for number, key in enumerate(KEYS):
        db.set(key, b"v%d" % number)
        if number % 3 == 0:
            db.set_deadline(key, 10_000 + number)
    ticks = iter(range(1 << 40))
    clock = lambda: next(ticks)  # noqa: E731 - each look at the clock costs a nanosecond
    return keyspace, db, Trimmer(keyspace, Reclaimer(clock), clock), told


def numbers(*tags: int) -> list[int]:
    return [slot_of(b"{%d}" % tag) for tag in tags]


def test_keys_are_gone_at_once_and_told_of_in_slices() -> None:
    _, db, trimmer, told = filled()
    woken: list[bool] = []
    trimmer.wake = lambda: woken.append(True)
    assert trimmer.take(db, numbers(0, 1)) == 400 and woken == [True]
    assert db.size == 600 and db.peek(KEYS[0]) is None and not told.keys
    db.check()
    slices = 1
    while trimmer.slice(2):
        slices += 1
        assert trimmer.numbers <= set(numbers(0, 1))
    assert slices > 2 and sorted(told.keys) == sorted(KEYS[:400]) and told.longest <= UNLINK_KEYS
    assert trimmer.idle and (trimmer.started, trimmer.completed, trimmer.job_trimmed) == (1, 1, 400)


def test_a_slot_that_comes_back_is_told_of_before_anything_is_written() -> None:
    _, db, trimmer, told = filled()
    trimmer.take(db, numbers(0, 1, 2))
    trimmer.slice(1)
    back = numbers(1)[0]
    trimmer.finish(lambda number: number == back)
    assert set(KEYS[200:400]) <= set(told.keys) and back not in trimmer.numbers
    db.set(KEYS[200], b"new")
    while trimmer.slice(1000):
        pass
    assert told.keys.count(KEYS[200]) == 1 and db.peek(KEYS[200]) == b"new" and len(told.keys) == 600


def test_a_replica_tells_nothing() -> None:
    keyspace, db, trimmer, told = filled()
    keyspace.journal.set_relaying(True)
    trimmer.take(db, numbers(0))
    while trimmer.slice(1000):
        pass
    assert not told.keys and db.size == 800


def test_a_snapshot_goes_on_reading_what_has_left() -> None:
    keyspace, db, trimmer, _ = filled()
    snapshot = Snapshot(keyspace)
    seen = dict[bytes, bytes]()
    found = snapshot.next_batch(50)
    assert found is not None
    seen.update((key, value) for key, value, _ in found[1])
    trimmer.take(db, numbers(0, 1, 2, 3, 4))
    while trimmer.slice(1000):
        pass
    while (found := snapshot.next_batch(50)) is not None:
        seen.update((key, value) for key, value, _ in found[1])
    assert seen == {key: b"v%d" % number for number, key in enumerate(KEYS)}


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_of_what_arrives_goes_on_after_it_has_been_taken_in(seed: int) -> None:
    random = Random(seed)
    keyspace, db, _, _ = filled()
    arriving = Database(0, keyspace)
    keyspace.arriving.append(arriving)
    names = [b"{x%d}:%d" % (tag, number) for tag in range(3) for number in range(300)]
    taken = {number for number, here in enumerate(db.occupied) if here}
    names = [name for name in names if slot_of(name) not in taken]
    for name in names:
        arriving.set(name, b"old")
    assert keyspace.size == len(KEYS)
    snapshot, without = Snapshot(keyspace, arriving=True), Snapshot(keyspace)
    seen = dict[bytes, bytes]()

    def read() -> bool:
        found = snapshot.next_batch(40)
        if found is not None:
            seen.update((key, bytes(value)) for key, value, _ in found[1])
        return found is not None

    for _ in range(random.randrange(20)):
        read()
    keyspace.arriving.remove(arriving)
    db.take_slots_of(arriving)
    db.check()
    assert db.size == len(KEYS) + len(names) and arriving.size == 0
    while read():
        for name in random.sample(names, 5):
            if random.random() < 0.5:
                db.remove(name)
            else:
                db.set(name, b"new")
    assert seen == {key: b"v%d" % number for number, key in enumerate(KEYS)} | dict.fromkeys(names, b"old")
    without.close()
    assert not db.preservers
    db.check()
