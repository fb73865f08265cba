"""Agreed voters: replicas vote, too, where all nodes are Hexad and `cluster-replica-votes` allows it.

Why.  By Redis's rule the primaries with slots vote, so one shard can elect nobody, nor can two when a primary dies.
That replicas simply voted as well would not do: each node learns by gossip who is there, two nodes may hold different
sets for the set, and majorities of different sets need not meet.  So the set is agreed on, like a value in a log.

The state.  Each node keeps in nodes.conf the latest version that it knows to be agreed, and its voters.  Version 0 and
each version without voters is Redis's rule.  The version stands in the header of every message.  Who hears an older one
in a heartbeat answers with its own (TELL), so a version spreads like all else.

A step from version n to n + 1 is one decision of single-decree Paxos, whose acceptors are the voters of n (under
Redis's rule the owners of all slots as each sees them; who has accepted stays with those).

1. PREPARE(n, round).  Who knows n, is an acceptor, and has promised no larger round promises this one: it tells what
   it has accepted, and the last epoch in which it voted.
2. ACCEPT(n, round, voters, epoch), once a majority has promised: with the voters that were accepted in the largest
   round among the promises, or, if there are none, with those that the proposer wants; the epoch is the largest that
   the proposer heard of.  Who has promised no larger round, has voted in no epoch beyond, and finds the step lawful
   accepts.  It is sealed: it votes under n no more.
3. Once a majority has accepted, n + 1 is agreed, and is told.  Who hears of it votes in no epoch up to the step's.

Lawful: one voter more, or one less; none at all, which is the way back to Redis's rule; from there, exactly the owners
of all slots.  What is promised, accepted or learned is durable before the message that tells it leaves.

Votes.  A candidate asks in an epoch e and under the version n that it knows.  Its request and each vote carry n; a
voter votes under its own version only, once in an epoch whatever the version, and the candidate counts no other votes.
When it learns of another version, its candidature begins anew.

Proof sketch: no epoch has two winners.
(a) Each version has one value: by induction over n, since the acceptors of step n are fixed by version n, and of two
    majorities that accept in different rounds the later one's proposer heard of the earlier one's value.
(b) Two winners of e under the same n: their majorities meet in a voter that voted twice in e.  It does not.
(c) Winners of e under n < m.  The step n -> n + 1 was accepted by a majority, which meets the first winner's in a
    voter v.  v voted in e under n, hence before it accepted; so the step's epoch is at least e.  Epochs of later steps
    are not smaller, since each acceptor has passed over the former step's and accepts none below.  So nobody votes in e
    under m.
(c) holds whatever a step changes.  That it changes one voter keeps something else: majorities of n and n + 1 meet, so
a step never hands the decision to voters of whom none took part in the last one.

Under Redis's rule (a) and (b) lean on what Redis leans on: that views of who owns slots differ by one primary at most,
so that majorities still meet.  The step away from it needs the word of a majority of owners who all see the same owners
of all slots.  A genuine node gets slots only after it was met, and the way back to Redis's rule is taken as soon as it
is known.  A voter that loses its nodes.conf comes back under a new id, and one that is reset takes a new one: neither
is taken for the voter that made promises.

Who proposes.  The voters in the order of their ids, of whom the first that lives goes at once and each next one waits
for `TURN_MS` more; one that is sealed, after `PATIENCE_MS`.  Two at a time cost rounds, never safety.

What is wanted.  An odd number of voters, as many as there are (`VOTERS_MAX`): an even set survives no more losses than
the odd one below it.  A forgotten voter leaves, a failed one makes way if another can take its place.  The set is let
alone while a shard waits for its election.
"""

from __future__ import annotations

from gossip.core import Core, Proposal
from gossip.electorate import NO_ROUND, VOTERS_MAX, Round
from gossip.packet import ALLOWS_VOTERS, MODULE, SPEAKS_HEXAD, Module, Packet
from gossip.state import ALL_SLOTS, Node
from gossip.steps import ACCEPT, ACCEPTED, PREPARE, PROMISE, TELL, Step, decode, encode
from node.votes import Tally, majority

ANSWER_MS = 1000
"""A round whose answers take longer is given up, the next one after twice that, and so on..."""
TRIES_MAX = 5
"""...up to so many times: each round is written to the disk, and the voters may be out of reach for hours."""
TURN_MS = 1500
"""Each voter leaves the first move so much longer to those with smaller ids."""
PATIENCE_MS = 1500
"""One that has accepted waits so long for the end before it sees to that itself."""
OPENING_MS = 2000
"""Nothing may have spoken against agreed voters for so long, and for T, before the first are proposed."""
GONE_MS = 10_000
"""A voter whose node we have not known for so long is to leave."""
ELECTION_T = 10
"""A failed primary with slots keeps the voters as they are for so many T: first the election."""
VOTERS_MIN = 3
"""With fewer there is nobody to outvote a failed one."""


# ---- what is heard ------------------------------------------------------------------------------------------------


def hear(core: Core, sender: Node, packet: Packet) -> None:
    """A known node's heartbeat: whether it is Hexad and allows agreed voters, and which version it knows."""
    sender.speaks_hexad = packet.mflags & SPEAKS_HEXAD != 0
    sender.allows_voters = packet.mflags & ALLOWS_VOTERS != 0
    if sender.speaks_hexad and packet.voters < core.state.electorate.version:
        _send(core, sender.id, _told(core))


def hear_step(core: Core, sender: Node, packet: Packet) -> None:
    """A module message, perhaps one of ours."""
    assert isinstance(packet.body, Module)
    step = decode(packet.body)
    if step is not None:
        _receive(core, sender.id, step)


def _receive(core: Core, sender_id: str, step: Step) -> None:
    """Answer a step, or count an answer to ours.  What belongs to another version than ours is news of nothing."""
    version = core.state.electorate.version
    if step.kind == TELL:
        if step.version > version:
            _adopt(core, step.version, step.members, step.epoch)
    elif step.version < version and step.kind in (PREPARE, ACCEPT):
        _send(core, sender_id, _told(core))
    elif step.version == version and step.kind in (PREPARE, ACCEPT):
        if step.round.proposer == sender_id:
            (_promise if step.kind == PREPARE else _accept)(core, step)
    elif step.version == version and step.round == core.proposal.round and sender_id in core.proposal.base:
        (_count_promise if step.kind == PROMISE else _count_acceptance)(core, sender_id, step)


def _send(core: Core, node_id: str, step: Step) -> None:
    """Send a step to a node; what is for ourselves arrives at once."""
    if node_id == core.myself.id:
        _receive(core, node_id, step)
        return
    node = core.state.nodes.get(node_id)
    if node is not None and not node.in_handshake:
        core.send_to(node, core.packet(MODULE, encode(step)))


def _told(core: Core) -> Step:
    electorate = core.state.electorate
    return Step(TELL, electorate.version, epoch=electorate.epoch, members=electorate.members)


def _adopt(core: Core, version: int, members: tuple[str, ...], epoch: int) -> None:
    """A version is agreed: go by it, and pass over the epochs in which former voters may have voted."""
    state, election = core.state, core.election
    state.electorate.succeed(version, members, epoch)
    state.ballot.pass_over(epoch)
    state.current_epoch = max(state.current_epoch, epoch)
    core.proposal = Proposal(why_not=core.proposal.why_not, gone_ms=core.proposal.gone_ms)
    if election.asked:
        election.start_ms, election.asked, election.tally = 0, False, Tally()
    core.save(fsync=True)
    core.judge = True
    core.due(core.now_ms)
    who = f"{len(members)} agreed voters" if members else "the masters with slots"
    core.log("notice", f"Version {version} of the voters: {who} vote from now on.")


# ---- the acceptor --------------------------------------------------------------------------------------------------


def owners(core: Core) -> tuple[str, ...]:
    """Return the owners of all slots; nobody if a slot has none, or there are too many to be voters."""
    found = tuple(sorted(node.id for node in core.state.voters())) if core.state.owned == ALL_SLOTS else ()
    return found if len(found) <= VOTERS_MAX else ()


def _acceptors(core: Core) -> tuple[str, ...]:
    """Who takes the step that follows our version, as far as we have a say in it."""
    electorate = core.state.electorate
    return electorate.members or electorate.base or owners(core)


def _promise(core: Core, step: Step) -> None:
    """PREPARE came.  Guards: it asks the right ones, us among them; we have promised no larger round."""
    electorate, acceptors = core.state.electorate, _acceptors(core)
    if step.members != acceptors or core.myself.id not in acceptors or step.round < electorate.promised:
        return
    electorate.promised = step.round
    core.save(fsync=True)
    voted = core.state.ballot.epoch
    _send(
        core,
        step.round.proposer,
        Step(PROMISE, step.version, step.round, voted, electorate.proposal, electorate.accepted),
    )


def _accept(core: Core, step: Step) -> None:
    """ACCEPT came.  Guards: it asks us; we have promised no larger round; we have voted in no epoch beyond; it is
    lawful."""
    electorate, acceptors = core.state.electorate, _acceptors(core)
    if core.myself.id not in acceptors or step.round < electorate.promised:
        return
    if core.state.ballot.epoch > step.epoch or not is_lawful(acceptors, step.members, bool(electorate.members)):
        return
    electorate.promised = electorate.accepted = step.round
    electorate.proposal = step.members
    electorate.base = () if electorate.members else acceptors
    core.save(fsync=True)
    core.due(core.now_ms)  # the end of this step is our concern now, too
    _send(core, step.round.proposer, Step(ACCEPTED, step.version, step.round))


def is_lawful(before: tuple[str, ...], after: tuple[str, ...], agreed: bool) -> bool:
    """Whether a set of voters may follow another (agreed), or the owners of all slots (not agreed)."""
    if not agreed:
        return after == before
    return not after or len(set(before) ^ set(after)) == 1


# ---- the proposer --------------------------------------------------------------------------------------------------


def watch(core: Core) -> None:
    """Propose what is wanted, or end a step that was begun, if it is our turn."""
    proposal, electorate = core.proposal, core.state.electorate
    if not core.settings.replica_votes and not electorate.members and not electorate.is_sealed:
        return
    wanted = _wanted(core)
    if wanted is None and not electorate.is_sealed:
        proposal.since_ms = 0
        return
    acceptors = _acceptors(core)
    if core.myself.id not in acceptors:
        return
    if proposal.round != NO_ROUND:
        if core.now_ms < proposal.end_ms:
            core.due(proposal.end_ms)
            return
        core.log("verbose", f"Step {electorate.version + 1} of the voters was not agreed on in time.")
        proposal.round = NO_ROUND
    proposal.since_ms = proposal.since_ms or core.now_ms
    start_ms = proposal.since_ms + _patience_ms(core, acceptors)
    if core.now_ms < start_ms:
        core.due(start_ms)
    else:
        _propose(core, acceptors, wanted)


def _patience_ms(core: Core, acceptors: tuple[str, ...]) -> int:
    nodes = core.state.nodes
    before = [one for one in acceptors if one < core.myself.id and one in nodes and not nodes[one].is_troubled]
    if core.state.electorate.is_sealed:
        return TURN_MS * len(before) + PATIENCE_MS
    # Redis's rule is left only when every node's news have had the time to come: one of them may just forbid it.
    first_ms = 0 if core.state.electorate.members else max(OPENING_MS, core.timeout_ms)
    return TURN_MS * len(before) + first_ms


def _propose(core: Core, acceptors: tuple[str, ...], wanted: tuple[str, ...] | None) -> None:
    state = core.state
    number, tries = state.electorate.promised.number + 1, core.proposal.tries + 1
    core.proposal = Proposal(
        Round(number, core.myself.id),
        acceptors,
        wanted,
        end_ms=core.now_ms + ANSWER_MS * min(tries, TRIES_MAX) + core.rng.randrange(ANSWER_MS),
        tries=tries,
        since_ms=core.proposal.since_ms,
        why_not=core.proposal.why_not,
        gone_ms=core.proposal.gone_ms,
    )
    core.due(core.proposal.end_ms)
    _ask_all(core, Step(PREPARE, state.electorate.version, core.proposal.round, members=acceptors))


def _ask_all(core: Core, step: Step) -> None:
    """Ask all who take the step, ourselves last: what we answer may end it."""
    for node_id in core.proposal.base:
        if node_id != core.myself.id:
            _send(core, node_id, step)
    _send(core, core.myself.id, step)


def _count_promise(core: Core, sender_id: str, step: Step) -> None:
    """Guards: accepting was not asked for yet; a majority has promised; there is something to propose."""
    proposal = core.proposal
    if proposal.asked:
        return
    proposal.promises.add(sender_id)
    proposal.epoch = max(proposal.epoch, step.epoch)
    if step.accepted > proposal.best:
        proposal.best, proposal.members = step.accepted, step.members
    if len(proposal.promises) < majority(len(proposal.base)) or proposal.members is None:
        return
    proposal.asked = True
    proposal.epoch = max(proposal.epoch, core.state.current_epoch)
    _ask_all(core, Step(ACCEPT, step.version, step.round, proposal.epoch, proposal.members))


def _count_acceptance(core: Core, sender_id: str, step: Step) -> None:
    """Guards: accepting was asked for; a majority has."""
    proposal = core.proposal
    if not proposal.asked:
        return
    proposal.acceptances.add(sender_id)
    if len(proposal.acceptances) < majority(len(proposal.base)):
        return
    assert proposal.members is not None, "what was accepted was proposed"
    _adopt(core, step.version + 1, proposal.members, proposal.epoch)
    for node in list(core.state.others()):
        if node.speaks_hexad:
            _send(core, node.id, _told(core))


# ---- what is wanted ----------------------------------------------------------------------------------------------


def _wanted(core: Core) -> tuple[str, ...] | None:
    """Return the voters that should follow, one step from those that are; None if nothing should change."""
    forbidden = _why_never(core)
    if core.state.electorate.members:
        if forbidden:
            _explain(core, forbidden)
            return ()
        return None if _awaits_election(core) else _next(core)
    why_not = forbidden or _why_not_yet(core)
    _explain(core, why_not)
    return None if why_not else _acceptors(core)


def _explain(core: Core, why_not: str) -> None:
    """Log why the primaries vote although our setting would have it otherwise, when the reason is new."""
    if core.now_ms < core.started_ms + OPENING_MS:
        return  # the others are only being heard
    if why_not != core.proposal.why_not and why_not and core.settings.replica_votes:
        core.log("notice", f"cluster-replica-votes has no effect: {why_not}.")
    core.proposal.why_not = why_not


def _why_never(core: Core) -> str:
    """Return what rules agreed voters out: a setting, or a node that does not know them."""
    if not core.settings.replica_votes:
        return "it is off here"
    for node in core.state.others():
        if node.allows_voters is False:
            return f"node {node.id} " + ("has it off" if node.speaks_hexad else "is no Hexad node")
    return ""


def _why_not_yet(core: Core) -> str:
    """Return what keeps Redis's rule in force though nothing rules agreed voters out."""
    nodes = list(core.state.nodes.values())
    if len(nodes) < VOTERS_MIN:
        return f"fewer than {VOTERS_MIN} nodes are known"
    if core.state.owned != ALL_SLOTS:
        return "not every slot has an owner"
    if not owners(core):
        return f"more than {VOTERS_MAX} masters have slots"
    for node in core.state.others():
        if node.in_handshake or node.allows_voters is None or node.is_troubled:
            return "not every node is heard"
    if sum(_is_fit(core, node) for node in nodes) < VOTERS_MIN:
        return f"fewer than {VOTERS_MIN} nodes have slots, or a master with slots"
    return ""


def _is_fit(core: Core, node: Node) -> bool:
    """Whether it can be a voter: it serves slots or replicates who does, it is there, and it allows it."""
    if node is not core.myself and (node.is_troubled or not node.link_up or not node.allows_voters):
        return False
    return node.source.votes


def _awaits_election(core: Core) -> bool:
    """Whether a failed primary is soon to be replaced: the voters are needed as they are."""
    patience_ms = ELECTION_T * core.timeout_ms
    return any(
        node.is_failed and node.slots and core.now_ms - node.fail_ms < patience_ms for node in core.state.others()
    )


def _next(core: Core) -> tuple[str, ...] | None:
    """Return the agreed voters with one more or one less, so that in the end an odd number of fit ones is left."""
    members, nodes = core.state.electorate.members, core.state.nodes
    leaving = _gone(core) + [one for one in members if one in nodes and nodes[one].is_failed]
    outside = [node for node in nodes.values() if node.id not in members and _is_fit(core, node)]
    outside.sort(key=lambda node: (node.is_replica, node.id))
    if len(members) % 2:
        # Two more keep it odd.  One more takes the place of one that leaves, or of a replica that is no primary.
        replaces = leaving or (outside and outside[0].is_primary and any(_is_replica(core, one) for one in members))
        if outside and (replaces or len(outside) > 1) and len(members) < VOTERS_MAX:
            return tuple(sorted((*members, outside[0].id)))
        return _without(members, leaving[0]) if leaving and leaving[0] not in nodes else None
    if leaving:
        return _without(members, leaving[0])
    if outside and len(members) < VOTERS_MAX:
        return tuple(sorted((*members, outside[0].id)))
    spare = [one for one in members if _is_replica(core, one)]
    return _without(members, spare[-1]) if spare else None


def _is_replica(core: Core, node_id: str) -> bool:
    node = core.state.nodes.get(node_id)
    return node is not None and node.is_replica


def _without(members: tuple[str, ...], leaving: str) -> tuple[str, ...]:
    return tuple(one for one in members if one != leaving)


def _gone(core: Core) -> list[str]:
    """Return the voters whose nodes were forgotten here long enough ago to be no mistake."""
    state, before = core.state, core.proposal.gone_ms
    gone = {one: before.get(one, core.now_ms) for one in state.electorate.members if one not in state.nodes}
    core.proposal.gone_ms = gone
    for since_ms in gone.values():
        core.due(max(since_ms + GONE_MS, core.now_ms + ANSWER_MS))
    return [one for one, since_ms in gone.items() if core.now_ms - since_ms >= GONE_MS]
