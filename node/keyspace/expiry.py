"""Active expiry: rounds over the deadlines, so that keys nobody asks for go too.

A round visits every slot that holds deadlines, once, in slices. It removes what is over, and learns when the next key
will be: the next round begins then, but not sooner than 1/`hz` second after the last one began. So a node whose
deadlines are far sleeps, and one without deadlines never wakes.

How much of the time the slices may take depends on what they find. Up to `stale_percent_max` of expired keys among
those seen (10 at effort 1, as in Redis) they take CALM_PERCENT; beyond it, `busy_percent` (25 at effort 1).

A slot with an order is walked by its places, from the high end down, so that one huge slot cannot stall a slice either.

Only a primary removes keys by itself. A replica waits for its primary's word, but for keys to which its own clients
gave a deadline while it was writable (`Keyspace.own_deadlines`): no primary knows of those.

Fields of hashes expire likewise, those of each database after its keys: a heap tells which hash is next.

Sans-IO: wall-clock times in milliseconds are handed in, and a clock in nanoseconds to measure slices by.
"""

from collections.abc import Callable

from node.keyspace.database import Database, Slot
from node.keyspace.keyspace import NEVER_MS, Keyspace
from node.keyspace.scan import scan_slot

SLICE_NS = 1_000_000
"""How long a slice may take before the clients have their turn."""
CALM_PERCENT = 4
"""Share of the time that rounds may take while few keys have expired."""
ORDERED_STEP = 256
"""How many keys of an ordered slot are looked at before the clock is."""
EXPIRED_STEP = 32
"""How many keys are removed before the clock is looked at."""
FIELDS_STEP = 64
"""How many fields of a hash are removed before the clock is looked at."""
AVERAGE_WEIGHT = 0.05
"""Weight of the latest slice in the average of stale keys, as in Redis."""
OBEYING_CHECK_MS = 1000
"""How often a node that may not remove keys sees whether it may now, while some are over."""


class Expiry:
    """The rounds of one keyspace. `round` does the next slice and tells when to come again."""

    def __init__(self, keyspace: Keyspace, clock_ns: Callable[[], int]) -> None:
        self._enabled = True
        self.hz = 10
        self.effort = 1  # active-expire-effort, 1 to 10
        self.stale_percent = 0.0  # of keys that were over when they were looked at: INFO expired_stale_perc
        self.time_cap_reached = 0  # slices that ended before their round did
        self.spent_ns = 0
        self.wake: Callable[[int], None] = lambda _when_ms: None
        """Called when a deadline has come nearer than the time that `round` last gave."""
        self._keyspace = keyspace
        self._clock_ns = clock_ns
        self._in_round = False
        self._began_ms = 0
        self._db = 0  # where the round is: database, slot, place within an ordered slot
        self._number = 0
        self._place = 0
        self._seen = 0
        self._expired = 0
        self._next_ms = NEVER_MS  # the nearest deadline met in this round
        self._own: list[tuple[int, bytes]] = []  # what is left of a walk over the keys of a writable replica's clients
        keyspace.deadline_came_near = self._deadline_came_near

    @property
    def enabled(self) -> bool:
        """DEBUG SET-ACTIVE-EXPIRE. What comes to be over while it is off goes as soon as it is on again."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        if enabled:
            self.wake(self._earliest_ms())

    @property
    def busy_percent(self) -> int:
        """Share of the time that rounds may take while many keys have expired."""
        return 25 + 2 * (self.effort - 1)

    @property
    def stale_percent_max(self) -> int:
        return 11 - self.effort

    def _deadline_came_near(self, deadline_ms: int) -> None:
        self._keyspace.next_deadline_ms = deadline_ms
        if not self._in_round:
            self.wake(max(deadline_ms, self._earliest_ms()))

    def _earliest_ms(self) -> int:
        return self._began_ms + 1000 // max(1, self.hz)

    def round(self, now_ms: int, budget_ns: int = SLICE_NS) -> int:
        """Do a slice of at most `budget_ns` (and a step more); when to call again, in ms since 1970."""
        keyspace = self._keyspace
        if not self._in_round and keyspace.next_deadline_ms > now_ms:
            return keyspace.next_deadline_ms
        if not self._enabled or keyspace.obeying:
            return now_ms + OBEYING_CHECK_MS
        began_ns = self._clock_ns()
        end_ns = began_ns + budget_ns
        if not keyspace.removes_expired or keyspace.paused:
            self._in_round = False
            self._expire_own(now_ms, end_ns)
            return now_ms + (1000 // max(1, self.hz) if keyspace.own_deadlines else OBEYING_CHECK_MS)
        if keyspace.own_deadlines or self._own:
            keyspace.own_deadlines.clear()
            self._own.clear()
        if not self._in_round:
            self._begin(now_ms)
        self._seen = self._expired = 0
        done = self._slice(now_ms, end_ns)
        spent_ns = self._clock_ns() - began_ns
        self.spent_ns += spent_ns
        stale = self._expired * 100 > self._seen * self.stale_percent_max
        if self._seen:
            share = self._expired * 100 / self._seen
            self.stale_percent += (share - self.stale_percent) * AVERAGE_WEIGHT
        percent = self.busy_percent if stale else CALM_PERCENT
        rested_ms = now_ms - (-spent_ns * (100 - percent) // percent // 1_000_000)
        if done:
            return max(self._finish(), rested_ms)
        self.time_cap_reached += 1
        return rested_ms

    def _begin(self, now_ms: int) -> None:
        self._in_round = True
        self._began_ms = now_ms
        self._db = self._number = self._place = 0
        self._next_ms = NEVER_MS
        self._keyspace.next_deadline_ms = NEVER_MS  # from here on it catches the deadlines set during the round

    def _finish(self) -> int:
        """The round is over; when the next one may begin."""
        keyspace = self._keyspace
        self._in_round = False
        keyspace.next_deadline_ms = min(keyspace.next_deadline_ms, self._next_ms)
        return max(keyspace.next_deadline_ms, self._earliest_ms())

    def _slice(self, now_ms: int, end_ns: int) -> bool:
        """Visit slots until the time is over; True at the round's end."""
        databases = self._keyspace.databases
        clock_ns = self._clock_ns
        while self._db < len(databases):
            db = databases[self._db]
            number = db.expiring.find(1, self._number) if db.deadline_count else -1
            if number < 0:
                if not self._visit_fields(db, now_ms, end_ns):
                    return False
                self._db += 1
                self._number = self._place = 0
                continue
            if number != self._number:
                self._number, self._place = number, 0
            if self._visit(db, number, now_ms, end_ns):
                self._number, self._place = number + 1, 0
            if clock_ns() >= end_ns:
                return False
        return True

    def _visit(self, db: Database, number: int, now_ms: int, end_ns: int) -> bool:
        """Look at a slot, or the next step of an ordered one; True once it has been seen whole."""
        slot = db.slots[number]
        assert slot is not None
        deadlines = slot.deadlines
        if slot.order is None or len(deadlines) <= ORDERED_STEP:
            self._seen += len(deadlines)
            soonest_ms = min(deadlines.values())  # first, since mostly nothing is over: it costs half of a look at all
            if soonest_ms <= now_ms:
                expired = [key for key, deadline_ms in deadlines.items() if deadline_ms <= now_ms]
                if not self._remove(db, expired, end_ns):
                    return False
                soonest_ms = min(deadlines.values(), default=NEVER_MS)
            if soonest_ms < self._next_ms:
                self._next_ms = soonest_ms
            return True
        return self._visit_ordered(db, slot, now_ms, end_ns)

    def _visit_ordered(self, db: Database, slot: Slot, now_ms: int, end_ns: int) -> bool:
        keys, below = scan_slot(slot, self._place, ORDERED_STEP)
        deadlines = slot.deadlines
        expired = []
        for key in keys:
            deadline_ms = deadlines.get(key)
            if deadline_ms is None:
                continue
            self._seen += 1
            if deadline_ms <= now_ms:
                expired.append(key)
            elif deadline_ms < self._next_ms:
                self._next_ms = deadline_ms
        if not self._remove(db, expired, end_ns):
            return False
        self._place = below
        return not below

    def _remove(self, db: Database, expired: list[bytes], end_ns: int) -> bool:
        """Expire keys until the time is over; True if all are gone."""
        for at, key in enumerate(expired):
            if at and at % EXPIRED_STEP == 0 and self._clock_ns() >= end_ns:
                self._seen -= len(expired) - at  # they will be seen again
                return False
            db.expire(key)
            self._expired += 1
        return True

    def _visit_fields(self, db: Database, now_ms: int, end_ns: int) -> bool:
        """Remove fields of hashes that are over until the time is over; True if all are gone."""
        while (found := db.next_fields()) is not None:
            when_ms, key = found
            if when_ms > now_ms:
                self._next_ms = min(self._next_ms, when_ms)
                return True
            if self._clock_ns() >= end_ns:
                return False
            count = db.expire_fields(key, FIELDS_STEP)
            self._seen += count
            self._expired += count
        return True

    def _expire_own(self, now_ms: int, end_ns: int) -> None:
        """A writable replica: the keys to which its own clients gave a deadline."""
        keyspace = self._keyspace
        if not self._own:
            self._own = list(keyspace.own_deadlines)
        for at in range(1, len(self._own) + 1):
            if at % EXPIRED_STEP == 0 and self._clock_ns() >= end_ns:
                return
            index, key = self._own.pop()
            db = keyspace.databases[index]
            deadline_ms = db.deadline(key)
            if deadline_ms is None or deadline_ms <= now_ms:
                keyspace.own_deadlines.discard((index, key))
                if deadline_ms is not None:
                    db.expire(key)
