"""Loading: an RDB's bytes into the keyspace, from a file at start or from a primary.

`StreamLoader` is sans-IO and in slices: `feed` it what came, `step` it between requests. `load_at_start` drives it over
the node's file while clients get -LOADING, and `load_replacement` over one that a primary has sent; `load_now` does the
same while everybody waits (DEBUG RELOAD).

A broken file is never taken in part: the node says where it is broken and what to do, and does not start.
"""

from collections.abc import Awaitable, Callable
from typing import IO, Any

from node.keyspace.database import Database
from node.net.resp import CommandError
from node.persistence import slowness
from node.persistence.host import PersistenceHost, path_of
from node.rdb.codec import RdbError
from node.rdb.reader import Aux, End, Entries, Function, RdbReader, SelectDb
from node.rdb.types import Entry

STEP_KEYS = 1000
"""Keys between two looks at the clock: about a millisecond of short ones."""
SLICE_NS = 1_000_000
"""How long one slice of a load holds the loop while requests are served."""
SLICES_AT_ONCE = 10
"""So many of them may follow upon one another, once a load."""
START_SLICE_NS = 10_000_000
"""Slices at start may be longer than between requests: all that clients can get is -LOADING."""
READ_BYTES = 1024 * 1024
"""A file is read in pieces of this size; one that is no longer is small."""
SKIPPED_TOLD_MAX = 10
"""Of so many keys without a value the names are told."""


class LoadError(Exception):
    """The data set cannot be loaded; the text is for people, and names the file, the place and the next step."""


class Loading:
    """The progress of a load, as INFO tells it: `host.loading` while it goes on."""

    def __init__(self, started_s: int, total_bytes: int) -> None:
        self.started_s = started_s
        self.total_bytes = total_bytes
        self.loaded_bytes = 0
        self.rdb_used_memory = 0

    def info(self, now_s: int) -> dict[str, int | str]:
        """The fields that INFO's persistence section has while a data set is loaded, in order."""
        passed_s = now_s - self.started_s
        if not self.loaded_bytes:
            share, eta_s = 0.0, 1
        else:
            share = 100 * self.loaded_bytes / self.total_bytes if self.total_bytes else 1.0
            eta_s = passed_s * max(0, self.total_bytes - self.loaded_bytes) // self.loaded_bytes
        return {
            "loading_start_time": self.started_s,
            "loading_total_bytes": self.total_bytes,
            "loading_rdb_used_mem": self.rdb_used_memory,
            "loading_loaded_bytes": self.loaded_bytes,
            "loading_loaded_perc": f"{share:.2f}",
            "loading_eta_seconds": eta_s,
        }


class StreamLoader:
    """Fills databases from an RDB that arrives piece by piece.

    `keep`: what is there stays, and nothing of it may come again; unless `merge` lets what comes take its place. Else
    the databases are empty, and the libraries of functions are replaced.
    `drop_expired_ms`: keys that were past their deadline at this time are left out and counted (a primary's file);
    None takes all (a replica waits for its primary's word).
    """

    def __init__(
        self,
        host: PersistenceHost,
        databases: list[Database],
        *,
        drop_expired_ms: int | None = None,
        keep: bool = False,
        merge: bool = False,
    ) -> None:
        self.aux: dict[bytes, bytes] = {}
        self.functions: list[bytes] = []
        self.keys_loaded = self.keys_expired = self.keys_skipped = 0
        self.expired: list[tuple[int, bytes]] | None = []
        """(database, key) of what was left out; None: more than a backlog could tell the replicas of."""
        self._expired_bytes = 0
        self.keys_step = 0  # how many keys the last step took
        self._databases = databases
        self._db = databases[0]
        self._now_s = host.platform.now_ms() // 1000
        self._clock_ns = host.clock_ns
        self._config = host.config
        self._log = host.log
        self._drop_expired_ms = drop_expired_ms
        self._keep = keep
        self._merge = merge
        self._reader = RdbReader(host.checksums_matter)

    @property
    def finished(self) -> bool:
        return self._reader.ended

    @property
    def rest(self) -> bytes:
        """What followed the end."""
        return self._reader.rest

    @property
    def loaded_bytes(self) -> int:
        return self._reader.offset

    @property
    def replication(self) -> tuple[int, bytes, int] | None:
        """(database selected in the stream, replication id, offset) of the one who wrote it, if it said so."""
        aux = self.aux
        try:
            return int(aux[b"repl-stream-db"]), aux[b"repl-id"], int(aux[b"repl-offset"])
        except (KeyError, ValueError):
            return None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; `step` loads them."""
        self._reader.feed(data)

    def step(self, budget_ns: int = SLICE_NS, most: int = STEP_KEYS) -> bool:
        """Load for about `budget_ns`; False once all that was fed is loaded. Raises RdbError.

        Where each key is to be slow (`key-load-delay`), a step loads few.
        """
        reader, clock_ns = self._reader, self._clock_ns
        if delay_us := self._config.key_load_delay:
            most, budget_ns = slowness.step_keys(delay_us, most), 0
        end_ns = clock_ns() + budget_ns
        before = self.keys_loaded
        while (item := reader.next_batch(most)) is not None:
            if type(item) is Entries:
                self._take(item)
            elif type(item) is SelectDb:
                self._select(item.db)
            elif type(item) is Aux:
                self._note(item)
            elif type(item) is Function:
                self.functions.append(item.code)
            elif type(item) is End:
                break
            if clock_ns() >= end_ns:
                self.keys_step = self.keys_loaded - before
                return True
        self.keys_step = self.keys_loaded - before
        return False

    @property
    def summary(self) -> str:
        """What is said once all is loaded."""
        skipped = f", empty keys skipped: {self.keys_skipped}" if self.keys_skipped else ""
        return f"Done loading RDB, keys loaded: {self.keys_loaded}, keys expired: {self.keys_expired}{skipped}."

    def finish(self) -> None:
        """Nothing more comes. Raises RdbError if the end was not reached."""
        self._reader.finish()

    def take_functions(self, functions: Any) -> None:
        """Have the libraries of functions that came. Raises RdbError."""
        try:
            if self._keep:
                functions.restore(self.functions, replace=self._merge, limited=False)
            else:
                functions.replace_all(self.functions)
        except CommandError as error:
            why = bytes(error.reply).decode("utf-8", "replace").removeprefix("ERR ")
            raise RdbError(self.loaded_bytes, f"Failed creating the library from RDB: {why}") from None

    def _select(self, number: int) -> None:
        if number >= len(self._databases):
            raise RdbError(
                self._reader.offset,
                f"FATAL: Data file was created with a Redis server configured to handle more than "
                f"{len(self._databases)} databases",
            )
        self._db = self._databases[number]

    def _take(self, batch: Entries) -> None:
        entries = batch.items
        limit_ms = self._drop_expired_ms
        if limit_ms is not None:
            alive = [entry for entry in entries if entry[2] is None or entry[2] >= limit_ms]
            if len(alive) < len(entries):
                self._leave_out([key for key, _, at_ms in entries if at_ms is not None and at_ms < limit_ms])
            entries = alive
        db = self._db
        if self._merge:
            _put_over(db, entries)
        else:
            before = db.size
            db.load(entries)
            if db.size - before != len(entries):
                raise RdbError(self._reader.offset, f"RDB has a duplicated key in DB {db.index}")
        self.keys_loaded += len(entries)
        for key in batch.skipped:
            self.keys_skipped += 1
            if self.keys_skipped <= SKIPPED_TOLD_MAX:
                self._log.notice(f"Loading RDB: skipping empty key: {key.decode('utf-8', 'backslashreplace')}")
        for key, seconds in batch.idle_s.items():
            db.set_idle_seconds(key, seconds)
        for key, count in batch.freq.items():
            db.set_use_count(key, count)

    def _leave_out(self, keys: list[bytes]) -> None:
        self.keys_expired += len(keys)
        self._expired_bytes += sum(map(len, keys))
        if self._expired_bytes > self._config.repl_backlog_size:
            self.expired = None
        if self.expired is not None:
            self.expired += [(self._db.index, key) for key in keys]

    def _note(self, field: Aux) -> None:
        self.aux[field.name] = field.value
        if field.name == b"redis-ver":
            self._log.notice(f"Loading RDB produced by version {field.value.decode('utf-8', 'replace')}")
        elif field.name == b"ctime":
            self._log.notice(f"RDB age {max(0, self._now_s - _number(field.value))} seconds")
        elif field.name == b"used-mem":
            self._log.notice(f"RDB memory usage when created {_number(field.value) / (1 << 20):.2f} Mb")
        elif field.name == b"aof-base" and _number(field.value):
            self._log.notice("RDB is base AOF")


def _number(value: bytes) -> int:
    """A field that only informs: 0 where it is no number."""
    return int(value) if value.isdigit() and len(value) < 20 else 0


def _put_over(db: Database, entries: list[Entry]) -> None:
    for key, value, deadline_ms in entries:
        db.set(key, value)
        if deadline_ms is not None:
            db.set_deadline(key, deadline_ms)


# --- the node's file --------------------------------------------------------------------------------------------------


def about_to_load(host: PersistenceHost) -> None:
    """The node may be reached before its data set is there: clients get -LOADING from now on."""
    host.loading = Loading(host.platform.now_ms() // 1000, 0)
    host.conditions_changed()


async def load_at_start(host: PersistenceHost) -> StreamLoader | None:
    """Load the node's RDB file; None if there is none.

    Clients may be connected: they get -LOADING until this is over, and INFO tells the progress. Raises LoadError, and
    then -LOADING stays: what has been loaded so far is nobody's to read or to save.
    """
    opened = _open(host)
    if opened is not None:
        file, load = opened
        host.loading = load.progress
        host.conditions_changed()
        with file:
            await load.run(file)
        load.report()
        host.platform.settle_memory()
    host.loading = None
    host.conditions_changed()
    return None if opened is None else load.loader


async def load_replacement(
    host: PersistenceHost,
    file: IO[bytes],
    total_bytes: int,
    make_room: Callable[[], Awaitable[None]],
    meanwhile: Callable[[], None],
) -> StreamLoader:
    """Load an RDB file that is to be the node's in the place of the data set, which `make_room` drops.

    The first piece is read before that: a small data set changes places between two requests, and no client gets
    -LOADING for it. `host.loading` tells the progress; its end is the caller's to tell. `meanwhile` is called between
    slices. Raises RdbError, OSError; what has been loaded by then is the caller's to drop, and so it is where this is
    called off.
    """
    load = _FileLoad(host, path_of(host, host.config.dbfilename), total_bytes)
    first = await load.read(file)
    host.loading = load.progress
    host.conditions_changed()
    await make_room()
    await load.take(file, meanwhile, first)
    load.report()
    return load.loader


def load_now(host: PersistenceHost, *, keep: bool = False, merge: bool = False) -> StreamLoader | None:
    """Load the node's RDB file while everybody waits; None if there is none. Raises LoadError.

    keep, merge -- see `StreamLoader`.
    """
    opened = _open(host, keep=keep, merge=merge)
    if opened is None:
        return None
    file, load = opened
    with file:
        load.run_now(file)
    load.report()
    return load.loader


class _FileLoad:
    """One load of the node's file, and what is said about it."""

    def __init__(
        self, host: PersistenceHost, path: str, total_bytes: int, *, keep: bool = False, merge: bool = False
    ) -> None:
        self.host = host
        self.path = path
        self.started_ns = host.clock_ns()
        now_ms = host.platform.now_ms()
        self.progress = Loading(now_ms // 1000, total_bytes)
        limit_ms = None if host.journal.relaying else now_ms
        self.loader = StreamLoader(host, host.keyspace.databases, drop_expired_ms=limit_ms, keep=keep, merge=merge)

    async def read(self, file: IO[bytes]) -> bytes:
        """The next piece of the file; clients are looked after meanwhile. Raises OSError."""
        platform = self.host.platform
        interval_bytes: int = self.host.config.loading_process_events_interval_bytes
        data: bytes = await platform.in_thread(file.read, min(READ_BYTES, interval_bytes))
        await platform.checkpoint()  # a moment at which we may be called off: waiting for a thread is none
        return data

    async def run(self, file: IO[bytes]) -> None:
        """Load it all, between requests. Raises LoadError."""
        try:
            await self.take(file, _nothing)
        except (RdbError, OSError) as error:
            raise self.failure(error) from error

    async def take(self, file: IO[bytes], meanwhile: Callable[[], None], first: bytes = b"") -> None:
        """Load it all, between requests; `first` of it has been read. Raises RdbError, OSError.

        `meanwhile` is called between slices. What is small is loaded without a pause, even if others want the
        processor meanwhile.
        """
        left_bytes, data, at_once = self.progress.total_bytes, first, SLICES_AT_ONCE
        while left_bytes > 0 and (data := data or await self.read(file)):
            left_bytes -= len(data)
            self.loader.feed(data)
            data = b""
            while self.step(SLICE_NS if at_once else START_SLICE_NS):
                await self._rest(meanwhile)
                if at_once:
                    at_once -= 1
                    continue
                await self.host.platform.checkpoint()
                meanwhile()
            await self._rest(meanwhile)
        self.finish()

    def run_now(self, file: IO[bytes]) -> None:
        """Load it all, while everybody waits."""
        try:
            while data := file.read(READ_BYTES):
                self.loader.feed(data)
                while self.step(START_SLICE_NS):
                    pass
            self.finish()
        except (RdbError, OSError) as error:
            raise self.failure(error) from error

    def step(self, budget_ns: int) -> bool:
        loader = self.loader
        more = loader.step(budget_ns)
        self.progress.loaded_bytes = loader.loaded_bytes
        self.progress.rdb_used_memory = _number(loader.aux.get(b"used-mem", b""))
        return more

    async def _rest(self, meanwhile: Callable[[], None]) -> None:
        def goes_on() -> bool:
            meanwhile()
            return True

        await slowness.rest_after_loading(self.host, self.loader.keys_step, goes_on)

    def finish(self) -> None:
        """All was read: the libraries of functions come last, since what they do depends on nothing in the file."""
        loader = self.loader
        loader.finish()
        loader.take_functions(self.host.functions)

    def report(self) -> None:
        loader, log = self.loader, self.host.log
        log.notice(loader.summary)
        log.notice(f"DB loaded from disk: {(self.host.clock_ns() - self.started_ns) / 1e9:.3f} seconds")

    def failure(self, error: RdbError | OSError) -> LoadError:
        if isinstance(error, OSError):
            return LoadError(f"Fatal error loading the DB {self.path}: {error.strerror or error}. Exiting.")
        return LoadError(
            f"Fatal error loading the DB {self.path}: {error.reason}, at offset {error.offset} of "
            f"{self.progress.total_bytes} bytes. Nothing was changed: look at it with hexad check or redis-check-rdb, "
            "or put a backup in its place. Terminating server after rdb file reading failure."
        )


def _nothing() -> None:
    pass


def _open(host: PersistenceHost, *, keep: bool = False, merge: bool = False) -> tuple[IO[bytes], _FileLoad] | None:
    path = path_of(host, host.config.dbfilename)
    platform = host.platform
    try:
        if not platform.exists(path):
            return None
        return platform.open_read(path), _FileLoad(host, path, platform.file_size(path), keep=keep, merge=merge)
    except OSError as error:
        raise LoadError(f"Fatal error loading the DB {path}: {error.strerror or error}. Exiting.") from error
