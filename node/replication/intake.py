"""A snapshot on its way in: taken from the primary and loaded at once, beside the data that is there.

So what is there goes on being served until the new data set is whole, and a transfer that fails loses nothing.
"""

from node.keyspace.database import Database
from node.net.dialogue import Dialogue
from node.persistence.loader import StreamLoader
from node.rdb.codec import RdbError
from node.replication.handshake import Refused, shown
from node.replication.host import ReplicationHost

AWAKE_MS = 1000
"""How often the primary is told that we are still here, as long as we say nothing else."""


class Intake:
    """One snapshot. `total_bytes` is -1 where the primary did not say; `io_ms` is when something came last."""

    def __init__(self, host: ReplicationHost, dialogue: Dialogue) -> None:
        self.total_bytes = -1
        self.read_bytes = 0
        self.io_ms = host.timers.monotonic_ms()
        self._host = host
        self._dialogue = dialogue
        self._told_ms = self.io_ms
        keyspace = host.keyspace
        self._databases = [Database(db.index, keyspace) for db in keyspace.databases]
        self._loader: StreamLoader | None = None

    async def take(self) -> None:
        """Take all of it. Raises Refused, RdbError, DialogueError, OSError, trio.TooSlowError."""
        header = await self._dialogue.patient_line(self._host.config["repl-timeout"])
        if header[:1] == b"-":
            raise Refused(f"MASTER aborted replication with an error: {shown(header[1:])}")
        if header.startswith(b"$EOF:"):
            await self._take_marked(header[5:])
        elif header[:1] == b"$" and header[1:].isdigit():
            await self._take_counted(int(header[1:]))
        else:
            raise Refused(
                f"Bad protocol from MASTER, the first byte is not '$' (we received '{shown(header)}'), are you sure "
                "the host and port are right?"
            )

    @property
    def stream_db(self) -> int:
        """The database that the primary's stream has selected at the snapshot's offset."""
        assert self._loader is not None
        place = self._loader.replication
        return max(0, place[0]) if place is not None else 0

    def put_in_place(self) -> None:
        """The snapshot is whole: what was there before makes room for it. Raises RdbError."""
        host = self._host
        assert self._loader is not None
        self._loader.take_functions(host.functions)
        host.log.notice("MASTER <-> REPLICA sync: Flushing old data")
        for db, fresh in zip(host.keyspace.databases, self._databases, strict=True):
            host.keyspace.watching.replace(db, fresh)
            db.swap_contents(fresh)
        host.keyspace.emptied()
        host.keyspace.own_deadlines.clear()  # of keys that are gone
        host.keyspace.waiters.databases_swapped(host.keyspace, *range(len(self._databases)))
        host.reclaim(self._databases)

    async def _take_marked(self, mark: bytes) -> None:
        """A payload that ends with the mark that was announced."""
        self._host.log.notice("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to parser")
        loader = self._begin()
        while not loader.finished:
            loader.feed(await self._receive())
            await self._load(loader)
        tail = bytearray(loader.rest)
        while len(tail) < len(mark):
            tail += await self._receive()
        if not tail.startswith(mark):
            raise RdbError(self.read_bytes, "the payload does not end with the announced mark")
        self._dialogue.give_back(tail[len(mark) :])

    async def _take_counted(self, size: int) -> None:
        """A payload of `size` bytes."""
        self._host.log.notice(f"MASTER <-> REPLICA sync: receiving {size} bytes from master to parser")
        loader = self._begin()
        self.total_bytes = left = size
        while left > 0:
            data = await self._receive()
            loader.feed(data[:left])
            self._dialogue.give_back(data[left:])
            left -= len(data)
            await self._load(loader)
        loader.finish()

    def _begin(self) -> StreamLoader:
        self._host.log.notice("MASTER <-> REPLICA sync: Loading DB in memory")
        self._loader = StreamLoader(self._host, self._databases)
        return self._loader

    async def _receive(self) -> bytes:
        data = await self._dialogue.some(self._host.config["repl-timeout"])
        self.io_ms = self._host.timers.monotonic_ms()
        self.read_bytes += len(data)
        self._host.stats.stream_input_bytes += len(data)
        return data

    async def _load(self, loader: StreamLoader) -> None:
        while loader.step():
            await self._host.platform.checkpoint()
            now_ms = self._host.timers.monotonic_ms()
            if now_ms - self._told_ms >= AWAKE_MS:
                self._told_ms = now_ms
                self._dialogue.send_now(b"\n")
