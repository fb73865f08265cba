"""What users were refused: the entries of ACL LOG, newest first, and how often it happened for which reason.

What happens again within a minute (same reason, context, object and user) is counted in its entry, which comes to the
front. So a client that asks for ever fills nothing.
"""

from itertools import islice
from typing import NamedTuple

MERGE_MS = 60_000
SCANNED_MAX = 10
"""How many of the newest entries are looked at for one that is the same."""
TARGET_BYTES_MAX = 16 * 1024
"""How much of a key, channel or name is kept: a client must not fill the memory with what it is refused."""
REASONS = ("auth", "command", "key", "channel")


class What(NamedTuple):
    """What was refused. `context` is "toplevel", "multi" or "lua"; `target` the command, key or channel."""

    reason: str
    context: str
    target: bytes
    username: bytes


class Entry:
    """One thing that was refused, once or several times. Times are in Unix milliseconds."""

    __slots__ = ("client_info", "count", "created_ms", "number", "updated_ms", "what")

    def __init__(self, what: What, number: int, now_ms: int) -> None:
        self.what = what
        self.number = number
        self.count = 0
        self.created_ms = self.updated_ms = now_ms
        self.client_info = b""


class DenialLog:
    """The entries, and the counts that outlive them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.counts = dict.fromkeys(REASONS, 0)
        self._next_number = 0

    def add(self, what: What, client_info: bytes, now_ms: int, length_max: int) -> None:
        """Note that something was refused to the client that the line of CLIENT LIST describes."""
        self.counts[what.reason] += 1
        what = what._replace(target=what.target[:TARGET_BYTES_MAX], username=what.username[:TARGET_BYTES_MAX])
        entry = self._same(what, now_ms)
        if entry is None:
            entry = Entry(what, self._next_number, now_ms)
            self._next_number += 1
        else:
            self.entries.remove(entry)
        entry.count += 1
        entry.updated_ms, entry.client_info = now_ms, client_info
        self.entries.insert(0, entry)
        del self.entries[length_max:]

    def _same(self, what: What, now_ms: int) -> Entry | None:
        for entry in islice(self.entries, SCANNED_MAX):
            if entry.what == what and abs(now_ms - entry.updated_ms) <= MERGE_MS:
                return entry
        return None

    def clear(self) -> None:
        """Forget the entries: ACL LOG RESET."""
        self.entries.clear()
