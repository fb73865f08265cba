"""A primary that comes back with less than its replicas have makes way for one of them, instead of wiping them.

The story.  A primary dies before it saved what it had, and is back, empty or with an older file, before anybody called
it failed.  In Redis it goes on as primary, and its replicas replace their data by its own: everything is lost.

Here the primary waits.  It says so (WAITS) and serves nobody until each of its replicas has told how far it is, or for
`SILENT_MS` if one does not.  A replica whose offset is beyond the primary's, and whose data is the primary's, keeps it
(`keeps_data`), says that it has more (AHEAD), and asks for the primaries' votes as in a failover that was forced.
Nobody refuses because the old primary is alive; that one votes, too.  By its larger epoch it then learns that it
was replaced, and copies the replica's data.  Of several replicas the one with most goes first.

What it does not do.  A primary that knows its data to be complete (its append-only file is there) does not wait.  Nor
can a genuine Redis primary be made to wait, or a genuine replica say that it has more: there Redis's rule holds.
If the votes cannot be had within `LIMIT_MS`, the primary goes on with what it has.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.election import RANK_DELAY_MS, rank
from gossip.heartbeat import pong_to_siblings, send_ping
from gossip.manual import take_place
from gossip.packet import AHEAD, LOADED, PONG, WAITS
from gossip.state import Node

SILENT_MS = 5000
"""For so long a primary that came back waits for replicas that say nothing."""
LIMIT_MS = 30_000
"""And for so long if one has more, or still loads its data."""
GATHER_MS = 200
"""A replica that has more waits so long for what its siblings have."""


def begin(core: Core) -> None:
    """The node starts: a primary with replicas may have less than they."""
    myself = core.myself
    core.comeback.waits = bool(core.settings.hand_over_when_behind and myself.votes and myself.replicas)


def data_loaded(core: Core) -> None:
    """Our data is there, so our offset counts from now on; the others hear of it at once."""
    comeback = core.comeback
    comeback.loaded = True
    if comeback.waits and core.facts.data_is_complete():
        comeback.waits = False
    comeback.give_up_ms = core.now_ms + SILENT_MS
    comeback.limit_ms = core.now_ms + LIMIT_MS
    core.judge = True
    _tell_shard(core)


def _tell_shard(core: Core) -> None:
    myself = core.myself
    for node in myself.replicas if myself.is_primary else [myself.source]:
        if node is not myself:
            send_ping(core, node, PONG)


# ---- the primary --------------------------------------------------------------------------------------------------


def must_wait(core: Core) -> bool:
    """Whether a primary that came back may not serve yet, since a replica may have more than it.

    Guards: it is a primary still, and may hand over; its own data is loaded; the time for that is not over.
    """
    comeback, myself = core.comeback, core.myself
    if not myself.votes or not core.settings.hand_over_when_behind:
        return _end_wait(core)
    if not comeback.loaded:
        return True
    if any(_has_more(core, replica) for replica in myself.replicas):
        until_ms = comeback.limit_ms
    elif any(_may_have_more(core, replica) for replica in myself.replicas):
        until_ms = comeback.give_up_ms
    else:
        return _end_wait(core)
    if core.now_ms >= until_ms:
        core.log(
            "warning", "My replicas may have more data than I, but none took my place in time: going on with mine."
        )
        return _end_wait(core)
    core.due(until_ms)
    return True


def _end_wait(core: Core) -> bool:
    core.comeback.waits = False
    _tell_shard(core)
    return False


def _has_more(core: Core, replica: Node) -> bool:
    """It says so, or it cannot say yet because it still loads its data."""
    standing = replica.standing
    if standing is None or not _is_heard(core, replica):
        return False
    return standing & AHEAD != 0 or standing & LOADED == 0


def _may_have_more(core: Core, replica: Node) -> bool:
    """It has not been heard yet, or it is further than we and has not said yet what that means."""
    if not _is_heard(core, replica):
        return True
    return replica.speaks_hexad and replica.may_fail_over and replica.offset > core.facts.offset()


def _is_heard(core: Core, node: Node) -> bool:
    return node.offset_ms >= core.started_ms


# ---- the replica --------------------------------------------------------------------------------------------------


def hear_standing(core: Core, sender: Node, standing: int | None) -> None:
    """A node tells how it stands to its shard's data."""
    sender.standing = standing
    if sender is core.myself.primary and (standing or 0) & WAITS:
        core.due(core.now_ms)
    elif sender.primary is core.myself and core.comeback.waits:
        core.judge = True


def keeps_data(core: Core, primary: Node) -> bool:
    """Whether our primary's data must not replace ours: it came back, and has less or has not loaded it yet."""
    if not core.settings.hand_over_when_behind or core.settings.replica_no_failover:
        return False
    standing = primary.standing or 0
    if not standing & WAITS:
        return False
    return not standing & LOADED or _is_ahead(core, primary)


def _is_ahead(core: Core, primary: Node) -> bool:
    return core.comeback.loaded and core.facts.offset() > primary.offset and core.facts.holds_data_of(primary.slots)


def watch(core: Core) -> None:
    """Take the place of a primary that came back with less than we have, if it is time for that.

    Guards: we are a replica; our primary waits, and its data is loaded; we have more; no failover is on its way; no
    sibling that has even more should go first.
    """
    comeback, primary = core.comeback, core.myself.primary
    if (
        primary is None
        or core.myself.is_primary
        or not (primary.standing or 0) & LOADED
        or not keeps_data(core, primary)
    ):
        comeback.ahead_since_ms = 0
        return
    if not comeback.ahead_since_ms:
        comeback.ahead_since_ms = core.now_ms
        core.log(
            "warning",
            f"My master {primary.id} came back with less data than I have (its offset is {primary.offset}, mine "
            f"{core.facts.offset()}): keeping mine, and asking for its place.",
        )
        send_ping(core, primary, PONG)
        pong_to_siblings(core)
    if core.manual.end_ms:
        return
    start_ms = comeback.ahead_since_ms + GATHER_MS + rank(core) * RANK_DELAY_MS
    if core.now_ms < start_ms:
        core.due(start_ms)
        return
    take_place(core)
