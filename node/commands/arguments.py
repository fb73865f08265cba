"""Reading a command's arguments: numbers and deadlines, with Redis's words for what is wrong."""

from node.datatypes.numbers import INT64_MAX, INT64_MIN, parse_int
from node.net.resp import CommandError
from node.server import Client

NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")
NOT_A_FLOAT = CommandError("ERR value is not a valid float")
SYNTAX = CommandError("ERR syntax error")
DB_OUT_OF_RANGE = CommandError("ERR DB index is out of range")
SAME_OBJECT = CommandError("ERR source and destination objects are the same")

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def integer(text: bytes, complaint: CommandError = NOT_AN_INTEGER) -> int:
    """A 64-bit integer; else `complaint` is raised."""
    number = parse_int(text)
    if number is None:
        raise complaint
    return number


def integer32(text: bytes, complaint: CommandError | None = None) -> int:
    """A 32-bit integer; `complaint` is raised instead of the usual errors."""
    number = parse_int(text)
    if number is None:
        raise complaint or NOT_AN_INTEGER
    if not INT32_MIN <= number <= INT32_MAX:
        raise complaint or CommandError(f"ERR value is out of range, value must between {INT32_MIN} and {INT32_MAX}")
    return number


def positive(text: bytes) -> int:
    """A 64-bit integer from 0: Redis says the same of what is no integer and of what is below."""
    number = parse_int(text)
    if number is None or number < 0:
        raise CommandError("ERR value is out of range, must be positive")
    return number


def signed_count(text: bytes) -> int:
    """A count whose sign means something, so that it must have a positive counterpart."""
    number = integer(text)
    if number == INT64_MIN:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    return number


def deadline_ms(text: bytes, unit_ms: int, base_ms: int, command: str) -> int:
    """The absolute deadline of SET EX and its like: a positive time, `base_ms` is now or (EXAT, PXAT) 0."""
    time = integer(text)
    if time <= 0 or time > INT64_MAX // unit_ms or time * unit_ms > INT64_MAX - base_ms:
        raise invalid_expire_time(command)
    return time * unit_ms + base_ms


def any_deadline_ms(text: bytes, unit_ms: int, base_ms: int, command: str) -> int:
    """The absolute deadline of EXPIRE and its like: the past is fine, overflow is not."""
    time = integer(text)
    if not -(-INT64_MIN // unit_ms) <= time <= INT64_MAX // unit_ms or time * unit_ms > INT64_MAX - base_ms:
        raise invalid_expire_time(command)
    return time * unit_ms + base_ms


def invalid_expire_time(command: str) -> CommandError:
    return CommandError(f"ERR invalid expire time in '{command}' command")


def already_over(client: Client, deadline: int) -> bool:
    """True where a key with this deadline is to go at once. Never on a replica: its primary says what has expired."""
    keyspace = client.host.keyspace
    return deadline <= keyspace.now_ms and keyspace.removes_expired and not keyspace.obeying
