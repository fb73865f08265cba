"""The guards: what may stand between a command and its run, one after another, each with its reason in Redis's words.

Their order is that of Redis's processCommand. `mask` tells for which flags of commands a guard has to be asked as the
node is now, so that a session closes its gates for these alone; a `personal` one is asked of a client's own gates, too.
"""

from node.access import denial_text
from node.clients import is_local
from node.eviction import OUT_OF_MEMORY
from node.net.resp import Argv, Failure, Reply
from node.server import SLOW_NS_MIN, Client, Guard, Server
from node.table import (
    ALLOW_BUSY,
    ANY,
    DENY_OOM,
    KEYED,
    LOADING,
    MAY_REPLICATE,
    NO_ASYNC_LOADING,
    NO_AUTH,
    PROTECTED,
    READ,
    STALE,
    WRITE,
    Command,
)


class Protection:
    """DEBUG and MODULE are closed, or open to clients of this machine, as `enable-…-command` says."""

    personal = False

    def mask(self, server: Server) -> int:
        return PROTECTED

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if not command.flags & PROTECTED:
            return None
        name = command.full_name.partition("|")[0]
        opened = client.host.config[f"enable-{name}-command"]
        if opened == "yes" or (opened == "local" and is_local(client)):
            return None
        return Failure(
            f'ERR {name.upper()} command not allowed. If the enable-{name}-command option is set to "local", you can '
            "run it from a local connection, otherwise you need to set this option in the configuration file, and then "
            "restart the server.".encode()
        )


class Authentication:
    """Nothing but AUTH, HELLO, QUIT and RESET before a password, where the default user needs one."""

    personal = True

    def mask(self, server: Server) -> int:
        return 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if client.authenticated or command.flags & NO_AUTH:
            return None
        return Failure(b"NOAUTH Authentication required.")


class Permission:
    """A user that may not do everything: see `node.access`."""

    personal = True

    def mask(self, server: Server) -> int:
        return 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        return not_permitted(client, command, argv) if client.restricted else None


def not_permitted(client: Client, command: Command, argv: Argv) -> Failure | None:
    """What the rights of its user have against a client's command; it is written down."""
    access = client.host.access
    denial = access.denial(client, command, argv)
    if denial is None:
        return None
    client.last_command = command
    access.note_denial(client, denial, command, argv)
    return Failure(b"NOPERM " + denial_text(client.user, denial, command, argv))


WHY_NOT_ANY_MORE = {
    "command": b"no permission to execute the command or subcommand",
    "key": b"no permission to touch the specified keys",
    "channel": b"no permission to access one of the channels used as arguments to the command",
}


def no_longer_permitted(client: Client, command: Command, argv: Argv) -> Failure | None:
    """As `not_permitted`, for a command whose turn comes in EXEC: it was permitted when it was queued."""
    access = client.host.access
    denial = access.denial(client, command, argv)
    if denial is None:
        return None
    access.note_denial(client, denial, command, argv)
    failure = Failure(
        b"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
        b"This command is no longer allowed for the following reason: " + WHY_NOT_ANY_MORE[denial.reason]
    )
    client.host.stats.count_error(failure)
    return failure


def refusal_in_script(client: Client, command: Command, argv: Argv) -> Failure | None:
    """What the rights of a script's user have against a command that the script calls; it is written down."""
    access = client.host.access
    denial = access.denial(client, command, argv)
    if denial is None:
        return None
    access.note_denial(client, denial, command, argv, in_script=True)
    return Failure(b"NOPERM ACL failure in script: " + denial_text(client.user, denial, command, argv))


def permission_lost(client: Client) -> Failure | None:
    """As `not_permitted`, for the command that a parked client runs: its user may have changed meanwhile."""
    command, argv = client.last_command, client.commands[client.served - 1]
    refusal = not_permitted(client, command, argv) if command is not None else None
    if refusal is not None:
        client.host.command_rejected(command, refusal)
    return refusal


class Redirection:
    """Cluster mode: keys that live elsewhere."""

    personal = False

    def mask(self, server: Server) -> int:
        return KEYED if server.cluster is not None else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        cluster = client.host.cluster
        return cluster.redirect(client, command, argv) if cluster is not None else None


NEVER_OUT_OF_MEMORY = frozenset({"exec", "discard", "quit", "reset"})
"""What a client in a transaction may say while there is no memory to queue anything."""


class MemoryLimit:
    """`maxmemory`: room is made before a command that may need some; where there is none, it is refused.

    So is everything that a transaction would keep for EXEC, which then asks for the commands that need memory alone.
    """

    personal = True

    def mask(self, server: Server) -> int:
        return DENY_OOM if server.eviction.limit else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        eviction = client.host.eviction
        if not eviction.limit:
            return None
        transaction = client.transaction
        queued = transaction is not None and not transaction.ending and command.full_name not in NEVER_OUT_OF_MEMORY
        if not (command.flags & DENY_OOM or queued) or eviction.has_room(argv):
            return None
        return OUT_OF_MEMORY


class GoodReplicas:
    """`min-replicas-to-write`: no write that too few replicas would have."""

    personal = False

    def mask(self, server: Server) -> int:
        config = server.config
        if not config["min-replicas-to-write"] or not config["min-replicas-max-lag"] or server.replication.is_replica:
            return 0
        return WRITE

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        server = client.host
        if server.replication.primary.good_replicas() >= server.config["min-replicas-to-write"]:
            return None
        return Failure(b"NOREPLICAS Not enough good replicas to write.")


class ReadOnlyReplica:
    """A replica's data is its primary's."""

    personal = False

    def mask(self, server: Server) -> int:
        return WRITE if server.replication.is_replica and server.config["replica-read-only"] else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        return Failure(b"READONLY You can't write against a read only replica.")


class Subscriber:
    """A RESP2 client that has subscribed cannot tell replies from messages: few commands are left to it."""

    personal = True

    def mask(self, server: Server) -> int:
        return 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if client.subscriptions is None or client.resp3 or command.full_name in OF_SUBSCRIBERS:
            return None
        return Failure(
            b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
            b"this context" % command.full_name.encode()
        )


OF_SUBSCRIBERS = frozenset(
    "ping subscribe ssubscribe psubscribe unsubscribe sunsubscribe punsubscribe quit reset".split()
)


class StaleReplica:
    """`replica-serve-stale-data no`: nothing is read while the primary is out of reach."""

    personal = False

    def mask(self, server: Server) -> int:
        replication = server.replication
        stale = replication.is_replica and not replication.link_is_up
        return ANY if stale and not server.config["replica-serve-stale-data"] else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if command.flags & STALE:
            return None
        return Failure(b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")


class Unsaved:
    """`stop-writes-on-bgsave-error`: a primary that cannot save takes no writes, and says so to who PINGs it."""

    personal = False

    def mask(self, server: Server) -> int:
        return ANY if server.saver is not None and server.saver.refuses_writes else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        server = client.host
        if server.journal.relaying or not (command.flags & WRITE or command.name == "ping"):
            return None
        return Failure(
            b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
            b"Commands that may modify the data set are disabled, because this instance is configured to report "
            b"errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the "
            b"Redis logs for details about the RDB error."
        )


class Unwritten:
    """The append-only file cannot be written: what is lost is to be no more than what was answered already."""

    personal = False

    def mask(self, server: Server) -> int:
        return ANY if server.aof.refuses_writes else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        server = client.host
        if server.journal.relaying or not (command.flags & WRITE or command.name == "ping"):
            return None
        return Failure(b"MISCONF Errors writing to the AOF file: %b" % server.aof.writer.failure_reason.encode())


class Loading:
    """While a data set is loaded: only what does not look at it. If beside the one that is served: what spares both."""

    personal = False

    def mask(self, server: Server) -> int:
        if server.loading is not None:
            return ANY
        return NO_ASYNC_LOADING if server.loading_beside is not None else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        beside = client.host.loading is None
        if command.flags & NO_ASYNC_LOADING if beside else not command.flags & LOADING:
            return LOADING_NOW
        return None


LOADING_NOW = Failure(b"LOADING Redis is loading the dataset in memory")


class Busy:
    """A script runs for longer than it should: little else than what may end it."""

    personal = False

    def mask(self, server: Server) -> int:
        return ANY if server.scripts is not None and server.scripts.busy else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if command.flags & ALLOW_BUSY:
            return None
        busy: Failure = client.host.scripts.busy_reply
        return busy


class Monitored:
    """MONITOR: every command goes the careful way, where it is shown; who monitors or follows leaves the keys alone."""

    personal = True

    def mask(self, server: Server) -> int:
        return ANY if server.monitors else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        listens_only = client.monitoring or client.kind == b"replica"
        if not listens_only or not command.flags & (READ | WRITE | MAY_REPLICATE):
            return None
        return Failure(b"ERR Replica can't interact with the keyspace")


class Timed:
    """The slow log is to know of commands that take less than the session's own measuring can tell apart."""

    personal = False

    def mask(self, server: Server) -> int:
        return ANY if server.slow_ns < SLOW_NS_MIN else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        return None


class Paused:
    """CLIENT PAUSE, a failover or a shutdown that waits for replicas: commands come later. Always the last guard."""

    personal = False

    def mask(self, server: Server) -> int:
        pause = server.clients.paused
        if pause is None:
            return 0
        return WRITE | MAY_REPLICATE if pause.writes_only else ANY

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if client.kind == b"replica" or client.monitoring:
            return None
        client.last_command = command
        return client.host.clients.postpone(client)


class KeysOnTheirWay:
    """MIGRATE: nobody changes a key between its copy and its deletion; reads go on."""

    personal = False

    def mask(self, server: Server) -> int:
        return WRITE | KEYED if server.migration is not None and server.migration.guards else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if not client.host.migration.holds(command, argv):
            return None
        client.last_command = command
        return client.host.migration.postpone(client)


class SlotsOnTheirWay:
    """Slots are being handed over: for a moment nobody writes to them; reads go on."""

    personal = False

    def mask(self, server: Server) -> int:
        return WRITE | MAY_REPLICATE if server.slot_pause is not None and server.slot_pause.held else 0

    def check(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        if not command.flags & (WRITE | MAY_REPLICATE) or not client.host.slot_pause.holds(command, argv):
            return None
        client.last_command = command
        return client.host.slot_pause.postpone(client)


PERMISSION = Permission()

GUARDS: tuple[Guard, ...] = (
    Protection(),
    Authentication(),
    PERMISSION,
    Redirection(),
    MemoryLimit(),
    Unsaved(),
    Unwritten(),
    GoodReplicas(),
    ReadOnlyReplica(),
    Subscriber(),
    StaleReplica(),
    Loading(),
    Busy(),
    Monitored(),
    KeysOnTheirWay(),
    SlotsOnTheirWay(),
    Timed(),
    Paused(),
)


IN_SCRIPTS = (Unsaved, GoodReplicas, ReadOnlyReplica)
"""Guards that are asked of the commands of scripts, too, until the first that writes has run."""
