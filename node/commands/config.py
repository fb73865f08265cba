"""CONFIG: the parameters of the running node, and its counters set back."""

from node.clients import is_local
from node.commands import help
from node.commands.family import command, container
from node.config import ConfigSetError
from node.net.resp import OK, Argv, CommandError, Reply, Status
from node.server import Client, Server

container("config", -2)

SUBCOMMANDS = ("get", "set", "resetstat", "rewrite", "help")
FOR_ADMINS = "admin noscript loading stale"
ALL_NODES = "request_policy:all_nodes response_policy:all_succeeded"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@command("config|get", -3, FOR_ADMINS)
def get(client: Client, argv: Argv) -> Reply:
    """CONFIG GET pattern ..."""
    found = client.host.config.get([_text(pattern) for pattern in argv[2:]])
    return {_bytes(name): _bytes(value) for name, value in found.items()}


@command("config|set", -4, FOR_ADMINS, tips=ALL_NODES)
def set_(client: Client, argv: Argv) -> Reply:
    """CONFIG SET name value ...: all of them or none."""
    if len(argv) % 2:
        raise CommandError("ERR syntax error")
    words = [_text(word) for word in argv[2:]]
    server = client.host
    try:
        server.config.set(
            zip(words[::2], words[1::2], strict=True),
            is_local=is_local(client),
            is_loading=server.loading is not None or server.loading_beside is not None,
        )
    except ConfigSetError as error:
        raise CommandError(_bytes(str(error))) from None
    return OK


@command("config|rewrite", 2, FOR_ADMINS, tips=ALL_NODES)
def rewrite(client: Client, argv: Argv) -> Reply:
    """CONFIG REWRITE: bring the file up to date that the node was started with."""
    bring_up_to_date(client.host)
    return OK


def bring_up_to_date(server: Server, *, everything: bool = False) -> None:
    """Rewrite the file that the node was started with. Raises CommandError.

    everything -- what has its default value is written, too.
    """
    if not server.config_file:
        raise CommandError("ERR The server is running without a config file")
    try:
        rewrite_file(server, server.config_file, everything=everything)
    except OSError as error:
        server.log.notice(f"CONFIG REWRITE failed: {error.strerror}")
        raise CommandError(f"ERR Rewriting config file: {error.strerror}") from None
    server.log.notice("CONFIG REWRITE executed with success.")


def rewrite_file(server: Server, path: str, *, everything: bool = False) -> None:
    """Write the configuration as it is now over the file. Raises OSError, with the old file left as it was."""
    platform = server.platform
    old = platform.read_file(path) if platform.exists(path) else b""
    platform.replace_file(path, _bytes(server.config.rewrite(_text(old), everything=everything)))


@command("config|resetstat", 2, FOR_ADMINS, tips=ALL_NODES)
def resetstat(client: Client, argv: Argv) -> Reply:
    """CONFIG RESETSTAT: INFO's counters begin anew."""
    server = client.host
    server.reset_counts()
    for each in server.commands.every():
        each.reset_counts()
    return OK


@command("config|help", 2, "loading stale")
def help_(client: Client, argv: Argv) -> Reply:
    lines = help.help_lines("config", help.describe("config", SUBCOMMANDS))
    return [Status(_bytes(line)) for line in lines]
