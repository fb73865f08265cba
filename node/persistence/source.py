"""The keyspace of one moment as the bytes of an RDB, in slices: BGSAVE, full synchronisation, a migrating slot.

Sans-IO. The moment is the one of construction; from then on `next_chunk` is called between requests, at the pace of
the disk or the replica that takes the bytes.
"""

from collections.abc import Collection, Iterable, Iterator

from node.datatypes.reading import Reading
from node.keyspace.database import Database
from node.keyspace.eviction import goes_by_use
from node.keyspace.snapshot import DatabaseSnapshot, Item, Snapshot
from node.persistence.host import REDIS_VERSION, PersistenceHost
from node.rdb.codec import RDB_VERSION, RDB_VERSION_MAX
from node.rdb.writer import RdbWriter, aux_fields, use_note

CHUNK_BYTES = 256 * 1024
"""A chunk is handed out once it has so many bytes: its checksum costs about 0.1 ms, a hop to a thread as much."""
STEP_KEYS = 128
"""Keys between two looks at the clock: about 0.15 ms of short ones."""


class RdbSource:
    """One snapshot on its way out.

    `replication` is (database selected in the stream, replication id, offset) where the reader goes on with the
    stream from there; `functions` are the sources of the libraries; `slots` restricts it to some slots; `aof_base`
    tells the loader that the increments of an append-only file follow; `arriving` adds the slots that are on their way
    here, for a reader that goes on with the journal.
    `keys_done` of `keys_total` have been encoded.
    """

    def __init__(
        self,
        host: PersistenceHost,
        *,
        replication: tuple[int, str, int] | None = None,
        functions: Iterable[bytes] = (),
        slots: Collection[int] | None = None,
        aof_base: bool = False,
        arriving: bool = False,
    ) -> None:
        config = host.config
        self._clock_ns = host.clock_ns
        self._snapshot = Snapshot(host.keyspace, slots, arriving=arriving)
        self._notes = host.keyspace.databases if goes_by_use(config.maxmemory_policy) else None
        self._part: DatabaseSnapshot | None = None
        self._pieces: Iterator[bytes] = iter(())  # of the long value that is under way
        self._finished = False
        self.keys_step = 0  # how many keys the last chunk took
        self.keys_total = self._snapshot.total
        self._writer = RdbWriter(
            version=RDB_VERSION_MAX if any(db.hash_deadlines for db in host.keyspace.every()) else RDB_VERSION,
            compress=config.rdbcompression,
            checksum=config.rdbchecksum,
        )  # the higher one only where fields of hashes expire, which no version before it can hold
        aux = aux_fields(
            redis_version=REDIS_VERSION,
            created_s=host.platform.now_ms() // 1000,
            used_memory_bytes=host.memory.used,
            replication=replication and (replication[0], replication[1].encode(), replication[2]),
            aof_base=aof_base,
        )
        self._writer.header(aux)
        for code in functions:
            self._writer.function(code)

    @property
    def keys_done(self) -> int:
        return self._snapshot.processed

    def next_chunk(self, budget_ns: int) -> bytes | None:
        """The next bytes, never empty; None at the end.

        Returns after `budget_ns` of work or with `CHUNK_BYTES`, whatever comes first: in the middle of a long value too
        """
        if self._finished:
            return None
        writer, clock_ns = self._writer, self._clock_ns
        before = self.keys_done
        end_ns = clock_ns() + budget_ns
        while writer.size < CHUNK_BYTES:
            if not self._encode_step():
                self._finished = True
                writer.footer()
                break
            if clock_ns() >= end_ns and writer.size:
                break
        self.keys_step = self.keys_done - before
        return writer.take()

    def _encode_step(self) -> bool:
        """Encode a few keys, or a piece of a long value; False at the end."""
        piece = next(self._pieces, None)
        if piece is not None:
            self._writer.piece(piece)
            return True
        found = self._snapshot.next_batch(STEP_KEYS)
        if found is None:
            return False
        part, batch = found
        if part is not self._part:
            self._part = part
            self._writer.select_db(part.index, part.size, part.deadline_count)
        notes = [] if self._notes is None else _notes(self._notes[part.index], batch)
        if len(batch) == 1 and isinstance(batch[0][1], Reading):
            self._pieces = self._writer.long_entry(*batch[0], *notes)
        elif batch:
            self._writer.entries(batch, notes)
        return True

    def close(self) -> None:
        """Give the snapshot up. May be called at any time, and again."""
        self._finished = True
        self._pieces = iter(())
        self._snapshot.close()


def _notes(db: Database, batch: list[Item]) -> list[bytes]:
    """What is noted of the uses of these keys, as Redis writes it while eviction goes by it."""
    counts = [db.use_count(key) for key, _, _ in batch]
    return [
        use_note(db.idle_seconds(key) if count is None else None, count)
        for (key, _, _), count in zip(batch, counts, strict=True)
    ]
