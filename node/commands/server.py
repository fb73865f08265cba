"""The node itself: SHUTDOWN, TIME, LOLWUT."""

from node.commands.family import command
from node.net.resp import OK, Argv, CommandError, Reply
from node.server import Client
from node.shutdown import Wishes


@command("time", 1, "loading stale fast", tips="nondeterministic_output")
def time(client: Client, argv: Argv) -> Reply:
    now_us = client.host.platform.now_us()
    return [b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)]


@command("shutdown", -1, "admin noscript loading stale no_multi sentinel allow_busy")
def shutdown(client: Client, argv: Argv) -> Reply:
    words = [word.lower() for word in argv[1:]]
    if any(word not in (b"nosave", b"save", b"now", b"force", b"abort") for word in words):
        raise CommandError("ERR syntax error")
    ending = client.host.shutdown
    if b"abort" in words:
        if len(set(words)) > 1:
            raise CommandError("ERR syntax error")
        if not ending.abort():
            raise CommandError("ERR No shutdown in progress.")
        return OK
    if b"save" in words and b"nosave" in words:
        raise CommandError("ERR syntax error")
    return ending.ask(client, Wishes(*(name.encode() in words for name in Wishes._fields)))
