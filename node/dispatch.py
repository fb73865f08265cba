"""The careful way of a command: what can stand between a request and its run, and transactions.

The session runs the usual case by itself and hands the rest to `execute`: unknown commands, wrong arities, containers
with subcommands, and every command that a gate is set for, which the guards (`node.guards`) are asked about.
"""

from itertools import chain, takewhile

from node.guards import GUARDS, PERMISSION, no_longer_permitted
from node.net.peer import CLOSE_NOW
from node.net.resp import NO_REPLY, QUEUED, Argv, CommandError, Encoded, Failure, Reply, encode
from node.net.session import JUDGED_TOGETHER_MAX, PARKED, UNWATCHED_INPUT_BYTES, Transaction
from node.script.scripts import declared_flags
from node.server import SLOW_NS_MIN, Client, Server
from node.table import (
    BRIEF,
    CONTAINER,
    DENY_OOM,
    IN_TRANSACTION,
    KEYED,
    MAY_REPLICATE,
    NEVER_QUEUED,
    PROTECTED,
    QUEUEABLE,
    READ,
    WRITE,
    Command,
    never_run,
)

ABORTED_BECAUSE = b"EXECABORT Transaction discarded because of: "


def execute(client: Client, argv: Argv) -> Reply:
    """Run one command the careful way, or say why not."""
    if client.kind == b"replica":
        return _hear_replica(client, argv)
    transaction = client.transaction
    if transaction is not None and not client.host.gates & DENY_OOM:
        command = client.host.words.get(argv[0])
        if command is not None and command.flags & QUEUEABLE:
            queued = _queue_row(client, transaction, argv)
            if queued:
                return QUEUED_ROWS[queued]
        elif command is not None and command.full_name == "exec" and len(argv) == 1 and _is_plain(client, transaction):
            return call(client, command, argv)
    if client.subscriptions is None and client.transaction is None and client.tracker is None and not client.monitoring:
        return _execute_asking(client, argv)
    client.held = bytearray()  # messages that the command causes to its own client
    reply = client.host.tracking.execute(client, argv, _execute_asking)
    held, client.held = client.held, None
    if not held:
        return reply
    if reply is PARKED:
        client.push_bytes(held)
        return reply
    out = bytearray()
    encode(reply, out, client.resp3)
    return Encoded(out + held)


def _hear_replica(client: Client, argv: Argv) -> Reply:
    """A replica sends what has no reply. Any other command ends its link, since the reply would be in its stream."""
    reply = _execute(client, argv)
    if reply is NO_REPLY or reply is PARKED:
        return reply
    server = client.host
    found = find(server, client, argv)
    name = "<unknown>" if isinstance(found, Failure) else found.full_name
    if type(reply) is Failure:
        server.log.warning(
            f"== CRITICAL == This master is sending an error to its replica: '{reply.decode('latin-1')}' "
            f"after processing the command '{name}'"
        )
    described = server.clients.describe(client).decode("utf-8", "replace")
    server.log.notice(f"Replica generated a reply to command '{name}', disconnecting it: {described}")
    client.close(CLOSE_NOW)
    return NO_REPLY


def _execute_asking(client: Client, argv: Argv) -> Reply:
    if not client.asking:
        return _execute(client, argv)
    reply = _execute(client, argv)
    if client.transaction is None and (client.parked is None or not client.parked.postponed):
        client.set_asking(argv[0].lower() == b"asking")  # it lasts while commands are queued, or one is still to come
    return reply


def _execute(client: Client, argv: Argv) -> Reply:
    server = client.host
    found = find(server, client, argv)
    if isinstance(found, Failure):
        named = server.commands.find(argv[0])
        if named is not None and named.full_name == "exec":
            client.end_transaction()
            found = Failure(ABORTED_BECAUSE + found.removeprefix(b"ERR "))
        return client.wanted(_rejected(client, named, found))
    command = found
    refusal = _refusal(client, command, argv)
    if type(refusal) is Failure and command.full_name == "exec":  # also where no transaction was begun
        client.end_transaction()
        refusal = Failure(ABORTED_BECAUSE + refusal)
    elif client.transaction is not None:
        if command.full_name == "exec":
            refusal = refusal or _refusal_of_transaction(client, client.transaction)
        elif refusal is None and command.full_name not in NEVER_QUEUED:
            return client.wanted(_queue(client, client.transaction, command, argv))
    if refusal is not None:
        if type(refusal) is Failure:
            _rejected(client, command, refusal)
        return client.wanted(refusal)
    if client.no_touch and command.flags & READ and command.name != "touch":
        return client.wanted(call_without_touching(client, command, argv))
    return client.wanted(call(client, command, argv))


def _refusal(client: Client, command: Command, argv: Argv, *, queued: bool = False) -> Reply | None:
    """What the guards have against a command; one that was `queued` is asked for its permission when its turn comes."""
    if command.full_name in SCRIPT_CALLS:
        command = _as_declared(client.host, command, argv)
    flags = command.flags
    own = client.own_gates & flags
    for mask, guard in client.host.active_guards:
        if queued and guard is PERMISSION:
            continue
        if mask & flags or (own and guard.personal):
            refusal = guard.check(client, command, argv)
            if refusal is not None:
                return refusal
    return None


SCRIPT_CALLS = frozenset({"eval", "evalsha", "fcall"})


def _as_declared(server: Server, command: Command, argv: Argv) -> Command:
    """A command that runs a script, as what the script says of itself makes it: one that writes, or one that reads."""
    flags = declared_flags(command.full_name, argv, server.scripts.cache, server.functions)
    if not flags.declared:
        return command
    known = Command(command.spec)
    known.flags = command.flags & ~MAY_REPLICATE | (0 if flags.no_writes else WRITE)
    return known


# --- transactions -----------------------------------------------------------------------------------------------------

NOT_IN_TRANSACTION = Failure(b"ERR Command not allowed inside a transaction")


PLAIN_TRANSACTION = IN_TRANSACTION | CONTAINER | PROTECTED
"""The gates of a client in a transaction against which no guard has anything, nor against the brief commands it queues
(none of which is a container or protected)."""
QUEUED_ROW_MAX = 64
"""So many commands are queued in one go; then the others have their turn, if it is time."""
QUEUED_ROWS = tuple(Encoded(count * b"+QUEUED\r\n") for count in range(QUEUED_ROW_MAX + 1))


def _is_plain(client: Client, transaction: Transaction) -> bool:
    """May EXEC simply run? Brief commands make nothing of their client by which it could hear of itself."""
    return bool(transaction.common_flags & BRIEF) and client.gates == PLAIN_TRANSACTION and not transaction.spoiled


def _queue_row(client: Client, transaction: Transaction, argv: Argv) -> int:
    """Queue a command and those behind it, as far as nothing but the transaction stands between them and their run.

    How many they are. A pipeline sends a transaction in one piece, and most of its cost is the way to here.
    """
    host, gates = client.host, client.gates & ~IN_TRANSACTION
    find, is_mine, common = host.words.get, host.is_mine, transaction.common_flags
    row = [argv, *client.commands[client.served : client.served + QUEUED_ROW_MAX - 1]]
    queued: list[tuple[Command, Argv]] = []
    for argv in row:
        command = find(argv[0])
        if command is None or not (flags := command.flags) & QUEUEABLE:
            break
        if len(argv) != command.arity and (command.arity > 0 or len(argv) < -command.arity):
            break
        against = flags & gates
        if against and (against != KEYED or not is_mine(command, argv)):
            break
        queued.append((command, argv))
        common &= flags
    count = len(queued)
    if not count:
        return 0
    transaction.commands += queued
    transaction.common_flags = common
    transaction.bytes += sum(map(len, chain.from_iterable(row[:count])))
    client.served += count - 1
    if transaction.bytes > UNWATCHED_INPUT_BYTES and host.input_limit_exceeded(client, transaction.bytes):
        client.close(CLOSE_NOW)
    return count


def _queue(client: Client, transaction: Transaction, command: Command, argv: Argv) -> Reply:
    """Keep a command for EXEC. What a client may have waiting is bounded here, too."""
    if not command.flags & QUEUEABLE:
        return _rejected(client, command, NOT_IN_TRANSACTION)
    transaction.bytes += sum(map(len, argv))
    if transaction.bytes > UNWATCHED_INPUT_BYTES and client.host.input_limit_exceeded(client, transaction.bytes):
        client.close(CLOSE_NOW)
        return NO_REPLY
    transaction.commands.append((command, argv))
    transaction.common_flags &= command.flags
    return QUEUED


def _refusal_of_transaction(client: Client, transaction: Transaction) -> Reply | None:
    """What the guards have, now, against the commands that EXEC would run: then none of them is run."""
    if transaction.spoiled:
        return None
    cluster = client.host.cluster
    refusal = cluster.redirect_all(client, transaction.commands) if cluster is not None else None
    if refusal is not None:  # a redirect is told as it is
        client.end_transaction()
        return refusal
    transaction.ending = True
    gates = client.gates & ~IN_TRANSACTION
    for command, argv in transaction.commands:
        looked_at = command.flags & gates or command.full_name in SCRIPT_CALLS
        refusal = _refusal(client, command, argv, queued=True) if looked_at else None
        if type(refusal) is Failure:
            client.end_transaction()
            return Failure(ABORTED_BECAUSE + refusal)
        if refusal is not None:
            return refusal
    return None


def run_queued(client: Client, commands: list[tuple[Command, Argv]], out: bytearray) -> None:
    """Run a transaction's commands and append their replies to `out`.

    Each reply is encoded before the next command runs: it may be the stored value itself.
    """
    server, at = client.host, 0
    while at < len(commands):
        command, argv = commands[at]
        unusual = client.restricted or client.tracker is not None or server.monitors.clients
        if command.flags & BRIEF and not unusual and server.slow_ns >= SLOW_NS_MIN:
            at += _run_row(client, command, commands[at : at + JUDGED_TOGETHER_MAX], out)
            continue
        refusal = no_longer_permitted(client, command, argv) if client.restricted else None
        encode(refusal or call(client, command, argv), out, client.resp3)
        at += 1


def _run_row(client: Client, command: Command, queued: list[tuple[Command, Argv]], out: bytearray) -> int:
    """Run those of the `queued` that are calls, as long as the first one, of the same brief `command`; how many.

    As `call`, for commands that change nothing but data: what it looks at stays as it is until the row ends.
    """
    server, keyspace, db, resp3 = client.host, client.host.keyspace, client.db.index, client.resp3
    client.last_command = command
    size = len(queued[0][1])
    calls = [argv for _, argv in takewhile(lambda each: each[0] is command and len(each[1]) == size, queued)]
    started = server.clock_ns()
    left = calls if command.row is None else client.run_row(command.row, calls, out)
    dirty = keyspace.dirty
    for argv in left:
        try:
            reply = command.run(client, argv)
        except CommandError as error:
            reply = error.reply
        if keyspace.dirty != dirty:
            dirty = keyspace.dirty
            keyspace.commit(db, argv)
        if type(reply) is Encoded:
            out += reply
            continue
        if type(reply) is Failure:
            server.command_failed(command, reply)
        encode(reply, out, resp3)
    time_ns = server.clock_ns() - started
    command.count(len(calls), time_ns)
    if time_ns >= server.slow_ns:
        server.was_slow(client, command, calls, time_ns)
    return len(calls)


def find(server: Server, client: Client, argv: Argv) -> Command | Failure:
    """The command or subcommand that is meant, if it takes that many arguments."""
    command = server.commands.find(argv[0])
    if command is None:
        if argv[0].lower() in (b"post", b"host:"):  # a browser was made to talk to us: see Redis's CVE-2016-10517
            server.log.warning(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: "
                "commands to Redis. Connection aborted."
            )
            client.close(CLOSE_NOW)
        return _unknown_command(argv)
    return meant(command, argv)


def meant(command: Command, argv: Argv) -> Command | Failure:
    """The command itself or its subcommand, if it takes that many arguments."""
    if command.flags & CONTAINER and len(argv) > 1:
        subcommand = command.subcommands.get(argv[1].lower())
        if subcommand is None:
            return _unknown_subcommand(argv)
        command = subcommand
    if not command.takes(len(argv)) or command.run is never_run:
        return Failure(b"ERR wrong number of arguments for '%b' command" % command.full_name.encode())
    return command


def call(client: Client, command: Command, argv: Argv) -> Reply:
    """Run a command that nothing stands against, journal what it did, and count it."""
    server = client.host
    keyspace = server.keyspace
    dirty = keyspace.dirty
    db = client.db.index
    started = server.clock_ns()
    client.last_command = command
    monitors = server.monitors
    if monitors.clients:
        monitors.show_early(client, command, argv)
    try:
        reply = command.run(client, argv)
    except CommandError as error:
        reply = error.reply
    if keyspace.dirty != dirty:
        keyspace.commit(db, argv)
        client.write_offset = server.journal.offset
    if type(reply) is Failure:
        server.command_failed(command, reply)
    if monitors.clients:
        monitors.show(client, command, argv)
    if client.tracker is not None and command.flags & READ:
        server.tracking.remember(client.tracker, command, argv)
    if reply is not PARKED:  # else it is counted when its wait is over
        time_ns = server.clock_ns() - started
        command.count(1, time_ns)
        if time_ns >= server.slow_ns:
            server.was_slow(client, command, [argv], time_ns)
    if keyspace.waiters.appeared and not keyspace.journal.in_unit:
        keyspace.waiters.serve()
    return reply


def call_without_touching(client: Client, command: Command, argv: Argv) -> Reply:
    """As `call`, for a client that asked with CLIENT NO-TOUCH that its reads be no accesses."""
    db = client.db
    uses = {argv[at]: db.use_of(argv[at]) for at in command.key_positions(argv) or ()}
    reply = call(client, command, argv)
    for key, held in uses.items():
        db.restore_use(key, held)
    return reply


def _rejected(client: Client, command: Command | None, failure: Failure) -> Failure:
    client.host.command_rejected(command, failure)
    if client.transaction is not None:
        client.transaction.spoiled = True
    return failure


SHOWN_BYTES_MAX = 128
"""How much of a client's words an error repeats."""


def _unknown_command(argv: Argv) -> Failure:
    shown = b""
    for arg in argv[1:]:
        if len(shown) >= SHOWN_BYTES_MAX:
            break
        shown += b"'%b' " % arg[: SHOWN_BYTES_MAX - len(shown)]
    return Failure(b"ERR unknown command '%b', with args beginning with: %b" % (argv[0][:SHOWN_BYTES_MAX], shown))


def _unknown_subcommand(argv: Argv) -> Failure:
    head = argv[0][:SHOWN_BYTES_MAX]
    return Failure(b"ERR unknown subcommand '%b'. Try %b HELP." % (argv[1][:SHOWN_BYTES_MAX], head.upper()))


def install(server: Server) -> None:
    """Hand the server its dispatch."""
    server.execute = execute
    server.guards = GUARDS
    server.conditions_changed()
