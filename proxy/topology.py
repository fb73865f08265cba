"""Which node serves which slot: what the proxy knows of the nodes behind it. Sans-IO.

A view is what one node, or a Sentinel, has told: shards, each a primary with its replicas and its slots. `adopt` makes
the newest view the truth and forgets nodes that are in it no longer; `moved` believes a redirect at once. A node is an
address: one that moves is a new node. In front of a standalone server or a primary with replicas all slots are one
shard's, and keys may be of any slot in one command (`is_cluster` False).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from node.net.resp import Reply
from node.slots import SLOTS

Address = tuple[str, int]
"""Host and port."""


VIEWS_MISSED_MAX = 2
"""A node that so many views in a row do not name is gone."""


class MalformedView(ValueError):
    """What a node told of its cluster makes no sense."""


class Shard(NamedTuple):
    """A primary with its replicas, and the ranges of slots (first, last) that it serves."""

    primary: Address
    replicas: tuple[Address, ...]
    ranges: tuple[tuple[int, int], ...]


View = list[Shard]


class LinkKey(NamedTuple):
    """What a connection is at its node: commands that need the same may share one.

    `login` is the name of the proxy's user whose backend user it acts for; `b""`: the proxy's own. `caller` is the
    number of the one client whose connection it is, since that wants no news of its own writes (`proxy.caching`), or 0.
    """

    resp3: bool = False
    database: int = 0
    reads_only: bool = False
    login: bytes = b""
    caller: int = 0


class Node:
    """A node behind the proxy. `links` are the shared connections to it."""

    __slots__ = ("address", "idle", "is_primary", "latency_ms", "links", "missed", "name", "private_count", "replicas")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.name = show(address)
        self.is_primary = True
        self.replicas: list[Node] = []
        self.links: dict[LinkKey, Any] = {}
        self.idle: list[Any] = []  # private connections that wait for their next use
        self.private_count = 0
        self.missed = 0  # in how many views in a row it was not
        self.latency_ms = 0.0  # of its last answer to a look


def show(address: Address) -> str:
    """An address as people write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """The address that "host:port" or "[host]:port" means. Raises ValueError."""
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"'{text}' is no address: host:port is expected")
    return host, int(port)


def parse_slots(reply: Reply, asked: Address) -> View:
    """The view in a reply to CLUSTER SLOTS; a node that does not know its own host means `asked`. MalformedView."""
    shards: dict[Address, tuple[dict[Address, None], list[tuple[int, int]]]] = {}
    try:
        for first, last, primary, *replicas in reply:
            if not 0 <= first <= last < SLOTS:
                raise ValueError("a slot that is none")
            others, ranges = shards.setdefault(_entry(primary, asked), ({}, []))
            others.update(dict.fromkeys(_entry(entry, asked) for entry in replicas if entry[0] != b"?"))
            ranges.append((first, last))
    except (TypeError, ValueError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise MalformedView(f"no reply to CLUSTER SLOTS: {error}") from None
    return [Shard(primary, tuple(others), tuple(ranges)) for primary, (others, ranges) in shards.items()]


def _entry(entry: list[Any], asked: Address) -> Address:
    host, port = entry[0], entry[1]
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError("no port")
    return (host.decode() if host else asked[0]), port


class OwnSlots(NamedTuple):
    """What a node says of its own slots: those it serves, and where the keys of those go that it gives away."""

    slots: set[int]
    leaving: dict[int, Address]


def parse_own_slots(text: bytes) -> OwnSlots:
    """The line about itself in a node's CLUSTER NODES. Raises MalformedView."""
    addresses: dict[str, Address] = {}
    own: list[str] = []
    try:
        for line in text.decode().splitlines():
            words = line.split()
            addresses[words[0]] = parse_address(words[1].partition("@")[0])
            if "myself" in words[2].split(","):
                own = words[8:]
        slots: set[int] = set()
        leaving: dict[int, Address] = {}
        for word in own:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                slots.update(range(int(first), int(last or first) + 1))
            elif "->-" in word:
                slot, _, target = word[1:-1].partition("->-")
                leaving[int(slot)] = addresses[target]
    except (ValueError, IndexError, KeyError) as error:
        raise MalformedView(f"no reply to CLUSTER NODES: {error}") from None
    return OwnSlots(slots, leaving)


def whole(primary: Address, replicas: Iterable[Address]) -> View:
    """The view of a primary that has all slots."""
    return [Shard(primary, tuple(replicas), ((0, SLOTS - 1),))]


def coverage(view: View) -> int:
    """How many slots somebody serves."""
    return sum(last - first + 1 for shard in view for first, last in shard.ranges)


class Topology:
    """The nodes, and the owner of each slot. `dropped(node)` is called for a node that is known no longer."""

    def __init__(self, *, is_cluster: bool, dropped: Callable[[Node], None]) -> None:
        self.is_cluster = is_cluster
        self.nodes: dict[Address, Node] = {}
        self.owners: list[Node | None] = [None] * SLOTS
        self.changes = 0  # how many times something was learned
        self._dropped = dropped

    def node(self, address: Address) -> Node:
        """The node at an address, now known if it was not."""
        found = self.nodes.get(address)
        if found is None:
            found = self.nodes[address] = Node(address)
        return found

    @property
    def is_whole(self) -> bool:
        """Has every slot an owner?"""
        return None not in self.owners

    @property
    def primaries(self) -> list[Node]:
        """The nodes that serve slots, each once."""
        return list(dict.fromkeys(owner for owner in self.owners if owner is not None))

    def adopt(self, view: View) -> bool:
        """Believe a view; True if it says something new.

        A node is forgotten once two views in a row lack it: a node that is behind the times tells an old one.
        """
        owners: list[Node | None] = [None] * SLOTS
        known: dict[Address, Node] = {}
        changed = False
        for shard in view:
            primary = known[shard.primary] = self.node(shard.primary)
            replicas = [self.node(address) for address in shard.replicas if address != shard.primary]
            known.update((replica.address, replica) for replica in replicas)
            changed = changed or replicas != primary.replicas or not primary.is_primary
            primary.is_primary, primary.replicas = True, replicas
            for replica in replicas:
                replica.is_primary, replica.replicas = False, []
            for first, last in shard.ranges:
                owners[first : last + 1] = [primary] * (last - first + 1)
        changed = changed or owners != self.owners or known.keys() != self.nodes.keys()
        forgotten = []
        for address, node in self.nodes.items():
            node.missed = 0 if address in known else node.missed + 1
            if node.missed == VIEWS_MISSED_MAX:
                forgotten.append(node)
            elif node.missed:
                known[address] = node
        self.nodes, self.owners = known, owners
        self.changes += changed
        for node in forgotten:
            self._dropped(node)
        return changed

    def moved(self, slot: int, address: Address) -> Node:
        """A node has said who serves a slot now."""
        node = self.node(address)
        if self.owners[slot] is not node:
            self.owners[slot] = node
            self.changes += 1
        return node

    def check(self) -> None:
        """Assert what always holds (for tests)."""
        assert len(self.owners) == SLOTS
        assert all(owner is None or self.nodes[owner.address] is owner for owner in self.owners)
        assert all(replica.address in self.nodes for node in self.nodes.values() for replica in node.replicas)
