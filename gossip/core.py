"""What the parts of the cluster machine share: the state, the moment, and the effects being collected.

Rules of this file.  It decides nothing.  A part is a module of functions that take the Core first; they
change the state and `emit` effects.  Two wishes are kept for the end of an event, so that they are
fulfilled once: to save (`save`) and to judge the cluster's state anew (`judge`).  Since `finish` puts the save
in front of everything else, whatever an event promises to others is on disk before it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from gossip.electorate import NO_ROUND, Round
from gossip.events import ClusterError, Effect, Facts, Log, SaveConfig, Send, WakeAt
from gossip.packet import KIND_NAMES, Body, Packet
from gossip.settings import ClusterSettings
from gossip.state import ClusterState, Node
from node.votes import Tally

NEVER = 1 << 62
TIMEOUT_MIN_MS = 100
"""Redis looks at its nodes so often, so no node timeout is shorter there, whatever is set."""


@dataclass(slots=True)
class Election:
    """Our candidature, while we are a replica.  `gossip.election` is its only author."""

    start_ms: int = 0
    """When we ask, or asked, for votes; 0 before the first time."""
    asked: bool = False
    rank: int = 0
    tally: Tally = field(default_factory=Tally)
    reason: str = ""
    """Why we cannot fail over now, as last logged."""
    reason_logged_ms: int = 0


@dataclass(slots=True)
class ManualFailover:
    """A failover that an operator asked for, seen from the replica or from the primary.
    `gossip.manual` is its only author."""

    end_ms: int = 0
    """When it is given up; 0 while there is none."""
    ask_ms: int = 0
    """Replica: when it asks again, if its primary has not answered."""
    may_start: bool = False
    """Replica: it has all of its primary's data, or was told not to wait for it."""
    primary_offset: int | None = None
    """Replica: where the paused primary stopped."""
    replica: Node | None = None
    """Primary: who asked for its place."""


@dataclass(slots=True)
class Comeback:
    """How we stand to our shard's data since our start.  `gossip.comeback` is its only author."""

    loaded: bool = False
    """Our data is loaded, so that our offset says what we have."""
    waits: bool = False
    """Primary: we have come back and must hear first how much our replicas have."""
    give_up_ms: int = 0
    """Primary: when we no longer wait for replicas that say nothing."""
    limit_ms: int = 0
    """Primary: when we no longer wait for one that has more."""
    ahead_since_ms: int = 0
    """Replica: since when we know that our primary came back with less than we have; 0 while it did not."""


@dataclass(slots=True)
class Proposal:
    """What we propose about the voters, and how far it has come.  `gossip.voters` is its only author."""

    round: Round = NO_ROUND
    """The round that is on its way; NO_ROUND while none is."""
    base: tuple[str, ...] = ()
    """Who takes the step."""
    members: tuple[str, ...] | None = None
    """The voters that we want; None: we only want to end a step that was begun."""
    epoch: int = 0
    """The largest epoch in which any of those who promised has voted."""
    promises: set[str] = field(default_factory=set)
    best: Round = NO_ROUND
    """The latest round that one of them has accepted: its voters are proposed again instead of ours."""
    asked: bool = False
    """The second question, to accept, was put."""
    acceptances: set[str] = field(default_factory=set)
    end_ms: int = 0
    """When the round is given up."""
    tries: int = 0
    """Rounds of ours since the last version was agreed."""
    since_ms: int = 0
    """Since when there is something to propose; 0 while there is nothing."""
    why_not: str = ""
    """Why the primaries vote although our setting allows agreed voters."""
    gone_ms: dict[str, int] = field(default_factory=dict)
    """Since when we have not known a voter's node."""


class Core:
    """One node's view and the event that is being handled."""

    __slots__ = (
        "_fsync",
        "_save",
        "_wake_asked_ms",
        "address_heard",
        "became_minority_ms",
        "comeback",
        "effects",
        "election",
        "facts",
        "judge",
        "link_number",
        "links",
        "manual",
        "next_choice_ms",
        "now_ms",
        "proposal",
        "received",
        "rng",
        "seek_at_ms",
        "seek_delay_ms",
        "sent",
        "settings",
        "started_ms",
        "state",
        "wake_ms",
    )

    def __init__(self, state: ClusterState, settings: ClusterSettings, facts: Facts, rng: Random) -> None:
        self.state, self.settings, self.facts, self.rng = state, settings, facts, rng
        self.now_ms = 0
        self.effects: list[Effect] = []
        self._save = self._fsync = False
        self.judge = False
        self.links: dict[int, Node] = {}
        """Nodes by the number of the link that we dialled to them."""
        self.link_number = 0
        self.sent = [0] * len(KIND_NAMES)
        self.received = [0] * len(KIND_NAMES)
        self.election = Election()
        self.manual = ManualFailover()
        self.comeback = Comeback()
        self.proposal = Proposal()
        self.started_ms = 0
        self.became_minority_ms = 0
        self.next_choice_ms = 0
        """When the next node to ping is drawn."""
        self.seek_at_ms = self.seek_delay_ms = 0
        """When names are resolved again while nodes are out of reach, and how long was waited for that."""
        self.address_heard = False
        """Whether a known node has reached us since our start: until then our own address is the one we had before."""
        self.wake_ms = NEVER
        self._wake_asked_ms = NEVER

    # ---- shorthands that every part needs ----

    @property
    def myself(self) -> Node:
        return self.state.myself

    @property
    def timeout_ms(self) -> int:
        """The node timeout T, in which everything here is measured."""
        return max(self.settings.node_timeout_ms, TIMEOUT_MIN_MS)

    def fresh_id(self) -> str:
        """Draw a new id: of a node in handshake, of ourselves, or of a shard."""
        return f"{self.rng.getrandbits(160):040x}"

    # ---- effects ----

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def log(self, level: str, text: str) -> None:
        self.effects.append(Log(level, text))

    def save(self, *, fsync: bool = False) -> None:
        """Have nodes.conf written before anything of this event leaves."""
        self._save = True
        self._fsync |= fsync

    def due(self, at_ms: int) -> None:
        """Be awake at that time, or earlier."""
        if at_ms < self.wake_ms:
            self.wake_ms = at_ms

    def packet(self, kind: int, body: Body = None, mflags: int = 0) -> Packet:
        """Return a message with our header: a replica's tells its primary's slots and epoch."""
        state, settings, myself = self.state, self.settings, self.state.myself
        source = myself.source
        return Packet(
            kind,
            myself.id,
            settings.port,
            settings.cport,
            myself.flags,
            state.current_epoch,
            source.config_epoch,
            self.facts.offset(),
            source.slots_wire,
            myself.primary.id if myself.primary is not None else "",
            settings.announce_ip,
            settings.pport,
            not state.ok,
            mflags,
            body,
            state.electorate.version,
        )

    def send(self, links: tuple[int, ...], packet: Packet) -> None:
        """Send one message over some links."""
        if links:
            self.sent[packet.kind] += len(links)
            self.effects.append(Send(links, packet))

    def send_to(self, node: Node, packet: Packet) -> None:
        """Send over our own link to a node, if it stands."""
        if node.link is not None and node.link_up:
            self.send((node.link,), packet)

    def broadcast(self, packet: Packet) -> None:
        """Send to every node that we have a link to and whose handshake is done."""
        self.send(
            tuple(n.link for n in self.state.others() if n.link is not None and n.link_up and not n.in_handshake),
            packet,
        )

    # ---- the frame of an event ----

    def begin(self, now_ms: int) -> None:
        """Start an event.  Time never runs backwards here, whatever the clock does."""
        self.now_ms = max(now_ms, self.now_ms)
        self.effects = []

    def finish(self) -> list[Effect]:
        """End an event: its effects in the order in which they must happen."""
        effects = self.effects
        self.effects = []
        if self._save:
            effects.insert(0, SaveConfig(self._fsync))
            self._save = self._fsync = False
        if self.wake_ms != self._wake_asked_ms:
            self._wake_asked_ms = self.wake_ms
            effects.append(WakeAt(self.wake_ms))
        return effects

    def woken(self) -> None:
        """The time asked for has come, so whatever is needed next must be asked for again."""
        self.wake_ms = self._wake_asked_ms = NEVER


def known_node(core: Core, node_id: str) -> Node:
    """Return the node of an id that a client named.  Raises ClusterError for an unknown one."""
    node = core.state.nodes.get(node_id)
    if node is None:
        raise ClusterError(f"ERR Unknown node {node_id}")
    return node
