"""nodes.conf on the disk: it belongs to one process, and is only ever replaced as a whole.

A file that was replaced is closed later, in a thread: only then does the file system free it, and before that it waits
until what it has begun to write is written. That takes as long as the rest of a save, and milliseconds on a busy disk.
"""

from typing import IO

from node.server import CannotStart, Server

RETIRED_MS = 100
"""How long replaced files are left open: those of a burst are closed together."""


class ConfigFile:
    """The file under its lock, from the start of the node to its end. Raises CannotStart."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.path = server.platform.join_path(server.config["dir"], server.config["cluster-config-file"])
        self._file = self._lock()
        self._retired: list[IO[bytes]] = []

    def _lock(self) -> IO[bytes]:
        try:
            return self._server.platform.lock_file(self.path)
        except BlockingIOError as error:
            raise CannotStart(
                f"Sorry, the cluster configuration file {self.path} is already used by a different Redis "
                "Cluster node. Please make sure that different nodes use different cluster configuration files."
            ) from error
        except OSError as error:
            raise CannotStart(f"Can't open {self.path} in order to acquire a lock: {error.strerror}") from error

    def read(self) -> str:
        """What was saved; empty for a new node."""
        return self._server.platform.read_file(self.path).decode("utf-8", "replace")

    def replace(self, text: str, *, durable: bool) -> None:
        """Write a new file, locked before it takes the old one's name. Raises OSError.

        durable -- it is on the disk when this returns; else only a crash of the machine can lose it.
        """
        new = self._server.platform.replace_locked(self.path, text.encode(), durable=durable)
        if not self._retired:
            self._server.timers.after(RETIRED_MS, lambda: self._server.spawn(self._close_retired))
        self._retired.append(self._file)
        self._file = new

    def release(self) -> None:
        """Let another node have the file; nothing is saved any more."""
        _close_all([*self._retired, self._file])

    async def _close_retired(self) -> None:
        retired, self._retired = self._retired, []
        await self._server.platform.in_thread(_close_all, retired)


def _close_all(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
