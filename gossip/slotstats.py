"""CLUSTER SLOT-STATS: what each slot of our shard costs, counted while `cluster-slot-stats-enabled` says so.

How it costs nothing while it is off.  A session runs a command by itself if its slot is served without a question.
While counting is on, the service shows it a table in which no slot is, so that each command with keys goes the careful
way, and there `execute` stands in front of the node's own.  What is counted: the time that the command ran (a
transaction or a script as one), its bytes as they came, its reply, and what it sent to replicas and to subscribers of a
shard channel.  What a replica takes from its primary's stream is not counted there, nor a reply that a command had to
wait for.
"""

from __future__ import annotations

from collections.abc import Callable

from node.net.resp import Argv, Encoded, Reply, encode
from node.net.session import PARKED
from node.server import Client, Server
from node.slots import SLOTS, slot_of
from node.table import CONTAINER, Command

METRICS = (b"cpu-usec", b"network-bytes-in", b"network-bytes-out")
NOT_COUNTED = (0, 0, 0)


class SlotStats:
    """Counts by slot.  `words` tells the keys, or shard channels, of a command."""

    def __init__(self, server: Server, words: Callable[[Command, Argv], list[bytes] | None]) -> None:
        self.server = server
        self.words = words
        self.counts: dict[int, list[int]] = {}
        """By slot: nanoseconds, bytes in, bytes out.  Only slots that were used."""
        self.is_on = False
        self._execute = server.execute

    def switch(self, on: bool) -> None:
        """Begin to count, or stop; what was counted is forgotten then."""
        if on == self.is_on:
            return
        self.is_on = on
        self.counts.clear()
        if on:
            self._execute, self.server.execute = self.server.execute, self.execute
        else:
            self.server.execute = self._execute

    def keep(self, slots: int) -> None:
        """Forget slots that are no longer our shard's.

        slots -- bitmap of those that are.
        """
        for slot in [slot for slot in self.counts if not slots >> slot & 1]:
            del self.counts[slot]

    def of(self, slot: int) -> tuple[int, int, int]:
        """CPU in microseconds, bytes in, bytes out."""
        busy_ns, received, sent = self.counts.get(slot, NOT_COUNTED)
        return busy_ns // 1000, received, sent

    def execute(self, client: Client, argv: Argv) -> Reply:
        """Run a command the careful way and count it for its slot, unless it has none or waits for EXEC."""
        transaction = client.transaction
        ends = transaction is not None and argv[0].lower() == b"exec"
        queued = transaction.commands if transaction is not None and ends else []
        slot = self._slot_of(queued if ends else [(self._meant(argv), argv)])
        if slot is None or (transaction is not None and not ends):
            return self._execute(client, argv)
        received = sum(_wire_bytes(words) for _, words in queued) + _wire_bytes(argv)
        offset, started = self.server.journal.offset, self.server.clock_ns()
        reply = self._execute(client, argv)
        busy_ns = self.server.clock_ns() - started
        out = bytearray()
        if reply is not PARKED:
            encode(reply, out, client.resp3)
        elif client.parked is not None and client.parked.postponed:
            return reply  # it has not begun, and comes here again
        if out.startswith((b"-MOVED", b"-ASK", b"-CLUSTERDOWN", b"-CROSSSLOT")):
            return reply  # it was not served here
        counts = self.counts.setdefault(slot, [0, 0, 0])
        counts[0] += busy_ns
        counts[1] += received
        replicas = len(self.server.replication.primary.stream.replicas)
        counts[2] += len(out) + (self.server.journal.offset - offset) * replicas
        if argv[0].lower() == b"spublish" and type(reply) is int:
            counts[2] += reply * _wire_bytes([b"smessage", *argv[1:]])
        return reply if reply is PARKED else Encoded(bytes(out))

    def _meant(self, argv: Argv) -> Command | None:
        command = self.server.commands.find(argv[0])
        if command is not None and command.flags & CONTAINER and len(argv) > 1:
            command = command.subcommands.get(argv[1].lower())
        return command if command is not None and command.takes(len(argv)) else None

    def _slot_of(self, commands: list[tuple[Command | None, Argv]] | list[tuple[Command, Argv]]) -> int | None:
        """The slot of the first key that is named."""
        for command, argv in commands:
            keys = self.words(command, argv) if command is not None else None
            if keys:
                return slot_of(keys[0])
        return None


def _wire_bytes(argv: Argv) -> int:
    """How long these words are as a RESP array of bulk strings."""
    return sum(len(word) + len(str(len(word))) + 5 for word in argv) + len(str(len(argv))) + 3


NO_SLOT_IS_MINE = bytearray(SLOTS)
"""What a session is shown instead of the served slots while commands are counted."""
