"""Long values as bytes, piece by piece: what every type's `pieces` is made of.

A piece is the work of a fraction of a millisecond. A string of more than `LONG_BYTES` is written as it is, since a
compressed block cannot be made in parts.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from node.datatypes.reading import LONG_BYTES, TextReading
from node.rdb.codec import encode_length, encode_string, encode_strings

PIECE_ELEMENTS: Final = 256
PIECE_BYTES: Final = 1 << 16
"""Fewer elements are taken where these bytes would be exceeded..."""
FIRST_ELEMENTS: Final = 4
"""...as the ones before them tell: so a reading begins with few."""


class Pace:
    """How many elements the next piece may have."""

    __slots__ = ("elements",)

    def __init__(self) -> None:
        self.elements = FIRST_ELEMENTS

    def written(self, bytes_count: int) -> None:
        """The last piece had so many bytes."""
        fitting = self.elements * PIECE_BYTES // (bytes_count + 1)
        self.elements = max(1, min(PIECE_ELEMENTS, 4 * self.elements, fitting))


def paced(take: Callable[[int], Iterable[bytes]], compress: bool) -> Iterator[bytes]:
    """The strings that `take(elements)` gives, encoded, until it gives none."""
    pace = Pace()
    while words := list(take(pace.elements)):
        size = 0
        for piece in strings(words, compress):
            size += len(piece)
            yield piece
        pace.written(size)


def strings(words: Iterable[bytes], compress: bool) -> Iterator[bytes]:
    """These strings one after the other: one piece, unless there are long ones."""
    words = list(words)
    if sum(map(len, words)) <= LONG_BYTES:
        yield encode_strings(words, compress)
        return
    parts = []
    for word in words:
        if len(word) <= LONG_BYTES:
            parts.append(encode_string(word, compress))
        else:
            yield b"".join(parts)
            parts = []
            yield from long_string(TextReading(word))
    yield b"".join(parts)


def long_string(reading: TextReading) -> Iterator[bytes]:
    """A long string in its plain form."""
    yield encode_length(reading.count)
    for at in range(0, reading.count, LONG_BYTES):
        yield bytes(reading.text[at : at + LONG_BYTES])
