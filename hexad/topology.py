"""Local topologies: which nodes there are to be, and what to do next given what is found. Pure: decisions as data.

A plan says what a new topology looks like. A cluster is never built by a script that must run through: `decide` looks
at all nodes as they are (`Sight`) and names the next steps, until nothing is left to do. So it does not matter whether
the nodes are new, were stopped yesterday, have failed over since, or were left half joined by a start that was cut
short: what nodes already agree on is never assigned again, only what is missing is added. What would mix two sets of
data is refused instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

from hexad.sight import SLOT_COUNT, Known, Range, Sight, ranges_of, ranges_text, slots_in
from node.config.words import quote

STANDALONE, REPLICATION, SENTINEL, CLUSTER = "standalone", "replication", "sentinel", "cluster"
TOPOLOGIES = (STANDALONE, REPLICATION, SENTINEL, CLUSTER)
SENTINELS, QUORUM = 3, 2
"""As many Sentinels as it takes to lose one, and how many of them must find a primary down."""
WATCHED_NAME = "mymaster"
"""How Sentinels call the primary: what the examples of most clients ask for."""
DOWN_AFTER_MS = 5000
FAILOVER_TIMEOUT_DOWN_AFTERS = 4
PRIMARIES_MIN = 3
"""Fewer cannot replace one of them by a majority vote; redis-cli refuses to create less, too."""
NODES_MAX = 500
BUS_PORT_OFFSET = 10000
PORT_MAX = 65535
LOOPBACK = ("127.", "::1")
OURS = frozenset(
    "port bind dir logfile daemonize pidfile unixsocket cluster-enabled cluster-config-file cluster-port "
    "cluster-node-timeout replicaof slaveof tls-port".split()
)
"""Directives that each node gets from the plan: the same value for all would break it."""


class BadPlan(ValueError):
    """What was asked for cannot be; the text says why and what can."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes of a topology: `nodes` ports from `first_port` on, the primaries first."""

    topology: str
    host: str
    first_port: int
    nodes: int
    replicas: int
    """Replicas of each primary, at least."""
    node_timeout_ms: int | None = None
    options: tuple[str, ...] = field(default=())
    """Further words for each node's command line."""
    proxy_port: int | None = None
    """Where a proxy stands in front of the nodes, if one is wanted."""

    @property
    def ports(self) -> list[int]:
        return list(range(self.first_port, self.first_port + self.nodes))

    @property
    def sentinel_ports(self) -> list[int]:
        """The ports of the Sentinels, if there are any: the last ones."""
        return self.ports[-SENTINELS:] if self.topology == SENTINEL else []

    @property
    def data_ports(self) -> list[int]:
        """The ports of the nodes that hold data."""
        return self.ports[: len(self.ports) - len(self.sentinel_ports)]

    @property
    def listening_ports(self) -> list[int]:
        """All ports that must be free: in a cluster each node listens for its bus, too."""
        bus = [port + BUS_PORT_OFFSET for port in self.ports] if self.topology == CLUSTER else []
        return self.ports + bus + ([] if self.proxy_port is None else [self.proxy_port])

    @property
    def primaries(self) -> int:
        return self.nodes // (self.replicas + 1) if self.topology == CLUSTER else 1

    def slots_of(self, port: int) -> Range | None:
        """The slots of a new primary: equal shares by port, cut as redis-cli cuts them; None for a replica."""
        at = port - self.first_port
        if at >= self.primaries:
            return None
        first, end = ((2 * n * SLOT_COUNT + self.primaries) // (2 * self.primaries) for n in (at, at + 1))
        return first, end - 1

    def primary_of(self, port: int) -> int | None:
        """The port of the primary that a new replica follows; None for a primary, and for a Sentinel."""
        at = port - self.first_port
        return (
            None
            if at < self.primaries or port in self.sentinel_ports
            else self.first_port + (at - self.primaries) % self.primaries
        )

    @property
    def password(self) -> str:
        """What clients must say, if the nodes are given `--requirepass`."""
        return _option(self.options, "requirepass") or ""

    def proxy_options(self) -> list[str]:
        """The words behind `hexad proxy`: it asks for the nodes' password, and has it from the same option."""
        asked = self.sentinel_ports or self.ports
        nodes = ",".join(f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}" for port in asked)
        source = {CLUSTER: "--cluster", SENTINEL: "--sentinel"}.get(self.topology, "--nodes")
        words = ["--port", str(self.proxy_port), "--bind", self.host, source, nodes]
        if self.topology == SENTINEL:
            words += ["--master-name", WATCHED_NAME]
        if self.password:
            words += ["--requirepass", self.password, "--backend-password", self.password]
        return words

    def node_options(self, port: int) -> list[str]:
        """The words behind `hexad server` for the node at `port`; paths are relative to the node's directory."""
        if port in self.sentinel_ports:
            return [SENTINEL_FILE, "--sentinel"]
        words = ["--port", str(port), "--bind", self.host, "--dir", "."]
        if self.topology == SENTINEL:
            words.insert(0, NODE_FILE)  # whom it follows stands there: Sentinels change that
        elif self.topology == CLUSTER:
            words += ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
            if self.node_timeout_ms is not None:
                words += ["--cluster-node-timeout", str(self.node_timeout_ms)]
        elif (primary := self.primary_of(port)) is not None:
            words += ["--replicaof", self.host, str(primary)]
        if self.topology != STANDALONE:
            words += ["--repl-diskless-sync-delay", "0"]  # on one machine, waiting for more replicas saves nothing
        words += self.options
        if self.password and _option(self.options, "masterauth") is None:
            words += ["--masterauth", self.password]
        return words

    def first_file(self, port: int) -> tuple[str, str] | None:
        """Name and text of the file that the node at `port` begins with, and rewrites itself later on; None if none."""
        if port in self.sentinel_ports:
            return SENTINEL_FILE, self._sentinel_file(port)
        if self.topology != SENTINEL:
            return None
        primary = self.primary_of(port)
        return NODE_FILE, "" if primary is None else f"replicaof {self.host} {primary}\n"

    def _sentinel_file(self, port: int) -> str:
        down_after_ms = self.node_timeout_ms or DOWN_AFTER_MS
        lines = [
            f"port {port}",
            f"bind {self.host}",
            f"sentinel monitor {WATCHED_NAME} {self.host} {self.first_port} {QUORUM}",
            f"sentinel down-after-milliseconds {WATCHED_NAME} {down_after_ms}",
            f"sentinel failover-timeout {WATCHED_NAME} {FAILOVER_TIMEOUT_DOWN_AFTERS * down_after_ms}",
        ]
        if self.password:
            secret = quote(self.password)
            lines += [f"requirepass {secret}", f"sentinel auth-pass {WATCHED_NAME} {secret}"]
        return "\n".join(lines) + "\n"


NODE_FILE, SENTINEL_FILE = "node.conf", "sentinel.conf"


def make_plan(
    topology: str = CLUSTER,
    *,
    host: str = "127.0.0.1",
    port: int = 7000,
    nodes: int | None = None,
    replicas: int | None = None,
    node_timeout_ms: int | None = None,
    options: Sequence[str] = (),
    proxy_port: int | None = None,
) -> Plan:
    """A plan that can work; what is not given is chosen: 6 nodes of a cluster, a primary with 2 replicas (and 3
    Sentinels, if they are wanted), 1 node.

    Raises BadPlan.
    """
    _check_options(options)
    count, each = _sizes(topology, nodes, replicas)
    plan = Plan(topology, host, port, count, each, node_timeout_ms, tuple(options))
    if proxy_port is not None and (not 1 <= proxy_port <= PORT_MAX or proxy_port in plan.listening_ports):
        raise BadPlan(f"--proxy {proxy_port}: a port from 1 to {PORT_MAX} that no node listens at is expected")
    if not 1 <= count <= NODES_MAX:
        raise BadPlan(f"--nodes {count}: 1 to {NODES_MAX} nodes can be started")
    if port < 1 or max(plan.listening_ports) > PORT_MAX:
        last = PORT_MAX - (BUS_PORT_OFFSET if topology == CLUSTER else 0) - count + 1
        raise BadPlan(f"--port {port}: {count} nodes need ports from 1 to {last} (the bus listens at port + 10000)")
    if topology == CLUSTER and plan.primaries < PRIMARIES_MIN:
        need = PRIMARIES_MIN * (each + 1)
        raise BadPlan(
            f"{count} nodes with {each} replica(s) each make {plan.primaries} primaries; a cluster needs "
            f"{PRIMARIES_MIN} to vote: --nodes {need}, or fewer --replicas"
        )
    _check_reach(plan)
    return replace(plan, proxy_port=proxy_port)


def _sizes(topology: str, nodes: int | None, replicas: int | None) -> tuple[int, int]:
    if replicas is not None and replicas < 0:
        raise BadPlan(f"--replicas {replicas}: cannot be negative")
    if topology == CLUSTER:
        each = 1 if replicas is None else replicas
        return (PRIMARIES_MIN * (each + 1) if nodes is None else nodes), each
    if topology == STANDALONE:
        if nodes not in (None, 1) or replicas:
            raise BadPlan("standalone is one node without replicas: leave out --nodes and --replicas")
        return 1, 0
    if topology == SENTINEL:
        each = replicas if replicas is not None else 2 if nodes is None else nodes - 1 - SENTINELS
        if each < 1 or nodes not in (None, each + 1 + SENTINELS):
            raise BadPlan(
                f"sentinel is one primary, its replicas and {SENTINELS} Sentinels: "
                f"--nodes {max(each, 1) + 1 + SENTINELS} goes with --replicas {max(each, 1)}"
            )
        return each + 1 + SENTINELS, each
    each = replicas if replicas is not None else 2 if nodes is None else nodes - 1
    if nodes not in (None, each + 1):
        raise BadPlan(f"replication is one primary with its replicas: --nodes {each + 1} goes with --replicas {each}")
    return each + 1, each


def _check_options(options: Sequence[str]) -> None:
    if options and not options[0].startswith("--"):
        raise BadPlan(f"{options[0]!r}: what stands after -- are options for each node, as in: -- --maxclients 100")
    for word in options:
        name = word.removeprefix("--").split(" ")[0].lower()
        if word.startswith("--") and name in OURS:
            raise BadPlan(f"--{name} is set for each node by `hexad up` itself: leave it out")


def _check_reach(plan: Plan) -> None:
    if plan.host in ("0.0.0.0", "::", "*"):
        raise BadPlan(f"--host {plan.host}: give the one address at which clients and nodes reach each other")
    guarded = plan.password or _option(plan.options, "protected-mode") == "no"
    if not plan.host.startswith(LOOPBACK) and not guarded:
        raise BadPlan(
            f"--host {plan.host} opens the nodes to the network: add a password (-- --requirepass ...), "
            "or say that none is wanted (-- --protected-mode no)"
        )


def _option(options: Sequence[str], name: str) -> str | None:
    """The value of a directive among command-line words; the last one counts."""
    value = None
    for word, following in pairwise([*options, ""]):
        if word.lower() == f"--{name}":
            value = following
    return value


# --- what to do next --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddSlots:
    """The node at `port` takes slots that nobody owns."""

    port: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class SetEpoch:
    """A new node gets a configuration epoch that no other has, so that none must be argued about later."""

    port: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Meet:
    """The node at `port` makes the acquaintance of the one at `other_port`."""

    port: int
    other_port: int


@dataclass(frozen=True, slots=True)
class Replicate:
    """The node at `port` becomes a replica."""

    port: int
    primary_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The node at `port` drops one that will never come back."""

    port: int
    id: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The replica at `port` takes its lost primary's place, by vote, whatever the age of its data."""

    port: int


NAMES: dict[type, str] = {
    AddSlots: "assigning slots to",
    SetEpoch: "numbering",
    Meet: "introducing",
    Replicate: "making replicas of",
    Forget: "dropping a lost node on",
    TakeOver: "replacing the lost primary of",
}
"""What each step does to the nodes that take it, for people."""

Step: TypeAlias = AddSlots | SetEpoch | Meet | Replicate | Forget | TakeOver


@dataclass(frozen=True, slots=True)
class Do:
    """Take these steps, then look again."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """The nodes are at it themselves: look again soon."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Going on would mix or lose data."""

    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """The cluster is whole and serves."""


Decision: TypeAlias = Do | Wait | Refuse | Done


def decide(plan: Plan, sights: Sequence[Sight]) -> Decision:
    """What to do now, given every node of the plan as it is."""
    for rule in RULES:
        decision = rule(plan, sights)
        if decision is not None:
            return decision
    return Done()


def _refuse_strangers(plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """A node that knows others than ours belongs to another cluster, which would be joined to this one."""
    ours = _ids(sights)
    for sight in sights:
        for node in sight.known:
            if node.id not in ours and not node.is_arriving and not _is_lost(plan, node):
                where = f"{node.host}:{node.port}"
                return Refuse(
                    f"the node at port {sight.port} belongs to a cluster with {where}, which is not of this one"
                )
    return None


def _refuse_loose_data(plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """Keys of a node that was in no cluster belong to slots which other nodes own, or will own."""
    for sight in sights:
        if sight.is_alone and sight.keys and len(plan.ports) > 1:
            return Refuse(f"the node at port {sight.port} holds {sight.keys} keys but was in no cluster")
    return None


def _refuse_two_clusters(_plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """Two nodes that do not know each other and own the same slot would overwrite each other's claim."""
    for at, one in enumerate(sights):
        for two in sights[at + 1 :]:
            if one.knows(two.me.id) or two.knows(one.me.id):
                continue
            shared = slots_in(one.me.ranges) & slots_in(two.me.ranges)
            if shared:
                slots = ranges_text(ranges_of(shared))
                return Refuse(
                    f"the nodes at ports {one.port} and {two.port} are of two clusters: both own slots {slots}"
                )
    return None


def _assign_slots(plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """Slots that no node knows an owner of go to the primary planned for them, or to another primary."""
    owned = slots_in({pair for sight in sights for node in sight.known for pair in node.ranges})
    if len(owned) == SLOT_COUNT:
        return None
    missing = set(range(SLOT_COUNT)) - owned
    primaries = [sight.port for sight in sights if not sight.me.is_replica]
    steps = []
    for port in primaries:
        planned = plan.slots_of(port)
        mine = missing & slots_in([planned]) if planned else set()
        if mine:
            steps.append(AddSlots(port, ranges_of(mine)))
            missing -= mine
    if not primaries:
        return Wait("every node is a replica: one must take over its lost primary")
    if missing and not steps:  # their planned primary is a replica by now
        steps.append(AddSlots(primaries[0], ranges_of(missing)))
    return Do(tuple(steps))


def _set_epochs(plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """New nodes start at distinct epochs; a node takes one only while it knows nobody."""
    used = {node.config_epoch for sight in sights for node in sight.known}
    free = (epoch for epoch in range(1, len(used) + len(sights) + 1) if epoch not in used)
    fresh = [sight.port for sight in sights if len(sight.known) == 1 and not sight.me.config_epoch]
    if not fresh or len(plan.ports) == 1:
        return None
    return Do(tuple(SetEpoch(port, epoch) for port, epoch in zip(fresh, free, strict=False)))


def _introduce(_plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """The node that knows most meets those it does not know, or that do not know it; gossip does the rest.

    A start that is cut short can leave a node that others know but that knows nobody: it listens to no gossip, for it
    comes from strangers, so without another introduction it would stay alone for ever.
    """
    host = max(sights, key=lambda sight: sum(sight.knows(id) for id in _ids(sights)))
    arriving = {node.port for node in host.known if node.is_arriving}
    unknown = [
        sight.port
        for sight in sights
        if sight.port not in arriving and not (host.knows(sight.me.id) and sight.knows(host.me.id))
    ]
    if unknown:
        return Do(tuple(Meet(host.port, port) for port in unknown))
    knowing = sum(all(sight.knows(id) for id in _ids(sights)) for sight in sights)
    if knowing < len(sights):
        return Wait(f"{knowing} of {len(sights)} nodes know all others")
    return None


def _give_roles(plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """A primary without slots becomes a replica: of the primary planned for it, or of the one that has the fewest."""
    followers = {sight.me.id: 0 for sight in sights if sight.me.ranges and not sight.me.is_replica}
    for sight in sights:
        if sight.me.primary in followers:
            followers[sight.me.primary] += 1
    ids = {sight.port: sight.me.id for sight in sights}
    steps = []
    for sight in sights:
        if sight.me.is_replica or sight.me.ranges or not followers:
            continue
        planned = ids.get(plan.primary_of(sight.port) or 0, "")
        fewest = min(followers, key=lambda id: followers[id])
        primary = planned if followers.get(planned) == followers[fewest] else fewest
        followers[primary] += 1
        steps.append(Replicate(sight.port, primary))
    return Do(tuple(steps)) if steps else None


def _forget_lost(_plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """A node whose directory was lost came back under a new id; the old one is dropped once nothing hangs on it."""
    decision = replace_lost(sights)
    if not isinstance(decision, Done):
        return decision
    ours = _ids(sights)
    lost = [(sight, node) for sight in sights for node in sight.known if node.id not in ours and not node.is_arriving]
    return Do(tuple(Forget(sight.port, node.id) for sight, node in lost)) if lost else None


def replace_lost(sights: Sequence[Sight]) -> Decision:
    """Let replicas take over from primaries that are none of these nodes: their directories were lost.

    They do not do so by themselves: since they have just been started, they know no time at which their data was
    still that of their primary, and hold it to be too old. But it is all there is.
    """
    ours = _ids(sights)
    strangers = [node for s in sights for node in s.known if node.id not in ours and not node.is_arriving]
    lost = {node.id: node for node in sorted(strangers, key=lambda node: len(node.ranges))}  # whoever says it has most
    served = slots_in({pair for sight in sights for pair in sight.me.ranges})
    steps = []
    for node in lost.values():
        followers = [sight for sight in sights if sight.me.primary == node.id]
        if not followers and slots_in(node.ranges) <= served:
            continue
        if not followers:
            slots = ranges_text(node.ranges)
            return Refuse(f"the data of slots {slots} is lost: their node's directory is gone, and it had no replica")
        best = max(followers, key=lambda sight: (sight.offset, sight.keys))
        steps.append(TakeOver(best.port))
    if not steps and any(node.ranges for node in lost.values()):
        return Wait("all nodes to hear who took over from a lost one")
    return Do(tuple(steps)) if steps else Done()


def _await_health(_plan: Plan, sights: Sequence[Sight]) -> Decision | None:
    """All nodes serve, suspect nobody, and replicas have their data."""
    for sight in sights:
        failing = [node.port for node in sight.known if node.is_failing]
        if failing:
            return Wait(f"the node at port {sight.port} does not reach the one at port {failing[0]}")
    serving = sum(sight.serves for sight in sights)
    if serving < len(sights):
        return Wait(f"cluster_state:ok on {serving} of {len(sights)} nodes")
    synced = sum(sight.synced for sight in sights if sight.me.is_replica)
    replicas = sum(sight.me.is_replica for sight in sights)
    if synced < replicas:
        return Wait(f"{synced} of {replicas} replicas have their primary's data")
    return None


RULES: tuple[Callable[[Plan, Sequence[Sight]], Decision | None], ...] = (
    _refuse_strangers,
    _refuse_loose_data,
    _refuse_two_clusters,
    _assign_slots,
    _set_epochs,
    _introduce,
    _give_roles,
    _forget_lost,
    _await_health,
)
"""In this order: nothing is changed before all that is refused has been; slots and epochs while nodes are alone, since
they travel with the first gossip; roles when everybody knows everybody."""


def _ids(sights: Sequence[Sight]) -> list[str]:
    return [sight.me.id for sight in sights]


def _is_lost(plan: Plan, node: Known) -> bool:
    """Tell whether a node that answers no more was one of ours: its address is gone, or answers under another id."""
    return "noaddr" in node.flags or (node.port in plan.ports and node.host in (plan.host, ""))


def stop_order(roles: Sequence[tuple[int, bool]]) -> Iterator[list[int]]:
    """Groups of ports to stop one after another, from (port, is a replica) of all nodes.

    Replicas first: a primary whose replicas are gone cannot be voted out while it saves, so the next start finds the
    same roles, and it has nobody to wait for. It holds every write that its replicas had, so nothing is lost by it.
    """
    for replicas in (True, False):
        group = [port for port, is_replica in roles if is_replica == replicas]
        if group:
            yield group
