"""Writing an append-only file anew, without fork: a base from a snapshot, while a new increment takes the journal.

1. At one moment the snapshot is taken and the writer is told to turn to a new increment, which the manifest names
   before it gets its first byte. (While an append-only file is being turned on: to a temporary one that none names.)
2. A thread writes the base under a temporary name, in pieces, while requests are served.
3. The base gets its name, then a manifest that names it with the increment alone; what came before is history.
4. The history is removed, and then is in no manifest either.

A crash at any instant leaves the old files or the new ones. A failure leaves the old ones, with one increment more.
"""

from typing import TYPE_CHECKING

from node.persistence.aofdisk import Install, Turn
from node.persistence.aofsource import CommandSource
from node.persistence.rdbfile import RdbFile
from node.persistence.slowness import rest_after_saving
from node.persistence.source import CHUNK_BYTES, RdbSource
from node.timers import Timer

if TYPE_CHECKING:
    from node.persistence.aof import AppendOnlyFile

SLICE_NS = 1_000_000
"""How long a rewrite holds the loop at a time."""
FAILURES_MAX = 3
"""After so many failures in a row the next automatic rewrite waits: a minute, then twice as long each time."""
DELAY_MINUTES_MAX = 60
RETRY_MS = 1000


class CalledOff(Exception):
    """A rewrite is not wanted any more."""


class Rewrite:
    """A rewrite that is running. `turn` leads the writer to the new increment, None if nothing is appended."""

    def __init__(self, source: RdbSource | CommandSource, temporary: str, turn: Turn | None, started_ms: float) -> None:
        self.source = source
        self.temporary = temporary
        self.turn = turn
        self.is_rdb = isinstance(source, RdbSource)
        self.started_ms = started_ms
        self.written_bytes = 0
        self.wanted = True  # looked at after each wait


class Rewriter:
    """All rewriting of one node's append-only file. One runs at a time."""

    def __init__(self, aof: "AppendOnlyFile") -> None:
        self.aof = aof
        self.host = aof.host
        self.background: Rewrite | None = None
        self.scheduled = False
        self.count = 0
        self.failures = 0  # in a row
        self.last_ok = True
        self.last_s = -1
        self._not_before_ms = -1.0
        self._delay_minutes = 0
        self._runs = 0
        self._timer: Timer | None = None

    # --- when -----------------------------------------------------------------------------------------------------

    def ask(self) -> bool:
        """BGREWRITEAOF: begin at once; False if that has to wait for a save or for the end of a transaction."""
        self.failures = self._delay_minutes = 0
        self._not_before_ms = -1.0
        if self.aof.must_wait:
            self.schedule()
            return False
        self.begin()
        return True

    def schedule(self) -> None:
        """Begin as soon as nothing stands in the way."""
        self.scheduled = True
        self._look_in(0)

    def _look_in(self, delay_ms: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.host.timers.after(delay_ms, self.look)

    def look(self) -> None:
        """Begin a rewrite if one is scheduled or the file has grown enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        aof, host = self.aof, self.host
        if self.background is not None or host.loading is not None or aof.must_wait:
            return  # whoever ends that looks again
        left_ms = self._not_before_ms - host.timers.monotonic_ms()
        growth = aof.growth_percent
        if not self.scheduled and growth is None:
            return
        if left_ms > 0:
            self._look_in(left_ms)
            return
        if not self.scheduled:
            host.log.notice(f"Starting automatic rewriting of AOF on {growth}% growth")
        self.begin()

    # --- the rewrite ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From this moment on the data set as it is now is being written. None may be running, nor a transaction."""
        host, aof = self.host, self.aof
        assert self.background is None and not host.journal.in_unit
        host.read_clock()
        self.scheduled = False
        self.count += 1
        turn = aof.new_increment()
        if turn is not None:
            host.log.notice(f"Creating AOF incr file {turn.name} on background rewrite")
            aof.writer.turn(turn)
        self._runs += 1
        temporary = f"temp-rewriteaof-bg-{self._runs}.aof"
        self.background = run = Rewrite(self._source(), temporary, turn, host.timers.monotonic_ms())
        host.log.notice(f"Background append only file rewriting started by pid {host.platform.pid}")
        host.spawn(self._run, run)

    def _source(self) -> RdbSource | CommandSource:
        functions = self.aof.functions()
        if self.host.config.aof_use_rdb_preamble:
            return RdbSource(self.host, functions=functions, aof_base=True, arriving=True)
        return CommandSource(self.host, functions)

    def cancel(self) -> None:
        """Call off a running rewrite: what it was to write is not wanted any more."""
        run = self.background
        if run is None:
            return
        self.host.log.notice(f"Killing running AOF rewrite child: {self.host.platform.pid}")
        self.background = None
        run.wanted = False
        run.source.close()

    async def _run(self, run: Rewrite) -> None:
        try:
            await self._write(run)
            await self._settle_turn(run)
            await self._install(run)
        except CalledOff:
            return
        except OSError as error:
            if run.wanted:
                self._failed(run, error)
            return
        await self._remove_history()
        if run.wanted:
            self._finished(run)

    async def write_base(self) -> tuple[str, int, bool]:
        """Write a base while nothing changes, at the start: its temporary name, its size, and whether it is an RDB."""
        run = Rewrite(self._source(), "temp-rewriteaof-bg-0.aof", None, self.host.timers.monotonic_ms())
        await self._write(run)
        return run.temporary, run.written_bytes, run.is_rdb

    async def _write(self, run: Rewrite) -> None:
        """Write the base, whole and fsynced, under its temporary name. Raises OSError, CalledOff."""
        host, disk = self.host, self.aof.disk
        in_thread = host.platform.in_thread
        file = None
        try:
            await in_thread(disk.make_directory)
            path = disk.path(run.temporary)
            file = RdbFile(host.platform, path, path, host.config.aof_rewrite_incremental_fsync)
            pending: list[bytes] = []
            size = 0
            while (chunk := run.source.next_chunk(self._slice_ns())) is not None:
                pending.append(chunk)
                size += len(chunk)
                run.written_bytes += len(chunk)
                if size >= CHUNK_BYTES:
                    await in_thread(file.write, b"".join(pending))
                    pending, size = [], 0
                await host.platform.checkpoint()
                await rest_after_saving(host, run.source.keys_step, lambda: run.wanted)
                self._check(run)
            await in_thread(file.write, b"".join(pending))
            await in_thread(file.seal)
            self._check(run)
        except BaseException:
            if file is not None:
                file.discard()
            raise
        finally:
            run.source.close()
        host.log.notice(f"Successfully created the temporary AOF base file {run.temporary}")

    def _slice_ns(self) -> int:
        """Where each key is to be slow, a slice holds as few as can be."""
        return 0 if self.host.config.rdb_key_save_delay else SLICE_NS

    async def _settle_turn(self, run: Rewrite) -> None:
        """Wait until the new increment is there. Raises OSError."""
        turn = run.turn
        if turn is None:
            return
        await self._done(turn)
        self._check(run)
        if turn.error is not None:
            raise turn.error

    async def _done(self, order: Turn | Install) -> None:
        """Return once an order has been carried out or refused; a disk that fails for now is waited for."""
        platform = self.host.platform
        while not order.done:
            await self.aof.writer.work()
            if not order.done:
                if order not in self.aof.disk.todo and not order.done:
                    raise CalledOff
                await platform.sleep_until_ms(platform.monotonic_ms() + RETRY_MS)

    async def _install(self, run: Rewrite) -> None:
        """Let the new files be the append-only file. Raises OSError."""
        aof, log = self.aof, self.host.log
        log.notice("Background AOF rewrite terminated with success")
        manifest, renames = aof.plan_install(run.temporary, run.is_rdb)
        told = list(renames)
        install = Install(renames, manifest)
        aof.writer.order(install)
        await self._done(install)
        if install.error is not None:
            raise install.error
        for (old, new), kind in zip(told, ("base", "incr"), strict=False):
            log.notice(f"Successfully renamed the temporary AOF {kind} file {old} into {new}")
        if run.wanted:
            aof.installed(run.written_bytes)

    async def _remove_history(self) -> None:
        """Remove what no manifest needs; what cannot be removed now goes with the next rewrite."""
        aof, platform = self.aof, self.host.platform
        manifest = aof.manifest
        if not manifest.history or self.host.config.aof_disable_auto_gc:
            return
        for file in manifest.history:
            self.host.log.notice(f"Removing the history file {file.name} in the background")
            try:
                await platform.in_thread(platform.remove, aof.disk.path(file.name))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.host.log.warning(f"Error removing the history file {file.name}: {error.strerror or error}")
                return  # the manifest goes on telling of it
        if aof.manifest is manifest:
            forget = Install([], manifest.without_history())
            aof.writer.order(forget)
            await self._done(forget)
            if forget.error is not None:
                why = forget.error.strerror or forget.error
                self.host.log.warning(f"Error persisting the AOF manifest file without its history: {why}")

    @staticmethod
    def _check(run: Rewrite) -> None:
        if not run.wanted:
            raise CalledOff

    def _finished(self, run: Rewrite) -> None:
        self._over(run)
        self.last_ok = True
        self.failures = self._delay_minutes = 0
        self.host.log.notice("Background AOF rewrite finished successfully")
        self.aof.saver_may_begin()
        self.look()

    def _failed(self, run: Rewrite, error: OSError) -> None:
        self._over(run)
        self.last_ok = False
        self.failures += 1
        log = self.host.log
        log.warning(f"Error writing the AOF base file {run.temporary}: {error.strerror or error}")
        log.warning("Background AOF rewrite terminated with error")
        if self.failures >= FAILURES_MAX:
            self._delay_minutes = min(DELAY_MINUTES_MAX, 2 * self._delay_minutes or 1)
            self._not_before_ms = self.host.timers.monotonic_ms() + self._delay_minutes * 60_000
            log.warning(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in "
                f"{self._delay_minutes} minutes"
            )
        self.aof.rewrite_failed(run.temporary)
        self.aof.saver_may_begin()
        self._look_in(RETRY_MS)

    def _over(self, run: Rewrite) -> None:
        self.background = None
        self.last_s = int(self.host.timers.monotonic_ms() - run.started_ms) // 1000

    @property
    def current_s(self) -> int:
        """How long the running rewrite has taken; -1 if none runs."""
        run = self.background
        return -1 if run is None else int(self.host.timers.monotonic_ms() - run.started_ms) // 1000
