"""The files of an append-only file, and what is done to them, one step after the other. It may block: see `drain`.

The loop puts orders into `todo`; whoever calls `drain`, a thread or at the end the loop itself, carries them out in
their order under a lock. So nothing overtakes anything: an increment is durable before its successor gets a byte, and a
manifest names only what is on the disk already.

A step that fails stays first in the queue and is tried again by the next `drain`, with all that is behind it: nothing
that was taken is lost while the process lives. A part of a write that got onto the disk is taken back (or, if even that
fails, counts as written). Only where nothing has changed on the disk yet an order can be refused for good
(`Order.error`).
"""

from collections import deque
from contextlib import suppress
from typing import IO

from node.persistence.aofmanifest import Manifest
from node.platform import Platform

DELAYS_MAX = 64
"""How many delays are kept for the loop to tell: more than one turn of the thread has."""


class Failure:
    """What the last `drain` could not do: `what` is "write", "fsync" or "manifest"."""

    def __init__(self, what: str, error: OSError, detail: str = "") -> None:
        self.what = what
        self.error = error
        self.detail = detail  # a line for the log, beside the error itself

    @property
    def reason(self) -> str:
        return self.error.strerror or str(self.error)


class Order:
    """Something to do. `done` once it has been carried out, or refused with `error`."""

    def __init__(self) -> None:
        self.done = False
        self.error: OSError | None = None

    def carry_out(self, disk: "AofDisk") -> None:
        """Raises OSError; then it is to be tried again, unless `error` was set."""
        raise NotImplementedError


class Append(Order):
    """Bytes to add to the open file; with them it holds the journal up to `offset`."""

    what = "write"

    def __init__(self, data: bytearray, offset: int, event: str, ordered_ns: int) -> None:
        super().__init__()
        self.data = data
        self.offset = offset
        self.event = event  # the name of its delay for the latency monitor, which began when it was ordered
        self.ordered_ns = ordered_ns

    def carry_out(self, disk: "AofDisk") -> None:
        began_ns = disk.platform.clock_ns()
        if disk.delay_us:
            disk.platform.block(disk.delay_us / 1_000_000)
        disk.append(self)
        disk.written_offset = self.offset
        disk.note_delay("aof-write", began_ns)
        disk.note_delay(self.event, self.ordered_ns)


class Sync(Order):
    """Make all that has been appended durable."""

    what = "fsync"

    def carry_out(self, disk: "AofDisk") -> None:
        began_ns = disk.platform.clock_ns()
        disk.sync()
        if disk.syncs_always:
            disk.note_delay("aof-fsync-always", began_ns)


class Turn(Order):
    """Append to another, new file from now on; `manifest` names it, or None: none does yet."""

    what = "manifest"

    def __init__(self, name: str, manifest: Manifest | None) -> None:
        super().__init__()
        self.name = name
        self.manifest = manifest
        self._file: IO[bytes] | None = None

    def carry_out(self, disk: "AofDisk") -> None:
        disk.sync()
        try:
            if self._file is None:
                disk.make_directory()
                self._file = disk.platform.open_append(disk.path(self.name))
                disk.platform.truncate(self._file, 0)  # one of that name may have been left behind by a crash
            if self.manifest is not None:
                disk.platform.fsync_directory(disk.directory)  # no manifest may name what is not there
                disk.persist(self.manifest)
        except OSError as error:
            if not disk.manifest_in_doubt:
                self._take_back(disk, error)
            raise
        disk.open(self._file, 0)

    def _take_back(self, disk: "AofDisk", error: OSError) -> None:
        self.error = error
        if self._file is not None:
            self._file.close()
            with suppress(OSError):
                disk.platform.remove(disk.path(self.name))


class Install(Order):
    """Files get their names (all of them whole and fsynced), and then the manifest that speaks of them."""

    what = "manifest"

    def __init__(self, renames: list[tuple[str, str]], manifest: Manifest) -> None:
        super().__init__()
        self.manifest = manifest
        self._renames = renames

    def carry_out(self, disk: "AofDisk") -> None:
        disk.sync()
        try:
            while self._renames:
                old, new = self._renames[0]
                disk.platform.replace(disk.path(old), disk.path(new))
                del self._renames[0]
            disk.platform.fsync_directory(disk.directory)  # no manifest may name what is not there
            disk.persist(self.manifest)
        except OSError as error:
            if not disk.manifest_in_doubt:
                self.error = error
            raise


class Close(Order):
    """Nothing is appended any more."""

    what = "write"

    def carry_out(self, disk: "AofDisk") -> None:
        disk.sync()
        disk.close()


class AofDisk:
    """One directory, its manifest, and the file that is appended to."""

    def __init__(self, platform: Platform, directory: str) -> None:
        self.platform = platform
        self.directory = directory
        self.todo: deque[Append | Sync | Turn | Install | Close] = deque()
        self.failure: Failure | None = None
        self.written_offset = 0
        self.fsynced_offset = 0
        self.is_synced = True
        self.manifest_in_doubt = False  # it has its name, but whether that is durable nobody knows
        self.delay_us = 0  # DEBUG AOF-FLUSH-SLEEP
        self.syncs_always = False  # somebody waits for each fsync
        self.delays: deque[tuple[str, int]] = deque(maxlen=DELAYS_MAX)  # (event, ms) for the latency monitor
        self.manifest: Manifest | None = None  # the one on the disk, once it has been read or written
        self.size = 0  # of the file that is appended to
        self.other_bytes = 0  # of all the others that the manifest names
        self._file: IO[bytes] | None = None
        self._lock = platform.lock()

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def note_delay(self, event: str, began_ns: int) -> None:
        """Something is over that began then; less than a millisecond is no delay."""
        ms = (self.platform.clock_ns() - began_ns) // 1_000_000
        if ms:
            self.delays.append((event, ms))

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def drain(self) -> None:
        """Carry out what is to be done, up to the first failure; raises nothing. Blocks."""
        with self._lock:
            self.failure = None
            while self.todo:
                order = self.todo[0]
                try:
                    order.carry_out(self)
                except OSError as error:
                    if order.error is None:
                        self.failure = self.failure or Failure(order.what, error)
                        return
                order.done = True
                self.todo.popleft()

    # --- what the orders need -------------------------------------------------------------------------------------

    def make_directory(self) -> None:
        """The directory is there, durably. Raises OSError."""
        if not self.platform.is_directory(self.directory):
            self.platform.make_directory(self.directory)
            self.platform.fsync_directory(self.directory.rpartition("/")[0] or "/")

    def open(self, file: IO[bytes], size: int) -> None:
        """Append to `file` from now on, which has `size` bytes."""
        self.close()
        self._file, self.size = file, size
        self.is_synced = True

    def reopen(self, name: str) -> None:
        """Append to a file that is there, and make durable what is in it. Raises OSError."""
        file = self.platform.open_append(self.path(name))
        self.platform.fsync(file)
        size = self.platform.file_size(self.path(name))
        self.other_bytes -= size
        self.open(file, size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self.other_bytes += self.size
            self.size = 0
        self.is_synced = True

    def append(self, order: Append) -> None:
        """Append all of it. Raises OSError, and then `order` has what is still to be appended."""
        file = self._file
        assert file is not None
        total, written = len(order.data), 0
        self.is_synced = False
        try:
            with memoryview(order.data) as view:
                while written < total:
                    written += file.write(view[written:])
        except OSError as error:
            detail = self._take_back(file, order, written) if written else ""
            self.failure = Failure("write", error, detail)
            raise
        self.size += total

    def _take_back(self, file: IO[bytes], order: Append, written: int) -> str:
        """A part was written: cut it off again. What the log is told."""
        detail = f"Short write while writing to the AOF file: (nwritten={written}, expected={len(order.data)})"
        try:
            self.platform.truncate(file, self.size)
        except OSError as error:
            self.size += written
            order.data = order.data[written:]
            detail = (
                "Could not remove short write from the append-only file.  Redis may refuse to load the AOF the next "
                f"time it starts.  ftruncate: {error.strerror or error}"
            )
        return detail

    def sync(self) -> None:
        """Make what has been appended durable. Raises OSError."""
        if self._file is not None and not self.is_synced:
            try:
                self.platform.fsync_data(self._file)
            except OSError as error:
                self.failure = Failure("fsync", error)
                raise
            self.is_synced = True
        self.fsynced_offset = self.written_offset

    def persist(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the old one, durably. Raises OSError."""
        platform, path = self.platform, self.path(manifest.file_name)
        temporary = self.path(f"temp_{manifest.file_name}")
        file = platform.open_write(temporary)
        try:
            with memoryview(manifest.to_bytes()) as view:
                written = 0
                while written < len(view):
                    written += file.write(view[written:])
            platform.fsync(file)
        except OSError:
            file.close()
            with suppress(OSError):
                platform.remove(temporary)
            raise
        file.close()
        platform.replace(temporary, path)
        self.manifest, self.manifest_in_doubt = manifest, True
        platform.fsync_directory(self.directory)
        self.manifest_in_doubt = False
