"""The registry of value types: an entry here is all that files, syncs, DUMP and RESTORE need to know of a type.

Each type's entry is made in its own module. It has the Python classes of the values, the RDB type codes (several, where
Redis had several forms), one function that decodes each of them, and one that encodes. A decoder follows the rules of
`node.rdb.codec`.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from node.datatypes.packed import Packed, PackedReading
from node.datatypes.reading import Reading, TextReading
from node.rdb.codec import RDB_VERSION, RDB_VERSION_MAX, RdbError, decode_length, decode_string, encode_string
from node.rdb.hashes import HASHES
from node.rdb.lists import LISTS
from node.rdb.pieces import long_string
from node.rdb.sets import SETS
from node.rdb.sortedsets import SORTED_SETS
from node.rdb.streams import STREAMS
from node.rdb.valuetype import Decode, Encode, Pieces, Value, ValueType

Entry: TypeAlias = tuple[bytes, Value, int | None]
"""A key, its value, and the Unix time in milliseconds at which it expires (None: never)."""

STRING: Final = 0
MODULE2: Final = 7

MODULE_NAME_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _decode_string_value(_code: int, data: bytes, at: int) -> tuple[Value, int]:
    return decode_string(data, at)


def _encode_string_value(value: Value, compress: bool) -> tuple[int, bytes]:
    assert type(value) is bytes or type(value) is bytearray
    return STRING, encode_string(value, compress)


def _string_pieces(reading: TextReading, _compress: bool) -> tuple[int, Iterator[bytes]]:
    return STRING, long_string(reading)


VALUE_TYPES: Final[tuple[ValueType, ...]] = (
    ValueType(
        "string",
        (bytes, bytearray),
        (STRING,),
        _decode_string_value,
        _encode_string_value,
        TextReading,
        _string_pieces,
    ),
    LISTS,
    SORTED_SETS,
    SETS,
    HASHES,
    STREAMS,
)

DECODERS: Final[Mapping[int, Decode]] = MappingProxyType({code: it.decode for it in VALUE_TYPES for code in it.codes})
MAY_BE_EMPTY: Final = frozenset((STRING, *STREAMS.codes))
"""Of these a value without elements is a value all the same."""
BLOCKS: Final[Mapping[int, str]] = MappingProxyType(
    {
        9: "Zipmap",
        10: "List ziplist",
        11: "Intset",
        12: "Zset ziplist",
        13: "Hash ziplist",
        14: "Ziplist",
        16: "Hash listpack",
        17: "Zset listpack",
        18: "Listpack",
        20: "Set listpack",
    }
)
"""What values of these types are packed into."""
ENCODERS: Final[Mapping[type, Encode]] = MappingProxyType({cls: it.encode for it in VALUE_TYPES for cls in it.classes})

PIECES: Final[Mapping[type, Pieces]] = MappingProxyType({it.reading: it.pieces for it in VALUE_TYPES})


def decode_value(code: int, data: bytes, at: int) -> tuple[Value, int]:
    """Read the value of type `code` that starts at `at`. Raises RdbError for a type that is not known."""
    decode = DECODERS.get(code)
    if decode is None:
        raise _unknown_type(code, data, at)
    return decode(code, data, at)


def _unknown_type(code: int, data: bytes, at: int) -> RdbError:
    if code != MODULE2:
        return RdbError(at, f"Unknown RDB encoding type {code}")
    module_id, _ = decode_length(data, at)
    name = module_name(module_id)
    return RdbError(at, f"The RDB file contains module data I can't load: no matching module type '{name}'")


def encode_value(value: Value, compress: bool = True) -> tuple[int, bytes]:
    """Return the type code and the bytes of `value`. A class that is not registered is our own mistake: TypeError."""
    encode = ENCODERS.get(type(value))
    if encode is None and type(value) is Packed:
        if value.form.write is not None:
            return value.form.code, value.form.write(value.payload, compress)
        value = value.unpack()
        encode = ENCODERS.get(type(value))
    if encode is None:
        raise TypeError(f"no RDB form for values of {type(value).__name__}")
    return encode(value, compress)


def encode_pieces(reading: Reading, compress: bool = True) -> tuple[int, Iterator[bytes]]:
    """Return the type code and the bytes of a long value, piece by piece. Between two of them the value may change."""
    if type(reading) is PackedReading:
        assert reading.form.pieces is not None
        return reading.form.pieces(reading.payload, compress)
    return PIECES[type(reading)](reading, compress)


def version_for(code: int) -> int:
    """Return the lowest RDB version, not below 10, that may hold values of type `code`."""
    if code <= 19:
        return RDB_VERSION
    return 11 if code <= 21 else RDB_VERSION_MAX


def module_name(module_id: int) -> str:
    """Return the nine letters that stand in the high 54 bits of a module type's id."""
    return "".join(MODULE_NAME_LETTERS[module_id >> 10 + 6 * place & 0x3F] for place in range(8, -1, -1))
