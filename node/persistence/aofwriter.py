"""The journal on its way to the append-only file: what is written when, what is fsynced when, and who waits for it.

Entries gather in a buffer. A thread appends it to the file (`node.persistence.aofdisk`), never the loop:

- `always`: as soon as nothing more is there to serve, for now. Everything that would leave the node is held until what
  it may tell of is fsynced: one fsync for all the requests that came closely after one another, and for those that were
  served while the one before was running.
- `everysec`: soon, at most every `PACE_MS`; fsynced once a second. A disk that is slower than `DELAY_MS` makes
  everybody wait, as does a buffer beyond `WAITING_BYTES_MAX`: so writers slow down to the disk's pace, and nothing
  grows for ever.
- `no`: soon; when it becomes durable is the system's affair.

A failed write is tried again every `RETRY_MS`, while commands that write are refused; with `always` the node ends,
since it can no longer keep its word.
"""

from collections.abc import Callable

from node.net.resp import encode_command
from node.persistence.aofdisk import AofDisk, Append, Close, Install, Sync, Turn
from node.persistence.aofsource import time_note
from node.persistence.host import PersistenceHost
from node.timers import Timer

SERVE_ON_MS = 100
"""`always`: how long requests are served while one turn of the thread lasts. A disk that takes longer makes everybody
wait: what would gather meanwhile, entries and replies, has no other bound."""
PACE_MS = 10
"""Between the beginnings of two writes: each costs some ten microseconds, whatever its size."""
FSYNC_MS = 1000
DELAY_MS = 2000
"""`everysec`: how long what is to be written may wait for a slow fsync before everybody waits for it."""
WAITING_BYTES_MAX = 64 << 20
"""How much may wait to be written."""
RETRY_MS = 1000
LOG_ERROR_MS = 30_000
"""How often a write error that goes on is told."""


class AofWriter:
    """Takes the journal's entries while it is one of its readers. `busy` tells whether a snapshot is being written.

    `release` lets go what `before_send` has held until a mark: the number of the turn of the thread, the first being 1,
    after which all is on the disk that had been taken; `fsynced` is called when more has become durable; `drained`
    after each turn; `fatal` is raised where the node cannot go on.
    """

    def __init__(self, host: PersistenceHost, disk: AofDisk, fatal: type[Exception]) -> None:
        self.host = host
        self.disk = disk
        self.release: Callable[[int], None] = _let_go
        self.wake: Callable[[], None] = _nothing
        self.fsynced: Callable[[], None] = _nothing
        self.drained: Callable[[], None] = _nothing
        self.busy: Callable[[], bool] = _never
        self.last_write_ok = True
        self.failure_reason = ""
        self.delayed_fsyncs = 0
        self._fatal = fatal
        self._buffer = bytearray()
        self._buffer_ms = 0.0  # since when there is something in it
        self._db = -1  # the database that the file has selected; -1: none yet
        self._stamps = host.config.aof_timestamp_enabled
        self._stamp_s = 0  # the last note of the time
        self.worker = host.platform.worker()
        self._running = False  # the thread has a turn, or gets one when it is time
        self._turns = 0  # how many have begun
        self._began_ms = 0.0  # when the last one did
        self._due = 0  # the turn after which all that has been taken and ordered is done: never beyond the next
        self._done = 0  # the last turn of which that is known
        self._choked = False
        self._sync_ms = 0.0  # when the last fsync was asked for
        self._sync_timer: Timer | None = None
        self._told_ms: float | None = None
        self._told_offset = 0
        host.config.on_change("aof-timestamp-enabled", self._set_stamps)

    def _set_stamps(self, stamps: bool) -> None:
        self._stamps = stamps

    # --- the journal's side ---------------------------------------------------------------------------------------

    def take_entry(self, db: int, entry: bytes) -> None:
        """The next entry of the journal."""
        buffer = self._buffer
        if not buffer:
            self._buffer_ms = self.host.timers.monotonic_ms()
            self._due = self._turns + 1
            self.wake()
        if self._stamps:
            now_s = self.host.platform.now_ms() // 1000
            if now_s != self._stamp_s:
                self._stamp_s = now_s
                buffer += time_note(now_s)
        if db != self._db:
            self._db = db
            buffer += encode_command([b"SELECT", b"%d" % db])
        buffer += entry

    @property
    def buffer_bytes(self) -> int:
        """How much waits to be written."""
        return len(self._buffer) + sum(len(order.data) for order in list(self.disk.todo) if type(order) is Append)

    @property
    def fsynced_offset(self) -> int:
        """The journal is durable up to here."""
        disk = self.disk
        if not self._buffer and not disk.todo and disk.is_synced and not self._running and disk.is_open:
            return self.host.journal.offset
        return disk.fsynced_offset

    @property
    def pending_fsyncs(self) -> int:
        return sum(type(order) is Sync for order in list(self.disk.todo))

    def before_send(self) -> int:
        """Between a batch and its replies: the mark until which they are to be held."""
        always = self.disk.syncs_always = self.host.config.appendfsync == "always"
        if self._buffer and not always:
            self._kick()
        return self._due if self._due > self._done and (always or self._is_slow()) else 0

    def before_rest(self) -> None:
        """Nothing more is there to serve, for now: what has gathered is to be written.

        An fsync that began earlier, after the first of some batches that follow one another closely, would take as long
        as one for all of them, and those behind it had to wait for two.
        """
        if self._buffer:
            self._kick()

    def is_full(self) -> bool:
        """Output is held: are requests to wait, too?"""
        if not self.disk.syncs_always:
            return True
        return self._turns > self._done and self.host.timers.monotonic_ms() - self._began_ms > SERVE_ON_MS

    def settle(self) -> None:
        """Let what is held go now: whoever asks cannot wait for a thread."""
        self.flush_now()
        self.release(self._due)

    def _fsync_rests(self) -> bool:
        return self.host.config.no_appendfsync_on_rewrite and self.busy()

    def _is_slow(self) -> bool:
        """Is the disk so slow that everybody has to wait for it?"""
        if not self._buffer or not self.last_write_ok:
            return False
        late = self.host.timers.monotonic_ms() - self._buffer_ms > DELAY_MS
        if not late and len(self._buffer) < WAITING_BYTES_MAX:
            return False
        if not self._choked:
            self._choked = True
            self.delayed_fsyncs += 1
            self.host.log.notice(
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for "
                "fsync to complete, this may slow down the server."
            )
        return True

    # --- the disk's side ------------------------------------------------------------------------------------------

    def append_buffer(self) -> None:
        """What has gathered is next to be written; the caller sees to it that it is."""
        if self._buffer:
            self.disk.todo.append(self._next_append())

    def _next_append(self) -> Append:
        """What has gathered; from here on it is the disk's."""
        event = "aof-write-alone"
        if self.pending_fsyncs:
            event = "aof-write-pending-fsync"
        elif self.busy():
            event = "aof-write-active-child"
        data, self._buffer = self._buffer, bytearray()
        return Append(data, self.host.journal.offset, event, self.host.clock_ns())

    def turn(self, turn: Turn) -> None:
        """What has gathered goes into the file at hand, all from now on into another."""
        self.append_buffer()
        self._db = -1
        self._stamp_s = 0
        self.order(turn)

    def order(self, order: Append | Sync | Turn | Install | Close) -> None:
        """Have this done after all that was ordered before."""
        if type(order) is Sync:
            self._sync_ms = self.host.timers.monotonic_ms()
        self.disk.todo.append(order)
        self._due = self._turns + 1
        self._kick()

    def _kick(self) -> None:
        if not self._running:
            self._running = True
            self._begin_turn()

    def _begin_turn(self) -> None:
        """Let the thread do all that there is to do."""
        if self._buffer:
            self.append_buffer()
            if self.host.config.appendfsync == "always" and not self._fsync_rests():
                self.disk.todo.append(Sync())
        self._turns += 1
        self._began_ms = self.host.timers.monotonic_ms()
        self.worker.start(self.disk.drain)

    def turn_is_over(self) -> None:
        """The thread has rung: let go what has waited for this turn, and see what has gathered meanwhile."""
        if not self.worker.is_done():
            return
        self._look()
        if self.disk.failure is not None:
            self._running = self._choked = False
            self.host.timers.after(RETRY_MS, self._retry)
            self.release(self._due)
        elif not (self.disk.todo or self._buffer):
            self._running = self._choked = False
            self._all_done()
            self.release(self._due)
        else:
            self._done = self._turns
            self.release(self._turns)
            if self.disk.todo or self._is_slow():
                self._begin_turn()
            elif self.disk.syncs_always:
                self._running = False  # what those say next who have waited shares the next fsync
            else:
                self.host.timers.at(self._began_ms + PACE_MS, self._begin_turn)

    async def work(self) -> None:
        """Let another thread do what has been ordered, and see what came of it."""
        await self.host.platform.in_thread(self.disk.drain)
        self._look()

    def _retry(self) -> None:
        if self.disk.todo:
            self._kick()

    def flush_now(self) -> bool:
        """Write and fsync everything while everybody waits; False if that failed."""
        self.append_buffer()
        self.disk.todo.append(Sync())
        self.disk.drain()
        self._look()
        if self.disk.failure is not None:
            return False
        self._all_done()
        return True

    def _all_done(self) -> None:
        """Nothing that has been taken is to be waited for; what is taken from now on waits for a turn to come."""
        self._turns = self._done = max(self._turns, self._due)

    def forget(self) -> None:
        """Nothing that has been taken or ordered is wanted any more, nor waited for."""
        self._buffer.clear()
        self._db = -1
        self.disk.todo.clear()
        self._all_done()
        self.release(self._due)
        if self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None

    def close(self) -> None:
        """The node has ended."""
        self.worker.close()

    def _look(self) -> None:
        """The thread has been at work: tell whoever has to know."""
        disk = self.disk
        while disk.delays:
            self.host.latency.add(*disk.delays.popleft())
        if disk.failure is not None:
            self._failed()
        elif not self.last_write_ok:
            self.host.log.warning("AOF write error looks solved. The server can write again.")
            self.last_write_ok = True
            self._told_ms = None
            self.host.conditions_changed()
        if disk.fsynced_offset != self._told_offset:
            self._told_offset = disk.fsynced_offset
            self.fsynced()
        self._plan_sync()
        self.drained()

    def _failed(self) -> None:
        failure, log = self.disk.failure, self.host.log
        assert failure is not None
        now_ms = self.host.timers.monotonic_ms()
        told = self._told_ms is not None and now_ms - self._told_ms < LOG_ERROR_MS
        if not told:
            self._told_ms = now_ms
            log.warning(failure.detail or f"{WORDS[failure.what]}: {failure.reason}")
        self.failure_reason = failure.reason
        if self.host.config.appendfsync == "always":
            if failure.what == "fsync":
                log.warning(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': "
                    f"{failure.reason}. Exiting..."
                )
            else:
                log.warning("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...")
            raise self._fatal(failure.reason)
        if self.last_write_ok:
            self.last_write_ok = False
            self.host.conditions_changed()

    # --- once a second --------------------------------------------------------------------------------------------

    def _plan_sync(self) -> None:
        if self._sync_timer is None and not self.disk.is_synced and self.host.config.appendfsync == "everysec":
            due_ms = max(self.host.timers.monotonic_ms(), self._sync_ms + FSYNC_MS)
            self._sync_timer = self.host.timers.at(due_ms, self._sync)

    def _sync(self) -> None:
        self._sync_timer = None
        if self._fsync_rests():
            self._sync_ms = self.host.timers.monotonic_ms()
            self._plan_sync()
        elif not self.disk.is_synced and not self.pending_fsyncs:
            self.append_buffer()
            self.order(Sync())


WORDS = {
    "write": "Error writing to the AOF file",
    "fsync": "Fail to fsync the AOF file",
    "manifest": "Error persisting the AOF manifest file",
}


def _nothing() -> None:
    pass


def _let_go(_mark: int) -> None:
    pass


def _never() -> bool:
    return False
