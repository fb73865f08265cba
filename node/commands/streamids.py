"""Reading stream ids and ranges of them from a command's words, with Redis's words for what is wrong."""

import re
from typing import TypeAlias

from node.datatypes.streams import ID_MAX, SEQUENCE_BITS, SEQUENCE_MAX, make_id
from node.net.resp import CommandError

INVALID_ID = CommandError("ERR Invalid stream ID specified as stream command argument")
INVALID_START = CommandError("ERR invalid start ID for the interval")
INVALID_END = CommandError("ERR invalid end ID for the interval")

ID_TEXT_BYTES_MAX = 127
UNSIGNED = re.compile(rb"[ \t\n\v\f\r]*[+-]?\d+")
"""What the C library reads as an unsigned integer; a minus sign wraps around."""
PLAIN_DIGITS_MAX = 19
"""So many digits are less than 2^64, whatever they are."""
CANONICAL_NEGATIVE = re.compile(rb"-(?:0|[1-9]\d{0,18})")


def _unsigned(text: bytes) -> int | None:
    """A 64-bit number as Redis reads it here: leniently, but for plain negative ones."""
    if not text.isdigit() and (not UNSIGNED.fullmatch(text) or CANONICAL_NEGATIVE.fullmatch(text)):
        return None
    number = int(text)
    if abs(number) > SEQUENCE_MAX:
        return None
    return number & SEQUENCE_MAX


GivenId: TypeAlias = tuple[int, bool]
"""(number, complete): an id as a client gave it; not complete is `ms-*`, whose sequence number is to be found."""


def parse_given(text: bytes, missing_sequence: int = 0, with_star: bool = False) -> GivenId:
    """An id without the special ones; `with_star` allows `ms-*`."""
    head, dash, tail = text.partition(b"-")
    if head.isdigit() and tail.isdigit() and len(head) <= PLAIN_DIGITS_MAX >= len(tail):  # as most are
        return int(head) << SEQUENCE_BITS | int(tail), True
    if len(text) > ID_TEXT_BYTES_MAX:
        raise INVALID_ID
    head, dash, tail = text.partition(b"\0")[0].partition(b"-")
    ms = _unsigned(head)
    if ms is None:
        raise INVALID_ID
    if not dash:
        return make_id(ms, missing_sequence), True
    if with_star and tail == b"*":
        return make_id(ms, 0), False
    sequence = _unsigned(tail)
    if sequence is None:
        raise INVALID_ID
    return make_id(ms, sequence), True


def parse_id(text: bytes, missing_sequence: int = 0) -> int:
    """An id, neither `-` nor `+`."""
    return parse_given(text, missing_sequence)[0]


def parse_any_id(text: bytes, missing_sequence: int = 0) -> int:
    """An id, or `-` for the lowest and `+` for the highest."""
    if text == b"-":
        return 0
    if text == b"+":
        return ID_MAX
    return parse_id(text, missing_sequence)


def parse_start(text: bytes) -> int:
    """The first id of a range; a bracket leaves it out."""
    if len(text) > 1 and text[:1] == b"(":
        number = parse_id(text[1:]) + 1
        if number > ID_MAX:
            raise INVALID_START
        return number
    return parse_any_id(text)


def parse_end(text: bytes) -> int:
    """The last id of a range; a bracket leaves it out. Without a sequence number it is the highest one."""
    if len(text) > 1 and text[:1] == b"(":
        number = parse_id(text[1:], SEQUENCE_MAX) - 1
        if number < 0:
            raise INVALID_END
        return number
    return parse_any_id(text, SEQUENCE_MAX)
