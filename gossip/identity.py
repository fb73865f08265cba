"""Which cluster this is: an id of its own, so that a node with another cluster's nodes.conf melts no two together.

A cluster draws its id when it first serves: 12 hexadecimal digits of the time in Unix ms, 28 of luck.  Several
primaries may draw at once; while one of two ids is young (`SETTLE_MS`) the older is taken by both.  A node without an
id takes that of the first known node that tells one.  The id is kept in nodes.conf, until CLUSTER RESET, and told in a
ping extension of ours; genuine Redis nodes have none, and are judged by nothing.

Between two ids that both have settled there is no way: what a node of another cluster says is heard as a stranger's (no
gossip, no address, no claim, no vote), and a handshake with it ends.  It joins after a CLUSTER RESET.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.membership import remove
from gossip.packet import Gossip, Packet
from gossip.state import Node

SETTLE_MS = 60_000
"""An id that is younger gives way to an older one: the cluster is only just being made."""
TIME_DIGITS = 12
HEX_DIGITS = frozenset("0123456789abcdef")


def is_cluster_id(text: str) -> bool:
    """Whether the text can be a cluster's id: 40 hexadecimal digits."""
    return len(text) == 40 and HEX_DIGITS.issuperset(text)


def draw_if_needed(core: Core) -> None:
    """Give the cluster its id, if it serves, has more than one node, and nobody has told one so far."""
    state = core.state
    if state.cluster_id or not state.ok or not core.myself.votes or len(state.nodes) < 2:
        return
    state.cluster_id = f"{core.now_ms:0{TIME_DIGITS}x}{core.rng.getrandbits(112):028x}"
    core.save()


def is_foreign(core: Core, packet: Packet) -> bool:
    """Whether a heartbeat tells the id of another cluster, and neither id is young."""
    theirs, mine = told(packet), core.state.cluster_id
    return bool(theirs and mine) and theirs != mine and not (_is_young(core, theirs) or _is_young(core, mine))


def told(packet: Packet) -> str:
    """The id that a heartbeat tells; empty if none, or none that could be one."""
    cluster_id = packet.body.extensions.cluster_id if isinstance(packet.body, Gossip) else ""
    return cluster_id if is_cluster_id(cluster_id) else ""


def _is_young(core: Core, cluster_id: str) -> bool:
    return core.now_ms - int(cluster_id[:TIME_DIGITS], 16) < SETTLE_MS


def hear(core: Core, sender: Node, packet: Packet) -> None:
    """A known node's heartbeat tells which cluster it is of, or nothing about that."""
    state, theirs = core.state, told(packet)
    if not theirs:
        return
    was_foreign, sender.is_foreign = sender.is_foreign, is_foreign(core, packet)
    if sender.is_foreign:
        if not was_foreign:
            core.log("warning", f"Node {sender.id} is of another cluster ({theirs}) now: it is not listened to.")
    elif not state.cluster_id or theirs < state.cluster_id:
        state.cluster_id = theirs
        core.save()


def refuse_handshake(core: Core, node: Node, packet: Packet) -> None:
    """Whom we met is of another cluster: we do not know it."""
    core.log(
        "warning",
        f"Node {packet.sender} at {node.ip}:{node.cport} is of another cluster ({told(packet)}, ours is "
        f"{core.state.cluster_id}): it is not met. CLUSTER RESET lets it join.",
    )
    remove(core, node)
