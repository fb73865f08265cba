"""Hashes: values under fields, some of which may expire.

A Python dict, in the order in which the fields came; a `Roster` beside a big one, at the latest when it is walked or
drawn from; and `FieldDeadlines` while fields have deadlines. `compact` tells whether Redis would still keep it in a
listpack: once it has been False it stays so (`settle`), and it is None for a hash that has come from elsewhere and was
not looked at yet.

Deadlines are milliseconds since 1970. A field past its deadline stays until somebody removes it (`expired` names
them), and until then counts as a field here; `alive` gives a view without them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Final

from sortedcontainers import SortedList

from node.config.settings import Settings
from node.datatypes.reading import COUNT_BYTES_MIN, LONG_ELEMENTS, Column, Reading, are_long
from node.datatypes.roster import KEPT_MIN, SMALL_MAX, Places, Roster

NEVER_MS: Final = 1 << 62


class FieldDeadlines:
    """When which field expires, and which are the next ones."""

    __slots__ = ("by_field", "by_time")

    def __init__(self) -> None:
        self.by_field: dict[bytes, int] = {}
        self.by_time = SortedList()  # (deadline, field)

    def set(self, field: bytes, deadline_ms: int) -> None:
        self.drop(field)
        self.by_field[field] = deadline_ms
        self.by_time.add((deadline_ms, field))

    def drop(self, field: bytes) -> bool:
        deadline_ms = self.by_field.pop(field, None)
        if deadline_ms is None:
            return False
        self.by_time.remove((deadline_ms, field))
        return True

    def copy(self) -> "FieldDeadlines":
        twin = FieldDeadlines()
        twin.by_field = self.by_field.copy()
        twin.by_time = self.by_time.copy()
        return twin


class Hash:
    """Values under fields."""

    __slots__ = ("_deadlines", "_fields", "_readers", "_roster", "compact", "soonest_ms")

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None, compact: bool | None = None) -> None:
        self._fields: dict[bytes, bytes] = dict(pairs) if pairs else {}
        self._roster = Roster(self._fields) if len(self._fields) > KEPT_MIN else None
        self._deadlines: FieldDeadlines | None = None
        self._readers: tuple[HashReading, ...] | None = None  # they want to know of each field before it changes
        self.compact = compact
        self.soonest_ms = NEVER_MS
        """The nearest deadline of a field."""

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, field: bytes) -> bool:
        return field in self._fields

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._fields)

    # --- asking ---------------------------------------------------------------------------------------------------

    def get(self, field: bytes) -> bytes | None:
        return self._fields.get(field)

    def values(self) -> Iterable[bytes]:
        return self._fields.values()

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return self._fields.items()

    def draw(self, random: Random) -> bytes:
        """A random field, each as likely as any other; the hash is not empty."""
        roster = self._walkable()
        if roster is not None:
            return roster.draw(random)
        return next(islice(self._fields, int(random.random() * len(self._fields)), None))

    def draw_with_repeats(self, count: int, random: Random) -> Iterator[bytes]:
        """Draw `count` times. The hash must not change meanwhile."""
        roster = self._walkable()
        if roster is not None:
            return (roster.draw(random) for _ in range(count))
        fields = list(self._fields)
        size = len(fields)
        return (fields[int(random.random() * size)] for _ in range(count))

    def sample(self, count: int, random: Random) -> list[bytes]:
        """`count` distinct fields (all, if there are fewer), each choice as likely as any other."""
        if count >= len(self._fields):
            return list(self._fields)
        roster = self._walkable()
        if roster is None or 3 * count > len(self._fields):
            return random.sample(list(self._fields), count)
        found: dict[bytes, None] = {}
        while len(found) < count:
            found[roster.draw(random)] = None
        return list(found)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """The next fields of a walk, about `count` of them (all of a small hash), and its cursor; 0 at both ends."""
        roster = self._walkable()
        if roster is None:
            return 0, list(self._fields)
        fields, cursor = roster.walk(cursor, count)
        return cursor, fields

    def _walkable(self) -> Roster | None:
        """The roster, made now if the hash is big; None for a small hash without one."""
        if self._roster is None and len(self._fields) > SMALL_MAX:
            self._roster = Roster(self._fields)
        return self._roster

    # --- changing -------------------------------------------------------------------------------------------------

    def set(self, field: bytes, value: bytes) -> bool:
        """Put `value` under `field`, which loses its deadline; True if the field is new."""
        if self._readers is not None:
            self._note(field)
        fields = self._fields
        count = len(fields)
        fields[field] = value
        if len(fields) == count:
            if self._deadlines is not None:
                self.persist(field)
            return False
        if self._roster is not None:
            self._roster.add(field)
        elif len(fields) > KEPT_MIN:
            self._roster = Roster(fields)
        return True

    def replace(self, field: bytes, value: bytes) -> None:
        """Put `value` under a field that is there, and keeps its deadline."""
        assert field in self._fields
        if self._readers is not None:
            self._note(field)
        self._fields[field] = value

    def remove(self, field: bytes) -> bytes | None:
        """Remove a field and return its value; None if it was not there."""
        if self._readers is not None:
            self._note(field)
        value = self._fields.pop(field, None)
        if value is None:
            return None
        if self._roster is not None:
            self._roster.remove(field)
        if self._deadlines is not None:
            self.persist(field)
        return value

    def settle(self, words: Sequence[bytes], settings: Settings) -> None:
        """Fields and values in `words` have been set: see whether the hash is still compact."""
        if self.compact is False:
            return
        bytes_max = settings.hash_max_listpack_value
        if len(self._fields) > settings.hash_max_listpack_entries:
            self.compact = False
        elif self.compact is None:
            fields = self._fields
            self.compact = max(map(len, fields), default=0) <= bytes_max and (
                max(map(len, fields.values()), default=0) <= bytes_max
            )
        if self.compact:
            for word in words:
                if len(word) > bytes_max:
                    self.compact = False

    def encoding(self, settings: Settings) -> bytes:
        """What OBJECT ENCODING says; 7.4 has a name of its own for a listpack with deadlines."""
        if self.compact is None:
            self.settle((), settings)
        if not self.compact:
            return b"hashtable"
        return b"listpack" if self._deadlines is None else b"listpackex"

    # --- deadlines ------------------------------------------------------------------------------------------------

    def deadline(self, field: bytes) -> int | None:
        """When the field expires; None if it never does."""
        return None if self._deadlines is None else self._deadlines.by_field.get(field)

    def deadlines(self) -> Mapping[bytes, int]:
        """Fields that have a deadline."""
        return {} if self._deadlines is None else self._deadlines.by_field

    def set_deadline(self, field: bytes, deadline_ms: int) -> None:
        """Let a field that is there expire at `deadline_ms`."""
        assert field in self._fields
        if self._readers is not None:
            self._note(field)
        if self._deadlines is None:
            self._deadlines = FieldDeadlines()
        self._deadlines.set(field, deadline_ms)
        self.soonest_ms = self._deadlines.by_time[0][0]

    def persist(self, field: bytes) -> bool:
        """Drop the deadline of a field; False if it had none."""
        deadlines = self._deadlines
        if self._readers is not None:
            self._note(field)
        if deadlines is None or not deadlines.drop(field):
            return False
        if deadlines.by_field:
            self.soonest_ms = deadlines.by_time[0][0]
        else:
            self._deadlines = None
            self.soonest_ms = NEVER_MS
        return True

    def expired(self, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` fields that are past their deadlines, the oldest first."""
        if self._deadlines is None:
            return []
        fields: list[bytes] = []
        for deadline_ms, field in self._deadlines.by_time.islice(0, limit):
            if deadline_ms > now_ms:
                break
            fields.append(field)
        return fields

    def alive(self, now_ms: int) -> "Hash | LivingFields":
        """What can be read: the hash itself, or a view of it where fields are past their deadlines."""
        return self if self.soonest_ms > now_ms else LivingFields(self, now_ms)

    # --- housekeeping ---------------------------------------------------------------------------------------------

    def reading(self) -> "HashReading | None":
        """A reading of it, if it is long."""
        fields = self._fields
        count = len(fields)
        if count > LONG_ELEMENTS or (
            count >= COUNT_BYTES_MIN and not self.compact and (are_long(fields.values()) or are_long(fields))
        ):
            return HashReading(self)
        return None

    def column(self) -> Column | Places:
        """All fields, to be taken in steps: in the order in which they lie in memory, where that is known."""
        return Column(iter(self._fields)) if self._roster is None else Places(self._roster)

    def contents(self, fields: list[bytes]) -> list[bytes]:
        """The values of fields that are there."""
        known = self._fields
        return [known[field] for field in fields]

    def add_reader(self, reader: "HashReading") -> None:
        self._readers = (*(self._readers or ()), reader)

    def remove_reader(self, reader: "HashReading") -> None:
        self._readers = tuple(other for other in self._readers or () if other is not reader) or None

    def _note(self, field: bytes) -> None:
        for reader in self._readers or ():
            reader.note(field)

    def copy(self) -> "Hash":
        twin = Hash(None, self.compact)
        twin._fields = self._fields.copy()
        if self._roster is not None:
            twin._roster = self._roster.copy()
        if self._deadlines is not None:
            twin._deadlines = self._deadlines.copy()
            twin.soonest_ms = self.soonest_ms
        return twin

    def shed(self, count: int) -> None:
        """Let go of up to `count` fields; the hash is of no more use."""
        if self._roster is not None:
            self._roster.shed(count)
        popitem = self._fields.popitem
        for _ in range(min(count, len(self._fields))):
            field, _value = popitem()
            if self._deadlines is not None:
                self.persist(field)

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        if self._roster is not None:
            self._roster.check(self._fields)
        deadlines = self._deadlines
        if deadlines is None:
            assert self.soonest_ms == NEVER_MS
            return
        assert deadlines.by_field and deadlines.by_field.keys() <= self._fields.keys()
        assert list(deadlines.by_time) == sorted((when, field) for field, when in deadlines.by_field.items())
        assert self.soonest_ms == deadlines.by_time[0][0]


class HashReading(Reading):
    """A long hash: pieces of its fields.

    Once it is held, the hash notes each field in `_old` before it changes: what it was then, None if it was not there.
    So nothing is noted down but the names. (Fields that came later may be noted too; nobody asks for them.)
    """

    __slots__ = ("_fields", "_held", "_old", "expires", "soonest_ms")

    def __init__(self, value: Hash) -> None:
        super().__init__(value)
        self._fields = value.column()
        self._old: dict[bytes, tuple[bytes, int | None] | None] = {}
        self._held = False
        self.soonest_ms = value.soonest_ms
        self.expires = value.soonest_ms != NEVER_MS
        """Have some of its fields deadlines?"""

    def take(self, limit: int) -> list[tuple[bytes, bytes, int | None]]:
        """The next fields with their values and deadlines; none at the end."""
        while fields := self._fields.take(limit):
            if taken := self._taken(fields):
                return taken
        return []

    def _taken(self, fields: list[bytes]) -> list[tuple[bytes, bytes, int | None]]:
        value, old = self.value, self._old
        if not old:
            contents = value.contents(fields)
            if not self.expires:
                return [(field, content, None) for field, content in zip(fields, contents, strict=True)]
            return [(field, content, value.deadline(field)) for field, content in zip(fields, contents, strict=True)]
        taken = []
        for field in fields:
            known = old.pop(field) if field in old else (value.get(field), value.deadline(field))
            if known is not None:
                taken.append((field, *known))
        return taken

    def hold(self) -> None:
        if not self._held:
            self._held = True
            self._fields.hold()
            self.value.add_reader(self)

    def note(self, field: bytes) -> None:
        """This field of the hash is about to change, to come or to go."""
        if field not in self._old:
            content = self.value.get(field)
            self._old[field] = None if content is None else (content, self.value.deadline(field))

    def close(self) -> None:
        self._fields.close()
        self.value.remove_reader(self)


class LivingFields:
    """A hash as it is read while some of its fields are past their deadlines and not removed yet. Reads only."""

    __slots__ = ("_hash", "_now_ms", "_over")

    def __init__(self, whole: Hash, now_ms: int) -> None:
        self._hash = whole
        self._now_ms = now_ms
        deadlines = whole._deadlines
        assert deadlines is not None
        self._over: int = deadlines.by_time.bisect_left((now_ms + 1, b""))  # how many fields are over

    def __len__(self) -> int:
        return len(self._hash._fields) - self._over

    def __contains__(self, field: bytes) -> bool:
        deadline_ms = self._hash.deadline(field)
        return field in self._hash and (deadline_ms is None or deadline_ms > self._now_ms)

    def __iter__(self) -> Iterator[bytes]:
        return (field for field in self._hash if field in self)

    def get(self, field: bytes) -> bytes | None:
        return self._hash.get(field) if field in self else None

    def deadline(self, field: bytes) -> int | None:
        return self._hash.deadline(field)

    def values(self) -> Iterable[bytes]:
        return [value for _, value in self.items()]

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return [(field, value) for field, value in self._hash.items() if field in self]

    def draw(self, random: Random) -> bytes:
        return random.choice(list(self))

    def draw_with_repeats(self, count: int, random: Random) -> Iterator[bytes]:
        fields = list(self)
        return (random.choice(fields) for _ in range(count))

    def sample(self, count: int, random: Random) -> list[bytes]:
        fields = list(self)
        return fields if count >= len(fields) else random.sample(fields, count)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        cursor, fields = self._hash.scan(cursor, count)
        return cursor, [field for field in fields if field in self]
