"""The primary's side of replication: PSYNC answered, snapshots streamed, acknowledgements counted.

A full synchronisation is a snapshot and the journal from its offset. The snapshot is streamed from the keyspace as it
is walked, with no file in between, to all replicas that wait at that moment. A replica that cannot take a payload of
unknown length (no `capa eof`) gets the same bytes with their length in front, which have to be collected first.
"""

from collections.abc import Callable
from typing import Any

from node.keyspace.gates import AckGates
from node.net.peer import CLOSE_NOW
from node.net.resp import NO_REPLY, Encoded, Reply
from node.persistence.source import RdbSource
from node.replication.history import History
from node.replication.host import AnySession, ReplicationHost
from node.replication.stream import Replica, State, Stream
from node.replication.transfer import Transfer

PING = b"*1\r\n$4\r\nping\r\n"
GETACK = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"
CHECK_MS = 1000
"""How often links are looked at for silence, and waiting replicas are kept awake."""


class Primary:
    """What a node does for its replicas. A replica with replicas of its own uses it too: it relays."""

    def __init__(self, host: ReplicationHost, history: History, start: Callable[..., None]) -> None:
        self.host = host
        self.history = history
        self.stream = Stream()
        self.gates = AckGates()
        self.getack_wanted = False
        self._start = start  # starts a Trio task
        self._sync_timer: Any = None
        self._check_timer: Any = None
        self._ping_ms = 0.0
        self._without_replicas_ms = 0.0
        self._transfers = 0
        self.stream.has_pending = host.reactor.wake
        self.stream.forgotten = self._forgotten
        self.stream.lags_too_far = lambda replica, behind: host.output_limit_exceeded(replica.session, behind)

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

    def lagging(self) -> list[Replica]:
        """Replicas that have not acknowledged all of the stream."""
        return [replica for replica in self.online if replica.ack_offset < self.host.journal.offset]

    def before_send(self) -> None:
        """Between a batch and its replies: ask for acknowledgements where somebody waits, deal the stream out."""
        if self.getack_wanted:
            self.getack_wanted = False
            self.host.journal.append_to_stream(GETACK)
        self.stream.flush()

    # --- the replica's requests -----------------------------------------------------------------------------------

    def replica_of(self, session: AnySession) -> Replica:
        """The replica behind a session, made at its first REPLCONF or PSYNC."""
        if not isinstance(session.role, Replica):
            session.role = Replica(session, self.stream)
        return session.role

    def psync(self, session: AnySession, replid: str, offset: int) -> Reply:
        """PSYNC: go on from `offset` of history `replid`, or begin with a full synchronisation."""
        replica = self.replica_of(session)
        self.stream.flush()
        if self._goes_on(replica, replid, offset):
            self._attach(replica)
            replica.position = offset
            replica.ack_offset = offset - 1
            self.host.stats.sync_partial_ok += 1
            missing = self.host.journal.offset - offset + 1
            self.host.log.notice(
                f"Partial resynchronization request from {replica.name} accepted. "
                f"Sending {missing} bytes of backlog starting from offset {offset}."
            )
            session.push(Encoded(self._continue_line(replica)))
            self.stream.go_online(replica)
            return NO_REPLY
        if replid != "?":
            self.host.stats.sync_partial_failed += 1
        return self.full_sync(session)

    def _continue_line(self, replica: Replica) -> bytes:
        return b"+CONTINUE %b\r\n" % self.history.replid.encode() if replica.takes_psync2 else b"+CONTINUE\r\n"

    def _goes_on(self, replica: Replica, replid: str, offset: int) -> bool:
        if replid == "?":
            return False
        name = replica.name
        if not self.history.covers(replid, offset):
            if replid in (self.history.replid, self.history.replid2):
                reason = (
                    f"Requested offset for second ID was {offset}, but I can reply up to {self.history.second_offset}"
                )
            else:
                reason = f"Replication ID mismatch (Replica asked for '{replid}', my replication IDs are "
                reason += f"'{self.history.replid}' and '{self.history.replid2}')"
            self.host.log.notice(f"Partial resynchronization not accepted: {reason}")
            return False
        backlog = self.stream.backlog
        if backlog is None or not backlog.holds(offset):
            self.host.log.notice(
                f"Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."
            )
            return False
        return True

    def full_sync(self, session: AnySession) -> Reply:
        """Let a replica wait for the next snapshot (PSYNC that cannot go on, or SYNC)."""
        replica = self.replica_of(session)
        self.host.stats.sync_full += 1
        self.host.log.notice(f"Replica {replica.name} asks for synchronization")
        if self.stream.backlog is None:
            self._begin_stream()
        self._attach(replica)
        replica.state = State.WAITING
        self._schedule_sync()
        return NO_REPLY

    def _begin_stream(self) -> None:
        """The first replica: from here on every byte counts, under a name that no older replica can ask for."""
        self.history.renew(self.host.platform.random_hex())
        self.stream.begin(self.host.config["repl-backlog-size"], self.host.journal.offset)
        self.host.journal.stream = self.stream
        self.host.log.notice(
            f"Replication backlog created, my new replication IDs are '{self.history.replid}' and "
            f"'{self.history.replid2}'"
        )

    def _attach(self, replica: Replica) -> None:
        session = replica.session
        session.kind = b"replica"
        replica.ack_ms = self.host.timers.monotonic_ms()
        if replica not in self.stream.replicas:
            self.stream.replicas.append(replica)
        if self._check_timer is None:
            self._check_timer = self.host.timers.after(CHECK_MS, self._check)
            self._ping_ms = self.host.timers.monotonic_ms()
        self.host.conditions_changed()

    def acknowledge(self, session: AnySession, offset: int, fsync_offset: int | None) -> None:
        """REPLCONF ACK: the replica has everything up to `offset`."""
        replica = session.role
        if not isinstance(replica, Replica):
            return
        replica.ack_offset = max(replica.ack_offset, offset)
        if fsync_offset is not None:
            replica.fsync_offset = max(replica.fsync_offset, fsync_offset)
        replica.ack_ms = self.host.timers.monotonic_ms()
        if replica.state is State.LOADING:
            self._goes_online(replica)
        if self.gates:
            self.gates.acknowledged()

    def _goes_online(self, replica: Replica) -> None:
        self.host.log.notice(f"Synchronization with replica {replica.name} succeeded")
        self.stream.go_online(replica)
        self.host.conditions_changed()

    def _forgotten(self, replica: Replica) -> None:
        if replica.state is State.ONLINE:
            self.host.log.warning(f"Connection with replica {replica.name} lost.")
        if not self.stream.replicas:
            self._without_replicas_ms = self.host.timers.monotonic_ms()
        self.host.conditions_changed()

    # --- silence --------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Once a second while there are replicas or a backlog: pings, time-outs, the backlog's end."""
        self._check_timer = None
        now = self.host.timers.monotonic_ms()
        config = self.host.config
        timeout_ms = config["repl-timeout"] * 1000
        for replica in list(self.stream.replicas):
            if replica.state is State.WAITING:
                replica.session.out += b"\n"  # "I am still here": it counts for nothing
                replica.session.touch()
            elif now - replica.ack_ms > timeout_ms and replica.state is State.ONLINE:
                self.host.log.warning(f"Disconnecting timedout replica (streaming sync): {replica.name}")
                replica.session.close(CLOSE_NOW)
        if not self.host.journal.relaying:
            self._ping(now, config["repl-ping-replica-period"] * 1000)
        if config["min-replicas-to-write"]:
            self.host.conditions_changed()
        ttl_ms = config["repl-backlog-ttl"] * 1000
        if self.stream.replicas:
            self._without_replicas_ms = now
        elif ttl_ms and not self.host.journal.relaying and now - self._without_replicas_ms > ttl_ms:
            self._end_stream(config["repl-backlog-ttl"])
        if self.stream.backlog is not None:
            self._check_timer = self.host.timers.after(CHECK_MS, self._check)

    def _ping(self, now: float, period_ms: float) -> None:
        if self.stream.replicas and now - self._ping_ms >= period_ms:
            self._ping_ms = now
            self.host.journal.append_to_stream(PING)

    def _end_stream(self, ttl_s: int) -> None:
        self.history.renew(self.host.platform.random_hex())
        self.stream.end()
        self.host.journal.stream = None
        self.host.log.notice(f"Replication backlog freed after {ttl_s} seconds without connected replicas.")

    # --- snapshots ------------------------------------------------------------------------------------------------

    def _schedule_sync(self) -> None:
        """Begin the next snapshot: after a delay, in which more replicas may come to share it."""
        if self._sync_timer is not None or self._transfers:
            return
        config = self.host.config
        delay_ms = config["repl-diskless-sync-delay"] * 1000 if config["repl-diskless-sync"] else 0
        waiting = sum(1 for replica in self.stream.replicas if replica.state is State.WAITING)
        enough = config["repl-diskless-sync-max-replicas"]
        if enough and waiting >= enough:
            delay_ms = 0
        if delay_ms:
            self.host.log.notice("Delay next BGSAVE for diskless SYNC")
        self._sync_timer = self.host.timers.after(delay_ms, self._begin_transfers)

    def _begin_transfers(self) -> None:
        self._sync_timer = None
        waiting = [replica for replica in self.stream.replicas if replica.state is State.WAITING]
        for takes_eof in (True, False):
            group = [replica for replica in waiting if replica.takes_eof == takes_eof]
            if group:
                self._begin_transfer(group, takes_eof)

    def _begin_transfer(self, group: list[Replica], streamed: bool) -> None:
        self.host.read_clock()
        self.stream.flush()
        journal = self.host.journal
        journal.stream_db = -1  # the first command after the snapshot selects its database
        offset = journal.offset
        names = ", ".join(replica.name for replica in group)
        self.host.log.notice(f"Starting BGSAVE for SYNC with target: replicas sockets ({names})")
        line = b"+FULLRESYNC %b %d\r\n" % (self.history.replid.encode(), offset)
        for replica in group:
            replica.state = State.TAKING
            replica.position = offset + 1
            replica.ack_offset = 0
            replica.session.out += line
            replica.session.touch()
        source = RdbSource(self.host, replication=(0, self.history.replid, offset))
        self._transfers += 1
        self._start(Transfer(self.host, group, source, self._transferred).run, streamed)

    def _transferred(self, taken: list[Replica], streamed: bool) -> None:
        """A snapshot is over: `taken` are the replicas that have all of it."""
        self._transfers -= 1
        for replica in taken:
            if streamed:
                replica.state = State.LOADING
            else:
                self._goes_online(replica)
        if streamed and taken:
            names = ", ".join(replica.name for replica in taken)
            self.host.log.notice(
                f"Streamed replica with replica {names} via socket succeeded (socket). "
                "Waiting for REPLCONF ACK from replica to enable streaming"
            )
        if any(replica.state is State.WAITING for replica in self.stream.replicas):
            self._schedule_sync()
