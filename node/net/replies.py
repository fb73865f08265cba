"""Replies of a RESP server as Python values: what `resp.encode` writes, read back. Sans-IO, RESP2 and RESP3.

    parser.feed(data)           bytes as they came from the socket, cut anywhere
    parser.parse()              every whole reply that is there, in order

The values are those of the table in `resp.py`, so that a reply can be handed on by `encode`: an error is a `Failure`
(a value: the other end refused, the link is sound), `*-1` is `NULL_ARRAY`, `$-1` and `_` are None, a message that
answers nothing is a `Push`. Attributes are dropped. The format of a verbatim string is not kept.

Three outcomes: whole replies, nothing yet, or `MalformedReply`: then the other end does not speak RESP, nothing after
that byte can be understood, and the link must be closed. What the other end may make this side hold is bounded: in
bytes of one reply, in depth, in the length of a line. Nothing is reserved for what has only been announced.
"""

from collections.abc import Callable
from typing import Any

from node.datatypes.numbers import parse_float, parse_int
from node.net.resp import (
    NULL_ARRAY,
    BigNumber,
    Failure,
    Members,
    Push,
    Reply,
    Status,
    Truth,
    Verbatim,
)

REPLY_BYTES_MAX = 1 << 30
"""The largest reply, all its parts together: twice the longest value that Redis stores by default."""
LINE_BYTES_MAX = 64 * 1024
"""The longest simple string, error, number or header; Redis's own errors stay below 1 KiB."""
DEPTH_MAX = 128
"""How deeply replies may be nested; a script's reply in Redis cannot be deeper."""

_MORE: Any = object()  # the next part is not whole yet
_BAD: Any = object()  # a line that is no value of its kind
_OPENED: Any = object()  # a part that is no value by itself: an aggregate began, an attribute ended


class MalformedReply(Exception):
    """What came is not RESP, or beyond the bounds: close the link."""


class _Aggregate:
    """An aggregate that is arriving: what it has, and how many parts it lacks."""

    __slots__ = ("items", "kind", "missing")

    def __init__(self, kind: int, missing: int) -> None:
        self.kind = kind
        self.missing = missing
        self.items: list[Any] = []

    def finish(self) -> Any:
        """The value; `_OPENED` for attributes, whose place is taken by the reply that follows them."""
        return _FINISH[self.kind](self.items)


class ReplyParser:
    """Bytes of one server into replies. After `MalformedReply` it is of no more use and raises it again."""

    __slots__ = ("_at", "_buffer", "_chunks", "_error", "_need_bytes", "_open", "_reply_bytes", "reply_bytes_max")

    def __init__(self, reply_bytes_max: int = REPLY_BYTES_MAX) -> None:
        self.reply_bytes_max = reply_bytes_max
        self._buffer = b""
        self._at = 0  # how much of the buffer has been taken
        self._chunks: list[bytes] = []  # what came since: joined once there is enough of it
        self._need_bytes = 0  # how many more bytes it takes before another look can help
        self._open: list[_Aggregate] = []  # the aggregates that are arriving, the outermost first
        self._reply_bytes = 0  # taken for the reply that is arriving
        self._error = ""

    @property
    def is_between_replies(self) -> bool:
        """Tell whether nothing of a further reply has come: a connection that ends here lost nothing."""
        return not self._open and not self._chunks and self._at == len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        if data:
            self._chunks.append(data)
            self._need_bytes -= len(data)

    def parse(self) -> list[Reply]:
        """The whole replies that are there. Those before a malformed one come first, the error with the next call."""
        replies: list[Reply] = []
        if self._error:
            raise MalformedReply(self._error)
        if self._need_bytes > 0 or not self._join():
            return replies
        try:
            while (value := self._part()) is not _MORE:
                if value is not _OPENED:
                    value = self._place(value)
                if value is not _OPENED:
                    self._reply_bytes = 0
                    replies.append(value)
        except MalformedReply as error:
            self._error = str(error)
            if not replies:
                raise
        return replies

    def _join(self) -> bool:
        """Put what came behind what is left; False if there is nothing at all."""
        self._buffer = b"".join([self._buffer[self._at :], *self._chunks])
        self._chunks.clear()
        self._at = 0
        return bool(self._buffer)

    def _place(self, value: Any) -> Any:
        """Put a value where it belongs: itself if it is a whole reply, the reply that it completes, or `_OPENED`."""
        while self._open and value is not _OPENED:
            aggregate = self._open[-1]
            aggregate.items.append(value)
            aggregate.missing -= 1
            if aggregate.missing:
                return _OPENED
            self._open.pop()
            value = aggregate.finish()
        return value

    def _part(self) -> Any:
        """Take the next value or header."""
        buffer, start = self._buffer, self._at
        end = buffer.find(b"\r\n", start, start + LINE_BYTES_MAX + 2)
        if end < 0:
            return self._await_line(len(buffer) - start)
        kind = buffer[start] if end > start else 0
        if kind == 0x24:  # "$", by far the most frequent
            return self._bulk(start, end)
        line = buffer[start + 1 : end]
        if (scalar := _SCALARS.get(kind)) is not None:
            value = scalar(line)
            if value is _BAD:
                raise MalformedReply(f"malformed value {buffer[start : start + 60]!r}")
        elif kind in _FINISH:
            value = self._aggregate(kind, line)
        elif kind in _BULKS:
            return self._bulk(start, end)
        else:
            raise MalformedReply(f"not a reply: {buffer[start : start + 60]!r}")
        self._take(end + 2)
        return value

    def _take(self, end: int) -> None:
        self._reply_bytes += end - self._at
        self._at = end
        if self._reply_bytes > self.reply_bytes_max:
            raise MalformedReply(f"a reply of more than {self.reply_bytes_max} bytes")

    def _await_line(self, have_bytes: int) -> Any:
        if have_bytes > LINE_BYTES_MAX:
            raise MalformedReply(f"a line of more than {LINE_BYTES_MAX} bytes")
        self._need_bytes = 1
        return _MORE

    def _bulk(self, start: int, end: int) -> Any:
        buffer = self._buffer
        length = parse_int(buffer[start + 1 : end])
        kind = buffer[start]
        if length == -1 and kind == 0x24:
            self._take(end + 2)
            return None
        if length is None or length < 0:
            raise MalformedReply(f"malformed length {buffer[start : start + 60]!r}")
        if self._reply_bytes + length > self.reply_bytes_max:
            raise MalformedReply(f"a reply of more than {self.reply_bytes_max} bytes")
        stop = end + 2 + length
        if stop + 2 > len(buffer):
            self._need_bytes = stop + 2 - len(buffer)
            return _MORE
        if buffer[stop : stop + 2] != b"\r\n":
            raise MalformedReply(f"a string of {length} bytes does not end where it should")
        data = buffer[end + 2 : stop]
        self._take(stop + 2)
        return data if kind == 0x24 else _BULKS[kind](data)

    def _aggregate(self, kind: int, line: bytes) -> Any:
        count = parse_int(line)
        if count == -1 and kind == 0x2A:
            return NULL_ARRAY
        if count is None or count < 0:
            raise MalformedReply(f"malformed count {line[:60]!r}")
        if kind == 0x3E and self._open:
            raise MalformedReply("a push message within a reply")
        if len(self._open) == DEPTH_MAX:
            raise MalformedReply(f"replies nested more than {DEPTH_MAX} deep")
        aggregate = _Aggregate(kind, 2 * count if kind in b"%|" else count)
        if not count:
            return aggregate.finish()
        self._open.append(aggregate)
        return _OPENED


def _integer(line: bytes) -> Any:
    number = parse_int(line)
    return _BAD if number is None else number


def _double(line: bytes) -> Any:
    if line in (b"nan", b"-nan"):
        return float("nan")
    number = parse_float(line)
    return _BAD if number is None else number


def _truth(line: bytes) -> Any:
    return Truth(line == b"t") if line in (b"t", b"f") else _BAD


def _null(line: bytes) -> Any:
    return _BAD if line else None


def _big_number(line: bytes) -> Any:
    return BigNumber(line) if line.removeprefix(b"-").isdigit() else _BAD


def _verbatim(data: bytes) -> Any:
    if data[3:4] != b":":
        raise MalformedReply(f"a verbatim string without its format: {data[:60]!r}")
    return Verbatim(data[4:])


def _map(items: list[Any]) -> dict[Any, Any]:
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError:
        raise MalformedReply("a map with an aggregate for a key") from None


def _attributes(_items: list[Any]) -> Any:
    return _OPENED


_SCALARS: dict[int, Callable[[bytes], Any]] = {
    ord("+"): Status,
    ord("-"): Failure,
    ord(":"): _integer,
    ord(","): _double,
    ord("#"): _truth,
    ord("_"): _null,
    ord("("): _big_number,
}
"""Values of one line; `_BAD` where the line is malformed."""

_BULKS: dict[int, Callable[[bytes], Any]] = {
    ord("$"): bytes,
    ord("!"): Failure,
    ord("="): _verbatim,
}
"""Values whose line is their length."""

_FINISH: dict[int, Callable[[list[Any]], Any]] = {
    ord("*"): list,
    ord("~"): Members,
    ord(">"): Push,
    ord("%"): _map,
    ord("|"): _attributes,
}
"""Aggregates: their line is a count."""
