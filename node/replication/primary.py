"""The primary's side of replication: PSYNC answered, snapshots streamed, acknowledgements counted.

A full synchronisation is a snapshot and the journal from its offset; `node.replication.snapshots` makes them, for all
replicas that wait at that moment.
"""

from collections.abc import Callable

from node.keyspace.gates import AckGates
from node.net.peer import CLOSE_NOW
from node.net.resp import NO_REPLY, Encoded, Reply
from node.replication.history import History
from node.replication.host import AnySession, ReplicationHost
from node.replication.snapshots import Snapshots
from node.replication.stream import Replica, State, Stream
from node.timers import Timer

PING = b"*1\r\n$4\r\nping\r\n"
GETACK = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"
CHECK_MS = 1000
"""How often links are looked at for silence, and waiting replicas are kept awake."""


class Primary:
    """What a node does for its replicas. A replica with replicas of its own uses it too: it relays."""

    def __init__(self, host: ReplicationHost, history: History) -> None:
        self.host = host
        self.history = history
        self.stream = Stream(host.stats)
        self.gates = AckGates()
        self.getack_wanted = False
        self.quiet = False
        """Nothing of our own goes into the stream (pings, requests to acknowledge): its end is waited for."""
        self.snapshots = Snapshots(host, history, self.stream, self.goes_online)
        self.acknowledged: Callable[[], None] = _nobody_waits
        """Called when a replica has said how far it is."""
        self._field_deadline_offset = -1  # where the stream was when a field got its deadline
        self._check_timer: Timer | None = None
        self._ping_ms = 0.0
        self._without_replicas_ms = 0.0
        self.stream.has_pending = self._wake
        self.stream.forgotten = self._forgotten
        self.stream.lags_too_far = lambda replica: host.output_limit_exceeded(replica.session, len(replica.session.out))

    def _wake(self) -> None:
        if not self.host.reactor.in_batch:
            self.host.reactor.wake()

    # --- what others ask ------------------------------------------------------------------------------------------

    @property
    def online(self) -> list[Replica]:
        return [replica for replica in self.stream.replicas if replica.state is State.ONLINE]

    def good_replicas(self) -> int:
        """How many replicas acknowledged something within `min-replicas-max-lag` seconds."""
        oldest = self.host.timers.monotonic_ms() - self.host.config["min-replicas-max-lag"] * 1000
        return sum(1 for replica in self.online if replica.ack_ms >= oldest)

    def count_acks(self, offset: int) -> int:
        """How many replicas have everything up to `offset`."""
        return sum(1 for replica in self.online if replica.ack_offset >= offset)

    def count_fsyncs(self, offset: int) -> int:
        """How many replicas have everything up to `offset` in their append-only files for good."""
        return sum(1 for replica in self.online if replica.fsync_offset >= offset)

    def lagging(self) -> list[Replica]:
        """Replicas that have not acknowledged all of the stream."""
        return [replica for replica in self.online if replica.ack_offset < self.host.journal.offset]

    def before_send(self) -> None:
        """Between a batch and its replies: ask for acknowledgements where somebody waits, deal the stream out."""
        if self.getack_wanted and not self.quiet:
            self.getack_wanted = False
            if self.stream.replicas:
                self.host.journal.append_to_stream(GETACK)
        self.stream.flush()

    # --- replicas that know no deadlines of fields ----------------------------------------------------------------

    @property
    def elder(self) -> Replica | None:
        """A replica that may be a Redis before 7.4: it knows no deadlines of fields."""
        for replica in self.stream.replicas:
            if replica.state is not None and not replica.takes_field_deadlines and not replica.rdb_only:
                return replica
        return None

    def is_too_old(self, replica: Replica) -> bool:
        """Would it have to take what it cannot hold?"""
        if replica.takes_field_deadlines or replica.rdb_only or replica.parts is not None:
            return False
        return any(db.hash_deadlines for db in self.host.keyspace.every())

    def gives_field_deadline(self) -> None:
        """A field gets a deadline now: what follows in the stream is nothing for an elder."""
        self._field_deadline_offset = self.host.journal.offset

    # --- the replica's requests -----------------------------------------------------------------------------------

    def replica_of(self, session: AnySession) -> Replica:
        """The replica behind a session, made at its first REPLCONF or PSYNC."""
        if not isinstance(session.role, Replica):
            session.role = Replica(session, self.stream)
            session.hears_of_sending = True
        return session.role

    def psync(self, session: AnySession, replid: str, offset: int) -> Reply:
        """PSYNC: go on from `offset` of history `replid`, or begin with a full synchronisation."""
        replica = self.replica_of(session)
        self.host.log.notice(f"Replica {replica.name} asks for synchronization")
        self.stream.flush()
        if not self._goes_on(replica, replid, offset):
            if replid != "?":
                self.host.stats.sync_partial_failed += 1
            return self._full_sync(replica)
        self._attach(replica)
        replica.position = offset
        replica.ack_offset = offset - 1
        self.host.stats.sync_partial_ok += 1
        missing = self.host.journal.offset - offset + 1
        self.host.log.notice(
            f"Partial resynchronization request from {replica.name} accepted. "
            f"Sending {missing} bytes of backlog starting from offset {offset}."
        )
        name = b" " + self.history.replid.encode() if replica.takes_psync2 else b""
        session.push(Encoded(b"+CONTINUE%b\r\n" % name))
        self.stream.go_online(replica)
        self.host.conditions_changed()
        return NO_REPLY

    def sync(self, session: AnySession) -> Reply:
        """SYNC: a full synchronisation for a replica that knows nothing of offsets."""
        replica = self.replica_of(session)
        self.host.log.notice(f"Replica {replica.name} asks for synchronization")
        replica.knows_offsets = False
        return self._full_sync(replica)

    def _goes_on(self, replica: Replica, replid: str, offset: int) -> bool:
        if replid == "?":
            return False
        history, log = self.history, self.host.log
        if not history.covers(replid, offset):
            if replid in (history.replid, history.replid2):
                reason = f"Requested offset for second ID was {offset}, but I can reply up to {history.second_offset}"
            else:
                reason = f"Replication ID mismatch (Replica asked for '{replid}', my replication IDs are "
                reason += f"'{history.replid}' and '{history.replid2}')"
            log.notice(f"Partial resynchronization not accepted: {reason}")
            return False
        if offset <= self._field_deadline_offset + 1 and not replica.takes_field_deadlines:
            log.notice(f"Replica {replica.name} may not know the deadlines of fields that it has missed")
            return False
        backlog = self.stream.backlog
        if backlog is None or not backlog.holds(offset):
            log.notice(
                f"Unable to partial resync with replica {replica.name} for lack of backlog "
                f"(Replica request was: {offset})."
            )
            return False
        return True

    def _full_sync(self, replica: Replica) -> Reply:
        """Let a replica wait for the next snapshot."""
        self.host.stats.sync_full += 1
        if self.stream.backlog is None:
            self._begin_stream()
        self._attach(replica)
        self.snapshots.ask(replica)
        return NO_REPLY

    def _begin_stream(self) -> None:
        """The first replica: from here on every byte counts, under a name that no older replica can ask for."""
        self.history.renew(self.host.platform.random_hex())
        self.restart_stream()
        self.host.log.notice(
            f"Replication backlog created, my new replication IDs are '{self.history.replid}' and "
            f"'{self.history.replid2}'"
        )

    def restart_stream(self) -> None:
        """A stream with nothing in it begins after the journal's offset. Replicas of an older one are let go."""
        self.stream.drop_replicas()
        self.stream.begin(self.host.config["repl-backlog-size"], self.host.journal.offset)
        self.host.journal.set_stream(self.stream)

    def _attach(self, replica: Replica) -> None:
        replica.session.become_replica()
        replica.ack_ms = self.host.timers.monotonic_ms()
        if not self.stream.replicas:
            self._ping_ms = replica.ack_ms
        self.stream.replicas.append(replica)
        self.watch()

    def acknowledge(self, session: AnySession, offset: int, fsync_offset: int | None) -> None:
        """REPLCONF ACK: the replica has everything up to `offset`."""
        replica = session.role
        if not isinstance(replica, Replica) or replica.state is None:
            return
        replica.ack_offset = max(replica.ack_offset, offset)
        if fsync_offset is not None:
            replica.fsync_offset = max(replica.fsync_offset, fsync_offset)
        replica.ack_ms = self.host.timers.monotonic_ms()
        if replica.state is State.LOADING:
            self.goes_online(replica)
        if self.gates:
            self.gates.acknowledged()
        self.acknowledged()

    def goes_online(self, replica: Replica) -> None:
        """It has the data set of its position: from here on it gets the stream."""
        self.host.log.notice(f"Synchronization with replica {replica.name} succeeded")
        replica.ack_ms = self.host.timers.monotonic_ms()
        self.stream.go_online(replica)
        self.host.conditions_changed()

    def _forgotten(self, replica: Replica) -> None:
        self.host.log.notice(f"Connection with replica {replica.name} lost.")
        self.snapshots.replica_lost()
        if not self.stream.replicas:
            self._without_replicas_ms = self.host.timers.monotonic_ms()
        self.watch()
        self.host.conditions_changed()

    # --- silence --------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """See to it that links are looked at while there are any, and then that the backlog ends in its time.

        Call when one of that changes: replicas, the role, `repl-backlog-ttl`.
        """
        if self._check_timer is not None:
            self._check_timer.cancel()
            self._check_timer = None
        if self.stream.replicas:
            self._check_timer = self.host.timers.after(CHECK_MS, self._check, vital=True)
        elif self.stream.backlog is not None and not self.host.journal.relaying:
            ttl_s = self.host.config["repl-backlog-ttl"]
            if ttl_s:
                self._check_timer = self.host.timers.at(self._without_replicas_ms + ttl_s * 1000, self._end_stream)

    def without_replicas(self) -> None:
        """The time that the backlog is kept for nobody begins now."""
        self._without_replicas_ms = self.host.timers.monotonic_ms()
        self.watch()

    def _check(self) -> None:
        """Once a second while there are replicas: who is silent, and a word to those who would think we are."""
        now = self.host.timers.monotonic_ms()
        config = self.host.config
        for replica in list(self.stream.replicas):
            if replica.state in (State.WAITING, State.SAVING):
                replica.session.out += b"\n"  # "I am still here": it counts for nothing
                replica.session.touch()
            elif self._is_silent(replica, now):
                self.host.log.warning(f"Disconnecting timedout replica (streaming sync): {replica.name}")
                replica.session.close(CLOSE_NOW)
        if not self.host.journal.relaying and not self.quiet:
            self._ping(now, config["repl-ping-replica-period"] * 1000)
        if config["min-replicas-to-write"]:
            self.host.conditions_changed()
        self._check_timer = None
        self.watch()

    def _is_silent(self, replica: Replica, now: float) -> bool:
        timeout_ms: int = self.host.config["repl-timeout"] * 1000
        if now - replica.ack_ms <= timeout_ms:
            return False
        if replica.state is State.LOADING:  # it sends bare line ends while it loads
            return self.host.platform.now_ms() - replica.session.last_active_ms > timeout_ms
        return replica.state is State.ONLINE and replica.knows_offsets

    def _ping(self, now: float, period_ms: float) -> None:
        if now - self._ping_ms >= period_ms:
            self._ping_ms = now
            self.host.journal.append_to_stream(PING)

    def _end_stream(self) -> None:
        self.history.renew(self.host.platform.random_hex())
        self.stream.end()
        self.host.journal.set_stream(None)
        ttl_s = self.host.config["repl-backlog-ttl"]
        self.host.log.notice(f"Replication backlog freed after {ttl_s} seconds without connected replicas.")


def _nobody_waits() -> None:
    pass
