"""Commands of an append-only file, run again: nothing stands against them, nobody gets their replies, nothing is told.

The file may name a command as it was called before `rename-command`. What is not a command at all ends the load.
"""

from node.dispatch import meant
from node.net.resp import Argv, CommandError, Failure
from node.net.session import Session
from node.persistence.aofload import UnknownCommand
from node.server import Client, Server
from node.table import CONTAINER, Command


class Replay:
    """Runs commands for a client of its own. `is_open`: MULTI has been read, and EXEC is still to come."""

    def __init__(self, server: Server) -> None:
        self.is_open = False
        self._server = server
        self._kept: list[tuple[Command, Argv]] = []  # what has come of an open transaction
        self._client: Client | None = None
        self._multi = server.commands.find(b"multi") or server.commands.original(b"multi")

    def begin(self) -> None:
        """A new file begins: with database 0 selected, and no transaction."""
        self.is_open = False
        self._kept = []
        if self._client is None:
            self._client = _client(self._server)
        self._client.db = self._server.keyspace.databases[0]

    def run(self, commands: list[Argv]) -> None:
        """Run them; those of a transaction at its EXEC. Raises UnknownCommand."""
        client, keyspace = self._client, self._server.keyspace
        assert client is not None
        find, multi, is_open = self._server.words.get, self._multi, self.is_open
        for index, argv in enumerate(commands):
            command = find(argv[0])
            if (
                command is None
                or command.flags & CONTAINER
                or (len(argv) != command.arity and (command.arity > 0 or len(argv) < -command.arity))
            ):
                command = self._find(argv, index)
            if command is multi or is_open:
                self._keep(client, command, argv)
                is_open = self.is_open
                continue
            try:
                reply = command.run(client, argv)
            except CommandError as error:
                reply = error.reply
            if type(reply) is Failure:
                self._failed(command, reply)
            if keyspace.effects is not None:
                keyspace.effects = None

    def _find(self, argv: Argv, index: int) -> Command:
        table = self._server.commands
        command = table.find(argv[0]) or table.original(argv[0])
        found = None if command is None else meant(command, argv)
        if not isinstance(found, Command):
            raise UnknownCommand(argv[0], index)
        return found

    def _keep(self, client: Client, command: Command, argv: Argv) -> None:
        if command is self._multi:
            self.is_open = True
        elif command.full_name != "exec":
            self._kept.append((command, argv))
        else:
            self.is_open = False
            kept, self._kept = self._kept, []
            for kept_command, kept_argv in kept:
                try:
                    reply = kept_command.run(client, kept_argv)
                except CommandError as error:
                    reply = error.reply
                if type(reply) is Failure:
                    self._failed(kept_command, reply)
                self._server.keyspace.effects = None

    def _failed(self, command: Command, failure: Failure) -> None:
        self._server.log.warning(
            f"== CRITICAL == This server is sending an error to its AOF-loading-client: "
            f"'{failure.decode('latin-1')}' after processing the command '{command.full_name}'"
        )


def _client(server: Server) -> Client:
    """A client without a connection, which may do anything and waits for nothing."""
    client: Client = Session(server, 0, server.keyspace.databases[0], server.new_parser())
    client.may_block = False
    return client
