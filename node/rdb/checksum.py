"""CRC64 in the Jones variant, as RDB files and DUMP payloads carry it.

Reflected polynomial 0x95AC9329AC4BC9B5, start 0, no final xor; "123456789" gives 0xE9C6D914C4B8D9CA.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias, cast

Bytes: TypeAlias = bytes | bytearray | memoryview


@cache
def _calc() -> Callable[[Bytes, int], int]:
    # Imported at the first use: a bare node that neither saves nor syncs starts faster without it.
    import anycrc

    return cast("Callable[[Bytes, int], int]", anycrc.Model("CRC64-REDIS").calc)


def crc64(data: Bytes, crc: int = 0) -> int:
    """Return the checksum of `data`, continued from `crc`, the checksum of all bytes before it."""
    return _calc()(data, crc)
