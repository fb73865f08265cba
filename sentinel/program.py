"""`hexad sentinel`: the process around a Sentinel. It takes what `redis-sentinel` takes and ends as that does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from node.config import ConfigFileError, parse_command_line
from node.config.lines import Line
from node.platform import Platform
from node.program import VERSION, Program, configure
from node.server import Server
from sentinel import app
from sentinel.commands import every_spec
from sentinel.state import State

USAGE = """\
Usage: hexad sentinel /path/to/sentinel.conf [options]
       hexad server /path/to/sentinel.conf --sentinel [options]
       hexad sentinel -v or --version
       hexad sentinel -h or --help

The file is rewritten whenever there is something to remember, so it must be writable.

Examples:
       hexad sentinel /etc/redis/sentinel.conf
       hexad sentinel ./sentinel.conf --port 5000
"""


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run a Sentinel as its own process until it is told to end; the exit code."""
    platform = platform or Platform()
    words = list(argv)
    if words in (["-v"], ["--version"]):
        platform.write_out(VERSION)
        return 0
    if words in (["-h"], ["--help"]):
        platform.write_error(USAGE)
        return 1
    lines: list[Line] = []
    try:
        line = parse_command_line(words)
        config_file = platform.absolute_path(line.path) if line.path is not None else ""
        config = configure(platform, line, specs=every_spec, sentinel_lines=lines)
        state = app.load_state(platform, lines)
    except ConfigFileError as error:
        platform.write_error(error.report())
        return 1
    program = SentinelProgram(platform, config, config_file, is_bare=not words)
    program.state = state
    return program.run()


class SentinelProgram(Program):
    """One run of a Sentinel's process."""

    state: State

    def build(self) -> Server:
        """The Sentinel. Raises CannotStart."""
        return app.build(self.platform, self.config, self.log, self.state, self.config_file)

    def running(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Serve and watch while the block runs."""
        return app.running(server)

    async def make_ready(self, server: Server) -> None:
        """Nothing has to be loaded."""
        self.tell_ready(server)
