"""What a file of data holds, and how far it is good: the part of `hexad check` that needs no disk.

An inspection is fed a file's bytes. It counts what it understands, and stops at the first thing that it does not.
Everything is looked at, each element of a packed value too: a server that loads the file may take them as they are.
"""

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Any, Protocol

from node.datatypes.packed import Packed
from node.datatypes.streams import Stream
from node.persistence.aofparser import AofFormatError, AofParser
from node.rdb.codec import STRING_BYTES_MAX, RdbError
from node.rdb.reader import Aux, Entries, Function, RdbReader
from node.rdb.streams import check_stream
from node.rdb.types import VALUE_TYPES
from node.slots import SLOTS, slot_of

BIGGEST = 10
"""So many of the biggest keys are named."""
RANGE_SLOTS = 1024
"""Keys are counted by ranges of so many slots."""


@dataclass
class Findings:
    """What has been found. Sizes are bytes of the file; `good_bytes` of it can be loaded."""

    kind: str = "unknown"
    version: int | None = None
    size_bytes: int = 0
    good_bytes: int = 0
    error: str | None = None
    error_offset: int | None = None
    keys: int = 0
    expiring: int = 0
    types: Counter[str] = field(default_factory=Counter)
    slots: Counter[int] = field(default_factory=Counter)
    biggest: list[tuple[int, bytes, str, int]] = field(default_factory=list)
    """(bytes, key, type, database), the biggest first once all is read."""
    databases: Counter[int] = field(default_factory=Counter)
    functions: int = 0
    aux: dict[bytes, bytes] = field(default_factory=dict)
    checksum: bool | None = None
    """Does the file carry a checksum? (One that was wrong is an error.)"""
    commands: Counter[str] = field(default_factory=Counter)

    def slot_ranges(self) -> list[tuple[int, int, int]]:
        """(first slot, last slot, keys) of each range that has any."""
        ranges: Counter[int] = Counter()
        for slot, keys in self.slots.items():
            ranges[slot // RANGE_SLOTS] += keys
        return [(at * RANGE_SLOTS, min((at + 1) * RANGE_SLOTS, SLOTS) - 1, ranges[at]) for at in sorted(ranges)]

    def fail(self, offset: int, reason: str) -> None:
        """Note the first error."""
        self.error, self.error_offset = reason, offset


class Inspection(Protocol):
    """One kind of file. `feed` is False once there is no use in feeding more."""

    findings: Findings

    def feed(self, data: bytes) -> bool: ...

    def finish(self) -> None: ...


def inspection_of(start: bytes) -> Inspection | None:
    """What inspects a file that begins like this; None where it is none of ours."""
    if start.startswith(b"REDIS"):
        return RdbInspection()
    if start[:1] in (b"*", b"#"):
        return AofInspection(Findings())
    return None


class RdbInspection:
    """An RDB file, or the one at the head of an append-only file."""

    def __init__(self) -> None:
        self.findings = Findings("RDB")
        self._reader = RdbReader()
        self._db = 0
        self._began = 0  # where the entry at hand begins
        self._tail: AofInspection | None = None

    def feed(self, data: bytes) -> bool:
        if self._tail is not None:
            return self._tail.feed(data)
        found, reader = self.findings, self._reader
        found.size_bytes += len(data)
        reader.feed(data)
        try:
            while (item := reader.next_batch(1)) is not None:
                self._take(item)
        except RdbError as error:
            found.fail(error.offset, error.reason)
            return False
        found.version = reader.version or None
        if reader.ended and reader.rest:
            found.kind = "AOF with an RDB preamble"
            found.size_bytes = found.good_bytes
            self._tail = AofInspection(found)
            return self._tail.feed(reader.rest)
        return True

    def finish(self) -> None:
        found = self.findings
        if self._tail is not None:
            self._tail.finish()
        elif found.error is None:
            try:
                self._reader.finish()
            except RdbError as error:
                found.fail(error.offset, error.reason)
        found.biggest.sort(reverse=True)

    def _take(self, item: Any) -> None:
        found, reader = self.findings, self._reader
        if type(item) is Entries:
            if not item.items:
                return  # a long value goes on
            self._take_entry(*item.items[0])
        elif type(item) is Aux:
            found.aux[item.name] = item.value
        elif type(item) is Function:
            found.functions += 1
        elif hasattr(item, "db"):
            self._db = item.db
        elif hasattr(item, "checked"):
            found.checksum = item.checked
        found.good_bytes = self._began = reader.offset

    def _take_entry(self, key: bytes, value: Any, deadline_ms: int | None) -> None:
        found = self.findings
        try:
            name = _checked_type(value)
        except RdbError as error:
            raise RdbError(self._began, f"{error.reason}, key {key[:64]!r}") from None
        found.keys += 1
        found.expiring += deadline_ms is not None
        found.types[name] += 1
        found.slots[slot_of(key)] += 1
        found.databases[self._db] += 1
        big = self._reader.offset - self._began, key, name, self._db
        if len(found.biggest) < BIGGEST:
            heappush(found.biggest, big)
        elif big[0] > found.biggest[0][0]:
            heappushpop(found.biggest, big)


def _checked_type(value: Any) -> str:
    """The name of the type of `value`, all of which has been looked at. Raises RdbError."""
    if type(value) is Packed:
        value = value.unpack()
    elif type(value) is Stream:
        check_stream(value)
    return next(it.name for it in VALUE_TYPES if type(value) in it.classes)


class AofInspection:
    """The commands of an append-only file. Good is what goes up to the last whole command or transaction."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        if findings.kind == "unknown":
            findings.kind = "AOF"
        self._parser = AofParser(STRING_BYTES_MAX, findings.good_bytes)
        self._multi: int | None = None  # where a transaction began that has not ended

    def feed(self, data: bytes) -> bool:
        self.findings.size_bytes += len(data)
        parser = self._parser
        parser.feed(data)
        parser.join()
        start = parser.offset
        try:
            while (argv := parser.next()) is not None:
                self._take(argv[0] if argv else b"", start, parser.offset)
                start = parser.offset
        except AofFormatError as error:
            self.findings.fail(error.offset, error.reason)
            return False
        return True

    def _take(self, name: bytes, start: int, end: int) -> None:
        """A command, or a note, which has no name."""
        found = self.findings
        if name:
            found.commands[name[:64].decode("utf-8", "backslashreplace").upper()] += 1
        if name.upper() == b"MULTI":
            self._multi = start if self._multi is None else self._multi
        elif name.upper() == b"EXEC":
            self._multi = None
        if self._multi is None:
            found.good_bytes = end

    def finish(self) -> None:
        found, parser = self.findings, self._parser
        if found.error is not None:
            return
        if parser.pending_bytes:
            found.fail(parser.offset, "The file ends in the middle of a command")
        elif self._multi is not None:
            found.fail(self._multi, "The file ends before the EXEC of a MULTI")
