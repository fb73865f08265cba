"""Nodes that are out of reach are looked for: they may have come back at another address.

Three things help to find them.  Seeds: the configuration names nodes that may know where the others are.  Names: a
node that announced a hostname is looked up under it.  Whoever we know already: each ping tells its receiver our
address, and gossip tells who was heard where (see `gossip.membership`); so one node that is found brings the others.

An address that a name leads to is tried by a probe, a handshake that introduces nobody: a known node's answer tells
where that is now, if it was out of reach; a stranger's answer changes nothing.  Seeds never make a stranger a member.
"""

from __future__ import annotations

from gossip.core import Core
from gossip.events import Resolve, Resolved
from gossip.membership import is_address, start_handshake, update_address
from gossip.packet import HANDSHAKE, TROUBLED, Packet
from gossip.state import Node

SEEK_MIN_MS, SEEK_MAX_MS = 500, 10_000
"""Names are resolved again after the first wait, then after twice as long each time, up to the second."""
ADDRESSES_MAX = 64
"""A name leads to at most so many addresses that are tried."""
PROBES_MAX = 128
"""So many addresses are tried at a time."""


def begin(core: Core) -> None:
    """The node starts: the others may have moved meanwhile, so the seeds are asked for at once."""
    if len(core.state.nodes) > 1:
        _resolve(core, dict.fromkeys(core.settings.seeds))


def seek(core: Core) -> None:
    """Resolve the seeds, and the names of the nodes that are out of reach, while there are any."""
    lost = [
        node
        for node in core.state.others()
        if (not node.link_up or node.flags & TROUBLED)  # others are not lost: the usual case, decided without a call
        and not node.in_handshake
        and node.is_lost(core.now_ms)
    ]
    if not lost:
        core.seek_at_ms = core.seek_delay_ms = 0
        return
    names = dict.fromkeys(core.settings.seeds)
    names |= dict.fromkeys((node.hostname, node.port, node.cport) for node in lost if node.hostname)
    if not names:
        return
    if core.seek_at_ms <= core.now_ms:
        _resolve(core, names)
        core.seek_delay_ms = min(max(SEEK_MIN_MS, core.seek_delay_ms * 2), SEEK_MAX_MS)
        core.seek_at_ms = core.now_ms + core.seek_delay_ms
    core.due(core.seek_at_ms)


def _resolve(core: Core, names: dict[tuple[str, int, int], None]) -> None:
    for name, port, cport in names:
        if cport:  # a node that lost its address has lost its ports with it
            core.emit(Resolve(name, port, cport))


def hear_addresses(core: Core, event: Resolved) -> None:
    """A name was resolved: try the addresses at which nobody stands whom we know."""
    nodes = core.state.nodes.values()
    taken = {(node.ip, node.cport) for node in nodes}
    probes = sum(node.is_probe for node in nodes)
    for ip in event.ips[: min(ADDRESSES_MAX, PROBES_MAX - probes)]:
        if is_address(ip) and (ip, event.cport) not in taken:
            taken.add((ip, event.cport))
            start_handshake(core, HANDSHAKE, ip, event.port, event.cport).is_probe = True


def found(core: Core, sender: Node, packet: Packet, peer_ip: str) -> None:
    """A known node answered where another one was dialled: if it was out of reach, there it is."""
    if sender.is_lost(core.now_ms):
        update_address(core, sender, packet, peer_ip)
