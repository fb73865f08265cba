"""The leader of a failover, by vote: one vote an epoch and primary, saved before it is told.

Whoever finds a primary down raises the epoch, votes for itself when it counts, and asks its fellows. A voter that has
given its vote away waits with a failover of its own. A leader needs a majority of all Sentinels that are known,
whether they answer or not, and no fewer than the quorum.
"""

from __future__ import annotations

from node.votes import Ballot, majority
from sentinel.core import Core
from sentinel.hello import adopt_epoch
from sentinel.state import Primary

DESYNC_MS = 1000
"""Failovers of several Sentinels begin within so long of each other, at random, so that one of them is first."""


def vote(core: Core, primary: Primary, epoch: int, candidate: str) -> tuple[str, int]:
    """Give our vote of this epoch to a candidate unless it is spent; whom we voted for last, and in which epoch."""
    if epoch > core.state.current_epoch:
        adopt_epoch(core, primary, epoch)
    ballot = Ballot(primary.leader_epoch)
    if not ballot.is_spent(epoch) and core.state.current_epoch <= epoch:
        ballot.cast(epoch)
        primary.leader, primary.leader_epoch = candidate, ballot.epoch
        core.save()
        core.tell("warning", "+vote-for-leader", primary, f"{candidate} {epoch}")
        if candidate != core.state.my_id:
            primary.failover_start_ms = core.now_ms + core.rng.randrange(DESYNC_MS)
    return primary.leader, primary.leader_epoch


def leader(core: Core, primary: Primary) -> str:
    """The run id of the elected leader of this primary's failover; nothing as long as there is none."""
    epoch = primary.failover_epoch
    votes: dict[str, int] = {}
    for fellow in primary.fellows.values():
        if fellow.leader and fellow.leader_epoch == epoch:
            votes[fellow.leader] = votes.get(fellow.leader, 0) + 1
    ahead = max(votes, key=lambda candidate: votes[candidate], default=core.state.my_id)
    mine, my_epoch = vote(core, primary, epoch, ahead)
    if mine and my_epoch == epoch:
        votes[mine] = votes.get(mine, 0) + 1
    winner = max(votes, key=lambda candidate: votes[candidate], default="")
    needed = max(majority(len(primary.fellows) + 1), primary.config.quorum)
    return winner if winner and votes[winner] >= needed else ""
