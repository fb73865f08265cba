"""Failover on an operator's word, and replicas that go where they are needed.

CLUSTER FAILOVER at a replica.  It asks its primary to stop its clients (mfstart); the primary's next pings say
PAUSED and where it stopped; the replica waits until it has all data up to there and then asks for votes, which
nobody refuses because the primary is alive.  FORCE does not wait for the primary, TAKEOVER not even for votes.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.election import advance
from gossip.events import ClusterError, PauseWrites
from gossip.heartbeat import answer, send_ping
from gossip.packet import FAILED, MFSTART, MIGRATE_TO, PAUSED, PING, PRIMARY, Packet
from gossip.roles import bump_epoch, follow, replace_my_primary, reset_manual
from gossip.state import Node

LIMIT_MS = 5000
"""A manual failover that takes longer is given up."""
PAUSE_MS = 10_000
"""For so long the primary holds back its clients' writes, if nothing ends it earlier."""
WATCH_MS = 10
"""How often a replica compares its offset with its primary's."""
AGAIN_MS = 100
"""How often a replica asks again for its primary's place, and a paused primary tells its offset again."""
ORPHAN_MS = 5000
"""A primary must be without working replicas for so long before one migrates to it."""


def order(core: Core, mode: str) -> None:
    """CLUSTER FAILOVER, with FORCE or TAKEOVER or neither."""
    myself, primary = core.myself, core.myself.primary
    if myself.is_primary:
        raise ClusterError("ERR You should send CLUSTER FAILOVER to a replica")
    if primary is None:
        raise ClusterError("ERR I'm a replica but my master is unknown to me")
    if not mode and (primary.is_failed or not primary.link_up):
        raise ClusterError("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")
    _begin(core)
    if mode == "TAKEOVER":
        core.log("warning", "Taking over the master (user request).")
        bump_epoch(core)
        replace_my_primary(core)
    elif mode == "FORCE":
        core.log("warning", "Forced failover user request accepted.")
        core.manual.may_start = True
        advance(core)
    else:
        core.log("warning", "Manual failover user request accepted.")
        _ask_primary(core, primary)


def take_place(core: Core) -> None:
    """Ask for the place of a primary that lives, without waiting for it: as by CLUSTER FAILOVER FORCE."""
    _begin(core)
    core.manual.may_start = True
    advance(core)


def _ask_primary(core: Core, primary: Node) -> None:
    """Ask for its place, until it answers: it may not have heard yet that we are its replica."""
    core.send_to(primary, core.packet(MFSTART))
    core.manual.ask_ms = core.now_ms + AGAIN_MS
    core.due(core.manual.ask_ms)


def _begin(core: Core) -> None:
    reset_manual(core)
    core.manual.end_ms = core.now_ms + LIMIT_MS
    core.due(core.manual.end_ms + 1)
    core.election.start_ms = 0  # an earlier candidature does not hold up this one


def hear_start(core: Core, sender: Node, link: int) -> None:
    """Our replica wants our place: stop the clients and tell it where we stopped."""
    if core.myself.is_replica or sender.primary is not core.myself:
        return
    if core.manual.replica is not sender:
        reset_manual(core)
        core.manual.replica = sender
        core.log("warning", f"Manual failover requested by replica {sender.shown}.")
        core.due(core.now_ms + AGAIN_MS)
    # Each time anew: a replica that is told again tries for longer, and what we took meanwhile would be lost.
    core.manual.end_ms = core.now_ms + LIMIT_MS
    core.emit(PauseWrites(core.now_ms + PAUSE_MS))
    answer(core, link, sender, PING)


def hear_offset(core: Core, sender: Node, packet: Packet) -> None:
    """The paused primary tells where it stopped; the first such message counts."""
    manual = core.manual
    if (
        manual.end_ms
        and core.myself.is_replica
        and core.myself.primary is sender
        and packet.mflags & PAUSED
        and manual.primary_offset is None
    ):
        manual.primary_offset = packet.offset
        core.log("warning", f"Received replication offset for paused master manual failover: {packet.offset}")
        core.due(core.now_ms)


def watch(core: Core) -> None:
    """Give up in time; compare offsets (replica); repeat our offset (primary)."""
    manual = core.manual
    if not manual.end_ms:
        return
    if core.now_ms > manual.end_ms:
        core.log("warning", "Manual failover timed out.")
        reset_manual(core)
        return
    core.due(manual.end_ms + 1)
    if core.myself.is_primary:
        if manual.replica is not None:
            send_ping(core, manual.replica)
            core.due(core.now_ms + AGAIN_MS)
    elif not manual.may_start and core.myself.primary is not None:
        if manual.primary_offset is None and core.now_ms < manual.ask_ms:
            core.due(manual.ask_ms)
        elif manual.primary_offset is None:
            _ask_primary(core, core.myself.primary)
        elif manual.primary_offset == core.facts.offset():
            manual.may_start = True
            core.log("warning", "All master replication stream processed, manual failover can start.")
        else:
            core.due(core.now_ms + WATCH_MS)


# ---- replicas that migrate ------------------------------------------------------------------------------------------


def migrate_to_orphan(core: Core) -> None:
    """Replicate a primary that lost all its replicas, if we are the one who should.

    Guards: it is allowed; the cluster is ok; we are a replica; our primary can spare us; no other primary has
    more working replicas; of all replicas of such primaries ours is the smallest id.
    """
    state, settings, mine = core.state, core.settings, core.myself.primary
    _note_orphans(core)
    if not settings.allow_replica_migration or not state.ok or mine is None or core.myself.is_primary:
        return
    most = max((node.healthy_replicas() for node in state.nodes.values() if node.is_primary), default=0)
    spare = mine.healthy_replicas()
    if most < 2 or spare != most or spare <= settings.migration_barrier:
        return
    orphans = [node for node in state.others() if node.orphaned_ms]
    if not orphans:
        return
    candidates = [
        replica.id
        for node in state.nodes.values()
        if node.is_primary and node.healthy_replicas() == most
        for replica in node.replicas
        if not replica.is_failed
    ]
    if core.myself.id != min(candidates):
        return
    target = min(orphans, key=lambda node: node.orphaned_ms)
    ready_ms = target.orphaned_ms + ORPHAN_MS
    if core.now_ms <= ready_ms:
        core.due(ready_ms + 1)
        return
    core.log("notice", f"Migrating to orphaned master {target.id}")
    follow(core, target)


def _note_orphans(core: Core) -> None:
    """Remember since when each primary with slots has been without working replicas, having had some."""
    for node in core.state.others():
        may_be_orphan = node.slots and node.flags & (PRIMARY | MIGRATE_TO | FAILED) == PRIMARY | MIGRATE_TO
        if may_be_orphan and all(replica.flags & FAILED for replica in node.replicas):
            node.orphaned_ms = node.orphaned_ms or core.now_ms
        else:
            node.orphaned_ms = 0
