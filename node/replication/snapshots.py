"""Full synchronisations of one primary: which replicas share a snapshot, when it begins, and which way it takes.

With `repl-diskless-sync yes` it is streamed from the keyspace as that is walked, with no file in between. Without it,
or for replicas that cannot take a payload of unknown length (no `capa eof`), it is a background save: the node's RDB
file, from which it is sent with its length in front. So it waits for a save or a rewrite that is running, and may
become one that all of Redis's rules of saving apply to. Whoever asks while it is being written shares it; whoever asks
while one is streamed waits for the next.
"""

from collections.abc import Callable
from typing import IO

from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT
from node.persistence.host import path_of
from node.persistence.saver import Reader
from node.persistence.source import RdbSource
from node.replication.history import History
from node.replication.host import ReplicationHost
from node.replication.landing import no_longer_wanted
from node.replication.stream import Replica, State, Stream
from node.replication.transfer import FromFile, Streaming, slice_for
from node.timers import Timer

Parts = frozenset[bytes] | None
"""What a replica wants of the data set; None: all of it."""


class Snapshots:
    """What replicas wait for. `goes_online` is called with each that has all it needs to follow the stream."""

    def __init__(
        self, host: ReplicationHost, history: History, stream: Stream, goes_online: Callable[[Replica], None]
    ) -> None:
        self.host = host
        self.functions: Callable[[], list[bytes]] = list
        """The sources of the libraries."""
        self._history = history
        self._stream = stream
        self._goes_online = goes_online
        self._timer: Timer | None = None
        self._streaming = 0  # how many are being streamed
        self._saving: list[Replica] = []  # those whose snapshot is being saved
        self._saved_from = 0  # where in the stream they go on

    def _in(self, state: State) -> list[Replica]:
        return [replica for replica in self._stream.replicas if replica.state is state]

    # --- when -----------------------------------------------------------------------------------------------------

    def ask(self, replica: Replica) -> None:
        """Let it share the snapshot that is being saved, or wait for the next."""
        replica.state = State.WAITING
        if self._may_share(replica):
            self.host.log.notice("Waiting for end of BGSAVE for SYNC")
            self._saving.append(replica)
            self._begins(replica, State.SAVING, self._saved_from)
        else:
            self._schedule()

    def _may_share(self, replica: Replica) -> bool:
        """Is a snapshot of its kind being saved, and the stream from there on still kept, for somebody else's sake?"""
        return not self._is_streamed(replica) and any(other.state is State.SAVING for other in self._saving)

    def _is_streamed(self, replica: Replica) -> bool:
        return replica.takes_eof and (self.host.config["repl-diskless-sync"] or replica.parts is not None)

    def _schedule(self) -> None:
        """Begin the next snapshot: after a delay, in which more replicas may come to share it."""
        if self._streaming:
            return
        delay_ms = self._delay_ms()
        if self._timer is not None:
            if delay_ms:
                return
            self._timer.cancel()
        if delay_ms:
            self.host.log.notice("Delay next BGSAVE for diskless SYNC")
        self._timer = self.host.timers.after(delay_ms, self._begin)

    def _delay_ms(self) -> int:
        config, waiting = self.host.config, self._in(State.WAITING)
        enough = config["repl-diskless-sync-max-replicas"]
        if not config["repl-diskless-sync"] or (enough and len(waiting) >= enough):
            return 0
        if not all(replica.takes_eof for replica in waiting) or any(replica.rdb_only for replica in waiting):
            return 0  # who wants the file alone takes a backup, perhaps with writers held back meanwhile
        delay_ms: int = config["repl-diskless-sync-delay"] * 1000
        return delay_ms

    def _begin(self) -> None:
        self._timer = None
        streamed = dict[Parts, list[Replica]]()
        for replica in self._in(State.WAITING):
            if self._is_streamed(replica):
                streamed.setdefault(replica.parts, []).append(replica)
        for parts, group in streamed.items():
            self._stream_to(group, parts)
        self.save()

    def _begins(self, replica: Replica, state: State, offset: int) -> None:
        """Its snapshot is the data set at this offset."""
        replica.state = state
        replica.position = offset + 1
        replica.ack_offset = 0
        if replica.knows_offsets:
            replica.session.out += b"+FULLRESYNC %b %d\r\n" % (self._history.replid.encode(), offset)
            replica.session.touch()

    def _prepare(self, group: list[Replica], target: str) -> int:
        """A snapshot begins now: its offset in the stream."""
        host, journal = self.host, self.host.journal
        host.read_clock()
        self._stream.flush()
        if not journal.relaying:
            journal.stream_db = -1  # the first command after the snapshot selects its database
        names = ", ".join(replica.name for replica in group)
        host.log.notice(f"Starting BGSAVE for SYNC with target: {target} ({names})")
        return journal.offset

    # --- streamed -------------------------------------------------------------------------------------------------

    def _stream_to(self, group: list[Replica], parts: Parts) -> None:
        host = self.host
        offset = self._prepare(group, "replicas sockets")
        for replica in group:
            replica.is_streamed = True
            self._begins(replica, State.TAKING, offset)
        source = RdbSource(
            host,
            replication=(max(0, host.journal.stream_db), self._history.replid, offset),
            functions=self.functions() if parts is None or b"functions" in parts else (),
            slots=None if parts is None else (),
            arriving=True,
        )
        self._streaming += 1
        host.spawn(Streaming(host, group, source, self._streamed).run)

    def _streamed(self, taken: list[Replica]) -> None:
        """`taken` are the replicas that have all of it."""
        self._streaming -= 1
        for replica in taken:
            if replica.rdb_only:
                self._let_go(replica)
                continue
            replica.state = State.LOADING
            replica.ack_ms = self.host.timers.monotonic_ms()
            self.host.log.notice(
                f"Streamed replica with replica {replica.name} via socket succeeded (socket). "
                "Waiting for REPLCONF ACK from replica to enable streaming"
            )
        if self._in(State.WAITING):
            self._schedule()

    def _let_go(self, replica: Replica) -> None:
        self.host.log.notice(f"RDB transfer completed, rdb only replica ({replica.name}) is disconnected")
        replica.give_up()
        replica.session.close(CLOSE_WHEN_SENT)

    # --- by way of a file -----------------------------------------------------------------------------------------

    @property
    def want_disk(self) -> bool:
        """Somebody waits for a snapshot that is to be saved."""
        return any(not self._is_streamed(replica) for replica in self._in(State.WAITING))

    def save(self) -> None:
        """Begin a save for those who want one. Called again when one that stands in its way is over."""
        group = [replica for replica in self._in(State.WAITING) if not self._is_streamed(replica)]
        if not group:
            return
        saver = self.host.saver
        if not saver.is_free:
            self.host.log.notice("Another BG operation is active. BGSAVE for replication delayed")
            return
        self._saved_from = self._prepare(group, "disk")
        saver.begin_background(Reader(lambda: slice_for(self.host, self._in(State.SAVING)), self._saved))
        self._saving = group
        for replica in group:
            self._begins(replica, State.SAVING, self._saved_from)

    def replica_lost(self) -> None:
        """A save that nobody waits for any more is called off, unless files are wanted by and by."""
        is_wanted = self.host.config["save"] or any(replica.state is State.SAVING for replica in self._saving)
        if self._saving and not is_wanted:
            self.host.saver.cancel_background()

    def _saved(self, file: IO[bytes] | None, size: int) -> None:
        """The background save is over; None: there is no file."""
        host = self.host
        group = [replica for replica in self._saving if replica.state is State.SAVING]
        self._saving = []
        if file is None:
            for replica in group:
                host.log.warning("SYNC failed. BGSAVE child returned an error")
                replica.give_up()
                replica.session.close(CLOSE_NOW)
            return
        for replica in group:
            replica.state = State.TAKING
        host.spawn(FromFile(host, group, file, size, self._sent).run)

    def _sent(self, taken: list[Replica]) -> None:
        for replica in taken:
            if replica.rdb_only:
                self._let_go(replica)
            else:
                self._goes_online(replica)
        needed = any(self._in(state) for state in (State.WAITING, State.SAVING, State.TAKING))
        if no_longer_wanted(self.host) and not needed:
            self.host.log.notice("Removing the RDB file used to feed replicas in a persistence-less instance")
            self.host.platform.remove_if_there(path_of(self.host, self.host.config["dbfilename"]))
