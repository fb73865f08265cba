"""What the reactor serves: something that takes bytes and has bytes to send. Clients, bus links, replicas, primaries.

Sans-IO: a peer knows no socket. It is told what came (`receive`), gives what shall go (`out`), and says by `closing`
when it has had enough. Whoever writes to a peer that is not being served just now calls `touch`, so that the reactor
sends at the end of the batch.
"""

from typing import Any, Protocol

OPEN, CLOSE_WHEN_SENT, CLOSE_NOW = 0, 1, 2
"""States of `Peer.closing`. Sockets are closed after the batch, since descriptors are used again at once."""

SHUTDOWN = "shutdown"
"""Why a connection is lost where the node ends: nothing begins any more."""

RECEIVE_BYTES = 64 * 1024
"""How much is read of a peer at a time, unless a bigger value is known to be on its way."""
RECEIVE_BYTES_MAX = 4 * 1024 * 1024


class Transport(Protocol):
    """The reactor's side of a peer."""

    def touch(self) -> None:
        """The peer has output, is to be closed, or has work waiting: look at it before the batch ends."""

    def socket_number(self) -> int:
        """The descriptor, for CLIENT LIST; -1 without one."""

    def unsent_bytes(self) -> int:
        """How much of the peer's output has not left."""

    def waits_to_send(self) -> bool:
        """The socket took no more: the rest leaves when there is room."""


class Peer:
    """One end of a connection."""

    __slots__ = ("__weakref__", "closing", "hears_of_sending", "more", "out", "parked", "read_bytes", "transport")

    def __init__(self) -> None:
        self.out = bytearray()
        self.closing = OPEN
        self.more = False  # input has been taken but not served to its end: come back after the others
        self.parked: Any = None  # what this peer waits for; its input stays unread meanwhile
        self.read_bytes = RECEIVE_BYTES  # how many to read at a time
        self.hears_of_sending = False  # `sent` is to be called
        self.transport: Transport | None = None

    def receive(self, data: bytes) -> None:
        """Take what came from the socket, and act on it."""
        raise NotImplementedError

    def proceed(self) -> None:
        """Serve another slice of the input taken before (only while `more`)."""

    def sent(self) -> None:
        """All of `out` has left; called once each time it did, for peers that want to hear of it."""

    def lost(self, reason: str) -> None:
        """The connection is gone; called exactly once, `reason` is for the log."""

    def output_limit_exceeded(self, _pending_bytes: int) -> bool:
        """True closes the connection at once: the other side does not read what it asked for."""
        return False

    def close(self, how: int = CLOSE_NOW) -> None:
        """Ask for the end of the connection."""
        if how > self.closing:
            self.closing = how
            self.touch()

    def touch(self) -> None:
        if self.transport is not None:
            self.transport.touch()
