"""The slow log: the commands that ran for longer than `slowlog-log-slower-than`, the latest first. Sans-IO.

An entry keeps the first arguments of a command and their first bytes only, so that a log of 128 huge commands stays
small. What is secret in a command (a password, a user's name) is never kept.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from node.redaction import redacted

ARGUMENTS_MAX = 32
"""How many arguments an entry shows, as in Redis: the last of them tells how many more there were."""
ARGUMENT_BYTES_MAX = 128
"""How much of an argument an entry shows, as in Redis."""


class Entry(NamedTuple):
    """A command that was slow; `time_s` is when it ended, in seconds since 1970."""

    id: int
    time_s: int
    duration_us: int
    argv: list[bytes]
    addr: bytes
    name: bytes


class SlowLog:
    """At most `entries_max` entries. `threshold_us` is the least duration that is kept; negative: none is."""

    def __init__(self, threshold_us: int, entries_max: int) -> None:
        self.threshold_us = threshold_us
        self.entries_max = entries_max
        self._entries: deque[Entry] = deque()
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, time_s: int, duration_us: int, full_name: str, argv: list[bytes], addr: str, name: bytes) -> None:
        """Note a command that took `duration_us`, if that is slow."""
        if not self.entries_max or self.threshold_us < 0 or duration_us < self.threshold_us:
            return
        shown = shortened(redacted(full_name, argv))
        entry = Entry(self._next_id, time_s, duration_us, shown, addr.encode("utf-8", "surrogateescape"), name)
        self._next_id += 1
        self._entries.appendleft(entry)
        while len(self._entries) > self.entries_max:
            self._entries.pop()

    def latest(self, count: int) -> Iterator[Entry]:
        """The latest `count` entries, the latest first; -1: all."""
        return islice(self._entries, count if count >= 0 else None)

    def reset(self) -> None:
        """Forget all entries; ids go on."""
        self._entries.clear()


def shortened(argv: list[bytes]) -> list[bytes]:
    """The arguments as far as an entry shows them."""
    if len(argv) <= ARGUMENTS_MAX:
        return [_cut(arg) for arg in argv]
    left_out = len(argv) - ARGUMENTS_MAX + 1
    return [*(_cut(arg) for arg in argv[: ARGUMENTS_MAX - 1]), b"... (%d more arguments)" % left_out]


def _cut(arg: bytes) -> bytes:
    more = len(arg) - ARGUMENT_BYTES_MAX
    return arg if more <= 0 else b"%b... (%d more bytes)" % (arg[:ARGUMENT_BYTES_MAX], more)
