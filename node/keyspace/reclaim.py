"""Letting go of big things in slices: what UNLINK and FLUSHALL ASYNC hand over is freed a millisecond at a time.

Dropping the last reference to a million keys takes a tenth of a second. So whoever removes much at once puts it here
instead. A slot that a snapshot may still read is never put here: it is the snapshot's to drop (`take_slots`).

A container that may grow big is `Sheddable`: it lets go of a few elements at a time. Nobody else may hold it then.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from node.keyspace.database import Database, Slot, Value

SLICE_NS = 1_000_000
SHED_AT_ONCE = 64
"""Containers of up to this many elements are simply dropped, as in Redis (LAZYFREE_THRESHOLD)."""
STEP = 512
"""How many elements go before the clock is looked at."""


class Sheddable(Protocol):
    """A container of node.datatypes."""

    def __len__(self) -> int: ...

    def shed(self, count: int) -> None:
        """Let go of `count` elements, whichever are cheapest, or of all if there are fewer."""


class Reclaimer:
    """What waits to be freed. `pending` and `freed` count objects, as INFO's lazyfree_* fields do."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.pending = 0
        self.freed = 0
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to do again."""
        self._clock_ns = clock_ns
        self._values: deque[Sheddable] = deque()
        self._slots: deque[Slot] = deque()
        self._tables: deque[list[Slot | None]] = deque()

    def take_value(self, value: Value) -> None:
        """Free a value that has been removed from its key."""
        if type(value) is bytes or type(value) is bytearray or value is None or len(value) <= SHED_AT_ONCE:
            return
        self.pending += 1
        self._values.append(value)
        self._wake_if_alone()

    def take_slot(self, slot: Slot) -> None:
        """Free a slot that no database and no snapshot has any more."""
        self.pending += len(slot.values)
        self._slots.append(slot)
        self._wake_if_alone()

    def flush(self, db: Database) -> None:
        """Empty `db` and free what was in it, unless snapshots still read it: then they will."""
        slots, size, shared = db.slots, db.size, bool(db.preservers)
        db.flush()
        if size and not shared:
            self.pending += size
            self._tables.append(slots)
            self._wake_if_alone()

    def _wake_if_alone(self) -> None:
        if len(self._values) + len(self._slots) + len(self._tables) == 1:
            self.wake()

    @property
    def idle(self) -> bool:
        return not (self._values or self._slots or self._tables)

    def slice(self, budget_ns: int = SLICE_NS) -> bool:
        """Free for `budget_ns` (and a step more); False once nothing is left."""
        end_ns = self._clock_ns() + budget_ns
        while not self.idle and self._clock_ns() < end_ns:
            if self._values:
                self._shed_value()
            elif self._slots:
                self._shed_slot()
            else:
                self._open_table()
        return not self.idle

    def _shed_value(self) -> None:
        value = self._values[0]
        value.shed(STEP)
        if not len(value):
            self._values.popleft()
            self._freed(1)

    def _shed_slot(self) -> None:
        slot = self._slots[0]
        values = slot.values
        slot.deadlines = {} if len(slot.deadlines) <= STEP else slot.deadlines
        if slot.order is not None:
            slot.order.shed(STEP)
        for _ in range(min(STEP, len(values))):
            key, value = values.popitem()
            slot.deadlines.pop(key, None)
            if type(value) is bytes or type(value) is bytearray or len(value) <= SHED_AT_ONCE:
                self._freed(1)
            else:
                self._values.append(value)
        if not values:
            self._slots.popleft()

    def _open_table(self) -> None:
        """Move the next slots of a table to where they are freed."""
        table = self._tables[0]
        for _ in range(min(SHED_AT_ONCE, len(table))):
            slot = table.pop()
            if slot is not None:
                self._slots.append(slot)
        if not table:
            self._tables.popleft()

    def _freed(self, count: int) -> None:
        self.pending -= count
        self.freed += count
