"""Slots whose keys are to go because the slots are another node's: dropped in slices, and journalled key by key.

A slot that is handed over leaves its database as a whole, at once: from then on no client meets its keys. What is left
is to let replicas and the append-only file know, by plain UNLINKs that any replica understands, and to free the values.
Told all at once, a hundred thousand keys would hold the loop for a quarter of a second.

A slot can come back before that is done. Its new keys must not be unlinked by the old ones' names: whoever gives a
slot back calls `finish` for it before anything is written there. Until then it counts as one of `numbers`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from node.keyspace.database import Database, Slot
from node.keyspace.keyspace import Keyspace
from node.keyspace.reclaim import SLICE_NS, Reclaimer

UNLINK_KEYS = 64
"""So many keys are named by one UNLINK: about 50 us of work."""


class Leaving:
    """A slot that has left its database.

    `shared`: a snapshot may read it still, and then lets go of it last. `was_seen`: clients could see its keys.
    """

    __slots__ = ("db", "keys", "number", "shared", "slot", "was_seen")

    def __init__(self, db: Database, number: int, slot: Slot) -> None:
        self.db = db
        self.was_seen = db in db.keyspace.databases
        self.number = number
        self.slot = slot
        self.keys: Iterator[bytes] = iter(slot.values)
        self.shared = bool(db.preservers)


class Trimmer:
    """The slots of one node that are being dropped. `started`, `completed` and `trimmed_keys` only grow."""

    def __init__(self, keyspace: Keyspace, reclaimer: Reclaimer, clock_ns: Callable[[], int]) -> None:
        self.started = self.completed = 0  # jobs: a job is what one call of `take` brought
        self.job_keys = self.job_trimmed = 0  # of what is being dropped since there last was nothing
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to do again."""
        self.done: Callable[[], None] = lambda: None
        """Called when nothing is left."""
        self._keyspace = keyspace
        self._reclaimer = reclaimer
        self._clock_ns = clock_ns
        self._leaving: deque[Leaving] = deque()

    @property
    def idle(self) -> bool:
        return not self._leaving

    @property
    def numbers(self) -> set[int]:
        """The slots that are being dropped."""
        return {leaving.number for leaving in self._leaving}

    def take(self, db: Database, numbers: Iterable[int]) -> int:
        """Drop these slots of `db`; how many keys are gone from there."""
        was_idle, count = self.idle, 0
        if was_idle:
            self.job_keys = self.job_trimmed = 0
        for number in numbers:
            slot = db.detach_slot(number)
            if slot is not None:
                count += len(slot.values)
                leaving = Leaving(db, number, slot)
                self._leaving.append(leaving)
                if leaving.was_seen:
                    self._keyspace.watching.left(db, slot.values)
        if not self.idle:
            self.job_keys += count
            self.started += 1
            if was_idle:
                self.wake()
        return count

    def finish(self, wanted: Callable[[int], bool]) -> None:
        """Tell of these slots to their end now: they are about to get new keys."""
        found = [leaving for leaving in self._leaving if wanted(leaving.number)]
        for leaving in found:
            while self._tell_some(leaving):
                pass
            self._leaving.remove(leaving)
        if found and self.idle:
            self._ended()

    def slice(self, budget_ns: int = SLICE_NS) -> bool:
        """Tell of keys for `budget_ns` (and a step more); False once nothing is left."""
        end_ns = self._clock_ns() + budget_ns
        while self._leaving and self._clock_ns() < end_ns:
            if not self._tell_some(self._leaving[0]):
                self._leaving.popleft()
        if self.idle:
            self._ended()
        return not self.idle

    def _ended(self) -> None:
        self.completed = self.started
        self.done()

    def _tell_some(self, leaving: Leaving) -> bool:
        """Tell that the next keys of a slot are gone; False once all have been."""
        db, keyspace = leaving.db, self._keyspace
        keys = list(islice(leaving.keys, UNLINK_KEYS))
        if not keys:
            if not leaving.shared:
                self._reclaimer.take_slot(leaving.slot)
            return False
        if not keyspace.journal.relaying:  # else our primary's word tells what we hold
            keyspace.journal.append(db.index, (b"UNLINK", *keys))
        self.job_trimmed += len(keys)
        if leaving.was_seen:
            for key in keys:
                db.forget_use(key)
                db.tell(key, "del", "g")
        return True
