"""The slow log: the commands that ran for longer than `slowlog-log-slower-than`, the latest first. Sans-IO.

An entry keeps the first arguments of a command and their first bytes only, so that a log of 128 huge commands stays
small. What is secret in a command (a password, a user's name) is never kept: `redacted` takes it out.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from node.config.directives import find_directive

ARGUMENTS_MAX = 32
"""How many arguments an entry shows, as in Redis: the last of them tells how many more there were."""
ARGUMENT_BYTES_MAX = 128
"""How much of an argument an entry shows, as in Redis."""
REDACTED = b"(redacted)"


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


# --- secrets ----------------------------------------------------------------------------------------------------------


def redacted(full_name: str, argv: list[bytes]) -> list[bytes]:
    """The arguments of a command without its secrets, for whoever may read what others have sent."""
    secret = _SECRETS.get(full_name)
    if secret is None:
        return argv
    places = set(secret(argv))
    return [REDACTED if at in places else arg for at, arg in enumerate(argv)] if places else argv


def _all_after_the_name(argv: list[bytes]) -> Iterator[int]:
    return iter(range(1, len(argv)))


def _all_after_the_subcommand(argv: list[bytes]) -> Iterator[int]:
    return iter(range(2, len(argv)))


def _third(argv: list[bytes]) -> Iterator[int]:
    return iter((2,))


def _of_config_set(argv: list[bytes]) -> Iterator[int]:
    """The values of directives that are secret."""
    for at in range(2, len(argv) - 1, 2):
        directive = find_directive(argv[at].decode("latin-1"))
        if directive is not None and directive.is_sensitive:
            yield at + 1


def _of_hello(argv: list[bytes]) -> Iterator[int]:
    """HELLO version [AUTH user password] [SETNAME name]."""
    at = 2
    while at < len(argv):
        word = argv[at].lower()
        if word == b"auth":
            yield from (at + 1, at + 2)
        at += 3 if word == b"auth" else 2


def _of_migrate(argv: list[bytes]) -> Iterator[int]:
    """MIGRATE host port key db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key ...]."""
    at = 6
    while at < len(argv):
        word = argv[at].lower()
        if word == b"keys":
            return
        if word == b"auth":
            yield at + 1
        elif word == b"auth2":
            yield from (at + 1, at + 2)
        at += {b"auth": 2, b"auth2": 3}.get(word, 1)


_SECRETS = {
    "acl|deluser": _third,
    "acl|getuser": _third,
    "acl|setuser": _all_after_the_subcommand,
    "auth": _all_after_the_name,
    "config|set": _of_config_set,
    "hello": _of_hello,
    "migrate": _of_migrate,
}
