"""Failover by vote: the replica as candidate, the primary as voter.

The candidate.  Its primary is FAIL and has slots (or an operator asked, see `gossip.manual`), and its own
data is not too old.  It waits half a second and a random part of another, so that the verdict reaches everybody;
each sibling with more of the data adds a second (its rank).  Then it raises the current epoch, asks
everybody, and wins with the votes of a majority of those who have one: the primaries with slots, or the agreed voters
(see `gossip.voters`), of whom it may be one itself.  Without, it starts again.

The voter.  It votes once an epoch and once in 2T for a given primary's replicas, only for a replica of a failed primary
whose claims are not older than what the voter knows, and only among those who know the same version of the voters.  The
vote is saved before it is sent.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.heartbeat import pong_to_siblings
from gossip.packet import AUTH_ACK, AUTH_REQUEST, FORCE_ACK, Packet, bitmap_of
from gossip.roles import replace_my_primary
from gossip.state import Node
from node.votes import Tally

DELAY_MS = 500
"""Wait before asking for votes: the verdict must reach the voters first."""
DELAY_RANDOM_MS = 500
"""And a random part of this more, so that two candidates seldom ask at once."""
RANK_DELAY_MS = 1000
VOTES_MIN_MS = 2000
"""Votes are waited for at least so long."""
RETRY = 2
"""The next candidature may start after so many times the wait for votes."""
RELOG_MS = 60_000
"""The same reason why we cannot fail over is logged so seldom."""
WATCH_MS = 100
"""How often a waiting candidate looks at its rank."""
WORRY_MS = 1000
"""How often a replica whose data is too old looks again."""
VOTE_AGAIN = 2
"""A voter votes for replicas of one primary once in so many T, unless an operator has told them to."""

TOO_OLD = (
    "Disconnected from master for longer than allowed. "
    "Please check the 'cluster-replica-validity-factor' configuration option."
)
WAITING_DELAY = "Waiting the delay before I can start a new failover."
EXPIRED = "Failover attempt expired."
WAITING_VOTES = "Waiting for votes, but majority still not reached."


# ---- the candidate -----------------------------------------------------------------------------------------------


def advance(core: Core) -> None:
    """Take the next step of our candidature, if it is time for one.

    Guards: we are a replica of a primary with slots; it is FAIL, or an operator's failover may start; our settings
    allow it; our data is young enough.
    """
    myself, primary = core.myself, core.myself.primary
    manual = core.manual.end_ms != 0 and core.manual.may_start
    if myself.is_primary or primary is None or not primary.slots:
        return
    if not manual and (not primary.is_failed or core.settings.replica_no_failover):
        core.election.reason = ""
        return
    if not manual and _data_is_too_old(core):
        _explain(core, TOO_OLD)
        core.due(core.now_ms + WORRY_MS)
        return
    votes_ms = votes_wait_ms(core)
    if core.election.start_ms == 0 or core.now_ms - core.election.start_ms > RETRY * votes_ms:
        _schedule(core)
        if not manual:
            return
    _proceed(core, core.now_ms - core.election.start_ms, votes_ms)


def votes_wait_ms(core: Core) -> int:
    """Return for how long a candidate waits for votes."""
    return max(2 * core.timeout_ms, VOTES_MIN_MS)


def _data_is_too_old(core: Core) -> bool:
    factor = core.settings.replica_validity_factor
    age_ms = core.facts.primary_silence_ms(core.now_ms)
    if age_ms > core.timeout_ms:
        age_ms -= core.timeout_ms  # it took that long to notice
    return bool(factor) and age_ms > core.settings.ping_replica_period_s * 1000 + core.timeout_ms * factor


def _schedule(core: Core) -> None:
    """Fix the moment of the next candidature, and let our siblings know our offset."""
    election = core.election
    delay_ms = DELAY_MS + core.rng.randrange(DELAY_RANDOM_MS)
    election.asked, election.tally = False, Tally()
    election.rank = rank(core)
    delay_ms += election.rank * RANK_DELAY_MS
    if core.manual.end_ms:
        election.rank = delay_ms = 0
    election.start_ms = core.now_ms + delay_ms
    offset = core.facts.offset()
    core.log(
        "warning",
        f"Start of election delayed for {delay_ms} milliseconds (rank #{election.rank}, offset {offset}).",
    )
    pong_to_siblings(core)
    core.due(min(election.start_ms, core.now_ms + WATCH_MS))


def rank(core: Core) -> int:
    """Return how many siblings have more of our primary's data and may fail over."""
    myself, primary = core.myself, core.myself.primary
    assert primary is not None, "a replica has a rank"
    offset = core.facts.offset()
    return sum(1 for node in primary.replicas if node is not myself and node.may_fail_over and node.offset > offset)


def _proceed(core: Core, age_ms: int, votes_ms: int) -> None:
    """Wait, ask, count: whatever the age of this candidature says."""
    election = core.election
    if not election.asked and not core.manual.end_ms:
        _follow_rank(core)
        age_ms = core.now_ms - election.start_ms
    if age_ms < 0:
        _explain(core, WAITING_DELAY)
        core.due(min(election.start_ms, core.now_ms + WATCH_MS))
    elif age_ms > votes_ms:
        _explain(core, EXPIRED)
        core.due(election.start_ms + RETRY * votes_ms + 1)
    elif not election.asked:
        _ask(core)
        core.due(election.start_ms + votes_ms + 1)
    elif election.tally.has_won(len(core.state.electorate.members) or core.state.size):
        _win(core)
    else:
        _explain(core, WAITING_VOTES)
        core.due(election.start_ms + votes_ms + 1)


def _follow_rank(core: Core) -> None:
    """A sibling turned out to have more data: let it go first."""
    election, now_rank = core.election, rank(core)
    if now_rank > election.rank:
        added_ms = (now_rank - election.rank) * RANK_DELAY_MS
        election.start_ms += added_ms
        election.rank = now_rank
        core.log("warning", f"Replica rank updated to #{now_rank}, added {added_ms} milliseconds of delay.")


def _ask(core: Core) -> None:
    election, state = core.election, core.state
    state.current_epoch += 1
    election.asked, election.tally = True, Tally(state.current_epoch)
    core.log("warning", f"Starting a failover election for epoch {state.current_epoch}.")
    core.broadcast(core.packet(AUTH_REQUEST, mflags=FORCE_ACK if core.manual.end_ms else 0))
    core.save(fsync=True)
    if state.has_vote(core.myself) and not state.electorate.is_sealed:
        _vote_for_myself(core)


def _vote_for_myself(core: Core) -> None:
    """An agreed voter's own vote of this epoch is spent on itself, and its siblings must wait as for any other."""
    assert core.myself.primary is not None, "a replica asks"
    core.state.ballot.cast(core.state.current_epoch)
    core.myself.primary.voted_ms = core.now_ms
    core.election.tally.add(core.myself.id)
    if core.election.tally.has_won(len(core.state.electorate.members)):
        _win(core)


def count_vote(core: Core, sender: Node, packet: Packet) -> None:
    """A vote came: it counts if it is of this election's epoch, from one who has a vote, and by the rule we know."""
    election = core.election
    if (
        election.asked
        and core.state.has_vote(sender)
        and _has_same_voters(core, sender, packet)
        and packet.current_epoch >= election.tally.epoch
    ):
        election.tally.add(sender.id)
        advance(core)


def _has_same_voters(core: Core, sender: Node, packet: Packet) -> bool:
    """Whether the sender goes by the version of the voters that we know.  A genuine node knows none: it goes by Redis's
    rule, as we do as long as there are no agreed voters."""
    electorate = core.state.electorate
    return packet.voters == electorate.version or not (electorate.members or sender.speaks_hexad)


def _win(core: Core) -> None:
    myself, epoch = core.myself, core.election.tally.epoch
    core.log("warning", "Failover election won: I'm the new master.")
    if myself.config_epoch < epoch:
        myself.config_epoch = epoch
        core.log("warning", f"configEpoch set to {epoch} after successful failover")
    replace_my_primary(core)


def _explain(core: Core, reason: str) -> None:
    """Log why we cannot fail over, when the reason is new or was said long ago."""
    election = core.election
    if election.reason != reason or core.now_ms - election.reason_logged_ms > RELOG_MS:
        election.reason, election.reason_logged_ms = reason, core.now_ms
        core.log("warning", f"Currently unable to failover: {reason}")


# ---- the voter ------------------------------------------------------------------------------------------------------


def consider_vote(core: Core, sender: Node, packet: Packet) -> None:
    """A replica asks for our vote: give it unless there is a reason not to.  Silence is the no."""
    if not core.state.has_vote(core.myself):
        return
    refusal = _refusal(core, sender, packet)
    if refusal:
        core.log("warning", f"Failover auth denied to {sender.shown}: {refusal}")
        return
    state = core.state
    assert sender.primary is not None, "a refusal names a requester without a primary"
    state.ballot.cast(state.current_epoch)
    sender.primary.voted_ms = core.now_ms
    core.save(fsync=True)
    core.send_to(sender, core.packet(AUTH_ACK))
    core.log("warning", f"Failover auth granted to {sender.shown} for epoch {state.current_epoch}")


def _refusal(core: Core, sender: Node, packet: Packet) -> str:
    """Return why we do not vote for the sender, or nothing.  After the two reasons about agreed voters the order is
    Redis's, and so are the words."""
    state, primary, epoch = core.state, sender.primary, packet.current_epoch
    if not _has_same_voters(core, sender, packet):
        return f"it knows version {packet.voters} of the voters, not {state.electorate.version}"
    if state.electorate.is_sealed:
        return f"version {state.electorate.version} of the voters is being replaced"
    if epoch < state.current_epoch:
        return f"reqEpoch ({epoch}) < curEpoch({state.current_epoch})"
    if state.ballot.is_spent(state.current_epoch):
        return f"already voted for epoch {state.current_epoch}"
    if sender.is_primary:
        return "it is a master node"
    if primary is None:
        return "I don't know its master"
    if not primary.is_failed and not packet.mflags & FORCE_ACK:
        return "its master is up"
    since_vote_ms = core.now_ms - primary.voted_ms
    # An operator who moves a shard twice is no storm of candidates: refused, the second order would stop the shard's
    # writers for as long as it waits for votes, and then fail.
    if since_vote_ms < VOTE_AGAIN * core.timeout_ms and not packet.mflags & FORCE_ACK:
        return f"can't vote about this master before {VOTE_AGAIN * core.timeout_ms - since_vote_ms} milliseconds"
    claimed = bitmap_of(packet.slots)
    for node in state.nodes.values():
        if node.slots & claimed and node.config_epoch > packet.config_epoch:
            slot = (node.slots & claimed & -(node.slots & claimed)).bit_length() - 1
            return f"slot {slot} epoch ({node.config_epoch}) > reqEpoch ({packet.config_epoch})"
    return ""
