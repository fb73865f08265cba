"""A node's part in replication: primary or replica, and the way from one to the other.

One door for each change of role. A primary that becomes a replica keeps its history and offset, so that it can ask its
new primary to go on from there; a replica that becomes a primary goes on under a new id, and remembers the old one for
its former siblings (PSYNC2).
"""

from collections.abc import Callable
from typing import Any

from node.keyspace.journal import TO_REPLICAS
from node.net.peer import CLOSE_WHEN_SENT
from node.net.resp import Failure
from node.replication.failover import Failover
from node.replication.follower import Follower
from node.replication.history import History
from node.replication.host import ReplicationHost
from node.replication.link import Apply
from node.replication.primary import Primary
from node.replication.stream import State

Info = dict[str, Any]
Place = tuple[int, str, int]
"""(database that the stream has selected, replication id, offset): where a data set stands in a history."""

UNBLOCKED = Failure(b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")


class Replication:
    """The role of one node. `apply` runs a command of the primary's without asking.

    Roles may change before the node has loaded its data set; links are dialled from `begin` on.
    """

    def __init__(self, host: ReplicationHost, apply: Apply) -> None:
        self.host = host
        self.history = History(host.platform.random_hex())
        self.primary = Primary(host, self.history)
        self.follower: Follower | None = None
        self.failover = Failover(self)
        self.primary.acknowledged = self.failover.look
        self.role_changed: Callable[[], None] = _nobody_asks
        """Called after each change of role or of the primary that is followed."""
        self.is_primary_there: Callable[[], bool] = _nobody_doubts
        """Whether it is our primary that answers at its address: asked before our data is given up for its."""
        self.fsynced_offset: Callable[[], int | None] = _nothing_fsynced
        """Up to where the journal is in the append-only file for good; None without one."""
        self.data_replaced: Callable[[], None] = _nobody_asks
        """Called when a primary's snapshot has taken the place of the data set."""
        self._apply = apply
        self._begun = False
        self._has_place = False  # our ids and offset are those of data that somebody else may have too

    @property
    def is_replica(self) -> bool:
        return self.follower is not None

    @property
    def link_is_up(self) -> bool:
        return self.follower is not None and self.follower.connected

    # --- roles ----------------------------------------------------------------------------------------------------

    def become_replica(self, name: str, port: int) -> None:
        """Follow the primary at `name`:`port` from now on. Our own replicas stay as long as our history does."""
        old = self.follower
        if old is not None and old.address == (name, port):
            return
        host = self.host
        self.primary.stream.flush()
        if old is not None:
            old.stop()
        else:
            self._serve_as_replica()
        self.follower = Follower(
            host,
            self.primary,
            (name, port),
            self._apply,
            lambda: self.is_primary_there(),
            self.failover,
            lambda: self.data_replaced(),
            resumable=old.resumable if old is not None else self._has_place,
        )
        if old is not None:
            self.follower.was_down_as(old)
        if self._begun:
            host.spawn(self.follower.run)
        self.primary.watch()
        host.conditions_changed()
        self.role_changed()

    def _serve_as_replica(self) -> None:
        """A primary until now: from here on the journal is somebody else's bytes, and what has expired is hidden."""
        host, journal = self.host, self.host.journal
        self._unblock_clients()
        if self._begun:
            host.log.notice(
                "Before turning into a replica, using my own master parameters to synthesize a cached master: "
                "I may be able to synchronize with the new master with just a partial transfer."
            )
            self._has_place = True
        if self.primary.stream.backlog is None:
            self.primary.restart_stream()
        journal.stream_db = -1
        journal.set_relaying(True)
        host.keyspace.removes_expired = False

    def _unblock_clients(self) -> None:
        """Nobody waits at a replica for what only a primary can give."""
        for session in list(self.host.sessions.values()):
            waiting = session.parked
            if waiting is not None and not waiting.postponed:
                session.unblock(UNBLOCKED)
                session.close(CLOSE_WHEN_SENT)

    def become_primary(self) -> None:
        """Follow nobody any more: the history goes on under a new id."""
        if self.follower is None:
            return
        host, journal, history = self.host, self.host.journal, self.history
        self.primary.stream.flush()
        self.follower.stop()
        self.follower = None
        old = history.replid
        history.continue_as(host.platform.random_hex(), journal.offset)
        journal.stream_db = -1  # the first command selects its database, whatever the old stream had selected
        journal.set_relaying(False)
        host.keyspace.removes_expired = True
        self.primary.stream.drop_replicas()  # they come back and learn the new name
        self.primary.without_replicas()
        host.log.notice(
            f"Setting secondary replication ID to {old}, valid up to offset: {history.second_offset}. "
            f"New replication ID is {history.replid}"
        )
        host.conditions_changed()
        self.role_changed()

    # --- the data set's place in a history ------------------------------------------------------------------------

    @property
    def place(self) -> Place | None:
        """What a file has to say of the data set, so that a node that loads it can go on; None if it is nobody's."""
        if self.primary.stream.backlog is None:
            return None
        return max(0, self.host.journal.stream_db), self.history.replid, self.host.journal.offset

    def data_set_loaded(self, place: tuple[int, bytes, int] | None, expired: list[tuple[int, bytes]] | None) -> None:
        """A file was loaded which says that it stands at `place`; keys were left out that had `expired` since.

        Replicas that go on from there hear of these. Where they are too many to tell of (None), the data set is beside
        that place.
        """
        if place is None or expired is None:
            return
        self.adopt((place[0], place[1].decode("latin-1"), place[2]))
        keyspace, journal = self.host.keyspace, self.host.journal
        for index, key in expired:
            journal.append(index, (keyspace.expire_verb, key), TO_REPLICAS)

    def adopt(self, place: Place) -> None:
        """The data set that was loaded stands at this place: a replica, ours or we, may go on from there."""
        stream_db, replid, offset = place
        journal = self.host.journal
        journal.offset = offset
        if self.follower is not None:
            self.history.renew(replid)
            journal.stream_db = stream_db
            self._has_place = True
            self.follower.resumable = True
        else:
            self.history.renew(replid)
            self.history.continue_as(self.host.platform.random_hex(), offset)
        self.primary.restart_stream()
        self.primary.without_replicas()

    def begin(self) -> None:
        """The data set is loaded and tasks can run: dial."""
        self._begun = True
        if self.follower is not None:
            self.host.spawn(self.follower.run)

    def settings_changed(self) -> None:
        """Directives that replication does not ask for each time have been set."""
        self.primary.stream.resize(self.host.config["repl-backlog-size"])
        self.primary.watch()
        self.host.conditions_changed()

    def made_durable(self) -> None:
        """`fsynced_offset` has moved: whoever waits for that may go on, and a primary that asked for it is told."""
        self.primary.gates.acknowledged()
        if self.follower is not None and self.follower.session is not None:
            self.follower.session.made_durable()

    # --- the end --------------------------------------------------------------------------------------------------

    def lagging(self) -> list[str]:
        """Replicas that do not have all writes yet, by name: a shutdown waits for them a while."""
        return [] if self.is_replica else [replica.name for replica in self.primary.lagging()]

    def log_at_shutdown(self) -> None:
        """Tell how far each replica got."""
        if self.is_replica:
            return
        online = self.primary.online
        behind = self.primary.lagging()
        for replica in behind:
            lag_bytes = self.host.journal.offset - replica.ack_offset
            self.host.log.notice(
                f"Lagging replica {replica.name} reported offset {lag_bytes} behind master, "
                f"lag={int(self.host.timers.monotonic_ms() - replica.ack_ms) // 1000}, state=online."
            )
        if online:
            self.host.log.notice(
                f"{len(online) - len(behind)} of {len(online)} replicas are in sync when shutting down."
            )

    # --- what is shown --------------------------------------------------------------------------------------------

    def role_reply(self) -> list[Any]:
        """ROLE's reply."""
        follower = self.follower
        if follower is not None:
            name, port = follower.address
            offset = self.host.journal.offset if follower.connected else -1
            return [b"slave", name.encode(), port, follower.state.encode(), offset]
        replicas = [
            [replica.shown_host.encode(), b"%d" % replica.port, b"%d" % replica.ack_offset]
            for replica in self.primary.online
        ]
        return [b"master", self.host.journal.offset, replicas]

    def info(self) -> Info:
        """INFO replication's fields, in order."""
        fields: Info = {"role": "slave" if self.is_replica else "master"}
        if self.follower is not None:
            fields |= self._follower_info(self.follower)
        fields |= self._primary_info()
        history, backlog = self.history, self.primary.stream.backlog
        fields |= {
            "master_failover_state": self.failover.step.value,
            "master_replid": history.replid,
            "master_replid2": history.replid2,
            "master_repl_offset": self.host.journal.offset,
            "second_repl_offset": history.second_offset,
            "repl_backlog_active": int(backlog is not None),
            "repl_backlog_size": self.host.config["repl-backlog-size"],
            "repl_backlog_first_byte_offset": backlog.start if backlog else 0,
            "repl_backlog_histlen": backlog.length if backlog else 0,
        }
        return fields

    def _follower_info(self, follower: Follower) -> Info:
        config, now = self.host.config, self.host.timers.monotonic_ms()
        session = follower.session
        offset = self.host.journal.offset
        fields: Info = {
            "master_host": follower.address[0],
            "master_port": follower.address[1],
            "master_link_status": "up" if session is not None else "down",
            "master_last_io_seconds_ago": int((now - session.last_io_ms) / 1000) if session is not None else -1,
            "master_sync_in_progress": int(follower.intake is not None),
            "slave_read_repl_offset": offset,
            "slave_repl_offset": offset,
        }
        if follower.intake is not None:
            total, read = follower.intake.total_bytes, follower.intake.read_bytes
            fields |= {
                "master_sync_total_bytes": total,
                "master_sync_read_bytes": read,
                "master_sync_left_bytes": total - read,
                "master_sync_perc": f"{read / total * 100 if total > 0 else 0:.2f}",
                "master_sync_last_io_seconds_ago": int((now - follower.intake.io_ms) / 1000),
            }
        if session is None:
            down_s = int((now - follower.down_since_ms) / 1000) if follower.has_been_up else -1
            fields["master_link_down_since_seconds"] = down_s
        return fields | {
            "slave_priority": config["replica-priority"],
            "slave_read_only": int(config["replica-read-only"]),
            "replica_announced": int(config["replica-announced"]),
        }

    def _primary_info(self) -> Info:
        replicas = [replica for replica in self.primary.stream.replicas if replica.state is not None]
        fields: Info = {"connected_slaves": len(replicas)}
        if self.host.config["min-replicas-to-write"] and self.host.config["min-replicas-max-lag"]:
            fields["min_slaves_good_slaves"] = self.primary.good_replicas()
        now = self.host.timers.monotonic_ms()
        for number, replica in enumerate(replicas):
            assert replica.state is not None
            lag_s = int((now - replica.ack_ms) / 1000) if replica.state is State.ONLINE else 0
            fields[f"slave{number}"] = (
                f"ip={replica.shown_host},port={replica.port},state={replica.shown_state},"
                f"offset={replica.ack_offset},lag={lag_s}"
            )
        return fields


def _nothing_fsynced() -> int | None:
    return None


def _nobody_asks() -> None:
    pass


def _nobody_doubts() -> bool:
    return True
