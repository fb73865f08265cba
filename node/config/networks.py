"""`cluster-announce-network`: how the clients of a network reach this node, where that is not how the nodes do.

    cluster-announce-network NAME WHO HOST[:PORT[:TLS-PORT]]

WHO are the clients, one or several of these with commas between: `10.0.0.0/8` (they come from there), `at:10.1.2.3` or
`at:10.1.0.0/16` (they came to that address of ours), `port:7100` (they came to that port). A line for each network; of
one name there may be several, which differ in WHO alone. A port that is not given is the one that nodes are told.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from node.config.errors import ConfigError

Block = IPv4Network | IPv6Network

NETWORKS_MAX = 16
"""Names that a node has addresses under: each ping carries them."""
LINES_MAX = 64
NAME_CHARS_MAX = 64
_NAME = re.compile(rf"[0-9A-Za-z._-]{{1,{NAME_CHARS_MAX}}}")
_HOST = r"\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,255}"
_ADDRESS = re.compile(rf"({_HOST})(?::(\d{{1,5}}))?(?::(\d{{1,5}}))?")


class NetworkAddress(NamedTuple):
    """Where a node is reached; a port of 0 is the node's own. An IPv6 address stands here without brackets."""

    host: str
    port: int = 0
    tls_port: int = 0


class AnnouncedNetwork(NamedTuple):
    """One line, as it was written."""

    name: str
    who: str
    address: str

    @property
    def reached_at(self) -> NetworkAddress:
        """The last word, taken apart. Raises ConfigError."""
        return read_address(self.address)


class Clients(NamedTuple):
    """The middle word, taken apart."""

    ports: tuple[int, ...]
    at: tuple[Block, ...]
    sources: tuple[Block, ...]


def read_address(text: str) -> NetworkAddress:
    """HOST[:PORT[:TLS-PORT]]. Raises ConfigError."""
    found = _ADDRESS.fullmatch(text)
    ports = [int(port) for port in found.groups()[1:] if port is not None] if found else []
    if found is None or not all(0 < port < 65536 for port in ports):
        raise ConfigError(f"'{text}' is no address: HOST, HOST:PORT or HOST:PORT:TLS-PORT is expected")
    return NetworkAddress(found[1].strip("[]"), *ports)


def read_clients(text: str) -> Clients:
    """WHO. Raises ConfigError."""
    ports, at, sources = [], [], []
    for word in text.split(","):
        kind, _, rest = word.partition(":")
        if kind == "port" and re.fullmatch("[0-9]{1,5}", rest) and 0 < int(rest) < 65536:
            ports.append(int(rest))
        elif kind == "at":
            at.append(_block(rest, word))
        else:
            sources.append(_block(word, word))
    return Clients(tuple(ports), tuple(at), tuple(sources))


def _block(text: str, word: str) -> Block:
    try:
        return ip_network(text)
    except ValueError:
        raise ConfigError(f"'{word}' names no clients: NETWORK/BITS, at:ADDRESS or port:PORT is expected") from None


def parse_networks(words: list[str]) -> tuple[AnnouncedNetwork, ...]:
    """Three words a line. Raises ConfigError."""
    words = [word for word in words if word]
    if len(words) % 3:
        raise ConfigError("a name, its clients and an address are expected: NAME WHO HOST[:PORT[:TLS-PORT]]")
    lines = tuple(AnnouncedNetwork(*words[at : at + 3]) for at in range(0, len(words), 3))
    check_networks(lines)
    return lines


def check_networks(lines: tuple[AnnouncedNetwork, ...]) -> None:
    """Whether they go together. Raises ConfigError."""
    addresses: dict[str, str] = {}
    for line in lines:
        if not _NAME.fullmatch(line.name):
            raise ConfigError(f"'{line.name}' is no name of a network: letters, digits, '.', '_' and '-' are expected")
        read_clients(line.who)
        read_address(line.address)
        if addresses.setdefault(line.name, line.address) != line.address:
            raise ConfigError(f"network '{line.name}' has two addresses: one is expected")
    if len(addresses) > NETWORKS_MAX or len(lines) > LINES_MAX:
        raise ConfigError(f"at most {NETWORKS_MAX} networks in {LINES_MAX} lines are taken")


def show_networks(lines: Iterable[AnnouncedNetwork]) -> str:
    """All lines as CONFIG GET prints them, and CONFIG SET takes them."""
    return " ".join(" ".join(line) for line in lines)
