"""Writers that keep account of what was confirmed, and go where the primary is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.support import ReplyError, Server, Wire


class Writer(threading.Thread):
    """Appends the numbers 0, 1, 2... to a list and sets a key for each, at whichever of `servers` is the primary.

    `confirmed` holds the numbers that were answered by OK (and by WAIT, where `copies` are asked for). A number whose
    fate is unknown (the connection was lost) is not written again: the next one is.
    """

    def __init__(self, name: str, servers: Sequence[Server], *, copies: int = 0) -> None:
        super().__init__(daemon=True)
        self.key = name
        self.confirmed: list[int] = []
        self.unknown: list[int] = []
        self.refusals = 0
        self._servers = servers
        self._copies = copies
        self._next = 0
        self._wire: Wire | None = None
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            number = self._next
            try:
                if self._wire is None:
                    self._wire = self._find_primary()
                replies = self._write(self._wire, number)
            except (OSError, AssertionError):
                self.unknown.append(number)
                self._next += 1
                self._leave()
                continue
            if isinstance(replies[0], ReplyError):  # READONLY: nothing was done, it is tried elsewhere
                self.refusals += 1
                self._leave()
                continue
            self._next += 1
            (self.confirmed if self._copies <= int(replies[-1]) else self.unknown).append(number)
        self._leave()

    def _write(self, wire: Wire, number: int) -> list[Any]:
        words: list[tuple[str | int, ...]] = [
            ("MULTI",),
            ("RPUSH", self.key, number),
            ("SET", f"{self.key}:{number}", number),
            ("EXEC",),
        ]
        replies = wire.pipeline(words)
        if isinstance(replies[3], ReplyError):
            return [replies[3]]
        return [replies[3], wire("WAIT", self._copies, 1000) if self._copies else 0]

    def _find_primary(self) -> Wire:
        while not self.over.is_set():
            for server in self._servers:
                with suppress(OSError):
                    wire = server.wire(timeout_s=5)
                    if wire("ROLE")[0] == b"master":
                        return wire
                    wire.close()
            self.over.wait(0.02)
        raise ConnectionError("it is over")

    def _leave(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def check(self, wire: Wire) -> None:
        """All that was confirmed is there, once and in order; nothing else but what is of unknown fate."""
        found = [int(number) for number in wire("LRANGE", self.key, 0, -1)]
        assert found == sorted(set(found)), "out of order, or twice"
        missing = set(self.confirmed) - set(found)
        assert not missing, f"{len(missing)} confirmed writes are missing: {sorted(missing)[:10]}"
        assert set(found) <= set(self.confirmed) | set(self.unknown)
        for start in range(0, len(found), 1000):
            part = found[start : start + 1000]
            values = wire.pipeline([("GET", f"{self.key}:{number}") for number in part])
            assert values == [str(number).encode() for number in part]


class Writers:
    """Several writers at once."""

    def __init__(self, count: int, servers: Sequence[Server], *, copies: int = 0) -> None:
        self.each = [Writer(f"writer{number}", servers, copies=copies) for number in range(count)]

    def __enter__(self) -> Self:
        for writer in self.each:
            writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        for writer in self.each:
            writer.over.set()
        for writer in self.each:
            writer.join()

    def have_written(self, count: int) -> Callable[[], bool]:
        """A condition: each writer has had `count` more confirmed than now."""
        goals = [len(writer.confirmed) + count for writer in self.each]
        return lambda: all(len(writer.confirmed) >= goal for writer, goal in zip(self.each, goals, strict=True))

    @property
    def confirmed(self) -> int:
        return sum(len(writer.confirmed) for writer in self.each)

    def check(self, wire: Wire) -> None:
        for writer in self.each:
            writer.check(wire)
