"""Streams: entries of fields and values under ids that only grow, and the groups of consumers that read them.

An id is one integer, milliseconds in its upper and the sequence number in its lower 64 bits. Entries stand in nodes of
some hundred, as in Redis, whose sizes show outside: an approximate trim removes whole nodes. So a node knows how many
bytes its listpack would have in Redis. An entry with the fields of its node's first one is a tuple of values alone,
or the value itself if there is one; another is a list of fields and values in turn.

A node that came from a file stays packed until somebody looks inside (`Node.raw`). A copy shares the nodes: whoever
changes one that is not its own copies it first. Nothing here knows a clock: times are arguments, in ms since 1970.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from sortedcontainers import SortedDict

from node.datatypes.numbers import INT64_MAX, parse_int
from node.datatypes.reading import LONG_BYTES, LONG_ELEMENTS, Reading

SEQUENCE_BITS: Final = 64
SEQUENCE_MAX: Final = (1 << SEQUENCE_BITS) - 1
ID_MAX: Final = (1 << 2 * SEQUENCE_BITS) - 1
ID_BYTES: Final = 16
UNKNOWN: Final = -1
"""How many entries a group has read, where that cannot be told."""
NEVER: Final = -1
"""When a consumer was last given something, if it never was."""
NODE_BYTES_MAX: Final = 1 << 30
"""What holds where `stream-node-max-bytes` is 0, and for one entry."""
BEHIND_INTEGERS: Final = b":"
"""What sorts behind it begins neither with a digit nor with a minus sign."""
SHORT_BYTES_MAX: Final = 63
"""A string of up to so many bytes takes two more in a listpack."""
LISTPACK_BYTES: Final = 7
"""A listpack without elements."""

Pairs: TypeAlias = Sequence[bytes]
"""Fields and values in turn."""
Entry: TypeAlias = bytes | tuple[bytes, ...] | list[bytes]


def make_id(ms: int, sequence: int) -> int:
    return ms << SEQUENCE_BITS | sequence


def id_text(number: int) -> bytes:
    """Return an id as replies have it."""
    return b"%d-%d" % (number >> SEQUENCE_BITS, number & SEQUENCE_MAX)


# --- the sizes of listpacks -------------------------------------------------------------------------------------------


def integer_size(number: int) -> int:
    """How many bytes an integer takes in a listpack."""
    if 0 <= number <= 127:
        return 2
    if -4096 <= number <= 4095:
        return 3
    if -(1 << 15) <= number < 1 << 15:
        return 4
    if -(1 << 23) <= number < 1 << 23:
        return 5
    return 6 if -(1 << 31) <= number < 1 << 31 else 10


SMALL_INTEGERS: Final = ((0, 127), (-4096, -1), (128, 4095))
"""From where to where integers of two or three bytes take the same."""


def element_size(element: bytes) -> int:
    """How many bytes a string takes in a listpack, which keeps canonical integers as such."""
    length = len(element)
    if element > BEHIND_INTEGERS and length <= SHORT_BYTES_MAX:  # as most
        return length + 2
    if length <= 20 and (element.isdigit() or element[:1] == b"-"):
        number = parse_int(element)
        if number is not None:
            return integer_size(number)
    if length <= SHORT_BYTES_MAX:
        return length + 2
    size = length + 2 if length <= 4095 else length + 5
    return size + (1 if size <= 127 else 2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5)


def _signed(number: int) -> int:
    """A difference of sequence numbers as the 64-bit integer that Redis keeps."""
    number &= SEQUENCE_MAX
    return number if number <= INT64_MAX else number - (1 << SEQUENCE_BITS)


def sequence_difference(number: int, base: int) -> int:
    """How far the sequence number of an id is from that of the id `base`."""
    return _signed((number & SEQUENCE_MAX) - (base & SEQUENCE_MAX))


def entry_size(entry: tuple[bytes, ...] | list[bytes]) -> int:
    """How many bytes an entry takes in a listpack, but for its flags and its id."""
    size = 0
    for element in entry:
        length = len(element)
        size += length + 2 if element > BEHIND_INTEGERS and length <= SHORT_BYTES_MAX else element_size(element)
    if type(entry) is tuple:
        return size + (2 if len(entry) < 125 else integer_size(len(entry) + 3))
    return size + integer_size(len(entry) // 2) + integer_size(len(entry) + 4)


COUNTS_BYTES_MAX: Final = 20
"""The most that a node's two counts take in a listpack."""

# --- nodes ------------------------------------------------------------------------------------------------------------


class Node:
    """Entries in a row. `first_id` is the id that it began with and `last_id` the last it got, deleted or not."""

    __slots__ = (
        "_head_bytes", "_near_id", "bytes", "deleted", "entries", "fields",
        "first_id", "ids", "last_id", "owner", "raw",
    )  # fmt: skip

    def __init__(self, first_id: int, fields: tuple[bytes, ...], owner: object) -> None:
        self.first_id = self.last_id = first_id
        self.fields = fields
        self.owner = owner  # whose node it is to change
        self.ids: list[int] = []
        self.entries: list[Entry] = []
        self.deleted = 0
        self.raw: tuple[Callable[[Node, bytes], None], bytes] | None = None
        """How to unpack it, and the packed bytes; None once that is done."""
        self.bytes = LISTPACK_BYTES + integer_size(len(fields)) + sum(map(element_size, fields)) + 2
        """Of its listpack in Redis, but for the two counts of entries."""
        self._head_bytes = 0  # what flags and id take of an entry behind the last one...
        self._near_id = -1  # ...if its id is no higher than this

    def unpack(self) -> None:
        """Lay the entries open, if they are not."""
        if self.raw is not None:
            unpack, packed = self.raw
            unpack(self, packed)
            self.raw = None

    def copy(self, owner: object) -> "Node":
        twin = Node.__new__(Node)
        twin.first_id, twin.last_id, twin.fields, twin.owner = self.first_id, self.last_id, self.fields, owner
        twin.ids, twin.entries = self.ids.copy(), self.entries.copy()
        twin.deleted, twin.raw, twin.bytes = self.deleted, self.raw, self.bytes
        twin._head_bytes, twin._near_id = self._head_bytes, self._near_id
        return twin

    def add(self, number: int, pairs: Pairs) -> None:
        """Put an entry behind the others."""
        if number > self._near_id:
            self._measure_head(number)
        fields = self.fields
        if len(pairs) == 2 and len(fields) == 1 and pairs[0] == fields[0]:  # one field, as most have
            value = pairs[1]
            length = len(value)
            size = length + 2 if value > BEHIND_INTEGERS and length <= SHORT_BYTES_MAX else element_size(value)
            self.bytes += self._head_bytes + size + 2
            self.entries.append(value)
        else:
            entry = tuple(pairs[1::2]) if tuple(pairs[::2]) == fields else list(pairs)
            self.bytes += self._head_bytes + entry_size(entry)
            self.entries.append(entry)
        self.ids.append(number)
        self.last_id = number

    def _measure_head(self, number: int) -> None:
        """See what flags and id take of this entry: both parts of the id as differences to those of the first one.

        Those of the next ids take as much while they are of the same millisecond and of as small a difference.
        """
        ms = (number >> SEQUENCE_BITS) - (self.first_id >> SEQUENCE_BITS)
        sequence = sequence_difference(number, self.first_id)
        self._head_bytes = 2 + integer_size(ms) + integer_size(sequence)
        bounds = [high for low, high in SMALL_INTEGERS if low <= sequence <= high]
        self._near_id = min(number | SEQUENCE_MAX, number + bounds[0] - sequence) if bounds else number

    def pairs(self, at: int) -> Pairs:
        """Fields and values of the entry at a place."""
        entry = self.entries[at]
        if isinstance(entry, bytes):
            return [self.fields[0], entry]
        if isinstance(entry, list):
            return entry
        pairs = [b""] * (2 * len(entry))
        pairs[::2] = self.fields
        pairs[1::2] = entry
        return pairs

    def remove(self, start: int, stop: int) -> None:
        """Remove the entries from place `start` up to before `stop`; in Redis their bytes stay, marked."""
        del self.ids[start:stop]
        del self.entries[start:stop]
        self.deleted += stop - start

    def is_full(self, added_bytes: int, bytes_max: int, entries_max: int) -> bool:
        """Tell whether another entry, of `added_bytes` of fields and values, goes to a new node."""
        if 0 < entries_max <= len(self.ids) + self.deleted:
            return True
        taken = self.bytes + added_bytes
        limit = bytes_max if 0 < bytes_max <= NODE_BYTES_MAX else NODE_BYTES_MAX
        return taken + COUNTS_BYTES_MAX >= limit and (
            taken + integer_size(len(self.ids)) + integer_size(self.deleted) >= limit
        )


# --- groups -----------------------------------------------------------------------------------------------------------


class Delivery:
    """An entry that was given to a consumer and not acknowledged. It never changes: another one takes its place."""

    __slots__ = ("consumer", "count", "time_ms")

    def __init__(self, consumer: "Consumer", time_ms: int, count: int) -> None:
        self.consumer = consumer
        self.time_ms = time_ms
        self.count = count


class Consumer:
    """A member of a group. `pending` holds its share of the group's deliveries by id."""

    __slots__ = ("active_ms", "name", "pending", "seen_ms")

    def __init__(self, name: bytes, seen_ms: int) -> None:
        self.name = name
        self.seen_ms = seen_ms
        self.active_ms = NEVER
        self.pending: Any = SortedDict()


class Group:
    """Consumers that share a stream. `pending` is a sorted map from ids to deliveries."""

    __slots__ = ("consumers", "entries_read", "last_id", "name", "pending")

    def __init__(self, name: bytes, last_id: int, entries_read: int) -> None:
        self.name = name
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending: Any = SortedDict()
        self.consumers: dict[bytes, Consumer] = {}

    def copy(self) -> "Group":
        twin = Group(self.name, self.last_id, self.entries_read)
        for consumer in self.consumers.values():
            other = twin.consumers[consumer.name] = Consumer(consumer.name, consumer.seen_ms)
            other.active_ms = consumer.active_ms
            other.pending.update((number, Delivery(other, it.time_ms, it.count)) for number, it in
                                 consumer.pending.items())  # fmt: skip
        twin.pending.update(
            (number, twin.consumers[it.consumer.name].pending[number]) for number, it in self.pending.items()
        )
        return twin

    def deliver(self, number: int, consumer: Consumer, time_ms: int, count: int) -> Delivery:
        """Note that an entry is with `consumer` now, whosever it was."""
        before: Delivery | None = self.pending.get(number)
        if before is not None and before.consumer is not consumer:
            del before.consumer.pending[number]
        delivery = self.pending[number] = consumer.pending[number] = Delivery(consumer, time_ms, count)
        return delivery

    def acknowledge(self, number: int) -> bool:
        """Forget a delivery; False if there is none."""
        delivery = self.pending.pop(number, None)
        if delivery is None:
            return False
        del delivery.consumer.pending[number]
        return True

    def remove_consumer(self, name: bytes) -> int:
        """Forget a consumer with its deliveries, and return how many those were."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return 0
        for number in consumer.pending:
            del self.pending[number]
        return len(consumer.pending)

    def sorted_consumers(self) -> list[Consumer]:
        return [self.consumers[name] for name in sorted(self.consumers)]


# --- streams ----------------------------------------------------------------------------------------------------------


class Stream:
    """One stream. It may be empty: ids and groups go on. `groups` go by name, in no order."""

    __slots__ = (
        "_nodes", "_owner", "_starts", "entries_added", "groups", "last_id", "length", "max_deleted_id",
        "name_head", "named_ms",
    )  # fmt: skip

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._starts: list[int] = []  # the `first_id` of each node
        self._owner = object()
        self.length = 0
        self.last_id = 0
        self.max_deleted_id = 0
        self.entries_added = 0  # ever
        self.groups: dict[bytes, Group] = {}
        self.named_ms = -1  # ids of this millisecond...
        self.name_head = b""  # ...begin with this text

    def __len__(self) -> int:
        return self.length

    def copy(self) -> "Stream":
        twin = Stream()
        twin._nodes, twin._starts, twin.length = self._nodes.copy(), self._starts.copy(), self.length
        twin.last_id, twin.max_deleted_id, twin.entries_added = self.last_id, self.max_deleted_id, self.entries_added
        twin.groups = {name: group.copy() for name, group in self.groups.items()}
        self._owner = object()  # the nodes are nobody's own now
        return twin

    def reading(self) -> "StreamReading | None":
        """A reading of it, if it is long."""
        if self.length > LONG_ELEMENTS:
            return StreamReading(self)
        if self.groups and any(len(group.pending) > LONG_ELEMENTS for group in self.groups.values()):
            return StreamReading(self)
        size = 0
        for node in self._nodes:
            size += node.bytes if node.raw is None else len(node.raw[1])
        return StreamReading(self) if size > LONG_BYTES else None

    def share_nodes(self) -> list[Node]:
        """The nodes, which are nobody's own from now on: whoever changes one copies it first."""
        self._owner = object()
        return self._nodes.copy()

    def shed(self, count: int) -> None:
        """Let go of about `count` elements, or of all if there are fewer."""
        while self.groups and count > 0:
            name, group = self.groups.popitem()
            while group.pending and count > 0:
                number, delivery = group.pending.popitem()
                del delivery.consumer.pending[number]
                count -= 1
            if group.pending:
                self.groups[name] = group
        while self._nodes and count > 0:
            count -= max(1, len(self._nodes.pop().ids))
        if not self._nodes and not self.groups:
            self.length = 0

    @property
    def first_id(self) -> int:
        """The id of the first entry; 0 without one."""
        if not self.length:
            return 0
        node = self._nodes[0]
        node.unpack()
        return node.ids[0]

    @property
    def final_id(self) -> int:
        """The id of the last entry that is still there; 0 without one."""
        if not self.length:
            return 0
        node = self._nodes[-1]
        node.unpack()
        return node.ids[-1]

    # --- adding ---------------------------------------------------------------------------------------------------

    def name(self) -> bytes:
        """The last id as text. What it begins with is kept for the next ones of its millisecond."""
        self.named_ms = self.last_id >> SEQUENCE_BITS
        self.name_head = b"%d-" % self.named_ms
        return self.name_head + b"%d" % (self.last_id & SEQUENCE_MAX)

    def append(self, number: int, pairs: Pairs, pairs_bytes: int, bytes_max: int, entries_max: int) -> None:
        """Add an entry, whose id is above all before; `pairs_bytes` long. The limits are those of a node."""
        nodes = self._nodes
        node = nodes[-1] if nodes else None
        if (
            node is None
            or node.owner is not self._owner
            or len(node.ids) + node.deleted >= entries_max
            or (taken := node.bytes + pairs_bytes + COUNTS_BYTES_MAX) >= bytes_max
            or taken >= NODE_BYTES_MAX
        ):  # it may be full: `is_full` looks closer, where a limit of 0 is none, too
            node = self._last_node(number, pairs, pairs_bytes, bytes_max, entries_max)
        node.add(number, pairs)
        self.last_id = number
        self.length += 1
        self.entries_added += 1

    def _last_node(self, number: int, pairs: Pairs, pairs_bytes: int, bytes_max: int, entries_max: int) -> Node:
        """The node that takes another entry: the last one, if it is not full, or a new one."""
        nodes = self._nodes
        if nodes:
            nodes[-1].unpack()
            if not nodes[-1].is_full(pairs_bytes, bytes_max, entries_max):
                return self._own(len(nodes) - 1)
        return self.add_node(Node(number, tuple(pairs[::2]), self._owner))

    def add_node(self, node: Node) -> Node:
        """Put a node behind all others; whoever fills it counts its entries in `length`."""
        self._nodes.append(node)
        self._starts.append(node.first_id)
        return node

    def _own(self, at: int) -> Node:
        node = self._nodes[at]
        if node.owner is not self._owner:
            node.unpack()
            node = self._nodes[at] = node.copy(self._owner)
        return node

    # --- looking --------------------------------------------------------------------------------------------------

    def nodes(self) -> Sequence[Node]:
        """All nodes, for whoever writes them down."""
        return self._nodes

    def _locate(self, number: int) -> tuple[int, int] | None:
        """The place of a node, and in it that of the entry with this id."""
        at = bisect_right(self._starts, number) - 1
        if at < 0:
            return None
        node = self._nodes[at]
        node.unpack()
        place = bisect_left(node.ids, number)
        return (at, place) if place < len(node.ids) and node.ids[place] == number else None

    def get(self, number: int) -> Pairs | None:
        """Fields and values of an entry; None if it is not there."""
        found = self._locate(number)
        return None if found is None else self._nodes[found[0]].pairs(found[1])

    def __contains__(self, number: int) -> bool:
        return self._locate(number) is not None

    def range(self, start: int, end: int) -> Iterator[tuple[int, Pairs]]:
        """Entries from the id `start` to the id `end`, both included."""
        nodes = self._nodes
        for at in range(max(bisect_right(self._starts, start) - 1, 0), len(nodes)):
            node = nodes[at]
            if node.first_id > end:
                return
            node.unpack()
            ids = node.ids
            for place in range(bisect_left(ids, start), bisect_right(ids, end)):
                yield ids[place], node.pairs(place)

    def reversed_range(self, start: int, end: int) -> Iterator[tuple[int, Pairs]]:
        """As `range`, from the end backwards."""
        nodes = self._nodes
        for at in range(bisect_right(self._starts, end) - 1, -1, -1):
            node = nodes[at]
            node.unpack()
            ids = node.ids
            for place in range(bisect_right(ids, end) - 1, bisect_left(ids, start) - 1, -1):
                yield ids[place], node.pairs(place)
            if node.first_id <= start:
                return

    # --- removing -------------------------------------------------------------------------------------------------

    def delete(self, number: int) -> bool:
        """Remove an entry; False if it is not there."""
        found = self._locate(number)
        if found is None:
            return False
        at, place = found
        node = self._own(at)
        node.remove(place, place + 1)
        if not node.ids:
            del self._nodes[at]
            del self._starts[at]
        self.length -= 1
        self.max_deleted_id = max(self.max_deleted_id, number)
        return True

    def trim_to_length(self, length: int, approximately: bool = False, limit: int = 0) -> int:
        """Remove entries from the front until `length` are left, and return how many went.

        Approximately: only whole nodes, and at most `limit` entries unless that is 0.
        """
        if self.length <= length or (approximately and self._keeps_first(self.length - length)):
            return 0  # as most times, where each entry that is added trims
        whole = removed = 0
        for node in self._nodes:
            node.unpack()
            count = len(node.ids)
            if self.length - removed <= length or (limit and removed + count > limit):
                break
            if self.length - removed - count < length:
                return self._trim(whole, 0 if approximately else self.length - removed - length)
            whole += 1
            removed += count
        return self._trim(whole, 0)

    def _keeps_first(self, too_many: int) -> bool:
        """Has the first node more entries than those that are to go?"""
        node = self._nodes[0]
        node.unpack()
        return len(node.ids) > too_many

    def trim_below(self, number: int, approximately: bool = False, limit: int = 0) -> int:
        """Remove the entries before the id `number`: otherwise as `trim_to_length`."""
        whole = removed = 0
        for node in self._nodes:
            node.unpack()
            count = len(node.ids)
            if limit and removed + count > limit:
                break
            if node.last_id >= number:
                return self._trim(whole, 0 if approximately else bisect_left(node.ids, number))
            whole += 1
            removed += count
        return self._trim(whole, 0)

    def _trim(self, whole_nodes: int, entries: int) -> int:
        """Remove nodes from the front, and entries of the next one; how many entries went."""
        if not whole_nodes and not entries:
            return 0
        removed = entries + sum([len(node.ids) for node in self._nodes[:whole_nodes]])
        if entries:
            node = self._own(whole_nodes)
            node.remove(0, entries)
            whole_nodes += not node.ids
        del self._nodes[:whole_nodes]
        del self._starts[:whole_nodes]
        self.length -= removed
        return removed

    # --- groups ---------------------------------------------------------------------------------------------------

    def sorted_groups(self) -> list[Group]:
        return [self.groups[name] for name in sorted(self.groups)]

    def deleted_from(self, start: int) -> bool:
        """Tell whether an entry at or above the id `start` has been deleted."""
        return bool(self.length) and self.max_deleted_id != 0 and start <= self.max_deleted_id

    def entries_up_to(self, number: int) -> int:
        """How many entries there ever were up to the id `number`; UNKNOWN if that cannot be told."""
        if not self.entries_added:
            return 0
        if not self.length and number <= self.last_id:
            return self.entries_added
        if 0 < number < self.max_deleted_id or number > self.last_id:
            return UNKNOWN
        if number == self.last_id:
            return self.entries_added
        first_id = self.first_id
        if self.max_deleted_id == 0 or self.max_deleted_id < first_id:
            if number < first_id:
                return self.entries_added - self.length
            if number == first_id:
                return self.entries_added - self.length + 1
        return UNKNOWN

    def lag(self, group: Group) -> int | None:
        """How many entries the group has yet to read; None if that cannot be told."""
        if not self.length:
            return 0
        if group.last_id < self.first_id > self.max_deleted_id:
            return self.length
        read = group.entries_read
        if read == UNKNOWN or self.deleted_from(group.last_id):
            read = self.entries_up_to(group.last_id)
        return None if read == UNKNOWN else self.entries_added - read

    def advance(self, group: Group, number: int) -> None:
        """The group has read the entry `number`, the next one for it."""
        if group.entries_read != UNKNOWN and group.last_id >= self.first_id and not self.deleted_from(group.last_id):
            group.entries_read += 1
        elif self.entries_added:
            group.entries_read = self.entries_up_to(number)
        group.last_id = number

    # --- the form that Redis would have ---------------------------------------------------------------------------

    def radix_tree_nodes(self) -> int:
        """How many nodes Redis's radix tree over the first ids has: XINFO tells."""
        return radix_tree_nodes(self._starts)

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        assert self._starts == [node.first_id for node in self._nodes]
        ids: list[int] = []
        for node in self._nodes:
            node.unpack()
            assert node.ids and len(node.ids) == len(node.entries)
            assert node.first_id <= node.ids[0] and node.ids[-1] <= node.last_id
            ids += node.ids
        assert ids == sorted(set(ids)) and len(ids) == self.length
        assert self.length <= self.entries_added and (not ids or ids[-1] <= self.last_id)
        for name, group in self.groups.items():
            assert name == group.name
            assert sum(len(consumer.pending) for consumer in group.consumers.values()) == len(group.pending)
            for number, delivery in group.pending.items():
                assert delivery.consumer.pending[number] is delivery
                assert group.consumers[delivery.consumer.name] is delivery.consumer


class GroupNote:
    """A group as it was: `pending` and each consumer's share of it by reference."""

    __slots__ = ("consumers", "deliveries", "entries_read", "last_id", "name", "numbers")

    def __init__(self, group: Group) -> None:
        self.name, self.last_id, self.entries_read = group.name, group.last_id, group.entries_read
        pending = group.pending
        self.numbers: list[int] = list(pending)
        if self.numbers == list(dict.keys(pending)):  # they came in order: no look-up of each
            self.deliveries: list[Delivery] = list(dict.values(pending))
        else:
            self.deliveries = [pending[number] for number in self.numbers]
        self.consumers: list[tuple[Consumer, int, list[int]]] = [
            (consumer, consumer.seen_ms, list(consumer.pending)) for consumer in group.sorted_consumers()
        ]

    def group(self) -> Group:
        """The group as it was."""
        made = Group(self.name, self.last_id, self.entries_read)
        deliveries = dict(zip(self.numbers, self.deliveries, strict=True))
        for known, seen_ms, numbers in self.consumers:
            consumer = made.consumers[known.name] = Consumer(known.name, seen_ms)
            for number in numbers:
                made.deliver(number, consumer, deliveries[number].time_ms, deliveries[number].count)
        return made


class StreamReading(Reading):
    """A long stream: its nodes are shared, its groups noted down before they change."""

    __slots__ = ("_groups", "entries_added", "first_id", "last_id", "length", "max_deleted_id", "nodes")

    def __init__(self, value: Stream) -> None:
        super().__init__(value)
        self.nodes = value.share_nodes()
        self.length, self.first_id, self.last_id = value.length, value.first_id, value.last_id
        self.max_deleted_id, self.entries_added = value.max_deleted_id, value.entries_added
        self._groups: list[GroupNote] | None = None

    def groups(self) -> list[GroupNote]:
        """The groups, by name."""
        self.hold()
        assert self._groups is not None
        return self._groups

    def hold(self) -> None:
        if self._groups is None:
            self._groups = [GroupNote(group) for group in self.value.sorted_groups()]

    def twin(self) -> Stream:
        """The stream as it was. It shares its nodes, so it is not to be changed."""
        made = Stream()
        made._nodes, made._starts = self.nodes, [node.first_id for node in self.nodes]
        made.length, made.last_id = self.length, self.last_id
        made.max_deleted_id, made.entries_added = self.max_deleted_id, self.entries_added
        made.groups = {note.name: note.group() for note in self.groups()}
        return made


def radix_tree_nodes(keys: Iterable[int]) -> int:
    """Count the nodes of a radix tree whose chains are compressed, over ascending keys of 16 bytes.

    There is one for each place where keys part, one for a chain of bytes between such places, and one for each end.
    """
    total = 0
    open_branches: list[int] = []  # depths at which the keys before the present one part, from the root down
    previous: int | None = None
    last_depth = -1  # where the previous key parted from its neighbours at the deepest
    for key in keys:
        if previous is not None:
            depth = ID_BYTES - ((key ^ previous).bit_length() + 7) // 8  # bytes that both have in common
            total += _end(max(last_depth, depth))
            while open_branches and open_branches[-1] > depth:
                total += _branch(open_branches.pop(), max(open_branches[-1] if open_branches else -1, depth))
            if not open_branches or open_branches[-1] < depth:
                open_branches.append(depth)
            last_depth = depth
        previous = key
    if previous is None:
        return 1
    total += _end(last_depth)
    while open_branches:
        total += _branch(open_branches.pop(), open_branches[-1] if open_branches else -1)
    return total


def _end(branch_depth: int) -> int:
    """Nodes of a key below the last place where it parts from others."""
    return 1 if branch_depth + 1 == ID_BYTES else 2


def _branch(depth: int, above: int) -> int:
    """Nodes of a place where keys part, with the chain that leads there."""
    return 1 if depth == above + 1 else 2
