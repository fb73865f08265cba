"""SLOWLOG: the commands that took long."""

from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.datatypes.numbers import parse_int
from node.net.resp import OK, Argv, CommandError, Reply, Status
from node.server import Client

SHOWN = 10
"""How many entries SLOWLOG GET shows unless told otherwise."""
ALL_NODES = "request_policy:all_nodes"

container("slowlog", -2)


@command("slowlog|get", -2, "admin loading stale", tips=f"{ALL_NODES} nondeterministic_output")
def get(client: Client, argv: Argv) -> Reply:
    """SLOWLOG GET [count]."""
    if len(argv) > 3:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '%b'. Try SLOWLOG HELP." % argv[1][:128]
        )
    count = parse_int(argv[2]) if len(argv) == 3 else SHOWN
    if count is None or count < -1:
        raise CommandError("ERR count should be greater than or equal to -1")
    return [list(entry) for entry in client.host.slowlog.latest(count)]


@command("slowlog|len", 2, "admin loading stale", tips=f"{ALL_NODES} response_policy:agg_sum nondeterministic_output")
def len_(client: Client, argv: Argv) -> Reply:
    return len(client.host.slowlog)


@command("slowlog|reset", 2, "admin loading stale", tips=f"{ALL_NODES} response_policy:all_succeeded")
def reset(client: Client, argv: Argv) -> Reply:
    client.host.slowlog.reset()
    return OK


@command("slowlog|help", 2, "loading stale")
def help_(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("slowlog", describe("slowlog"))]
