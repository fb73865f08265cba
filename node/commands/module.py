"""MODULE: there are none. What is written for another program's memory cannot be loaded here, and is told so."""

from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.config.coming import MODULES_REFUSED
from node.net.resp import Argv, CommandError, Reply, Status
from node.server import Client

FOR_ADMINS = "no_async_loading admin noscript protected"
REFUSED = CommandError(f"ERR {MODULES_REFUSED}")

container("module", -2)


@command("module|list", 2, "admin noscript", tips="nondeterministic_output_order")
def list_(client: Client, argv: Argv) -> Reply:
    return []


@command("module|load", -3, FOR_ADMINS)
def load(client: Client, argv: Argv) -> Reply:
    raise REFUSED


@command("module|loadex", -3, FOR_ADMINS)
def loadex(client: Client, argv: Argv) -> Reply:
    raise REFUSED


@command("module|unload", 3, FOR_ADMINS)
def unload(client: Client, argv: Argv) -> Reply:
    raise CommandError("ERR Error unloading module: no such module with that name")


@command("module|help", 2, "loading stale")
def help_(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("module", describe("module"))]
