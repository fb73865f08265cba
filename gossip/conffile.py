"""nodes.conf on the disk: it belongs to one process, and is only ever replaced as a whole.

What takes milliseconds on a busy disk and can wait is done later, in a thread: to make a save durable that need not be
so at once, and to close the files that were replaced (only then does the file system free them, and before that it
waits until what it has begun to write is written).
"""

from typing import IO

from node.server import CannotGoOn, CannotStart, Server

SETTLED_MS = 100
"""How long after a save the file is settled: what a burst of saves leaves behind is seen to at once."""


class ConfigFile:
    """The file under its lock, from the start of the node to its end. Raises CannotStart."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.path = server.platform.join_path(server.config["dir"], server.config["cluster-config-file"])
        self._file = self._lock()
        self._is_durable = True  # the last save is on the disk since it was made
        self._replaced: list[IO[bytes]] = []  # files that are still open
        self._settles = False  # `_settle` runs, or will

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
        """Write a new file, locked before it takes the old one's name. Raises CannotGoOn.

        durable -- it is on the disk when this returns; else soon, and a crash of the machine before that may lose it.
        """
        try:
            new = self._server.platform.replace_locked(self.path, text.encode(), durable=durable)
        except OSError as error:
            raise self._failed(error) from error
        self._replaced.append(self._file)
        self._file, self._is_durable = new, durable
        if not self._settles:
            self._settle_later()

    def release(self) -> None:
        """Let another node have the file; nothing is saved any more."""
        _close_all([*self._replaced, self._file])

    def _settle_later(self) -> None:
        self._settles = True
        self._server.timers.after(SETTLED_MS, lambda: self._server.spawn(self._settle))

    async def _settle(self) -> None:
        """Make the last save durable and close the files before it. Raises CannotGoOn."""
        replaced, self._replaced = self._replaced, []
        unsafe = None if self._is_durable else self._file
        try:
            await self._server.platform.in_thread(self._sync_and_close, unsafe, replaced)
        except OSError as error:
            raise self._failed(error) from error
        self._settles = False
        if self._replaced:  # there were saves meanwhile
            self._settle_later()

    def _sync_and_close(self, unsafe: IO[bytes] | None, replaced: list[IO[bytes]]) -> None:
        """In a thread. A file that is replaced meanwhile stays open until this is over."""
        if unsafe is not None:
            self._server.platform.fsync_with_name(unsafe, self.path)
        _close_all(replaced)

    def _failed(self, error: OSError) -> CannotGoOn:
        """A node that cannot save must not go on voting."""
        self._server.log.warning(f"Fatal: can't update cluster config file: {error}")
        return CannotGoOn()


def _close_all(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
