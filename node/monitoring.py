"""MONITOR: clients that are shown every command as it is run. Sans-IO.

A line for each command, in the order in which they ran (EXEC's after those that it ran, a script's before those that it
runs), with the time, the database and who sent it. Commands of administrators are not shown, nor are passwords.

While somebody monitors, every command of every client goes the careful way: see the guard in `node.dispatch`.
"""

from collections.abc import Callable
from typing import Any

from node.net.resp import Argv, Status
from node.redaction import redacted
from node.table import ADMIN, SKIP_MONITOR, Command

Client = Any
"""A `Session`, whose type would make a circle of imports."""


class Monitors:
    """The clients of a node that monitor it. `changed` is called when there is a first one, or none any more."""

    def __init__(self, now_us: Callable[[], int], changed: Callable[[], None]) -> None:
        self.clients: dict[Client, None] = {}
        self._now_us = now_us
        self._changed = changed

    def __bool__(self) -> bool:
        return bool(self.clients)

    def add(self, client: Client) -> None:
        """Show this client what is run from now on."""
        self.clients[client] = None
        client.monitoring = True
        self._changed()

    def remove(self, client: Client) -> None:
        """Show it nothing more; it may not have been shown anything before."""
        if client.monitoring:
            del self.clients[client]
            client.monitoring = False
            self._changed()

    def show_early(self, client: Client, command: Command, argv: Argv) -> None:
        """A command is about to run: show it if those that it runs are to come after it."""
        if command.flags & SKIP_MONITOR:
            self._show(client, command, argv)

    def show(self, client: Client, command: Command, argv: Argv) -> None:
        """A command has run, in the database that it has selected."""
        if not command.flags & (SKIP_MONITOR | ADMIN):
            self._show(client, command, argv)

    def _show(self, client: Client, command: Command, argv: Argv) -> None:
        seconds, microseconds = divmod(self._now_us(), 1_000_000)
        who = f"unix:{client.addr.removesuffix(':0')}" if client.unix else client.addr
        run = client.host.scripts.running
        if run is not None and run.client is client:
            who = "lua"
        head = f"{seconds}.{microseconds:06d} [{client.db.index} {who}]"
        line = Status(
            b" ".join([head.encode("utf-8", "surrogateescape"), *map(quoted, redacted(command.full_name, argv))])
        )
        for monitor in self.clients:
            monitor.push(line)


ESCAPES = {ord("\\"): b"\\\\", ord('"'): b'\\"', 10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b"}
ESCAPED = [ESCAPES.get(byte, b"%c" % byte if 32 <= byte < 127 else b"\\x%02x" % byte) for byte in range(256)]


def quoted(text: bytes) -> bytes:
    """A word as Redis shows it: in quotes, with what cannot be printed escaped."""
    return b'"%b"' % b"".join([ESCAPED[byte] for byte in text])
