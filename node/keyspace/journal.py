"""The journal: every write that took effect, once, in order, at one offset.

An entry is a command as RESP, made deterministic (absolute deadlines, removed members named). Its readers are the
replication stream (backlog and replicas), the append-only file, and slots on their way to another node. The offset is
the replication offset: it counts the bytes of the replication stream; while there is no stream it moves by one an
entry, as in Redis 7.2, so that it still tells "something was written since".

On a replica the journal is its primary's bytes as they came (`relay`): encoding the effects anew would break the
offsets. What a replica writes by itself (a writable replica) goes to its file and nowhere else.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from node.net.resp import encode_command

TO_FILE, TO_REPLICAS = 1, 2
TO_ALL = TO_FILE | TO_REPLICAS
"""Which readers an entry is for."""


class StreamReader(Protocol):
    """Takes the bytes of the replication stream: the backlog, which feeds the replicas."""

    def take(self, data: bytes) -> None: ...


class EntryReader(Protocol):
    """Takes whole entries: the append-only file, a migrating slot."""

    def take_entry(self, db: int, entry: bytes) -> None:
        """The next entry. A reader from `add_reader` may be handed several at once, one behind the other."""


class Journal:
    """One node's journal. `offset` is the replication offset in bytes."""

    def __init__(self) -> None:
        self.offset = 0
        self.stream: StreamReader | None = None
        self.stream_db = -1  # the database that the stream has selected; -1: none yet
        self.readers: list[EntryReader] = []
        self.slot_readers: list[EntryReader] = []  # slots on their way to another node: as replicas
        self.relaying = False  # a replica: only its primary's bytes make the stream
        self.unheard = True  # nobody reads: an entry is a step of the offset and no more
        self.relays_only = False  # a replica without a file: an entry is nothing at all
        self._only_stream: StreamReader | None = None  # a primary without a file: nothing else reads
        self._only_reader: EntryReader | None = None  # a node by itself, with a file: nothing else reads
        self._unit: list[tuple[int, Sequence[bytes], int]] | None = None  # a transaction's effects, while it runs
        self.unit_readers = TO_ALL  # for whom the effects of the unit that is open are

    def set_stream(self, stream: StreamReader | None) -> None:
        """The replication stream begins or ends."""
        self.stream = stream
        self._update_unheard()

    def add_reader(self, reader: EntryReader) -> None:
        """Hand every entry from now on to `reader`, too."""
        self.readers.append(reader)
        self._update_unheard()

    def remove_reader(self, reader: EntryReader) -> None:
        """`reader` has had its last entry."""
        self.readers.remove(reader)
        self._update_unheard()

    def set_relaying(self, relaying: bool) -> None:
        """The node becomes a replica, or a primary again."""
        self.relaying = relaying
        self._update_unheard()

    def add_slot_reader(self, reader: EntryReader) -> None:
        """Hand every entry from now on that is for replicas to `reader`, too."""
        self.slot_readers.append(reader)
        self._update_unheard()

    def remove_slot_reader(self, reader: EntryReader) -> None:
        """`reader` has had its last entry. May be called again."""
        if reader in self.slot_readers:
            self.slot_readers.remove(reader)
            self._update_unheard()

    def _update_unheard(self) -> None:
        apart = self.relaying or bool(self.slot_readers)
        self.unheard = not (apart or self.readers) and self.stream is None
        self.relays_only = self.relaying and not self.readers
        self._only_stream = None if apart or self.readers else self.stream
        self._only_reader = self.readers[0] if not apart and self.stream is None and len(self.readers) == 1 else None

    @contextmanager
    def silence(self) -> Iterator[None]:
        """What happens meanwhile is no news for anybody: a file is loaded that the journal has written."""
        offset = self.offset
        self.unheard = True
        try:
            yield
        finally:
            self.offset = offset
            self._update_unheard()

    def append(self, db: int, argv: Sequence[bytes], to: int = TO_ALL) -> None:
        """One effect, in database `db`."""
        if self.unheard:
            self.offset += 1
        elif self._unit is not None:
            self._unit.append((db, argv, to & self.unit_readers))
        elif self._only_stream is not None and db == self.stream_db and to & TO_REPLICAS:  # short ways of what follows
            entry = encode_command(argv)
            self.offset += len(entry)
            self._only_stream.take(entry)
        elif self._only_reader is not None and to == TO_ALL:
            self.offset += 1
            self._only_reader.take_entry(db, encode_command(argv))
        elif self.readers or not self.relaying:
            self._distribute(db, encode_command(argv), to)

    def append_row(self, db: int, commands: Sequence[Sequence[bytes]]) -> None:
        """Effects in database `db`, as `append` takes each. Where one reader alone listens, it gets them at once."""
        if self._unit is None and not self.unheard:
            if self._only_reader is not None:
                self.offset += len(commands)
                self._only_reader.take_entry(db, b"".join(map(encode_command, commands)))
                return
            if self._only_stream is not None and db == self.stream_db:
                data = b"".join(map(encode_command, commands))
                self.offset += len(data)
                self._only_stream.take(data)
                return
        for argv in commands:
            self.append(db, argv)

    def append_unit(self, effects: Sequence[tuple[int, Sequence[bytes]]], to: int = TO_ALL) -> None:
        """Effects that nobody may see apart: wrapped in MULTI and EXEC if there are several."""
        if self._unit is not None and not self.unheard:
            self._unit.extend((db, argv, to & self.unit_readers) for db, argv in effects)
            return
        if len(effects) == 1:
            self.append(*effects[0], to)
            return
        self.append(effects[0][0], (b"MULTI",), to)
        for db, argv in effects:
            self.append(db, argv, to)
        self.append(effects[-1][0], (b"EXEC",), to)

    @property
    def in_unit(self) -> bool:
        """A transaction runs; its end is where others may look."""
        return self._unit is not None

    def begin_unit(self) -> None:
        """Keep all effects back until `end_unit`: a transaction runs."""
        assert self._unit is None
        self._unit = []

    def end_unit(self) -> None:
        """The transaction is over: its effects are one unit, for each reader of those that are for it."""
        unit, self._unit = self._unit, None
        assert unit is not None
        if not unit:
            return
        unit = [effect for effect in unit if effect[2]]
        if not unit:
            return
        if len({to for _, _, to in unit}) == 1:
            self.append_unit([(db, argv) for db, argv, _ in unit], unit[0][2])
            return
        for reader in (TO_FILE, TO_REPLICAS):
            effects = [(db, argv) for db, argv, to in unit if to & reader]
            if effects:
                self.append_unit(effects, reader)

    def forget_unit(self) -> None:
        """The node ends while a unit is open: nobody is to have a part of it."""
        if self._unit is not None:
            self._unit = []
            self.unit_readers = 0

    def _distribute(self, db: int, entry: bytes, to: int) -> None:
        if to & TO_REPLICAS and not self.relaying:
            if self.stream is None:
                self.offset += 1
            else:
                if db != self.stream_db:
                    self.stream_db = db
                    self.append_to_stream(encode_command([b"SELECT", b"%d" % db]))
                self.append_to_stream(entry)
        if to & TO_FILE:
            for reader in self.readers:
                reader.take_entry(db, entry)
        if self.slot_readers and to & TO_REPLICAS:
            for reader in list(self.slot_readers):  # an entry may be the last that one takes
                reader.take_entry(db, entry)

    def append_to_stream(self, data: bytes) -> None:
        """Bytes of the replication stream alone: PING, GETACK, SELECT, and all that a replica relays."""
        self.offset += len(data)
        if self.stream is not None:
            self.stream.take(data)
