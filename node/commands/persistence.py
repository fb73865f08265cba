"""SAVE, BGSAVE, LASTSAVE: the data set to disk, now, in the background, and when that was last done."""

from node.commands.family import command
from node.net.resp import OK, Argv, CommandError, Failure, Reply, Status
from node.server import Client

IN_PROGRESS = CommandError("ERR Background save already in progress")


@command("save", 1, "no_async_loading admin noscript no_multi")
def save(client: Client, argv: Argv) -> Reply:
    saver = client.host.saver
    if saver.background is not None:
        raise IN_PROGRESS
    return OK if saver.save() else Failure(b"ERR")


@command("bgsave", -1, "no_async_loading admin noscript")
def bgsave(client: Client, argv: Argv) -> Reply:
    """BGSAVE [SCHEDULE]: at once, or after the transaction that it is part of. Nothing else can stand in the way."""
    saver = client.host.saver
    if len(argv) > 2 or (len(argv) == 2 and argv[1].lower() != b"schedule"):
        raise CommandError("ERR syntax error")
    if saver.background is not None:
        raise IN_PROGRESS
    if client.host.keyspace.journal.in_unit:
        saver.schedule()
        return Status(b"Background saving scheduled")
    saver.begin_background()
    return Status(b"Background saving started")


@command("lastsave", 1, "loading stale fast", acl="admin dangerous", tips="nondeterministic_output")
def lastsave(client: Client, argv: Argv) -> Reply:
    return int(client.host.saver.last_save_s)
