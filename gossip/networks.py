"""Addresses for the clients of a network: what each node tells of its own, and what a client is told of all.

A node behind a mapped port, or with a leg in several networks, is reached by the clients of each network elsewhere than
by the other nodes. It names its addresses by `cluster-announce-network` (see `node.config.networks`) and tells them to
the others in a ping extension of ours, one line a network: `NAME HOST PORT TLS-PORT`, a port of 0 being its usual one.
The node that a client asks finds the client's network by its own lines. In whatever tells a client of addresses, a
node with an address in that network stands with that; one without (a genuine Redis, say) by Redis's rule.

What was heard is not kept in nodes.conf, which a Redis 7.2 could not read then: a node that starts again hears it with
the first answer of each other node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from gossip.core import Core
from gossip.packet import Extensions
from gossip.state import Node, is_name
from node.config.networks import (
    NAME_CHARS_MAX,
    NETWORKS_MAX,
    AnnouncedNetwork,
    Block,
    NetworkAddress,
    read_clients,
)

CLIENTS_KEPT = 1024
"""Of so many (address, our address) the network is remembered, then all are forgotten."""
HOST_CHARS_MAX = 255
HOST_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:")

Addresses = Mapping[str, NetworkAddress]
"""A node's addresses by the name of the network."""


# ---- between nodes -------------------------------------------------------------------------------------------------


def own_addresses(lines: Iterable[AnnouncedNetwork]) -> dict[str, NetworkAddress]:
    """What the directive's lines say of where we are."""
    return {line.name: line.reached_at for line in lines}


def render(addresses: Addresses) -> str:
    """The extension's text."""
    return "\n".join(f"{name} {at.host} {at.port} {at.tls_port}" for name, at in addresses.items())


def parse(text: str) -> dict[str, NetworkAddress] | None:
    """The addresses in an extension's text; None if it is none."""
    found: dict[str, NetworkAddress] = {}
    for line in text.split("\n") if text else ():
        name, _, rest = line.partition(" ")
        words = rest.split(" ")
        if len(words) != 3 or not _is_network(name) or not _is_host(words[0]) or not all(map(_is_port, words[1:])):
            return None
        found[name] = NetworkAddress(words[0], int(words[1]), int(words[2]))
    return found if len(found) <= NETWORKS_MAX else None


def _is_network(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARS_MAX and is_name(name)


def _is_host(text: str) -> bool:
    return 0 < len(text) <= HOST_CHARS_MAX and HOST_LETTERS.issuperset(text)


def _is_port(text: str) -> bool:
    return len(text) <= 5 and text.isascii() and text.isdigit() and int(text) < 65536


def hear(core: Core, sender: Node, extensions: Extensions) -> None:
    """A heartbeat that has our extensions tells all addresses that its sender has; one without tells nothing."""
    if extensions.standing is None or extensions.networks == sender.networks_told:
        return
    addresses = parse(extensions.networks)
    if addresses is None:
        core.log("warning", f"Node {sender.id} tells addresses in networks that are none: they are not taken")
        addresses = {}
    sender.networks_told, sender.networks = extensions.networks, addresses


# ---- for clients ---------------------------------------------------------------------------------------------------


class ClientNetworks:
    """Tells of a client by which network it came, from the lines of one node.

    The port that it came to counts before the address that it came to, and that before the address that it came from;
    of several blocks of addresses the narrowest.
    """

    def __init__(self, lines: Iterable[AnnouncedNetwork]) -> None:
        self._ports: dict[int, str] = {}
        self._at: list[tuple[Block, str]] = []
        self._sources: list[tuple[Block, str]] = []
        self._known: dict[tuple[str, str], str] = {}
        for line in lines:
            ports, at, sources = read_clients(line.who)
            for port in ports:
                self._ports.setdefault(port, line.name)
            self._at += [(block, line.name) for block in at]
            self._sources += [(block, line.name) for block in sources]
        for blocks in (self._at, self._sources):
            blocks.sort(key=lambda entry: entry[0].prefixlen, reverse=True)

    def of(self, addr: str, laddr: str) -> str:
        """The network of a client by its address and ours, both as `host:port`; empty if it is none of them."""
        source = addr.rpartition(":")[0]
        name = self._known.get((source, laddr))
        if name is None:
            if len(self._known) >= CLIENTS_KEPT:
                self._known.clear()
            name = self._known[source, laddr] = self._find(source, laddr)
        return name

    def _find(self, source: str, laddr: str) -> str:
        here, _, port = laddr.rpartition(":")
        by_port = self._ports.get(int(port)) if _is_port(port) else None
        return by_port or _narrowest(self._at, here) or _narrowest(self._sources, source)


def _narrowest(blocks: Iterable[tuple[Block, str]], host: str) -> str:
    address = _ip(host)
    if address is None:
        return ""
    return next((name for block, name in blocks if block.version == address.version and address in block), "")


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """None for the path of a Unix socket; an IPv4 client of an IPv6 socket is what it is."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


def is_ip(host: str) -> bool:
    """Whether the host is an address, not a name."""
    return _ip(host) is not None
