"""Ziplists: what Redis before 7.0 had in the place of listpacks. They are only read.

u32 bytes, u32 offset of the last entry, u16 entries (65535: count them), the entries, 0xFF; little endian. An entry is
the length of the one before it (a byte below 254, or 254 and u32), an encoding and the data:

    00xxxxxx      string of up to 63 bytes             C0 D0 E0   signed integers of 2, 4, 8 bytes
    01xxxxxx y    string of up to 16383 bytes          F0 FE      signed integers of 3 bytes, 1 byte
    80 u32        string (these lengths big endian)    F1 to FD   0 to 12
"""

from struct import Struct
from types import MappingProxyType
from typing import Final

from node.rdb.codec import RdbError

HEADER: Final = Struct("<IIH")
COUNT_UNKNOWN: Final = 65535
END: Final = 0xFF
LONG_LENGTH: Final = 0xFE
INTEGER_BYTES: Final = MappingProxyType({0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1})


def check(data: bytes) -> None:
    """Look at the outside of a ziplist: what a file with a checksum needs. Raises RdbError."""
    if len(data) <= HEADER.size or HEADER.unpack_from(data)[0] != len(data) or data[-1] != END:
        raise RdbError(0, f"Ziplist of {len(data)} bytes is malformed")


def count(data: bytes) -> int:
    """How many entries a ziplist has."""
    known: int = HEADER.unpack_from(data)[2]
    return known if known != COUNT_UNKNOWN else len(decode(data))


def decode(data: bytes) -> list[bytes]:
    """The entries of a ziplist. Raises RdbError where anything is not as it has to be."""
    check(data)
    try:
        entries, start = _entries(data)
    except IndexError:
        raise RdbError(len(data), "Ziplist entry beyond the end") from None
    _, tail, known = HEADER.unpack_from(data)
    if tail != start:
        raise RdbError(4, f"Ziplist says its last entry is at {tail}, not at {start}")
    if known not in (len(entries), COUNT_UNKNOWN):
        raise RdbError(8, f"Ziplist of {len(entries)} entries says it has {known}")
    return entries


def _entries(data: bytes) -> tuple[list[bytes], int]:
    """The entries, and where the last one starts."""
    entries: list[bytes] = []
    at, last = HEADER.size, len(data) - 1
    before = start = at
    while at < last:
        before, start = start, at
        previous, at = _previous_length(data, at, last)
        if previous != (start - before if entries else 0):
            raise RdbError(start, f"Ziplist entry says {previous} bytes were before it")
        entry, at = _entry(data, at, last)
        entries.append(entry)
    return entries, start


def _previous_length(data: bytes, at: int, last: int) -> tuple[int, int]:
    if data[at] < LONG_LENGTH:
        length, at = data[at], at + 1
    else:
        length, at = int.from_bytes(data[at + 1 : at + 5], "little"), at + 5
    if at >= last:
        raise RdbError(at, "Ziplist entry beyond the end")
    return length, at


def _entry(data: bytes, at: int, last: int) -> tuple[bytes, int]:
    """An entry without the length before it, and the position behind it."""
    head = data[at]
    if 0xF1 <= head <= 0xFD:
        return b"%d" % (head - 0xF1), at + 1
    size = INTEGER_BYTES.get(head)
    if size is not None and at + size < last:
        return b"%d" % int.from_bytes(data[at + 1 : at + 1 + size], "little", signed=True), at + 1 + size
    if head < 0x40:
        start, length = at + 1, head
    elif head < 0x80:
        start, length = at + 2, (head & 0x3F) << 8 | data[at + 1]
    elif head == 0x80:
        start, length = at + 5, int.from_bytes(data[at + 1 : at + 5], "big")
    else:
        raise RdbError(at, f"Ziplist entry 0x{head:02x} is malformed")
    if start + length > last:
        raise RdbError(at, "Ziplist entry beyond the end")
    return data[start : start + length], start + length
