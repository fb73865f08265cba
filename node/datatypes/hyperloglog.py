"""HyperLogLog in the bytes of Redis: how many different elements were added, within about a percent, in a string.

The string: `HYLL`, the encoding (0 dense, 1 sparse), three zero bytes, the cached estimate (u64 little endian; its
highest bit says that it is stale), and 16384 registers. Dense: 6 bits a register, lowest first, 12304 bytes in all.
Sparse: opcodes `00xxxxxx` x+1 zeros, `01xxxxxx y` the same with 14 bits, `1vvvvvxx` x+1 registers of value v+1. A
sparse one becomes dense for a value above 32, or when it would be longer than it may be.

Registers are laid open as 16384 bytes. All registers of a dense one are moved at once as lanes of big integers: byte
by byte that would take a hundred times as long.
"""

import math
from bisect import bisect_right
from struct import Struct
from typing import Final

from node.datatypes.strings import StringValue

MAGIC: Final = b"HYLL"
DENSE, SPARSE = 0, 1
HEADER_BYTES: Final = 16
BITS: Final = 14
REGISTERS: Final = 1 << BITS
DENSE_BYTES: Final = HEADER_BYTES + REGISTERS * 6 // 8
HASH_BITS_LEFT: Final = 64 - BITS
VALUE_MAX: Final = 63
SPARSE_VALUE_MAX: Final = 32
SPARSE_RUN_MAX: Final = 4
ZEROS_MAX: Final = 64
"""The longest run of zeros in an opcode of one byte."""
STALE: Final = 0x80
"""In the last byte of the cached estimate."""
ALPHA: Final = 0.721347520444481703680

SEED: Final = 0xADC83B19
MULTIPLIER: Final = 0xC6A4A7935BD1E995
MASK64: Final = (1 << 64) - 1

WORDS: Final = REGISTERS // 4
"""Four registers stand in three bytes: a lane each for the first, second and third byte of all."""
M03, M0F, M3F = (int.from_bytes(bytes((mask,)) * WORDS) for mask in (0x03, 0x0F, 0x3F))
ALL_TOP: Final = int.from_bytes(b"\x80" * REGISTERS)

CACHED: Final = Struct("<Q")
MERGE_SCAN: Final = 5
"""How many opcodes are looked at for neighbours to be joined after a change."""
JOINED_BYTES_MAX: Final = 2 * (MERGE_SCAN + 3)
"""What may be joined to others lies no farther behind the place of a change: up to three opcodes took that of one."""
MARKS_MAX: Final = 64
"""With more of them, moving them would cost more than the searches that they shorten."""


class Corrupted(ValueError):
    """A string that looks like a HyperLogLog and is none inside."""


def is_valid(value: StringValue) -> bool:
    """Tell whether `value` may be a HyperLogLog: its header and, if it is dense, its length."""
    if len(value) < HEADER_BYTES or value[:4] != MAGIC or value[4] > SPARSE:
        return False
    return value[4] == SPARSE or len(value) == DENSE_BYTES


def new() -> bytearray:
    """Return an empty one: sparse, all registers zero."""
    value = bytearray(HEADER_BYTES)
    value[:4] = MAGIC
    value[4] = SPARSE
    return value + _zeros(REGISTERS)


def is_dense(value: StringValue) -> bool:
    return value[4] == DENSE


# --- elements ---------------------------------------------------------------------------------------------------------


def murmur64(data: bytes) -> int:
    """Return MurmurHash64A of `data`, of little-endian words, with Redis's seed."""
    length = len(data)
    result = SEED ^ (length * MULTIPLIER & MASK64)
    whole = length & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little") * MULTIPLIER & MASK64
        word = (word ^ word >> 47) * MULTIPLIER & MASK64
        result = (result ^ word) * MULTIPLIER & MASK64
    if whole < length:
        result = (result ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER & MASK64
    result = (result ^ result >> 47) * MULTIPLIER & MASK64
    return result ^ result >> 47


def place(element: bytes) -> tuple[int, int]:
    """Return the register of `element`, and the value it asks for: trailing zeros of the rest of its hash, and 1."""
    number = murmur64(element)
    rest = number >> BITS | 1 << HASH_BITS_LEFT
    return number & REGISTERS - 1, (rest & -rest).bit_length()


def add(value: bytearray, element: bytes, sparse_bytes_max: int, marks: "Marks") -> bool:
    """Add `element`; True if a register grew. Raises Corrupted. The cached estimate is left to `make_stale`.

    `marks` are those of the value, if others were added just before.
    """
    index, count = place(element)
    if value[4] == DENSE:
        return set_dense(value, index, count)
    return set_sparse(value, index, count, sparse_bytes_max, marks)


def make_stale(value: bytearray) -> None:
    """The registers have changed: the cached estimate is no longer theirs."""
    value[15] |= STALE


# --- dense ------------------------------------------------------------------------------------------------------------


def set_dense(value: bytearray, index: int, count: int) -> bool:
    """Raise a register of a dense one to `count`; False if it was not below."""
    at = HEADER_BYTES + index * 6 // 8
    shift = index * 6 & 7
    pair = int.from_bytes(value[at : at + 2], "little")
    if pair >> shift & VALUE_MAX >= count:
        return False
    pair = pair & ~(VALUE_MAX << shift) | count << shift
    value[at : at + 2] = pair.to_bytes(2, "little")[: len(value) - at]
    return True


def _unpack_dense(value: StringValue) -> bytearray:
    first, second, third = (int.from_bytes(value[HEADER_BYTES + n :: 3]) for n in range(3))
    registers = bytearray(REGISTERS)
    registers[0::4] = (first & M3F).to_bytes(WORDS)
    registers[1::4] = (first >> 6 & M03 | (second & M0F) << 2).to_bytes(WORDS)
    registers[2::4] = (second >> 4 & M0F | (third & M03) << 4).to_bytes(WORDS)
    registers[3::4] = (third >> 2 & M3F).to_bytes(WORDS)
    return registers


def _pack_dense(registers: bytearray) -> bytearray:
    lanes = [int.from_bytes(registers[n::4]) for n in range(4)]
    packed = bytearray(DENSE_BYTES - HEADER_BYTES)
    packed[0::3] = (lanes[0] | (lanes[1] & M03) << 6).to_bytes(WORDS)
    packed[1::3] = (lanes[1] >> 2 & M0F | (lanes[2] & M0F) << 4).to_bytes(WORDS)
    packed[2::3] = (lanes[2] >> 4 & M03 | lanes[3] << 2).to_bytes(WORDS)
    return packed


def to_dense(value: bytearray) -> None:
    """Make a sparse one dense, in place. Raises Corrupted."""
    registers = _unpack_sparse(value)
    value[HEADER_BYTES:] = _pack_dense(registers)
    value[4] = DENSE


# --- sparse -----------------------------------------------------------------------------------------------------------


def _zeros(length: int) -> bytes:
    if length <= ZEROS_MAX:
        return bytes((length - 1,))
    return bytes((0x40 | length - 1 >> 8, length - 1 & 0xFF))


def _run(count: int, length: int) -> bytes:
    return bytes((0x80 | count - 1 << 2 | length - 1,))


def runs(value: StringValue) -> list[tuple[int, int, int]]:
    """Return the opcodes of a sparse one as (value, length, bytes of the opcode). Raises Corrupted.

    Somebody's half gigabyte that only begins as a sparse one is looked at no further than registers go: as a list of
    opcodes it took all memory of the machine.
    """
    found = []
    at, end, registers = HEADER_BYTES, len(value), 0
    while at < end:
        code = value[at]
        count, size = 0, 1
        if code >= 0x80:
            count, length = (code >> 2 & 31) + 1, (code & 3) + 1
        elif code < 0x40:
            length = code + 1
        else:
            if at + 1 == end:
                raise Corrupted("a run of zeros without its end")
            length, size = ((code & 63) << 8 | value[at + 1]) + 1, 2
        found.append((count, length, size))
        at += size
        registers += length
        if registers > REGISTERS:
            raise Corrupted("too many registers")
    return found


def _unpack_sparse(value: StringValue) -> bytearray:
    registers = b"".join([bytes((count,)) * length for count, length, _ in runs(value)])
    if len(registers) != REGISTERS:
        raise Corrupted(f"{len(registers)} registers")
    return bytearray(registers)


class _Place:
    """The opcode of a sparse one that covers a register."""

    __slots__ = ("at", "count", "first", "length", "previous", "previous_first", "size")

    def __init__(self, value: bytearray, index: int, start: int, first: int) -> None:
        """Search from the opcode at `start`, whose first register is `first`. Raises Corrupted."""
        at, end = start, len(value)
        previous, previous_first = start, first
        while at < end:
            code = value[at]
            size = 1
            if code >= 0x80:
                length = (code & 3) + 1
            elif code < 0x40:
                length = code + 1
            else:
                if at + 1 == end:
                    break
                length = ((code & 63) << 8 | value[at + 1]) + 1
                size = 2
            if index < first + length:
                self.at, self.size, self.first, self.length = at, size, first, length
                self.count = (code >> 2 & 31) + 1 if code >= 0x80 else 0
                self.previous, self.previous_first = previous, previous_first
                return
            previous, previous_first = at, first
            at += size
            first += length
        raise Corrupted("too few registers")


class Marks:
    """Where some opcodes of a sparse one begin: each search leaves one, so that the next need not begin at the first.

    Good for as long as the value changes by `set_sparse` alone, which is given them.
    """

    __slots__ = ("_firsts", "_starts")

    def __init__(self) -> None:
        self._starts = [HEADER_BYTES]  # the bytes at which opcodes begin
        self._firsts = [0]  # and their registers

    def search(self, value: bytearray, index: int) -> _Place:
        """The opcode that covers a register, with the one before it. Raises Corrupted."""
        starts, firsts = self._starts, self._firsts
        mark = bisect_right(firsts, index) - 1
        found = _Place(value, index, starts[mark], firsts[mark])
        if found.at == starts[mark] and mark:
            mark -= 1
            found = _Place(value, index, starts[mark], firsts[mark])
        if found.previous_first > firsts[mark] and len(starts) < MARKS_MAX:
            starts.insert(mark + 1, found.previous)
            firsts.insert(mark + 1, found.previous_first)
        return found

    def changed(self, found: _Place, growth: int) -> None:
        """The value has changed there, and what is behind has moved. Opcodes near by may be joined to others."""
        starts = self._starts
        first = bisect_right(starts, found.previous)
        last = bisect_right(starts, found.at + JOINED_BYTES_MAX, first)
        del starts[first:last], self._firsts[first:last]
        if growth:
            starts[first:] = [start + growth for start in starts[first:]]


def set_sparse(value: bytearray, index: int, count: int, bytes_max: int, marks: Marks) -> bool:
    """Raise a register to `count`, if need be in a dense value; True if it was below. Raises Corrupted."""
    found = marks.search(value, index)
    if found.count >= count:
        return False
    codes = _split(found, index, count)
    growth = len(codes) - found.size
    size = len(value)
    if count > SPARSE_VALUE_MAX or (growth > 0 and size + growth > bytes_max):
        to_dense(value)
        return set_dense(value, index, count)
    value[found.at : found.at + found.size] = codes
    _join(value, found.previous)
    marks.changed(found, len(value) - size)
    return True


def _split(found: _Place, index: int, count: int) -> bytes:
    """The opcodes that take the place of `found` once register `index` is `count`."""
    if count > SPARSE_VALUE_MAX:
        return b""
    before, behind = index - found.first, found.first + found.length - 1 - index
    if found.count:
        left = _run(found.count, before) if before else b""
        right = _run(found.count, behind) if behind else b""
    else:
        left = _zeros(before) if before else b""
        right = _zeros(behind) if behind else b""
    return left + _run(count, 1) + right


def _join(value: bytearray, at: int) -> None:
    """Join neighbours of one value from `at` on, as far as Redis looks."""
    for _ in range(MERGE_SCAN):
        if at + 1 >= len(value):
            return
        code, next_code = value[at], value[at + 1]
        if code < 0x80:
            at += 1 if code < 0x40 else 2
        elif next_code >= 0x80 and code >> 2 == next_code >> 2 and (code & 3) + (next_code & 3) + 2 <= SPARSE_RUN_MAX:
            value[at : at + 2] = bytes((code + (next_code & 3) + 1,))
        else:
            at += 1


# --- all registers ----------------------------------------------------------------------------------------------------


def unpack(value: StringValue) -> bytearray:
    """Return the registers, a byte each. Raises Corrupted."""
    return _unpack_dense(value) if value[4] == DENSE else _unpack_sparse(value)


def maximum(first: bytes | bytearray, second: bytes | bytearray) -> bytes:
    """Return the larger of each two registers."""
    a, b = int.from_bytes(first), int.from_bytes(second)
    not_below = (a | ALL_TOP) - b & ALL_TOP  # no register reaches the top bit, so no lane borrows from another
    choose = not_below - (not_below >> 7) | not_below
    return (a & choose | b & ~choose).to_bytes(REGISTERS)


def raise_to(value: bytearray, registers: bytes | bytearray, sparse_bytes_max: int) -> None:
    """Raise all registers to at least those given. Raises Corrupted."""
    if is_dense(value):
        value[HEADER_BYTES:] = _pack_dense(bytearray(maximum(_unpack_dense(value), registers)))
        return
    marks = Marks()
    for index, count in enumerate(registers):
        if not count:
            continue
        if is_dense(value):
            set_dense(value, index, count)
        else:
            set_sparse(value, index, count, sparse_bytes_max, marks)


def estimate_of(registers: bytes | bytearray) -> int:
    """Return how many elements make such registers (Ertl, "New cardinality estimation algorithms", 2017)."""
    left = REGISTERS
    histogram = [0] * (VALUE_MAX + 1)
    for count in range(VALUE_MAX + 1):
        histogram[count] = registers.count(count)
        left -= histogram[count]
        if not left:
            break
    z = REGISTERS * _tau((REGISTERS - histogram[HASH_BITS_LEFT + 1]) / REGISTERS)
    for count in range(HASH_BITS_LEFT, 0, -1):
        z = (z + histogram[count]) * 0.5
    z += REGISTERS * _sigma(histogram[0] / REGISTERS)
    return math.floor(ALPHA * REGISTERS * REGISTERS / z + 0.5)


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3


def cached_estimate(value: StringValue) -> int | None:
    """Return the estimate that `value` carries, None if it is stale."""
    if value[15] & STALE:
        return None
    return int(CACHED.unpack_from(value, 8)[0])


def refresh(value: bytearray) -> int:
    """Return the estimate, computed anew and kept in `value`. Raises Corrupted."""
    estimate = estimate_of(unpack(value))
    CACHED.pack_into(value, 8, estimate)
    return estimate
