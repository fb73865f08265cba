"""A disk in memory that forgets what was not fsynced, and a Platform on top of it.

What a crash leaves is as bad as a file system may be. Of a file: what was fsynced, and of what came after it any part
of its beginning, torn at any byte, now and then with zeros in place of the rest. Of a directory: any of the changes
since its last fsync, each surviving or not by itself. A rename is one change: it has happened or it has not.

Each change is a step. At step `crash_at` the power fails, before the change or right after it; from then on every
access raises `Crashed`. An `OSError` can be had instead: `fails` is asked before each step.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from typing import Any

import trio

from node.platform import Platform


class Crashed(BaseException):
    """The power is off."""


class Inode:
    """A file: what everybody sees of it, and what is sure to survive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""

    def after_crash(self, luck: random.Random) -> Inode:
        left = Inode()
        fate = luck.random()
        kept, written = len(self.synced), len(self.data)
        if fate < 0.3 or not self.data.startswith(self.synced):
            left.data[:] = self.synced if fate < 0.6 else self.data
        else:
            cut = luck.randint(kept, written)
            left.data[:] = self.data[:cut]
            if fate > 0.85:
                left.data += bytes(written - cut)
        left.synced = bytes(left.data)
        return left


Change = tuple[str, str | None, str | None, Inode | None]
"""(directory, name that goes, name that comes, its file; None for a directory)"""


class Disk:
    """Files and directories by their paths."""

    def __init__(self, luck: random.Random, directory: str) -> None:
        self.luck = luck
        self.names: dict[str, Inode | None] = {directory: None}
        self.durable = dict(self.names)
        self.changes: list[Change] = []
        self.steps: list[str] = []
        self.crash_at = -1
        self.crashed = False
        self.fails: Callable[[str], OSError | None] = lambda _step: None

    def step(self, what: str, change: Callable[[], Any]) -> Any:
        """Make a change, unless the power fails."""
        self.check()
        if (error := self.fails(what)) is not None:
            raise error
        self.steps.append(what)
        if len(self.steps) == self.crash_at:
            if self.luck.random() < 0.5:
                change()
            self.crashed = True
            raise Crashed
        return change()

    def check(self) -> None:
        if self.crashed:
            raise Crashed

    def change(self, goes: str | None, comes: str | None, inode: Inode | None) -> None:
        """A name goes, another comes (or both at once)."""
        self.changes.append((parent(comes or goes or ""), goes, comes, inode))
        apply(self.names, self.changes[-1])

    def sync_directory(self, path: str) -> None:
        for change in self.changes:
            if change[0] == path:
                apply(self.durable, change)
        self.changes = [change for change in self.changes if change[0] != path]

    def restart(self) -> None:
        """The power is back."""
        for change in self.changes:
            if self.luck.random() < 0.5:
                apply(self.durable, change)
        files = {name: inode.after_crash(self.luck) for name, inode in self.durable.items() if inode is not None}
        folders = {name for name, inode in self.durable.items() if inode is None}
        lost = {name for name in files if parent(name) not in folders}
        self.names = dict.fromkeys(folders) | {n: inode for n, inode in files.items() if n not in lost}
        self.durable = dict(self.names)
        self.changes, self.steps, self.crashed, self.crash_at = [], [], False, -1


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def apply(names: dict[str, Inode | None], change: Change) -> None:
    _, goes, comes, inode = change
    if goes is not None:
        names.pop(goes, None)
    if comes is not None:
        names[comes] = inode


class File:
    """An open file."""

    def __init__(self, disk: Disk, inode: Inode, name: str) -> None:
        self.disk, self.inode, self.name = disk, inode, name

    def write(self, data: bytes | memoryview) -> int:
        data = bytes(data)
        if not data:
            return 0

        def change() -> None:
            self.inode.data += data

        self.disk.step(f"write {self.name}", change)
        return len(data)

    def close(self) -> None:
        pass

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class NoWorker:
    """Does a worker's work in a task of the node's, and rings as the thread would."""

    def __init__(self, platform: CrashPlatform) -> None:
        self._platform = platform
        self.bell = platform.alarm()
        self._is_done = True

    def start(self, work: Callable[[], None]) -> None:
        assert self._is_done
        self._is_done = False
        self._platform.spawn(self._do, work)

    async def _do(self, work: Callable[[], None]) -> None:
        await self._platform.in_thread(work)
        self._is_done = True
        self.bell.ring()

    def is_done(self) -> bool:
        self.bell.clear()
        return self._is_done

    def close(self) -> None:
        self.bell.close()


class CrashPlatform(Platform):
    """A world whose files are on `disk`, whose threads are none, and whose clock is Trio's."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(1)
        self.disk = disk
        self.spawn: Callable[..., None] = lambda *_: None  # starts a task of the node's

    def monotonic_ms(self) -> float:
        return trio.current_time() * 1000

    def now_ms(self) -> int:
        return 1_800_000_000_000 + int(trio.current_time() * 1000)

    async def sleep_until_ms(self, when_ms: float) -> None:
        when_s = when_ms / 1000
        while when_s * 1000 < when_ms:  # rounded down: on a clock that jumps there, that time would never come
            when_s = math.nextafter(when_s, math.inf)
        await trio.sleep_until(when_s)

    async def in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*args)

    def worker(self) -> Any:
        return NoWorker(self)

    def _inode(self, path: str) -> Inode:
        self.disk.check()
        inode = self.disk.names.get(path)
        if inode is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return inode

    def _opened(self, path: str, *, empty: bool) -> Any:
        disk = self.disk
        disk.check()
        if parent(path) not in disk.names:
            raise FileNotFoundError(2, "No such file or directory", path)
        name = path.rpartition("/")[2]
        if path not in disk.names or empty:
            inode = Inode()
            disk.step(f"create {name}", lambda: disk.change(None, path, inode))
        return File(disk, self._inode(path), name)

    def open_write(self, path: str) -> Any:
        return self._opened(path, empty=True)

    def open_append(self, path: str) -> Any:
        return self._opened(path, empty=False)

    def open_read(self, path: str) -> Any:
        return io.BytesIO(bytes(self._inode(path).data))

    def read_file(self, path: str) -> bytes:
        return bytes(self._inode(path).data)

    def file_size(self, path: str) -> int:
        return len(self._inode(path).data)

    def exists(self, path: str) -> bool:
        self.disk.check()
        return path in self.disk.names

    def is_directory(self, path: str) -> bool:
        self.disk.check()
        return path in self.disk.names and self.disk.names[path] is None

    def make_directory(self, path: str) -> None:
        if path not in self.disk.names:
            self.disk.step("mkdir", lambda: self.disk.change(None, path, None))

    def truncate(self, file: Any, size: int) -> None:
        if size != len(file.inode.data):
            self.disk.step(f"truncate {file.name}", lambda: file.inode.data.__delitem__(slice(size, None)))

    def fsync(self, file: Any) -> None:
        def change() -> None:
            file.inode.synced = bytes(file.inode.data)

        self.disk.step(f"fsync {file.name}", change)

    def fsync_data(self, file: Any) -> None:
        self.fsync(file)

    def fsync_directory(self, path: str) -> None:
        self.disk.step("fsync directory", lambda: self.disk.sync_directory(path))

    def remove(self, path: str) -> None:
        self._inode(path)
        self.disk.step(f"remove {path.rpartition('/')[2]}", lambda: self.disk.change(path, None, None))

    def remove_if_there(self, path: str) -> None:
        if self.exists(path):
            try:
                self.remove(path)
            except OSError:
                return

    def replace(self, old: str, new: str) -> None:
        inode = self._inode(old)
        self.disk.step(f"rename to {new.rpartition('/')[2]}", lambda: self.disk.change(old, new, inode))
