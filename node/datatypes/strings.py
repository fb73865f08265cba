"""String values: `bytes`, or `bytearray` once a command has changed a part of them in place.

Lengths and offsets are in bytes. A command that breaks a limit gets a StringError whose text is the reply, and the
value is as it was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from node.datatypes.numbers import parse_int

StringValue: TypeAlias = bytes | bytearray
Step: TypeAlias = Callable[[int, int], tuple[int, int]]
"""From lengths of two prefixes to the shorter ones at which the search for a common subsequence goes on."""

EMBEDDED_BYTES_MAX: Final = 44
"""Up to this length Redis keeps a string in one block with its object."""
LCS_LENGTH_MAX: Final = (1 << 32) - 2
LCS_CELL_BYTES: Final = 4
"""What Redis needs for each cell of its table; the limit is worded by it, our own table has a bit for each."""


class StringError(ValueError):
    """A string command cannot be done: its text is the reply (without the code ERR)."""


def encoding(value: StringValue) -> bytes:
    """Return what OBJECT ENCODING says of `value`."""
    if isinstance(value, bytearray):
        return b"raw"
    if parse_int(value) is not None:
        return b"int"
    return b"embstr" if len(value) <= EMBEDDED_BYTES_MAX else b"raw"


def check_length(length: int, bytes_max: int) -> None:
    """Raise StringError if a string of `length` is longer than `bytes_max`, the directive proto-max-bulk-len."""
    if length > bytes_max:
        raise StringError("string exceeds maximum allowed size (proto-max-bulk-len)")


def getrange(value: StringValue, start: int, end: int) -> bytes:
    """Return the bytes from `start` to `end`, both included; negative ones count from the end of `value`."""
    length = len(value)
    if start < 0 and end < 0 and start > end:
        return b""
    if start < 0:
        start = max(start + length, 0)
    if end < 0:
        end = max(end + length, 0)
    return bytes(value[start : end + 1])


def setrange(value: StringValue, offset: int, patch: bytes, bytes_max: int) -> StringValue:
    """Overwrite `value` from `offset` with `patch`, padded with zero bytes; return the value to keep.

    A bytearray is changed in place, bytes become a bytearray; an empty patch changes nothing.
    """
    if offset < 0:
        raise StringError("offset is out of range")
    if not patch:
        return value
    end = offset + len(patch)
    check_length(end, bytes_max)
    changed = value if isinstance(value, bytearray) else bytearray(value)
    if len(changed) < offset:
        changed.extend(bytes(offset - len(changed)))
    changed[offset:end] = patch
    return changed


def append(value: StringValue, tail: bytes, bytes_max: int) -> bytearray:
    """Return `value` with `tail` behind it: the same object if it is a bytearray."""
    check_length(len(value) + len(tail), bytes_max)
    changed = value if isinstance(value, bytearray) else bytearray(value)
    changed += tail
    return changed


@dataclass(frozen=True, slots=True)
class Match:
    """A run that both strings share: its first and last index in each."""

    first: tuple[int, int]
    second: tuple[int, int]

    @property
    def length(self) -> int:
        return self.first[1] - self.first[0] + 1


@dataclass(frozen=True, slots=True)
class Lcs:
    """A longest common subsequence, and the runs that it consists of, from the end backwards."""

    text: bytes
    matches: list[Match]


def lcs_length(first: StringValue, second: StringValue, bytes_max: int) -> int:
    """Return the length of the longest common subsequence. Limits and errors as `lcs`."""
    _check_lcs(first, second, bytes_max)
    short, long = (first, second) if len(first) <= len(second) else (second, first)
    last = 0
    for row in _rows(short, long):
        last = row
    return last.bit_count()


def lcs(first: StringValue, second: StringValue, bytes_max: int, min_match_length: int = 0) -> Lcs:
    """Return the longest common subsequence that Redis finds, with its runs of at least `min_match_length`.

    Of several it is the one met by going back from both ends, and where neither step loses, backwards in `second`.
    Raises StringError where Redis's table of four bytes a pair of characters would be larger than `bytes_max`.
    """
    _check_lcs(first, second, bytes_max)
    step_back = _steps_in_second(first, second) if len(first) <= len(second) else _steps_in_first(first, second)
    i, j = len(first), len(second)
    text = bytearray()
    matches: list[Match] = []
    while i and j:
        if first[i - 1] != second[j - 1]:
            i, j = step_back(i, j)
            continue
        end = i, j
        while i and j and first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
        text += first[i : end[0]][::-1]
        if end[0] - i >= min_match_length:
            matches.append(Match((i, end[0] - 1), (j, end[1] - 1)))
    return Lcs(bytes(text[::-1]), matches)


def _check_lcs(first: StringValue, second: StringValue, bytes_max: int) -> None:
    if max(len(first), len(second)) > LCS_LENGTH_MAX:
        raise StringError("String too long for LCS")
    if (len(first) + 1) * (len(second) + 1) * LCS_CELL_BYTES > bytes_max:
        raise StringError("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")


def _rows(short: StringValue, long: StringValue) -> Iterator[int]:
    """Yield the table of lengths, a row for each prefix of `short`, as steps: a bit for each character of `long`.

    Bit j of row i is 1 where the subsequence of short[:i+1] and long[:j+1] is one longer than that without long[j].
    A row comes from the one before by one addition and some logic on whole integers (Crochemore, Iliopoulos, Pinzon
    and Reid, 2001; Hyyro, 2004), so a table that takes Redis 512 MiB takes 17 here, and some ten milliseconds.
    """
    width = (1 << len(long)) - 1
    masks = {byte: _mask(long, byte) for byte in set(short)}
    row = width  # inverted, as the addition needs it
    for byte in short:
        hits = row & masks[byte]
        row = (row + hits | row - hits) & width
        yield row ^ width


def _mask(text: StringValue, byte: int) -> int:
    """Return the integer whose bit n tells whether text[n] is `byte`."""
    table = bytearray(b"0" * 256)
    table[byte] = ord("1")
    return int(text[::-1].translate(table), 2)


def _steps_in_second(first: StringValue, second: StringValue) -> Step:
    """Return the step back from a pair of unlike characters, where `second` is the long one.

    Redis goes back in `second` as long as that loses nothing: to the next step of this row, or an equal character.
    """
    rows = list(_rows(first, second))

    def step(i: int, j: int) -> tuple[int, int]:
        lossless_until = (rows[i - 1] & (1 << j) - 1).bit_length()
        if lossless_until == j:
            return i - 1, j
        return i, max(lossless_until, second.rfind(first[i - 1], 0, j) + 1)

    return step


def _steps_in_first(first: StringValue, second: StringValue) -> Step:
    """Return the step back from a pair of unlike characters, where `first` is the long one.

    If the last character of `second` counts, the way leads to its last equal in `first`; else it is dropped.
    """
    rows = [0, *_rows(second, first)]

    def step(i: int, j: int) -> tuple[int, int]:
        prefix = (1 << i) - 1
        if (rows[j] & prefix).bit_count() == (rows[j - 1] & prefix).bit_count():
            return i, j - 1
        return first.rfind(second[j - 1], 0, i) + 1, j

    return step
