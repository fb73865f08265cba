"""Commands of a primary's stream: nothing stands against them, and nobody gets their replies."""

from node.dispatch import call, find, meant
from node.net.resp import Argv, CommandError, Failure
from node.replication.link import MARKS
from node.server import SLOW_NS_MIN, CannotGoOn, Client, Server
from node.table import BRIEF, CONTAINER, WRITE, Command

OF_THE_LINK = frozenset(mark.decode().lower() for mark in MARKS)

OBEYED_AT_ONCE_MAX = 64
"""So many calls are obeyed in a row: what a row costs by itself is some calls' time."""


def obey_row(session: Client, commands: list[Argv], at: int) -> int:
    """Run commands of the primary's stream from place `at` on, one at least; returns the place where it stopped.

    It stops before what the link itself has to do with (`MARKS`). Equal brief commands in a row are run, counted and
    timed together: a replica has to keep up with a primary that runs at its full speed.
    """
    server = session.host
    if server.monitors.clients or server.slow_ns < SLOW_NS_MIN or server.aof.refuses_writes:
        obey(session, commands[at])
        return at + 1
    look_up, clock_ns = server.words.get, server.clock_ns
    first, count = at, len(commands)
    started = clock_ns()
    while at < count:
        argv = commands[at]
        command = look_up(argv[0])
        if command is None or command.flags & CONTAINER or command.name in OF_THE_LINK or not command.takes(len(argv)):
            break
        stop = at + 1
        if command.flags & BRIEF:
            name, size, end = argv[0], len(argv), min(count, at + OBEYED_AT_ONCE_MAX)
            while stop < end and commands[stop][0] == name and len(commands[stop]) == size:
                stop += 1
        row = commands[at:stop]
        at = stop
        session.last_command = command
        _obey_calls(session, command, row)
        now = clock_ns()
        command.count(len(row), now - started)
        if now - started >= server.slow_ns:
            server.was_slow(session, command, row, now - started)
        started = now
    if at == first:
        obey(session, commands[at])
        at += 1
    return at


def _obey_calls(session: Client, command: Command, calls: list[Argv]) -> None:
    """Run these calls of a command, all of one length."""
    server = session.host
    keyspace = server.keyspace
    if command.row is not None:
        calls = session.run_row(command.row, calls, bytearray())
    run, appeared, in_unit = command.run, keyspace.waiters.appeared, keyspace.journal.in_unit
    dirty = keyspace.dirty
    for argv in calls:
        try:
            reply = run(session, argv)
        except CommandError as error:
            reply = error.reply
        if keyspace.dirty != dirty:
            dirty = keyspace.dirty
            keyspace.commit(session.db.index, argv)
        if type(reply) is Failure:
            server.command_failed(command, reply)
            _log_failure(server, command.full_name, reply)
        if appeared and not in_unit:
            keyspace.waiters.serve()
            dirty = keyspace.dirty


def obey(session: Client, argv: Argv) -> None:
    """Run a command of the primary's stream: nothing stands against it, and nobody gets its reply.

    The stream may name a command as it was called before `rename-command`.
    """
    server = session.host
    original = server.commands.original(argv[0]) if server.commands.find(argv[0]) is None else None
    command = find(server, session, argv) if original is None else meant(original, argv)
    if server.gates and server.aof.refuses_writes:
        _look_at_disk(server, command)
    reply = command if isinstance(command, Failure) else call(session, command, argv)
    if type(reply) is Failure:
        _log_failure(server, "<unknown>" if isinstance(command, Failure) else command.full_name, reply)


def _log_failure(server: Server, name: str, failure: Failure) -> None:
    server.log.warning(
        f"== CRITICAL == This replica is sending an error to its master: '{failure.decode('latin-1')}' "
        f"after processing the command '{name}'"
    )


def _look_at_disk(server: Server, command: Command | Failure) -> None:
    """A replica whose append-only file cannot be written is to end rather than to fall behind it in silence."""
    if isinstance(command, Failure) or not command.flags & WRITE or server.config["replica-ignore-disk-write-errors"]:
        return
    text = "Replica was unable to write command to disk."
    server.log.warning(text)
    raise CannotGoOn(text)
