"""A database: a lazily filled table of 16384 slots, each with its keys, their values and their deadlines.

A value is `bytes` (a string), `bytearray` (a string that is changed in place), or a container of `node.datatypes`.
Every change goes through one of the doors below (`set`, `open`, `remove`, `set_deadline`, `flush`), which keep
the counts, the scan order and the old values that running snapshots still need. A command that has changed a key says
so with `changed`, once and last.

Deadlines are milliseconds since 1970. A key past its deadline is not there: a primary removes it when somebody asks (or
in its rounds, `node.keyspace.expiry`) and journals that; a replica only hides it and waits for its primary's word.
"""

from array import array
from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from node.datatypes.footprint import BYTES_HEAD, block_bytes, footprint
from node.datatypes.hashes import NEVER_MS as NO_FIELD_EXPIRES_MS
from node.datatypes.hashes import Hash
from node.datatypes.packed import Packed
from node.keyspace.indexed import IndexedKeys
from node.keyspace.weights import SlotWeights
from node.net.resp import CommandError
from node.slots import SLOTS, slot_of

if TYPE_CHECKING:
    from node.keyspace.keyspace import Keyspace

Value = Any
"""`bytes`, `bytearray`, a container of node.datatypes, or a `Packed` one; never None."""

Container = TypeVar("Container")

ORDERED_KEYS_MIN = 512
"""A slot with more keys than this keeps them in an order of positions too, for SCAN and random draws; a smaller one is
simply walked whole."""

WRONG_TYPE = CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")

STALE_TIMES_MIN = 64
"""The heap of times at which fields expire is made anew once it holds as many old times as valid ones, and so many."""

_CLOCKS_MIN = 1 << 12
USE_TABLES = 256
"""So many dictionaries hold what is noted of single keys: none grows so big that enlarging it would stall the loop."""
FIRST_CLOCK_S = 1 << 24
"""The clock of access times when a node starts: a key can have been idle for half a year before (files say so)."""


class Preserver(Protocol):
    """A running snapshot's share in one database: told before a key changes, and before a value does in place."""

    def preserve(self, number: int, slot: "Slot | None", key: bytes) -> None: ...

    def changes(self, value: Value, twin: Value | None) -> Value | None: ...

    def inherits(self, value: Value) -> bool: ...

    def moves(self, preservers: "list[Preserver]") -> None: ...


class Slot:
    """The keys of one hash slot."""

    __slots__ = ("deadlines", "order", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, Value] = {}
        self.deadlines: dict[bytes, int] = {}
        self.order: IndexedKeys | None = None


class Database:
    """One numbered database. `size` is how many keys it holds, `deadline_count` how many of them have a deadline."""

    __slots__ = (
        "_clock_mask", "_clocks", "_hash_times", "clock_s", "deadline_count", "expiring",
        "hash_deadlines", "hits", "index", "keyspace", "misses", "occupied",
        "preservers", "size", "slots", "uses", "weights",
    )  # fmt: skip

    def __init__(self, index: int, keyspace: "Keyspace") -> None:
        self.index = index
        self.keyspace = keyspace
        self.clock_s = keyspace.clock_s  # the keyspace's, here since each access needs it
        self.hits = 0
        self.misses = 0
        self._empty()

    def _empty(self) -> None:
        self.slots: list[Slot | None] = [None] * SLOTS
        self.occupied = bytearray(SLOTS)  # 1 where a slot holds keys: `find` skips the empty ones
        self.expiring = bytearray(SLOTS)  # 1 where a slot holds deadlines
        self.size = 0
        self.deadline_count = 0
        self.hash_deadlines: dict[bytes, int] = {}  # hashes with fields that expire, and when to look at them
        self._hash_times: list[tuple[int, bytes]] = []  # the same as a heap, with entries that no longer hold
        self.preservers: list[Preserver] = []
        self.weights: SlotWeights | None = None  # once somebody has drawn a random key
        self._clocks = array("I", (self.clock_s,)) * _CLOCKS_MIN
        self._clock_mask = _CLOCKS_MIN - 1
        self.forget_uses()

    def forget_uses(self) -> None:
        """Nothing is noted of single keys: see `node.keyspace.uses`."""
        self.uses: list[dict[bytes, int]] = [{} for _ in range(USE_TABLES if type(self) is not Database else 0)]

    # --- looking --------------------------------------------------------------------------------------------------

    def read(self, key: bytes) -> Value | None:
        """The value of `key` for a command that reads: counts a hit or a miss, and is an access."""
        slot = self.slots[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]
        if slot is not None:
            value = slot.values.get(key)
            if value is not None and (not self.deadline_count or key not in slot.deadlines or self._alive(slot, key)):
                self.hits += 1
                self._clocks[hash(key) & self._clock_mask] = self.clock_s
                return value
        self.misses += 1
        if self.keyspace.listening:
            self.keyspace.notify("m", "keymiss", key, self.index)
        return None

    def read_all(self, keys: Sequence[bytes]) -> list[Value]:
        """`read` for each of these keys, None for those that are not there: in short where none has a deadline."""
        if self.deadline_count:
            return list(map(self.read, keys))
        slots, clocks, mask, clock_s = self.slots, self._clocks, self._clock_mask, self.clock_s
        values: list[Value] = []
        missed = 0
        for key in keys:
            slot = slots[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]
            value = None if slot is None else slot.values.get(key)
            if value is not None:
                clocks[hash(key) & mask] = clock_s
            else:
                missed += 1
                if self.keyspace.listening:
                    self.keyspace.notify("m", "keymiss", key, self.index)
            values.append(value)
        self.misses += missed
        self.hits += len(keys) - missed
        return values

    def read_string(self, key: bytes) -> bytes | bytearray | None:
        """As `read`; raises WRONGTYPE if there is something else than a string."""
        value = self.read(key)
        if value is not None and type(value) is not bytes and type(value) is not bytearray:
            raise WRONG_TYPE
        return value

    def inspect(self, key: bytes) -> Value | None:
        """As `read`, but no access: the key's clock stays (TYPE, TTL, EXISTS, OBJECT)."""
        value = self.peek(key)
        if value is not None:
            self.hits += 1
            return value
        self.misses += 1
        if self.keyspace.listening:
            self.keyspace.notify("m", "keymiss", key, self.index)
        return None

    def peek(self, key: bytes) -> Value | None:
        """The value of `key`, for a command that is about to write, or that must not count as an access."""
        slot = self.slots[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]
        if slot is None:
            return None
        value = slot.values.get(key)
        if value is not None and self.deadline_count and key in slot.deadlines and not self._alive(slot, key):
            return None
        return value

    def peek_string(self, key: bytes) -> bytes | bytearray | None:
        """As `peek`; raises WRONGTYPE if there is something else than a string."""
        value = self.peek(key)
        if value is not None and type(value) is not bytes and type(value) is not bytearray:
            raise WRONG_TYPE
        return value

    def read_kind(self, key: bytes, kind: type[Container]) -> Container | None:
        """As `read`, for one class of containers; raises WRONGTYPE if there is something else."""
        value = self.read(key)
        if type(value) is kind or value is None:
            return value
        return self._unpacked(key, value, kind)

    def peek_kind(self, key: bytes, kind: type[Container]) -> Container | None:
        """As `peek`, for one class of containers; raises WRONGTYPE if there is something else."""
        value = self.peek(key)
        if type(value) is kind or value is None:
            return value
        return self._unpacked(key, value, kind)

    def _unpacked(self, key: bytes, value: Value, kind: type[Container]) -> Container:
        """The container in the packed `value`, which takes its place: nothing has changed for anybody."""
        if type(value) is not Packed or value.form.container is not kind:
            raise WRONG_TYPE
        slot = self.slots[slot_of(key)]
        assert slot is not None
        container: Container = value.unpack()
        slot.values[key] = container
        return container

    def deadline(self, key: bytes) -> int | None:
        """When `key` expires, in ms since 1970; None if it never does or is not there."""
        slot = self.slots[slot_of(key)]
        return None if slot is None else slot.deadlines.get(key)

    def holds(self, key: bytes) -> bool:
        """Is `key` there, be its time over or not? Nothing happens to it."""
        slot = self.slots[slot_of(key)]
        return slot is not None and key in slot.values

    def is_over(self, key: bytes) -> bool:
        """Is `key` still there though its time is over? Nothing happens to it."""
        deadline_ms = self.deadline(key)
        return deadline_ms is not None and deadline_ms <= self.keyspace.now_ms

    def idle_seconds(self, key: bytes) -> int:
        """Seconds since the last access, 0 where uses are counted instead.

        Clocks are shared by hash, so now and then a key looks younger than it is.
        """
        return max(0, self.clock_s - self._clocks[hash(key) & self._clock_mask])

    def use_count(self, key: bytes) -> int | None:
        """The counter of uses under an LFU policy, 0 to 255; None under others."""
        return None

    def touch(self, key: bytes) -> None:
        """Note an access."""
        self._clocks[hash(key) & self._clock_mask] = self.clock_s

    def set_idle_seconds(self, key: bytes, seconds: int) -> None:
        """RESTORE's IDLETIME, which says nothing where uses are counted."""
        self._clocks[hash(key) & self._clock_mask] = max(0, self.clock_s - seconds)

    def set_use_count(self, key: bytes, count: int) -> None:
        """RESTORE's FREQ, which says nothing where uses are not counted."""

    def use_of(self, key: bytes) -> int:
        """When `key` was used last, or how often, whatever is noted: the less, the less it would be missed."""
        return self._clocks[hash(key) & self._clock_mask]

    def uses_of(self, keys: Sequence[bytes]) -> list[int]:
        """`use_of` each of these keys."""
        return [self.use_of(key) for key in keys]

    @property
    def notes_all(self) -> bool:
        """Is something noted of every single key?"""
        return False

    def note_unnoted(self, keys: Sequence[bytes]) -> None:
        """Note of those of these keys of which nothing is, what is known of their uses otherwise."""

    def scores_of(self, noted: list[int]) -> list[int]:
        """`use_of` keys of which this is noted."""
        return noted

    def restore_use(self, key: bytes, noted: int) -> None:
        """Let the uses of `key` be what `use_of` gave: of this key before it was looked at, or of one that moves."""
        self._clocks[hash(key) & self._clock_mask] = noted

    @property
    def clock_bytes(self) -> int:
        """What the table of access times takes."""
        return self._clocks.itemsize * len(self._clocks)

    def _alive(self, slot: Slot, key: bytes) -> bool:
        """False if `key` is past its deadline; a primary then removes it."""
        keyspace = self.keyspace
        if slot.deadlines[key] > keyspace.now_ms or keyspace.obeying:
            return True
        if keyspace.removes_expired and not keyspace.paused:
            self.expire(key)
        return False

    # --- changing -------------------------------------------------------------------------------------------------

    def set(self, key: bytes, value: Value) -> None:
        """Put `value` under `key`, whatever was there; a deadline is dropped."""
        number = slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383
        slot = self.slots[number]
        if slot is None:
            slot = self._new_slot(number)
        elif self.deadline_count and key in slot.deadlines:
            slot = self._clear_deadline(number, slot, key)
        if self.preservers:
            self._preserve(number, slot, key)
        values = slot.values
        count = len(values)
        values[key] = value
        if len(values) != count:
            self._added(number, slot, key)
            if self.keyspace.listening:
                self.keyspace.notify("n", "new", key, self.index)
        else:
            if self.hash_deadlines:
                self.hash_deadlines.pop(key, None)
            if self.keyspace.awaited:
                self.keyspace.appeared(self, key)  # whoever waits for another kind of value is told
        if type(value) is Hash:
            self.watch_fields(key, value)
        self._clocks[hash(key) & self._clock_mask] = self.clock_s

    def set_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """`set` for each key and string, where nobody listens: in short where there is nothing else to do."""
        slots, clocks, mask, clock_s = self.slots, self._clocks, self._clock_mask, self.clock_s
        usual = not (self.deadline_count or self.preservers or self.hash_deadlines or self.keyspace.awaited)
        for key, value in pairs:
            number = slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383
            slot = slots[number]
            if not usual or slot is None:
                self.set(key, value)
                clocks, mask = self._clocks, self._clock_mask
                continue
            values = slot.values
            count = len(values)
            values[key] = value
            if len(values) != count:
                self._added(number, slot, key)
                clocks, mask = self._clocks, self._clock_mask
            clocks[hash(key) & mask] = clock_s

    def locate(self, key: bytes) -> Slot | None:
        """The slot of a key that is there, for `store`; None if it is not."""
        slot = self.slots[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]
        if slot is None or key not in slot.values:
            return None
        if self.deadline_count and key in slot.deadlines and not self._alive(slot, key):
            return None
        return slot

    def store(self, slot: Slot, key: bytes, value: Value) -> None:
        """As `replace`, for whoever has the key's slot from `locate`."""
        if self.preservers:
            self._preserve(slot_of(key), slot, key)
        slot.values[key] = value
        self._clocks[hash(key) & self._clock_mask] = self.clock_s

    def replace(self, key: bytes, value: Value) -> None:
        """Put `value` under a key that is there; its deadline stays."""
        number = slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383
        slot = self.slots[number]
        assert slot is not None and key in slot.values
        if self.preservers:
            self._preserve(number, slot, key)
        slot.values[key] = value
        self._clocks[hash(key) & self._clock_mask] = self.clock_s

    def open(self, key: bytes) -> Value | None:
        """The value of `key`, about to be changed in place; None if it is not there."""
        value = self.peek(key)
        if value is None:
            return None
        self._clocks[hash(key) & self._clock_mask] = self.clock_s
        if self.preservers:
            number = slot_of(key)
            self._preserve(number, self.slots[number], key)
            if type(value) is not bytes:
                self.let_go(value)
        return value

    def let_go(self, value: Value) -> None:
        """`value` is about to be changed in place, or to move to another database: no snapshot may depend on it."""
        twin = None  # the snapshots share a copy
        for preserver in self.preservers:
            twin = preserver.changes(value, twin)

    def open_kind(self, key: bytes, kind: type[Container]) -> Container | None:
        """As `open`, for one class of containers; raises WRONGTYPE if there is something else."""
        slot = self.slots[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]
        if slot is None:
            return None
        value = slot.values.get(key)
        if type(value) is kind and not self.preservers and (not self.deadline_count or key not in slot.deadlines):
            self._clocks[hash(key) & self._clock_mask] = self.clock_s
            return value  # the usual case: no call
        value = self.peek(key)
        if not self.preservers:
            if value is None:
                return None
            self._clocks[hash(key) & self._clock_mask] = self.clock_s
            return value if type(value) is kind else self._unpacked(key, value, kind)
        if type(value) is not kind and value is not None and (type(value) is not Packed or
                                                              value.form.container is not kind):  # fmt: skip
            raise WRONG_TYPE
        value = self.open(key)
        return value if type(value) is kind or value is None else self._unpacked(key, value, kind)

    def make(self, key: bytes, container: Container) -> Container:
        """Put a new container under a key that is not there."""
        self.set(key, container)
        return container

    def drop_if_empty(self, key: bytes, container: Any) -> bool:
        """Remove a container that has lost its last element. Called after `changed`, as Redis tells of "del" last."""
        if len(container):
            return False
        self.remove(key)
        self.tell(key, "del", "g")
        return True

    def remove(self, key: bytes) -> Value | None:
        """Remove `key` and return its value; None if it is not there. Says nothing to anyone: see `delete`."""
        number = slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383
        slot = self.slots[number]
        if slot is None:
            return None
        if self.preservers and key in slot.values:
            self._preserve(number, slot, key)
        value = slot.values.pop(key, None)
        if value is None:
            return None
        if self.deadline_count and key in slot.deadlines:
            self._drop_deadline(number, slot, key)
        self.size -= 1
        if self.hash_deadlines:
            self.hash_deadlines.pop(key, None)
        if self.weights is not None:
            self.weights.stale[number] = 1
        if slot.order is not None:
            slot.order.remove(key)  # an order once made stays: a new one would put keys where a scan has been
        if not slot.values:
            self.slots[number] = None
            self.occupied[number] = 0
        if self.keyspace.awaited:
            self.keyspace.appeared(self, key)  # readers of a group are told that it is gone; others look and wait on
        return value

    def discard(self, value: Value) -> None:
        """A removed value need not be freed at once. A snapshot that still reads it hands it over later."""
        heirs = [preserver for preserver in self.preservers if preserver.inherits(value)]
        if not heirs:
            self.keyspace.discard(value)

    def delete(self, key: bytes) -> bool:
        """DEL's step for one key: expired ones do not count, and nothing is journalled here."""
        if self.peek(key) is None:
            return False
        self.remove(key)
        self.changed(key, "del", "g")
        return True

    def expire(self, key: bytes) -> None:
        """Remove a key that is past its deadline, tell whoever listens, and journal the removal."""
        keyspace = self.keyspace
        self.discard(self.remove(key))
        keyspace.expired_keys += 1
        keyspace.journal.append(self.index, (keyspace.expire_verb, key))
        keyspace.notify("x", "expired", key, self.index)
        keyspace.touched(self, key, by_itself=True)

    def evict(self, keys: Sequence[bytes], *, lazily: bool) -> int:
        """Remove keys to make room, tell whoever listens, and journal it; the bytes that they held, about.

        Keys that are not there are passed over. A big container is freed in slices in any case; `lazily`
        (lazyfree-lazy-eviction) only names the removal.
        """
        keyspace, journal = self.keyspace, self.keyspace.journal
        verb = b"UNLINK" if lazily else b"DEL"
        size = 0
        for key in keys:
            value = self.remove(key)
            if value is None:
                continue
            size += block_bytes(BYTES_HEAD + len(key))  # its place in the dictionary is the next key's
            if type(value) is bytes:
                size += block_bytes(BYTES_HEAD + len(value))
            else:
                size += footprint(value)
                self.discard(value)
            keyspace.evicted_keys += 1
            if journal.unheard:  # as `append` does, but for the call
                journal.offset += 1
            else:
                journal.append(self.index, (verb, key))
            if keyspace.listening:
                keyspace.notify("e", "evicted", key, self.index)
                keyspace.touched(self, key, by_itself=True)
        return size

    def set_deadline(self, key: bytes, deadline_ms: int) -> None:
        """Let a key that is there expire at `deadline_ms`."""
        self._give_deadline(key, deadline_ms)
        if not self.keyspace.removes_expired and not self.keyspace.obeying:
            self.keyspace.own_deadlines.add((self.index, key))

    def _give_deadline(self, key: bytes, deadline_ms: int) -> None:
        number = slot_of(key)
        slot = self.slots[number]
        assert slot is not None and key in slot.values
        if self.preservers:
            self._preserve(number, slot, key)
        if key not in slot.deadlines:
            self.deadline_count += 1
            self.expiring[number] = 1
        slot.deadlines[key] = deadline_ms
        if deadline_ms < self.keyspace.next_deadline_ms:
            self.keyspace.deadline_came_near(deadline_ms)

    def persist(self, key: bytes) -> bool:
        """Drop the deadline of `key`; False if it had none."""
        number = slot_of(key)
        slot = self.slots[number]
        if slot is None or key not in slot.deadlines:
            return False
        if self.preservers:
            self._preserve(number, slot, key)
        self._drop_deadline(number, slot, key)
        return True

    def watch_fields(self, key: bytes, value: Hash) -> None:
        """Deadlines of fields of the hash `value` under `key` may have changed: see to it that they are kept."""
        soonest_ms = value.soonest_ms
        if soonest_ms == NO_FIELD_EXPIRES_MS:
            self.hash_deadlines.pop(key, None)
            return
        if self.hash_deadlines.get(key) == soonest_ms:
            return
        self.hash_deadlines[key] = soonest_ms
        heappush(self._hash_times, (soonest_ms, key))
        if len(self._hash_times) > 2 * len(self.hash_deadlines) + STALE_TIMES_MIN:
            self._hash_times = [(when_ms, key) for key, when_ms in self.hash_deadlines.items()]
            heapify(self._hash_times)
        if soonest_ms < self.keyspace.next_deadline_ms:
            self.keyspace.deadline_came_near(soonest_ms)

    def next_fields(self) -> tuple[int, bytes] | None:
        """The next hash to look at for expired fields, and when; `expire_fields` then finds the one after it."""
        times = self._hash_times
        while times:
            when_ms, key = times[0]
            if self.hash_deadlines.get(key) == when_ms:
                return when_ms, key
            heappop(times)
        return None

    def expire_fields(self, key: bytes, limit: int) -> int:
        """Remove up to `limit` fields of the hash `key` that are past their deadlines; journal and tell it."""
        use = self.use_of(key)
        value = self.open_kind(key, Hash)
        self.restore_use(key, use)  # time is no client
        if value is None:
            self.hash_deadlines.pop(key, None)
            return 0
        fields = value.expired(self.keyspace.now_ms, limit)
        if fields:
            self.remove_expired_fields(key, value, fields)
        else:
            self.watch_fields(key, value)
        return len(fields)

    def remove_expired_fields(self, key: bytes, value: Hash, fields: list[bytes]) -> None:
        """Remove these fields, which are past their deadlines, of a hash that was opened; then maybe the hash."""
        for field in fields:
            value.remove(field)
        self.keyspace.journal.append(self.index, (b"HDEL", key, *fields))
        self.tell(key, "hexpired", "h")
        if not self.drop_if_empty(key, value):
            self.watch_fields(key, value)

    def flush(self) -> None:
        """Remove everything. Running snapshots keep the old slots; whoever drops them last frees them."""
        self.keyspace.watching.replace(self)
        self._empty()
        for db, key in self.keyspace.awaited:
            if db == self.index:
                self.keyspace.appeared(self, key)

    def drop_slot(self, number: int) -> list[bytes]:
        """Remove all keys of a slot and return their names."""
        slot = self.slots[number]
        if slot is None:
            return []
        keys = list(slot.values)
        if self.preservers:
            for key in keys:
                self._preserve(number, slot, key)
        self.slots[number] = None
        self.occupied[number] = self.expiring[number] = 0
        if self.weights is not None:
            self.weights.stale[number] = 1
        self.size -= len(keys)
        self.deadline_count -= len(slot.deadlines)
        if self.hash_deadlines:
            for key in keys:
                self.hash_deadlines.pop(key, None)
        return keys

    def detach_slot(self, number: int) -> Slot | None:
        """Take a slot out as a whole: its keys are here no more, and nobody has been told. It must not change again.

        A snapshot that runs goes on reading it.
        """
        slot = self.slots[number]
        if slot is None:
            return None
        self.slots[number] = None
        self.occupied[number] = self.expiring[number] = 0
        if self.weights is not None:
            self.weights.stale[number] = 1
        self.size -= len(slot.values)
        self.deadline_count -= len(slot.deadlines)
        for key in self.hash_deadlines.keys() & slot.values.keys():
            del self.hash_deadlines[key]
        return slot

    def take_slots_of(self, other: "Database") -> None:
        """All slots of `other`, which are empty here, are this database's from now on; `other` is of no more use.

        A snapshot that reads them is told of their changes as before.
        """
        hashes = {key: other.slots[slot_of(key)] for key in other.hash_deadlines}
        number = other.occupied.find(1)
        while number >= 0:
            assert self.slots[number] is None, number
            self.slots[number] = other.slots[number]
            self.occupied[number], self.expiring[number] = 1, other.expiring[number]
            number = other.occupied.find(1, number + 1)
        self.deadline_count += other.deadline_count
        self._grow(other.size)
        for preserver in other.preservers:
            preserver.moves(self.preservers)
        self.preservers += other.preservers
        other._empty()
        for key, slot in hashes.items():
            assert slot is not None
            self.watch_fields(key, slot.values[key])
        self.keyspace.deadline_came_near(self.keyspace.now_ms)  # the rounds of expiry have not seen their deadlines

    def forget_use(self, key: bytes) -> None:
        """Nothing is noted of this key any more."""

    def swap_contents(self, other: "Database") -> None:
        """SWAPDB: each takes the other's keys."""
        names = (
            "slots", "occupied", "expiring", "size", "deadline_count", "preservers", "weights",
            "hash_deadlines", "_hash_times", "_clocks", "_clock_mask", "uses",
        )  # fmt: skip
        for name in names:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)

    def load(self, entries: list[tuple[bytes, Value, int | None]]) -> None:
        """Take many keys that are not there from a file or a primary: `set` in short, with no snapshot running.

        A key that is there after all gets the new value, and `size` grows by less than there are entries.
        """
        assert not self.preservers
        slots = self.slots
        added = 0
        for key, value, deadline in entries:
            number = slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383
            slot = slots[number]
            if slot is None:
                slot = self._new_slot(number)
            values = slot.values
            count = len(values)
            values[key] = value
            if len(values) != count:
                added += 1
                if count >= ORDERED_KEYS_MIN or slot.order is not None:
                    self._add_to_order(slot, key)
            if deadline is not None:
                self._give_deadline(key, deadline)
            if type(value) is Hash or self.hash_deadlines:
                self._fields_loaded(key, value)
        self._grow(added)
        if self.keyspace.awaited:
            for key, _, _ in entries:
                self.keyspace.appeared(self, key)

    def _fields_loaded(self, key: bytes, value: Value) -> None:
        if type(value) is Hash:
            self.watch_fields(key, value)
        else:
            self.hash_deadlines.pop(key, None)

    # --- telling --------------------------------------------------------------------------------------------------

    def changed(self, key: bytes, event: str, kind: str, changes: int = 1) -> None:
        """A command changed `key`: what Redis calls the event, and the flag of its class ("$" string, "g" generic).

        The one call that reports a change: it counts for save points and the journal, spoils WATCHes, and notifies.
        `changes` is how many there were, where Redis counts elements.
        """
        keyspace = self.keyspace
        keyspace.dirty += changes
        if keyspace.listening:
            keyspace.notify(kind, event, key, self.index)
            keyspace.touched(self, key)

    def tell(self, key: bytes, event: str, kind: str) -> None:
        """A further event of a change that `changed` counts: the other key of RENAME, the deadline of SET EX."""
        keyspace = self.keyspace
        if keyspace.listening:
            keyspace.notify(kind, event, key, self.index)
            keyspace.touched(self, key)

    def kept_apart(self, key: bytes, event: str, kind: str) -> None:
        """As `changed`, of what stands under `key` but is no part of its value for any reader: groups of a stream.

        Who watches the key or caches its value is not told, as in Redis.
        """
        keyspace = self.keyspace
        keyspace.dirty += 1
        if keyspace.listening:
            keyspace.notify(kind, event, key, self.index)

    # --- housekeeping ---------------------------------------------------------------------------------------------

    def _new_slot(self, number: int) -> Slot:
        slot = self.slots[number] = Slot()
        self.occupied[number] = 1
        return slot

    def _added(self, number: int, slot: Slot, key: bytes) -> None:
        self.size += 1
        if self.weights is not None:
            self.weights.stale[number] = 1
        if slot.order is not None or len(slot.values) > ORDERED_KEYS_MIN:
            self._add_to_order(slot, key)
        if self.size > self._clock_mask:
            self._grow(0)
        if self.keyspace.awaited:
            self.keyspace.appeared(self, key)

    @staticmethod
    def _add_to_order(slot: Slot, key: bytes) -> None:
        if slot.order is not None:
            slot.order.add(key)
        else:
            slot.order = IndexedKeys(list(slot.values))

    def _grow(self, added: int) -> None:
        """There are `added` more keys: see to room for their clocks, and draw anew which slot has how many."""
        self.size += added
        if added:
            self.weights = None
        while self.size > self._clock_mask:
            self._clocks += self._clocks  # the place of every key in the longer table holds its old clock
            self._clock_mask = len(self._clocks) - 1

    def _clear_deadline(self, number: int, slot: Slot, key: bytes) -> Slot:
        """A key with a deadline is about to be overwritten; where its time is over, it expires before. Its slot."""
        if self.preservers:
            self._preserve(number, slot, key)
        if not self._alive(slot, key) and key not in slot.values:
            return self.slots[number] or self._new_slot(number)
        self._drop_deadline(number, slot, key)
        return slot

    def _drop_deadline(self, number: int, slot: Slot, key: bytes) -> None:
        del slot.deadlines[key]
        self.deadline_count -= 1
        if not slot.deadlines:
            self.expiring[number] = 0

    def _preserve(self, number: int, slot: Slot | None, key: bytes) -> None:
        """`key` is about to change: tell the running snapshots."""
        for preserver in self.preservers:
            preserver.preserve(number, slot, key)

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        for number, slot in enumerate(self.slots):
            assert bool(self.occupied[number]) == (slot is not None and bool(slot.values)), number
            assert bool(self.expiring[number]) == (slot is not None and bool(slot.deadlines)), number
            if slot is not None:
                assert all(slot_of(key) == number for key in slot.values)
                assert slot.deadlines.keys() <= slot.values.keys()
                assert slot.order is None or slot.order.places.keys() == slot.values.keys()
        for key, when_ms in self.hash_deadlines.items():
            assert type(self.slots[slot_of(key)].values[key]) is Hash, key  # type: ignore[union-attr]
            assert (when_ms, key) in self._hash_times
        assert self.size == sum(len(slot.values) for slot in self.slots if slot)
        assert self.deadline_count == sum(len(slot.deadlines) for slot in self.slots if slot)
