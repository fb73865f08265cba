"""`hexad server`: the process around a node. It takes what `redis-server` takes and ends with its exit codes.

Errors before the configuration is read go to standard error, later ones to the log; each is one clear line and exit
code 1. What belongs to a process and not to a node is set here and nowhere else.
"""

from collections.abc import Sequence

import trio

from node import app, listening
from node.config import Config, ConfigError, ConfigFileError, parse_command_line
from node.log import Log
from node.platform import SIGINT, SIGTERM, Platform
from node.server import REDIS_VERSION, Server
from node.shutdown import Shutdown

RESERVED_DESCRIPTORS = 32
"""Descriptors beside those of clients: files, listeners, links. INFO and the limits count on them as Redis does."""


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run a node as its own process until it is told to end; the exit code."""
    platform = platform or Platform()
    try:
        config = read_configuration(argv, platform)
    except ConfigFileError as error:
        platform.write_error(error.report())
        return 1
    platform.close_inherited_descriptors()
    platform.ignore_signals()
    platform.tame_collector()
    log = Log(platform, platform.write_out, config["loglevel"])
    log.role = lambda: "C"
    log.notice("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
    log.notice(f"Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={platform.pid}, just started")
    log.notice("Configuration loaded")
    server = app.build(platform, config, log)
    log.role = lambda: "M"
    try:
        return trio.run(serve, server)
    except listening.CannotListen as error:
        log.warning(str(error))
        return 1


def read_configuration(argv: Sequence[str], platform: Platform) -> Config:
    """What the file, standard input and the options of the command line ask for.  Raises ConfigFileError."""

    def check_directory(path: str) -> None:
        if not platform.is_directory(path):
            raise ConfigError("Not a directory" if platform.exists(path) else "No such file or directory")

    line = parse_command_line(list(argv))
    return Config.load(
        platform.absolute_path(line.path) if line.path is not None else None,
        stdin=platform.read_input().decode(errors="surrogateescape") if line.reads_stdin else None,
        options=line.options,
        read_file=lambda path: platform.read_file(path).decode(errors="surrogateescape"),
        find_files=platform.find_files,
        checks={"dir": check_directory},
    )


async def serve(server: Server) -> int:
    """The node's life; the exit code."""
    log = server.log
    over = trio.Event()
    codes = list[int]()

    def ended(code: int) -> None:
        codes.append(code)
        over.set()

    shutdown = server.shutdown = Shutdown(server)
    shutdown.ended = ended
    async with app.running(server):
        soon = server.platform.soon()

        def signalled(number: int) -> None:
            soon(lambda: shutdown.ask_by_signal(number))

        with server.platform.on_signals(signalled, SIGTERM, SIGINT):
            log.notice(f"Running mode={'cluster' if server.cluster else 'standalone'}, port={server.config['port']}.")
            log.notice(f"PID: {server.platform.pid}")
            log.notice("Server initialized")
            log.notice("Ready to accept connections tcp")
            await over.wait()
    return codes[0]
