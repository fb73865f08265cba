"""The moment at which slots change hands, with all their keys, between two primaries: its rule, and why it holds.

`gossip.moving` copies the keys and keeps both nodes' clocks; here is what that changes in the cluster's state.

The rule.  T is the pause (cluster-slot-migration-write-pause-timeout), S the source, D the target.

1. D has caught up but for a little.  It fixes an epoch E above every epoch it knows, notes the time d0 of its monotonic
   clock, and asks S to pause.
2. S stops the writes to these slots at s1, after d0, sends all it wrote before, and promises to write nothing there
   until s1 + T, unless D says that it has given up.
3. D has everything.  It takes the slots in epoch E only if its clock still says less than d0 + T/2, its link to S has
   not ended, S is still their owner and not suspected, the cluster is ok in D's eyes, and no epoch as large as E has
   been heard of.  It saves this, fsynced, looks at the clock again, and only then tells anybody or serves a client.
   This save is the one commit point.  If the clock says "too late" after it, the slots are S's again, and nobody has
   heard.
4. S hears the claim like any other (`gossip.claims`), loses the slots and sends its waiting clients to D.
5. If s1 + T comes first, S asks all who vote, and still writes nothing.  A voter who knows of D's claim answers with an
   update about it, which ends the matter by 4.  Once a majority (or D itself) has answered and `DOUBT_MS` more have
   brought no claim, S takes an epoch above E and above all others, saves it, and serves again (`keep_slots`).

Why not both.  D serves only after having seen its clock below d0 + T/2, so before s1 + T/2 in true time (clocks may
differ in rate by a factor of two); S writes again only after s1 + T.  Between the two D has told everybody that it
can reach.  If it reaches a majority, S hears of it in 5, since two majorities share a voter.  If it does not, its own
view of the cluster becomes "fail" within the node timeout and it stops serving, as any primary in a minority does; what
it confirmed meanwhile is lost as it is with Redis.  A D that is stopped (SIGSTOP) between two looks at its clock and
goes on after an hour claims with E at most; S has an epoch above E by then, so D's claim loses everywhere, and D
learns that from the first message that reaches it.

An S that dies after its promise and comes back has forgotten it.  Its end has cut the link, so D gives up unless it is
just taking the slots; and S serves nobody in its first two seconds (`suspicion.START_MS`), in which it hears the claim.

Why not neither.  A slot has an owner in everybody's eyes at every moment, since `ClusterState.give` moves it from one
to the other.  S refuses writes only while it pauses, and a pause ends by 4, by 5, by D's word, or by S losing
its role.  If S cannot reach a majority it goes on pausing, but then its cluster is down in any case.

Epochs never go back: E is above what D knew, 5 is above E.  If another node takes E for other slots, the usual
collision (`claims._resolve_collision`) raises one of the two.  If a replica of S wins an election meanwhile: voters
that know of the claim refuse it (`election._refusal`: its old epoch is below E) until it has learned of it, and then
it asks for the other slots alone; voters that do not know elect it with an epoch that D, as long as it has not saved,
finds not below E in 3, and gives up.  The election needs S silent for a node timeout, so D's time is over by then
unless only the bus is cut; then the two claims have different epochs, or collide, and one of them stands.

Keys.  S keeps all of them until it has heard the claim; D keeps what it took until it has heard a larger one.  What
either holds and may not serve is its `leftover`, which nodes.conf keeps and its replicas are told: it is dropped
after a restart, and by a replica that takes its primary's place.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.events import AnnounceSlots, AskVoters, ClusterError, KeepSlots, Leftover, ReturnSlots, TakeSlots
from gossip.heartbeat import pong_to_all, pong_to_replicas, send_ping
from gossip.state import Node

DOUBT_MS = 500
"""For so long, after a majority has answered, updates of the voters are waited for."""


def take_slots(core: Core, order: TakeSlots) -> None:
    """D's step 3.  Raises ClusterError, with nothing changed, where the rule forbids it."""
    refusal = why_not_take(core, order)
    if refusal:
        raise ClusterError(f"ERR {refusal}")
    state, myself = core.state, core.myself
    state.current_epoch = myself.config_epoch = order.epoch
    state.give(order.slots, myself)
    state.leftover &= ~order.slots
    core.log("notice", f"Taking {order.slots.bit_count()} slots of {order.source_id} in epoch {order.epoch}")
    core.save(fsync=True)
    core.judge = True


def why_not_take(core: Core, order: TakeSlots) -> str:
    """Return what forbids D to take the slots, or nothing.  The clock is the caller's."""
    state, source = core.state, core.state.nodes.get(order.source_id)
    if core.myself.is_replica:
        return "this node is a replica"
    if source is None or source.is_replica or order.slots & ~source.slots:
        return "the slots have another owner now"
    if source.is_troubled:
        return "the owner of the slots may have failed"
    if not state.ok:
        return "the cluster is down"
    if order.slots & state.importing_bits:
        return "a slot is being imported key by key"
    if state.max_epoch() >= order.epoch:
        return "another node has taken a new epoch meanwhile"
    return ""


def announce_slots(core: Core, _order: AnnounceSlots) -> None:
    """Everybody hears of the claim at once."""
    pong_to_all(core)


def return_slots(core: Core, order: ReturnSlots) -> None:
    """The claim was saved too late: it is withdrawn before anybody has heard of it.  The epoch stays."""
    source = core.state.nodes.get(order.source_id)
    core.state.give(order.slots, source)
    core.state.leftover |= order.slots
    core.save(fsync=True)
    core.judge = True


def keep_slots(core: Core, order: KeepSlots) -> None:
    """S's step 5: from now on a claim in the target's epoch loses."""
    state, myself = core.state, core.myself
    if myself.is_replica:
        raise ClusterError("ERR this node is a replica")
    state.current_epoch = myself.config_epoch = max(state.max_epoch(), order.epoch) + 1
    core.save(fsync=True)
    core.log("warning", f"New configEpoch set to {myself.config_epoch}: slots were not taken over in time")
    pong_to_all(core)


def ask_voters(core: Core, _order: AskVoters) -> None:
    for node in core.state.voters():
        if node is not core.myself:
            send_ping(core, node)


def have_answered(core: Core, target: Node | None, since_ms: int) -> bool:
    """Whether the target, or a majority of all who vote, has answered since: ourselves included."""
    if target is not None and target.pong_received_ms > since_ms:
        return True
    heard = sum(1 for node in core.state.voters() if node is core.myself or node.pong_received_ms > since_ms)
    return heard >= core.state.quorum


def set_leftover(core: Core, order: Leftover) -> None:
    """Note, for a restart and for our replicas, of which slots keys are here that are not ours."""
    if order.slots == core.state.leftover:
        return
    grows = order.slots & ~core.state.leftover != 0
    core.state.leftover = order.slots
    core.save(fsync=grows)
    pong_to_replicas(core)
