"""Loading an append-only file: its base and increments in their order, in slices while clients get -LOADING.

What stands between MULTI and EXEC is run with the EXEC. An end within a command or a transaction is what a crash
leaves, and so is a tail of zeros, by some file systems: in the last file it is cut off (`aof-load-truncated`), so that
the file ends where the data set does; anywhere else, and for any other damage, the node does not start, and says where
it is and what to do.

`steps` is a generator, so that the same story is told to a loop that serves others meanwhile and to one that does not:
it yields None where others may have their turn, and blocking work, whose result it is sent.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import IO, Any, Protocol

from node.net.resp import Argv
from node.persistence.aofmanifest import AofFile, Manifest
from node.persistence.aofparser import COUNT_BYTES_MAX, AofFormatError, AofParser
from node.persistence.host import PersistenceHost
from node.persistence.loader import READ_BYTES, START_SLICE_NS, LoadError, Loading, StreamLoader
from node.persistence.slowness import NAP_MS_MAX, delay_ms
from node.rdb.codec import RdbError

BULK_BYTES_MAX = 512 << 20
"""A longer word is believed only where `proto-max-bulk-len` allows it."""

Steps = Generator[Callable[[], Any] | None, Any, None]

FIX = "make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>"


class Replay(Protocol):
    """Runs the commands of a file. `is_open`: a transaction has begun and not ended. `node.replay` has one."""

    is_open: bool

    def run(self, commands: list[Argv]) -> None:
        """Run them. Raises UnknownCommand."""

    def begin(self) -> None:
        """A new file begins: with database 0 selected, and no transaction."""


class UnknownCommand(Exception):
    """A file has a command that the node does not; `index` tells which of those at hand."""

    def __init__(self, name: bytes, index: int) -> None:
        super().__init__(name)
        self.name = name
        self.index = index


class AofLoader:
    """One load of all files of a manifest in `directory`. `progress` is for INFO."""

    def __init__(self, host: PersistenceHost, directory: str, manifest: Manifest, replay: Replay) -> None:
        self.host = host
        self.manifest = manifest
        self.keys_loaded = self.keys_expired = 0  # of the base, if it is an RDB
        self.sizes: dict[str, int] = {}
        self._directory = directory
        self._replay = replay
        self._done_bytes = 0  # of the files before the one at hand
        self._started_ns = host.clock_ns()
        for file in manifest.files:
            self.sizes[file.name] = self._size(file)
        self.progress = Loading(host.platform.now_ms() // 1000, self.total_bytes)

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes.values())

    def _path(self, file: AofFile) -> str:
        return f"{self._directory}/{file.name}"

    def _size(self, file: AofFile) -> int:
        path, platform = self._path(file), self.host.platform
        try:
            if not platform.exists(path):
                raise LoadError(
                    f"The append log file {file.name} doesn't exist: No such file or directory. It "
                    "stands in the manifest: look for it. Exiting."
                )
            return platform.file_size(path)
        except OSError as error:
            raise self._unreadable(file, error) from error

    async def run(self) -> None:
        """Load it all, between requests. Raises LoadError."""
        platform, steps = self.host.platform, self.steps()
        result = None
        while True:
            try:
                work = steps.send(result)
            except StopIteration:
                return
            if work is None:
                result = None
                await platform.checkpoint()
            else:
                result = await platform.in_thread(work)

    def run_now(self) -> None:
        """Load it all, while everybody waits. Raises LoadError."""
        steps = self.steps()
        result = None
        while True:
            try:
                work = steps.send(result)
            except StopIteration:
                return
            result = None if work is None else work()

    def steps(self) -> Steps:
        """Load it all, one file after the other. Raises LoadError."""
        keyspace = self.host.keyspace
        keyspace.obeying = True
        try:
            for file in self.manifest.files:
                began_ns = self.host.clock_ns()
                try:
                    yield from self._load(file)
                except OSError as error:
                    raise self._unreadable(file, error) from error
                self._done_bytes += self.sizes[file.name]
                kind = "base" if file is self.manifest.base else "incr"
                seconds = (self.host.clock_ns() - began_ns) / 1e9
                self.host.log.notice(f"DB loaded from {kind} file {file.name}: {seconds:.3f} seconds")
        finally:
            keyspace.obeying = False
            keyspace.effects = None
        seconds = (self.host.clock_ns() - self._started_ns) / 1e9
        self.host.log.notice(f"DB loaded from append only file: {seconds:.3f} seconds")

    def _load(self, file: AofFile) -> Steps:
        with self.host.platform.open_read(self._path(file)) as opened:
            self._replay.begin()
            data = yield partial(opened.read, READ_BYTES)
            offset = 0
            if data.startswith(b"REDIS"):
                loader = self._rdb_loader()
                yield from self._load_rdb(file, opened, data, loader)
                data, offset = loader.rest, loader.loaded_bytes
            yield from self._load_commands(file, opened, data, offset)

    # --- an RDB in front ------------------------------------------------------------------------------------------

    def _rdb_loader(self) -> StreamLoader:
        return StreamLoader(self.host, self.host.keyspace.databases)

    def _load_rdb(self, file: AofFile, opened: IO[bytes], data: bytes, loader: StreamLoader) -> Steps:
        try:
            while not loader.finished:
                loader.feed(data)
                while loader.step(START_SLICE_NS):
                    self._reached(loader.loaded_bytes)
                    yield None
                    yield from self._rest(loader.keys_step)
                yield from self._rest(loader.keys_step)
                if not loader.finished:
                    data = yield partial(opened.read, READ_BYTES)
                    if not data:
                        break
            loader.finish()
            loader.take_functions(self.host.functions)
        except RdbError as error:
            raise LoadError(
                f"Error reading the RDB preamble of the AOF file {file.name}, AOF loading aborted: {error.reason}, at "
                f"offset {error.offset} of {self.sizes[file.name]} bytes. Nothing was changed: put a backup in its "
                "place. Exiting."
            ) from error
        self.keys_loaded += loader.keys_loaded
        self.host.log.notice(loader.summary)

    def _reached(self, offset: int) -> None:
        self.progress.loaded_bytes = self._done_bytes + offset

    def _rest(self, count: int) -> Steps:
        """`key-load-delay`: so many keys or commands have been loaded."""
        config, block = self.host.config, self.host.platform.block
        left_ms = delay_ms(config.key_load_delay, count)
        while left_ms > 0 and config.key_load_delay:
            nap_ms = min(left_ms, NAP_MS_MAX)
            yield partial(block, nap_ms / 1000)
            left_ms -= nap_ms

    # --- commands -------------------------------------------------------------------------------------------------

    def _load_commands(self, file: AofFile, opened: IO[bytes], data: bytes, offset: int) -> Steps:
        bulk_bytes_max = max(BULK_BYTES_MAX, self.host.config.proto_max_bulk_len)
        parser, replay = AofParser(bulk_bytes_max, offset), self._replay
        safe = piece = offset  # the last place outside of a transaction; where the commands at hand begin
        more = True
        try:
            while more:
                parser.feed(data)
                while commands := parser.parse():
                    replay.run(commands)
                    piece = parser.offset
                    if not replay.is_open:
                        safe = piece
                    self._reached(piece)
                    yield None
                    yield from self._rest(len(commands))
                data = yield partial(opened.read, READ_BYTES)
                more = bool(data)
        except UnknownCommand as error:
            raise self._unknown(file, error, self._exact(file, piece, error.index)) from None
        except AofFormatError as error:
            if not self._is_zeros(file, error.offset):
                raise self._malformed(file, error) from error
        else:
            if not parser.pending_bytes and not replay.is_open:
                return
        if replay.is_open:
            self.host.log.warning(f"Revert incomplete MULTI/EXEC transaction from AOF file {file.name}")
        self._cut_off(file, self._exact(file, safe))

    def _exact(self, file: AofFile, safe: int, commands_max: int = -1) -> int:
        """Where the last whole command outside of a transaction ends; or so many commands behind `safe`."""
        end, is_open = safe, False
        with self.host.platform.open_read(self._path(file)) as opened:
            opened.seek(safe)
            parser = AofParser(max(BULK_BYTES_MAX, self.host.config.proto_max_bulk_len), safe)
            while commands_max and (data := opened.read(READ_BYTES)):
                parser.feed(data)
                parser.join()
                try:
                    while commands_max and (argv := parser.next()) is not None:
                        commands_max -= bool(argv)
                        name = argv[0].upper() if argv else b""
                        is_open = (is_open or name == b"MULTI") and name != b"EXEC"
                        if not is_open or commands_max >= 0:
                            end = parser.offset
                except AofFormatError:
                    break
        return end

    def _is_zeros(self, file: AofFile, offset: int) -> bool:
        """Is there nothing but zeros behind the header or line end that is damaged?"""
        with self.host.platform.open_read(self._path(file)) as opened:
            opened.seek(offset)
            head = opened.read(COUNT_BYTES_MAX)
            start = head.find(b"\0")
            if start < 0 or head[start:].strip(b"\0"):
                return False
            while data := opened.read(READ_BYTES):
                if data.strip(b"\0"):
                    return False
        return True

    def _cut_off(self, file: AofFile, end: int) -> None:
        """The last file ends too early: let it end with the last whole command. Raises LoadError, OSError."""
        log, platform = self.host.log, self.host.platform
        size = self.sizes[file.name]
        behind = self.manifest.files[self.manifest.files.index(file) + 1 :]
        if any(self.sizes[other.name] for other in behind):
            raise LoadError(
                f"Unexpected end of file reading the append only file {file.name}, at offset {end} of {size} bytes. "
                f"Fatal error: the truncated file is not the last file. Put a backup in its place, or {FIX}. Exiting."
            )
        if not self.host.config.aof_load_truncated:
            raise LoadError(
                f"Unexpected end of file reading the append only file {file.name}. You can: 1) Make a backup of your "
                "AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the "
                "'aof-load-truncated' configuration option to yes and restart the server. The last whole command ends "
                f"at offset {end} of {size} bytes. Exiting."
            )
        log.warning(f"!!! Warning: short read while loading the AOF file {file.name}!!!")
        log.warning(f"!!! Truncating the AOF {file.name} at offset {end} !!!")
        with platform.open_append(self._path(file)) as opened:
            platform.truncate(opened, end)
            platform.fsync(opened)
        self.sizes[file.name] = end
        log.warning(f"AOF {file.name} loaded anyway because aof-load-truncated is enabled")

    # --- what is wrong --------------------------------------------------------------------------------------------

    def _unreadable(self, file: AofFile, error: OSError) -> LoadError:
        return LoadError(
            f"Unrecoverable error reading the append only file {file.name}: {error.strerror or error}. Exiting."
        )

    def _malformed(self, file: AofFile, error: AofFormatError) -> LoadError:
        return LoadError(
            f"Bad file format reading the append only file {file.name}: {FIX} ({error.reason}, at offset "
            f"{error.offset} of {self.sizes[file.name]} bytes; nothing was changed). Exiting."
        )

    def _unknown(self, file: AofFile, error: UnknownCommand, offset: int) -> LoadError:
        return LoadError(
            f"Unknown command '{error.name.decode('utf-8', 'replace')}' reading the append only file {file.name}, at "
            f"offset {offset} of {self.sizes[file.name]} bytes. Load it with a server that has the command. Exiting."
        )
