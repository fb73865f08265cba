"""Hashes in RDB: plain (4), a zipmap (9), a ziplist (13), a listpack (16); with deadlines of fields 24 and 25 (7.4).

Packed forms hold fields and values in turn. With deadlines: the nearest of them, 8 bytes little endian (0: none), then
24: the count, and for each field its time, field, value; the time is 0 or how much later than the nearest, plus 1;
25: a listpack of field, value, deadline (0: none), by deadline, those without one last.
22 and 23 are what 24 and 25 were before 7.4 came out: without the nearest, and in 22 with absolute times.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from node.config.settings import Settings
from node.datatypes.hashes import NEVER_MS, Hash, HashReading
from node.datatypes.numbers import parse_int
from node.datatypes.packed import Form, Packed
from node.datatypes.reading import LONG_BYTES
from node.rdb import listpack, ziplist, zipmap
from node.rdb.codec import (
    RdbError,
    decode_length,
    decode_string,
    decode_strings,
    encode_length,
    encode_string,
    encode_strings,
    take,
)
from node.rdb.pieces import Pace, strings
from node.rdb.valuetype import Value, ValueType

HASH: Final = 4
HASH_ZIPMAP: Final = 9
HASH_ZIPLIST: Final = 13
HASH_LISTPACK: Final = 16
HASH_DEADLINES_EARLY: Final = 22
HASH_LISTPACK_DEADLINES_EARLY: Final = 23
HASH_DEADLINES: Final = 24
HASH_LISTPACK_DEADLINES: Final = 25

NEAREST: Final = Struct("<Q")


def _hash_of(flat: list[bytes]) -> Hash:
    """A hash of fields and values in turn. Raises RdbError for a field that comes twice or has no value."""
    pairs = dict(zip(flat[::2], flat[1::2], strict=False))
    if 2 * len(pairs) != len(flat):
        raise RdbError(0, "Hash with a field twice, or without a value")
    return Hash(pairs)


def _encoding(count: int, settings: Settings) -> bytes:
    return b"listpack" if count <= settings.hash_max_listpack_entries else b"hashtable"


LISTPACK_FORM: Final = Form(
    HASH_LISTPACK,
    Hash,
    lambda payload: listpack.count(payload) // 2,
    lambda payload: _hash_of(listpack.decode(payload)),
    lambda payload, settings: _encoding(listpack.count(payload) // 2, settings),
    encode_string,
)
ZIPLIST_FORM: Final = Form(
    HASH_ZIPLIST,
    Hash,
    lambda payload: ziplist.count(payload) // 2,
    lambda payload: _hash_of(ziplist.decode(payload)),
    lambda payload, settings: _encoding(ziplist.count(payload) // 2, settings),
)


def decode(code: int, data: bytes, at: int) -> tuple[Value, int]:
    """Read a hash of any form."""
    if code == HASH:
        return _decode_plain(data, at)
    if code in (HASH_DEADLINES, HASH_DEADLINES_EARLY):
        return _decode_deadlines(code, data, at)
    if code == HASH_LISTPACK_DEADLINES:
        at += len(take(data, at, NEAREST.size))
    payload, end = decode_string(data, at)
    if code == HASH_ZIPMAP:
        return _hash_of(zipmap.decode(payload)), end
    if code == HASH_ZIPLIST:
        ziplist.check(payload)
        return Packed(ZIPLIST_FORM, payload), end
    if code == HASH_LISTPACK:
        listpack.check(payload)
        return Packed(LISTPACK_FORM, payload), end
    return _hash_of_triples(listpack.decode(payload)), end


def _decode_plain(data: bytes, at: int) -> tuple[Hash, int]:
    start = at
    size, at = decode_length(data, at)
    flat, at = decode_strings(data, at, 2 * size)
    pairs = dict(zip(flat[::2], flat[1::2], strict=True))
    if len(pairs) != size:
        raise RdbError(start, "Duplicate hash fields detected")
    return Hash(pairs), at


def _decode_deadlines(code: int, data: bytes, at: int) -> tuple[Hash, int]:
    start = at
    nearest_ms, at = decode_nearest(code, data, at)
    size, at = decode_length(data, at)
    found = Hash()
    for _ in range(size):
        time, at = decode_length(data, at)
        field, at = decode_string(data, at)
        value, at = decode_string(data, at)
        if not found.set(field, value):
            raise RdbError(start, "Duplicate hash fields detected")
        if time:
            found.set_deadline(field, checked_deadline(nearest_ms + time - 1))
    return found, at


def decode_nearest(code: int, data: bytes, at: int) -> tuple[int, int]:
    """The deadline to which those of the fields are relative."""
    if code != HASH_DEADLINES:
        return 1, at  # which makes absolute times of those of the early form
    return NEAREST.unpack(take(data, at, NEAREST.size))[0], at + NEAREST.size


def _hash_of_triples(flat: list[bytes]) -> Hash:
    if len(flat) % 3:
        raise RdbError(0, "Hash with a field without a deadline")
    found = Hash()
    for field, value, time in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        deadline_ms = parse_int(time)
        if deadline_ms is None or not found.set(field, value):
            raise RdbError(0, "Hash with a field twice, or a deadline that is no time")
        if deadline_ms:
            found.set_deadline(field, checked_deadline(deadline_ms))
    return found


def checked_deadline(deadline_ms: int) -> int:
    """The deadline, if it can be one. Raises RdbError."""
    if not 0 < deadline_ms < NEVER_MS:
        raise RdbError(0, f"Hash field expires at {deadline_ms}, which is no time")
    return deadline_ms


def encode(value: Value, compress: bool) -> tuple[int, bytes]:
    """Write a hash: a listpack while it is compact, with deadlines only where it has some."""
    assert isinstance(value, Hash)
    if value.deadlines():
        return _encode_deadlines(value, compress)
    flat = [b""] * (2 * len(value))  # without a pair for each field: that took as long as all the rest of it
    flat[::2], flat[1::2] = value, value.values()
    if value.compact:
        return HASH_LISTPACK, encode_string(listpack.encode(flat), compress)
    return HASH, encode_length(len(value)) + encode_strings(flat, compress)


def _encode_deadlines(value: Hash, compress: bool) -> tuple[int, bytes]:
    deadlines = value.deadlines()
    nearest_ms = value.soonest_ms
    head = NEAREST.pack(nearest_ms)
    if value.compact:
        fields = sorted(value, key=lambda field: deadlines.get(field, NEVER_MS))
        flat = [word for field in fields for word in (field, value.get(field) or b"", b"%d" % deadlines.get(field, 0))]
        return HASH_LISTPACK_DEADLINES, head + encode_string(listpack.encode(flat), compress)
    parts = [head, encode_length(len(value))]
    for field, content in value.items():
        deadline_ms = deadlines.get(field)
        parts.append(encode_length(0 if deadline_ms is None else deadline_ms - nearest_ms + 1))
        parts += (encode_string(field, compress), encode_string(content, compress))
    return HASH_DEADLINES, b"".join(parts)


def pieces(reading: HashReading, compress: bool) -> tuple[int, Iterator[bytes]]:
    """Write a long hash plainly."""
    return HASH_DEADLINES if reading.expires else HASH, _pieces(reading, compress)


def _pieces(reading: HashReading, compress: bool) -> Iterator[bytes]:
    yield (NEAREST.pack(reading.soonest_ms) if reading.expires else b"") + encode_length(reading.count)
    pace = Pace()
    while taken := reading.take(pace.elements):
        words = [word for field, content, _ in taken for word in (field, content)]
        if not reading.expires and sum(map(len, words)) <= LONG_BYTES:
            piece = encode_strings(words, compress)
            yield piece
            pace.written(len(piece))
            continue
        parts: list[bytes] = []
        for field, content, deadline_ms in taken:
            if reading.expires:
                parts.append(encode_length(0 if deadline_ms is None else deadline_ms - reading.soonest_ms + 1))
            if len(field) + len(content) <= LONG_BYTES:
                parts += (encode_string(field, compress), encode_string(content, compress))
            else:
                yield b"".join(parts)
                parts = []
                yield from strings((field, content), compress)
        yield b"".join(parts)
        pace.written(sum(map(len, parts)))


HASHES: Final = ValueType(
    "hash",
    (Hash,),
    (
        HASH,
        HASH_ZIPMAP,
        HASH_ZIPLIST,
        HASH_LISTPACK,
        HASH_DEADLINES_EARLY,
        HASH_LISTPACK_DEADLINES_EARLY,
        HASH_DEADLINES,
        HASH_LISTPACK_DEADLINES,
    ),
    decode,
    encode,
    HashReading,
    pieces,
)
