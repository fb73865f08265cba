"""One node: what its commands need, in one place. It holds the parts; what they decide stands in them.

`app.py` builds it. A session calls it its `host`, so commands write `client.host`. What stands on a higher floor is
handed in: `cluster` is None without one.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from node.config.config import Config
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.log import Log
from node.net.peer import CLOSE_NOW
from node.net.reactor import Reactor
from node.net.resp import Argv, Failure, Reply, RequestParser
from node.net.session import Session
from node.platform import Listener, Platform
from node.replication.replication import Replication
from node.stats import Stats
from node.table import Command, CommandTable
from node.timers import Timers

Client: TypeAlias = "Session[Server]"
"""What a command is handed: the session of the client that sent it."""

REDIS_VERSION = "7.2.6"
"""The version whose behaviour this node has: clients and tools look at it."""


class Cluster(Protocol):
    """What a node in cluster mode asks of `gossip`."""

    def redirect(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        """None if this node serves the command, else the error that tells where to go."""

    @property
    def my_id(self) -> str: ...

    @property
    def bus_port(self) -> int: ...

    async def accept(self, listener: Listener) -> None:
        """Take the links that other nodes dial, for ever."""

    def begin(self) -> None:
        """The data is loaded and the node listens: take part."""


class Guard(Protocol):
    """A reason why a command may be refused, redirected or held back: one of `node.dispatch.GUARDS`."""

    def mask(self, server: "Server") -> int:
        """Flags of the commands that this guard looks at now; 0 while its condition does not hold."""

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        """None lets the command pass."""


class Server:
    """The parts of a node, and its sessions."""

    def __init__(self, platform: Platform, config: Config, commands: CommandTable, log: Log) -> None:
        self.platform = platform
        self.config = config
        self.log = log
        self.commands = commands
        self.words = commands.by_word
        self.clock_ns = platform.clock_ns
        self.timers = Timers(platform.monotonic_ms)
        self.journal = Journal()
        self.keyspace = Keyspace(config["databases"], self.journal)
        self.reactor = Reactor(platform)
        self.stats = Stats()
        self.run_id = platform.random_hex()
        self.started_ms = platform.now_ms()
        self.sessions: dict[int, Client] = {}
        self.next_session_id = 1
        self.commands_processed = 0
        self.loading: Any = None  # the progress of a load that is going on
        self.cluster: Cluster | None = None
        self.saver: Any = None
        self.start_task: Callable[..., None] = _nothing_started
        self.replication: Replication
        self.shutdown: Any = None  # node.shutdown.Shutdown: how this node ends
        self.execute: Callable[[Client, Argv], Reply] = _not_built
        self.guards: tuple[Guard, ...] = ()
        self.active_guards: list[Guard] = []
        self.gates = 0
        self.reactor.before_batch = self.read_clock
        self.read_clock()

    def read_clock(self) -> None:
        """Take the time for the commands to come."""
        self.keyspace.set_time(self.platform.now_ms(), self.started_ms)

    def path(self, name: str) -> str:
        """Where a file of this node is: relative names stand in its `dir`."""
        return self.platform.join_path(self.config["dir"] or ".", name)

    # --- sessions -------------------------------------------------------------------------------------------------

    def new_session(self, addr: str = "", laddr: str = "") -> Client:
        """A session for a client that has just connected."""
        client: Client = Session(self, self.next_session_id, self.keyspace.databases[0], self.new_parser())
        self.next_session_id += 1
        client.addr, client.laddr = addr, laddr
        client.created_ms = client.last_active_ms = self.keyspace.now_ms
        self.sessions[client.id] = client
        self.stats.connections_received += 1
        return client

    def reclaim(self, databases: Any) -> None:
        """Free databases that nobody uses any more."""

    def before_send(self) -> bool:
        """Between a batch of requests and their replies."""
        self.replication.primary.before_send()
        return True

    def new_parser(self) -> RequestParser:
        return RequestParser(self.config["proto-max-bulk-len"])

    def session_lost(self, client: Client) -> None:
        self.sessions.pop(client.id, None)
        if client.role is not None:
            client.role.lost()

    def output_limit_exceeded(self, client: Client, pending_bytes: int) -> bool:
        """True if `client` reads too slowly for its class (`client-output-buffer-limit`)."""
        hard, soft, soft_seconds = self.config["client-output-buffer-limit"][client.kind.decode()]
        if hard and pending_bytes > hard:
            exceeded = True
        elif not soft or pending_bytes <= soft:
            client.limit_since_ms = 0
            return False
        elif not client.limit_since_ms:
            client.limit_since_ms = self.keyspace.now_ms
            return False
        else:
            exceeded = self.keyspace.now_ms - client.limit_since_ms > soft_seconds * 1000
        if exceeded:
            self.stats.output_limit_disconnections += 1
            self.log.warning(
                f"Client id={client.id} addr={client.addr} scheduled to be closed ASAP for overcoming of "
                "output buffer limits."
            )
        return exceeded

    def protocol_error(self, client: Client, text: str) -> None:
        self.log.verbose(f"Protocol error ({text}) from client: id={client.id} addr={client.addr}")

    def close_all(self) -> None:
        for client in list(self.sessions.values()):
            client.close(CLOSE_NOW)

    # --- conditions -----------------------------------------------------------------------------------------------

    def conditions_changed(self) -> None:
        """Something that a guard looks at has changed: role, loading, a pause, the cluster..."""
        self.active_guards = [guard for guard in self.guards if guard.mask(self)]
        gates = 0
        for guard in self.active_guards:
            gates |= guard.mask(self)
        if gates != self.gates:
            self.gates = gates
            for client in self.sessions.values():
                client.update_gates()

    # --- counts ---------------------------------------------------------------------------------------------------

    def command_failed(self, command: Command, failure: Failure) -> None:
        """A command ran and answered with an error."""
        command.failed += 1
        self.stats.count_error(failure)

    def command_rejected(self, command: Command | None, failure: Failure) -> None:
        """A command was refused before it ran."""
        if command is not None:
            command.rejected += 1
        self.stats.count_error(failure)


def _nothing_started(*_args: Any) -> None:
    raise AssertionError("the node is not running: app.py hands in how tasks are started")


def _not_built(_client: Client, _argv: Argv) -> Reply:
    raise AssertionError("the node has no dispatch yet: app.py hands it in")
