"""Links and pings: whom we dial, whom we ping and when, and what a ping tells.

Redis does this in a cron of 100 ms; we compute when the next thing is due and sleep until then.  T is the
node timeout.  Each second one node is pinged: of five drawn, the one heard of longest ago; besides, each node
whose last pong is older than T/2, or than `cluster-ping-interval`.  So by default a node hears from every other at
least twice in T.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gossip import networks
from gossip.core import NEVER, Core
from gossip.events import CloseLink, Dial
from gossip.packet import (
    AHEAD,
    ALLOWS_VOTERS,
    HANDSHAKE,
    HAS_EXTENSIONS,
    LOADED,
    MEET,
    MEETING,
    NO_EXTENSIONS,
    NOADDR,
    PAUSED,
    PFAIL,
    PING,
    PONG,
    SPEAKS_HEXAD,
    WAITS,
    Extensions,
    Gossip,
    GossipEntry,
    bitmap_bytes,
)
from gossip.state import Node

CHOICE_MS = 1000
"""How often one node is drawn to be pinged."""
CHOICE_DRAWS = 5
BEAT_MS, BEATS_MIN = 100, 20
"""Pings to silent nodes leave together: at most every so many ms, but at least so often in T.  In a cluster of a
thousand each of them would be a wake-up of its own otherwise, and each of those walks all nodes."""
GOSSIP_MIN = 3
"""A ping tells of at least so many nodes, if there are so many."""
HANDSHAKE_MIN_MS = 1000
REDIAL_MIN_MS, REDIAL_MAX_MS = 100, 1000
"""First and longest wait before a link is dialled again; any message from that node ends the wait."""
FORGOTTEN_MAX = 200
"""A ping tells of at most so many forgotten nodes."""


# ---- what a ping tells -----------------------------------------------------------------------------------------


def send_ping(core: Core, node: Node, kind: int = PING) -> None:
    """Send a ping, pong or meet over our link to a node, if it stands."""
    if node.link is None or not node.link_up:
        return
    if kind == PING:
        node.ping_sent_ms = core.now_ms
    core.send((node.link,), core.packet(kind, gossip_body(core, node), _mflags(core)))


def answer(core: Core, link: int, receiver: Node | None, kind: int = PONG, *, speaks_hexad: bool = False) -> None:
    """Send a pong (or, in a manual failover, a ping) back over the link that a message came on.

    speaks_hexad -- a receiver that we do not know showed that it understands our extensions.
    """
    body = gossip_body(core, receiver)
    if receiver is None and speaks_hexad and core.state.cluster_id:
        body = replace(body, extensions=replace(body.extensions, cluster_id=core.state.cluster_id))
    core.send((link,), core.packet(kind, body, _mflags(core)))


def pong_to_all(core: Core) -> None:
    """Tell every node about ourselves at once."""
    _pong_to(core, core.state.others())


def pong_to_siblings(core: Core) -> None:
    """Tell the other replicas of our primary about ourselves, so that they can rank us."""
    if core.myself.primary is not None:
        _pong_to(core, (node for node in core.myself.primary.replicas if node is not core.myself))


def pong_to_replicas(core: Core) -> None:
    """Tell our replicas about ourselves at once."""
    _pong_to(core, core.myself.replicas)


def _pong_to(core: Core, nodes: Iterable[Node]) -> None:
    for node in nodes:
        if not node.in_handshake:
            send_ping(core, node, PONG)


def _mflags(core: Core) -> int:
    """We understand extensions; what our setting says of agreed voters; a primary that has stopped its clients for a
    manual failover says so."""
    return (
        HAS_EXTENSIONS
        | SPEAKS_HEXAD
        | (ALLOWS_VOTERS if core.settings.replica_votes else 0)
        | (PAUSED if core.manual.end_ms and core.myself.is_primary else 0)
    )


def gossip_body(core: Core, receiver: Node | None) -> Gossip:
    """Return entries of some random healthy nodes and of all that we suspect, and our extensions.

    receiver -- who will read it, if we know.
    """
    state, myself, rng = core.state, core.state.myself, core.rng
    nodes = list(state.nodes.values())
    fresh = len(nodes) - 2  # neither ourselves nor the receiver
    wanted = min(max(GOSSIP_MIN, len(nodes) // 10), fresh)
    chosen: dict[Node, None] = {}  # in the order drawn; a list would be walked for each of a hundred draws
    for _ in range(wanted * 3):
        if len(chosen) >= wanted or fresh <= 0:
            break
        node = nodes[int(rng.random() * len(nodes))]
        if node is myself or node.flags & PFAIL or node in chosen:
            continue
        if node.flags & (HANDSHAKE | NOADDR) or (node.link is None and not node.slots):
            fresh -= 1
            continue
        chosen[node] = None
        fresh -= 1
    suspects = [n for n in nodes if n.flags & PFAIL and not n.flags & (HANDSHAKE | NOADDR) and n is not myself]
    return Gossip(tuple(map(_entry, (*chosen, *suspects))), _extensions(core, receiver))


def _entry(node: Node) -> GossipEntry:
    return GossipEntry(
        node.id,
        node.ping_sent_ms // 1000 & 0xFFFFFFFF,
        node.pong_received_ms // 1000 & 0xFFFFFFFF,
        node.ip,
        node.port,
        node.cport,
        node.flags & 0xFFFF,
        node.pport,
    )


def _extensions(core: Core, receiver: Node | None) -> Extensions:
    """A hostname goes to everybody, the rest to those who showed that they know extensions: a Redis 7.0
    without a hostname logs a warning for each one that it does not know."""
    settings = core.settings
    if receiver is None or not receiver.shows_extensions:
        return Extensions(settings.announce_hostname) if settings.announce_hostname else NO_EXTENSIONS
    forgotten = tuple(
        (node_id, (until_ms - core.now_ms + 999) // 1000)
        for node_id, until_ms in core.state.blacklist.items()
        if until_ms > core.now_ms
    )
    return Extensions(
        settings.announce_hostname,
        settings.announce_human_nodename,
        forgotten[:FORGOTTEN_MAX],
        core.myself.shard_id,
        _standing(core) if receiver.speaks_hexad else None,
        core.state.cluster_id if receiver.speaks_hexad else "",
        networks.render(settings.networks) if settings.networks and receiver.speaks_hexad else "",
        _leftover(core, receiver),
    )


def _leftover(core: Core, receiver: Node) -> bytes:
    """Our replicas hold what we hold, so they must know what of it is not ours, should they take our place."""
    told = core.state.leftover and receiver.speaks_hexad and receiver.primary is core.myself
    return bitmap_bytes(core.state.leftover) if told else b""


def _standing(core: Core) -> int:
    """How we stand to our shard's data: see `gossip.comeback`."""
    comeback = core.comeback
    return (
        (LOADED if comeback.loaded else 0)
        | (WAITS if comeback.waits else 0)
        | (AHEAD if comeback.ahead_since_ms and core.myself.is_replica else 0)
    )


# ---- links -----------------------------------------------------------------------------------------------------


def dial(core: Core, node: Node) -> None:
    """Begin a link to a node.  From now on it owes us an answer: a dial that hangs is a failure like any other."""
    core.link_number += 1
    node.link, node.link_up, node.link_created_ms = core.link_number, False, core.now_ms
    core.links[node.link] = node
    if node.ping_sent_ms == 0:
        node.ping_sent_ms = core.now_ms
    core.log("debug", f"Connecting with Node {node.id} at {node.ip}:{node.cport}")
    core.emit(Dial(node.link, node.ip, node.cport))


def link_up(core: Core, link: int) -> None:
    """A dialled link stands: greet over it, but let an older ping keep counting."""
    node = core.links.get(link)
    if node is None:
        core.emit(CloseLink(link))
        return
    node.link_up, node.dial_delay_ms = True, 0
    owed_since_ms = node.ping_sent_ms
    send_ping(core, node, MEET if node.flags & MEETING else PING)
    node.ping_sent_ms = owed_since_ms or core.now_ms
    node.flags &= ~MEETING


def link_down(core: Core, link: int, why: str = "") -> None:
    """A link broke, or could not be had."""
    node = core.links.pop(link, None)
    if node is not None:
        if why:
            core.log("verbose", f"Connection with Node {node.id} at {node.ip}:{node.cport} failed: {why}")
        node.link, node.link_up = None, False
        node.dial_delay_ms = min(max(REDIAL_MIN_MS, node.dial_delay_ms * 2), REDIAL_MAX_MS)
        node.dial_at_ms = core.now_ms + node.dial_delay_ms
        core.due(node.dial_at_ms)
        return
    for node in core.state.others():
        if node.inbound == link:
            node.inbound = None


def drop_link(core: Core, node: Node) -> None:
    """Close our link to a node and dial it again at once."""
    if node.link is not None:
        core.links.pop(node.link, None)
        core.emit(CloseLink(node.link))
        node.link, node.link_up = None, False
    node.dial_at_ms = node.dial_delay_ms = 0
    core.due(core.now_ms)


def drop_all_links(core: Core, node: Node) -> None:
    """Close both links of a node that is being removed."""
    if node.link is not None:
        core.links.pop(node.link, None)
        core.emit(CloseLink(node.link))
    if node.inbound is not None:
        core.emit(CloseLink(node.inbound))
    node.link = node.inbound = None
    node.link_up = False


def handshake_limit_ms(core: Core) -> int:
    return max(core.timeout_ms, HANDSHAKE_MIN_MS)


def ping_interval_ms(core: Core) -> int:
    """How long a node may be silent before it is pinged."""
    return core.settings.ping_interval_ms or core.timeout_ms // 2


# ---- what is due ------------------------------------------------------------------------------------------------


def beat(core: Core) -> None:
    """Do all that is due for links and pings, and ask to be woken for the next of it."""
    for node in list(core.state.others()):
        if node.link is None and node.has_address and node.dial_at_ms <= core.now_ms:
            dial(core, node)
    _ping_one_of_some(core)
    interval_ms = ping_interval_ms(core)
    next_ms = NEVER
    for node in core.state.others():
        if node.link_up and not node.ping_sent_ms and not node.flags & HANDSHAKE:
            # The usual case, kept short: each wake-up walks all nodes, and in a large cluster there are many of both.
            due_ms = node.pong_received_ms + interval_ms + 1
            if due_ms > core.now_ms:
                if due_ms < next_ms:
                    next_ms = due_ms
                continue
        _ping_if_stale(core, node)
        core.due(_next_due_ms(core, node))
    core.due(max(next_ms, core.now_ms + min(BEAT_MS, core.timeout_ms // BEATS_MIN)))


def _ping_one_of_some(core: Core) -> None:
    nodes = [node for node in core.state.others() if not node.in_handshake]
    if not nodes:
        return
    if core.next_choice_ms <= core.now_ms:
        core.next_choice_ms = core.now_ms + CHOICE_MS
        drawn = [core.rng.choice(nodes) for _ in range(CHOICE_DRAWS)]
        ready = [node for node in drawn if node.link_up and node.ping_sent_ms == 0]
        if ready:
            oldest = min(ready, key=lambda node: node.pong_received_ms)
            core.log("debug", f"Pinging node {oldest.id}")
            send_ping(core, oldest)
    core.due(core.next_choice_ms)


def _ping_if_stale(core: Core, node: Node) -> None:
    """Renew a link that has been silent for too long; ping who was not heard of for a while."""
    now_ms, half_ms = core.now_ms, core.timeout_ms // 2
    if (
        node.link is not None
        and not node.in_handshake
        and now_ms - node.link_created_ms > core.timeout_ms
        and node.ping_sent_ms
        and now_ms - node.ping_sent_ms > half_ms
        and now_ms - node.data_received_ms > half_ms
    ):
        drop_link(core, node)
        dial(core, node)
    elif node.link_up and node.ping_sent_ms == 0 and now_ms - node.pong_received_ms > ping_interval_ms(core):
        send_ping(core, node)


def _next_due_ms(core: Core, node: Node) -> int:
    """When something is to be done for the node next, if it stays silent."""
    half_ms = core.timeout_ms // 2
    if node.in_handshake:
        due_ms = node.created_ms + handshake_limit_ms(core) + 1
        return min(due_ms, node.dial_at_ms) if node.link is None else due_ms
    if not node.has_address and node.link is None:
        return NEVER
    if node.link is None:
        due_ms = node.dial_at_ms
    elif node.ping_sent_ms == 0:
        return node.pong_received_ms + ping_interval_ms(core) + 1
    else:
        quiet_since_ms = max(node.ping_sent_ms, node.data_received_ms)
        due_ms = max(node.link_created_ms + core.timeout_ms, quiet_since_ms + half_ms) + 1
    if not node.is_troubled and node.ping_sent_ms:
        due_ms = min(due_ms, max(node.ping_sent_ms, node.data_received_ms) + core.timeout_ms + 1)
    return max(due_ms, core.now_ms + 1)
