"""Walking a database: cursors, random keys, names that fit a pattern.

A cursor is `place << 14 | slot`: the walk goes on in that slot, with the keys below `place` of its order, or with all
of them where `place` is 0. Cursor 0 is the start, and the end. A slot of up to some hundred keys is walked whole; a
bigger one has an order (`IndexedKeys`), walked from the high end down, so that each key that was there throughout is
met: what moves under a removal comes from where the walk has been, and an order stays as long as its slot has keys.

A call costs O(count): empty slots are skipped by a search in a bytearray.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

from node.keyspace.database import Database, Slot
from node.keyspace.weights import SlotWeights
from node.slots import SLOTS, slot_of

SLOT_BITS = 14
EXPIRED_DRAWS_MAX = 100
"""How often a node that may not remove expired keys now draws again before it is content with one of them."""


def scan_slot(slot: Slot, place: int, count: int) -> tuple[list[bytes], int]:
    """Some `count` keys of a slot from `place` (0: from its start), and the place to go on from; 0 at its end."""
    if slot.order is None:
        return list(slot.values), 0
    keys = slot.order.keys
    top = min(place, len(keys)) if place else len(keys)
    below = max(0, top - count)
    return keys[below:top], below


def scan(db: Database, cursor: int, count: int) -> tuple[int, list[bytes]]:
    """The next keys from `cursor`, `count` or a little more, and the cursor to go on from; 0 at the end."""
    number, place = cursor & (SLOTS - 1), cursor >> SLOT_BITS
    keys: list[bytes] = []
    while len(keys) < count:
        occupied = db.occupied.find(1, number)
        if occupied < 0:
            return 0, keys
        slot = db.slots[occupied]
        assert slot is not None
        found, place = scan_slot(slot, place if occupied == number else 0, count - len(keys))
        keys += found
        number = occupied
        if place:
            return place << SLOT_BITS | number, keys
        number += 1
    return max(0, db.occupied.find(1, number)), keys


def slot_sizes(db: Database) -> SlotWeights:
    """The weights of the slots of `db`, up to date."""
    weights = db.weights
    if weights is None:
        weights = db.weights = SlotWeights()
    slots = db.slots

    def count_of(number: int) -> int:
        slot = slots[number]
        return 0 if slot is None else len(slot.values)

    weights.update(count_of)
    return weights


def draw(db: Database, random: Random) -> bytes | None:
    """A random key, each as likely as any other; None if there are none. It may be past its deadline."""
    if not db.size:
        return None
    number, rank = slot_sizes(db).find(random.randrange(db.size))
    slot = db.slots[number]
    assert slot is not None
    if slot.order is not None:
        return slot.order.keys[rank]
    return next(islice(slot.values, rank, None))


def draw_alive(db: Database, random: Random) -> bytes | None:
    """A random key that has not expired. A replica may give an expired one in the end, as Redis does; so may a primary
    whose writes are paused, where Redis 7.0 draws for ever."""
    draws, keyspace = 0, db.keyspace
    while (key := draw(db, random)) is not None:
        if db.peek(key) is not None:
            return key
        draws += 1
        if draws >= EXPIRED_DRAWS_MAX and (keyspace.paused or not keyspace.removes_expired):
            return key
    return None


# --- KEYS -------------------------------------------------------------------------------------------------------------

_SPECIAL = b"*?[\\"


def slot_of_pattern(pattern: bytes) -> int | None:
    """The one slot in which every key that fits `pattern` lies, or None: a pattern without wildcards up to its tag."""
    start = pattern.find(b"{")
    end = pattern.find(b"}", start + 1)
    if start < 0 or end <= start + 1:
        fixed = pattern
    else:
        fixed = pattern[: end + 1]
    return None if any(byte in _SPECIAL for byte in fixed) else slot_of(fixed)


def fitting(db: Database, pattern: bytes, fits: Callable[[bytes], bool]) -> list[bytes]:
    """All keys that fit and have not expired; nothing is removed."""
    number = slot_of_pattern(pattern)
    slots = _occupied_slots(db) if number is None else iter([db.slots[number]])
    now_ms = db.keyspace.now_ms
    keys: list[bytes] = []
    for slot in slots:
        if slot is None:
            continue
        found = list(slot.values) if pattern == b"*" else list(filter(fits, slot.values))
        if slot.deadlines:
            deadlines = slot.deadlines
            found = [key for key in found if deadlines.get(key, now_ms + 1) > now_ms]
        keys += found
    return keys


def _occupied_slots(db: Database) -> Iterator[Slot | None]:
    number = db.occupied.find(1)
    while number >= 0:
        yield db.slots[number]
        number = db.occupied.find(1, number + 1)
