"""Nodes without sockets, in a directory of their own, for the tests of persistence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import trio

from node import app
from node.config.config import Config
from node.log import Log
from node.platform import Platform
from node.server import Server

Content = dict[int, dict[bytes, tuple[bytes, int | None]]]


def content(server: Server) -> Content:
    """Every key with its value and deadline, by database."""
    return {
        db.index: {
            key: (bytes(value), slot.deadlines.get(key))
            for slot in db.slots
            if slot
            for key, value in slot.values.items()
        }
        for db in server.keyspace.databases
        if db.size
    }


class Node:
    """A node that nobody serves: commands are run directly. `spawn` starts its tasks, in tests that have any."""

    def __init__(
        self,
        directory: Path,
        *,
        platform: Platform | None = None,
        spawn: Callable[..., None] | None = None,
        **options: Any,
    ) -> None:
        self.lines: list[str] = []
        config = Config()
        values = {
            "dir": str(directory),
            "save": [],
            "enable-debug-command": "yes",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        for name, value in values.items():
            config.put(name, value)
        platform = platform or Platform()
        self.server = app.build(platform, config, Log(platform, self.lines.append))
        self.saver = self.server.saver
        self.client = self.server.new_session()
        if spawn is not None:
            self.server.spawn = spawn

    def __call__(self, *words: bytes) -> bytes:
        """Run one command; its reply as on the wire."""
        self.server.read_clock()
        self.client.receive(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
        reply = bytes(self.client.out)
        self.client.out.clear()
        return reply

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def close(self) -> None:
        self.server.reactor.close()


class FullDisk:
    """A file that takes `room` bytes and then has no space left."""

    def __init__(self, file: IO[bytes], platform: FaultyPlatform) -> None:
        self.file = file
        self.platform = platform

    def write(self, data: memoryview) -> int:
        room = self.platform.room
        if room <= 0:
            raise OSError(28, "No space left on device")
        self.platform.room -= min(room, len(data))
        return self.file.write(data[:room])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class FaultyPlatform(Platform):
    """The world with a disk of `room` bytes, and a note of everything that was done to files."""

    def __init__(self, room: int = 1 << 40) -> None:
        super().__init__(1)
        self.room = room
        self.done: list[str] = []

    def monotonic_ms(self) -> float:
        """Trio's clock, so that a test may move it."""
        return trio.current_time() * 1000

    def open_write(self, path: str) -> Any:
        self.done.append("open")
        return FullDisk(super().open_write(path), self)

    def fsync(self, file: Any) -> None:
        self.done.append("fsync")
        super().fsync(file)

    def fsync_directory(self, path: str) -> None:
        self.done.append("fsync directory")
        super().fsync_directory(path)

    def replace(self, old: str, new: str) -> None:
        self.done.append("rename")
        super().replace(old, new)
