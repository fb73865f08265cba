"""A node's part in replication: primary or replica, and the way from one to the other.

One door for each change of role. A primary that becomes a replica keeps its history and offset, so that it can ask its
new primary to go on from there; a replica that becomes a primary goes on under a new id, and remembers the old one for
its former siblings (PSYNC2).
"""

from collections.abc import Callable
from typing import Any

from node.net.resp import Argv
from node.replication.follower import Follower
from node.replication.history import History
from node.replication.host import ReplicationHost
from node.replication.primary import Primary
from node.replication.stream import SHOWN_STATES, State

Info = dict[str, Any]


class Replication:
    """The role of one node. `start` starts a Trio task; `apply` runs a command of the primary's without asking."""

    def __init__(self, host: ReplicationHost, start: Callable[..., None], apply: Callable[[Any, Argv], None]) -> None:
        self.host = host
        self.history = History(host.platform.random_hex())
        self.primary = Primary(host, self.history, start)
        self.follower: Follower | None = None
        self.role_changed: Callable[[], None] = lambda: None
        self._start = start
        self._apply = apply

    @property
    def is_replica(self) -> bool:
        return self.follower is not None

    @property
    def link_is_up(self) -> bool:
        return self.follower is not None and self.follower.connected

    # --- roles ----------------------------------------------------------------------------------------------------

    def become_replica(self, name: str, port: int) -> None:
        """Follow the primary at `name`:`port` from now on."""
        if self.follower is not None:
            if self.follower.address == (name, port):
                return
            self.follower.stop()
        self.primary.stream.flush()
        self.primary.stream.drop_replicas()
        host = self.host
        self.follower = Follower(host, self.history, (name, port), self._apply, self.primary.stream.drop_replicas)
        self._obey(True)
        host.log.notice(
            "Before turning into a replica, using my own master parameters to synthesize a cached master: "
            "I may be able to synchronize with the new master with just a partial transfer."
        )
        self._start(self.follower.run)
        host.conditions_changed()
        self.role_changed()

    def become_primary(self) -> None:
        """Follow nobody any more: the history goes on under a new id."""
        if self.follower is None:
            return
        self.primary.stream.flush()
        self.follower.stop()
        self.follower = None
        old = self.history.replid
        self.history.continue_as(self.host.platform.random_hex(), self.host.journal.offset)
        self.host.journal.stream_db = -1
        self._obey(False)
        self.primary.stream.drop_replicas()
        self.host.log.notice(
            f"Setting secondary replication ID to {old}, valid up to offset: {self.history.second_offset}. "
            f"New replication ID is {self.history.replid}"
        )
        self.host.conditions_changed()
        self.role_changed()

    def _obey(self, obeying: bool) -> None:
        """A replica relays its primary's bytes and hides what has expired; a primary makes the bytes and removes it."""
        journal, stream = self.host.journal, self.primary.stream
        journal.relaying = obeying
        if stream.backlog is None:
            stream.begin(self.host.config["repl-backlog-size"], journal.offset)
            journal.stream = stream
        self.host.keyspace.removes_expired = not obeying

    def adopt(self, replid: str, offset: int) -> None:
        """The data that was loaded from a file belongs to this place of a history: a replica may go on from there."""
        if self.is_replica:
            self.history.renew(replid)
        else:
            self.history.continue_as(self.history.replid, offset)
            self.history.replid2 = replid
            self.history.replid = self.host.platform.random_hex()
        self.host.journal.offset = offset

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
            state = "sync" if follower.loader is not None else follower.state
            return [b"slave", name.encode(), port, state.encode(), offset]
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
            "master_failover_state": "no-failover",
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
            "master_sync_in_progress": int(follower.loader is not None),
            "slave_read_repl_offset": offset,
            "slave_repl_offset": offset,
        }
        if follower.loader is not None:
            total, read = follower.transfer_bytes, follower.transfer_read_bytes
            fields |= {
                "master_sync_total_bytes": total,
                "master_sync_read_bytes": read,
                "master_sync_left_bytes": total - read,
                "master_sync_perc": f"{read / total * 100 if total > 0 else 0:.2f}",
                "master_sync_last_io_seconds_ago": int((now - follower.transfer_io_ms) / 1000),
            }
        if session is None:
            fields["master_link_down_since_seconds"] = int((now - follower.down_since_ms) / 1000)
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
                f"ip={replica.shown_host},port={replica.port},state={SHOWN_STATES[replica.state]},"
                f"offset={replica.ack_offset},lag={lag_s}"
            )
        return fields
