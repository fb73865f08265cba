"""What is in the files that are restored: entries in order, and what can be known before anything is changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hexad.backup.feeding import Entry
from hexad.backup.folder import checksum, pieces, read_manifest
from hexad.backup.manifest import BackupError
from hexad.sight import slots_in
from node.platform import Platform
from node.rdb.codec import RdbError
from node.rdb.reader import Entries, Function, Item, RdbReader, SelectDb


@dataclass(slots=True)
class Source:
    """One file. `slots` are those whose keys are taken from it; None: all. `name` tells it from others."""

    path: str
    name: str
    size_bytes: int
    slots: frozenset[int] | None = None
    sha256: str = ""
    functions: list[bytes] = field(default_factory=list)
    databases: set[int] = field(default_factory=set)


def sources_of(platform: Platform, paths: Sequence[str]) -> list[Source]:
    """The files behind the names of directories and files. Raises OSError, BackupError."""
    found: list[Source] = []
    for path in paths:
        if not platform.is_directory(path):
            found.append(_source(platform, path))
            continue
        manifest = read_manifest(platform, path)
        if manifest is None:
            names = [name for name in platform.list_directory(path) if name.endswith(".rdb")]
            if not names:
                raise BackupError(f"{path} holds neither a manifest nor an RDB file")
            found += [_source(platform, platform.join_path(path, name)) for name in names]
            continue
        for shard in manifest.shards:
            each = _source(platform, platform.join_path(path, shard.file))
            if each.size_bytes != shard.size_bytes:
                raise BackupError(f"{each.path} has {each.size_bytes} bytes, and had {shard.size_bytes}: it is damaged")
            each.sha256 = shard.sha256
            each.slots = frozenset(slots_in(shard.slots)) if manifest.clustered else None
            found.append(each)
    return found


def _source(platform: Platform, path: str) -> Source:
    return Source(path, platform.absolute_path(path), platform.file_size(path))


def inspect(platform: Platform, source: Source) -> None:
    """Read it once, to its end, before anything is changed. Blocks. Raises OSError, BackupError."""
    if source.sha256 and checksum(platform, source.path) != source.sha256:
        raise BackupError(f"{source.path} is not what the manifest says: it is damaged")
    db = 0
    for item, _ in _items(platform, source):
        if type(item) is SelectDb:
            db = item.db
        elif type(item) is Function:
            source.functions.append(item.code)
        elif type(item) is Entries and item.items:
            source.databases.add(db)


def entries(platform: Platform, source: Source) -> Iterator[tuple[list[Entry], int]]:
    """Its keys in batches, in order, each with how many bytes of the file have been read. Raises BackupError."""
    db = 0
    for item, read_bytes in _items(platform, source):
        if type(item) is SelectDb:
            db = item.db
        elif type(item) is Entries:
            idle_s, freq = item.idle_s, item.freq
            yield [Entry(db, k, v, at_ms, idle_s.get(k), freq.get(k)) for k, v, at_ms in item.items], read_bytes


def _items(platform: Platform, source: Source) -> Iterator[tuple[Item, int]]:
    reader = RdbReader()
    try:
        for data in pieces(platform, source.path):
            reader.feed(data)
            while (item := reader.next_batch()) is not None:
                yield item, reader.offset
        reader.finish()
    except RdbError as error:
        raise BackupError(f"{source.path}: damaged at offset {error.offset}: {error.reason}") from None
