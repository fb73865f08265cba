"""The replication stream of one node: the backlog, and the replicas that read it. Sans-IO.

A replica's life: its session sends PSYNC. Either the backlog still holds what it lacks, and it is `ONLINE` at once; or
it waits for a snapshot (`WAITING`), takes it (`TAKING`), acknowledges it (`LOADING`: only after a payload that has no
length) and then is `ONLINE`. From the moment its snapshot begins it is a position in the backlog, which keeps what it
still needs: nothing is buffered for one replica alone, however many there are.
"""

from collections.abc import Callable
from enum import Enum

from node.net.peer import CLOSE_NOW
from node.replication.backlog import Backlog
from node.replication.host import AnySession

OUTPUT_BYTES_MAX = 256 * 1024
"""How much of the stream is put into a replica's output at a time; the rest waits in the backlog."""


class State(Enum):
    """Where a replica stands."""

    WAITING = 1
    TAKING = 2
    LOADING = 3
    ONLINE = 4


SHOWN_STATES = {
    State.WAITING: "wait_bgsave", State.TAKING: "send_bulk", State.LOADING: "send_bulk", State.ONLINE: "online",
}  # fmt: skip
"""As INFO tells them."""


class Replica:
    """One replica: the `role` of its session. Offsets count bytes of the stream, times are monotonic ms."""

    def __init__(self, session: AnySession, stream: "Stream") -> None:
        self.session = session
        self.stream = stream
        self.state: State | None = None  # None until it has sent PSYNC
        self.position = 0  # the next byte to put into its output
        self.ack_offset = 0
        self.fsync_offset = 0
        self.ack_ms = 0.0
        self.host = b""  # as it announces itself
        self.port = 0
        self.takes_eof = False  # its capabilities
        self.takes_psync2 = False
        self.rdb_only = False
        self.drained: Callable[[], None] = lambda: None  # called when its output has left while it takes a snapshot

    @property
    def shown_host(self) -> str:
        return self.host.decode() if self.host else self.session.addr.rpartition(":")[0].strip("[]")

    @property
    def name(self) -> str:
        """As the log calls it."""
        return f"{self.shown_host}:{self.port or self.session.addr.rpartition(':')[2]}"

    def sent(self) -> None:
        """Its output has left: there is room for more of the stream."""
        if self.state is State.ONLINE:
            self.stream.feed(self)
        else:
            self.drained()

    def lost(self) -> None:
        self.stream.forget(self)
        self.drained()


class Stream:
    """Takes the journal's bytes and deals them out. `flush` is called before the reactor sends anything."""

    def __init__(self) -> None:
        self.backlog: Backlog | None = None
        self.replicas: list[Replica] = []
        self.output_bytes = 0
        self.has_pending: Callable[[], None] = lambda: None
        """Called when bytes are waiting for `flush`: the reactor may be asleep."""
        self.forgotten: Callable[[Replica], None] = lambda _replica: None
        self.lags_too_far: Callable[[Replica, int], bool] = lambda _replica, _bytes: False
        self._pending = bytearray()

    def take(self, data: bytes) -> None:
        """The next bytes of the stream (the journal's side)."""
        if not self._pending:
            self.has_pending()
        self._pending += data

    def flush(self) -> None:
        """Put what has been written into the backlog and the replicas' outputs."""
        backlog = self.backlog
        if backlog is None or not self._pending:
            return
        backlog.append(self._pending)
        self._pending.clear()
        needed_from = backlog.end + 1
        for replica in self.replicas:
            if replica.state is State.ONLINE:
                self.feed(replica)
            if replica.position:
                self._check_lag(replica, backlog)
                needed_from = min(needed_from, replica.position)
        backlog.trim(needed_from)

    def _check_lag(self, replica: Replica, backlog: Backlog) -> None:
        behind = backlog.end + 1 - replica.position + len(replica.session.out)
        if behind > OUTPUT_BYTES_MAX and self.lags_too_far(replica, behind):
            replica.session.close(CLOSE_NOW)
            replica.position = 0
            replica.state = None

    def feed(self, replica: Replica) -> None:
        """Give an online replica as much of the stream as its output takes."""
        assert self.backlog is not None
        out = replica.session.out
        room = OUTPUT_BYTES_MAX - len(out)
        if room <= 0 or replica.position > self.backlog.end:
            return
        data = self.backlog.read(replica.position, room)
        out += data
        replica.position += len(data)
        self.output_bytes += len(data)
        replica.session.touch()

    def go_online(self, replica: Replica) -> None:
        """From now on the replica gets the stream from its position on."""
        replica.state = State.ONLINE
        self.feed(replica)

    def forget(self, replica: Replica) -> None:
        """The replica is gone."""
        if replica in self.replicas:
            self.replicas.remove(replica)
            self.forgotten(replica)
        replica.state = None

    def drop_replicas(self) -> None:
        """Close all replicas' links: they come back and ask which history this is now."""
        for replica in list(self.replicas):
            replica.session.close(CLOSE_NOW)

    def begin(self, size_bytes: int, end: int) -> None:
        """Make the backlog: the stream starts after offset `end`."""
        self._pending.clear()
        self.backlog = Backlog(size_bytes, end)

    def end(self) -> None:
        """Drop the backlog: nobody can go on from here any more."""
        self._pending.clear()
        self.backlog = None
