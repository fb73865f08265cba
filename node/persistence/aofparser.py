"""The commands in an append-only file, read in pieces. Sans-IO.

As strict as a file deserves that we wrote ourselves: nothing but arrays of bulk strings, and lines that begin with `#`
(timestamps and other notes), which are skipped. An end within a command is no error here: `offset` tells how far whole
commands go.
"""

from node.net.resp import Argv, RequestParser

FAST_BYTES_MAX = 1 << 16
"""The quick way looks at so much at a time: what stands in its way costs it no more."""
COUNT_BYTES_MAX = 32
"""A count or a length is never longer."""
NOTE_BYTES_MAX = 1024
ARGUMENTS_MAX = 1 << 31


class AofFormatError(Exception):
    """The bytes at `offset` are none that an append-only file may have there."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason}, at offset {offset}")
        self.offset = offset
        self.reason = reason


class AofParser:
    """Takes a file's bytes and gives its commands. `offset` counts the bytes of all that has been given, notes too."""

    def __init__(self, bulk_bytes_max: int, offset: int = 0) -> None:
        self.offset = offset
        self._bulk_bytes_max = bulk_bytes_max
        self._buffer = b""
        self._at = 0  # in the buffer: where `offset` is
        self._chunks: list[bytes] = []  # joined once there is enough of them for the next command
        self._chunks_bytes = 0
        self._need_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """How many bytes have been fed that belong to no whole command."""
        return len(self._buffer) - self._at + self._chunks_bytes

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self._chunks.append(data)
        self._chunks_bytes += len(data)

    def parse(self) -> list[Argv]:
        """More whole commands; none where more bytes are needed. Raises AofFormatError."""
        self.join()
        commands: list[Argv] = []
        before = -1
        while not commands and before != self.offset:  # a piece of nothing but notes is not the end
            before = self.offset
            self._take_piece(commands)
        return commands

    def join(self) -> None:
        """Let `next` see what has been fed, if that can help."""
        if self._chunks and self.pending_bytes >= self._need_bytes:
            self._buffer = b"".join((self._buffer[self._at :], *self._chunks))
            self._at = self._chunks_bytes = 0
            self._chunks = []

    def _take_piece(self, commands: list[Argv]) -> None:
        start = self._at
        stop = min(len(self._buffer), start + FAST_BYTES_MAX)
        if start < stop and self._buffer[start] == 0x2A:
            self._moved(start + RequestParser.cut(self._buffer[start:stop], commands))
        try:
            while self._at < stop and (argv := self.next()) is not None:
                if argv:
                    commands.append(argv)
        except AofFormatError:
            if not commands:  # else those before it come first, and the error with the next call
                raise

    def next(self) -> Argv | None:
        """The next command alone, empty for a note; None where more bytes are needed. Raises AofFormatError."""
        if self._at >= len(self._buffer):
            return None
        if self._buffer[self._at] == 0x23:
            return self._note()
        count, at = self._number(self._at, 0x2A)
        if at < 0:
            return None
        if not 0 < count < ARGUMENTS_MAX:
            raise self._error(self._at, f"a command of {count} words")
        argv: Argv = []
        for _ in range(count):
            length, at = self._number(at, 0x24)
            if at < 0:
                return None
            if length > self._bulk_bytes_max:
                raise self._error(at, f"a word of {length} bytes")
            end = at + length
            if end + 2 > len(self._buffer):
                self._need_bytes = end + 2 - self._at
                return None
            if self._buffer[end : end + 2] != b"\r\n":
                raise self._error(end, "a word that is longer than its length")
            argv.append(self._buffer[at:end])
            at = end + 2
        self._moved(at)
        return argv

    def _note(self) -> Argv | None:
        end = self._buffer.find(b"\n", self._at, self._at + NOTE_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._at >= NOTE_BYTES_MAX:
                raise self._error(self._at, "a note without an end")
            return None
        self._moved(end + 1)
        return []

    def _number(self, at: int, mark: int) -> tuple[int, int]:
        """The number of a header that begins with `mark`, and where the next thing begins; -1: not there yet."""
        buffer = self._buffer
        if at >= len(buffer):
            return 0, -1
        if buffer[at] != mark:
            raise self._error(at, f"expected '{chr(mark)}', got {buffer[at : at + 1]!r}")
        end = buffer.find(b"\r\n", at, at + COUNT_BYTES_MAX)
        if end < 0:
            if len(buffer) - at >= COUNT_BYTES_MAX:
                raise self._error(at, "a number without an end")
            return 0, -1
        digits = buffer[at + 1 : end]
        if not digits.isdigit():
            raise self._error(at, f"{digits!r} is no number")
        return int(digits), end + 2

    def _moved(self, at: int) -> None:
        self.offset += at - self._at
        self._at = at
        self._need_bytes = 0

    def _error(self, at: int, reason: str) -> AofFormatError:
        return AofFormatError(self.offset + at - self._at, reason)
