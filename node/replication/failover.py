"""FAILOVER: a primary hands its part to one of its replicas, and nothing that was confirmed is lost. Sans-IO.

no-failover          --asked--> waiting-for-sync: writes are held back, nothing of our own moves the offset
waiting-for-sync     --a replica (or the one that is wanted) has everything--> failover-in-progress
                     --time is over, by force--> failover-in-progress;  --time is over, or ABORT--> no-failover
failover-in-progress --we follow the target and ask it by PSYNC ... FAILOVER--
                     --it goes on, or copies its data to us--> no-failover: we are its replica
                     --it refuses, or ABORT--> no-failover: we are a primary again
                     --it cannot be reached--> we ask again, without an end

Held-back writes are let go at the end of either way: they are run here, or refused by what is now a replica.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from node.net.resp import CommandError
from node.replication.stream import Replica, State
from node.timers import Timer

if TYPE_CHECKING:
    from node.replication.replication import Replication

PURPOSE = "failover"
"""The name of the pause."""

Address = tuple[str, int]


class Step(Enum):
    """How far a failover is, in the words of INFO."""

    NONE = "no-failover"
    WAITING = "waiting-for-sync"
    HANDING_OVER = "failover-in-progress"


class Failover:
    """The failovers of one node, one at a time."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._host = replication.host
        self.step = Step.NONE
        self._target: Address | None = None  # None: any replica
        self._force = False
        self._timer: Timer | None = None

    @property
    def under_way(self) -> bool:
        return self.step is not Step.NONE

    @property
    def handing_over(self) -> bool:
        """We ask the target to take our place."""
        return self.step is Step.HANDING_OVER

    # --- asking ---------------------------------------------------------------------------------------------------

    def begin(self, target: Address | None, timeout_ms: int, *, force: bool) -> None:
        """Hand over to `target`, or to whoever has everything first; 0: without a limit of time.

        Raises CommandError where that cannot be.
        """
        self._check(target, timeout_ms, force)
        self._target, self._force = target, force
        self.step = Step.WAITING
        self._host.clients.pause(PURPOSE, True, math.inf)
        self._replication.primary.quiet = True
        self._host.log.notice(f"FAILOVER requested to {self._shown}.")
        self._host.timers.after(0, self.look)  # once the reply is on its way
        if timeout_ms:
            self._timer = self._host.timers.after(timeout_ms, self._time_is_over)

    def _check(self, target: Address | None, timeout_ms: int, force: bool) -> None:
        replicas = [replica for replica in self._replication.primary.stream.replicas if replica.state is not None]
        if self._replication.is_replica:
            raise CommandError("ERR FAILOVER is not valid when server is a replica.")
        if not replicas:
            raise CommandError("ERR FAILOVER requires connected replicas.")
        if force and not (timeout_ms and target):
            raise CommandError("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
        if target is None:
            return
        found = [replica for replica in replicas if _address(replica) == target]
        if not found:
            raise CommandError("ERR FAILOVER target HOST and PORT is not a replica.")
        if found[0].state is not State.ONLINE:
            raise CommandError("ERR FAILOVER target replica is not online.")

    @property
    def _shown(self) -> str:
        return "any replica" if self._target is None else "{}:{}".format(*self._target)

    # --- going on -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """A replica has acknowledged something: has one everything?"""
        if self.step is not Step.WAITING:
            return
        for replica in self._replication.primary.online:
            address = _address(replica)
            if self._target in (None, address) and replica.ack_offset == self._host.journal.offset:
                self._target = address
                self._host.log.notice(f"Failover target {self._shown} is synced, failing over.")
                self._hand_over(address)
                return

    def _time_is_over(self) -> None:
        self._timer = None
        if self.step is not Step.WAITING:
            return
        if self._force and self._target is not None:
            self._host.log.notice(f"Failover to {self._shown} time out exceeded, failing over.")
            self._hand_over(self._target)
        else:
            self.abort("Replica never caught up before timeout")

    def _hand_over(self, target: Address) -> None:
        self.step = Step.HANDING_OVER
        self._replication.become_replica(*target)
        self._host.config.put("replicaof", target)

    # --- the end --------------------------------------------------------------------------------------------------

    def answered(self, accepted: bool) -> None:
        """The target has answered our PSYNC."""
        if self.step is not Step.HANDING_OVER:
            return
        if accepted:
            self._end()
        else:
            self.abort("Failover target rejected psync request")

    def abort(self, reason: str) -> None:
        """Be the primary, as before. Only while one is under way."""
        assert self.under_way
        self._host.log.notice(f"FAILOVER to {self._shown} aborted: {reason}")
        if self.step is Step.HANDING_OVER:
            self._replication.become_primary()
            self._host.config.put("replicaof", None)
        self._end()

    def _end(self) -> None:
        self.step = Step.NONE
        self._target = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._replication.primary.quiet = False
        self._host.clients.unpause(PURPOSE)


def _address(replica: Replica) -> Address:
    return replica.shown_host, replica.port
