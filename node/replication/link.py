"""A replica's end of the link to its primary, once the stream flows: the primary as a client whose word is obeyed.

What the primary sends is run as it came, never refused and never answered (but for acknowledgements), and its bytes are
the journal: the offset is that of the last whole command that was run. What stands between MULTI and EXEC is kept and
run with the EXEC as one unit, and counts with it: a link that breaks in between leaves nothing half done, and whoever
waits for its keys is served after it.

Nothing is counted command by command. What has been read and is not unparsed counts when a read has been run; only
where a transaction begins or an acknowledgement is due, the commands before it are measured.
"""

from collections.abc import Callable
from typing import Any

from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, ProtocolError, encode_command
from node.net.session import Session

MARKS = frozenset({b"MULTI", b"EXEC", b"REPLCONF"})
"""Commands that the link itself has to do with."""

Apply = Callable[[Any, list[Argv], int], int]
"""Runs commands from a place on, one at least and none that is of `MARKS` but the first; returns where it stopped."""


class PrimarySession(Session[Any]):
    """The primary. `apply` runs commands without asking; `on_lost` is told when the link is gone."""

    __slots__ = (
        "_counted",
        "_kept",
        "_open_bytes",
        "_owes_fack",
        "_stream",
        "acknowledges",
        "apply",
        "last_io_ms",
        "on_lost",
    )

    def __init__(self, host: Any, apply: Apply, on_lost: Callable[[str], None]) -> None:
        journal = host.journal
        super().__init__(host, 0, host.keyspace.databases[max(0, journal.stream_db)], host.new_parser())
        self.apply = apply
        self.on_lost = on_lost
        self.kind = b"master"
        self.may_block = False
        self.acknowledges = True  # a primary that was asked by SYNC knows no offsets
        self.last_io_ms = host.timers.monotonic_ms()
        self._owes_fack = False  # the last acknowledgement told of more than was fsynced then
        self._stream = bytearray()  # bytes that are not in the journal yet
        self._counted = 0  # how many of the `commands` at hand have been counted
        self._kept: list[Argv] | None = None  # commands of an open transaction...
        self._open_bytes = 0  # ...and how much of it came with earlier reads

    def receive(self, data: bytes) -> None:
        host = self.host
        self.last_io_ms = host.timers.monotonic_ms()
        self.last_active_ms = host.keyspace.now_ms
        host.stats.stream_input_bytes += len(data)
        self.received_bytes += len(data)
        self._stream += data
        self.parser.feed(data)
        self.proceed()

    def proceed(self) -> None:
        """Apply what has arrived: one read at a time, so that the clients have their turns in between."""
        keyspace = self.host.keyspace
        self.more = self.host.time_stands_still
        if self.more:
            return  # a long script runs: nothing may change under it
        if keyspace.paused:
            self.host.clients.hold(self)
            return
        keyspace.obeying = True
        try:
            while commands := self.parser.parse():
                self._run(commands)
            self._count_all()
        except ProtocolError as error:
            self.host.log.warning(f"Protocol error ({error}) from master: the link is of no use any more")
            self.close(CLOSE_NOW)
        finally:
            keyspace.obeying = False

    def run_again(self) -> None:
        """What a pause has held back: none of it was begun, so there is nothing to take back."""

    def _run(self, commands: list[Argv]) -> None:
        self.commands = commands
        self._counted = 0
        at, count, apply = 0, len(commands), self.apply
        while at < count:
            name = commands[at][0].upper()
            if self._kept is None and name not in MARKS:
                at = apply(self, commands, at)
            else:
                self.served = at
                self._take(name, commands[at])
                at += 1
        self.served = len(commands)
        self.host.commands_processed += len(commands)
        self._count_all()

    def _take(self, name: bytes, argv: Argv) -> None:
        """A command that is marked, or that stands in a transaction."""
        if self._kept is None:
            self._count_before()
            if name == b"MULTI":
                self._kept = []
            else:
                self._obey(argv)
        elif name == b"EXEC":
            kept, self._kept = self._kept, None
            self._run_unit(kept)
        else:
            self._kept.append(argv)

    def _run_unit(self, commands: list[Argv]) -> None:
        """A transaction: one unit in our file, too, and who waits for its keys sees none of it before all of it."""
        journal, waiters = self.host.journal, self.host.keyspace.waiters
        journal.begin_unit()
        try:
            at = 0
            while at < len(commands):
                if commands[at][0].upper() in MARKS:
                    self._obey(commands[at])
                    at += 1
                else:
                    at = self.apply(self, commands, at)
        finally:
            journal.end_unit()
        if waiters.appeared:
            waiters.serve()

    def _obey(self, argv: Argv) -> None:
        if argv[0].upper() == b"REPLCONF" and len(argv) > 1 and argv[1].upper() == b"GETACK":
            self.acknowledge()
        else:
            self.apply(self, [argv], 0)

    # --- counting -------------------------------------------------------------------------------------------------

    def _count_before(self) -> None:
        """The commands before the one at hand are in the journal."""
        sizes = (len(encode_command(argv)) for argv in self.commands[self._counted : self.served])
        self._commit(self._open_bytes + sum(sizes))
        self._counted = self.served

    def _count_all(self) -> None:
        """All that has been run is in the journal; an open transaction has not been run."""
        bytes_taken = len(self._stream) - self.parser.unparsed_bytes
        if self._kept is None:
            self._commit(bytes_taken)
        else:
            self._open_bytes = bytes_taken

    def _commit(self, count: int) -> None:
        journal = self.host.journal
        self._open_bytes = 0
        journal.stream_db = self.db.index
        if count > 0:
            journal.append_to_stream(bytes(self._stream[:count]))
            del self._stream[:count]

    # --- the other direction --------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """Tell the primary how far this replica is."""
        if self.acknowledges:
            offset, fsynced = self.host.journal.offset, self.host.replication.fsynced_offset()
            words = [b"REPLCONF", b"ACK", b"%d" % offset]
            self._owes_fack = fsynced is not None and fsynced < offset
            if fsynced is not None:
                words += [b"FACK", b"%d" % fsynced]
            self.out += encode_command(words)
            self.touch()

    def made_durable(self) -> None:
        """What was acknowledged last has been fsynced meanwhile: a primary may wait for that (WAITAOF)."""
        if self._owes_fack:
            self.acknowledge()

    def close(self, how: int = CLOSE_NOW) -> None:
        """The link counts as gone from now on: what runs in the same batch sees that, and it may run for long."""
        super().close(how)
        self.on_lost("closed")

    def lost(self, reason: str) -> None:
        self.host.session_lost(self)
        self.on_lost(reason)
