"""A connection of ours to another node, served by the reactor: commands leave with the batch that makes them, and what
comes of them is told in the batch that brings the last reply. No task wakes up in between.

One conversation at a time. It ends in one of two ways, told once: all replies are there, or the link has failed (an
OSError; TimeoutError where no byte moved for too long) after so many of them. After a failure the connection is closed,
since nobody knows which reply would be whose; so is one on which something comes that nobody asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

from node.net.peer import CLOSE_NOW, OPEN, SHUTDOWN, Peer
from node.net.replies import MalformedReply, ReplyParser
from node.net.resp import Argv, Push, Reply, Status, encode_command
from node.timers import Timer, Timers

SENT_AT_ONCE_BYTES = 64 * 1024
"""So much fits the buffers of a socket whose other end has answered everything: it has left when the batch is over."""
LOOKS = 4
"""How often in the time that a wait may last the rest of something bigger is looked at: does it still shrink?"""

ALL_WELL, ALL_WELL_LINE = Status(b"OK"), b"+OK\r\n"
CLOSED = "the connection was closed by the other end"

Told = Callable[[list[Reply], OSError | None], None]


class Target(Peer):
    """One connection. `on_lost` hears of its end."""

    __slots__ = (
        "_asked",
        "_moved_ms",
        "_parser",
        "_replies",
        "_timeout_ms",
        "_timer",
        "_timers",
        "_told",
        "_unsent",
        "on_lost",
    )

    def __init__(self, timers: Timers, on_lost: Callable[[Any], None]) -> None:
        super().__init__()
        self.on_lost = on_lost
        self._timers = timers
        self._parser = ReplyParser()
        self._told: Told | None = None  # who waits
        self._asked = 0  # commands that it has sent...
        self._replies: list[Reply] = []  # ...and what was answered so far
        self._timeout_ms = self._moved_ms = 0.0  # how long no byte may move, and when one did
        self._unsent = 0  # bytes of a big request that had not left at the last look
        self._timer: Timer | None = None

    @property
    def is_open(self) -> bool:
        return self.transport is not None and self.closing == OPEN

    @property
    def stage(self) -> str:
        """What the link is doing, "writing" or "reading": whoever tells of its failure can name it."""
        return "writing" if self.out else "reading"

    def ask(self, commands: Sequence[Argv], timeout_ms: float, told: Told) -> None:
        """Send commands; `told` hears of their replies, never before this returns.

        timeout_ms -- for each wait in which no byte moves.
        """
        assert self._told is None, "one conversation at a time"
        self._told, self._asked, self._replies = told, len(commands), []
        for argv in commands:
            self.out += encode_command(argv)
        self._unsent = size = len(self.out) if len(self.out) > SENT_AT_ONCE_BYTES else 0
        self._timeout_ms, self._moved_ms = timeout_ms, self._timers.monotonic_ms()
        wait_ms = 0.0 if self.transport is None else timeout_ms / LOOKS if size else timeout_ms
        self._timer = self._timers.after(wait_ms, self._look)
        self.touch()

    def receive(self, data: bytes) -> None:
        self._moved_ms = self._timers.monotonic_ms()
        try:
            self._replies += self._parsed(data)
        except MalformedReply as error:
            self._end(ConnectionError(str(error)))
            return
        if len(self._replies) > self._asked or self._told is None:
            self._end(ConnectionError("more replies than there were commands"))
        elif len(self._replies) == self._asked:
            self._end(None)

    def _parsed(self, data: bytes) -> list[Reply]:
        """The replies that some bytes complete. Raises MalformedReply."""
        count = len(data) // len(ALL_WELL_LINE)
        if data == ALL_WELL_LINE * count and self._parser.is_between_replies:  # as a rule
            return [ALL_WELL] * count
        self._parser.feed(data)
        return [reply for reply in self._parser.parse() if type(reply) is not Push]

    def lost(self, reason: str) -> None:
        self.on_lost(self)
        if reason == SHUTDOWN:  # nothing begins any more
            self._told = None
        self._end(ConnectionError(CLOSED))

    def _look(self) -> None:
        """Has a byte moved lately?"""
        self._timer = None
        if self.transport is None:
            self._end(ConnectionError(CLOSED))
            return
        now_ms, unsent = self._timers.monotonic_ms(), self.transport.unsent_bytes()
        if unsent < self._unsent:
            self._moved_ms = now_ms
        self._unsent = unsent
        left_ms = self._moved_ms + self._timeout_ms - now_ms
        if left_ms <= 0:
            self._end(TimeoutError("no byte moved"))
            return
        self._timer = self._timers.after(min(left_ms, self._timeout_ms / LOOKS) if unsent else left_ms, self._look)

    def _end(self, failure: OSError | None) -> None:
        """The conversation is over; one that failed takes the connection with it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if failure is not None:
            self.close(CLOSE_NOW)
        told, replies = self._told, self._replies
        self._told, self._asked, self._replies = None, 0, []
        if told is not None:
            told(replies, failure)
