"""MULTI, EXEC, DISCARD: commands that run together, and reach replicas and files as one unit. WATCH, UNWATCH.

What is queued, and what is refused on the way, stands in `node.dispatch`: an error before EXEC spoils the transaction,
an error of a command that runs does not undo the others. What spoils a transaction whose keys are watched stands in
`node.keyspace.watching`.
"""

from node.commands.family import command
from node.dispatch import run_queued
from node.keyspace.watching import Watcher
from node.net.resp import NULL_ARRAY, OK, Argv, CommandError, Encoded, Reply
from node.net.session import Transaction
from node.server import Client

AT_ONCE = "noscript loading stale fast allow_busy"


@command("multi", 1, AT_ONCE, acl="transaction")
def multi(client: Client, argv: Argv) -> Reply:
    if client.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    client.set_transaction(Transaction())
    return OK


@command("discard", 1, AT_ONCE, acl="transaction")
def discard(client: Client, argv: Argv) -> Reply:
    if client.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    client.end_transaction()
    return OK


@command("watch", -2, AT_ONCE, acl="transaction", keys="@1/range:-1:1:0/RO")
def watch(client: Client, argv: Argv) -> Reply:
    if client.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    if client.watcher is None:
        client.watcher = Watcher()
    client.host.keyspace.watching.watch(client.watcher, client.db, argv[1:])
    return OK


@command("unwatch", 1, AT_ONCE, acl="transaction")
def unwatch(client: Client, argv: Argv) -> Reply:
    client.unwatch()
    return OK


@command("exec", 1, "noscript loading stale skip_slowlog", acl="transaction")
def exec_(client: Client, argv: Argv) -> Reply:
    """Run what was queued."""
    transaction = client.transaction
    if transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    journal, keyspace, dirty = client.host.journal, client.host.keyspace, client.host.keyspace.dirty
    outdated = client.watcher is not None and keyspace.watching.is_spoiled(client.watcher)
    client.unwatch()
    if transaction.spoiled:
        client.end_transaction()
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    if outdated:
        client.end_transaction()
        return NULL_ARRAY
    out = bytearray(b"*%d\r\n" % len(transaction.commands))
    exec_itself, may_block, client.may_block = client.last_command, client.may_block, False
    journal.begin_unit()
    try:
        run_queued(client, transaction.commands, out)
    finally:
        journal.end_unit()
        client.last_command, client.may_block = exec_itself, may_block
        if client.transaction is transaction:  # RESET was not among them
            client.end_transaction()
    if keyspace.dirty != dirty:
        keyspace.journal_instead(db=client.db.index)  # the commands have said it all
    return Encoded(bytes(out))
