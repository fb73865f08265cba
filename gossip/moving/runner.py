"""The source as a client of the target: its commands are run as they come, on a database that nobody sees.

They are never refused and never answered, and what they change is journalled.  One that fails would leave something
else here than there: it ends the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.keyspace.database import Database
from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, CommandError, Failure, ProtocolError
from node.net.session import Session
from node.table import WRITE, Command

SYNCSLOTS = b"SYNCSLOTS"


class Unfit(Exception):
    """The source has sent something that cannot be run here; the text tells what."""


class Arriving:
    """What the source's session is here, beside a client."""

    letter = "o"
    """In CLIENT LIST's flags."""
    waiting_bytes = 0

    def sent(self) -> None:
        """Its output has left."""

    def lost(self) -> None:
        """The session itself tells."""


class SourceSession(Session[Any]):
    """The source's end of the link.  `heard` gets its words that are no commands, none at all after each read."""

    __slots__ = ("_ended", "_heard", "_kept", "_on_lost", "_started_bytes")

    def __init__(self, host: Any, db: Database, heard: Callable[[Argv], None], on_lost: Callable[[], None]) -> None:
        super().__init__(host, 0, db, host.new_parser())
        self.may_block = False
        self.role = Arriving()
        self._heard = heard
        self._on_lost = on_lost
        self._ended = False
        self._kept: list[Argv] | None = None  # commands of an open transaction

    @property
    def run_bytes(self) -> int:
        """How much of the stream has been run."""
        return self.received_bytes - self.parser.unparsed_bytes

    def end(self) -> None:
        """Nothing that comes is run any more."""
        self._ended = True

    def receive(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self.last_active_ms = self.host.keyspace.now_ms
        self.host.stats.stream_input_bytes += len(data)
        self.parser.feed(data)
        self.proceed()

    def proceed(self) -> None:
        """Run what has arrived: one read at a time, so that the clients have their turns in between."""
        if self._ended:
            return
        self.more = self.host.time_stands_still
        if self.more:
            return  # a long script runs: nothing may change under it
        if self.host.keyspace.paused:  # a manual failover has told its offset, which must not move
            self._heard([b"ERROR", b"again", b"writes are paused here"])
            return
        try:
            while not self._ended and (commands := self.parser.parse()):
                self._run(commands)
        except (ProtocolError, Unfit) as error:
            self.close(CLOSE_NOW)
            self._heard([b"ERROR", b"never", str(error).encode("utf-8", "replace")])
            return
        if not self._ended:
            self._heard([])

    def _run(self, commands: list[Argv]) -> None:
        at, count = 0, len(commands)
        while at < count and not self._ended:
            argv = commands[at]
            at += 1
            if argv[0] == b"CLUSTER" and argv[1:2] == [SYNCSLOTS]:
                self._heard(argv[2:])
            elif argv[0].upper() == b"MULTI":
                self._kept = []
            elif self._kept is None:
                self._apply([argv])
            elif argv[0].upper() == b"EXEC":
                kept, self._kept = self._kept, None
                self._run_unit(kept)
            else:
                self._kept.append(argv)

    def _run_unit(self, commands: list[Argv]) -> None:
        """A transaction: one unit in our journal, too."""
        journal = self.host.journal
        journal.begin_unit()
        try:
            self._apply(commands)
        finally:
            journal.end_unit()

    def _apply(self, commands: list[Argv]) -> None:
        """Run commands as a replica does: nothing expires by itself, and nobody listens.  Raises Unfit."""
        keyspace = self.host.keyspace
        listening, keyspace.listening, keyspace.obeying = keyspace.listening, False, True
        try:
            for argv in commands:
                dirty = keyspace.dirty
                command = self._command(argv)
                try:
                    reply = command.run(self, argv)
                except CommandError as error:
                    reply = error.reply
                if type(reply) is Failure:
                    raise Unfit(f"{command.full_name} of the source fails here: {reply.decode('utf-8', 'replace')}")
                if keyspace.dirty != dirty:
                    keyspace.commit(0, argv)
        finally:
            keyspace.listening, keyspace.obeying = listening, False
        self.host.commands_processed += len(commands)

    def _command(self, argv: Argv) -> Command:
        commands = self.host.commands
        command: Command | None = self.host.words.get(argv[0]) or commands.find(argv[0]) or commands.original(argv[0])
        if command is None or not command.takes(len(argv)) or not command.flags & WRITE:
            raise Unfit(f"the source sends what is no write: {argv[0][:40]!r}")
        return command

    def lost(self, reason: str) -> None:
        self.host.session_lost(self)
        if not self._ended:
            self._ended = True
            self._on_lost()
