"""A replica's end of the link to its primary, once the stream flows: the primary as a client whose word is obeyed.

What the primary sends is run as it came, never refused and never answered (but for acknowledgements), and its bytes are
the journal: the offset is that of the last whole command that was run. What stands between MULTI and EXEC is kept and
run with the EXEC, and counts with it: a link that breaks in between leaves nothing half done.
"""

from collections.abc import Callable
from typing import Any

from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, ProtocolError, encode_command
from node.net.session import Session

Apply = Callable[[Any, Argv], None]


class PrimarySession(Session[Any]):
    """The primary. `apply` runs one command without asking; `on_lost` is told when the link is gone."""

    __slots__ = ("_kept", "_stream", "apply", "last_io_ms", "on_lost")

    def __init__(self, host: Any, session_id: int, apply: Apply, on_lost: Callable[[str], None]) -> None:
        super().__init__(host, session_id, host.keyspace.databases[0], host.new_parser())
        self.apply = apply
        self.on_lost = on_lost
        self.kind = b"master"
        self.last_io_ms = host.timers.monotonic_ms()
        self._stream = bytearray()  # bytes that are not in the journal yet
        self._kept: list[Argv] | None = None  # commands of an open transaction

    def receive(self, data: bytes) -> None:
        self.last_io_ms = self.host.timers.monotonic_ms()
        self.host.stats.stream_input_bytes += len(data)
        self.received_bytes += len(data)
        self._stream += data
        self.parser.feed(data)
        self.proceed()

    def proceed(self) -> None:
        """Apply what has arrived: one read at a time, so that the clients have their turns in between."""
        keyspace = self.host.keyspace
        keyspace.obeying = True
        try:
            while commands := self.parser.parse():
                self.commands = commands
                for self.served, argv in enumerate(commands):
                    self._take(argv)
                self.served = len(commands)
                self._commit()
        except ProtocolError as error:
            self.host.log.warning(f"Protocol error ({error}) from master: the link is of no use any more")
            self.close(CLOSE_NOW)
        finally:
            keyspace.obeying = False

    def _take(self, argv: Argv) -> None:
        name = argv[0].upper()
        if name == b"MULTI":
            self._commit()
            self._kept = []
        elif self._kept is None:
            if name == b"REPLCONF" and len(argv) > 1 and argv[1].upper() == b"GETACK":
                self._commit()
                self.acknowledge()
            else:
                self.apply(self, argv)
        elif name == b"EXEC":
            kept, self._kept = self._kept, None
            for kept_argv in kept:
                self.apply(self, kept_argv)
        else:
            self._kept.append(argv)

    def _commit(self) -> None:
        """What has been applied is in the journal, as the bytes that came."""
        if self._kept is not None:
            return
        waiting = sum(len(encode_command(argv)) for argv in self.commands[self.served :])
        count = len(self._stream) - self.parser.unparsed_bytes - waiting
        if count > 0:
            self.host.journal.append_to_stream(bytes(self._stream[:count]))
            del self._stream[:count]

    def acknowledge(self) -> None:
        """Tell the primary how far this replica is."""
        self.out += encode_command([b"REPLCONF", b"ACK", b"%d" % self.host.journal.offset])
        self.touch()

    def lost(self, reason: str) -> None:
        self.on_lost(reason)
