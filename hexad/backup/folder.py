"""The directory of a backup: empty at first, whole once `manifest.json` is in it, and nothing that looks whole between.

A file has its name only when all of it is on the disk. What a backup that was killed has left shows by its lock, which
keeps two at a time out of each other's way, too; the next one removes it.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import IO, Any

from hexad.backup.manifest import NAME, BackupError, Manifest, parse
from node.platform import Platform

LOCK = "backup.lock"
REMNANT = re.compile(r"shard-\d+\.rdb(\.tmp)?|backup\.lock|manifest\.json\.tmp.*")
READ_BYTES = 1 << 20


class Folder:
    """A directory that a backup is written to."""

    def __init__(self, platform: Platform, path: str) -> None:
        self.platform = platform
        self.path = path
        self._lock: IO[bytes] | None = None

    def at(self, name: str) -> str:
        return self.platform.join_path(self.path, name)

    def claim(self) -> None:
        """Make it ours, empty, until `release`. Raises OSError; BackupError where something else is in it."""
        self.platform.make_directory(self.path)
        try:
            self._lock = self.platform.lock_file(self.at(LOCK))
        except BlockingIOError:
            raise BackupError(f"{self.path}: another backup is just being written to it") from None
        try:
            self._refuse_strangers()
        except BackupError:
            self.release()
            raise
        self.clear()

    def _refuse_strangers(self) -> None:
        names = self.platform.list_directory(self.path)
        if NAME in names:
            raise BackupError(f"{self.path} holds a backup already: name another directory")
        strange = [name for name in names if not REMNANT.fullmatch(name)]
        if strange:
            raise BackupError(f"{self.path} holds {strange[0]!r}, which is of no backup: name another directory")

    def clear(self) -> None:
        """Remove what an attempt has left."""
        for name in self.platform.list_directory(self.path):
            if REMNANT.fullmatch(name) and name != LOCK:
                self.platform.remove(self.at(name))

    def release(self) -> None:
        """Whoever waits for it may have it."""
        if self._lock is not None:
            self.platform.remove_if_there(self.at(LOCK))
            self._lock.close()
            self._lock = None

    def finish(self, manifest: Manifest) -> None:
        """The last file: now it is a backup. Raises OSError; then it is none."""
        try:
            self.platform.replace_file(self.at(NAME), manifest.text())
        except OSError:
            self.platform.remove_if_there(self.at(NAME))  # it may have its name, and yet not be on the disk
            raise


class Sink:
    """One file that comes in pieces; `sha256` and `size` of what came. The blocking calls are for a thread."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self._platform = folder.platform
        self._folder = folder
        self._file = folder.platform.open_write(folder.at(name + ".tmp"))
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Blocks. Raises OSError."""
        self._hash.update(data)
        self.size += len(data)
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += self._file.write(view[sent:])

    def finish(self) -> str:
        """Blocks until it is on the disk under its name; its checksum. Raises OSError."""
        self._platform.fsync(self._file)
        self._file.close()
        path = self._folder.at(self.name)
        self._platform.replace(path + ".tmp", path)
        self._platform.fsync_directory(self._folder.path)
        return self._hash.hexdigest()

    def abandon(self) -> None:
        self._file.close()


def read_manifest(platform: Platform, directory: str) -> Manifest | None:
    """The manifest in a directory; None if there is none. Raises OSError; BackupError for a part of a backup."""
    path = platform.join_path(directory, NAME)
    if platform.exists(path):
        return parse(platform.read_file(path))
    if platform.exists(platform.join_path(directory, LOCK)):
        raise BackupError(f"{directory} holds a part of a backup, which was cut short or is just being made")
    return None


def pieces(platform: Platform, path: str) -> Iterator[bytes]:
    """A file's bytes. Raises OSError."""
    with platform.open_read(path) as file:
        while data := file.read(READ_BYTES):
            yield data


def checksum(platform: Platform, path: str) -> str:
    """The file's SHA-256. Blocks. Raises OSError."""
    found: Any = hashlib.sha256()
    for data in pieces(platform, path):
        found.update(data)
    return str(found.hexdigest())
