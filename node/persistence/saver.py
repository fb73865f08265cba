"""Saving: SAVE, BGSAVE, save points, the save at the end, and what INFO and LASTSAVE tell of them.

A background save is a Trio task that reads a snapshot in slices between requests, and leaves writing to a thread. One
runs at a time. It may be called off at any moment (FLUSHALL, the end of the node); from then on it changes nothing:
its file gets its name on the loop, after a last look whether it is still wanted.

Changes are counted by `keyspace.dirty`, which never goes back: what is unsaved is its distance from the last save.
"""

import math
from collections.abc import Callable
from typing import IO

from node.keyspace.keyspace import NEVER
from node.persistence.host import PersistenceHost, path_of
from node.persistence.rdbfile import RdbFile
from node.persistence.savepoints import RETRY_MS, judge
from node.persistence.slowness import delay_ms, rest_after_saving
from node.persistence.source import CHUNK_BYTES, RdbSource
from node.timers import Timer

SLICE_NS = 1_000_000
"""How long a background save holds the loop at a time."""
WHOLE_NS = 1 << 60


class CalledOff(Exception):
    """A background save is not wanted any more."""


class Reader:
    """Who wants to read what a background save has written. `slice_ns`: how long it may hold the loop at a time."""

    def __init__(self, slice_ns: Callable[[], int], done: Callable[[IO[bytes] | None, int], None]) -> None:
        self.slice_ns = slice_ns
        self.done = done
        """Called at the end with the open file and its size, or None where there is none."""


class BackgroundSave:
    """A save that is running."""

    def __init__(self, source: RdbSource, dirty: int, started_ms: float, reader: Reader | None) -> None:
        self.source = source
        self.dirty = dirty  # the count of changes that it covers
        self.started_ms = started_ms
        self.reader = reader
        self.wanted = True  # looked at after each wait
        self.file: IO[bytes] | None = None  # for the reader
        self.size = 0

    def tell_reader(self, *, success: bool) -> None:
        """It is over."""
        reader, self.reader = self.reader, None
        if not success and self.file is not None:
            self.file.close()
        if reader is not None:
            reader.done(self.file if success else None, self.size)


class Saver:
    """All saving of one node. `replication_aux` says where replication stands, for the file; None if nowhere."""

    def __init__(self, host: PersistenceHost) -> None:
        self.host = host
        self.replication_aux: Callable[[], tuple[int, str, int] | None] = lambda: None
        self.functions: Callable[[], list[bytes]] = list
        self.must_wait: Callable[[], bool] = _never
        """Whether something else has the disk's attention: a rewrite of the append-only file."""
        self.over: Callable[[], None] = _nobody_waits
        """Called when a background save has ended."""
        self.background: BackgroundSave | None = None
        self.streamed: dict[RdbSource, float] = {}
        """Snapshots that are sent to replicas without a file, and since when: a save in progress, for INFO."""
        self.scheduled = False
        self.saves = 0
        self.last_save_s = host.platform.now_ms() // 1000
        self.last_background_ok = True
        self.last_background_s = -1
        self.keys_loaded = self.keys_expired = 0  # by the last load of a file
        self._saved_dirty = host.keyspace.dirty
        self._saved_ms = math.inf  # so that nothing is asked for before `start`
        self._retry_ms = -math.inf
        self._files = 0
        self._temporary = ""  # the path of the last file, until it was installed
        self._timer: Timer | None = None
        host.keyspace.dirty_reached = self._look_soon
        for name in ("save", "stop-writes-on-bgsave-error"):
            host.config.on_change(name, self._settings_changed)

    @property
    def changes(self) -> int:
        """Changes since the last save."""
        return self.host.keyspace.dirty - self._saved_dirty

    # --- in the foreground ----------------------------------------------------------------------------------------

    def save(self) -> bool:
        """SAVE: write the data set while everybody waits; False (and a line in the log) if that fails."""
        host = self.host
        source = self._new_source()
        file = None
        try:
            file = self._new_file()
            while (chunk := source.next_chunk(WHOLE_NS)) is not None:
                host.platform.block(delay_ms(host.config.rdb_key_save_delay, source.keys_step) / 1000)
                file.write(chunk)
            file.seal()
            file.install()
            file.settle()
        except OSError as error:
            self._log_failure(error)
            if file is not None:
                file.discard()
            return False
        finally:
            source.close()
        self.saves += 1
        host.log.notice("DB saved on disk")
        self._succeeded(host.keyspace.dirty)
        return True

    def save_at_shutdown(self) -> bool:
        """The last save; False if it failed. The caller decides whether there is to be one."""
        return self.save()

    def flushed(self) -> None:
        """FLUSHALL has emptied the data set: the file must not bring it back."""
        self.cancel_background()
        if self.host.config.save:
            self.save()

    # --- in the background ----------------------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Can a background save begin?"""
        return self.background is None and not self.must_wait()

    def begin_background(self, reader: Reader | None = None) -> None:
        """BGSAVE: from this moment on the data set as it is now is being written. None may be running."""
        assert self.background is None
        host = self.host
        # Replicas go on with the journal from there, which tells what becomes of slots that are on their way here.
        source = self._new_source(arriving=reader is not None)
        run = BackgroundSave(source, host.keyspace.dirty, host.timers.monotonic_ms(), reader)
        self.background = run
        self.scheduled = False
        self.saves += 1
        self._retry_ms = host.timers.monotonic_ms() + RETRY_MS
        host.log.notice(f"Background saving started by pid {host.platform.pid}")
        host.spawn(self._run, run)

    def schedule(self) -> None:
        """Begin a background save as soon as the running command is over and none runs any more."""
        self.scheduled = True
        self._look_soon()

    def cancel_background(self, ending: bool = False) -> None:
        """Call off a running save: what it was to write is not wanted any more, or (`ending`) the node ends."""
        run = self.background
        if run is None:
            return
        if ending:
            self.host.log.warning("There is a child saving an .rdb. Killing it!")
        self.background = None
        run.wanted = False
        run.source.close()
        self.host.log.warning("Background saving terminated by signal 10")  # the words of a killed child
        run.tell_reader(success=False)
        self.look()
        self.over()

    def give_way(self) -> None:
        """Another file takes the place of ours: a save that runs must not end after that."""
        if self.background is not None:
            self.host.log.notice(
                "Replica is about to load the RDB file received from the master, but there is a pending RDB child "
                f"running. Killing process {self.host.platform.pid} and removing its temp file to avoid any race"
            )
            self.cancel_background()

    async def _run(self, run: BackgroundSave) -> None:
        try:
            await self._write(run)
        except CalledOff:
            return
        except OSError as error:
            if run.wanted:
                self._failed(run, error)
            return
        if run.wanted:
            self._finished(run)

    async def _write(self, run: BackgroundSave) -> None:
        in_thread = self.host.platform.in_thread
        file: RdbFile = self._new_file()  # quick, and an error here shall have no thread between
        try:
            pending: list[bytes] = []
            size = 0
            while (chunk := run.source.next_chunk(self._slice_ns(run))) is not None:
                pending.append(chunk)
                size += len(chunk)
                if size >= CHUNK_BYTES:
                    await in_thread(file.write, b"".join(pending))
                    pending, size = [], 0
                await self._pause(run)
            await in_thread(file.write, b"".join(pending))
            await in_thread(file.seal)
            self._check(run)
            if run.reader is not None:
                run.file, run.size = file.reopened()
            file.install()
            await in_thread(file.settle)
        except BaseException:
            began_ns = self.host.clock_ns()
            file.discard()
            self.host.latency.add("rdb-unlink-temp-file", (self.host.clock_ns() - began_ns) // 1_000_000)
            raise

    async def _pause(self, run: BackgroundSave) -> None:
        """Let requests be served, and sleep as long as `rdb-key-save-delay` asks for."""
        await self.host.platform.checkpoint()
        await rest_after_saving(self.host, run.source.keys_step, lambda: run.wanted)
        self._check(run)

    @staticmethod
    def _check(run: BackgroundSave) -> None:
        if not run.wanted:
            raise CalledOff

    def _finished(self, run: BackgroundSave) -> None:
        self.background = None
        self.last_background_s = int(self.host.timers.monotonic_ms() - run.started_ms) // 1000
        self.host.log.notice("DB saved on disk")
        self.host.log.notice("Background saving terminated with success")
        self._succeeded(run.dirty)
        run.tell_reader(success=True)
        self.over()

    def _failed(self, run: BackgroundSave, error: OSError) -> None:
        self.background = None
        self.last_background_s = int(self.host.timers.monotonic_ms() - run.started_ms) // 1000
        self._log_failure(error)
        self.host.log.warning("Background saving error")
        self._set_ok(False)
        run.tell_reader(success=False)
        self.look()
        self.over()

    def _succeeded(self, dirty: int) -> None:
        self._saved_dirty = dirty
        self._saved_ms = self.host.timers.monotonic_ms()
        self.last_save_s = self.host.platform.now_ms() // 1000
        self._set_ok(True)
        self.look()

    def _set_ok(self, ok: bool) -> None:
        if ok != self.last_background_ok:
            self.last_background_ok = ok
            self.host.conditions_changed()

    # --- common to both -------------------------------------------------------------------------------------------

    def _new_source(self, *, arriving: bool = False) -> RdbSource:
        return RdbSource(self.host, replication=self.replication_aux(), functions=self.functions(), arriving=arriving)

    def _new_file(self) -> RdbFile:
        """Each save has a temporary name of its own: one that was called off may still be writing."""
        host = self.host
        number, self._files = self._files, self._files + 1
        self._temporary = path_of(host, f"temp-{host.platform.pid}{f'-{number}' if number else ''}.rdb")
        path = path_of(host, host.config.dbfilename)
        return RdbFile(host.platform, path, self._temporary, host.config.rdb_save_incremental_fsync)

    def remove_unfinished(self) -> None:
        """The process ends at once, in the midst of anything: leave no half of a file behind."""
        if self._temporary:
            self.host.platform.remove_if_there(self._temporary)

    def _log_failure(self, error: OSError) -> None:
        host = self.host
        path = path_of(host, host.config.dbfilename)
        host.log.warning(f"Write error saving DB on disk ({path}): {error.strerror or error}")

    def _slice_ns(self, run: BackgroundSave) -> int:
        """Where each key is to be slow, a slice holds as few as can be."""
        if self.host.config.rdb_key_save_delay:
            return 0
        return SLICE_NS if run.reader is None else run.reader.slice_ns()

    # --- save points ----------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Look when the running command is over: it may be one of a transaction."""
        self._set_timer(self.host.timers.monotonic_ms())

    def _settings_changed(self, _value: object) -> None:
        self.host.conditions_changed()
        self.look()

    def look(self) -> None:
        """Begin a save if it is time for one, or else see to it that somebody looks when it may be."""
        host = self.host
        host.keyspace.dirty_awaited = NEVER
        self._set_timer(math.inf)
        if self.background is not None or host.loading is not None or self.must_wait():
            return  # whoever ends that looks again
        if self.scheduled:
            self.begin_background()
            return
        retry_ms = -math.inf if self.last_background_ok else self._retry_ms
        verdict = judge(host.config.save, self.changes, host.timers.monotonic_ms(), self._saved_ms, retry_ms)
        if verdict.point is not None:
            seconds, changes = verdict.point
            host.log.notice(f"{changes} changes in {seconds} seconds. Saving...")
            self.begin_background()
            return
        self._set_timer(verdict.wake_ms)
        if verdict.changes < math.inf:
            host.keyspace.dirty_awaited = self._saved_dirty + int(verdict.changes)

    def _set_timer(self, when_ms: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.host.timers.at(when_ms, self.look) if when_ms < math.inf else None

    def start(self) -> None:
        """The node has its data set: from now on save points count."""
        self._saved_ms = self.host.timers.monotonic_ms()
        self.look()

    def data_set_loaded(self, keys_loaded: int, keys_expired: int) -> None:
        """What is in memory is what a file holds: nothing of it is unsaved."""
        self.keys_loaded, self.keys_expired = keys_loaded, keys_expired
        self._saved_dirty = self.host.keyspace.dirty

    # --- what is told of it ---------------------------------------------------------------------------------------

    @property
    def refuses_writes(self) -> bool:
        """`stop-writes-on-bgsave-error`: the data set cannot be saved though it is to be."""
        config = self.host.config
        return not self.last_background_ok and config.stop_writes_on_bgsave_error and bool(config.save)

    def info(self) -> dict[str, int | str]:
        """The fields of INFO's persistence section up to those of the append-only file, in order."""
        run, now_ms = self.background, self.host.timers.monotonic_ms()
        source, started_ms = (run.source, run.started_ms) if run else next(iter(self.streamed.items()), (None, now_ms))
        return {
            "loading": int(self.host.loading is not None),
            "async_loading": int(self.host.loading_beside is not None),
            "current_cow_peak": 0,
            "current_cow_size": 0,
            "current_cow_size_age": 0,
            "current_fork_perc": f"{100 * source.keys_done / max(1, source.keys_total):.2f}" if source else "0.00",
            "current_save_keys_processed": source.keys_done if source else 0,
            "current_save_keys_total": source.keys_total if source else 0,
            "rdb_changes_since_last_save": self.changes,
            "rdb_bgsave_in_progress": int(source is not None),
            "rdb_last_save_time": self.last_save_s,
            "rdb_last_bgsave_status": "ok" if self.last_background_ok else "err",
            "rdb_last_bgsave_time_sec": self.last_background_s,
            "rdb_current_bgsave_time_sec": int((now_ms - started_ms) / 1000) if source else -1,
            "rdb_saves": self.saves,
            "rdb_last_cow_size": 0,
            "rdb_last_load_keys_expired": self.keys_expired,
            "rdb_last_load_keys_loaded": self.keys_loaded,
        }


def _never() -> bool:
    return False


def _nobody_waits() -> None:
    pass
