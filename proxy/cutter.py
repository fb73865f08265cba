"""Replies of a node cut out of its stream by their lengths, not decoded: most are passed on as they came. Sans-IO.

A reply ends where the parts that it announces end. `missing` counts the parts that the reply which is arriving still
lacks, however deep they are nested, so that a long array that comes in many reads is walked once.

Three outcomes, as in `node.net.replies`: whole replies, nothing yet, or `MalformedReply`, after which nothing that
comes on this link can be understood.
"""

from node.net.replies import LINE_BYTES_MAX, REPLY_BYTES_MAX, MalformedReply

_LINES = frozenset(b"+-:_,#(")
_STRINGS = frozenset(b"$=!")
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_DOLLAR, _ERROR, _ATTRIBUTE, _RETURN = ord("$"), ord("-"), ord("|"), ord("\r")

SHORT_BYTES = 256
"""While replies are shorter on the average, finding all line ends at once is cheaper than stepping from one to the
next; beyond, what is copied and looked through costs more than the steps."""
_SIZES = {b"$%d\r" % length: len(b"$%d\r\n" % length) + length + 2 for length in range(1025)}
"""How many bytes a string takes with its header, by that header."""


class Cutter:
    """Bytes of one node into raw replies."""

    __slots__ = ("_are_short", "_at", "_buffer", "_missing", "_need_bytes", "all_good")

    def __init__(self) -> None:
        self._buffer = bytearray()  # what has come of a reply that is not whole
        self._at = 0  # how much of it has been walked
        self._missing = 1  # how many parts the reply lacks
        self._need_bytes = 0  # the length of the buffer below which another look is of no use
        self._are_short = True  # the replies that came last
        self.all_good = False  # none of those that were cut last is an error or a push

    @property
    def awaited_bytes(self) -> int:
        """How many bytes the string that is arriving still lacks: worth reading at once."""
        return max(0, self._need_bytes - len(self._buffer))

    def cut(self, data: bytes) -> list[bytes]:
        """The whole replies that `data` completes. Raises MalformedReply."""
        replies: list[bytes] = []
        self.all_good = not self._buffer
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need_bytes:
                return replies
            return self._walk(self._buffer, replies)
        start = self._cut_short(data, replies) if self._are_short else 0
        if start < len(data):
            start = self._cut_long(data, start, replies)
        self._are_short = start < SHORT_BYTES * len(replies)
        if start < len(data):
            self.all_good = False
            self._buffer += data[start:] if start else data
            self._walk(self._buffer, replies)
        return replies

    def _cut_short(self, data: bytes, replies: list[bytes]) -> int:
        """Replies of one line or one string, by all line ends at once; where something else begins."""
        start, sizes, add = 0, _SIZES.get, replies.append
        lines = data.split(b"\n")
        lines.pop()  # it has no end
        following = iter(lines)
        for line in following:
            size = sizes(line)
            if size is not None:
                string = next(following, b"")
                if len(line) + len(string) + 2 != size or string[-1] != _RETURN:
                    break
                end = start + size
            elif line[-1:] == b"\r" and (line[0] in _LINES or line == b"$-1\r"):
                end = start + len(line) + 1
                if line[0] == _ERROR:
                    self.all_good = False
            else:
                break
            add(data[start:end])
            start = end
        return start

    def _cut_long(self, data: bytes, start: int, replies: list[bytes]) -> int:
        """The same, stepping over the strings by their lengths."""
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

    def _walk(self, buffer: bytearray, replies: list[bytes]) -> list[bytes]:
        """Go on from where the last look ended, and cut off what is whole."""
        first = 0
        while self._at < len(buffer) and self._part(buffer):
            if not self._missing:
                replies.append(bytes(buffer[first : self._at]))
                first, self._missing = self._at, 1
        if self._at - first > REPLY_BYTES_MAX:
            raise MalformedReply(f"a reply of more than {REPLY_BYTES_MAX} bytes")
        if first:
            del buffer[:first]
            self._at -= first
            self._need_bytes = max(0, self._need_bytes - first)
        return replies

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
