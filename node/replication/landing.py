"""A primary's snapshot on its way to the disk: under a temporary name first, then in the place of the node's RDB file.

It is looked through on its way only as far as its checksum tells: what was spoiled in transfer is thrown away before
it can take the place of anything. Nothing here blocks the loop: writing is a thread's.
"""

from typing import IO

from node.persistence.host import PersistenceHost, path_of
from node.persistence.rdbfile import RdbFile
from node.rdb.checksum import crc64
from node.rdb.codec import RdbError

WRITE_BYTES = 1024 * 1024
"""So much is gathered for a hop to a thread."""
CHECKSUM_BYTES = 8


def no_longer_wanted(host: PersistenceHost) -> bool:
    """`rdb-del-sync-files`: a file that only a synchronisation needed is not to stay where nothing is to be saved."""
    config = host.config
    return bool(config["rdb-del-sync-files"] and not config["save"] and not config["appendonly"])


class Landing:
    """One snapshot. `size` bytes of it have come."""

    def __init__(self, host: PersistenceHost) -> None:
        """Raises OSError."""
        platform = host.platform
        self._host = host
        self._path = path_of(host, host.config["dbfilename"])
        temporary = path_of(host, f"temp-{platform.now_ms() // 1000}.{platform.pid}.rdb")
        self._file = RdbFile(platform, self._path, temporary, True)
        self._is_installed = False
        self._gathered = bytearray()
        self._crc = 0  # of what has been written
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError."""
        self._gathered += data
        self.size += len(data)
        if len(self._gathered) >= WRITE_BYTES:
            await self._write(WRITE_BYTES // 2)

    def ends_with(self, mark: bytes) -> bool:
        """Is `mark` the last that has come? It is no part of the file, and taken off."""
        if not self._gathered.endswith(mark):
            return False
        del self._gathered[len(self._gathered) - len(mark) :]
        self.size -= len(mark)
        return True

    async def _write(self, count: int) -> None:
        """Write what came first: the end is held back, where a mark may stand, and the checksum."""
        data = bytes(self._gathered[:count])
        del self._gathered[:count]
        await self._host.platform.in_thread(self._write_now, data)

    def _write_now(self, data: bytes) -> None:
        self._file.write(data)
        self._crc = crc64(data, self._crc)

    async def seal(self) -> None:
        """Nothing more comes: make it durable. Raises OSError, RdbError."""
        told = int.from_bytes(self._gathered[-CHECKSUM_BYTES:], "little")
        if len(self._gathered) > CHECKSUM_BYTES:
            await self._write(len(self._gathered) - CHECKSUM_BYTES)
        crc = self._crc
        if told not in (0, crc) and self._host.checksums_matter:
            raise RdbError(self.size, f"Wrong RDB checksum expected: ({crc:x}) but got ({told:x}).")
        await self._write(len(self._gathered))
        await self._host.platform.in_thread(self._file.seal)

    def discard(self) -> None:
        """Leave nothing behind. Raises nothing."""
        self._file.discard()

    def reopened(self) -> tuple[IO[bytes], int]:
        """What was sealed, for reading, and its size. Raises OSError."""
        return self._file.reopened()

    def install(self) -> None:
        """Let it be the node's RDB file. Raises OSError."""
        self._file.install()
        self._is_installed = True

    async def settle(self) -> None:
        """Let it be that after a crash, too: until then one finds the old file. Raises OSError."""
        await self._host.platform.in_thread(self._file.settle)

    def remove(self) -> None:
        """It was needed for this load alone: leave nothing of it in the place of the node's file, if it came there."""
        if not self._is_installed:
            return
        self._host.log.notice("Removing the RDB file obtained from the master. This replica has persistence disabled")
        self._host.platform.remove_if_there(self._path)
