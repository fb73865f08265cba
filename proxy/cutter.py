"""Replies of a node cut out of its stream by their lengths, not decoded: most are passed on as they came. Sans-IO.

A reply ends where the parts that it announces end. `missing` counts the parts that the reply which is arriving still
lacks, however deep they are nested, so that a long array that comes in many reads is walked once.

Three outcomes, as in `node.net.replies`: whole replies, nothing yet, or `MalformedReply`, after which nothing that
comes on this link can be understood.
"""

import re

from node.net.replies import LINE_BYTES_MAX, REPLY_BYTES_MAX, MalformedReply

_LINES = frozenset(b"+-:_,#(")
_STRINGS = frozenset(b"$=!")
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_DOLLAR, _ERROR, _ATTRIBUTE = ord("$"), ord("-"), ord("|")

SHORT_DIGITS = 3
"""Strings whose length has no more digits are short: the pattern that finds them at once knows each length, and takes
80 ms to build; copying a longer one costs more than stepping over it."""


def _rest_of_string(digits: str) -> str:
    """What follows these digits in a short string: the end of its length and as many bytes, or a further digit."""
    ways = [rf"\r\n.{{{digits}}}\r\n"] if digits else []
    if len(digits) < SHORT_DIGITS:
        ways += [digit + _rest_of_string(digits + digit) for digit in "0123456789"]
    return f"(?:{'|'.join(ways)})"


_SHORT = re.compile(rf"([+:_,#(][^\r\n]*\r\n|\$(?:-1\r\n|{_rest_of_string('')}))|.+".encode(), re.DOTALL)
"""A reply that is a line (no error) or a short string; b"" in the place of all from where something else begins."""


class Cutter:
    """Bytes of one node into raw replies."""

    __slots__ = ("_at", "_buffer", "_missing", "_need_bytes", "all_good")

    def __init__(self) -> None:
        self._buffer = bytearray()  # what has come of a reply that is not whole
        self._at = 0  # how much of it has been walked
        self._missing = 1  # how many parts the reply lacks
        self._need_bytes = 0  # the length of the buffer below which another look is of no use
        self.all_good = False  # none of those that were cut last is an error or a push

    @property
    def awaited_bytes(self) -> int:
        """How many bytes the string that is arriving still lacks: worth reading at once."""
        return max(0, self._need_bytes - len(self._buffer))

    def cut(self, data: bytes) -> list[bytes]:
        """The whole replies that `data` completes. Raises MalformedReply."""
        if self._buffer:
            replies = self._go_on(data)
            self.all_good = False
            return replies
        self.all_good = True
        replies = _SHORT.findall(data)
        if not replies or replies[-1]:
            return replies
        replies.pop()
        start = self._cut_long(data, sum(map(len, replies)), replies)
        if start < len(data):
            self.all_good = False
            self._buffer += data[start:]
            self._walk(replies)
        return replies

    def _go_on(self, data: bytes) -> list[bytes]:
        """Walk the reply that has begun to its end; what follows it is cut as if it had come alone."""
        replies: list[bytes] = []
        self._buffer += data
        if len(self._buffer) >= self._need_bytes and self._walk(replies, only_one=True):
            rest = bytes(self._buffer)
            self._buffer.clear()
            replies += self.cut(rest)
        return replies

    def _cut_long(self, data: bytes, start: int, replies: list[bytes]) -> int:
        """Replies of one line or one string from `start` on, stepping over the strings; where something else begins."""
        size, find = len(data), data.find
        while start < size:
            kind = data[start]
            end = find(b"\r\n", start) + 2
            if end < 2:
                break
            if kind == _DOLLAR:
                digits = data[start + 1 : end - 2]
                if digits.isdigit():
                    end += int(digits) + 2
                    if end > size or data[end - 2 : end] != b"\r\n":
                        break
                elif digits != b"-1":
                    break
            elif kind == _ERROR:
                self.all_good = False
            elif kind not in _LINES:
                break
            replies.append(data[start:end])
            start = end
        return start

    def _walk(self, replies: list[bytes], *, only_one: bool = False) -> bool:
        """Go on from where the last look at the buffer ended, and cut off what is whole; False if that is nothing."""
        buffer = self._buffer
        first = 0
        while self._at < len(buffer) and self._part(buffer):
            if not self._missing:
                replies.append(bytes(buffer[first : self._at]))
                first, self._missing = self._at, 1
                if only_one:
                    break
        if self._at - first > REPLY_BYTES_MAX:
            raise MalformedReply(f"a reply of more than {REPLY_BYTES_MAX} bytes")
        if first:
            del buffer[:first]
            self._at -= first
            self._need_bytes = max(0, self._need_bytes - first)
        return first > 0

    def _part(self, buffer: bytearray) -> bool:
        """Step over one part; False if it is not whole."""
        start = self._at
        end = buffer.find(b"\r\n", start, start + LINE_BYTES_MAX + 2) + 2
        if end < 2:
            if len(buffer) - start > LINE_BYTES_MAX:
                raise MalformedReply(f"a line of more than {LINE_BYTES_MAX} bytes")
            return False
        kind = buffer[start]
        if kind in _STRINGS:
            length = _number(buffer[start + 1 : end - 2])
            if length < -1 or (length == -1 and kind != _DOLLAR) or length > REPLY_BYTES_MAX:
                raise MalformedReply(f"malformed length {bytes(buffer[start : start + 60])!r}")
            if length >= 0:
                end += length + 2
                if end > len(buffer):
                    self._need_bytes = end
                    return False
                if buffer[end - 2 : end] != b"\r\n":
                    raise MalformedReply(f"a string of {length} bytes does not end where it should")
        elif (factor := _AGGREGATES.get(kind)) is not None:
            count = _number(buffer[start + 1 : end - 2])
            if count < -1:
                raise MalformedReply(f"malformed count {bytes(buffer[start : start + 60])!r}")
            self._missing += max(0, count) * factor + (kind == _ATTRIBUTE)  # attributes stand before what they tell of
        elif kind not in _LINES:
            raise MalformedReply(f"not a reply: {bytes(buffer[start : start + 60])!r}")
        self._at = end
        self._missing -= 1
        return True


def _number(digits: bytes | bytearray) -> int:
    """The number that a header gives; -2, which none may be, if it is none."""
    if digits.isdigit() or digits == b"-1":
        return int(digits)
    return -2


def elements(raw: bytes) -> list[bytes]:
    """The raw elements of a raw array or set reply."""
    return Cutter().cut(raw[raw.index(b"\r\n") + 2 :])
