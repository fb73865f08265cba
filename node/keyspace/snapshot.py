"""A snapshot without fork: the keys of one moment, read slot by slot while commands go on changing them.

A `Snapshot` keeps its own table of the slots that held keys when it began, and is told (`preserve`) before a key of
those slots changes. A key that changes before its turn leaves its old value behind, which the next batch carries away:
so what is kept is what changed since the last batch, and beyond it only names (the keys of a slot still to come that
are dealt with already).

Values go by reference. Before one is changed in place the snapshot is told too (`changes`), by the value and not by its
key, which may have got another name meanwhile: one that has left its slot and was not read yet is copied then. So a
batch must be consumed before the next command. Not so a long value: it comes alone, as a `Reading` that is read in
pieces while commands go on, until the next batch is asked for. It is not copied; see `node.datatypes.reading`.

A slot is struck off the table once it has been read. So one test, "is this the slot in my table?", tells all that need
no old value: slots that are done, that were empty at the start, and that came to be after a flush or a dropped slot.

The turn of a slot of up to `ORDERED_KEYS_MIN` keys is one step, unless their values are long. A bigger one (one hash
tag can put all keys into one slot) is read by the positions of its `order`, from the high end down, as SCAN does. The
rules that make this exact:

1. Keys at positions below `below` are still to come, except those in the slot's `done`; all above have been read, or
   are younger than the snapshot.
2. New keys are added at the end, so above. (An order once made stays as long as its slot.)
3. A removal moves the last key into the hole. If that one comes from above, it must not be met again: it is done.
   (`preserve` does not know whether a removal follows, but the last key, standing above, is done in any case.)
"""

from collections.abc import Collection
from itertools import repeat

from node.datatypes.packed import Packed
from node.datatypes.reading import LONG_BYTES, LONG_ELEMENTS, Reading, TextReading
from node.keyspace.database import Database, Preserver, Slot, Value
from node.keyspace.keyspace import Keyspace
from node.slots import SLOTS

Item = tuple[bytes, Value, int | None]
"""(key, value or the reading of a long one, deadline in ms since 1970)"""

BATCH_KEYS = 512

BYTES_A_KEY_BITS = 8
"""Long values make a batch short: 256 bytes of them, or an element of a container, count as one more key."""
STRINGS = {bytes}
"""The types of values that are nothing but strings."""
UNCUT_COST = 1024
"""A small slot is read as a whole unless its values make it as dear as this: cutting it costs another look."""


def _are_short_strings(values: Collection[Value]) -> bool:
    """Of a slot: is there nothing to look at in any of its values? Costs a third of looking at each."""
    if type(next(iter(values), None)) is not bytes:
        return False
    return set(map(type, values)) == STRINGS and max(map(len, values)) < 1 << BYTES_A_KEY_BITS


def _weigh(items: list[Item]) -> tuple[int, dict[bytes, Reading]]:
    """What reading these costs, in keys, and the readings of those values that are long, by their keys."""
    cost = len(items)
    readings: dict[bytes, Reading] = {}
    for key, value, _ in items:
        kind = type(value)
        if kind is bytes or kind is bytearray:
            cost += len(value) >> BYTES_A_KEY_BITS
            reading = TextReading(value) if len(value) > LONG_BYTES else None
        else:
            cost += _value_cost(value)
            reading = value.reading()
        if reading is not None:
            readings[key] = reading
    return cost, readings


def _value_cost(value: Value) -> int:
    kind = type(value)
    if kind is Packed:
        return int(value.weight_bytes) >> BYTES_A_KEY_BITS
    return len(value) >> BYTES_A_KEY_BITS if kind is bytes or kind is bytearray else min(len(value), LONG_ELEMENTS)


def _count_within(items: list[Item], cost_max: int) -> int:
    """How many of the items cost `cost_max` together, at least 1."""
    cost = 0
    for count, (_, value, _) in enumerate(items):
        cost += 1 + _value_cost(value)
        if cost > cost_max:
            return max(count, 1)
    return len(items)


def _reading_of(value: Value) -> Reading | None:
    """A reading of `value`, if it is long."""
    kind = type(value)
    if kind is bytes or kind is bytearray:
        return TextReading(value) if len(value) > LONG_BYTES else None
    reading: Reading | None = value.reading()
    return reading


class DatabaseSnapshot:
    """One database as it was: `size` keys, `deadline_count` of them with a deadline. A `Preserver`."""

    __slots__ = ("_at", "_below", "_discard", "_done", "_left", "_lent", "_long", "_occupied", "_preservers",
                 "_reading", "_slots", "deadline_count", "index", "size")  # fmt: skip

    def __init__(self, db: Database, slots: Collection[int] | None) -> None:
        self.index = db.index
        if slots is None:
            self._slots = db.slots.copy()
            self._occupied = bytes(db.occupied)
            self.size, self.deadline_count = db.size, db.deadline_count
        else:
            self._choose(db, slots)
        self._left: list[Item] = []  # old values of keys that changed before their turn
        self._lent: dict[int, Item] = {}  # those of them that may be changed in place, by identity
        self._long: dict[int | bytes, Item] = {}  # readings: of old values, and of keys whose turn has come
        self._reading: Reading | None = None  # the one that is being read
        self._done: dict[int, set[bytes]] = {}  # of slots still to come: keys that are not to be read there
        self._at = self._occupied.find(1)  # the slot whose turn it is; -1: none is left
        self._below = -1  # in that slot, positions still to come; -1: its turn has not begun
        self._discard = db.keyspace.discard
        self._preservers = db.preservers  # goes along when databases are swapped
        if not self.ended:
            self._preservers.append(self)

    def _choose(self, db: Database, slots: Collection[int]) -> None:
        occupied = bytearray(SLOTS)
        self._slots = [None] * SLOTS
        self.size = self.deadline_count = 0
        for number in slots:
            slot = db.slots[number]
            if slot is not None:
                self._slots[number] = slot
                occupied[number] = 1
                self.size += len(slot.values)
                self.deadline_count += len(slot.deadlines)
        self._occupied = bytes(occupied)

    # --- being told -----------------------------------------------------------------------------------------------

    def preserve(self, number: int, slot: Slot | None, key: bytes) -> None:
        """`key` is about to change: keep what it holds, unless that is done."""
        if slot is None or self._slots[number] is not slot:
            return
        if number == self._at and self._below >= 0 and not self._stands_below(slot, key):
            return
        done = self._done.get(number)
        if done is None:
            done = self._done[number] = set()
        elif key in done:
            return
        done.add(key)
        value = slot.values.get(key)
        if value is None:
            return
        item = key, value, slot.deadlines.get(key)
        if (reading := _reading_of(value)) is not None:
            self._set_apart(item, reading)
        elif type(value) is bytes or type(value) is Packed:
            self._left.append(item)
        else:
            self._lent[id(value)] = item

    def changes(self, value: Value, twin: Value | None) -> Value | None:
        """`value` is about to be changed in place: depend on it no more. `twin` is a copy of it, if one was needed."""
        identity = id(value)
        if identity in self._lent:
            key, _, deadline = self._lent.pop(identity)
            twin = value.copy() if twin is None else twin
            self._left.append((key, twin, deadline))
        elif identity in self._long:
            self._long[identity][1].hold()
        elif self._reading is not None and self._reading.value is value:
            self._reading.hold()
        return twin

    def inherits(self, value: Value) -> bool:
        """Nobody but snapshots has `value` any more. True if this one is not done with it."""
        identity = id(value)
        if identity in self._lent:
            return True
        reading: Reading | None = self._long[identity][1] if identity in self._long else self._reading
        if reading is None or reading.value is not value:
            return False
        reading.orphaned = True
        return True

    def moves(self, preservers: list[Preserver]) -> None:
        """The slots have moved to another database: `preservers` are now those who are told, this one among them."""
        self._preservers = preservers

    def _set_apart(self, item: Item, reading: Reading) -> None:
        """Its value is long: it is to come as a reading."""
        key, value, deadline = item
        # What never changes may stand under two keys. Else: the reading keeps the value, so nobody else gets its id.
        identity = key if type(value) is bytes or type(value) is Packed else id(value)
        self._long[identity] = key, reading, deadline

    def _stands_below(self, slot: Slot, key: bytes) -> bool:
        """The slot is being read: keep rule 3, and tell whether `key` is still to come."""
        order = slot.order
        assert order is not None
        keys = order.keys
        self._below = min(self._below, len(keys))
        if order.places.get(key, self._below) >= self._below:
            return False
        if len(keys) > self._below:
            self._done.setdefault(self._at, set()).add(keys[-1])
        return True

    # --- being read -----------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._at < 0 and not (self._left or self._lent or self._long or self._reading)

    def next_batch(self, limit: int = BATCH_KEYS) -> list[Item]:
        """The next keys, in no order: about `limit` of them, fewer where values are dear (see `_weigh`).

        May be empty before the end, where much has been looked at that is done already.
        """
        self._end_reading()
        if self._long:
            return [self._next_long()]
        batch: list[Item] = []
        looks = limit - self._read_left(limit, batch)
        while looks > 0 and self._at >= 0:
            slot = self._slots[self._at]
            assert slot is not None
            if slot.order is None:
                looks -= self._read_small(slot, looks, batch)
            else:
                looks -= self._read_big(slot, looks, batch)
        if self.ended:
            self.close()
        return batch

    def _end_reading(self) -> None:
        if self._reading is not None:
            reading, self._reading = self._reading, None
            reading.close()
            if reading.orphaned:
                heirs = [other for other in self._preservers if other.inherits(reading.value)]
                if not heirs:
                    self._discard(reading.value)

    def _next_long(self) -> Item:
        item = self._long.pop(next(iter(self._long)))
        self._reading = item[1]
        return item

    def _without_long(self, items: list[Item], readings: dict[bytes, Reading]) -> list[Item]:
        """The items whose values are short; the others are set apart."""
        if not readings:
            return items
        for item in items:
            if item[0] in readings:
                self._set_apart(item, readings[item[0]])
        return [item for item in items if item[0] not in readings]

    def _read_left(self, looks: int, batch: list[Item]) -> int:
        """Read old values; returns the cost."""
        left, lent = self._left, self._lent
        while lent and len(left) < looks:
            left.append(lent.popitem()[1])
        items = left[-looks:][::-1]
        cost, _ = _weigh(items)
        if cost > UNCUT_COST:
            items = items[: _count_within(items, looks)]
        batch += items
        del left[len(left) - len(items) :]
        return cost

    def _read_small(self, slot: Slot, looks: int, batch: list[Item]) -> int:
        """Read a small slot, or some of it where its values are long; returns the cost, at least 1."""
        values, deadlines = slot.values, slot.deadlines
        done = self._done.get(self._at, ())
        if not done and not deadlines and _are_short_strings(values.values()):
            batch += zip(values, values.values(), repeat(None))
            self._leave_slot()
            return len(values)
        if done:
            items = [(key, value, deadlines.get(key)) for key, value in values.items() if key not in done]
        elif deadlines:
            items = [(key, value, deadlines.get(key)) for key, value in values.items()]
        else:
            items = [(key, value, None) for key, value in values.items()]
        cost, readings = _weigh(items)
        if cost > UNCUT_COST:
            items = items[: _count_within(items, looks)]
            self._done.setdefault(self._at, set()).update(key for key, _, _ in items)
        else:
            self._leave_slot()
        batch += self._without_long(items, readings)
        return max(cost, 1)

    def _read_big(self, slot: Slot, looks: int, batch: list[Item]) -> int:
        """Read the next positions of a big slot; returns the cost, at least 1."""
        order = slot.order
        assert order is not None
        keys = order.keys
        top = len(keys) if self._below < 0 else min(self._below, len(keys))
        bottom = max(0, top - looks)
        done = self._done.get(self._at, ())
        values, deadlines = slot.values, slot.deadlines
        items = [(key, values[key], deadlines.get(key)) for key in keys[bottom:top][::-1] if key not in done]
        cost, readings = _weigh(items)
        if cost > UNCUT_COST:
            items = items[: _count_within(items, looks)]
            bottom = order.places[items[-1][0]]
        self._below = bottom
        if not bottom:
            self._leave_slot()
        batch += self._without_long(items, readings)
        return max(cost, top - bottom, 1)

    def _leave_slot(self) -> None:
        self._slots[self._at] = None
        self._done.pop(self._at, None)
        self._at = self._occupied.find(1, self._at + 1)
        self._below = -1

    def close(self) -> None:
        """Keep nothing any more. May be called again."""
        if self in self._preservers:
            self._preservers.remove(self)
        self._slots = [None] * SLOTS
        self._end_reading()
        for _, reading, _ in self._long.values():
            reading.close()
        self._left, self._lent, self._long, self._done, self._at = [], {}, {}, {}, -1


class Snapshot:
    """All databases (or some slots of them) as they are now, to be read in batches.

    `arriving`: also the slots that are on their way here; for readers that go on with the journal, which tells what
    becomes of them. `total` is the number of its keys, `processed` how many of them have been read.
    """

    def __init__(self, keyspace: Keyspace, slots: Collection[int] | None = None, *, arriving: bool = False) -> None:
        databases = keyspace.every() if arriving else keyspace.databases
        parts = (DatabaseSnapshot(db, slots) for db in databases if db.size)
        self.databases = [part for part in parts if part.size]
        self.total = sum(part.size for part in self.databases)
        self.processed = 0
        self._rest = self.databases[::-1]

    def next_batch(self, limit: int = BATCH_KEYS) -> tuple[DatabaseSnapshot, list[Item]] | None:
        """(database, about `limit` of its keys, or none), one database after the other; None at the end.

        Consume it before the keyspace changes again: values that commands change in place are not copied for it.
        """
        while self._rest:
            part = self._rest[-1]
            if not part.ended:
                batch = part.next_batch(limit)
                self.processed += len(batch)
                return part, batch
            self._rest.pop()
        return None

    def close(self) -> None:
        """Give up what has not been read."""
        while self._rest:
            self._rest.pop().close()
