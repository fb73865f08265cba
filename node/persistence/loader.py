"""Loads RDB bytes into databases, in slices, as they come: from a file or from a primary."""

from collections.abc import Callable, Sequence

from node.keyspace.database import Database
from node.rdb.reader import Aux, Entries, RdbReader, SelectDb
from node.replication.host import ReplicationHost


class StreamLoader:
    """Loads into `databases`. `finished` once the last opcode came; `rest` is what was fed beyond it."""

    def __init__(self, host: ReplicationHost, databases: Sequence[Database], budget_ns: int = 1_000_000) -> None:
        self._clock_ns: Callable[[], int] = host.platform.clock_ns
        self._databases = databases
        self._db = databases[0]
        self._budget_ns = budget_ns
        self._reader = RdbReader()
        self.aux: dict[bytes, bytes] = {}
        self.keys = 0

    @property
    def finished(self) -> bool:
        return self._reader.ended

    @property
    def rest(self) -> bytes:
        return self._reader.rest

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)

    def step(self) -> bool:
        """Load for a while; False if there is nothing left to load of what was fed."""
        end_ns = self._clock_ns() + self._budget_ns
        while (item := self._reader.next_batch()) is not None:
            if isinstance(item, Entries):
                self._db.load(item.items)
                self.keys += len(item.items)
            elif isinstance(item, SelectDb):
                self._db = self._databases[item.db]
            elif isinstance(item, Aux):
                self.aux[item.name] = item.value
            if self._clock_ns() > end_ns:
                return True
        return False
