"""Lengths and strings, the two atoms of the RDB format.

A length: `00xxxxxx` 6 bits; `01xxxxxx` and a byte, 14 bits, high bits first; 0x80 and u32 big endian; 0x81 and
u64 big endian. `11xxxxxx` announces a special string: 0, 1, 2 a signed integer of 1, 2, 4 bytes, little endian,
that stands for its decimal text; 3 an LZF block (length packed, length plain, data).

Decoders take the data and a position and return the value and the position behind it. They raise `Truncated` where the
data ends too early (which more data may cure) and `RdbError` where no further byte can help. An `IndexError` that
escapes a decoder means the same as `Truncated`: that keeps the checks of single bytes out of the hot path.
"""

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from struct import Struct
from typing import Final, cast

RDB_VERSION: Final = 10
"""The version written where it can hold the data: the highest that a Redis 7.0 loads."""
RDB_VERSION_MAX: Final = 12
"""The highest version read."""

STRING_BYTES_MAX: Final = 1 << 32
"""The longest string read, in bytes. Eight times what `proto-max-bulk-len` allows by default: a length beyond it is
damage, and waiting for its bytes would fill the memory."""

INT_TEXT_BYTES_MAX: Final = 11
"""The longest text written as an integer: -2147483648."""
LZF_MIN_BYTES: Final = 21
"""The shortest string worth a try at compression, as Redis has it."""
LZF_SAVED_BYTES_MIN: Final = 4
LZF_SURE_BYTES: Final = 8
"""Where less than this is saved, Redis may not find the room for it: its compressor stops some bytes before the end."""
LZF_ROOM_BYTES: Final = 16
"""With so much beyond a 32nd there is room for whatever comes: an exception costs as much as the try."""
LZF_INPUT_BYTES_MAX: Final = (1 << 32) - 1
LZF_RATIO_MAX: Final = 88
"""An LZF block of n bytes holds at most this times n: three bytes stand for up to 264."""

SPECIAL_INT8: Final = 0xC0
SPECIAL_INT16: Final = 0xC1
SPECIAL_INT32: Final = 0xC2
SPECIAL_LZF: Final = 0xC3

INT8: Final = Struct("<b")
INT16: Final = Struct("<h")
INT32: Final = Struct("<i")
LZF_HEAD: Final = Struct(">BHH")
UINT32_BE: Final = Struct(">I")
UINT64_BE: Final = Struct(">Q")


class RdbError(Exception):
    """Data that is no RDB. `offset` is the byte at which it was noticed, `reason` says what is wrong there."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} (offset {offset})")
        self.offset = offset
        self.reason = reason


class Truncated(Exception):
    """The data ends too early: at least `needed` bytes, counted from the start of the data given, are needed."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


@cache
def lzf_compress() -> Callable[[bytes | bytearray, int], bytes]:
    """What compresses a string into no more than so many bytes: ValueError where that is not enough."""
    # Imported at the first use, as few nodes meet a compressible string while they start.
    import pylzf

    return cast("Callable[[bytes | bytearray, int], bytes]", pylzf.compress)


@cache
def _lzf_decompress() -> Callable[[bytes, int], bytes]:
    import pylzf

    return cast("Callable[[bytes, int], bytes]", pylzf.decompress)


SHORT_LENGTHS: Final = tuple(bytes((length,)) for length in range(1 << 6))


def encode_length(length: int) -> bytes:
    """Return `length` (0 to 2**64 - 1) in its shortest form."""
    if length < 1 << 6:
        return SHORT_LENGTHS[length]
    if length < 1 << 14:
        return bytes((0x40 | length >> 8, length & 0xFF))
    if length < 1 << 32:
        return b"\x80" + UINT32_BE.pack(length)
    return b"\x81" + UINT64_BE.pack(length)


def take(data: bytes, at: int, length: int) -> bytes:
    """Return the `length` bytes of `data` from `at`. Raises Truncated where they are not all there."""
    if at + length > len(data):
        raise Truncated(at + length)
    return data[at : at + length]


def decode_length(data: bytes, at: int) -> tuple[int, int]:
    """Read a length. Raises RdbError where a special string stands instead."""
    head = data[at]
    if head < 0x40:
        return head, at + 1
    if head < 0x80:
        return (head & 0x3F) << 8 | data[at + 1], at + 2
    if head == 0x80:
        return UINT32_BE.unpack(take(data, at + 1, 4))[0], at + 5
    if head == 0x81:
        return UINT64_BE.unpack(take(data, at + 1, 8))[0], at + 9
    raise RdbError(at, f"Unknown length encoding 0x{head:02x}")


def decode_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a string in any of its forms."""
    if data[at] >= SPECIAL_INT8:
        return _decode_special(data, at)
    length, start = decode_length(data, at)
    if length > STRING_BYTES_MAX:
        raise RdbError(at, f"String of {length} bytes is longer than {STRING_BYTES_MAX}")
    return take(data, start, length), start + length


def decode_strings(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Read so many strings: the short plain ones, which most are, without a call for each."""
    words: list[bytes] = []
    add, limit = words.append, len(data)
    for _ in range(count):
        length = data[at]
        if length < 0x40:
            start = at + 1
            at = start + length
            if at > limit:
                raise Truncated(at)
            add(data[start:at])
        else:
            word, at = decode_string(data, at)
            add(word)
    return words, at


def _decode_special(data: bytes, at: int) -> tuple[bytes, int]:
    head, start = data[at], at + 1
    if head <= SPECIAL_INT32:
        end = start + (1 << head - SPECIAL_INT8)
        return b"%d" % int.from_bytes(take(data, start, end - start), "little", signed=True), end
    if head == SPECIAL_LZF:
        return _decode_lzf(data, start)
    raise RdbError(at, f"Unknown RDB string encoding type {head & 0x3F}")


def _decode_lzf(data: bytes, at: int) -> tuple[bytes, int]:
    packed_length, plain_length, start = data[at], data[at + 1], at + 2
    if packed_length < 0x40 <= plain_length < 0x80:  # files of many short strings are worth the short ways
        plain_length, start = (plain_length & 0x3F) << 8 | data[start], start + 1
    elif packed_length > 63 or plain_length > 63:
        packed_length, start = decode_length(data, at)
        plain_length, start = decode_length(data, start)
    # Checked before anything is awaited or reserved: a damaged length must not cost memory.
    if not 0 < plain_length <= min(packed_length * LZF_RATIO_MAX, STRING_BYTES_MAX - 1):
        raise RdbError(at, f"Invalid LZF compressed string: {packed_length} bytes for {plain_length}")
    if packed_length > STRING_BYTES_MAX:
        raise RdbError(at, f"String of {packed_length} bytes is longer than {STRING_BYTES_MAX}")
    packed = take(data, start, packed_length)
    try:
        plain = _lzf_decompress()(packed, plain_length)
    except ValueError:
        plain = b""
    if len(plain) != plain_length:
        raise RdbError(at, "Invalid LZF compressed string")
    return plain, start + packed_length


def encode_string(value: bytes | bytearray, compress: bool = True) -> bytes:
    """Return `value` in the form that Redis writes: as an integer, compressed if that saves enough, or plain."""
    length = len(value)
    packed = None
    if length <= INT_TEXT_BYTES_MAX:
        packed = encode_int_text(value)
    elif compress and length >= LZF_MIN_BYTES:
        packed = encode_lzf(value)
    return packed or encode_length(length) + value


FORMATS_MAX: Final = 1024
FORMAT_WORDS_MAX: Final = 64
"""So many formats are kept, of up to so many strings each: less than a megabyte."""
SHORT_STRINGS: Final = tuple(bytes((length,)).replace(b"%", b"%%") + b"%b" for length in range(LZF_MIN_BYTES))
"""The plain form of a string of each length that is not worth a try at compression, as a format."""


@lru_cache(FORMATS_MAX)
def _short_strings(lengths: tuple[int, ...]) -> bytes:
    """The format of short strings of these lengths: those of one kind of container are mostly alike."""
    return b"".join(map(SHORT_STRINGS.__getitem__, lengths))


def encode_strings(values: Iterable[bytes], compress: bool = True) -> bytes:
    """Return these strings one after the other, each as `encode_string` has it; short ones all at once."""
    words = tuple(values)
    lengths = tuple(map(len, words))
    if max(lengths, default=0) < LZF_MIN_BYTES and not any(map(bytes.isdigit, words)):
        few = len(words) <= FORMAT_WORDS_MAX
        data = (_short_strings(lengths) if few else _short_strings.__wrapped__(lengths)) % words
        if b"-" not in data or not any(word.startswith(b"-") for word in words):
            return data
    return b"".join([encode_string(word, compress) for word in words])


def encode_int_text(value: bytes | bytearray) -> bytes | None:
    """Return the special form of a canonical integer of up to 32 bits, None for any other text."""
    digits = value[1:] if value[:1] == b"-" else value
    if len(value) > INT_TEXT_BYTES_MAX or not digits.isdigit():
        return None
    number = int(value)
    if b"%d" % number != value:
        return None
    if -(1 << 7) <= number < 1 << 7:
        return b"\xc0" + INT8.pack(number)
    if -(1 << 15) <= number < 1 << 15:
        return b"\xc1" + INT16.pack(number)
    if -(1 << 31) <= number < 1 << 31:
        return b"\xc2" + INT32.pack(number)
    return None


def encode_lzf(value: bytes | bytearray) -> bytes | None:
    """Return `value` as an LZF block, None where it is too short for that or would save less than 4 bytes."""
    length = len(value)
    if not LZF_MIN_BYTES <= length <= LZF_INPUT_BYTES_MAX:
        return None
    compress = lzf_compress()
    packed = compress(value, length + (length >> 5) + LZF_ROOM_BYTES)
    if len(packed) > length - LZF_SAVED_BYTES_MIN:
        return None
    if len(packed) > length - LZF_SURE_BYTES:
        try:
            packed = compress(value, length - LZF_SAVED_BYTES_MIN)
        except ValueError:
            return None
    if 1 << 6 <= length < 1 << 14:  # as a rule: the length takes two bytes, that of the block one or two
        if len(packed) < 1 << 6:
            return bytes((SPECIAL_LZF, len(packed), 0x40 | length >> 8, length & 0xFF)) + packed
        return LZF_HEAD.pack(SPECIAL_LZF, 0x4000 | len(packed), 0x4000 | length) + packed
    return b"\xc3" + encode_length(len(packed)) + encode_length(length) + packed
