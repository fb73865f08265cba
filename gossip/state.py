"""What a node knows of its cluster: the nodes, who owns which slot, epochs.

Rules of this file.  It holds facts and keeps them consistent; it decides nothing and sends nothing.
Slots change hands only through `ClusterState.give`, which keeps three views in step: the owner of each slot,
each node's bitmap, and `serving`, the table that a session reads for each command.  Replicas change
primaries only through `ClusterState.attach` and `detach`.  `check()` asserts all of it.

All times are Unix milliseconds, 0 for never.  A slot bitmap is an int whose bit s is slot s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gossip.electorate import Electorate
from gossip.packet import (
    FAILED,
    HANDSHAKE,
    MIGRATE_TO,
    MYSELF,
    NO_SLOTS,
    NOADDR,
    NOFAILOVER,
    PFAIL,
    PRIMARY,
    REPLICA,
    TROUBLED,
    bitmap_bytes,
    ranges_in,
)
from node.config.networks import NetworkAddress
from node.slots import SLOTS
from node.votes import Ballot, majority

ALL_SLOTS = (1 << SLOTS) - 1
LOST_MS = 1000
"""A dial that has not come to anything for so long may have gone to the wrong address."""
ID_LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")
NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


def is_node_id(text: str) -> bool:
    """Whether the text can be a node's id: 40 lower-case letters or digits."""
    return len(text) == 40 and ID_LETTERS.issuperset(text)


def is_name(text: str) -> bool:
    """Whether the text can be a hostname or a node's human name: letters, digits, `-`, `.` and `_`, or nothing."""
    return len(text) < 256 and NAME_LETTERS.issuperset(text)


class Node:
    """One node of the cluster, ourselves included."""

    __slots__ = (
        "_slot_ranges",
        "_slots_wire",
        "allows_voters",
        "config_epoch",
        "cport",
        "created_ms",
        "data_received_ms",
        "dial_at_ms",
        "dial_delay_ms",
        "fail_ms",
        "flags",
        "hostname",
        "id",
        "inbound",
        "inbound_created_ms",
        "ip",
        "is_foreign",
        "is_probe",
        "leftover",
        "link",
        "link_created_ms",
        "link_up",
        "networks",
        "networks_told",
        "nodename",
        "offset",
        "offset_ms",
        "orphaned_ms",
        "ping_sent_ms",
        "pong_received_ms",
        "port",
        "pport",
        "primary",
        "replicas",
        "reports",
        "shard_id",
        "shows_extensions",
        "slots",
        "speaks_hexad",
        "standing",
        "voted_ms",
    )

    def __init__(self, node_id: str, flags: int, now_ms: int = 0, ip: str = "", port: int = 0, cport: int = 0) -> None:
        self.id = node_id
        self.flags = flags
        self.ip, self.port, self.cport, self.pport = ip, port, cport, 0
        self.hostname = self.nodename = ""
        self.shard_id = ""
        self.config_epoch = 0
        self.primary: Node | None = None
        self.replicas: list[Node] = []
        self.slots = 0
        self._slots_wire: bytes | None = NO_SLOTS
        self._slot_ranges: Sequence[tuple[int, int]] | None = ()
        self.created_ms = now_ms
        self.ping_sent_ms = self.pong_received_ms = self.data_received_ms = 0
        """When the ping that is still unanswered was sent; the last pong; the last data of any kind."""
        self.fail_ms = 0
        self.voted_ms = 0
        """When we last voted for a replica of this node."""
        self.orphaned_ms = 0
        """Since when this primary has slots and no working replica."""
        self.offset = self.offset_ms = 0
        """Replication offset as its last message told, and when."""
        self.reports: dict[Node, int] = {}
        """Who holds this node for failing, and when each last said so."""
        self.link: int | None = None
        """The link that we dialled, `link_up` once it stands."""
        self.link_up = False
        self.link_created_ms = 0
        self.inbound: int | None = None
        self.inbound_created_ms = 0
        self.dial_at_ms = self.dial_delay_ms = 0
        self.shows_extensions = False
        self.is_foreign = False
        """It told that it is of another cluster: it is heard as a stranger."""
        self.speaks_hexad = False
        """Whether it understands the extensions that only Hexad has."""
        self.allows_voters: bool | None = None
        """Whether its setting allows agreed voters, as it told last; None while it has not."""
        self.standing: int | None = None
        """How it stands to its shard's data, as its last message told: of LOADED, WAITS and AHEAD what holds."""
        self.networks: Mapping[str, NetworkAddress] = {}
        """Where the clients of a network reach it, by the network's name."""
        self.networks_told = ""
        """The same as its last message told it."""
        self.leftover = 0
        """Slots of which it holds keys that are not its shard's, as its last message told: see `gossip.handover`."""
        self.is_probe = False
        """It stands for an address at which a node that we know is looked for; strangers there stay strangers."""

    def __repr__(self) -> str:
        return f"<Node {self.id[:8]} {self.ip}:{self.port} flags={self.flags} epoch={self.config_epoch}>"

    @property
    def shown(self) -> str:
        """How log lines call it: by its id, and the name that its operator gave it for people to read."""
        return f"{self.id} ({self.nodename})"

    @property
    def is_primary(self) -> bool:
        return self.flags & PRIMARY != 0

    @property
    def is_replica(self) -> bool:
        return self.flags & REPLICA != 0

    @property
    def is_failed(self) -> bool:
        """Whether a quorum holds it for failed (FAIL)."""
        return self.flags & FAILED != 0

    @property
    def is_suspect(self) -> bool:
        """Whether we ourselves cannot reach it (PFAIL)."""
        return self.flags & PFAIL != 0

    @property
    def is_troubled(self) -> bool:
        """PFAIL or FAIL."""
        return self.flags & TROUBLED != 0

    @property
    def in_handshake(self) -> bool:
        return self.flags & HANDSHAKE != 0

    @property
    def has_address(self) -> bool:
        return self.flags & NOADDR == 0

    @property
    def may_fail_over(self) -> bool:
        """Whether its own settings let it take its primary's place without being told to."""
        return self.flags & NOFAILOVER == 0

    @property
    def answers(self) -> bool:
        """Whether it has answered over our link to it, since that stands."""
        return self.link_up and self.pong_received_ms >= self.link_created_ms

    def is_lost(self, now_ms: int) -> bool:
        """Whether we cannot reach it where we know it to be: its address may have changed."""
        if self.link_up and not self.is_troubled:
            return False
        owes_ms = now_ms - self.ping_sent_ms if self.ping_sent_ms else 0
        return not self.has_address or self.is_troubled or self.dial_delay_ms > 0 or owes_ms >= LOST_MS

    @property
    def votes(self) -> bool:
        """Whether it has a vote by Redis's rule: a primary with slots."""
        return self.flags & PRIMARY != 0 and self.slots != 0

    @property
    def slot_count(self) -> int:
        return self.slots.bit_count()

    @property
    def slots_wire(self) -> bytes:
        """Its slots as the bus has them; kept, because each ping carries them."""
        if self._slots_wire is None:
            self._slots_wire = bitmap_bytes(self.slots)
        return self._slots_wire

    @property
    def slot_ranges(self) -> Sequence[tuple[int, int]]:
        """Its slots as (first, last) of each run, ascending; kept, because each nodes.conf tells them of all nodes."""
        if self._slot_ranges is None:
            self._slot_ranges = ranges_in(self.slots)
        return self._slot_ranges

    def set_slots(self, slots: int) -> None:
        """For ClusterState.give alone."""
        self.slots = slots
        self._slots_wire = self._slot_ranges = None

    @property
    def source(self) -> Node:
        """The node whose slots and epoch it speaks for: its primary, or itself."""
        return self.primary if self.flags & REPLICA and self.primary is not None else self

    def healthy_replicas(self) -> int:
        """Number of its replicas that are not FAIL (a suspicion of ours alone does not count)."""
        return sum(1 for replica in self.replicas if not replica.is_failed)


class ClusterState:
    """Everything that nodes.conf keeps, and what is learned again after each start."""

    def __init__(self, myself: Node) -> None:
        assert myself.flags & MYSELF, "the state begins with ourselves"
        self.myself = myself
        self.nodes: dict[str, Node] = {myself.id: myself}
        self.owners: list[Node | None] = [None] * SLOTS
        self.owned = 0
        """Bitmap of the slots that have an owner."""
        self.unclaimed = 0
        """Slots whose owner no longer claims them: whoever does may have them, whatever its epoch."""
        self.migrating: dict[int, Node] = {}
        self.importing: dict[int, Node] = {}
        self.importing_bits = 0
        self.current_epoch = 0
        self.ballot = Ballot()
        self.leftover = 0
        """Slots of which keys may be here that are not ours: on their way here, or not dropped yet. Never served."""
        self.electorate = Electorate()
        """Who votes instead of the primaries with slots, if that was agreed on: see `gossip.voters`."""
        self.cluster_id = ""
        """The cluster's own id, empty while it has none: see `gossip.identity`."""
        self.blacklist: dict[str, int] = {}
        """Forgotten ids and until when gossip may not bring them back."""
        self.ok = False
        """Whether the cluster as a whole serves (cluster_state:ok)."""
        self.serving = bytearray(SLOTS)
        """1 for each slot of ours without a migration: with `ok`, a primary serves it without a further question."""

    # ---- nodes ----

    def add(self, node: Node) -> None:
        """Add a node under its id, which must be new."""
        assert node.id not in self.nodes, node.id
        self.nodes[node.id] = node

    def remove(self, node: Node) -> None:
        """Take a node out: its slots become free, its reports and relations go."""
        assert node is not self.myself
        self.give(node.slots, None)
        for slot in [s for s, other in self.migrating.items() if other is node]:
            self.set_migrating(slot, None)
        for slot in [s for s, other in self.importing.items() if other is node]:
            self.set_importing(slot, None)
        self.detach(node)
        for replica in list(node.replicas):
            self.detach(replica)
        for other in self.nodes.values():
            other.reports.pop(node, None)
        del self.nodes[node.id]

    def rename(self, node: Node, node_id: str) -> None:
        """Give a node of the table its real id (at the end of a handshake, or of ours by a hard reset)."""
        assert node_id not in self.nodes, node_id
        del self.nodes[node.id]
        node.id = node_id
        self.nodes[node_id] = node

    def others(self) -> Iterator[Node]:
        """All nodes but ourselves."""
        myself = self.myself
        return (node for node in self.nodes.values() if node is not myself)

    def voters(self) -> list[Node]:
        """Those who have a vote, ourselves included, as far as we know them."""
        members = self.electorate.members
        if members:
            return [self.nodes[node_id] for node_id in members if node_id in self.nodes]
        return [node for node in self.nodes.values() if node.votes]

    def has_vote(self, node: Node) -> bool:
        """Whether a node's vote counts: as an agreed voter, or else as a primary with slots."""
        return node.id in self.electorate.members if self.electorate.members else node.votes

    def may_accuse(self, node: Node) -> bool:
        """Whether its word that another is down counts: an agreed voter's, or else any primary's, as in Redis."""
        return node.id in self.electorate.members if self.electorate.members else node.is_primary

    @property
    def size(self) -> int:
        """Number of primaries with slots (cluster_size)."""
        return sum(1 for node in self.nodes.values() if node.votes)

    @property
    def quorum(self) -> int:
        """Votes that make a majority."""
        return majority(len(self.electorate.members) or self.size)

    def max_epoch(self) -> int:
        """The largest epoch known anywhere."""
        return max(self.current_epoch, max(node.config_epoch for node in self.nodes.values()))

    # ---- relations ----

    def attach(self, replica: Node, primary: Node) -> None:
        """Make `replica` a replica of `primary` in both nodes' eyes; its role flags are the caller's.

        A primary that has replicas is one that others may migrate to when it loses them (MIGRATE_TO).
        """
        if replica.primary is not primary:
            self.detach(replica)
            replica.primary = primary
            primary.replicas.append(replica)
            primary.flags |= MIGRATE_TO

    def detach(self, replica: Node) -> None:
        """Undo `attach`."""
        primary = replica.primary
        if primary is not None:
            primary.replicas.remove(replica)
            replica.primary = None
            if not primary.replicas:
                primary.flags &= ~MIGRATE_TO

    # ---- slots ----

    def give(self, slots: int, node: Node | None) -> None:
        """Give all slots of a bitmap to `node`, or to nobody: the one door through which slots change hands.

        A slot that we lose is no longer migrating; `unclaimed` is cleared for all of them.
        """
        if not slots:
            return
        taken = slots & self.owned
        if taken:
            for other in self.nodes.values():
                if other.slots & taken:
                    other.set_slots(other.slots & ~slots)
        if node is not None:
            node.set_slots(node.slots | slots)
            self.owned |= slots
        else:
            self.owned &= ~slots
        self.unclaimed &= ~slots
        owners, serving = self.owners, self.serving
        mine = node is self.myself
        if not mine:
            self.migrating = {slot: target for slot, target in self.migrating.items() if not slots >> slot & 1}
        for first, last in ranges_in(slots):
            count = last - first + 1
            owners[first : last + 1] = [node] * count
            serving[first : last + 1] = (b"\1" if mine else b"\0") * count
        for slot in self.migrating:
            serving[slot] = 0

    def set_migrating(self, slot: int, target: Node | None) -> None:
        """Open our slot towards `target`, or close it."""
        if target is None:
            self.migrating.pop(slot, None)
        else:
            self.migrating[slot] = target
        self.serving[slot] = target is None and self.owners[slot] is self.myself

    def set_importing(self, slot: int, origin: Node | None) -> None:
        """Open a slot for keys that come from `origin`, or close it."""
        if origin is None:
            self.importing.pop(slot, None)
            self.importing_bits &= ~(1 << slot)
        else:
            self.importing[slot] = origin
            self.importing_bits |= 1 << slot

    def close_all_slots(self) -> None:
        """Forget all migrations and imports."""
        for slot in list(self.migrating):
            self.set_migrating(slot, None)
        for slot in list(self.importing):
            self.set_importing(slot, None)

    # ---- the blacklist ----

    def ban(self, node_id: str, until_ms: int, now_ms: int) -> None:
        """Keep gossip from bringing a forgotten node back before `until_ms`; drops bans that are over."""
        self.blacklist = {banned: until for banned, until in self.blacklist.items() if until > now_ms}
        self.blacklist[node_id] = until_ms

    def is_banned(self, node_id: str, now_ms: int) -> bool:
        return self.blacklist.get(node_id, 0) > now_ms

    # ---- invariants ----

    def check(self) -> None:
        """Assert that all views of the same fact agree."""
        self.electorate.check()
        union = 0
        for node_id, node in self.nodes.items():
            assert node.id == node_id, f"{node} stands under {node_id}"
            assert not union & node.slots, f"{node} and another own the same slot"
            union |= node.slots
            assert node.slots_wire == bitmap_bytes(node.slots), f"{node}: stale bitmap"
            assert list(node.slot_ranges) == ranges_in(node.slots), f"{node}: stale ranges"
            assert not (node.is_primary and node.is_replica), f"{node} is primary and replica"
            assert (node.flags & MYSELF != 0) == (node is self.myself), f"{node}: who am I?"
            if node.primary is not None:
                assert node in node.primary.replicas and node.primary is not node, f"{node}: unknown to its primary"
                assert self.nodes.get(node.primary.id) is node.primary, f"{node}: its primary was removed"
                assert node.is_replica, f"{node} has a primary and is no replica"
            for replica in node.replicas:
                assert replica.primary is node, f"{replica} is listed by {node}, not its primary"
            for reporter in node.reports:
                assert self.nodes.get(reporter.id) is reporter, f"{node}: report of a removed node"
        assert union == self.owned, "owned slots and the nodes' bitmaps differ"
        assert not self.unclaimed & ~self.owned, "an unclaimed slot has no owner"
        owners: list[Node | None] = [None] * SLOTS
        serving = bytearray(SLOTS)
        for node in self.nodes.values():
            for first, last in ranges_in(node.slots):
                owners[first : last + 1] = [node] * (last - first + 1)
        for first, last in ranges_in(self.myself.slots):
            serving[first : last + 1] = b"\1" * (last - first + 1)
        for slot in self.migrating:
            serving[slot] = 0
        assert self.owners == owners, "the table of owners is stale"
        assert self.serving == serving, "the table of what we serve is stale"
        assert self.importing_bits == sum(1 << slot for slot in self.importing)
        for node in (*self.migrating.values(), *self.importing.values()):
            assert self.nodes.get(node.id) is node, f"a slot is open towards {node}, which was removed"
