"""Listpacks: short lists of strings and integers in one block, as Redis keeps small containers since 7.0.

u32 bytes, u16 elements (65535: count them), the elements, 0xFF. An element is its encoding and data, then the length
of both, so that a list can also be read backwards. All numbers are little endian but those within an encoding byte:

    0xxxxxxx        0 to 127                       F0 u32   string
    10xxxxxx        string of up to 63 bytes       F1 F2 F3 F4  signed integers of 2, 3, 4, 8 bytes
    110xxxxx y      signed, 13 bits                1110xxxx y   string of up to 4095 bytes

The length behind an element is in groups of 7 bits, the highest first; every byte but the first has bit 0x80 set.
An integer stands for its decimal text, and every canonical text of a 64-bit integer is written as one.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Any, Final

from node.datatypes.numbers import parse_int
from node.rdb.codec import FORMAT_WORDS_MAX, FORMATS_MAX, RdbError

HEADER: Final = Struct("<IH")
COUNT_UNKNOWN: Final = 65535
END: Final = 0xFF

SHORT_MAX: Final = 63
MIDDLE_MAX: Final = 4095
"""The longest strings of the two forms whose length is in the encoding."""
INTEGER_BYTES: Final = MappingProxyType({0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8})


def check(data: bytes) -> None:
    """Look at the outside of a listpack: what a file with a checksum needs. Raises RdbError."""
    if len(data) <= HEADER.size or HEADER.unpack_from(data)[0] != len(data) or data[-1] != END:
        raise RdbError(0, f"Listpack of {len(data)} bytes is malformed")


def count(data: bytes) -> int:
    """How many elements a listpack has."""
    known: int = HEADER.unpack_from(data)[1]
    return known if known != COUNT_UNKNOWN else len(decode(data))


def decode(data: bytes) -> list[bytes]:
    """The elements of a listpack. Raises RdbError where anything is not as it has to be."""
    check(data)
    try:
        elements = _elements(data)
    except IndexError:
        raise RdbError(len(data), "Listpack element beyond the end") from None
    known = HEADER.unpack_from(data)[1]
    if known not in (len(elements), COUNT_UNKNOWN):
        raise RdbError(4, f"Listpack of {len(elements)} elements says it has {known}")
    return elements


def _elements(data: bytes) -> list[bytes]:
    elements: list[bytes] = []
    add = elements.append
    at, last = HEADER.size, len(data) - 1
    while at < last:
        head = data[at]
        if head < 0x80:
            add(b"%d" % head)
            size = 1
        elif head < 0xC0:
            size = 1 + (head & 0x3F)
            add(data[at + 1 : at + size])
        else:
            element, size = _decode_long(data, at, head)
            add(element)
        at += size
        if size < 128:
            if data[at] != size:
                raise RdbError(at, "Listpack element with a wrong length behind it")
            at += 1
        else:
            tail = _length_behind(size)
            if data[at : at + len(tail)] != tail:
                raise RdbError(at, "Listpack element with a wrong length behind it")
            at += len(tail)
        if at > last:
            raise RdbError(at, "Listpack element beyond the end")
    return elements


def _decode_long(data: bytes, at: int, head: int) -> tuple[bytes, int]:
    """An element of the rarer forms, and how long its encoding and data are."""
    room = len(data) - 1 - at
    size, start = 0, 2
    if head < 0xE0:
        number = (head & 0x1F) << 8 | data[at + 1]
        return b"%d" % (number - 8192 if number & 0x1000 else number), 2
    if head in INTEGER_BYTES:
        size = 1 + INTEGER_BYTES[head]
        if size < room:
            return b"%d" % int.from_bytes(data[at + 1 : at + size], "little", signed=True), size
    elif head < 0xF0:
        size = 2 + ((head & 0x0F) << 8 | data[at + 1])
    elif head == 0xF0 and room > 5:
        start = 5
        size = 5 + int.from_bytes(data[at + 1 : at + 5], "little")
    if not 0 < size < room:
        raise RdbError(at, f"Listpack element 0x{head:02x} of {size} bytes is malformed")
    return data[at + start : at + size], size


def _length_behind(size: int) -> bytes:
    """What stands behind an element of `size` bytes. The limits of two bytes and more are one less than they could."""
    if size <= 127:
        return bytes((size,))
    groups = 2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5
    behind = [size >> 7 * place & 0x7F | 0x80 for place in range(groups - 1, -1, -1)]
    behind[0] &= 0x7F
    return bytes(behind)


def _encoded_string(value: bytes) -> bytes:
    length = len(value)
    if length <= SHORT_MAX:
        return bytes((0x80 | length,)) + value
    if length <= MIDDLE_MAX:
        return bytes((0xE0 | length >> 8, length & 0xFF)) + value
    return b"\xf0" + length.to_bytes(4, "little") + value


# A cell is an element with the length behind it. The cells of many short strings are written by one call of `%`: a loop
# in Python would take most of the time of a snapshot.

HEADS: Final = tuple(bytes((0x80 | length,)) for length in range(SHORT_MAX + 1))
TAILS: Final = tuple(bytes((1 + length,)) for length in range(SHORT_MAX + 1))
"""What stands around a short string."""
CELLS: Final = tuple(HEADS[length] + b"%b" + TAILS[length].replace(b"%", b"%%") for length in range(SHORT_MAX + 1))
"""The same as formats."""
SMALL_INTEGERS: Final = tuple(bytes((number, 1)) for number in range(128))
"""The cells of the smallest integers."""
NUMBERED_CELLS: Final = tuple(cell + b"%b" for cell in CELLS)
"""A short string and the cell of the number behind it."""
CELL_13: Final = Struct(">HB")
CELL_16: Final = Struct("<BhB")
CELL_32: Final = Struct("<BiB")


def _integer_cell(number: int) -> bytes:
    """The cell of an integer of up to 64 bits."""
    if 0 <= number <= 127:
        return SMALL_INTEGERS[number]
    if -4096 <= number <= 4095:
        return CELL_13.pack(0xC000 | number & 0x1FFF, 2)
    if -0x8000 <= number < 0x8000:
        return CELL_16.pack(0xF1, number, 3)
    if -0x800000 <= number < 0x800000:
        return b"\xf2" + number.to_bytes(3, "little", signed=True) + b"\x04"
    if -0x80000000 <= number < 0x80000000:
        return CELL_32.pack(0xF3, number, 5)
    return b"\xf4" + number.to_bytes(8, "little", signed=True) + b"\x09"


def _word_cell(word: bytes) -> bytes:
    """The cell of a word that is long, or looks like an integer."""
    if (number := parse_int(word)) is not None:
        return _integer_cell(number)
    body = _encoded_string(word)
    return body + _length_behind(len(body))


@lru_cache(FORMATS_MAX)
def _cells(lengths: tuple[int, ...]) -> bytes:
    """The format of the cells of short strings of these lengths: those of one kind of container are mostly alike."""
    return b"".join(map(CELLS.__getitem__, lengths))


@lru_cache(FORMATS_MAX)
def _numbered_cells(lengths: tuple[int, ...]) -> bytes:
    """As `_cells`, each with room for the cell of a number behind it."""
    return b"".join(map(NUMBERED_CELLS.__getitem__, lengths))


def encode(elements: Iterable[bytes]) -> bytes:
    """The listpack of `elements`."""
    words = tuple(elements)
    if not any(map(bytes.isdigit, words)):
        lengths = tuple(map(len, words))
        try:
            cells = (_cells(lengths) if len(words) <= FORMAT_WORDS_MAX else _cells.__wrapped__(lengths)) % words
        except IndexError:  # one is long
            return encode_mixed(words)
        if b"-" not in cells or not any(word.startswith(b"-") for word in words):
            return _whole(cells, len(words))
    return encode_mixed(words)


def encode_numbered(words: Sequence[bytes], numbers: Sequence[int]) -> bytes:
    """The listpack of these words, each with its number behind it."""
    flat: list[Any] = [None] * (2 * len(words))
    flat[::2] = words
    if len(words) <= FORMAT_WORDS_MAX and not any(map(bytes.isdigit, words)):
        lengths = tuple(map(len, words))
        if max(lengths) <= SHORT_MAX and not any(word.startswith(b"-") for word in words):
            flat[1::2] = [
                CELL_16.pack(0xF1, number, 3) if 4095 < number < 0x8000 else _integer_cell(number) for number in numbers
            ]
            return _whole(_numbered_cells(lengths) % tuple(flat), len(flat))
    flat[1::2] = numbers
    return encode_mixed(flat)


def encode_mixed(elements: Iterable[bytes | int]) -> bytes:
    """As `encode`, where integers need not be texts."""
    parts: list[bytes] = []
    count = 0
    for element in elements:
        count += 1
        if type(element) is int:
            if 0 <= element <= 127:
                parts.append(SMALL_INTEGERS[element])
            elif 4095 < element < 0x8000:
                parts.append(CELL_16.pack(0xF1, element, 3))
            else:
                parts.append(_integer_cell(element))
            continue
        assert isinstance(element, bytes)
        length = len(element)
        if length > SHORT_MAX or element.isdigit() or element[:1] == b"-":
            parts.append(_word_cell(element))
        else:
            parts += (HEADS[length], element, TAILS[length])
    return _whole(b"".join(parts), count)


def _whole(cells: bytes, count: int) -> bytes:
    return HEADER.pack(HEADER.size + len(cells) + 1, min(count, COUNT_UNKNOWN)) + cells + b"\xff"
