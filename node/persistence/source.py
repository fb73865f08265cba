"""The data set of one moment as RDB bytes, in slices: what BGSAVE writes and what a full synchronisation sends."""

from collections.abc import Callable, Collection
from typing import Protocol

from node.config.config import Config
from node.keyspace.keyspace import Keyspace
from node.keyspace.snapshot import DatabaseSnapshot, Snapshot
from node.platform import Platform
from node.rdb.writer import RdbWriter, aux_fields

CHUNK_BYTES_MAX = 256 * 1024
"""A chunk is handed out once it is about this long, however little time it took."""
BATCH_KEYS = 256
REDIS_VERSION = b"7.2.6"


class SourceHost(Protocol):
    """What a source needs of its node."""

    platform: Platform
    config: Config
    keyspace: Keyspace


class RdbSource:
    """One snapshot on its way out. `keys_done` of `keys_total` have been written."""

    def __init__(
        self,
        host: SourceHost,
        *,
        replication: tuple[int, str, int] | None = None,
        slots: Collection[int] | None = None,
    ) -> None:
        self._clock_ns: Callable[[], int] = host.platform.clock_ns
        self._snapshot = Snapshot(host.keyspace, slots)
        self._database: DatabaseSnapshot | None = None
        self._ended = False
        config = host.config
        self._writer = RdbWriter(compress=config["rdbcompression"], checksum=config["rdbchecksum"])
        stream = None if replication is None else (replication[0], replication[1].encode(), replication[2])
        self._writer.header(
            aux_fields(
                redis_version=REDIS_VERSION,
                created_s=host.platform.now_ms() // 1000,
                used_memory_bytes=host.platform.resident_bytes(),
                replication=stream,
            )
        )

    @property
    def keys_done(self) -> int:
        return self._snapshot.processed

    @property
    def keys_total(self) -> int:
        return self._snapshot.total

    def next_chunk(self, budget_ns: int) -> bytes | None:
        """The next bytes, after about `budget_ns` of work; None after the last ones."""
        if self._ended:
            return None
        writer = self._writer
        end_ns = self._clock_ns() + budget_ns
        while writer.size < CHUNK_BYTES_MAX and self._clock_ns() < end_ns:
            step = self._snapshot.next_batch(BATCH_KEYS)
            if step is None:
                self._ended = True
                writer.footer()
                break
            database, batch = step
            if database is not self._database:
                self._database = database
                writer.select_db(database.index, database.size, database.deadline_count)
            writer.entries(batch)
        return writer.take()

    def close(self) -> None:
        """Give up what has not been read."""
        self._snapshot.close()
