"""One node: what its commands need, in one place. It holds the parts; what they decide stands in them.

`app.py` builds it. A session calls it its `host`, so commands write `client.host`. What stands on a higher floor is
handed in: `cluster` is None without one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from node.access import Access
from node.background import Background
from node.clients import Clients
from node.config.config import Config
from node.eviction import Eviction
from node.keyspace.database import Database
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.keyspace.notifications import Notifications
from node.latencymonitor import LatencyMonitor
from node.log import Log
from node.memory import MemoryAccount
from node.monitoring import Monitors
from node.net.peer import CLOSE_NOW
from node.net.reactor import Reactor
from node.net.resp import Argv, Failure, Reply, RequestParser
from node.net.session import Session
from node.platform import Listener, Platform
from node.pubsub import PubSub
from node.replication.replication import Replication
from node.slowlog import SlowLog
from node.stats import Counts, Rates, Stats
from node.table import DENY_OOM, FAST, KEYED, RIGHTS, SKIP_SLOWLOG, Command, CommandTable
from node.timers import Timers
from node.tls import Tls
from node.tracking import Tracking

Client: TypeAlias = "Session[Server]"
"""What a command is handed: the session of the client that sent it."""

HEXAD_VERSION = "0.1.0"
REDIS_VERSION = "7.2.6"
"""The version whose behaviour this node has: clients and tools look at it."""

SLOW_NS_MIN = 1_000_000
"""What is slow at less than this is timed command by command, the careful way: a session's measuring is too coarse."""
NOTHING_IS_SLOW_NS = 1 << 62
OFTEN_PASSED = KEYED | RIGHTS | DENY_OOM
"""Gates that are closed for long, for commands that mostly pass all the same."""


class CannotStart(Exception):
    """The node cannot take part in its cluster: the text is the line for the log."""


class CannotGoOn(Exception):
    """The world has failed a node in something that it cannot do without, and its log has said so: it ends."""


class Cluster(Protocol):
    """What a node in cluster mode asks of `gossip`."""

    def redirect(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        """None if this node serves the command, else the error that tells where to go."""

    def is_mine(self, command: Command, argv: Argv) -> bool:
        """The usual case of `redirect`, cheaply: one key, in a slot of ours that stays. False: ask `redirect`."""

    def count_mine(self, command: Command, calls: Sequence[Argv]) -> int:
        """How many of these calls, from the first on, are such."""

    def redirect_all(self, client: Client, commands: Sequence[tuple[Command, Argv]]) -> Reply | None:
        """As `redirect`, for the commands of a transaction together."""

    def broadcast(self, channel: bytes, message: bytes, *, sharded: bool) -> None:
        """Send a published message to the other nodes, or to those of our shard."""

    def address_behind(self, client: Client, host: str, port: int) -> tuple[str, int]:
        """Where this node reaches the node that the client's network knows by this address; else that address."""

    @property
    def my_id(self) -> str: ...

    @property
    def bus_port(self) -> int:
        """Where the bus listens."""

    async def accept(self, listener: Listener) -> None:
        """Take the links that other nodes dial, for ever."""

    def begin(self) -> None:
        """The node listens: take part."""

    def end(self) -> None:
        """The node ends: take part no longer."""

    def release(self) -> None:
        """The node has ended: another one may have what this one alone could have."""

    def data_loaded(self) -> None:
        """The node's data is there: look whose slots it is in."""

    @property
    def connection_count(self) -> int:
        """Bus links that are open: INFO's cluster_connections."""

    @property
    def links_bytes(self) -> int:
        """Memory that the bus links take: INFO's mem_cluster_links."""

    def reset_counts(self) -> None:
        """CONFIG RESETSTAT: what was counted by slot is forgotten."""

    def drop_packets(self, kind: int) -> None:
        """Be deaf to bus packets of this type; -1: to none."""

    def cut_links(self, node_id: bytes, *, outgoing: bool, incoming: bool) -> bool:
        """Cut the bus links with a node; False if it is unknown."""


class Guard(Protocol):
    """A reason why a command may be refused, redirected or held back: one of `node.dispatch.GUARDS`."""

    personal: bool
    """It looks at something of the client's own, too: it is asked when a gate of the session alone is closed."""

    def mask(self, server: "Server") -> int:
        """Flags of the commands that this guard looks at now; 0 while its condition does not hold."""

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        """None lets the command pass."""


class Server:
    """The parts of a node, and its sessions."""

    session_type: type[Session[Any]] = Session
    """What a client's session is: the proxy's does more."""

    def __init__(self, platform: Platform, config: Config, commands: CommandTable, log: Log) -> None:
        self.platform = platform
        self.config = config
        self.log = log
        self.commands = commands
        self.words = commands.by_word
        self.clock_ns = platform.clock_ns
        self.timers = Timers(platform.monotonic_ms)
        self.journal = Journal()
        self.keyspace = Keyspace(config["databases"], self.journal, platform.random.random)
        self.slowlog = SlowLog(config["slowlog-log-slower-than"], config["slowlog-max-len"])
        self.latency = LatencyMonitor(lambda: platform.now_ms() // 1000)
        self.slow_ns = NOTHING_IS_SLOW_NS  # what takes as long is told to `was_slow`
        self.background = Background(self.keyspace, self.timers, platform, config, self.latency)
        self.memory = MemoryAccount(platform.allocated, platform.clock_ns)
        self.uncounted: list[Callable[[], int]] = []  # parts of used memory that eviction must not count, in bytes
        self.eviction = Eviction(self, self.background.reclaimer, platform.random)
        self.reactor = Reactor(platform)
        self.stats = Stats()
        self.pubsub = PubSub()
        self.notifications = Notifications(self.keyspace, self.pubsub)
        self.rates = Rates()
        self.run_id = platform.random_hex()
        self.started_ms = platform.now_ms()
        self.clients = Clients(self)
        self.tls = Tls(self)
        self.tracking = Tracking(
            self,
            lambda wanted: self.keyspace.set_listening("tracked keys", wanted),
            platform.random.randrange,
            self.wake_outside_of_batch,
            lambda: config.tracking_table_max_keys,
        )
        config.on_change("tracking-table-max-keys", lambda _keys_max: self.shrink_tracking_table())
        self.keyspace.outdated, self.keyspace.emptied = self.tracking.outdated, self.tracking.emptied
        self.monitors = Monitors(platform.now_us, self.conditions_changed)
        self.access = Access(self, self.clients.describe)
        self.scripts_unbound = False  # DEBUG SET-DISABLE-DENY-SCRIPTS
        self.checksums_matter = True  # DEBUG SET-SKIP-CHECKSUM-VALIDATION
        self.executable = self.config_file = ""
        self.supervised = "no"  # or by whom: systemd, upstart
        self.commands_processed = 0
        self.loading: Any = None  # the progress of a load that is going on
        self.loading_beside: Any = None  # of one beside the data set that is served
        self.cluster: Cluster | None = None
        self.sentinel: Any = None  # sentinel.service.SentinelService: this is no node but a Sentinel
        self.saver: Any = None
        self.aof: Any = None  # node.persistence.aof.AppendOnlyFile
        self.scripts: Any = None  # node.script.running.Scripts
        self.functions: Any = None  # node.script.functions.Functions
        self.time_stands_still = False  # a long script runs, for which the clock of keys does not move
        self.let_in: Callable[[], None] = lambda: None  # serve the connections that wait to be accepted
        self.open_doors: Callable[[], None] = lambda: None  # the data set is there: let no one wait for it
        self.migration: Any = None  # node.migration.Migration: keys on their way to another node
        self.slot_pause: Any = None  # node.slotpause.SlotPause: slots that are being handed over
        self.replication: Replication
        self.shutdown: Any = None  # node.shutdown.Shutdown: how this node ends
        self.spawn: Callable[..., None] = _not_running
        self.crashed: Callable[[Exception], None] = lambda _error: None  # told of a bug of ours before all ends
        self.execute: Callable[[Client, Argv], Reply] = _not_built
        self.guards: tuple[Guard, ...] = ()
        self.active_guards: list[tuple[int, Guard]] = []
        self.gates = 0
        self.reactor.before_batch = self.keyspace.waiters.before_serving = self.read_clock
        self.read_clock()

    def is_mine(self, command: Command, argv: Argv) -> bool:
        """See `Cluster.is_mine`; nothing is kept from a session by a cluster that there is not."""
        return self.cluster is not None and self.cluster.is_mine(command, argv)

    def count_mine(self, command: Command, calls: Sequence[Argv]) -> int:
        """See `Cluster.count_mine`."""
        return self.cluster.count_mine(command, calls) if self.cluster is not None else 0

    def lets_pass(self, client: Client, command: Command, argv: Argv, blocked: int) -> bool:
        """Do the gates that are closed for a command let it pass: the cluster's, its user's rights, `maxmemory`?

        What these have in common: most commands pass, at the price of a look. False: ask the guards, one by one.
        """
        if blocked & ~OFTEN_PASSED:
            return False
        if blocked & RIGHTS and client.account.denial(command, argv) is not None:
            return False
        if blocked & KEYED and not self.is_mine(command, argv):
            return False
        return not blocked & DENY_OOM or self.eviction.has_room(argv)

    def has_room(self, argv: Argv) -> bool:
        """Is the data set within `maxmemory`, after an attempt to make room?"""
        return not self.eviction.limit or bool(self.eviction.has_room(argv))

    def read_clock(self) -> None:
        """Take the time for the commands to come."""
        now_ms = self.platform.now_ms()
        if not self.time_stands_still:
            self.keyspace.set_time(now_ms, self.started_ms)
        if now_ms >= self.rates.next_ms:
            self.rates.sample(now_ms, self.counts())
            self.memory.follow_peak()
            self.eviction.tick()

    def counts(self) -> Counts:
        """Where the counters stand that rates are made of."""
        reactor, stats = self.reactor, self.stats
        return Counts(
            self.commands_processed,
            reactor.received_bytes,
            reactor.sent_bytes,
            stats.stream_input_bytes,
            stats.stream_output_bytes,
            reactor.turns,
            reactor.busy_ns,
        )

    def role_letter(self) -> str:
        """The role in log lines: M(aster), S(lave), or X for a Sentinel."""
        return "X" if self.sentinel is not None else "S" if self.replication.is_replica else "M"

    @property
    def mode(self) -> str:
        """What this process is, as INFO and HELLO call it."""
        if self.sentinel is not None:
            return "sentinel"
        return "standalone" if self.cluster is None else "cluster"

    # --- sessions -------------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> "dict[int, Client]":
        return self.clients.sessions

    def new_session(self, addr: str = "", laddr: str = "") -> Client:
        """A session for a client that has just connected."""
        return self.clients.add(addr, laddr)

    def register(self, session: Client) -> None:
        """Give a session that nobody connected to us for (the primary's) an id, and count it among the clients."""
        self.clients.register(session)

    def reclaim(self, databases: Sequence[Database]) -> None:
        """Free databases that nobody uses any more, in slices."""
        for db in databases:
            self.background.reclaimer.flush(db)

    def reclaim_more(self) -> bool:
        """Free for a slice what waits for it; False once nothing is left."""
        return self.background.reclaimer.slice()

    def before_send(self) -> int:
        """Between a batch of requests and their replies: the mark that these wait for, or 0."""
        self.tracking.broadcast()
        self.replication.primary.before_send()
        self.clients.memory.note_batch()
        return self.aof.writer.before_send() if self.aof.is_on else 0

    def made_durable(self) -> None:
        """More of the journal is in the append-only file for good: let whoever waits for that know."""
        self.replication.made_durable()

    def wake_outside_of_batch(self) -> None:
        """Let `before_send` be called soon."""
        if not self.reactor.in_batch:
            self.reactor.wake()

    def new_parser(self) -> RequestParser:
        return RequestParser(self.config["proto-max-bulk-len"])

    def session_lost(self, client: Client) -> None:
        self.clients.lost(client)

    def output_limit_exceeded(self, client: Client, pending_bytes: int) -> bool:
        return self.clients.output_limit_exceeded(client, pending_bytes)

    def input_limit_exceeded(self, client: Client, waiting_bytes: int) -> bool:
        return self.clients.input_limit_exceeded(client, waiting_bytes)

    def protocol_error(self, client: Client, text: str) -> None:
        described = self.clients.describe(client).decode("utf-8", "replace")
        self.log.verbose(f"Protocol error ({text}) from client: {described}")

    def close_all(self) -> None:
        for client in list(self.sessions.values()):
            client.close(CLOSE_NOW)

    def shrink_tracking_table(self) -> None:
        """The table of tracked keys may hold fewer than before: the clients of those that go are told, step by step."""
        if self.tracking.keep_bound():
            self.timers.after(0, self.shrink_tracking_table)

    # --- memory ---------------------------------------------------------------------------------------------------

    def may_evict(self) -> bool:
        """A replica leaves eviction to its primary, unless `replica-ignore-maxmemory no`."""
        return not (self.replication.is_replica and self.config.replica_ignore_maxmemory)

    def uncounted_bytes(self) -> int:
        """Bytes of used memory that grow when something is evicted: they would have ever more evicted."""
        return sum([part() for part in self.uncounted])

    # --- conditions -----------------------------------------------------------------------------------------------

    def conditions_changed(self) -> None:
        """Something that a guard looks at has changed: role, loading, a pause, the cluster..."""
        self.eviction.configure()
        masks = [(guard.mask(self), guard) for guard in self.guards]
        self.active_guards = [(mask, guard) for mask, guard in masks if mask or guard.personal]
        gates = 0
        for mask, _ in masks:
            gates |= mask
        if gates != self.gates:
            self.gates = gates
            for client in self.sessions.values():
                client.update_gates()

    def judge_slowness(self) -> None:
        """Take over from the configuration what is slow, for the slow log and the latency monitor."""
        config, slowlog = self.config, self.slowlog
        slowlog.threshold_us = config["slowlog-log-slower-than"]
        slowlog.entries_max = config["slowlog-max-len"]
        self.latency.threshold_ms = config["latency-monitor-threshold"]
        bounds_ns = [self.latency.threshold_ms * 1_000_000] if self.latency.threshold_ms else []
        if slowlog.threshold_us >= 0 and slowlog.entries_max:
            bounds_ns.append(slowlog.threshold_us * 1000)
        self.slow_ns = min(bounds_ns, default=NOTHING_IS_SLOW_NS)
        self.conditions_changed()

    def track_latency(self, tracking: bool) -> None:
        """`latency-tracking`: whether INFO latencystats has something to tell."""
        for command in self.commands.every():
            command.latencies = {} if tracking else None

    def reset_counts(self) -> None:
        """CONFIG RESETSTAT: all counters but those of the commands."""
        self.stats.reset()
        self.rates.forget()
        self.reactor.reset_counts()
        self.keyspace.expired_keys = 0
        self.background.reclaimer.freed = 0
        for db in self.keyspace.databases:
            db.hits = db.misses = 0
        self.commands_processed = 0
        self.eviction.forget_counts()
        self.memory.forget_peak()
        if self.cluster is not None:
            self.cluster.reset_counts()

    # --- counts ---------------------------------------------------------------------------------------------------

    def command_failed(self, command: Command, failure: Failure) -> None:
        """A command ran and answered with an error."""
        command.failed += 1
        self.stats.count_error(failure)

    def was_slow(self, client: Client, command: Command, run: list[Argv], time_ns: int) -> None:
        """Of several runs, too brief to be timed one by one, the one with the most arguments stands for all."""
        self.latency.add("fast-command" if command.flags & FAST else "command", time_ns // 1_000_000)
        if command.flags & SKIP_SLOWLOG or client.parked is not None:
            return
        argv = max(run, key=len)
        now_s = self.platform.now_ms() // 1000
        self.slowlog.add(now_s, time_ns // 1000, command.full_name, argv, client.addr, client.name)

    def command_rejected(self, command: Command | None, failure: Failure) -> None:
        """A command was refused before it ran."""
        if command is not None:
            command.rejected += 1
        self.stats.count_error(failure)


def _not_built(_client: Client, _argv: Argv) -> Reply:
    raise AssertionError("the node has no dispatch yet: app.py hands it in")


def _not_running(*_task: Any) -> None:
    raise AssertionError("the node has no tasks yet: app.py hands in where they run")
