"""How many bytes a value holds, of whatever class, without knowing any class's form.

`sys.getsizeof` tells of one object; what it holds is followed through lists, dictionaries and attributes. An object
that several hold (a member stands in the dictionary and in the order of a sorted set) counts for each of them by its
share, which its count of references tells: so nothing counts twice, and what all keys share counts for nobody.

A long list is not walked: `samples` of its elements stand for all of them.
"""

from array import array
from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice
from sys import getrefcount, getsizeof
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

SAMPLES: Final = 5
"""How many elements stand for all, as with Redis's MEMORY USAGE."""

PLAIN: Final = frozenset({bytes, bytearray, int, float, bool, str, type(None), array, type, object})
CALLABLE: Final = frozenset({FunctionType, BuiltinFunctionType, MethodType})
OWN_REFERENCES: Final = 2
"""References that looking at an object makes: the loop's name for it and the argument of the look itself."""

BYTES_HEAD: Final = getsizeof(b"")
"""What a `bytes` takes beside its bytes."""
BLOCK_BYTES_MAX: Final = 512
"""Bigger objects are the C library's, and have 8 bytes before them; all begin at a multiple of 16."""


def block_bytes(size: int) -> int:
    """What an allocator spends on an object of `size` bytes."""
    return size + 15 & ~15 if size <= BLOCK_BYTES_MAX else size + 23 & ~15


def footprint(value: Any, samples: int = SAMPLES) -> int:
    """Bytes that `value` holds; `samples` elements stand for all of a container, 0: look at each."""
    size = block_bytes(getsizeof(value))
    return size if type(value) in PLAIN else round(size + _held(value, samples, {id(value)}))


def _held(value: Any, samples: int, path: set[int]) -> float:
    """What `value` holds beside itself; `path` are the objects that led here."""
    kind = type(value)
    if kind in PLAIN or kind in CALLABLE:
        return 0.0
    if isinstance(value, dict):
        held = _mean(value.keys(), samples, path) + _mean(value.values(), samples, path)
        return held * len(value) + _attributes(value, samples, path)
    if isinstance(value, list | tuple | set | frozenset | deque):
        return _mean(value, samples, path) * len(value) + _attributes(value, samples, path)
    return _attributes(value, samples, path)


def _attributes(value: Any, samples: int, path: set[int]) -> float:
    """Of the attributes of an object, its dictionary of them too."""
    total = 0.0
    for cls in type(value).__mro__[:-1]:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            attribute = getattr(value, name, None)
            holders = getrefcount(attribute) - OWN_REFERENCES
            total += _share(attribute, holders, samples, path)
    own = getattr(value, "__dict__", None)
    if own is not None:
        total += block_bytes(getsizeof(own))
        for attribute in own.values():
            holders = getrefcount(attribute) - OWN_REFERENCES
            total += _share(attribute, holders, samples, path)
    return total


def _mean(elements: Collection[Any], samples: int, path: set[int]) -> float:
    """What one element costs on the average."""
    count = len(elements)
    if not count:
        return 0.0
    chosen: Iterable[Any] = elements
    if samples and count > samples:
        if isinstance(elements, list | tuple):
            # From the midst of equal parts: the ends are often of another kind.
            chosen = [elements[(2 * at + 1) * count // (2 * samples)] for at in range(samples)]
            count, borrowed = samples, 1  # the list of chosen ones holds them, too
        else:
            chosen = islice(elements, samples)
            count, borrowed = samples, 0
    else:
        borrowed = 0
    total = 0.0
    for element in chosen:
        holders = getrefcount(element) - OWN_REFERENCES - borrowed  # first by itself: a call in the making holds, too
        total += _share(element, holders, samples, path)
    return total / count


def _share(value: Any, holders: int, samples: int, path: set[int]) -> float:
    """The part of a held object, and of all that it holds, that falls to one of its holders."""
    if type(value) in CALLABLE:
        return float(block_bytes(getsizeof(value)))
    size = block_bytes(getsizeof(value))
    if type(value) not in PLAIN:
        if id(value) in path:
            return 0.0
        path.add(id(value))
        try:
            return (size + _held(value, samples, path)) / max(1, holders)
        finally:
            path.discard(id(value))
    return size / max(1, holders)
