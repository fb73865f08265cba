"""SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF: the data set to disk, and when that was last done."""

from node.commands.family import command
from node.net.resp import OK, Argv, CommandError, Failure, Reply, Status
from node.server import Client

REWRITING = CommandError(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a "
    "BGSAVE whenever possible."
)
IN_PROGRESS = CommandError("ERR Background save already in progress")


@command("save", 1, "no_async_loading admin noscript no_multi")
def save(client: Client, argv: Argv) -> Reply:
    saver = client.host.saver
    if saver.background is not None:
        raise IN_PROGRESS
    return OK if saver.save() else Failure(b"ERR")


@command("bgsave", -1, "no_async_loading admin noscript")
def bgsave(client: Client, argv: Argv) -> Reply:
    """BGSAVE [SCHEDULE]: at once, or after the transaction that it is part of, or after a rewrite that is under way."""
    saver, aof, in_unit = client.host.saver, client.host.aof, client.host.keyspace.journal.in_unit
    if len(argv) > 2 or (len(argv) == 2 and argv[1].lower() != b"schedule"):
        raise CommandError("ERR syntax error")
    if saver.background is not None:
        raise IN_PROGRESS
    if aof.rewriter.background is None and not in_unit:
        saver.begin_background()
        return Status(b"Background saving started")
    if len(argv) == 1 and not in_unit:
        raise REWRITING
    saver.schedule()
    return Status(b"Background saving scheduled")


@command("bgrewriteaof", 1, "no_async_loading admin noscript")
def bgrewriteaof(client: Client, argv: Argv) -> Reply:
    rewriter = client.host.aof.rewriter
    if rewriter.background is not None:
        raise CommandError("ERR Background append only file rewriting already in progress")
    begun = rewriter.ask()
    return Status(
        b"Background append only file rewriting started"
        if begun
        else b"Background append only file rewriting scheduled"
    )


@command("lastsave", 1, "loading stale fast", acl="admin dangerous", tips="nondeterministic_output")
def lastsave(client: Client, argv: Argv) -> Reply:
    return int(client.host.saver.last_save_s)
