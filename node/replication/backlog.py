"""The replication backlog: the latest bytes of the replication stream, by offset. Sans-IO.

It holds each byte once for all replicas: a replica that is behind (slow, or still taking its snapshot) is a position in
here, not a buffer of its own, so the backlog keeps more than its size while somebody still needs it.

Offsets count bytes: the byte at offset n is the n-th of the stream, as PSYNC counts them.
"""

from sys import getsizeof

SIZE_BYTES_MIN = 16 * 1024
"""The smallest `repl-backlog-size`, as in Redis."""


class Backlog:
    """Bytes of the stream up to `end`, the offset of the last one. Empty when `start` is `end` + 1."""

    def __init__(self, size_bytes: int, end: int) -> None:
        self.end = end
        self._bytes = bytearray()
        self.resize(size_bytes)

    @property
    def start(self) -> int:
        """The offset of the first byte that is still here."""
        return self.end - len(self._bytes) + 1

    @property
    def length(self) -> int:
        return len(self._bytes)

    @property
    def held_bytes(self) -> int:
        """What it takes: more than its length, since a buffer grows ahead of what it is filled with."""
        return getsizeof(self._bytes)

    def resize(self, size_bytes: int) -> None:
        """How much `trim` is to leave."""
        self.size_bytes = max(size_bytes, SIZE_BYTES_MIN)

    def append(self, data: bytes | bytearray) -> None:
        """Take the next bytes of the stream."""
        self._bytes += data
        self.end += len(data)

    def trim(self, needed_from: int) -> None:
        """Drop what is beyond the size, but nothing from offset `needed_from` on."""
        surplus = min(len(self._bytes) - self.size_bytes, needed_from - self.start)
        if surplus > 0:
            del self._bytes[:surplus]

    def holds(self, offset: int) -> bool:
        """Can the stream go on at `offset`, which may be the one after the last byte?"""
        return self.start <= offset <= self.end + 1

    def read(self, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset` on."""
        assert self.holds(offset), (self.start, offset, self.end)
        at = offset - self.start
        return bytes(self._bytes[at : at + limit])
