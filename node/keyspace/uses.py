"""When, or how often, each key was used: what eviction goes by.

An ordinary `Database` keeps access times in a table whose places keys share by their hashes: 4 bytes a key, good enough
for OBJECT IDLETIME. Eviction cannot go by that: among ever new keys some meet the place of one that is used all the
time, look as young as it does, and stay for ever, until half of what is kept is such.

So while `maxmemory` and an LRU policy are set, or an LFU policy, every database changes its class to one of these,
which note each use by key, in one of many dictionaries (some 40 bytes a key, while it is wanted). That is why nobody
pays who does not want it: the ways of an ordinary database know nothing of it. A key that is not noted yet has been
used as the shared table says.

An LFU policy notes an int for each key: the counter of 8 bits that grows by ever rarer luck and shrinks with time, as
in Redis, and above it the minute in which it was last counted. Keys of one minute and counter share one int.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from node.keyspace.database import USE_TABLES, Database, Slot, Value

Container = TypeVar("Container")

TABLES_MASK = USE_TABLES - 1

TICK_MS = 64
"""Times are noted as finely as this."""
FIRST_COUNT = 5
"""What a new key's counter begins with, so that it has a chance to be used before it is evicted."""
COUNT_MAX = 255
COUNT_BITS = 8
SECONDS_A_MINUTE = 60


class UseRules:
    """How uses are counted and timed: the same for all databases of a node."""

    __slots__ = ("_minute", "_shared", "decay_minutes", "log_factor", "luck", "tick", "tick_ends_ms", "tick_ms")

    def __init__(self, luck: Callable[[], float]) -> None:
        self.log_factor = 10  # `lfu-log-factor`: the bigger, the more uses a counter of 255 stands for
        self.decay_minutes = 1  # `lfu-decay-time`: a counter loses one each time so many minutes go by; 0: never
        self.luck = luck  # from 0 up to below 1
        self.tick = 0  # of the time from `tick_ms` up to `tick_ends_ms`: one object, which its keys share
        self.tick_ms = self.tick_ends_ms = 0
        self._minute = -1
        self._shared: list[int] = []  # of the running minute, an int for each counter

    def turn(self, now_ms: int) -> None:
        """Another tick has begun."""
        self.tick = now_ms // TICK_MS
        self.tick_ms = self.tick * TICK_MS
        self.tick_ends_ms = self.tick_ms + TICK_MS

    def made(self, count: int, minute: int) -> int:
        """What is noted of a key whose counter is `count`."""
        if minute != self._minute:
            self._minute = minute
            self._shared = [minute << COUNT_BITS | each for each in range(COUNT_MAX + 1)]
        return self._shared[count]

    def count(self, noted: int, minute: int) -> int:
        """The counter as it is by now."""
        passed = minute - (noted >> COUNT_BITS)
        if passed and self.decay_minutes:
            return max(0, (noted & COUNT_MAX) - passed // self.decay_minutes)
        return noted & COUNT_MAX

    def used(self, noted: int, minute: int) -> int:
        """What is noted after another use."""
        count = self.count(noted, minute)
        if count < COUNT_MAX:
            over = count - FIRST_COUNT
            if over <= 0 or self.luck() * (over * self.log_factor + 1) < 1:
                count += 1
        return self.made(count, minute)


class TimingDatabase(Database):
    """Notes when each key was used last, in ticks of TICK_MS: a small node at its limit turns over within seconds."""

    __slots__ = ()

    def _tick(self) -> int:
        """The time of now. Keys of one tick share one int."""
        now_ms, rules = self.keyspace.now_ms, self.keyspace.use_rules
        if not rules.tick_ms <= now_ms < rules.tick_ends_ms:
            rules.turn(now_ms)
        return rules.tick

    def _note(self, key: bytes) -> None:
        """A key that is there was used."""
        now_ms, rules = self.keyspace.now_ms, self.keyspace.use_rules
        if not rules.tick_ms <= now_ms < rules.tick_ends_ms:
            rules.turn(now_ms)
        self.uses[hash(key) & TABLES_MASK][key] = rules.tick

    def _unnoted(self, key: bytes) -> int:
        """What is to be noted of a key of which nothing is: when it was used, the shared table knows about."""
        return self._tick() - Database.idle_seconds(self, key) * 1000 // TICK_MS

    def _noted(self, key: bytes) -> int | None:
        return self.uses[hash(key) & TABLES_MASK].get(key)

    def _renote(self, key: bytes, noted: int) -> None:
        self.uses[hash(key) & TABLES_MASK][key] = noted

    # --- uses -----------------------------------------------------------------------------------------------------

    def read(self, key: bytes) -> Value | None:
        value = Database.read(self, key)
        if value is not None:
            self._note(key)
        return value

    def read_all(self, keys: Sequence[bytes]) -> list[Value]:
        return list(map(self.read, keys))

    def set(self, key: bytes, value: Value) -> None:
        Database.set(self, key, value)
        now_ms, rules = self.keyspace.now_ms, self.keyspace.use_rules  # as `_note`: what every SET pays
        if not rules.tick_ms <= now_ms < rules.tick_ends_ms:
            rules.turn(now_ms)
        self.uses[hash(key) & TABLES_MASK][key] = rules.tick

    def set_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            self.set(key, value)

    def store(self, slot: Slot, key: bytes, value: Value) -> None:
        Database.store(self, slot, key, value)
        self._note(key)

    def replace(self, key: bytes, value: Value) -> None:
        Database.replace(self, key, value)
        self._note(key)

    def open(self, key: bytes) -> Value | None:
        value = Database.open(self, key)
        if value is not None:
            self._note(key)
        return value

    def open_kind(self, key: bytes, kind: type[Container]) -> Container | None:
        value = Database.open_kind(self, key, kind)
        if value is not None and not self.preservers:  # else it came by `open`
            self._note(key)
        return value

    def touch(self, key: bytes) -> None:
        self._note(key)

    def remove(self, key: bytes) -> Value | None:
        self.uses[hash(key) & TABLES_MASK].pop(key, None)
        return Database.remove(self, key)

    def drop_slot(self, number: int) -> list[bytes]:
        keys = Database.drop_slot(self, number)
        for key in keys:
            self.uses[hash(key) & TABLES_MASK].pop(key, None)
        return keys

    def forget_use(self, key: bytes) -> None:
        self.uses[hash(key) & TABLES_MASK].pop(key, None)

    # --- what is known --------------------------------------------------------------------------------------------

    def idle_seconds(self, key: bytes) -> int:
        noted = self._noted(key)
        if noted is None:
            return Database.idle_seconds(self, key)
        return max(0, (self._tick() - noted) * TICK_MS // 1000)

    def set_idle_seconds(self, key: bytes, seconds: int) -> None:
        self._renote(key, self._tick() - seconds * 1000 // TICK_MS)

    def use_of(self, key: bytes) -> int:
        noted = self._noted(key)
        return self._unnoted(key) if noted is None else noted

    def uses_of(self, keys: Sequence[bytes]) -> list[int]:
        uses = self.uses
        return self.scores_of([uses[hash(key) & TABLES_MASK].get(key) or self._unnoted(key) for key in keys])

    def scores_of(self, noted: list[int]) -> list[int]:
        return noted

    @property
    def notes_all(self) -> bool:
        return sum(map(len, self.uses)) >= self.size

    def note_unnoted(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            uses = self.uses[hash(key) & TABLES_MASK]
            if key not in uses:
                uses[key] = self._unnoted(key)

    def restore_use(self, key: bytes, noted: int) -> None:
        self._renote(key, noted)


class CountingDatabase(TimingDatabase):
    """Notes how often each key is used."""

    __slots__ = ()

    def _minute(self) -> int:
        return self.clock_s // SECONDS_A_MINUTE

    def _unnoted(self, key: bytes) -> int:
        return self.keyspace.use_rules.made(FIRST_COUNT, self._minute())

    def _note(self, key: bytes) -> None:
        uses = self.uses[hash(key) & TABLES_MASK]
        noted = uses.get(key)
        minute, rules = self.clock_s // SECONDS_A_MINUTE, self.keyspace.use_rules
        uses[key] = rules.made(FIRST_COUNT, minute) if noted is None else rules.used(noted, minute)

    def set(self, key: bytes, value: Value) -> None:
        Database.set(self, key, value)
        self._note(key)

    def idle_seconds(self, key: bytes) -> int:
        return 0

    def set_idle_seconds(self, key: bytes, seconds: int) -> None:
        pass

    def use_count(self, key: bytes) -> int | None:
        noted = self._noted(key)
        return FIRST_COUNT if noted is None else self.keyspace.use_rules.count(noted, self._minute())

    def set_use_count(self, key: bytes, count: int) -> None:
        self._renote(key, self.keyspace.use_rules.made(count, self._minute()))

    def use_of(self, key: bytes) -> int:
        return self.use_count(key) or 0

    def scores_of(self, noted: list[int]) -> list[int]:
        minute, count = self._minute(), self.keyspace.use_rules.count
        counts = {each: count(each, minute) for each in set(noted)}  # few minutes and counters make many keys
        return [counts[each] for each in noted]

    def restore_use(self, key: bytes, noted: int) -> None:
        self.set_use_count(key, noted)
