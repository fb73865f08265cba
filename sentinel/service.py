"""A Sentinel put together: its machine, its configuration file, and what the machine asks of the node around it."""

from __future__ import annotations

from node.net.resp import CommandError, Reply
from node.server import Server
from sentinel import conf
from sentinel.core import Core
from sentinel.drive import Drive
from sentinel.events import Event, SentinelError
from sentinel.machine import SentinelMachine
from sentinel.state import State

NOT_SAVED = CommandError("ERR Failed to save config file. Check server logs.")


class SentinelService:
    """One Sentinel, and the machine's `Facts`."""

    def __init__(self, server: Server, state: State) -> None:
        self.server = server
        self.machine = SentinelMachine(state, self, server.platform.random)
        self.drive = Drive(server, self.machine, self.save)

    @property
    def core(self) -> Core:
        return self.machine.core

    def look(self) -> Core:
        """The machine's view, for a report of this moment."""
        self.core.now_ms = self.server.platform.now_ms()
        return self.core

    def order(self, event: Event, *, must_save: bool = False) -> Reply:
        """Carry out a client's order; `must_save`: the client is to hear if the file could not be written.

        Raises CommandError for what is refused.
        """
        try:
            reply = self.drive.handle(event)
        except SentinelError as error:
            raise CommandError(str(error)) from None
        if must_save and self.machine.state.unsaved:
            raise NOT_SAVED
        return reply

    def save(self) -> None:
        """Write the configuration file: the node's directives and what the machine remembers. Raises OSError."""
        platform, path = self.server.platform, self.server.config_file
        old = platform.read_file(path).decode("utf-8", "surrogateescape") if platform.exists(path) else ""
        text = self.server.config.rewrite(old, conf.wanted_lines(self.machine.state))
        platform.replace_file(path, text.encode("utf-8", "surrogateescape"))

    # --- the machine's facts --------------------------------------------------------------------------------------

    def port(self) -> int:
        config = self.server.config
        return int(config["tls-port"] if config["tls-replication"] and config["tls-port"] else config["port"])

    def password(self) -> str:
        return str(self.server.config["requirepass"])

    def resolve(self, host: str) -> str:
        return self.server.platform.resolve_now(host)

    def is_executable(self, path: str) -> bool:
        return self.server.platform.is_executable(path)
