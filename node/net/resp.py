"""RESP, the wire's form: requests in, replies out. Sans-IO; specification: redis.io "Redis serialization protocol".

Replies are Python values, turned into bytes at the edge by `encode`, so that RESP2 and RESP3 differ in one table, and
scripts, tests and the proxy read values:

    bytes, bytearray   bulk string                  list, tuple   array
    int                integer                      dict          map      (RESP2: flat array)
    None               null                         Members       set      (RESP2: array)
    float              double   (RESP2: bulk)       Push          push     (RESP2: array)
    Status, Failure    simple string, error         Verbatim      verbatim (RESP2: bulk)
    Encoded            bytes of the wire as they are     Truth, BigNumber  boolean, big number

The types are closed and found by exact type: a stray `bool` or `str` fails loudly.

Requests are parsed twice as fast by cutting a whole read at its line ends and checking that every piece has the length
its header promised (0.5 µs a command) as by a C reply parser that must be checked afterwards (1.1 µs), and strictly.
What does not fit that (a value holding a line end, a value of many reads, an inline command, an error) goes through a
parser that resumes at any byte and words each error as Redis does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from node.datatypes.numbers import format_double, parse_int

Argv = list[bytes]
Reply = Any
"""One of the types in the table above; `Any`, since a union would not be checked by exact type either."""


class Encoded(bytes):
    """A reply that is wire bytes already: the constants, and values that are the same in RESP2 and RESP3."""

    __slots__ = ()


class Status(bytes):
    """A simple string such as OK."""

    __slots__ = ()


class Failure(bytes):
    """An error reply: its code, a space, its text."""

    __slots__ = ()


class Verbatim(bytes):
    """Text for people (INFO, CLIENT LIST): a bulk string in RESP2, `txt` in RESP3."""

    __slots__ = ()


class BigNumber(bytes):
    """Digits of a number beyond 64 bits: a bulk string in RESP2."""

    __slots__ = ()


class Members(list[Any]):
    """An unordered set of distinct replies."""

    __slots__ = ()


class Push(list[Any]):
    """A message that answers no request."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """A RESP3 boolean: an integer in RESP2."""

    value: bool


class NullArray:
    """The other null of RESP2 (`*-1`), of commands whose reply would have been an array."""

    __slots__ = ()


NULL_ARRAY = NullArray()
OK = Encoded(b"+OK\r\n")
PONG = Encoded(b"+PONG\r\n")
QUEUED = Encoded(b"+QUEUED\r\n")
NO_REPLY = Encoded(b"")
EMPTY = Encoded(b"*0\r\n")


class CommandError(Exception):
    """The client's mistake: the reply it gets. Raised only before the first change to anything.

    Many of them are constants that are raised again and again. Python would hang one traceback on another, with every
    frame and what the clients had sent, for ever: so whoever catches one takes its `reply`, or says `forget`.
    """

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self._reply = Failure(text if isinstance(text, bytes) else text.encode())

    @property
    def reply(self) -> Failure:
        """What the client gets. The error forgets where it was raised."""
        self.forget()
        return self._reply

    def forget(self) -> None:
        """Let go of the frames through which the error came."""
        self.__traceback__ = self.__context__ = None


# --- replies ----------------------------------------------------------------------------------------------------------


SMALL_INTEGERS = [b":%d\r\n" % number for number in range(1024)]
"""Replies of the smaller numbers."""
BULK_HEADS = [b"$%d\r\n" % length for length in range(1024)]
"""The first line of a short bulk string by its length."""


def encode(value: Reply, out: bytearray, resp3: bool) -> None:
    """Append `value` to `out` in the wire's form."""
    kind = type(value)
    if kind is bytes or kind is bytearray:
        out += b"$%d\r\n%b\r\n" % (len(value), value)
    elif kind is Encoded:
        out += value
    elif kind is int:
        out += b":%d\r\n" % value
    elif value is None:
        out += b"_\r\n" if resp3 else b"$-1\r\n"
    elif kind is list or kind is tuple:
        out += b"*%d\r\n" % len(value)
        for item in value:
            encode(item, out, resp3)
    else:
        _ENCODERS[kind](value, out, resp3)


def _status(value: Status, out: bytearray, _resp3: bool) -> None:
    out += b"+%b\r\n" % value


def _failure(value: Failure, out: bytearray, _resp3: bool) -> None:
    out += b"-%b\r\n" % value.replace(b"\r", b" ").replace(b"\n", b" ")  # a line end would end the error early


def _verbatim(value: Verbatim, out: bytearray, resp3: bool) -> None:
    out += b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value) if resp3 else b"$%d\r\n%b\r\n" % (len(value), value)


def _big_number(value: BigNumber, out: bytearray, resp3: bool) -> None:
    out += b"(%b\r\n" % value if resp3 else b"$%d\r\n%b\r\n" % (len(value), value)


def _double(value: float, out: bytearray, resp3: bool) -> None:
    text = format_double(value)
    out += b",%b\r\n" % text if resp3 else b"$%d\r\n%b\r\n" % (len(text), text)


def _truth(value: Truth, out: bytearray, resp3: bool) -> None:
    out += (b"#t\r\n" if value.value else b"#f\r\n") if resp3 else (b":1\r\n" if value.value else b":0\r\n")


def _null_array(_value: NullArray, out: bytearray, resp3: bool) -> None:
    out += b"_\r\n" if resp3 else b"*-1\r\n"


def _map(value: dict[Any, Any], out: bytearray, resp3: bool) -> None:
    out += b"%%%d\r\n" % len(value) if resp3 else b"*%d\r\n" % (2 * len(value))
    for name, item in value.items():
        encode(name, out, resp3)
        encode(item, out, resp3)


def _members(value: Members, out: bytearray, resp3: bool) -> None:
    out += b"%b%d\r\n" % (b"~" if resp3 else b"*", len(value))
    for item in value:
        encode(item, out, resp3)


def _push(value: Push, out: bytearray, resp3: bool) -> None:
    out += b"%b%d\r\n" % (b">" if resp3 else b"*", len(value))
    for item in value:
        encode(item, out, resp3)


_ENCODERS: dict[type, Callable[[Any, bytearray, bool], None]] = {
    Status: _status,
    Failure: _failure,
    Verbatim: _verbatim,
    BigNumber: _big_number,
    float: _double,
    Truth: _truth,
    NullArray: _null_array,
    dict: _map,
    Members: _members,
    Push: _push,
}


def encode_command(argv: Sequence[bytes]) -> bytes:
    """A command as a request on the wire: what the journal, replicas and other nodes get."""
    lengths = _LENGTHS
    try:
        if len(argv) == 3:  # most writes; in one piece that costs a quarter
            name, key, value = argv
            return b"\r\n".join(
                (b"*3", lengths[len(name)], name, lengths[len(key)], key, lengths[len(value)], value, b"")
            )
        parts = [b"*%d" % len(argv)]
        for arg in argv:
            parts += (lengths[len(arg)], arg)
    except IndexError:  # one is long
        parts = [b"*%d" % len(argv)]
        for arg in argv:
            parts += (b"$%d" % len(arg), arg)
    parts.append(b"")
    return b"\r\n".join(parts)


def bulks(items: list[bytes]) -> Encoded:
    """A list of bulk strings, encoded at once: worth it for the replies that are long."""
    return Encoded(_joined(b"*%d\r\n" % len(items), items))


def each_bulk(items: list[bytes]) -> bytes:
    """Bulk strings one behind the other, encoded at once."""
    return _joined(b"", items)


def _joined(head: bytes, items: list[bytes]) -> bytes:
    pieces = [b""] * (2 * len(items) + 1)
    lengths = _LENGTHS
    try:
        pieces[:-1:2] = [lengths[len(item)] for item in items]
    except IndexError:
        pieces[:-1:2] = [b"$%d" % len(item) for item in items]
    pieces[1::2] = items
    pieces[0] = head + pieces[0]
    return b"\r\n".join(pieces)


# --- requests ---------------------------------------------------------------------------------------------------------

INLINE_BYTES_MAX = 64 * 1024
"""The longest inline command, and the longest line of a header, as in Redis (PROTO_INLINE_MAX_SIZE)."""
ARGUMENTS_MAX = 2**31 - 1
UNAUTHENTICATED_ARGUMENTS_MAX = 10
UNAUTHENTICATED_BULK_BYTES_MAX = 16384

_HEADS = {b"*%d" % count: count for count in range(1, 131)}  # 64 pairs behind a name and a key: what rewrites write
_LENGTHS = [b"$%d" % length for length in range(4097)]
_FAST_BYTES_MAX = 256 * 1024
"""Reads above this hold big values, for which cutting the whole at its line ends is the slow way."""


class ProtocolError(Exception):
    """The client does not speak RESP; its text is Redis's, without the leading "Protocol error: "."""


class RequestParser:
    """Bytes of one client into commands. `waiting_bytes` of input are held; nothing is reserved for what has not come.

    `bulk_bytes_max` is `proto-max-bulk-len`. With `trusted` False (before authentication) counts and lengths are held
    far smaller, and the caller asks for one command at a time, since the first one may authenticate.
    """

    __slots__ = (
        "_argv", "_buffer", "_chunks", "_missing", "_need_bytes", "_unfinished_bytes", "bulk_bytes_max", "trusted",
        "waiting_bytes",
    )  # fmt: skip

    def __init__(self, bulk_bytes_max: int, trusted: bool = True) -> None:
        self.bulk_bytes_max = bulk_bytes_max
        self.trusted = trusted
        self.waiting_bytes = 0
        self._buffer = b""  # input not yet cut into commands
        self._chunks: list[bytes] = []  # input that came while `_need_bytes` was not reached: joined once
        self._need_bytes = 0  # the length at which another look at the input can help
        self._argv: Argv = []  # arguments of the command that is arriving
        self._missing = 0  # how many of its arguments are still to come
        self._unfinished_bytes = 0  # how long the part of it is that has been taken already

    def take(self, data: bytes) -> list[Argv] | None:
        """`feed` and `parse` in one, for the usual read, which brings whole commands. None: `feed` and `parse` it."""
        if self.waiting_bytes or self._missing or not self.trusted or len(data) > _FAST_BYTES_MAX:
            return None
        commands: list[Argv] = []
        end = self.cut(data, commands)
        if end != len(data):
            self._buffer = data[end:]
            self.waiting_bytes = len(data) - end
        return commands

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        self.waiting_bytes += len(data)
        if self._chunks or self._buffer:
            self._chunks.append(data)
        else:
            self._buffer = data

    def parse(self, limit: int = ARGUMENTS_MAX) -> list[Argv]:
        """The whole commands that are there, `limit` at most. Raises ProtocolError if the next one is malformed.

        Commands before a malformed one are returned first; the error comes with the next call.
        """
        if self.waiting_bytes < self._need_bytes or not self.waiting_bytes:
            return []
        if self._chunks:
            self._chunks.insert(0, self._buffer)
            self._buffer = b"".join(self._chunks)
            self._chunks = []
        commands: list[Argv] = []
        buffer = self._buffer
        start = 0
        usual = self.trusted and limit == ARGUMENTS_MAX and len(buffer) <= _FAST_BYTES_MAX
        if usual and buffer[0] == 0x2A and not self._missing:
            start = self.cut(buffer, commands)
            if start == len(buffer):
                self._buffer = b""
                self.waiting_bytes = 0
                return commands
            usual = False
        try:
            if usual and self._missing:
                start = self._finish_and_cut(buffer, commands)
            while start < len(buffer) and len(commands) < limit:
                before = start
                start = self._step(buffer, start, commands)
                if start == before:
                    break
        except ProtocolError:
            if not commands:
                raise
        self._keep(buffer, start)
        return commands

    def _finish_and_cut(self, buffer: bytes, commands: list[Argv]) -> int:
        """Finish the command that has begun with an earlier read, then take the usual way; where it ends."""
        start = 0
        while self._missing and start < len(buffer):
            before = start
            start = self._step(buffer, start, commands)
            if start == before:
                return start
        if start < len(buffer) and buffer[start] == 0x2A:
            start += self.cut(buffer[start:], commands)
        return start

    @property
    def awaited_bytes(self) -> int:
        """How many bytes the value that is arriving still lacks: worth reading at once; 0 if none is known."""
        return max(0, self._need_bytes - self.waiting_bytes)

    @property
    def unparsed_bytes(self) -> int:
        """How many of the bytes fed belong to no command that has been returned."""
        return self.waiting_bytes + self._unfinished_bytes

    @property
    def arguments_bytes(self) -> int:
        """Bytes of the arguments that have come of a command that is not whole."""
        return sum(map(len, self._argv))

    def _keep(self, buffer: bytes, start: int) -> None:
        if start >= len(buffer):
            self._buffer = b""
        elif start:
            self._buffer = buffer[start:]
            self._need_bytes = max(0, self._need_bytes - start)
        self.waiting_bytes = len(self._buffer)

    @staticmethod
    def cut(buffer: bytes, commands: list[Argv]) -> int:
        """The usual case: whole commands whose pieces have the lengths their headers say; where it ends."""
        pieces = buffer.split(b"\r\n")
        last = len(pieces) - 1
        heads, lengths = _HEADS, _LENGTHS
        at = 0
        try:
            if last == 5 and pieces[0] == b"*2":  # one command, and a short one, as most that come alone
                _, size, name, key_size, key, rest = pieces
                if lengths[len(name)] == size and lengths[len(key)] == key_size:
                    commands.append([name, key])
                    return len(buffer) - len(rest)
            elif last == 7 and pieces[0] == b"*3":
                _, size, name, key_size, key, arg_size, arg, rest = pieces
                if lengths[len(name)] == size and lengths[len(key)] == key_size and lengths[len(arg)] == arg_size:
                    commands.append([name, key, arg])
                    return len(buffer) - len(rest)
            while at < last:
                end = at + 2 * heads[pieces[at]]
                if end >= last:
                    break
                argv = pieces[at + 2 : end + 1 : 2]
                header = at + 1
                for arg in argv:
                    if lengths[len(arg)] != pieces[header]:
                        raise KeyError
                    header += 2
                commands.append(argv)
                at = end + 1
        except (KeyError, IndexError):  # a line end within a value, a long value, an error: the other parser knows
            pass
        if at == last and not pieces[last]:
            return len(buffer)
        return len(buffer) - sum(map(len, pieces[at:])) - 2 * (last - at)

    def _step(self, buffer: bytes, start: int, commands: list[Argv]) -> int:
        """Take one step in the strict way; returns where it got to, `start` itself where more bytes are needed."""
        self._need_bytes = 0
        if self._missing:
            return self._argument(buffer, start, commands)
        if buffer[start] == 0x2A:
            return self._count(buffer, start)
        return self._inline(buffer, start, commands)

    def _count(self, buffer: bytes, start: int) -> int:
        end = _line_end(buffer, b"\r", start, start + INLINE_BYTES_MAX + 2)
        if end < 0 or end + 1 >= len(buffer):
            if end < 0 and len(buffer) - start > INLINE_BYTES_MAX:
                raise ProtocolError("too big mbulk count string")
            return start
        count = parse_int(buffer[start + 1 : end])
        if count is None or count > ARGUMENTS_MAX:
            raise ProtocolError("invalid multibulk length")
        if count > UNAUTHENTICATED_ARGUMENTS_MAX and not self.trusted:
            raise ProtocolError("unauthenticated multibulk length")
        self._missing = max(0, count)
        self._unfinished_bytes = end + 2 - start if count > 0 else 0
        return end + 2

    def _argument(self, buffer: bytes, start: int, commands: list[Argv]) -> int:
        end = _line_end(buffer, b"\r", start, start + INLINE_BYTES_MAX + 2)
        if end < 0 or end + 1 >= len(buffer):
            if end < 0 and len(buffer) - start > INLINE_BYTES_MAX:
                raise ProtocolError("too big bulk count string")
            return start
        if buffer[start] != 0x24:
            raise ProtocolError(f"expected '$', got '{chr(buffer[start])}'")
        length = parse_int(buffer[start + 1 : end])
        if length is None or length < 0 or length > self.bulk_bytes_max:
            raise ProtocolError("invalid bulk length")
        if length > UNAUTHENTICATED_BULK_BYTES_MAX and not self.trusted:
            raise ProtocolError("unauthenticated bulk length")
        stop = end + 2 + length
        if stop + 2 > len(buffer):
            self._need_bytes = stop + 2
            return start
        self._argv.append(buffer[end + 2 : stop])
        self._missing -= 1
        self._unfinished_bytes += stop + 2 - start
        if not self._missing:
            commands.append(self._argv)
            self._argv = []
            self._unfinished_bytes = 0
        return stop + 2

    @staticmethod
    def _inline(buffer: bytes, start: int, commands: list[Argv]) -> int:
        end = _line_end(buffer, b"\n", start, len(buffer))
        if end < 0:
            if len(buffer) - start > INLINE_BYTES_MAX:
                raise ProtocolError("too big inline request")
            return start
        argv = split_words(buffer[start:end].removesuffix(b"\r"))
        if argv is None:
            raise ProtocolError("unbalanced quotes in request")
        if argv:
            commands.append(argv)
        return end + 1


def _line_end(buffer: bytes, mark: bytes, start: int, stop: int) -> int:
    """Where `mark` ends the line that begins at `start`; -1 if it does not. As in Redis, a NUL hides what is behind."""
    end = buffer.find(mark, start, stop)
    return -1 if end >= 0 and buffer.find(b"\0", start, end) >= 0 else end


_ESCAPES = {0x6E: 10, 0x72: 13, 0x74: 9, 0x62: 8, 0x61: 7}  # \n \r \t \b \a
_SPACES = b" \n\r\t\v\f\0"


def split_words(line: bytes) -> Argv | None:
    """Words of an inline command: "double quotes" with escapes, 'single quotes'; None if they are unbalanced."""
    words: Argv = []
    at, size = 0, len(line)
    while True:
        while at < size and line[at] in _SPACES:
            at += 1
        if at >= size:
            return words
        found = _word(line, at)
        if found is None:
            return None
        word, at = found
        words.append(word)


def _word(line: bytes, at: int) -> tuple[bytes, int] | None:
    word = bytearray()
    size = len(line)
    while at < size and line[at] not in _SPACES:
        char = line[at]
        if char in b"\"'":
            at = _quoted(line, at + 1, char, word)
            if at < 0 or (at < size and line[at] not in _SPACES):
                return None  # a closing quote must end the word
            return bytes(word), at
        word.append(char)
        at += 1
    return bytes(word), at


def _quoted(line: bytes, at: int, quote: int, word: bytearray) -> int:
    """Append what stands up to the closing quote; the place behind it, or -1 if there is none."""
    size = len(line)
    while at < size:
        char = line[at]
        if char == quote:
            return at + 1
        if char == 0x5C and quote == 0x22 and at + 1 < size:
            digits = line[at + 2 : at + 4]
            if line[at + 1] == 0x78 and len(digits) == 2 and all(d in b"0123456789abcdefABCDEF" for d in digits):
                word.append(int(digits, 16))
                at += 4
                continue
            word.append(_ESCAPES.get(line[at + 1], line[at + 1]))
            at += 2
        elif char == 0x5C and quote == 0x27 and line[at + 1 : at + 2] == b"'":
            word.append(0x27)
            at += 2
        else:
            word.append(char)
            at += 1
    return -1
