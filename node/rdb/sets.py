"""Sets in RDB: plain (2), an intset (11), a listpack (20, since 7.2: only read, as a 7.0 does not know it)."""

from typing import Final

from node.config.settings import Settings
from node.datatypes.packed import Form, Packed
from node.datatypes.sets import HASHTABLE, INTSET, LISTPACK, Set
from node.rdb import intset, listpack
from node.rdb.codec import RdbError, decode_length, decode_string, encode_length, encode_string
from node.rdb.valuetype import Value, ValueType

SET: Final = 2
SET_INTSET: Final = 11
SET_LISTPACK: Final = 20


def _unpack_intset(payload: bytes) -> Set:
    return Set([b"%d" % number for number in intset.decode(payload)])


def _unpack_listpack(payload: bytes) -> Set:
    members = listpack.decode(payload)
    found = Set(members)
    if len(found) != len(members):
        raise RdbError(0, "Set with a member twice")
    return found


def _intset_encoding(payload: bytes, settings: Settings) -> bytes:
    return INTSET if intset.count(payload) <= settings.set_max_intset_entries else HASHTABLE


def _listpack_encoding(payload: bytes, settings: Settings) -> bytes:
    return LISTPACK if listpack.count(payload) <= settings.set_max_listpack_entries else HASHTABLE


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


def _decode_plain(data: bytes, at: int) -> tuple[Set, int]:
    start = at
    size, at = decode_length(data, at)
    members = []
    for _ in range(size):
        member, at = decode_string(data, at)
        members.append(member)
    found = Set(members)
    if len(found) != size:
        raise RdbError(start, "Duplicate set members detected")
    return found, at


def encode(value: Value, compress: bool) -> tuple[int, bytes]:
    """Write a set as an intset if it is one, else plainly."""
    assert isinstance(value, Set)
    if value.form is INTSET:
        return SET_INTSET, encode_string(intset.encode(sorted(map(int, value))), compress)
    parts = [encode_string(member, compress) for member in value]
    return SET, encode_length(len(parts)) + b"".join(parts)


SETS: Final = ValueType("set", (Set,), (SET, SET_INTSET, SET_LISTPACK), decode, encode)
