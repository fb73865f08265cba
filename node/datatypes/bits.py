"""Strings as rows of bits: counting, searching, combining, and integers of any width in them.

Bit 0 is the highest bit of byte 0. Behind its end a string goes on with zeros. Whole strings are handled as big
integers, a piece of `PIECE_BYTES` at a time, since the interpreter would take a microsecond for every few bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import and_, or_, xor
from types import MappingProxyType
from typing import Final

from node.datatypes.strings import StringValue

PIECE_BYTES: Final = 1 << 20
"""How much of a string becomes one integer: bounds the memory that an operation takes beside its result."""

SOME_ONE: Final = re.compile(rb"[^\x00]")
SOME_ZERO: Final = re.compile(rb"[^\xff]")
DULL_BYTES: Final = 1 << 16
DULL: Final = MappingProxyType({0: b"\xff" * DULL_BYTES, 1: bytes(DULL_BYTES)})
"""What has none of the bits that are looked for: compared with so much at a time, a long row is passed over ten times
as fast as by the expressions, and half a gigabyte is no longer a matter of seconds."""
TURNED: Final = bytes(range(255, -1, -1))
"""Each byte with its bits turned."""


def count_ones(value: StringValue, first: int, last: int) -> int:
    """Return how many of the bits from `first` to `last`, both included, are 1; both lie in `value`."""
    start, end = first >> 3, (last >> 3) + 1
    view = memoryview(value)
    total = 0
    for at in range(start, end, PIECE_BYTES):
        total += int.from_bytes(view[at : min(at + PIECE_BYTES, end)]).bit_count()
    outside_left = value[start] >> 8 - (first & 7)
    outside_right = value[end - 1] & (1 << 7 - (last & 7)) - 1
    return total - outside_left.bit_count() - outside_right.bit_count()


def find_bit(value: StringValue, bit: int, first: int, last: int) -> int:
    """Return the place of the first `bit` from `first` to `last`, both included and in `value`; -1 if there is none."""
    start, end = first >> 3, (last >> 3) + 1
    head = value[start] if bit else value[start] ^ 0xFF
    head &= 0xFF >> (first & 7)
    if head:
        found = start * 8 + 8 - head.bit_length()
        return found if found <= last else -1
    at, dull = start + 1, DULL[bit]
    while end - at > DULL_BYTES and value[at : at + DULL_BYTES] == dull:
        at += DULL_BYTES
    match = (SOME_ONE if bit else SOME_ZERO).search(value, at, end)
    if match is None:
        return -1
    byte = value[match.start()]
    found = match.start() * 8 + 8 - (byte if bit else byte ^ 0xFF).bit_length()
    return found if found <= last else -1


Operation = Callable[[Sequence[StringValue]], bytearray]


def _combined(combine: Callable[[int, int], int], values: Sequence[StringValue]) -> bytearray:
    """As long as the longest of the values."""
    length = max(map(len, values))
    result = bytearray()
    for at in range(0, length, PIECE_BYTES):
        size = min(PIECE_BYTES, length - at)
        numbers = [int.from_bytes(value[at : at + size].ljust(size, b"\0")) for value in values]
        result += reduce(combine, numbers).to_bytes(size)
    return result


def _turned(values: Sequence[StringValue]) -> bytearray:
    (value,) = values
    return bytearray(value.translate(TURNED))


OPERATIONS: Final[Mapping[bytes, Operation]] = MappingProxyType(
    {
        b"AND": partial(_combined, and_),
        b"OR": partial(_combined, or_),
        b"XOR": partial(_combined, xor),
        b"NOT": _turned,
    }
)
"""The bitwise operations: of values, one for NOT and one or more for the others."""


def get_field(value: StringValue, offset: int, width: int, signed: bool) -> int:
    """Return the integer of `width` bits at bit `offset`."""
    start, end = offset >> 3, (offset + width + 7) >> 3
    piece = value[start:end].ljust(end - start, b"\0")
    number = int.from_bytes(piece) >> end * 8 - offset - width & (1 << width) - 1
    return number - (1 << width) if signed and number >> width - 1 else number


def set_field(value: bytearray, offset: int, width: int, number: int) -> None:
    """Write `number` (what of it fits) as `width` bits at bit `offset`, which lie in `value`."""
    start, end = offset >> 3, (offset + width + 7) >> 3
    shift = end * 8 - offset - width
    mask = (1 << width) - 1
    around = int.from_bytes(value[start:end]) & ~(mask << shift)
    value[start:end] = (around | (number & mask) << shift).to_bytes(end - start)


WRAP, SATURATE, FAIL = b"WRAP", b"SAT", b"FAIL"
"""What happens to a number that does not fit its field."""


def fit(number: int, width: int, signed: bool, overflow: bytes) -> int | None:
    """Return `number` as it is kept in a field of `width` bits; None if it does not fit and `overflow` is FAIL."""
    lowest = -(1 << width - 1) if signed else 0
    highest = lowest + (1 << width) - 1
    if lowest <= number <= highest:
        return number
    if overflow == FAIL:
        return None
    if overflow == SATURATE:
        return highest if number > highest else lowest
    return (number - lowest & (1 << width) - 1) + lowest
