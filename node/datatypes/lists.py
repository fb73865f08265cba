"""Lists: elements in order, reached at both ends at once and in the middle by halves.

A list is cut into chunks of up to `CHUNK_MAX` elements, so that an insertion moves little memory and a place in the
middle is found in an index of the chunks (made when first needed, good until a chunk between the ends changes).
Invariants, asserted by `check`: no chunk is empty, but the one of an empty list; `len` is the sum of the chunks.

A full chunk behind the first two and before the last two, as nearly all of a long list are, is packed as it comes to
lie there: one block of bytes, a third as big as its elements would be as objects. A search looks through such a block
as it is; a read unpacks it for itself, a change for good. Only as the end itself it is opened again: so pushes and pops
in turns do not pack and unpack the same chunk over and over.

A copy shares its chunks with the original until one of them changes one: then that one takes a copy of the chunk. So
a running snapshot costs a chunk, not a list, for each change. `_frozen` holds the identities of shared chunks. An
identity that outlives its chunk here costs a needless copy, nothing worse.

Redis names a list's encoding by its size: "listpack" while all fits into one node, "quicklist" beyond. It goes back
only once the list has shrunk to half of that. So a short list counts the bytes it would take as a listpack, exactly;
a long one does not, and looks again when so few elements are left that it may have become short.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from marshal import dumps, loads
from typing import Any, Final

from node.config.settings import Settings
from node.datatypes.numbers import parse_int
from node.datatypes.reading import COUNT_BYTES_MIN, LONG_ELEMENTS, Reading, are_long

CHUNK_MAX: Final = 256
PACKED_BYTES_MAX: Final = 1 << 15
"""Packing ends where it saves less than half: at chunks bigger than this."""
PACKING: Final = 2
"""The version of `marshal` whose blocks hold each element's bytes in one piece, and never a reference instead."""

Chunk = list[bytes] | bytes
"""Elements, or CHUNK_MAX of them packed."""

NODE_BYTES: Final = (4096, 8192, 16384, 32768, 65536)
"""What -1 to -5 of `list-max-listpack-size` mean."""
COUNTED_NODE_BYTES: Final = 8192
"""The most that a node holds where `list-max-listpack-size` bounds the elements."""
LISTPACK_FRAME_BYTES: Final = 7
"""Header and end of a listpack."""
INT_TEXT_BYTES_MAX: Final = 20
LOOK_ALWAYS: Final = 32
"""A long list of up to so many elements looks at each removal whether it has become short."""

LONG: Final = -1
"""Instead of a size: this list is a quicklist."""
UNKNOWN: Final = -2
"""Instead of a size: nobody has asked yet."""


def packed_bytes(element: bytes) -> int:
    """Bytes that `element` takes in a listpack."""
    length = len(element)
    if length <= INT_TEXT_BYTES_MAX and (element.isdigit() or element[:1] == b"-"):
        number = parse_int(element)
        if number is not None:
            return _packed_int_bytes(number)
    if length < 64:
        return length + 2
    head = 2 if length < 4096 else 5
    total = head + length
    return total + (
        1 if total <= 127 else 2 if total < 16383 else 3 if total < 2097151 else 4 if total < 268435455 else 5
    )


def _packed_int_bytes(number: int) -> int:
    if 0 <= number < 128:
        return 2
    for bits, size in ((12, 3), (15, 4), (23, 5), (31, 6)):
        if -(1 << bits) <= number < 1 << bits:
            return size
    return 10


def node_exceeds(fill: int, size: int, count: int, part: int = 1) -> bool:
    """Tell whether `count` elements of `size` bytes are too much for a listpack, or for a `part`-th of one."""
    if fill >= 0:
        return size > COUNTED_NODE_BYTES // part or count > max(fill, 1) // part
    return size > NODE_BYTES[min(-fill, len(NODE_BYTES)) - 1] // part


def _elements(chunk: Chunk) -> list[bytes]:
    """What is in a chunk, not to be changed."""
    return chunk if type(chunk) is list else loads(chunk)  # type: ignore[arg-type]


def _length(chunk: Chunk) -> int:
    return len(chunk) if type(chunk) is list else CHUNK_MAX


def _holds(chunk: Chunk, element: bytes) -> bool:
    return element in chunk and (type(chunk) is list or element in _elements(chunk))


def _packed(chunk: Chunk) -> Chunk:
    """The chunk as one block, if it is full and that saves enough."""
    if type(chunk) is not list or len(chunk) != CHUNK_MAX or sum(map(len, chunk)) > PACKED_BYTES_MAX:
        return chunk
    return dumps(chunk, PACKING)


class List:
    """A list of bytes. Methods that take an index or a range want it within the list, but for `get`."""

    __slots__ = ("_chunks", "_frozen", "_starts", "count", "look_at", "size")

    def __init__(self, elements: Iterable[bytes] = ()) -> None:
        every = list(elements)
        chunks: list[Any] = [every[at : at + CHUNK_MAX] for at in range(0, len(every), CHUNK_MAX)] or [[]]
        chunks[2:-2] = map(_packed, chunks[2:-2])
        self._chunks = chunks  # of Chunk; those at the ends are lists
        self.count = len(every)
        self._frozen: set[int] | None = None
        self._starts: list[int] | None = None  # of the chunks between head and tail, counted from the head's end
        self.size = UNKNOWN if every else 0  # bytes as a listpack, without its frame; or LONG
        self.look_at = 0
        """A long list may be short again when so many elements are left, or `LOOK_ALWAYS`: then `has_shrunk` looks."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(_elements, self._chunks))

    def __reversed__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(reversed, map(_elements, reversed(self._chunks))))

    # --- its size as Redis sees it --------------------------------------------------------------------------------

    def is_long(self, fill: int) -> bool:
        """More than one node of a quicklist, as Redis would keep it; `fill` is `list-max-listpack-size`."""
        if self.size == UNKNOWN:
            self._judge(fill, 1)
        return self.size == LONG

    def about_to_take(self, elements: Iterable[bytes], fill: int) -> None:
        """Elements are going to be added, or to take the place of others."""
        if self.size != LONG and not self.is_long(fill):
            lengths = [len(element) for element in elements]
            size = LISTPACK_FRAME_BYTES + self.size + sum(lengths)
            if node_exceeds(fill, size, self.count + len(lengths)):
                self.size = LONG
                self.look_at = self.count

    def has_shrunk(self, fill: int) -> None:
        """Elements have been taken away, or replaced by shorter ones."""
        if self.size == LONG and (self.count <= self.look_at or self.count <= LOOK_ALWAYS):
            self._judge(fill, 2)

    def _judge(self, fill: int, part: int) -> None:
        """Count all bytes, unless the first few are too many: then so few elements, were they alike, would be short."""
        size = 0
        for count, element in enumerate(self):
            size += packed_bytes(element)
            if node_exceeds(fill, size + LISTPACK_FRAME_BYTES, count + 1, part):
                self.size = LONG
                self.look_at = count
                return
        self.size = size

    # --- the ends -------------------------------------------------------------------------------------------------

    def push_right(self, element: bytes) -> int:
        """Add at the end; how many there are now."""
        tail = self._chunks[-1]
        if len(tail) >= CHUNK_MAX:
            self._chunks.append([element])
            self._pack(len(self._chunks) - 3)
        elif self._frozen is None:
            tail.append(element)
        else:
            self._own(len(self._chunks) - 1).append(element)
        self.count += 1
        if self.size >= 0:
            self.size += packed_bytes(element)
        return self.count

    def push_left(self, element: bytes) -> int:
        """Add at the beginning; how many there are now."""
        head = self._chunks[0]
        if len(head) >= CHUNK_MAX:
            self._chunks.insert(0, [element])
            self._pack(2)
        elif self._frozen is None:
            head.insert(0, element)
        else:
            self._own(0).insert(0, element)
        self.count += 1
        if self.size >= 0:
            self.size += packed_bytes(element)
        return self.count

    def pop_right(self) -> bytes:
        """Take the last element. There must be one."""
        chunks = self._chunks
        tail = chunks[-1] if self._frozen is None else self._own(len(chunks) - 1)
        element = tail.pop()
        self.count -= 1
        if not tail and self.count:
            chunks.pop()
            self._open(len(chunks) - 1)
        if self.size >= 0:
            self.size -= packed_bytes(element)
        return element

    def pop_left(self) -> bytes:
        """Take the first element. There must be one."""
        chunks = self._chunks
        head = chunks[0] if self._frozen is None else self._own(0)
        element = head.pop(0)
        self.count -= 1
        if not head and self.count:
            del chunks[0]
            self._open(0)
        if self.size >= 0:
            self.size -= packed_bytes(element)
        return element

    def drop_right(self, count: int) -> None:
        """Remove the last `count` elements."""
        chunks = self._chunks
        left, keep = count, len(chunks)
        while keep > 1 and _length(chunks[keep - 1]) <= left:
            keep -= 1
            left -= _length(chunks[keep])
        gone = chunks[keep:]
        del chunks[keep:]
        if left:
            tail = self._own(keep - 1)
            gone.append(tail[len(tail) - left :])
            del tail[len(tail) - left :]
        self._dropped(gone, count)

    def drop_left(self, count: int) -> None:
        """Remove the first `count` elements."""
        chunks = self._chunks
        left, keep = count, 0
        while keep < len(chunks) - 1 and _length(chunks[keep]) <= left:
            left -= _length(chunks[keep])
            keep += 1
        gone = chunks[:keep]
        del chunks[:keep]
        if left:
            head = self._own(0)
            gone.append(head[:left])
            del head[:left]
        self._dropped(gone, count)

    def _dropped(self, gone: list[Any], count: int) -> None:
        self.count -= count
        self._open(0)
        self._open(len(self._chunks) - 1)
        if self.size >= 0:
            self.size -= sum(map(packed_bytes, chain.from_iterable(map(_elements, gone))))

    def _pack(self, number: int) -> None:
        """The chunks have changed; this one is to be packed, unless there are so few that it is near an end."""
        self._starts = None
        if 1 < number < len(self._chunks) - 2:
            self._chunks[number] = _packed(self._chunks[number])

    def _open(self, number: int) -> None:
        """The chunks have changed; this one is at an end."""
        self._starts = None
        if type(self._chunks[number]) is bytes:
            self._chunks[number] = loads(self._chunks[number])

    # --- the middle -----------------------------------------------------------------------------------------------

    def _own(self, number: int) -> list[bytes]:
        """A chunk that is about to change."""
        chunk: Any = self._chunks[number]
        frozen = self._frozen
        if type(chunk) is bytes:
            chunk = self._chunks[number] = loads(chunk)
        elif frozen is not None and id(chunk) in frozen:
            frozen.discard(id(chunk))
            chunk = self._chunks[number] = chunk.copy()
            if not frozen:
                self._frozen = None
        own: list[bytes] = chunk
        return own

    def _find(self, index: int) -> tuple[int, int]:
        """The number of the chunk in which the element at `index` stands, and its place there."""
        chunks = self._chunks
        behind_head = index - len(chunks[0])
        if behind_head < 0:
            return 0, index
        in_tail = index - self.count + len(chunks[-1])
        if in_tail >= 0:
            return len(chunks) - 1, in_tail
        starts = self._starts
        if starts is None:
            starts = self._starts = [0, *accumulate(map(_length, chunks[1:-1]))]
        number = bisect_right(starts, behind_head) - 1
        return number + 1, behind_head - starts[number]

    def get(self, index: int) -> bytes | None:
        """The element at `index`, negative ones from the end; None beyond the ends."""
        if index < 0:
            index += self.count
        if not 0 <= index < self.count:
            return None
        number, place = self._find(index)
        return _elements(self._chunks[number])[place]

    def set(self, index: int, element: bytes) -> None:
        """Put `element` in the place of what stands at `index`."""
        number, place = self._find(index)
        chunk = self._own(number)
        if self.size >= 0:
            self.size += packed_bytes(element) - packed_bytes(chunk[place])
        chunk[place] = element

    def range(self, start: int, stop: int) -> list[bytes]:
        """The elements from `start` up to, not including, `stop`."""
        wanted = stop - start
        if wanted <= 0:
            return []
        number, place = self._find(start)
        found = _elements(self._chunks[number])[place : place + wanted]
        while len(found) < wanted:
            number += 1
            found += _elements(self._chunks[number])[: wanted - len(found)]
        return found

    def positions(self, element: bytes, backwards: bool, looks_max: int) -> Iterator[int]:
        """Where `element` stands, in order from one end, among the first `looks_max` from there."""
        return self._positions_back(element, looks_max) if backwards else self._positions(element, looks_max)

    def _positions(self, element: bytes, looks_max: int) -> Iterator[int]:
        start = 0
        for chunk in self._chunks:
            if start >= looks_max:
                return
            if element in chunk:  # a packed one: somewhere in its bytes
                places = (place for place, other in enumerate(_elements(chunk)) if other == element)
                yield from (start + place for place in places if start + place < looks_max)
            start += _length(chunk)

    def _positions_back(self, element: bytes, looks_max: int) -> Iterator[int]:
        end, first = self.count, self.count - looks_max
        for chunk in reversed(self._chunks):
            if end <= first:
                return
            start = end - _length(chunk)
            if element in chunk:
                every = _elements(chunk)
                places = (place for place in range(len(every) - 1, -1, -1) if every[place] == element)
                yield from (start + place for place in places if start + place >= first)
            end = start

    def insert(self, pivot: bytes, element: bytes, behind: bool) -> bool:
        """Put `element` before or behind the first `pivot`; False if there is none."""
        number = next((number for number, chunk in enumerate(self._chunks) if _holds(chunk, pivot)), -1)
        if number < 0:
            return False
        chunk = self._own(number)
        chunk.insert(chunk.index(pivot) + behind, element)
        if len(chunk) > CHUNK_MAX:
            self._chunks[number : number + 1] = [chunk[: CHUNK_MAX // 2], chunk[CHUNK_MAX // 2 :]]
        self.count += 1
        self._starts = None
        if self.size >= 0:
            self.size += packed_bytes(element)
        return True

    def remove(self, element: bytes, count: int) -> int:
        """Remove the first `count` of `element`, the last ones if negative, all for 0; how many were there."""
        left = abs(count) or self.count
        chunks = self._chunks
        numbers = range(len(chunks)) if count >= 0 else range(len(chunks) - 1, -1, -1)
        gone = 0
        for number in numbers:
            if gone == left:
                break
            if element in chunks[number]:
                chunk = _elements(chunks[number])
                here = min(chunk.count(element), left - gone)
                if here:
                    chunks[number] = _without(chunk, element, here, count < 0)
                    gone += here
        if gone:
            self.count -= gone
            self._join_short()
            if self.size >= 0:
                self.size -= gone * packed_bytes(element)
        return gone

    def _join_short(self) -> None:
        """Drop empty chunks, and make one of neighbours that together are short."""
        joined: list[Any] = []
        for chunk in self._chunks:
            if joined and _length(joined[-1]) + _length(chunk) <= CHUNK_MAX // 2:
                joined[-1] = joined[-1] + chunk
            elif chunk:
                joined.append(chunk)
        self._chunks = joined or [[]]
        self._open(0)
        self._open(len(joined) - 1)

    # --- as a whole -----------------------------------------------------------------------------------------------

    def reading(self) -> "ListReading | None":
        """A reading of it, if it is long."""
        if self.count > LONG_ELEMENTS or (self.count >= COUNT_BYTES_MIN and self.size < 0 and are_long(self)):
            return ListReading(self)
        return None

    def chunks(self) -> Iterator[list[bytes]]:
        """Its elements, some hundred at a time."""
        return map(_elements, self._chunks)

    def copy(self) -> "List":
        """An equal list that may be changed by itself; costs a step a chunk."""
        twin = List.__new__(List)
        twin.count, twin.size, twin.look_at, twin._starts = self.count, self.size, self.look_at, None
        twin._frozen = None
        if len(self._chunks) == 1:
            twin._chunks = [self._chunks[0].copy()]
        else:
            twin._chunks = self._chunks.copy()
            self._frozen = set(map(id, self._chunks))
            twin._frozen = self._frozen.copy()
        return twin

    def shed(self, count: int) -> None:
        """Let go of up to `count` elements: nobody will ask for them any more."""
        self.size = LONG
        self.drop_right(min(count, self.count))

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        assert all(self._chunks) or self._chunks == [[]]
        assert type(self._chunks[0]) is type(self._chunks[-1]) is list
        assert all(len(_elements(chunk)) == _length(chunk) <= CHUNK_MAX for chunk in self._chunks)
        assert self.count == sum(map(_length, self._chunks))
        assert self.size < 0 or self.size == sum(map(packed_bytes, self))
        if self._starts is not None:
            assert self._starts == [0, *accumulate(map(_length, self._chunks[1:-1]))]


class ListReading(Reading):
    """A long list: pieces of some hundred elements."""

    __slots__ = ("_chunks",)

    def __init__(self, value: List) -> None:
        super().__init__(value)
        self._chunks: Iterator[list[bytes]] | None = None

    def take(self) -> list[bytes]:
        """The next elements; none at the end."""
        self.hold()
        assert self._chunks is not None
        return next(self._chunks, [])

    def hold(self) -> None:
        if self._chunks is None:
            self._chunks = self.value.copy().chunks()  # shares the chunks


def _without(chunk: list[bytes], element: bytes, count: int, from_end: bool) -> list[bytes]:
    """The chunk without the first or last `count` of an element that stands there at least as often."""
    if count == chunk.count(element):
        return [other for other in chunk if other != element]
    places = [place for place, other in enumerate(chunk) if other == element]
    gone = set(places[-count:] if from_end else places[:count])
    return [other for place, other in enumerate(chunk) if place not in gone]


def encoding(value: List, settings: Settings) -> bytes:
    """What OBJECT ENCODING says."""
    return b"quicklist" if value.is_long(settings.list_max_listpack_size) else b"listpack"
