"""What the registry (`node.rdb.types`) knows of a type of value. Each type's own module makes its entry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""What a key holds: an instance of one of the registered classes, or a Packed one."""

Decode: TypeAlias = Callable[[int, bytes, int], tuple[Value, int]]
"""(type code, data, position) to (value, position behind it)."""
Encode: TypeAlias = Callable[[Value, bool], tuple[int, bytes]]
"""(value, may it be compressed) to (type code, bytes)."""
Pieces: TypeAlias = Callable[[Any, bool], tuple[int, Iterator[bytes]]]
"""(reading of a long value, may it be compressed) to (type code, pieces of its bytes), made as the reading is read."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """One type of value, as `node.rdb.types` tells."""

    name: str
    classes: tuple[type, ...]
    codes: tuple[int, ...]
    decode: Decode
    encode: Encode
    reading: type
    pieces: Pieces
