"""What a script's command must pass before it runs: the order and the words are those of Redis's scriptCall."""

from node.dispatch import call as run_command
from node.dispatch import call_without_touching
from node.eviction import OUT_OF_MEMORY
from node.guards import IN_SCRIPTS, refusal_in_script
from node.net.resp import Argv, CommandError, Failure, Reply
from node.script.running import Run
from node.server import Client, Server
from node.slots import slot_of
from node.table import (
    ANY,
    CONTAINER,
    DENY_OOM,
    IN_TRANSACTION,
    KEYED,
    MAY_REPLICATE,
    NO_SCRIPT,
    READ,
    STALE,
    WRITE,
    Command,
    never_run,
)

UNKNOWN = Failure(b"ERR Unknown Redis command called from script")
WRONG_ARITY = Failure(b"ERR Wrong number of args calling Redis command from script")
NOT_ALLOWED = Failure(b"ERR This Redis command is not allowed from script")
STALE_REPLICA = Failure(b"ERR Can not execute the command on a stale replica")
READ_ONLY = Failure(b"ERR Write commands are not allowed from read-only scripts.")

DOWN_READS_ONLY = Failure(b"ERR Script attempted to execute a write command while the cluster is down and readonly")
DOWN = Failure(b"ERR Script attempted to execute a command while the cluster is down")
CROSS_SLOT = Failure(b"ERR Script attempted to access keys that do not hash to the same slot")
NOT_LOCAL = Failure(b"ERR Script attempted to access a non local key in a cluster node")


def call(run: Run, argv: Argv) -> Reply:
    """Run a command for a script, or say why not.

    The usual case is short, as the session's is: where no gate is closed nobody monitors, and the client tracks
    nothing. Who waits for keys is served after the script, and its own `call` notes the offset of what it wrote.
    """
    client: Client = run.client
    server = client.host
    command = server.words.get(argv[0])
    if command is None or command.flags & (client.gates & ~IN_TRANSACTION | run.against):
        return _call_carefully(run, client, argv)
    if len(argv) != command.arity and not 0 < -command.arity <= len(argv):
        return _call_carefully(run, client, argv)
    if command.flags & WRITE:
        run.wrote = True
    keyspace, db = server.keyspace, client.db.index
    dirty = keyspace.dirty
    client.last_command = command
    started = server.clock_ns()
    try:
        reply = command.run(client, argv)
    except CommandError as error:
        reply = error.reply
    if keyspace.dirty != dirty:
        keyspace.commit(db, argv)
    if type(reply) is Failure:
        server.command_failed(command, reply)
    time_ns = server.clock_ns() - started
    command.count(1, time_ns)
    if time_ns >= server.slow_ns:
        server.was_slow(client, command, [argv], time_ns)
    return reply


def _call_carefully(run: Run, client: Client, argv: Argv) -> Reply:
    """As `call`, where something may stand against it."""
    server = client.host
    command = server.commands.find(argv[0])
    if command is not None and command.flags & CONTAINER and len(argv) > 1:
        command = command.subcommands.get(argv[1].lower())
    if command is None:
        return _refused(server, None, UNKNOWN)
    refusal = _refusal(run, server, client, command, argv)
    if refusal is not None:
        return _refused(server, command, refusal)
    if command.flags & WRITE:
        run.wrote = True
    if client.no_touch and command.flags & READ and command.name != "touch":
        return call_without_touching(client, command, argv)
    return run_command(client, command, argv)


def _refused(server: Server, command: Command | None, failure: Failure) -> Failure:
    server.command_rejected(command, failure)
    return failure


def _refusal(run: Run, server: Server, client: Client, command: Command, argv: Argv) -> Failure | None:
    """What stands against a command: of an unusual kind, in an unusual time, or for a client with a gate closed."""
    flags = command.flags
    if not command.takes(len(argv)) or command.run is never_run:
        return WRONG_ARITY
    if flags & NO_SCRIPT and not server.scripts_unbound:
        return NOT_ALLOWED
    if not flags & STALE and is_stale(server):
        return STALE_REPLICA
    refusal = refusal_in_script(client, command, argv)
    if refusal is not None:
        return refusal
    if run.read_only and flags & (WRITE | MAY_REPLICATE):
        return READ_ONLY
    if server.keyspace.obeying:  # a file or a primary has this script, which had its effects elsewhere already
        return None
    if not run.wrote:
        if run.out_of_memory and flags & DENY_OOM:
            return OUT_OF_MEMORY
        refusal = _condition(server, client, command, argv)
        if refusal is not None:
            return refusal
    if flags & KEYED and server.cluster is not None:
        return _elsewhere(run, server, client, command, argv)
    return None


def _condition(server: Server, client: Client, command: Command, argv: Argv) -> Failure | None:
    """Nothing stops a script half way through what it writes, so these are asked of its first writes only."""
    for mask, guard in server.active_guards:
        if mask & command.flags and isinstance(guard, IN_SCRIPTS):
            refusal = guard.check(client, command, argv)
            if type(refusal) is Failure:
                return refusal
    return None


def _elsewhere(run: Run, server: Server, client: Client, command: Command, argv: Argv) -> Failure | None:
    """In cluster mode: keys that are not here, or not together."""
    assert server.cluster is not None
    if not server.cluster.is_mine(command, argv):
        refusal = server.cluster.redirect(client, command, argv)
        if refusal is not None:
            return _worded(refusal)
    if run.flags.allow_cross_slot_keys:
        return None
    for at in command.key_positions(argv) or ():
        slot = slot_of(argv[at])
        if run.slot < 0:
            run.slot = slot
        elif slot != run.slot:
            return CROSS_SLOT
    return None


def _worded(redirect: bytes) -> Failure:
    """A redirect as scripts read it: they cannot follow it."""
    if redirect.startswith(b"CLUSTERDOWN The cluster is down and only"):
        return DOWN_READS_ONLY
    if redirect.startswith(b"CLUSTERDOWN The cluster is down"):
        return DOWN
    return CROSS_SLOT if redirect.startswith(b"CROSSSLOT") else NOT_LOCAL


def is_stale(server: Server) -> bool:
    """A replica without its primary, which serves nothing then."""
    replication = server.replication
    return replication.is_replica and not replication.link_is_up and not server.config["replica-serve-stale-data"]


def acl_check(run: Run, argv: Argv) -> bool | None:
    """`redis.acl_check_cmd`: may the script's user run this? None if there is no such command."""
    client: Client = run.client
    command = client.host.commands.resolve(argv)
    if command is None or not command.flags & ANY:
        return None
    return client.host.access.denial(client, command, argv) is None
