"""The append-only file of one node: found and loaded at the start, turned on and off, and what INFO tells of it.

Its parts: `aofwriter` takes the journal to the disk, `aofdisk` is what happens there, `aofrewrite` makes it short
again, `aofload` reads it. Where the node finds no append-only file at its start but an RDB file, it loads that and
begins with it. (Redis starts empty then, which has cost people their data.)
"""

from collections.abc import Callable
from enum import Enum

from node.config.errors import ConfigError
from node.persistence.aofdisk import AofDisk, Close, Install, Sync, Turn
from node.persistence.aofload import AofLoader, Replay
from node.persistence.aofmanifest import Manifest, ManifestError, parse, upgraded
from node.persistence.aofrewrite import Rewriter
from node.persistence.aofwriter import AofWriter
from node.persistence.host import PersistenceHost, path_of
from node.persistence.loader import LoadError, StreamLoader, about_to_load, load_at_start

CANNOT_TURN_ON = "Unable to turn on AOF. Check server logs."


class State(Enum):
    """WAIT_REWRITE: turned on while the node runs, and the first base is not whole yet."""

    OFF = 0
    WAIT_REWRITE = 1
    ON = 2


class AppendOnlyFile:
    """All of one node's append-only file. `replay` runs what is loaded; `fatal` is raised where the node cannot go on.

    `functions` gives the sources of the libraries; `must_not_begin` tells whether a rewrite has to wait for a save.
    """

    def __init__(self, host: PersistenceHost, replay: Replay, fatal: type[Exception]) -> None:
        self.host = host
        self.state = State.OFF
        self.disk = AofDisk(host.platform, path_of(host, host.config.appenddirname))
        self.writer = AofWriter(host, self.disk, fatal)
        self.functions: Callable[[], list[bytes]] = list
        self.is_saving: Callable[[], bool] = _never
        self.saver_may_begin: Callable[[], None] = _nothing
        self.rewriter = Rewriter(self)
        self.writer.busy = lambda: self.rewriter.background is not None or self.is_saving()
        self.writer.drained = self._drained
        self._replay = replay
        self._listens = False
        self._base_bytes = 0  # of all files, when the last rewrite was over
        for name in ("auto-aof-rewrite-percentage", "auto-aof-rewrite-min-size"):
            host.config.on_change(name, lambda _value: self._drained())
        host.config.on_change("aof-disable-auto-gc", self._keep_history)

    @property
    def manifest(self) -> Manifest:
        """The one on the disk."""
        return self.disk.manifest or Manifest(self.host.config.appendfilename)

    @property
    def is_on(self) -> bool:
        return self.state is not State.OFF

    @property
    def is_whole(self) -> bool:
        """It is on, and nothing is missing: a start from it would bring the data set."""
        return self.state is State.ON

    def hasten(self) -> None:
        """Let what the journal has by now become durable soon, whatever `appendfsync` says."""
        self.writer.append_buffer()
        self.writer.order(Sync())

    @property
    def fsynced_offset(self) -> int:
        """The journal is durable up to this offset, for WAITAOF; 0 where nothing is promised yet."""
        return self.writer.fsynced_offset if self.is_whole else 0

    @property
    def must_wait(self) -> bool:
        """A rewrite cannot begin now: a save is running, or a transaction, whose effects are in no journal yet."""
        return self.is_saving() or self.host.journal.in_unit

    # --- at the start ---------------------------------------------------------------------------------------------

    async def start(self) -> StreamLoader | AofLoader | None:
        """Load the data set and append to its files from now on; what loaded it. Raises LoadError."""
        host = self.host
        self._move()
        try:
            manifest = self.read_manifest()
            if manifest.files:
                loaded: StreamLoader | AofLoader | None = await self._load(manifest)
            else:
                loaded = await self._load_rdb()
                manifest = await self._begin_with_base(manifest)
            await self._open(manifest)
        except OSError as error:
            raise LoadError(
                f"Can't open or create the append-only file in {self.disk.directory}: {error.strerror or error}. "
                "Exiting."
            ) from error
        host.loading = None
        host.conditions_changed()
        self._listen(True)
        self.state = State.ON
        self.disk.written_offset = self.disk.fsynced_offset = host.journal.offset
        return loaded

    def _move(self) -> None:
        """`dir` may have been set since the node was built."""
        directory = path_of(self.host, self.host.config.appenddirname)
        if directory != self.disk.directory:
            self.disk.directory, self.disk.manifest = directory, None

    def read_manifest(self) -> Manifest:
        """The manifest on the disk, of an old single file too; one without files if there is none. Raises LoadError."""
        platform, name = self.host.platform, self.host.config.appendfilename
        path = self.disk.path(Manifest(name).file_name)
        try:
            manifest = parse(name, platform.read_file(path)) if platform.exists(path) else Manifest(name)
            self.disk.manifest = manifest
            self._upgrade(manifest)
        except ManifestError as error:
            raise LoadError(
                f"\n*** FATAL AOF MANIFEST FILE ERROR ***\n{error}\nThe file is {path}. Exiting."
            ) from error
        except OSError as error:
            raise LoadError(
                f"Fatal error: can't open the AOF manifest file {path} for reading: {error.strerror or error}. Exiting."
            ) from error
        return self.manifest

    def _upgrade(self, manifest: Manifest) -> None:
        """A single file as Redis wrote it before 7.0 becomes the base. Raises OSError."""
        platform, disk, name = self.host.platform, self.disk, manifest.name
        old = path_of(self.host, name)
        begun = upgraded(name)
        if not platform.exists(old) or platform.is_directory(old):
            return
        if manifest.files and (manifest.files != begun.files or platform.exists(disk.path(name))):
            return
        disk.make_directory()
        disk.persist(begun)
        platform.replace(old, disk.path(name))
        platform.fsync_directory(disk.directory)
        platform.fsync_directory(disk.directory.rpartition("/")[0] or "/")
        self.host.log.notice(
            f"Successfully migrated an old-style AOF configuration ({name}) into the AOF directory "
            f"({self.host.config.appenddirname})."
        )

    async def _load(self, manifest: Manifest) -> AofLoader:
        host = self.host
        loader = AofLoader(host, self.disk.directory, manifest, self._replay)
        host.loading = loader.progress
        host.conditions_changed()
        await loader.run()
        host.platform.settle_memory()
        self.disk.other_bytes = loader.total_bytes
        return loader

    async def _load_rdb(self) -> StreamLoader | None:
        """There is no append-only file: load the RDB file if there is one."""
        loader = await load_at_start(self.host)
        about_to_load(self.host)  # the data set is not safe in the append-only file yet
        if loader is not None:
            self.host.log.warning(
                "appendonly is on and there is no append-only file, but an RDB file: its data set was loaded, and the "
                "append-only file begins with it. (Redis would have started empty.)"
            )
        return loader

    async def _begin_with_base(self, manifest: Manifest) -> Manifest:
        """Write the data set as the base; the manifest that names it is still to be persisted. Raises OSError."""
        temporary, size, is_rdb = await self.rewriter.write_base()
        manifest = manifest.with_base(is_rdb=is_rdb, keep=0)
        assert manifest.base is not None
        self.host.log.notice(f"Creating AOF base file {manifest.base.name} on server start")
        self.host.platform.replace(self.disk.path(temporary), self.disk.path(manifest.base.name))
        self.disk.other_bytes = size
        return manifest

    async def _open(self, manifest: Manifest) -> None:
        """Append to the last increment, or to a first one. Raises OSError."""
        in_thread, disk, log = self.host.platform.in_thread, self.disk, self.host.log
        if not self.host.config.aof_disable_auto_gc:
            await in_thread(self._remove_history, manifest)
            manifest = manifest.without_history()
        if manifest.increments and manifest.without_history() == self.manifest.without_history():
            name = manifest.increments[-1].name
            log.notice(f"Opening AOF incr file {name} on server start")
            if manifest != self.manifest:
                await in_thread(disk.persist, manifest)
            await in_thread(disk.reopen, name)
        else:
            manifest = manifest.with_increment()
            turn = Turn(manifest.increments[-1].name, manifest)
            log.notice(f"Creating AOF incr file {turn.name} on server start")
            disk.todo.append(turn)
            await in_thread(disk.drain)
            if not turn.done or turn.error is not None:
                disk.todo.clear()
                raise turn.error or (disk.failure.error if disk.failure is not None else OSError())
        self._base_bytes = self.current_bytes

    def _remove_history(self, manifest: Manifest) -> None:
        for file in manifest.history:
            self.host.platform.remove_if_there(self.disk.path(file.name))

    def _keep_history(self, wanted: bool) -> None:
        """CONFIG SET aof-disable-auto-gc: what was kept goes, unless a rewrite runs, which removes it at its end."""
        manifest = self.manifest
        if wanted or not self.is_on or self.rewriter.background is not None or not manifest.history:
            return
        try:
            self._remove_history(manifest)
        except OSError as error:
            self.host.log.warning(f"Error removing the history files: {error.strerror or error}")
            return  # the manifest goes on telling of them
        self.writer.order(Install([], manifest.without_history()))
        self.writer.flush_now()

    # --- turned on and off ----------------------------------------------------------------------------------------

    def set_on(self, on: bool) -> None:
        """CONFIG SET appendonly. Raises ConfigError."""
        if on and not self.is_on:
            self.turn_on()
        elif not on and self.is_on:
            self.turn_off()

    def turn_on(self) -> None:
        """Begin: a rewrite makes the base, and only then is the file good for anything. Raises ConfigError."""
        log = self.host.log
        self._move()
        try:
            if self.disk.manifest is None:  # else its numbers go on
                self.read_manifest()
            self.disk.make_directory()
        except (LoadError, OSError) as error:
            log.warning(f"Can't open or create append-only dir {self.host.config.appenddirname}: {error}")
            raise ConfigError(CANNOT_TURN_ON) from None
        self.state = State.WAIT_REWRITE
        if self.rewriter.background is not None:  # one that knows of no increment
            self.rewriter.cancel()
        if self.must_wait:
            log.notice(
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to "
                "start when possible."
            )
            self.rewriter.schedule()
        else:
            self.rewriter.begin()

    def turn_off(self) -> None:
        """End: what has been taken is on the disk when this returns."""
        was_waiting = self.state is State.WAIT_REWRITE
        self.rewriter.scheduled = False
        self.rewriter.cancel()
        self.close()
        if was_waiting:
            self.host.platform.remove_if_there(self.disk.path(self.manifest.temporary_increment))

    def close(self) -> None:
        """Write and fsync everything, and append no more."""
        if self.state is State.OFF:
            return
        self._listen(False)
        self.writer.flush_now()
        self.disk.todo.append(Close())
        self.disk.drain()
        self.state = State.OFF
        self.disk.close()
        self.writer.forget()

    def end(self) -> None:
        """The node ends, for whatever reason: what has been taken is kept if that can be."""
        if self.state is not State.OFF:
            self.writer.append_buffer()
            self.disk.todo.append(Close())
            self.disk.drain()
            self.state = State.OFF
        self.writer.close()

    def data_set_replaced(self) -> None:
        """The data set is another one, of which the journal did not tell: a primary's. Begin anew with it."""
        if self.state is State.OFF:
            return
        self.rewriter.cancel()
        self.writer.flush_now()
        self._listen(False)
        self.state = State.WAIT_REWRITE
        if self.must_wait:
            self.rewriter.schedule()
        else:
            self.rewriter.begin()

    def _listen(self, wanted: bool) -> None:
        if wanted != self._listens:
            self._listens = wanted
            (self.host.journal.add_reader if wanted else self.host.journal.remove_reader)(self.writer)

    def may_end(self, force: bool) -> bool:
        """May the node end? Not while its first base is being written, unless forced. It is written and fsynced."""
        log = self.host.log
        if self.rewriter.background is not None:
            if self.state is State.WAIT_REWRITE:
                if not force:
                    log.warning("Writing initial AOF, can't exit.")
                    return False
                log.warning("Writing initial AOF. Exit anyway.")
            log.warning("There is a child rewriting the AOF. Killing it!")
            self.rewriter.cancel()
        if self.state is State.ON:
            log.notice("Calling fsync() on the AOF file.")
            if not self.writer.flush_now():
                log.warning(f"Fail to fsync the AOF file: {self.writer.failure_reason}.")
        return True

    # --- rewriting ------------------------------------------------------------------------------------------------

    def new_increment(self) -> Turn | None:
        """A rewrite begins: where what is journalled from now on is to go."""
        if self.state is State.OFF:
            return None
        if self.state is State.WAIT_REWRITE:
            self._listen(True)
            return Turn(self.manifest.temporary_increment, None)
        manifest = self.manifest.with_increment()
        return Turn(manifest.increments[-1].name, manifest)

    def plan_install(self, temporary: str, is_rdb: bool) -> tuple[Manifest, list[tuple[str, str]]]:
        """The manifest with a new base in it, and which files get their names before."""
        manifest, renames = self.manifest, []
        if self.state is State.WAIT_REWRITE:
            manifest = manifest.with_increment()
            renames = [(manifest.temporary_increment, manifest.increments[-1].name)]
        manifest = manifest.with_base(is_rdb=is_rdb, keep=0 if self.state is State.OFF else 1)
        assert manifest.base is not None
        return manifest, [(temporary, manifest.base.name), *renames]

    def installed(self, base_bytes: int) -> None:
        """The new files are the append-only file."""
        self.disk.other_bytes = base_bytes
        self._base_bytes = self.current_bytes
        if self.state is State.WAIT_REWRITE:
            self.state = State.ON
            self.writer.fsynced()

    def rewrite_failed(self, temporary: str) -> None:
        """All is as before; a file that is still to begin tries again."""
        self.host.platform.remove_if_there(self.disk.path(temporary))
        if self.state is State.WAIT_REWRITE:
            self._listen(False)
            unfinished = self.manifest.temporary_increment
            self.host.log.notice(f"Removing the temp incr aof file {unfinished} in the background")
            self.host.platform.remove_if_there(self.disk.path(unfinished))
            self.rewriter.scheduled = True

    def _drained(self) -> None:
        if self.state is State.ON and self.rewriter.background is None and self.growth_percent is not None:
            self.rewriter.look()

    @property
    def current_bytes(self) -> int:
        """How long all files are together."""
        return self.disk.other_bytes + self.disk.size

    @property
    def growth_percent(self) -> int | None:
        """By how much the files have grown since the last rewrite, if that is enough for another."""
        config, current = self.host.config, self.current_bytes
        percentage = config.auto_aof_rewrite_percentage
        if self.state is not State.ON or not percentage or current <= config.auto_aof_rewrite_min_size:
            return None
        base = self._base_bytes or 1
        growth = current * 100 // base - 100
        return growth if growth >= percentage else None

    # --- reading it again -----------------------------------------------------------------------------------------

    def load_now(self) -> AofLoader:
        """DEBUG LOADAOF: load what is in the files while everybody waits. The keyspace is empty. Raises LoadError."""
        host = self.host
        loader = AofLoader(host, self.disk.directory, self.read_manifest(), self._replay)
        host.loading = loader.progress  # a long script in the files lets clients look in
        host.conditions_changed()
        try:
            with host.journal.silence():
                loader.run_now()
        finally:
            host.loading = None
            host.conditions_changed()
        return loader

    # --- what is told of it ---------------------------------------------------------------------------------------

    @property
    def refuses_writes(self) -> bool:
        """What has been written so far could not be appended."""
        return self.is_on and not self.writer.last_write_ok

    def info(self) -> dict[str, int | str]:
        """The fields of INFO's persistence section, in order."""
        rewriter, writer = self.rewriter, self.writer
        fields: dict[str, int | str] = {
            "aof_enabled": int(self.is_on),
            "aof_rewrite_in_progress": int(rewriter.background is not None),
            "aof_rewrite_scheduled": int(rewriter.scheduled),
            "aof_last_rewrite_time_sec": rewriter.last_s,
            "aof_current_rewrite_time_sec": rewriter.current_s,
            "aof_last_bgrewrite_status": "ok" if rewriter.last_ok else "err",
            "aof_rewrites": rewriter.count,
            "aof_rewrites_consecutive_failures": rewriter.failures,
            "aof_last_write_status": "ok" if writer.last_write_ok else "err",
            "aof_last_cow_size": 0,
            "module_fork_in_progress": 0,
            "module_fork_last_cow_size": 0,
        }
        if self.is_on:
            fields |= {
                "aof_current_size": self.current_bytes,
                "aof_base_size": self._base_bytes,
                "aof_pending_rewrite": int(rewriter.scheduled),
                "aof_buffer_length": writer.buffer_bytes,
                "aof_pending_bio_fsync": writer.pending_fsyncs,
                "aof_delayed_fsync": writer.delayed_fsyncs,
            }
        return fields


def _never() -> bool:
    return False


def _nothing() -> None:
    pass
