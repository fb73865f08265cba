"""Keys of an RDB as commands that put them into a server. Pure.

Most keys are one RESTORE. A long one would hold the server for as long as it takes to build it, so it comes in pieces:
strings by APPEND, lists by RPUSH, hashes by HSET, sets by SADD, sorted sets by ZADD, at most `CHUNK_ELEMENTS` elements
and about `CHUNK_BYTES` each. Only streams are always one RESTORE: ids, groups and what is pending have no commands that
would make them as they were.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from node.datatypes.hashes import Hash
from node.datatypes.lists import List
from node.datatypes.numbers import format_double
from node.datatypes.packed import Packed
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.net.resp import Argv
from node.rdb.dump import dump
from node.slots import slot_of

CHUNK_BYTES = 1 << 18
CHUNK_ELEMENTS = 1000
LONG_ELEMENTS = 5000
"""A container with more elements comes in pieces, and so does what takes more than `LONG_BYTES`."""
LONG_BYTES = 1 << 20


@dataclass(slots=True)
class Entry:
    """One key on its way. `insists` is set once it may be there already, be it in part: it then replaces that."""

    db: int
    key: bytes
    value: Any
    deadline_ms: int | None
    idle_s: int | None = None
    freq: int | None = None
    insists: bool = False

    @property
    def slot(self) -> int:
        return slot_of(self.key)


def commands_of(entry: Entry) -> list[Argv]:
    """What puts the key where it is not; each command is answered by something that is no error."""
    value = entry.value
    if not _is_long(value):
        payload = dump(value)
        if len(payload) <= LONG_BYTES:
            return [_restore(entry, payload)]
    pieces = _pieces(entry.key, value.unpack() if type(value) is Packed else value)
    if pieces is None:
        return [_restore(entry, dump(value))]
    before = [[b"DEL", entry.key]] if entry.insists else []
    after = [] if entry.deadline_ms is None else [[b"PEXPIREAT", entry.key, b"%d" % entry.deadline_ms]]
    return [*before, *pieces, *after]


def comes_in_pieces(commands: list[Argv]) -> bool:
    """Whether these commands are not one RESTORE, which by itself refuses a key that is there."""
    return commands[0][0] != b"RESTORE"


def _is_long(value: Any) -> bool:
    if isinstance(value, bytes | bytearray):
        return len(value) > LONG_BYTES
    return len(value) > LONG_ELEMENTS or (type(value) is Packed and value.weight_bytes > LONG_BYTES)


def _restore(entry: Entry, payload: bytes) -> Argv:
    words = [b"RESTORE", entry.key, b"%d" % (entry.deadline_ms or 0), payload]
    if entry.deadline_ms is not None:
        words.append(b"ABSTTL")
    if entry.insists:
        words.append(b"REPLACE")
    if entry.idle_s is not None:
        words += [b"IDLETIME", b"%d" % entry.idle_s]
    elif entry.freq is not None:
        words += [b"FREQ", b"%d" % entry.freq]
    return words


def _pieces(key: bytes, value: Any) -> Iterator[Argv] | None:
    """The value by commands that add to it; None for a type that has no such commands."""
    if isinstance(value, bytes | bytearray):
        return _cut_string(key, bytes(value))
    if isinstance(value, List):
        return _chunks(b"RPUSH", key, ([element] for element in value))
    if isinstance(value, Set):
        return _chunks(b"SADD", key, ([member] for member in value))
    if isinstance(value, SortedSet):
        return _chunks(b"ZADD", key, ([format_double(score), member] for member, score in value))
    if isinstance(value, Hash):
        return chain(_chunks(b"HSET", key, map(list, value.items())), _field_deadlines(key, value))
    return None


def _cut_string(key: bytes, text: bytes) -> Iterator[Argv]:
    yield [b"SET", key, text[:CHUNK_BYTES]]
    for at in range(CHUNK_BYTES, len(text), CHUNK_BYTES):
        yield [b"APPEND", key, text[at : at + CHUNK_BYTES]]


def _chunks(name: bytes, key: bytes, elements: Iterable[list[bytes]]) -> Iterator[Argv]:
    words, count, size = [name, key], 0, 0
    for element in elements:
        words += element
        count += 1
        size += sum(map(len, element))
        if count >= CHUNK_ELEMENTS or size >= CHUNK_BYTES:
            yield words
            words, count, size = [name, key], 0, 0
    if count:
        yield words


def _field_deadlines(key: bytes, value: Hash) -> Iterator[Argv]:
    fields: dict[int, list[bytes]] = {}
    for field, deadline_ms in value.deadlines().items():
        fields.setdefault(deadline_ms, []).append(field)
    for deadline_ms, together in fields.items():
        for at in range(0, len(together), CHUNK_ELEMENTS):
            some = together[at : at + CHUNK_ELEMENTS]
            yield [b"HPEXPIREAT", key, b"%d" % deadline_ms, b"FIELDS", b"%d" % len(some), *some]
