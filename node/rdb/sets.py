"""Sets in RDB: plain (2), an intset (11), a listpack (20, since 7.2: only read, as a 7.0 does not know it).

A small plain one, too, stays as it came until it is touched: once each of its members has been looked at.
"""

from collections.abc import Iterator
from typing import Final

from node.config.settings import Settings
from node.datatypes.packed import Form, Packed
from node.datatypes.sets import HASHTABLE, INTSET, LISTPACK, Set, SetReading
from node.rdb import intset, listpack
from node.rdb.codec import (
    RdbError,
    decode_length,
    decode_string,
    decode_strings,
    encode_length,
    encode_string,
    encode_strings,
)
from node.rdb.pieces import paced
from node.rdb.valuetype import Value, ValueType

SET: Final = 2
SET_INTSET: Final = 11
SET_LISTPACK: Final = 20

PACKED_MAX: Final = 512
PACKED_BYTES_MAX: Final = 1 << 14
"""A plain set of more members or bytes is laid open at once: later, a client would have to wait for it."""


def _unpack_intset(payload: bytes) -> Set:
    return Set([b"%d" % number for number in intset.decode(payload)])


def _unpack_listpack(payload: bytes) -> Set:
    members = listpack.decode(payload)
    found = Set(members)
    if len(found) != len(members):
        raise RdbError(0, "Set with a member twice")
    return found


def _count_plain(payload: bytes) -> int:
    return decode_length(payload, 0)[0]


def _unpack_plain(payload: bytes) -> Set:
    return Set(_decode_members(payload, 0)[0])


def _plain_encoding(payload: bytes, settings: Settings) -> bytes:
    return _unpack_plain(payload).encoding(settings)


def _write_plain(payload: bytes, _compress: bool) -> bytes:
    return payload


def _intset_encoding(payload: bytes, settings: Settings) -> bytes:
    return INTSET if intset.count(payload) <= settings.set_max_intset_entries else HASHTABLE


def _listpack_encoding(payload: bytes, settings: Settings) -> bytes:
    return LISTPACK if listpack.count(payload) <= settings.set_max_listpack_entries else HASHTABLE


PLAIN_FORM: Final = Form(SET, Set, _count_plain, _unpack_plain, _plain_encoding, _write_plain)
INTSET_FORM: Final = Form(SET_INTSET, Set, intset.count, _unpack_intset, _intset_encoding, encode_string)
LISTPACK_FORM: Final = Form(SET_LISTPACK, Set, listpack.count, _unpack_listpack, _listpack_encoding)


def decode(code: int, data: bytes, at: int) -> tuple[Value, int]:
    """Read a set of any form."""
    if code == SET:
        return _decode_plain(data, at)
    payload, end = decode_string(data, at)
    if code == SET_INTSET:
        intset.check(payload)
        return Packed(INTSET_FORM, payload), end
    listpack.check(payload)
    return Packed(LISTPACK_FORM, payload), end


def _decode_plain(data: bytes, at: int) -> tuple[Value, int]:
    members, end = _decode_members(data, at)
    distinct = set(members)
    if len(distinct) != len(members):
        raise RdbError(at, "Duplicate set members detected")
    if 0 < len(members) <= PACKED_MAX and end - at <= PACKED_BYTES_MAX:
        return Packed(PLAIN_FORM, bytes(data[at:end])), end
    return Set(distinct), end


def _decode_members(data: bytes, at: int) -> tuple[list[bytes], int]:
    size, at = decode_length(data, at)
    return decode_strings(data, at, size)


def encode(value: Value, compress: bool) -> tuple[int, bytes]:
    """Write a set as an intset if it is one, else plainly."""
    assert isinstance(value, Set)
    if value.form is INTSET:
        return SET_INTSET, encode_string(intset.encode(sorted(map(int, value))), compress)
    return SET, encode_length(len(value)) + encode_strings(value, compress)


def pieces(reading: SetReading, compress: bool) -> tuple[int, Iterator[bytes]]:
    """Write a long set plainly."""
    return SET, _pieces(reading, compress)


def _pieces(reading: SetReading, compress: bool) -> Iterator[bytes]:
    yield encode_length(reading.count)
    yield from paced(reading.take, compress)


SETS: Final = ValueType("set", (Set,), (SET, SET_INTSET, SET_LISTPACK), decode, encode, SetReading, pieces)
