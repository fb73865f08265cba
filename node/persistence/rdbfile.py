"""An RDB file on its way to its name: written under a temporary one, fsynced, renamed, its directory fsynced.

A crash at any instant leaves the old file or the new one. All calls may block: a driver makes the long ones in a
thread. They raise OSError.
"""

from contextlib import suppress
from typing import IO

from node.platform import Platform

FSYNC_BYTES = 4 * 1024 * 1024
"""`rdb-save-incremental-fsync`: so much is written between two fsyncs, lest the last one find a whole file to do."""


class RdbFile:
    """One file being written."""

    def __init__(self, platform: Platform, path: str, temporary: str, incremental: bool) -> None:
        self._platform = platform
        self._path = path
        self._temporary = temporary
        self._fsync_bytes = FSYNC_BYTES if incremental else 0
        self._unsynced = 0
        self._file = platform.open_write(temporary)

    def write(self, data: bytes) -> None:
        """Append `data`, all of it."""
        view = memoryview(data)
        while view:
            count = self._file.write(view)  # a full disk may take a part before it refuses the rest
            view = view[count:]
        self._unsynced += len(data)
        if self._fsync_bytes and self._unsynced >= self._fsync_bytes:
            self._platform.fsync(self._file)
            self._unsynced = 0

    def seal(self) -> None:
        """Nothing more comes: make what was written durable."""
        self._platform.fsync(self._file)
        self._file.close()

    def reopened(self) -> tuple[IO[bytes], int]:
        """The sealed file for reading, whatever takes its name from now on, and its size."""
        return self._platform.open_read(self._temporary), self._platform.file_size(self._temporary)

    def install(self) -> None:
        """Put the sealed file in the place of the old one."""
        self._platform.replace(self._temporary, self._path)

    def settle(self) -> None:
        """Make the new name durable."""
        self._platform.fsync_directory(self._path.rpartition("/")[0] or "/")

    def discard(self) -> None:
        """Leave nothing behind of a file that was not installed. Raises nothing."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._platform.remove(self._temporary)
