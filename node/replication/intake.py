"""A snapshot on its way in: taken from the primary, and put in the place of the data that is there.

`repl-diskless-load` chooses the way:

- `disabled`: to the disk first. What is there goes on being served meanwhile, and makes room only once the whole
  snapshot lies there, durably; that takes the place of the node's RDB file and is loaded while clients get -LOADING,
  or, if it is small, before the next request. So memory never holds two data sets, and a crash finds the old one or
  the new one.
- `swapdb`: loaded as it comes, beside what is there, which is served on where it is of the same history (else clients
  get -LOADING), and makes room once all of the new data is there. Memory holds both.
- `on-empty-db`: as it comes where there is nothing yet, else by way of the disk.

In each way a transfer that fails loses nothing.
"""

from collections.abc import Callable
from contextlib import suppress

from node.keyspace.database import Database
from node.net.dialogue import Dialogue
from node.persistence.loader import READ_BYTES, Loading, StreamLoader, load_replacement
from node.persistence.slowness import rest_after_loading
from node.rdb.codec import RdbError
from node.replication.handshake import Refused, shown
from node.replication.host import ReplicationHost
from node.replication.landing import Landing, no_longer_wanted

AWAKE_MS = 1000
"""How often the primary is told that we are still here, as long as we say nothing else."""


class Intake:
    """One snapshot. `total_bytes` is -1 where the primary did not say; `io_ms` is when something came last."""

    def __init__(self, host: ReplicationHost, dialogue: Dialogue, *, same_history: bool) -> None:
        self.total_bytes = -1
        self.read_bytes = 0
        self.io_ms = host.timers.monotonic_ms()
        self._host = host
        self._dialogue = dialogue
        self._told_ms = self.io_ms
        self._same_history = same_history
        self._databases: list[Database] = []
        self._loader: StreamLoader | None = None
        self._landing: Landing | None = None

    @property
    def on_disk(self) -> bool:
        """It was taken to the disk, and is still to be loaded."""
        return self._landing is not None

    async def take(self) -> None:
        """Take all of it. Raises Refused, RdbError, DialogueError, OSError, trio.TooSlowError."""
        header = await self._dialogue.patient_line(self._host.config["repl-timeout"])
        if header[:1] == b"-":
            raise Refused(f"MASTER aborted replication with an error: {shown(header[1:])}")
        mark, size = b"", -1
        if header.startswith(b"$EOF:"):
            mark = header[5:]
        elif header[:1] == b"$" and header[1:].isdigit():
            size = int(header[1:])
        else:
            raise Refused(
                f"Bad protocol from MASTER, the first byte is not '$' (we received '{shown(header)}'), are you sure "
                "the host and port are right?"
            )
        self.total_bytes = size
        to_disk = self._goes_to_disk()
        target = "disk" if to_disk else "parser"
        what = "streamed RDB from master with EOF to" if mark else f"{size} bytes from master to"
        self._host.log.notice(f"MASTER <-> REPLICA sync: receiving {what} {target}")
        if to_disk:
            await self._take_to_disk(mark, size)
        else:
            await self._load_as_it_comes(mark, size)

    def _goes_to_disk(self) -> bool:
        mode = self._host.config["repl-diskless-load"]
        return mode == "disabled" or (mode == "on-empty-db" and any(db.size for db in self._host.keyspace.databases))

    @property
    def stream_db(self) -> int:
        """The database that the primary's stream has selected at the snapshot's offset."""
        assert self._loader is not None
        place = self._loader.replication
        return max(0, place[0]) if place is not None else 0

    # --- by way of the disk ---------------------------------------------------------------------------------------

    async def _take_to_disk(self, mark: bytes, size: int) -> None:
        landing = Landing(self._host)
        try:
            if mark:
                while not landing.ends_with(mark):
                    await landing.add(await self._receive())
            else:
                while (left := size - landing.size) > 0:
                    data = await self._receive()
                    self._dialogue.give_back(data[left:])
                    await landing.add(data[:left])
            await landing.seal()
        except BaseException:
            landing.discard()
            raise
        self._landing = landing

    async def load_from_disk(self, give_up: Callable[[], None]) -> None:
        """The snapshot takes the place of the node's file, and then of its data. Raises RdbError, OSError.

        `give_up` is called when the old data is dropped. If then the new cannot be loaded, or this is called off, the
        data set is empty. The file's name is not durable yet: see `settle`.
        """
        host, landing = self._host, self._landing
        assert landing is not None
        dropped, size = False, 0

        async def make_room() -> None:
            nonlocal dropped
            host.saver.give_way()  # no save can begin now, and none that runs will put its file in the place of this
            landing.install()
            dropped = True
            give_up()
            host.log.notice("MASTER <-> REPLICA sync: Flushing old data")
            self._empty()
            while size > READ_BYTES and host.reclaim_more():  # else memory would hold both
                await host.platform.checkpoint()
                self._stay_awake()
            host.log.notice("MASTER <-> REPLICA sync: Loading DB in memory")

        try:
            file, size = landing.reopened()
            with file:
                self._loader = await load_replacement(host, file, size, make_room, self._stay_awake)
            dropped = False
        except BaseException:
            landing.discard()
            raise
        finally:
            if dropped:
                self._empty()  # of what was loaded so far
            host.loading = None
            host.conditions_changed()
            if no_longer_wanted(host):
                landing.remove()

    async def settle(self) -> None:
        """Make it durable that the snapshot has taken the place of the node's file. Raises OSError."""
        if self._landing is not None:
            await self._landing.settle()

    def _empty(self) -> None:
        self._databases = [Database(db.index, self._host.keyspace) for db in self._host.keyspace.databases]
        self._swap()

    # --- as it comes ----------------------------------------------------------------------------------------------

    async def _load_as_it_comes(self, mark: bytes, size: int) -> None:
        host = self._host
        host.log.notice("MASTER <-> REPLICA sync: Loading DB in memory")
        self._databases = [Database(db.index, host.keyspace) for db in host.keyspace.databases]
        self._loader = loader = StreamLoader(host, self._databases)
        progress = Loading(host.platform.now_ms() // 1000, max(0, size))
        beside = self._same_history and host.config["repl-diskless-load"] == "swapdb"
        host.loading_beside, host.loading = (progress, None) if beside else (None, progress)
        host.conditions_changed()
        try:
            if mark:
                await self._load_marked(loader, mark)
            else:
                await self._load_counted(loader, size)
            await host.platform.checkpoint()  # the last moment at which we may have been stopped
        except BaseException as error:
            self._loading_is_over()
            if isinstance(error, Exception):
                host.log.warning(f"Internal error in RDB reading offset {loader.loaded_bytes}: {error}")
            raise

    def _loading_is_over(self) -> None:
        host = self._host
        host.loading_beside = host.loading = None
        host.conditions_changed()

    async def _load_marked(self, loader: StreamLoader, mark: bytes) -> None:
        """A payload that ends with the mark that was announced."""
        while not loader.finished:
            loader.feed(await self._receive())
            await self._load(loader)
        tail = bytearray(loader.rest)
        while len(tail) < len(mark):
            tail += await self._receive()
        if not tail.startswith(mark):
            raise RdbError(self.read_bytes, "the payload does not end with the announced mark")
        self._dialogue.give_back(tail[len(mark) :])

    async def _load_counted(self, loader: StreamLoader, size: int) -> None:
        """A payload of `size` bytes."""
        left = size
        while left > 0:
            data = await self._receive()
            loader.feed(data[:left])
            self._dialogue.give_back(data[left:])
            left -= len(data)
            await self._load(loader)
        loader.finish()

    async def _load(self, loader: StreamLoader) -> None:
        host = self._host
        progress = host.loading or host.loading_beside

        def goes_on() -> bool:
            self._stay_awake()
            return True

        more = True
        while more:
            more = loader.step()
            progress.loaded_bytes = loader.loaded_bytes
            await rest_after_loading(host, loader.keys_step, goes_on)
            if more:
                await host.platform.checkpoint()
                self._stay_awake()

    def put_in_place(self) -> None:
        """All was loaded as it came: what was there before makes room for it. Raises RdbError.

        Until then clients are told that it is loading: in between they would be shown the old data.
        """
        assert self._loader is not None
        try:
            self._loader.take_functions(self._host.functions)
            self._host.log.notice("MASTER <-> REPLICA sync: Flushing old data")
            self._swap()
        finally:
            self._loading_is_over()

    # --- common to all --------------------------------------------------------------------------------------------

    def _swap(self) -> None:
        """Let our databases be the node's, and what was there go in slices."""
        host = self._host
        for db, fresh in zip(host.keyspace.databases, self._databases, strict=True):
            host.keyspace.watching.replace(db, fresh)
            db.swap_contents(fresh)
        host.keyspace.emptied()
        host.keyspace.own_deadlines.clear()  # of keys that are gone
        host.keyspace.waiters.databases_swapped(host.keyspace, *range(len(self._databases)))
        host.reclaim(self._databases)

    async def _receive(self) -> bytes:
        data = await self._dialogue.some(self._host.config["repl-timeout"])
        self.io_ms = self._host.timers.monotonic_ms()
        self.read_bytes += len(data)
        self._host.stats.stream_input_bytes += len(data)
        return data

    def _stay_awake(self) -> None:
        """Now and then a word to the primary. That the link has broken is found out by whoever reads from it next."""
        now_ms = self._host.timers.monotonic_ms()
        if now_ms - self._told_ms >= AWAKE_MS:
            self._told_ms = now_ms
            with suppress(OSError):
                self._dialogue.send_now(b"\n")
