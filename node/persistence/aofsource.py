"""The keyspace of one moment as commands that make it anew: a base without an RDB (`aof-use-rdb-preamble no`).

Sans-IO, and read as `node.persistence.source.RdbSource`. Containers are made by commands of up to `ITEMS_MAX` elements,
as Redis writes them, so that no command of the file is without bound.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, Final

from node.datatypes.hashes import Hash, HashReading
from node.datatypes.lists import List, ListReading
from node.datatypes.numbers import format_double
from node.datatypes.packed import Packed, PackedReading
from node.datatypes.reading import Reading, TextReading
from node.datatypes.sets import Set, SetReading
from node.datatypes.sortedsets import SortedSet, SortedSetReading
from node.datatypes.streams import ID_MAX, Group, Stream, StreamReading, id_text
from node.keyspace.snapshot import Item, Snapshot
from node.net.resp import encode_command
from node.persistence.host import PersistenceHost
from node.persistence.source import CHUNK_BYTES

ITEMS_MAX = 64
"""Elements a command: AOF_REWRITE_ITEMS_PER_CMD in Redis."""
STEP_KEYS = 64
"""Keys between two looks at the clock."""

Words = list[bytes]


def time_note(now_s: int) -> bytes:
    """The line that tells when what follows was written (`aof-timestamp-enabled`), in Unix time."""
    return b"#TS:%d\r\n" % now_s


class CommandSource:
    """One snapshot on its way out. `keys_done` of `keys_total` have been encoded."""

    def __init__(self, host: PersistenceHost, functions: Iterable[bytes] = ()) -> None:
        self._clock_ns = host.clock_ns
        self._snapshot = Snapshot(host.keyspace, arriving=True)
        self._db = -1
        self._rest: Iterator[Words] = iter(())  # of the long value that is under way
        self._finished = False
        self._out = bytearray()
        self.keys_step = 0  # how many keys the last chunk took
        self.keys_total = self._snapshot.total
        if host.config.aof_timestamp_enabled:
            self._out += time_note(host.platform.now_ms() // 1000)
        for code in functions:
            self._out += encode_command([b"FUNCTION", b"LOAD", code])

    @property
    def keys_done(self) -> int:
        return self._snapshot.processed

    def next_chunk(self, budget_ns: int) -> bytes | None:
        """The next bytes, after about `budget_ns` of work; None at the end."""
        before = self.keys_done
        end_ns = self._clock_ns() + budget_ns
        while not self._finished and len(self._out) < CHUNK_BYTES:
            self._encode_step()
            if self._clock_ns() >= end_ns and self._out:
                break
        self.keys_step = self.keys_done - before
        if self._finished and not self._out:
            return None
        chunk = bytes(self._out)
        self._out.clear()
        return chunk

    def _encode_step(self) -> None:
        words = next(self._rest, None)
        if words is not None:
            self._out += encode_command(words)
            return
        found = self._snapshot.next_batch(STEP_KEYS)
        if found is None:
            self._finished = True
            return
        part, batch = found
        if batch and part.index != self._db:
            self._db = part.index
            self._out += encode_command([b"SELECT", b"%d" % part.index])
        if len(batch) == 1 and isinstance(batch[0][1], Reading):
            self._rest = commands_for(batch[0])
            return
        for item in batch:
            for words in commands_for(item):
                self._out += encode_command(words)

    def close(self) -> None:
        """Give the snapshot up. May be called at any time, and again."""
        self._finished = True
        self._out.clear()
        self._rest = iter(())
        self._snapshot.close()


def commands_for(item: Item) -> Iterator[Words]:
    """The commands that make a key with its value and its deadline. Between two of them a long value may change."""
    key, value, deadline_ms = item
    if type(value) is Packed:
        value = value.unpack()
    yield from MAKERS[type(value)](key, value)
    if deadline_ms is not None:
        yield [b"PEXPIREAT", key, b"%d" % deadline_ms]


def _in_pieces(name: bytes, key: bytes, words: Iterable[bytes], a_piece: int) -> Iterator[Words]:
    iterator = iter(words)
    while piece := list(islice(iterator, a_piece)):
        yield [name, key, *piece]


def _string(key: bytes, value: bytes | bytearray) -> Iterator[Words]:
    yield [b"SET", key, bytes(value)]


def _list(key: bytes, value: List) -> Iterator[Words]:
    return _in_pieces(b"RPUSH", key, value, ITEMS_MAX)


def _set(key: bytes, value: Set) -> Iterator[Words]:
    return _in_pieces(b"SADD", key, value, ITEMS_MAX)


def _sorted_set(key: bytes, value: SortedSet) -> Iterator[Words]:
    words = chain.from_iterable((format_double(score), member) for member, score in value)
    return _in_pieces(b"ZADD", key, words, 2 * ITEMS_MAX)


def _hash(key: bytes, value: Hash) -> Iterator[Words]:
    yield from _in_pieces(b"HMSET", key, chain.from_iterable(value.items()), 2 * ITEMS_MAX)
    for field, deadline_ms in value.deadlines().items():
        yield [b"HPEXPIREAT", key, b"%d" % deadline_ms, b"FIELDS", b"1", field]


def _stream(key: bytes, value: Stream) -> Iterator[Words]:
    for number, pairs in value.range(0, ID_MAX):
        yield [b"XADD", key, id_text(number), *pairs]
    if not value.length:
        yield [b"XADD", key, b"MAXLEN", b"0", id_text(value.last_id or 1), b"x", b"y"]
    yield [
        b"XSETID", key, id_text(value.last_id), b"ENTRIESADDED", b"%d" % value.entries_added,
        b"MAXDELETEDID", id_text(value.max_deleted_id),
    ]  # fmt: skip
    for group in value.groups.values():
        yield from _group(key, group)


def _group(key: bytes, group: Group) -> Iterator[Words]:
    name = group.name
    yield [b"XGROUP", b"CREATE", key, name, id_text(group.last_id), b"ENTRIESREAD", b"%d" % group.entries_read]
    for consumer in group.consumers.values():
        yield [b"XGROUP", b"CREATECONSUMER", key, name, consumer.name]
        for number, delivery in consumer.pending.items():
            yield [
                b"XCLAIM", key, name, consumer.name, b"0", id_text(number), b"TIME", b"%d" % delivery.time_ms,
                b"RETRYCOUNT", b"%d" % delivery.count, b"JUSTID", b"FORCE",
            ]  # fmt: skip


# --- long values, which change meanwhile ------------------------------------------------------------------------------


def _long_string(key: bytes, reading: TextReading) -> Iterator[Words]:
    return _string(key, reading.text)


def _long_list(key: bytes, reading: ListReading) -> Iterator[Words]:
    while elements := reading.take():
        yield from _in_pieces(b"RPUSH", key, elements, ITEMS_MAX)


def _long_set(key: bytes, reading: SetReading) -> Iterator[Words]:
    while members := reading.take(ITEMS_MAX):
        yield [b"SADD", key, *members]


def _long_sorted_set(key: bytes, reading: SortedSetReading) -> Iterator[Words]:
    while pairs := reading.take(ITEMS_MAX):
        yield [b"ZADD", key, *[word for member, score in pairs for word in (format_double(score), member)]]


def _long_hash(key: bytes, reading: HashReading) -> Iterator[Words]:
    while taken := reading.take(ITEMS_MAX):
        yield [b"HMSET", key, *[word for field, content, _ in taken for word in (field, content)]]
        for field, _, deadline_ms in taken:
            if deadline_ms is not None:
                yield [b"HPEXPIREAT", key, b"%d" % deadline_ms, b"FIELDS", b"1", field]


def _long_stream(key: bytes, reading: StreamReading) -> Iterator[Words]:
    return _stream(key, reading.twin())


def _long_packed(key: bytes, reading: PackedReading) -> Iterator[Words]:
    value = reading.form.unpack(reading.payload)
    return MAKERS[type(value)](key, value)


MAKERS: Final[Mapping[type, Callable[[bytes, Any], Iterator[Words]]]] = MappingProxyType(
    {
        bytes: _string,
        bytearray: _string,
        List: _list,
        Set: _set,
        SortedSet: _sorted_set,
        Hash: _hash,
        Stream: _stream,
        TextReading: _long_string,
        ListReading: _long_list,
        SetReading: _long_set,
        SortedSetReading: _long_sorted_set,
        HashReading: _long_hash,
        StreamReading: _long_stream,
        PackedReading: _long_packed,
    }
)
