"""Sorted sets in RDB: members and doubles, or pairs in one packed block.

Written are the listpack of a small set (17: member, score, in order; a score is an integer or its text) and type 5
(the highest first, as Redis writes it: its skiplist is then built at one end). Type 3 (scores as text) and the ziplists
of type 12 are only read.
"""

from array import array
from collections.abc import Iterator
from math import isnan
from struct import Struct
from typing import Final

from node.config.settings import Settings
from node.datatypes.numbers import DOUBLE_AS_INT_MAX, format_double, parse_float
from node.datatypes.packed import Form, Packed
from node.datatypes.ranking import Pair
from node.datatypes.reading import LONG_BYTES
from node.datatypes.sortedsets import SortedSet, SortedSetReading
from node.rdb import listpack, ziplist
from node.rdb.codec import RdbError, decode_length, decode_string, encode_length, encode_string, take
from node.rdb.pieces import Pace
from node.rdb.valuetype import ValueType

TEXT_SCORES: Final = 3
BINARY_SCORES: Final = 5
ZIPLIST: Final = 12
LISTPACK: Final = 17

NOT_A_NUMBER, PLUS_INFINITY, MINUS_INFINITY = 253, 254, 255
"""What stands in the place of a text's length in type 3."""

SCORE: Final = Struct("<d")

LISTPACK_ENTRIES_MAX: Final = 128
LISTPACK_MEMBER_BYTES_MAX: Final = 64
"""The usual limits: within them a set that comes as type 5 becomes a listpack with Redis, and is one for us."""


# --- packed forms -----------------------------------------------------------------------------------------------------


def _pairs(elements: list[bytes]) -> Iterator[Pair]:
    """Pairs of the elements of a block. Raises RdbError for an odd number of them or a score that is none."""
    if len(elements) % 2:
        raise RdbError(0, f"Sorted set of {len(elements)} elements")
    for member, text in zip(elements[::2], elements[1::2], strict=True):
        score = parse_float(text)
        if score is None:
            raise RdbError(0, f"Score {text[:32]!r} is no number")
        yield member, score


def _made(pairs: Iterator[Pair] | list[Pair], packed: bool) -> SortedSet:
    try:
        return SortedSet.of(pairs, packed)
    except ValueError:
        raise RdbError(0, "Sorted set with a member that comes twice") from None


def _unpack_listpack(payload: bytes) -> SortedSet:
    return _made(_pairs(listpack.decode(payload)), packed=True)


def _unpack_ziplist(payload: bytes) -> SortedSet:
    return _made(_pairs(ziplist.decode(payload)), packed=True)


def _count_in_listpack(payload: bytes) -> int:
    return listpack.count(payload) // 2


def _count_in_ziplist(payload: bytes) -> int:
    return ziplist.count(payload) // 2


def _listpack_encoding(payload: bytes, settings: Settings) -> bytes:
    return b"listpack" if _count_in_listpack(payload) <= settings.zset_max_listpack_entries else b"skiplist"


def _ziplist_encoding(payload: bytes, settings: Settings) -> bytes:
    return b"listpack" if _count_in_ziplist(payload) <= settings.zset_max_listpack_entries else b"skiplist"


LISTPACK_FORM: Final = Form(
    LISTPACK, SortedSet, _count_in_listpack, _unpack_listpack, _listpack_encoding, encode_string
)
ZIPLIST_FORM: Final = Form(ZIPLIST, SortedSet, _count_in_ziplist, _unpack_ziplist, _ziplist_encoding)


# --- the codec --------------------------------------------------------------------------------------------------------


def _decode(code: int, data: bytes, at: int) -> tuple[SortedSet | Packed, int]:
    if code in (LISTPACK, ZIPLIST):
        payload, end = decode_string(data, at)
        if code == LISTPACK:
            listpack.check(payload)
            return Packed(LISTPACK_FORM, payload), end
        ziplist.check(payload)
        return Packed(ZIPLIST_FORM, payload), end
    start = at
    count, at = decode_length(data, at)
    pairs: list[Pair] = []
    longest = 0
    for _ in range(count):
        member, score, at = decode_pair(code, data, at)
        if isnan(score):
            raise RdbError(at, "Zset with NAN score detected")
        longest = max(longest, len(member))
        pairs.append((member, score))
    packed = count <= LISTPACK_ENTRIES_MAX and longest <= LISTPACK_MEMBER_BYTES_MAX
    try:
        return SortedSet.of(pairs, packed), at
    except ValueError:
        raise RdbError(start, "Zset dup fields detected") from None


def decode_pair(code: int, data: bytes, at: int) -> tuple[bytes, float, int]:
    """A member, its score, and the position behind."""
    member, at = decode_string(data, at)
    if code == BINARY_SCORES:
        return member, SCORE.unpack(take(data, at, SCORE.size))[0], at + SCORE.size
    score, at = _decode_text_score(data, at)
    return member, score, at


def _decode_text_score(data: bytes, at: int) -> tuple[float, int]:
    length = data[at]
    if length >= NOT_A_NUMBER:
        return {NOT_A_NUMBER: float("nan"), PLUS_INFINITY: float("inf"), MINUS_INFINITY: float("-inf")}[length], at + 1
    text = take(data, at + 1, length)
    score = parse_float(text)
    if score is None:
        raise RdbError(at, f"Score {text[:32]!r} is no number")
    return score, at + 1 + length


def _score_element(score: float) -> bytes | int:
    """A score in a listpack; one without a fraction is written as an integer, as its text would be."""
    if score.is_integer() and -DOUBLE_AS_INT_MAX <= score <= DOUBLE_AS_INT_MAX:
        return int(score)
    return format_double(score)


def _listpack(value: SortedSet) -> bytes:
    members, scores = value.columns(0, len(value))
    if scores[0] >= -DOUBLE_AS_INT_MAX and scores[-1] <= DOUBLE_AS_INT_MAX:
        numbers = list(map(int, scores))
        if array("d", numbers) == scores:  # as a rule, none has a fraction
            return listpack.encode_numbered(members, numbers)
    return listpack.encode_mixed(
        [part for member, score in zip(members, scores, strict=True) for part in (member, _score_element(score))]
    )


def _encode(value: SortedSet, compress: bool) -> tuple[int, bytes]:
    if value.packed:
        return LISTPACK, encode_string(_listpack(value), compress)
    parts = [encode_length(len(value))]
    for member, score in value.pairs(0, len(value), reverse=True):
        parts += (encode_string(member, compress), SCORE.pack(score))
    return BINARY_SCORES, b"".join(parts)


def _pieces(reading: SortedSetReading, compress: bool) -> tuple[int, Iterator[bytes]]:
    return BINARY_SCORES, _pair_pieces(reading, compress)


def _pair_pieces(reading: SortedSetReading, compress: bool) -> Iterator[bytes]:
    yield encode_length(reading.count)
    pace = Pace()
    while pairs := reading.take(pace.elements):
        parts: list[bytes] = []
        for member, score in pairs:
            parts += (encode_string(member, compress and len(member) <= LONG_BYTES), SCORE.pack(score))
        piece = b"".join(parts)
        yield piece
        pace.written(len(piece))


SORTED_SETS: Final = ValueType(
    "sorted set",
    (SortedSet,),
    (TEXT_SCORES, BINARY_SCORES, ZIPLIST, LISTPACK),
    _decode,
    _encode,
    SortedSetReading,
    _pieces,
)
