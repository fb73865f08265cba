"""Who belongs to the cluster: meeting, handshakes, what gossip tells of others, addresses, forgetting.

A handshake: MEET makes a node of unknown id on both sides; each dials the other, and the answer to its first
ping or meet tells the real id.  From then on gossip of known nodes brings everybody to everybody.

Ids, addresses and names of a message go into nodes.conf and replies, so what could not be one there is
left aside.
"""

from __future__ import annotations

from gossip.core import Core, known_node
from gossip.events import CloseLink, ClusterError, ReplicateFrom
from gossip.heartbeat import dial, drop_all_links, drop_link, handshake_limit_ms
from gossip.packet import HANDSHAKE, MEETING, MYSELF, NOADDR, TROUBLED, Extensions, GossipEntry, Packet
from gossip.state import Node, is_name, is_node_id
from gossip.suspicion import count_reports, report

FORGET_MS = 60_000
"""A forgotten node is not brought back by gossip for so long."""
FORGET_MAX_S = 3600
"""Longest ban that another node's forgetting may bring us."""
PONG_AHEAD_MAX_MS = 500
"""A gossiped pong may be so far in our future, and still be believed."""
NODES_MAX = 16384
"""More nodes than slots make no cluster; gossip adds none beyond."""


def is_address(text: str) -> bool:
    """Whether the text is a numeric IPv4 or IPv6 address."""
    import ipaddress  # here, because only meetings and news of unknown nodes need it

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def start_handshake(core: Core, flags: int, ip: str, port: int, cport: int) -> Node:
    """Add a node of unknown id, and dial it."""
    node = Node(core.fresh_id(), flags, core.now_ms, ip, port, cport)
    core.state.add(node)
    dial(core, node)
    core.due(node.created_ms + handshake_limit_ms(core) + 1)
    return node


# ---- meeting ---------------------------------------------------------------------------------------------------


def meet(core: Core, ip: str, port: int, cport: int) -> None:
    """CLUSTER MEET: begin a handshake, unless one with that address is on its way."""
    if not is_address(ip) or not 0 < port < 65536 or not 0 < cport < 65536:
        raise ClusterError(f"ERR Invalid node address specified: {ip}:{port}")
    for node in core.state.nodes.values():
        if node.in_handshake and (node.ip, node.cport) == (ip, cport):
            return
    start_handshake(core, HANDSHAKE | MEETING, ip, port, cport)


def hear_meet_of_stranger(core: Core, packet: Packet, peer_ip: str) -> None:
    """An unknown node wants to meet: begin a handshake of our own with it."""
    ip = packet.ip or peer_ip
    known = (node for node in core.state.nodes.values() if node.in_handshake)
    if is_address(ip) and packet.port and packet.cport and len(core.state.nodes) < NODES_MAX:
        if not any((node.ip, node.cport) == (ip, packet.cport) for node in known):
            node = start_handshake(core, HANDSHAKE, ip, packet.port, packet.cport)
            node.pport = packet.pport
        core.save()


def learn_my_address(core: Core, local_ip: str) -> None:
    """A MEET, or any PING while we have no address, came to this address of ours."""
    if core.settings.announce_ip or core.myself.ip == local_ip or not is_address(local_ip):
        return
    core.myself.ip = local_ip
    core.log("warning", f"IP address for this node updated to {local_ip}")
    core.save()


def finish_handshake(core: Core, node: Node, sender: Node | None, packet: Packet, peer_ip: str) -> bool:
    """An answer came over a handshake's link.  False if that link is gone, since we know the node already."""
    if sender is not None:
        core.log("verbose", f"Handshake: we already know node {sender.shown}, updating the address if needed.")
        if not node.is_probe or sender.is_lost(core.now_ms):
            update_address(core, sender, packet, peer_ip)
        remove(core, node)
        return False
    if node.is_probe:
        remove(core, node)  # a stranger: only MEET and gossip bring new nodes
        return False
    if not is_node_id(packet.sender) or packet.sender in core.state.nodes:
        remove(core, node)  # no id at all, or it was ourselves whom we met
        return False
    core.log("debug", f"Renaming node {node.id} into {packet.sender}")
    core.state.rename(node, packet.sender)
    core.log("debug", f"Handshake with node {node.id} completed.")
    node.flags &= ~(HANDSHAKE | MEETING)
    core.save()
    core.judge = True
    return True


def end_old_handshakes(core: Core) -> None:
    """Remove who never answered."""
    limit_ms = handshake_limit_ms(core)
    for node in list(core.state.others()):
        if node.in_handshake and core.now_ms - node.created_ms > limit_ms:
            remove(core, node)


def wrong_sender(core: Core, node: Node) -> None:
    """Somebody else answers where we dialled `node`: its address is no longer its own."""
    age_ms = core.now_ms - node.created_ms
    core.log(
        "debug",
        f"PONG contains mismatching sender ID. About node {node.id} added {age_ms} ms ago, having flags {node.flags}",
    )
    drop_link(core, node)
    node.flags |= NOADDR
    node.ip, node.port, node.cport, node.pport = "", 0, 0, 0
    core.save()


# ---- addresses and names ------------------------------------------------------------------------------------------


def update_address(core: Core, node: Node, packet: Packet, peer_ip: str) -> None:
    """Take over the address that a node itself tells, and dial it there."""
    ip = packet.ip or peer_ip
    if (node.ip, node.port, node.cport) == (ip, packet.port, packet.cport) and node.has_address:
        node.pport = packet.pport
        return
    if not is_address(ip):
        return
    _move(core, node, ip, packet.port, packet.cport, packet.pport)
    core.log("warning", f"Address updated for node {node.shown}, now {node.ip}:{node.port}")
    core.judge = True


def _move(core: Core, node: Node, ip: str, port: int, cport: int, pport: int) -> None:
    node.ip, node.port, node.cport, node.pport = ip, port, cport, pport
    node.flags &= ~NOADDR
    drop_link(core, node)
    core.save()
    if core.myself.primary is node:
        core.emit(ReplicateFrom(node.ip, node.port))


def learn_extensions(core: Core, sender: Node, extensions: Extensions) -> None:
    """Take over the names, the shard and the forgotten nodes that a known sender tells; a missing name is no name."""
    if (extensions.hostname, extensions.nodename) != (sender.hostname, sender.nodename):
        if is_name(extensions.hostname):
            sender.hostname = extensions.hostname
        if is_name(extensions.nodename):
            sender.nodename = extensions.nodename
        core.save()
    shard_id = extensions.shard_id or sender.source.shard_id or sender.shard_id or core.fresh_id()
    if shard_id != sender.shard_id and is_node_id(shard_id):
        sender.shard_id = shard_id
        if sender is core.myself.primary:
            core.myself.shard_id = shard_id
        core.save()
    for unknown in extensions.unknown:
        core.log("warning", f"Received unknown extension type {unknown}")
    for node_id, ttl_s in extensions.forgotten:
        _forget_too(core, node_id, ttl_s)


# ---- gossip -------------------------------------------------------------------------------------------------------


def hear_gossip(core: Core, sender: Node, entries: tuple[GossipEntry, ...]) -> None:
    """Learn from what a known node tells of others; strangers neither accuse nor introduce."""
    nodes, myself = core.state.nodes, core.myself
    latest_ms = core.now_ms + PONG_AHEAD_MAX_MS
    for entry in entries:
        node = nodes.get(entry.node_id)
        if node is None:
            _introduce(core, entry)
        elif node is myself:
            continue
        elif (node.flags | entry.flags) & TROUBLED or node.reports or node.ping_sent_ms:
            _compare(core, sender, node, entry)
        elif node.pong_received_ms < entry.pong_received_s * 1000 <= latest_ms:
            node.pong_received_ms = entry.pong_received_s * 1000  # the usual case, kept short: a later pong at most


def _compare(core: Core, sender: Node, node: Node, entry: GossipEntry) -> None:
    down = entry.flags & TROUBLED != 0
    if core.state.may_accuse(sender) and (down or node.reports):
        report(core, node, sender, down=down)
    if down:
        return
    pong_ms = entry.pong_received_s * 1000
    if not node.is_troubled and node.ping_sent_ms == 0:
        believed = node.pong_received_ms < pong_ms <= core.now_ms + PONG_AHEAD_MAX_MS
        if believed and not (node.reports and count_reports(core, node)):
            node.pong_received_ms = pong_ms
    elif (
        (node.is_troubled or _knows_better(core, node, pong_ms))
        and not entry.flags & NOADDR
        and (node.ip, node.port, node.cport) != (entry.ip, entry.port, entry.cport)
        and is_address(entry.ip)
    ):
        _move(core, node, entry.ip, entry.port, entry.cport, entry.pport)


def _knows_better(core: Core, node: Node, pong_ms: int) -> bool:
    """Whether the teller has heard a node that we cannot reach, lately and after we did: it knows where that is now."""
    return node.is_lost(core.now_ms) and pong_ms > max(node.pong_received_ms, core.now_ms - core.timeout_ms)


def _introduce(core: Core, entry: GossipEntry) -> None:
    """Add a node that a known one told of, if it has an address, was not forgotten, and could be in nodes.conf."""
    if entry.flags & NOADDR or core.state.is_banned(entry.node_id, core.now_ms):
        return
    if not is_node_id(entry.node_id) or not is_address(entry.ip) or not entry.cport:
        return
    if len(core.state.nodes) >= NODES_MAX:
        return
    flags = entry.flags & ~(MYSELF | HANDSHAKE | MEETING)
    node = Node(entry.node_id, flags, core.now_ms, entry.ip, entry.port, entry.cport)
    node.pport = entry.pport
    node.fail_ms = core.now_ms if node.is_failed else 0
    core.state.add(node)
    dial(core, node)
    core.save()


def hear_inbound(core: Core, sender: Node, link: int) -> None:
    """Remember over which accepted link a node speaks; a newer one replaces the older."""
    if sender.inbound == link:
        return
    if sender.inbound is not None:
        core.log("debug", f"Replacing inbound link fd {sender.inbound} from node {sender.id} with fd {link}")
        core.emit(CloseLink(sender.inbound))
    sender.inbound, sender.inbound_created_ms = link, core.now_ms


# ---- forgetting ------------------------------------------------------------------------------------------------------


def forget(core: Core, node_id: str) -> None:
    """CLUSTER FORGET: remove a node, and keep gossip from bringing it back.

    Whoever tells all nodes one after the other may be outrun by our own pings, which tell of it too: OK then, as in
    Redis 7.2.  `redis-cli --cluster del-node` would stop half way otherwise.
    """
    if node_id not in core.state.nodes and core.state.is_banned(node_id, core.now_ms):
        return
    node = known_node(core, node_id)
    if node is core.myself:
        raise ClusterError("ERR I tried hard but I can't forget myself...")
    if node is core.myself.primary:
        raise ClusterError("ERR Can't forget my master!")
    core.state.ban(node_id, core.now_ms + FORGET_MS, core.now_ms)
    remove(core, node)


def _forget_too(core: Core, node_id: str, ttl_s: int) -> None:
    """Another node forgot one: so do we, but neither ourselves nor our primary."""
    node = core.state.nodes.get(node_id)
    if node is None or node is core.myself or node is core.myself.primary or ttl_s == 0:
        return
    core.state.ban(node_id, core.now_ms + min(ttl_s, FORGET_MAX_S) * 1000, core.now_ms)
    remove(core, node)


def remove(core: Core, node: Node) -> None:
    """Take a node out of the cluster as we see it."""
    drop_all_links(core, node)
    if core.manual.replica is node:
        core.manual.replica = None
    core.state.remove(node)
    core.save()
    core.judge = True
