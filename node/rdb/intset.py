"""Intsets: small sets of 64-bit integers, in one block, sorted.

u32 bytes of an integer (2, 4 or 8), u32 how many, the integers, signed and ascending; all little endian.
"""

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct, pack, unpack_from
from types import MappingProxyType
from typing import Final

from node.rdb.codec import RdbError

HEADER: Final = Struct("<II")
LETTERS: Final = MappingProxyType({2: "h", 4: "i", 8: "q"})
"""Bytes of an integer, and its letter in the formats of `struct`."""


def check(data: bytes) -> None:
    """Look at the outside of an intset: what a file with a checksum needs. Raises RdbError."""
    if len(data) >= HEADER.size:
        width, number = HEADER.unpack_from(data)
        if width in LETTERS and len(data) == HEADER.size + width * number:
            return
    raise RdbError(0, f"Intset of {len(data)} bytes is malformed")


def count(data: bytes) -> int:
    """How many integers an intset has."""
    number: int = HEADER.unpack_from(data)[1]
    return number


def decode(data: bytes) -> tuple[int, ...]:
    """The integers of an intset. Raises RdbError where anything is not as it has to be."""
    check(data)
    width, number = HEADER.unpack_from(data)
    integers = unpack_from(f"<{number}{LETTERS[width]}", data, HEADER.size)
    if any(first >= second for first, second in pairwise(integers)):
        raise RdbError(HEADER.size, "Intset is not in order")
    return integers


def encode(integers: Sequence[int]) -> bytes:
    """The intset of ascending integers, as narrow as its ends allow."""
    width = 8
    for narrower in (4, 2):
        bound = 1 << 8 * narrower - 1
        if not integers or (-bound <= integers[0] and integers[-1] < bound):
            width = narrower
    return HEADER.pack(width, len(integers)) + pack(f"<{len(integers)}{LETTERS[width]}", *integers)
