"""Whole databases: their size, emptying and swapping them."""

from node.commands.arguments import DB_OUT_OF_RANGE, SYNTAX, integer32
from node.commands.family import command
from node.keyspace.database import Database
from node.net.resp import OK, Argv, CommandError, Reply
from node.server import Client

FLUSH_TIPS = "request_policy:all_shards response_policy:all_succeeded"


@command(
    "dbsize",
    1,
    "readonly fast",
    acl="keyspace",
    tips="request_policy:all_shards response_policy:agg_sum",
)
def dbsize(client: Client, argv: Argv) -> Reply:
    return client.db.size


def _check_mode(argv: Argv) -> None:
    """SYNC and ASYNC do the same here: the keys are gone at once, and what they held is freed in slices."""
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() not in (b"SYNC", b"ASYNC")):
        raise SYNTAX


def empty(client: Client, databases: list[Database]) -> int:
    """Remove all keys of these databases; how many there were."""
    count = 0
    for db in databases:
        count += db.size
        client.host.background.reclaimer.flush(db)
    client.host.keyspace.emptied()
    return count


@command("flushdb", -1, "write", acl="keyspace dangerous", tips=FLUSH_TIPS)
def flushdb(client: Client, argv: Argv) -> Reply:
    _check_mode(argv)
    count = empty(client, [client.db])
    client.db.keyspace.dirty += max(1, count)  # replicas are told in any case: they may hold more than we do
    return OK


@command("flushall", -1, "write", acl="keyspace dangerous", tips=FLUSH_TIPS)
def flushall(client: Client, argv: Argv) -> Reply:
    _check_mode(argv)
    keyspace = client.host.keyspace
    count = empty(client, keyspace.databases)
    keyspace.dirty += max(1, count)  # also where nothing was removed: replicas are told in any case
    if client.host.saver is not None:
        client.host.saver.flushed()
    return OK


@command("swapdb", 3, "write fast", acl="keyspace dangerous")
def swapdb(client: Client, argv: Argv) -> Reply:
    if client.host.config.cluster_enabled:
        raise CommandError("ERR SWAPDB is not allowed in cluster mode")
    first = integer32(argv[1], CommandError("ERR invalid first DB index"))
    second = integer32(argv[2], CommandError("ERR invalid second DB index"))
    keyspace = client.host.keyspace
    count = len(keyspace.databases)
    if not (0 <= first < count and 0 <= second < count):
        raise DB_OUT_OF_RANGE
    if first != second:
        keyspace.swap(first, second)
    keyspace.dirty += 1
    return OK
