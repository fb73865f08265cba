"""Long values read in steps, as their bytes arrive: no step takes long, and nothing is read twice.

A builder is made once the count of a value's elements is known; what follows goes to `step`. It follows the rules of
`node.rdb.codec`: positions in the data, `Truncated` or IndexError where not even one element is whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import isnan
from types import MappingProxyType
from typing import Any, Final

from node.datatypes.hashes import Hash
from node.datatypes.lists import List
from node.datatypes.packed import Packed
from node.datatypes.ranking import Pair
from node.datatypes.reading import LONG_ELEMENTS
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.datatypes.streams import Stream
from node.rdb import hashes, lists, sets, sortedsets, streams
from node.rdb.codec import RdbError, Truncated, decode_length, decode_string

STEP_ELEMENTS: Final = 1000
"""Elements of a step: about half a millisecond of short ones."""
LONG_NODES: Final = 32
"""A list of so many nodes is long, too, and so is such a stream."""


class Builder(ABC):
    """A value that is being read; `left` of its elements are still to come."""

    __slots__ = ("code", "left")

    def __init__(self, code: int, count: int) -> None:
        self.code = code
        self.left = count

    def step(self, data: bytes, at: int) -> int:
        """Read some elements from `at`; the position behind them."""
        start = at
        read = self.read
        for _ in range(min(STEP_ELEMENTS, self.left)):
            try:
                at = read(data, at)
            except (Truncated, IndexError, RdbError):
                if at == start:
                    raise
                return at  # the next step meets it again
            self.left -= 1
        return at

    @abstractmethod
    def read(self, data: bytes, at: int) -> int:
        """Read an element. All or nothing: what it raises leaves the builder as it was."""

    @abstractmethod
    def value(self) -> Any:
        """The whole value. Raises RdbError where it is not as it has to be."""


class HashBuilder(Builder):
    __slots__ = ("_hash", "_nearest_ms")

    def __init__(self, code: int, count: int, nearest_ms: int) -> None:
        super().__init__(code, count)
        self._hash = Hash()
        self._nearest_ms = nearest_ms

    def read(self, data: bytes, at: int) -> int:
        start, time = at, 0
        if self.code != hashes.HASH:
            time, at = decode_length(data, at)
        field, at = decode_string(data, at)
        content, at = decode_string(data, at)
        deadline_ms = hashes.checked_deadline(self._nearest_ms + time - 1) if time else 0
        if not self._hash.set(field, content):
            raise RdbError(start, "Duplicate hash fields detected")
        if time:
            self._hash.set_deadline(field, deadline_ms)
        return at

    def value(self) -> Hash:
        return self._hash


class SetBuilder(Builder):
    __slots__ = ("_set",)

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count)
        self._set = Set()

    def read(self, data: bytes, at: int) -> int:
        member, end = decode_string(data, at)
        if not self._set.add(member):
            raise RdbError(at, "Duplicate set members detected")
        return end

    def value(self) -> Set:
        return self._set


class SortedSetBuilder(Builder):
    __slots__ = ("_pairs",)

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count)
        self._pairs: list[Pair] = []

    def read(self, data: bytes, at: int) -> int:
        member, score, end = sortedsets.decode_pair(self.code, data, at)
        if isnan(score):
            raise RdbError(at, "Zset with NAN score detected")
        self._pairs.append((member, score))
        return end

    def value(self) -> SortedSet:
        try:
            return SortedSet.of(self._pairs, packed=False)
        except ValueError:
            raise RdbError(0, "Zset dup fields detected") from None


class ListBuilder(Builder):
    __slots__ = ("_elements",)

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count)
        self._elements: list[bytes] = []

    def read(self, data: bytes, at: int) -> int:
        element, end = decode_string(data, at)
        self._elements.append(element)
        return end

    def value(self) -> List:
        return List(self._elements)


class NodesBuilder(Builder):
    """A list that stays in the nodes in which it came."""

    __slots__ = ("_nodes",)

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count)
        self._nodes: list[Any] = []

    def read(self, data: bytes, at: int) -> int:
        node, end = lists.decode_node(self.code, data, at)
        if node is not None:
            self._nodes.append(node)
        return end

    def value(self) -> Packed:
        return Packed(lists.form_of(self.code), tuple(self._nodes))


class StreamBuilder(Builder):
    """Nodes, and as its last element all that follows them."""

    __slots__ = ("_count", "_stream")

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count + 1)
        self._count = count
        self._stream = Stream()

    def read(self, data: bytes, at: int) -> int:
        if self.left > 1:
            return streams.decode_node(self._stream, data, at)
        self._stream.groups.clear()  # of an attempt with too few bytes
        return streams.decode_tail(self._stream, self._count, self.code, data, at)

    def value(self) -> Stream:
        return self._stream


def _begin_hash(code: int, data: bytes, at: int) -> tuple[Builder | None, int]:
    nearest_ms, at = hashes.decode_nearest(code, data, at)
    count, at = decode_length(data, at)
    return (HashBuilder(code, count, nearest_ms) if count > LONG_ELEMENTS else None), at


def _begin_counted(
    kind: Callable[[int, int], Builder], least: int
) -> Callable[[int, bytes, int], tuple[Builder | None, int]]:
    def begin(code: int, data: bytes, at: int) -> tuple[Builder | None, int]:
        count, at = decode_length(data, at)
        return (kind(code, count) if count > least else None), at

    return begin


BEGINNINGS: Final[Mapping[int, Callable[[int, bytes, int], tuple[Builder | None, int]]]] = MappingProxyType(
    {
        **dict.fromkeys((hashes.HASH, hashes.HASH_DEADLINES, hashes.HASH_DEADLINES_EARLY), _begin_hash),
        sets.SET: _begin_counted(SetBuilder, LONG_ELEMENTS),
        **dict.fromkeys(
            (sortedsets.TEXT_SCORES, sortedsets.BINARY_SCORES), _begin_counted(SortedSetBuilder, LONG_ELEMENTS)
        ),
        lists.LIST: _begin_counted(ListBuilder, LONG_ELEMENTS),
        **dict.fromkeys((lists.LIST_QUICKLIST, lists.LIST_QUICKLIST2), _begin_counted(NodesBuilder, LONG_NODES)),
        **dict.fromkeys(
            (streams.STREAM_5_0, streams.STREAM_7_0, streams.STREAM_7_2), _begin_counted(StreamBuilder, LONG_NODES)
        ),
    }
)


def begin(code: int, data: bytes, at: int) -> tuple[Builder | None, int]:
    """The builder of a value of type `code` whose bytes begin at `at`, and where they go on; None if it is not long."""
    beginning = BEGINNINGS.get(code)
    return (None, at) if beginning is None else beginning(code, data, at)
