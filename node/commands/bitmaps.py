"""Bitmaps and bit fields: strings as rows of bits. What is written becomes a bytearray, changed in place."""

from typing import NamedTuple

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.datatypes import bits
from node.datatypes.numbers import INT64_MAX, parse_int
from node.datatypes.strings import StringValue
from node.keyspace.database import Database
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

BAD_OFFSET = CommandError("ERR bit offset is not an integer or out of range")
BAD_BIT = CommandError("ERR bit is not an integer or out of range")
BAD_TYPE = CommandError(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)


def _offset(client: Client, text: bytes, width: int = 1) -> int:
    """A bit's place; `#n` is the place of the n-th field of `width` bits, for those who say how wide a field is."""
    number = parse_int(text[1:] if width and text[:1] == b"#" else text)
    if number is None or number < 0:
        raise BAD_OFFSET
    if text[:1] == b"#":
        number *= width
    host = client.host
    if number > INT64_MAX or (not host.keyspace.obeying and number >> 3 >= host.config.proto_max_bulk_len):
        raise BAD_OFFSET
    return number


def _open_bytes(db: Database, key: bytes, length: int) -> tuple[bytearray, bool]:
    """The string under `key`, to be changed in place, with at least `length` bytes; True if it had to grow."""
    if db.peek_string(key) is None:
        made = bytearray(length)
        db.set(key, made)
        return made, True
    opened: StringValue = db.open(key) or b""
    if type(opened) is bytearray:
        value = opened
    else:
        value = bytearray(opened)
        db.replace(key, value)
    missing = length - len(value)
    if missing > 0:
        value += bytes(missing)
    return value, missing > 0


@command("setbit", 4, "write denyoom", acl="bitmap", keys="@1/range:0:1:0/RW+ACCESS+UPDATE")
def setbit(client: Client, argv: Argv) -> Reply:
    _, key, offset_text, bit = argv
    offset = _offset(client, offset_text, 0)
    if bit not in (b"0", b"1"):
        raise BAD_BIT
    value, grown = _open_bytes(client.db, key, (offset >> 3) + 1)
    at, mask = offset >> 3, 0x80 >> (offset & 7)
    old = value[at]
    value[at] = old | mask if bit == b"1" else old & ~mask
    if grown or value[at] != old:
        client.db.changed(key, "setbit", "$")
    return 1 if old & mask else 0


@command("getbit", 3, "readonly fast", acl="bitmap", keys="@1/range:0:1:0/RO+ACCESS")
def getbit(client: Client, argv: Argv) -> Reply:
    offset = _offset(client, argv[2], 0)
    value = client.db.read_string(argv[1])
    at = offset >> 3
    if value is None or at >= len(value):
        return 0
    return value[at] >> 7 - (offset & 7) & 1


def _unit(word: bytes) -> int:
    """How many bits the unit of a range has."""
    if word.upper() == b"BIT":
        return 1
    if word.upper() == b"BYTE":
        return 8
    raise SYNTAX


def _clip(start: int, end: int, length: int) -> tuple[int, int]:
    """A range of `length` units: negative ends count from the end, and neither lies outside."""
    if start < 0:
        start = max(start + length, 0)
    if end < 0:
        end = max(end + length, 0)
    return start, min(end, length - 1)


@command("bitcount", -2, "readonly", acl="bitmap", keys="@1/range:0:1:0/RO+ACCESS")
def bitcount(client: Client, argv: Argv) -> Reply:
    if len(argv) not in (2, 4, 5):
        raise SYNTAX
    start, end = (integer(argv[2]), integer(argv[3])) if len(argv) > 2 else (0, -1)
    unit = _unit(argv[4]) if len(argv) == 5 else 8
    value = client.db.read_string(argv[1])
    if not value or (start < 0 and end < 0 and start > end):
        return 0
    start, end = _clip(start, end, len(value) * 8 // unit)
    return bits.count_ones(value, start * unit, end * unit + unit - 1) if start <= end else 0


@command("bitpos", -3, "readonly", acl="bitmap", keys="@1/range:0:1:0/RO+ACCESS")
def bitpos(client: Client, argv: Argv) -> Reply:
    bit = integer(argv[2])
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    if len(argv) > 6:
        raise SYNTAX
    start = integer(argv[3]) if len(argv) > 3 else 0
    unit = _unit(argv[5]) if len(argv) == 6 else 8
    end = integer(argv[4]) if len(argv) > 4 else -1
    value = client.db.read_string(argv[1])
    if value is None:
        return -1 if bit else 0
    start, end = _clip(start, end, len(value) * 8 // unit)
    if start > end:
        return -1
    found = bits.find_bit(value, bit, start * unit, end * unit + unit - 1)
    if found < 0 and not bit and len(argv) < 5:
        return len(value) * 8  # without an end the zeros behind the string count
    return found


@command("bitop", -4, "write denyoom", acl="bitmap", keys="@2/range:0:1:0/OW+UPDATE @3/range:-1:1:0/RO+ACCESS")
def bitop(client: Client, argv: Argv) -> Reply:
    _, word, target, *sources = argv
    operation = bits.OPERATIONS.get(word.upper())
    if operation is None:
        raise SYNTAX
    if word.upper() == b"NOT" and len(sources) != 1:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    db = client.db
    result = operation([db.read_string(key) or b"" for key in sources])
    if result:
        db.set(target, result)
        db.changed(target, "set", "$")
    else:
        db.delete(target)
    return len(result)


# --- bit fields -------------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """One operation of a BITFIELD."""

    word: bytes  # GET, SET or INCRBY
    signed: bool
    width: int
    offset: int
    number: int  # to set or to add
    overflow: bytes


def _field_type(text: bytes) -> tuple[bool, int]:
    signed = text[:1] == b"i"
    width = parse_int(text[1:])
    if text[:1] not in (b"i", b"u") or width is None or not 1 <= width <= (64 if signed else 63):
        raise BAD_TYPE
    return signed, width


def _steps(client: Client, argv: Argv) -> list[_Step]:
    steps = []
    overflow = bits.WRAP
    at, end = 2, len(argv)
    while at < end:
        word = argv[at].upper()
        left = end - at - 1
        if word == b"OVERFLOW" and left >= 1:
            overflow = argv[at + 1].upper()
            if overflow not in (bits.WRAP, bits.SATURATE, bits.FAIL):
                raise CommandError("ERR Invalid OVERFLOW type specified")
            at += 2
            continue
        writes = word in (b"SET", b"INCRBY")
        if not (word == b"GET" and left >= 2) and not (writes and left >= 3):
            raise SYNTAX
        signed, width = _field_type(argv[at + 1])
        offset = _offset(client, argv[at + 2], width)
        steps.append(_Step(word, signed, width, offset, integer(argv[at + 3]) if writes else 0, overflow))
        at += 4 if writes else 3
    return steps


def _read_fields(client: Client, key: bytes, steps: list[_Step]) -> Reply:
    value = client.db.read_string(key) or b""
    return [bits.get_field(value, step.offset, step.width, step.signed) for step in steps]


def _apply(value: bytearray, step: _Step) -> tuple[int | None, bool]:
    """Do one step: its reply, and whether it changed anything."""
    old = bits.get_field(value, step.offset, step.width, step.signed)
    if step.word == b"GET":
        return old, False
    wanted = step.number if step.word == b"SET" else old + step.number
    if step.word == b"SET" and not step.signed:
        wanted %= 1 << 64  # a negative number is a large one there, as Redis has it
    new = bits.fit(wanted, step.width, step.signed, step.overflow)
    if new is None:
        return None, False
    bits.set_field(value, step.offset, step.width, new)
    return (old if step.word == b"SET" else new), new != old


@command("bitfield", -2, "write denyoom", acl="bitmap", keys="@1/range:0:1:0/RW+UPDATE+ACCESS+VARIABLE_FLAGS")
def bitfield(client: Client, argv: Argv) -> Reply:
    key = argv[1]
    steps = _steps(client, argv)
    bits_written = [step.offset + step.width for step in steps if step.word != b"GET"]
    if not bits_written:
        return _read_fields(client, key, steps)
    value, changed = _open_bytes(client.db, key, max(bits_written) + 7 >> 3)
    replies = []
    for step in steps:
        reply, this_changed = _apply(value, step)
        changed |= this_changed
        replies.append(reply)
    if changed:
        client.db.changed(key, "setbit", "$")
    return replies


@command("bitfield_ro", -2, "readonly fast", acl="bitmap", keys="@1/range:0:1:0/RO+ACCESS")
def bitfield_ro(client: Client, argv: Argv) -> Reply:
    steps = _steps(client, argv)
    if any(step.word != b"GET" for step in steps):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read_fields(client, argv[1], steps)
