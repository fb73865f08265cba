"""What is removed lazily is freed in slices, counted, and never a snapshot's."""

from __future__ import annotations

from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.reclaim import Reclaimer
from tests.support.local import LocalNode


class Big:
    def __init__(self, size: int) -> None:
        self.size = size
        self.steps = 0

    def __len__(self) -> int:
        return self.size

    def shed(self, count: int) -> None:
        self.size = max(0, self.size - count)
        self.steps += 1


class Ticking:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 100_000
        return self.now_ns


def test_a_flush_is_freed_in_slices() -> None:
    reclaimer = Reclaimer(Ticking())
    woken = []
    reclaimer.wake = lambda: woken.append(1)
    keyspace = Keyspace(1, Journal())
    db = keyspace.databases[0]
    big = Big(5000)
    db.set(b"big", big)
    for number in range(20_000):
        db.set(b"{t}%d" % number, b"v")
    for number in range(5000):
        db.set(b"%d" % number, b"v")
    db.set_deadline(b"{t}7", 10)
    reclaimer.flush(db)
    assert db.size == 0 and reclaimer.pending == 25_001 and woken == [1]
    db.check()
    slices = 1
    while reclaimer.slice():
        slices += 1
    assert slices > 5 and reclaimer.pending == 0 and reclaimer.freed == 25_001
    assert big.size == 0 and big.steps > 5


def test_small_things_are_just_dropped() -> None:
    reclaimer = Reclaimer(Ticking())
    reclaimer.take_value(b"x" * 1_000_000)
    reclaimer.take_value(Big(64))
    assert reclaimer.idle and reclaimer.pending == 0


def test_slots_of_a_snapshot_are_left_alone() -> None:
    class Reading:
        def preserve(self, number: int, slot: object, key: bytes) -> None:
            pass

    reclaimer = Reclaimer(Ticking())
    db = Keyspace(1, Journal()).databases[0]
    db.set(b"k", b"v")
    slots = db.slots
    db.preservers.append(Reading())
    reclaimer.flush(db)
    assert reclaimer.idle and db.size == 0 and sum(slot is not None for slot in slots) == 1


def test_flushall_async_frees_by_timer() -> None:
    node = LocalNode()
    client = node.client()
    for number in range(3000):
        client.raw("SET", number, "v")
    assert client.raw("FLUSHALL", "ASYNC") == b"+OK\r\n"
    assert client.raw("DBSIZE") == b":0\r\n"
    node.pass_ms(10_000)
    assert node.server.background.reclaimer.freed == 3000
