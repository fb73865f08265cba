"""What of a data set goes along with some slots: a snapshot of their keys as commands, then what the journal tells.

Sans-IO.  Commands and not an RDB: the target runs them as they come and journals them, so that its own replicas,
genuine ones of Redis 7.0 too, and its append-only file take part without another form of the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gossip.packet import slots_in
from node.datatypes.reading import Reading, TextReading
from node.keyspace.database import Database
from node.keyspace.snapshot import DatabaseSnapshot, Item
from node.net.resp import Argv, RequestParser, encode_command
from node.persistence.aofsource import commands_for
from node.rdb.dump import dump
from node.slots import slot_of
from node.table import CommandTable

CHUNK_BYTES = 64 * 1024
"""A chunk is handed out once it has so many bytes: the target runs it in one turn, in a millisecond or two."""
STEP_KEYS = 32
"""Keys between two looks at the clock."""
BULK_BYTES_MAX = 1 << 40
"""Our own journal's entries are as long as they are."""
TEXT_BYTES = 64 * 1024
"""A long string goes in pieces of so many bytes."""


class SlotCopy:
    """The keys that some slots (a bitmap) have now, read at the pace of whoever takes them.

    Keys whose time is over stay behind: their removal is told by the journal, to a target that never had them.
    """

    def __init__(self, db: Database, slots: int, clock_ns: Callable[[], int], *, compress: bool) -> None:
        self.keys_done = 0
        self._db = db
        self._clock_ns = clock_ns
        self._compress = compress
        self._snapshot = DatabaseSnapshot(db, slots_in(slots))
        self.keys_total = self._snapshot.size
        self._rest: Iterator[Argv] = iter(())  # of the long value that is under way

    def next_chunk(self, budget_ns: int) -> bytes | None:
        """The next commands, after about `budget_ns` of work or with `CHUNK_BYTES`; None at the end, maybe empty."""
        out = bytearray()
        end_ns = self._clock_ns() + budget_ns
        while len(out) < CHUNK_BYTES:
            words = next(self._rest, None)
            if words is not None:
                out += encode_command(words)
            elif self._snapshot.ended:
                return bytes(out) if out else None
            else:
                self._step(out)
            if self._clock_ns() >= end_ns:
                break
        return bytes(out)

    def _step(self, out: bytearray) -> None:
        batch = self._snapshot.next_batch(STEP_KEYS)
        self.keys_done += len(batch)
        now_ms = self._db.keyspace.now_ms
        for item in batch:
            if item[2] is not None and item[2] <= now_ms:
                continue
            if isinstance(item[1], Reading):  # it comes alone
                self._rest = _long(item)
            else:
                out += encode_command(self._short(item))

    def _short(self, item: Item) -> Argv:
        key, value, deadline_ms = item
        if type(value) is bytes or type(value) is bytearray:
            options = [] if deadline_ms is None else [b"PXAT", b"%d" % deadline_ms]
            return [b"SET", key, bytes(value), *options]
        return [b"RESTORE", key, b"%d" % (deadline_ms or 0), dump(value, self._compress), b"ABSTTL"]

    def close(self) -> None:
        """Give the snapshot up.  May be called at any time, and again."""
        self._rest = iter(())
        self._snapshot.close()


def _long(item: Item) -> Iterator[Argv]:
    key, value, deadline_ms = item
    if not isinstance(value, TextReading):
        yield from commands_for(item)
        return
    yield [b"SET", key, bytes(value.text[:TEXT_BYTES])]
    for at in range(TEXT_BYTES, value.count, TEXT_BYTES):
        yield [b"APPEND", key, bytes(value.text[at : at + TEXT_BYTES])]
    if deadline_ms is not None:
        yield [b"PEXPIREAT", key, b"%d" % deadline_ms]


class CannotFollow(Exception):
    """The journal tells of something that no stream of some slots can tell."""


class EntrySieve:
    """Lets the journal's entries about some slots (a bitmap) pass, transactions whole.

    What has no keys stays here: scripts, functions and messages are not the slots'.  But nothing is left of slots that
    were flushed, and neither side could undo that: it ends the migration.
    """

    def __init__(self, commands: CommandTable, slots: int) -> None:
        self._commands = commands
        self._slots = slots
        self._parser = RequestParser(BULK_BYTES_MAX)
        self._unit: list[bytes] | None = None  # what has come of an open transaction

    def sift(self, db: int, entry: bytes) -> bytes:
        """What is to be sent because of an entry: often nothing.  Raises CannotFollow."""
        self._parser.feed(entry)
        (argv,) = self._parser.parse()
        name = argv[0].upper()
        if name == b"MULTI":
            self._unit = []
            return b""
        if name == b"EXEC":
            unit, self._unit = self._unit or [], None
            return unit[0] if len(unit) == 1 else _wrapped(unit) if unit else b""
        kept = self._kept(db, name, argv, entry)
        if self._unit is not None and kept:
            self._unit.append(kept)
            return b""
        return kept

    def _kept(self, db: int, name: bytes, argv: Argv, entry: bytes) -> bytes:
        command = self._commands.find(name) or self._commands.original(name)
        if name in (b"FLUSHALL", b"FLUSHDB") or (command is not None and command.name in ("flushall", "flushdb")):
            raise CannotFollow("the data set was flushed")
        positions = command.key_positions(argv) if command is not None else None
        if not positions or db:
            return b""
        mine = [self._slots >> slot_of(argv[at]) & 1 for at in positions]
        if all(mine):
            return entry
        if not any(mine):
            return b""
        if name in (b"DEL", b"UNLINK"):
            return encode_command(
                [argv[0], *(argv[at] for at, is_mine in zip(positions, mine, strict=True) if is_mine)]
            )
        raise CannotFollow(f"{name.decode('latin-1')} changed keys of slots that stay, too")


MULTI, EXEC = encode_command([b"MULTI"]), encode_command([b"EXEC"])


def _wrapped(unit: list[bytes]) -> bytes:
    return b"".join((MULTI, *unit, EXEC))


def is_flush(entry: bytes) -> bool:
    """Whether an entry of the journal empties a database: FLUSHALL or FLUSHDB, whatever follows."""
    return entry[4:16].upper() in (b"$8\r\nFLUSHALL", b"$7\r\nFLUSHDB\r")
