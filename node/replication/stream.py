"""The replication stream of one node: the backlog, and the replicas that read it. Sans-IO.

A replica's life: its session sends PSYNC. Either the backlog still holds what it lacks, and it is `ONLINE` at once; or
it waits for a snapshot (`WAITING`), which may have to be written to a file first (`SAVING`), takes it (`TAKING`),
acknowledges it (`LOADING`: only after a payload that has no length) and then is `ONLINE`. From the moment its snapshot
begins it is a position in the backlog, which keeps what it still needs: nothing is buffered for one replica alone,
however many there are.
"""

from collections.abc import Callable
from enum import Enum
from sys import getsizeof

from node.net.peer import CLOSE_NOW
from node.replication.backlog import Backlog
from node.replication.host import AnySession
from node.stats import Stats

OUTPUT_BYTES_MAX = 256 * 1024
"""How much of the stream is put into a replica's output at a time; the rest waits in the backlog."""


class State(Enum):
    """Where a replica stands."""

    WAITING = 1
    SAVING = 2
    TAKING = 3
    LOADING = 4
    ONLINE = 5


SHOWN_STATES = {
    State.WAITING: "wait_bgsave", State.SAVING: "wait_bgsave", State.TAKING: "send_bulk", State.LOADING: "send_bulk",
    State.ONLINE: "online",
}  # fmt: skip
"""As INFO tells them, of replicas whose snapshots are files."""


class Replica:
    """One replica: the `role` of its session. Offsets count bytes of the stream, times are monotonic ms."""

    def __init__(self, session: AnySession, stream: "Stream") -> None:
        self.session = session
        self.stream = stream
        self.state: State | None = None  # None until it has sent PSYNC, and once it has been given up
        self.position = 0  # the next byte to put into its output; 0: it needs nothing of the backlog
        self.ack_offset = 0
        self.fsync_offset = 0
        self.ack_ms = 0.0
        self.host = b""  # as it announces itself
        self.port = 0
        self.takes_eof = False  # its capabilities
        self.takes_psync2 = False
        self.takes_field_deadlines = False  # else it may be a Redis before 7.4
        self.knows_offsets = True  # it did not ask with SYNC
        self.rdb_only = False
        self.is_streamed = False  # its snapshot comes from memory, not from a file
        self.parts: frozenset[bytes] | None = None  # which parts of the data set it wants alone; None: all of them
        self.drained: Callable[[], None] = _nothing  # called when its output has left while it takes a snapshot

    @property
    def shown_host(self) -> str:
        return self.host.decode("utf-8", "replace") if self.host else self.session.addr.rpartition(":")[0].strip("[]")

    @property
    def name(self) -> str:
        """As the log calls it."""
        return f"{self.shown_host}:{self.port or self.session.addr.rpartition(':')[2]}"

    @property
    def shown_state(self) -> str:
        """As INFO tells it: a snapshot is sent while it is made, or after that."""
        assert self.state is not None
        return "wait_bgsave" if self.state is State.TAKING and self.is_streamed else SHOWN_STATES[self.state]

    @property
    def waiting_bytes(self) -> int:
        """How much of the stream is kept for it beside its output."""
        backlog = self.stream.backlog
        return backlog.end + 1 - self.position if backlog is not None and self.position else 0

    def sent(self) -> None:
        """Its output has left: there is room for more of the stream."""
        if self.state is State.ONLINE:
            self.stream.feed(self)
        else:
            self.drained()

    def lost(self) -> None:
        self.stream.forget(self)
        self.drained()

    def give_up(self) -> None:
        """It gets nothing any more, and the backlog keeps nothing for it."""
        self.state = None
        self.position = 0


class Stream:
    """Takes the journal's bytes and deals them out. `flush` is called before the reactor sends anything."""

    def __init__(self, stats: Stats) -> None:
        self.stats = stats
        self.backlog: Backlog | None = None
        self.replicas: list[Replica] = []
        self.has_pending: Callable[[], None] = _nothing
        """Called when bytes are waiting for `flush`: the reactor may be asleep."""
        self.forgotten: Callable[[Replica], None] = _nobody_left
        self.lags_too_far: Callable[[Replica], bool] = _patient
        """Is what is kept for a replica beyond its limits?"""
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
        for replica in self.replicas:
            if replica.state is State.ONLINE:
                self.feed(replica)
            if replica.waiting_bytes + len(replica.session.out) > OUTPUT_BYTES_MAX and self.lags_too_far(replica):
                replica.give_up()
                replica.session.close(CLOSE_NOW)
        self._trim(backlog)

    def _trim(self, backlog: Backlog) -> None:
        needed_from = backlog.end + 1
        for replica in self.replicas:
            if replica.position:
                needed_from = min(needed_from, replica.position)
        backlog.trim(needed_from)

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
        self.stats.stream_output_bytes += len(data)
        replica.session.touch()

    def uncounted_bytes(self) -> int:
        """What is kept for replicas beyond the backlog: deletions make it grow, so eviction must not go by it."""
        backlog = self.backlog
        if backlog is None:
            return 0
        outputs = sum([getsizeof(replica.session.out) for replica in self.replicas])
        return max(0, backlog.held_bytes - backlog.size_bytes) + getsizeof(self._pending) + outputs

    def go_online(self, replica: Replica) -> None:
        """From now on the replica gets the stream from its position on."""
        replica.state = State.ONLINE
        self.feed(replica)

    def forget(self, replica: Replica) -> None:
        """The replica is gone."""
        replica.give_up()
        if replica in self.replicas:
            self.replicas.remove(replica)
            if self.backlog is not None:
                self._trim(self.backlog)
            self.forgotten(replica)

    def drop_replicas(self) -> None:
        """Close all replicas' links: they come back and ask which history this is now."""
        for replica in self.replicas:
            replica.give_up()
            replica.session.close(CLOSE_NOW)

    def begin(self, size_bytes: int, end: int) -> None:
        """Make the backlog, empty: the stream starts after offset `end`. Nobody may be reading an older one."""
        assert not any(replica.position for replica in self.replicas)
        self._pending.clear()
        self.backlog = Backlog(size_bytes, end)

    def resize(self, size_bytes: int) -> None:
        """Keep so much from now on."""
        if self.backlog is not None:
            self.backlog.resize(size_bytes)
            self._trim(self.backlog)

    def end(self) -> None:
        """Drop the backlog: nobody can go on from here any more."""
        self._pending.clear()
        self.backlog = None


def _nothing() -> None:
    pass


def _nobody_left(_replica: Replica) -> None:
    pass


def _patient(_replica: Replica) -> bool:
    return False
