"""The connection itself: PING, ECHO, SELECT..."""

from node.commands.family import command
from node.net.resp import PONG, Argv, Reply
from node.server import Client


@command("ping", -1, "fast sentinel", acl="connection", tips="request_policy:all_shards response_policy:all_succeeded")
def ping(client: Client, argv: Argv) -> Reply:
    return PONG if len(argv) == 1 else argv[1]
