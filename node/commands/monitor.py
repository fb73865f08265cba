"""MONITOR: be shown every command that the node runs."""

from node.commands.family import command
from node.net.resp import NO_REPLY, OK, Argv, CommandError, Reply
from node.server import Client


@command("monitor", 1, "admin noscript loading stale")
def monitor(client: Client, argv: Argv) -> Reply:
    if not client.may_block:  # it expects a reply for each command, and nothing else
        raise CommandError("ERR MONITOR isn't allowed for DENY BLOCKING client")
    if client.monitoring or client.kind == b"replica":
        return NO_REPLY
    client.host.monitors.add(client)
    return OK
