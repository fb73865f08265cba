"""Who is down, and is the cluster as a whole up.

PFAIL is our own suspicion: a ping unanswered, and nothing heard, for T.  FAIL is the verdict of a majority of those who
vote (the primaries with slots, or the agreed voters), counted from what the gossip of primaries (or of such voters)
reports within 2T, our own word included; it is announced to all, and undone only by hearing the node over our own link.
"""

from __future__ import annotations

from gossip.comeback import must_wait
from gossip.core import Core
from gossip.events import ClusterStateChanged
from gossip.heartbeat import send_ping
from gossip.packet import FAIL, FAILED, HANDSHAKE, NOADDR, PFAIL, Failed
from gossip.state import ALL_SLOTS, Node

REPORT_LIFE = 2
"""Reports live so many T."""
FAIL_UNDO = 2
"""A primary whose slots nobody took may come back after so many T."""
TOLD_MAX = 32
"""So many voters are told of a suspicion at once."""
REJOIN_MIN_MS, REJOIN_MAX_MS = 500, 5000
START_MS = 2000
"""After its start a primary waits so long before it serves: it may have been replaced meanwhile."""


# ---- suspicion ------------------------------------------------------------------------------------------------


def suspect_the_silent(core: Core) -> None:
    """Mark PFAIL whoever owes an answer for longer than T and has sent nothing else meanwhile."""
    newly: list[Node] = []
    for node in core.state.others():
        if node.flags & (HANDSHAKE | NOADDR | PFAIL | FAILED) or not node.ping_sent_ms:
            continue
        if core.now_ms - max(node.ping_sent_ms, node.data_received_ms) > core.timeout_ms:
            node.flags |= PFAIL
            core.judge = True
            newly.append(node)
            core.log("debug", f"*** NODE {node.id} possibly failing")
    for node in newly:
        if core.state.may_accuse(core.myself) and core.state.quorum == 1:
            convict_if_agreed(core, node)
    if newly and core.state.has_vote(core.myself):
        _tell_the_voters(core)


def _tell_the_voters(core: Core) -> None:
    """A suspicion is worth a ping to the other voters: otherwise the verdict waits for the next ones drawn.

    In a large cluster it is worth a ping to some of them: all suspect at the same time, and each would ping all. Where
    those are no majority, the verdict waits for the next round of pings, half a T at the most.
    """
    voters = [
        node
        for node in core.state.voters()
        if node is not core.myself and not node.is_troubled and node.ping_sent_ms == 0
    ]
    for node in voters if len(voters) <= TOLD_MAX else core.rng.sample(voters, TOLD_MAX):
        send_ping(core, node)


def report(core: Core, node: Node, reporter: Node, *, down: bool) -> None:
    """The gossip of one who may accuse says that a node is down, or that it is not."""
    if down:
        if reporter not in node.reports:
            core.log("verbose", f"Node {reporter.shown} reported node {node.shown} as not reachable.")
        node.reports[reporter] = core.now_ms
        convict_if_agreed(core, node)
    elif node.reports.pop(reporter, None) is not None:
        core.log("verbose", f"Node {reporter.shown} reported node {node.shown} is back online.")


def count_reports(core: Core, node: Node) -> int:
    """Return how many of those who may accuse hold the node for down, forgetting what was said too long ago."""
    oldest_ms = core.now_ms - REPORT_LIFE * core.timeout_ms
    node.reports = {reporter: said_ms for reporter, said_ms in node.reports.items() if said_ms >= oldest_ms}
    return sum(1 for reporter in node.reports if not core.state.electorate.members or core.state.may_accuse(reporter))


# ---- the verdict ------------------------------------------------------------------------------------------------


def convict_if_agreed(core: Core, node: Node) -> None:
    """Mark a node FAIL and announce it, if a majority says so.

    Guards: we cannot reach it ourselves; it is not convicted already; enough others say the same.
    """
    if not node.is_suspect or node.is_failed:
        return
    accusers = count_reports(core, node) + core.state.may_accuse(core.myself)
    if accusers < core.state.quorum:
        return
    core.log("notice", f"Marking node {node.shown} as failing (quorum reached).")
    _convict(core, node)
    core.broadcast(core.packet(FAIL, Failed(node.id)))


def hear_verdict(core: Core, sender: Node, node_id: str) -> None:
    """Another node announced that a quorum holds `node_id` for failed."""
    node = core.state.nodes.get(node_id)
    if node is None:
        core.log("notice", f"Ignoring FAIL message from unknown node {sender.id} about {node_id}")
    elif node is not core.myself and not node.is_failed:
        core.log("notice", f"FAIL message received from {sender.shown} about {node.shown}")
        _convict(core, node)


def _convict(core: Core, node: Node) -> None:
    node.flags = node.flags & ~PFAIL | FAILED
    node.fail_ms = core.now_ms
    core.save()
    core.judge = True
    core.due(core.now_ms)  # its replica may begin to be a candidate


def hear_pong(core: Core, node: Node) -> None:
    """The node answered over our own link: suspicion ends, and a verdict may."""
    node.pong_received_ms = core.now_ms
    node.ping_sent_ms = 0
    if node.is_suspect:
        node.flags &= ~PFAIL
        core.save()
        core.judge = True
    elif node.is_failed:
        _acquit_if_harmless(core, node)


def _acquit_if_harmless(core: Core, node: Node) -> None:
    """Undo FAIL: at once for who serves nothing; for a primary with slots when nobody took them for long."""
    if node.is_replica or not node.slots:
        what = "replica" if node.is_replica else "master without slots"
        text = f"Clear FAIL state for node {node.shown}: {what} is reachable again."
    elif core.now_ms - node.fail_ms > FAIL_UNDO * core.timeout_ms:
        text = (
            f"Clear FAIL state for node {node.shown}: "
            "is reachable again and nobody is serving its slots after some time."
        )
    else:
        return
    core.log("notice", text)
    node.flags &= ~FAILED
    core.save()
    core.judge = True


# ---- the cluster's state ----------------------------------------------------------------------------------------


def judge_cluster(core: Core) -> None:
    """Decide whether the cluster serves: all slots covered (if required), and we see a majority of those who vote.

    A primary that was cut off, or has just started, waits before it says ok again: it may have been replaced
    and must hear of that first.
    """
    state, now_ms = core.state, core.now_ms
    core.judge = False
    waits = core.myself.is_primary and not state.ok
    if waits and now_ms - core.started_ms < START_MS:
        core.due(core.started_ms + START_MS)
        return
    if core.comeback.waits and must_wait(core):
        return
    ok = not core.settings.require_full_coverage or (
        state.owned == ALL_SLOTS and not any(node.is_failed and node.slots for node in state.nodes.values())
    )
    if sum(1 for node in state.voters() if not node.is_troubled) < state.quorum:
        ok = False
        core.became_minority_ms = now_ms
    if ok and waits:
        back_ms = core.became_minority_ms + min(max(core.timeout_ms, REJOIN_MIN_MS), REJOIN_MAX_MS)
        if now_ms < back_ms:
            core.due(back_ms)
            return
    if ok != state.ok:
        state.ok = ok
        core.log("warning", f"Cluster state changed: {'ok' if ok else 'fail'}")
        core.emit(ClusterStateChanged(ok))
