"""Zipmaps: small hashes of Redis before 2.6. They are only read.

A byte that counts the pairs (254 and more: count them), the pairs, 0xFF. A pair is the length and bytes of its field,
the length of its value, how many bytes are unused behind that, the value, and those. A length below 254 is one byte,
else 254 and u32, little endian.
"""

from typing import Final

from node.rdb.codec import RdbError

COUNT_UNKNOWN: Final = 254
LONG_LENGTH: Final = 254
END: Final = 0xFF


def check(data: bytes) -> None:
    """Look at the outside of a zipmap: what a file with a checksum needs. Raises RdbError."""
    if len(data) < 2 or data[-1] != END:
        raise RdbError(0, f"Zipmap of {len(data)} bytes is malformed")


def count(data: bytes) -> int:
    """How many pairs a zipmap has."""
    return data[0] if data[0] < COUNT_UNKNOWN else len(decode(data)) // 2


def decode(data: bytes) -> list[bytes]:
    """Fields and values of a zipmap in turn. Raises RdbError where anything is not as it has to be."""
    check(data)
    flat: list[bytes] = []
    at, last = 1, len(data) - 1
    while at < last:
        length, at = _length(data, at, last)
        flat.append(data[at : at + length])
        at += length
        length, at = _length(data, at, last)
        if at >= last:
            raise RdbError(at, "Zipmap pair beyond the end")
        spare = data[at]
        at += 1
        flat.append(data[at : at + length])
        at += length + spare
        if at > last:
            raise RdbError(at, "Zipmap pair beyond the end")
    if data[0] < COUNT_UNKNOWN and data[0] * 2 != len(flat):
        raise RdbError(0, f"Zipmap of {len(flat) // 2} pairs says it has {data[0]}")
    return flat


def _length(data: bytes, at: int, last: int) -> tuple[int, int]:
    if at >= last or data[at] > LONG_LENGTH:
        raise RdbError(at, "Zipmap length is malformed")
    if data[at] < LONG_LENGTH:
        return data[at], at + 1
    return int.from_bytes(data[at + 1 : at + 5], "little"), at + 5
