"""A snapshot on its way to the replicas that share it: a Trio task, in slices between requests.

The slowest replica sets the pace, and the snapshot waits for it; one that takes nothing for `repl-timeout` is dropped.
"""

from collections.abc import Callable

import trio

from node.net.peer import CLOSE_NOW
from node.persistence.source import RdbSource
from node.replication.host import ReplicationHost
from node.replication.stream import OUTPUT_BYTES_MAX, Replica, State

SLICE_NS = 1_000_000
"""How long one slice of a snapshot holds the loop, between the requests of clients..."""
SLICE_NS_MAX = 10_000_000
"""...and how long when what is kept for its replicas meanwhile comes near to their output limit."""
AWAKE_MS = 1000
"""How often replicas hear that they have not been forgotten while their snapshot is collected."""

Done = Callable[[list[Replica], bool], None]


class Transfer:
    """One snapshot for a group of replicas. `done` gets those that have all of it, and whether it was streamed."""

    def __init__(self, host: ReplicationHost, group: list[Replica], source: RdbSource, done: Done) -> None:
        self.host = host
        self.group = group
        self.source = source
        self.done = done

    async def run(self, streamed: bool) -> None:
        """Send it all; `streamed` without a length, between two marks, else after its length."""
        try:
            if streamed:
                await self._stream()
            else:
                await self._send_whole()
        finally:
            self.source.close()
            taken = self._taking()
            for replica in self.group:
                replica.drained = _nothing
        self.done(taken, streamed)

    async def _stream(self) -> None:
        mark = self.host.platform.random_hex().encode()
        self._send(b"$EOF:" + mark + b"\r\n")
        while self._taking() and (chunk := self.source.next_chunk(self._slice_ns())) is not None:
            self._send(chunk)
            await self._room()
        self._send(mark)

    async def _send_whole(self) -> None:
        chunks = await self._collect()
        self._send(b"$%d\r\n" % sum(map(len, chunks)))
        for chunk in chunks:
            self._send(chunk)
            await self._room()

    async def _collect(self) -> list[bytes]:
        """All of the snapshot: only its length can be sent before its first byte."""
        chunks: list[bytes] = []
        timers = self.host.timers
        told_ms = timers.monotonic_ms()
        while self._taking() and (chunk := self.source.next_chunk(self._slice_ns())) is not None:
            chunks.append(chunk)
            if timers.monotonic_ms() - told_ms >= AWAKE_MS:
                told_ms = timers.monotonic_ms()
                self._send(b"\n")
            await self.host.platform.checkpoint()
        return chunks

    def _slice_ns(self) -> int:
        """Longer slices for the snapshot slow the writers down, so that it ends before its replicas are too far behind.

        Else a data set that is big for its rate of writes would be copied again and again, each time in vain.
        """
        kept_bytes = max((replica.waiting_bytes for replica in self._taking()), default=0)
        limit = self.host.config["client-output-buffer-limit"]["replica"]
        return slice_ns(kept_bytes, limit.hard_bytes, limit.soft_bytes)

    def _taking(self) -> list[Replica]:
        return [replica for replica in self.group if replica.state is State.TAKING]

    def _send(self, data: bytes) -> None:
        for replica in self._taking():
            replica.session.out += data
            replica.session.touch()
            self.host.stats.stream_output_bytes += len(data)

    async def _room(self) -> None:
        """Until every output has room again, and once round the loop in any case."""
        await self.host.platform.checkpoint()
        for replica in self._taking():
            while len(replica.session.out) > OUTPUT_BYTES_MAX and replica.state is State.TAKING:
                drained = trio.Event()
                replica.drained = drained.set
                with trio.move_on_after(self.host.config["repl-timeout"]) as patience:
                    await drained.wait()
                if patience.cancelled_caught:
                    self.host.log.warning(f"Disconnecting timedout replica (full sync): {replica.name}")
                    replica.give_up()
                    replica.session.close(CLOSE_NOW)


def slice_ns(kept_bytes: int, *limits_bytes: int) -> int:
    """How long a slice may be, with so much kept for a replica; a limit of 0 is none."""
    limit_bytes = min((limit for limit in limits_bytes if limit), default=0)
    if not limit_bytes:
        return SLICE_NS
    share = min(1.0, kept_bytes / limit_bytes)
    return SLICE_NS + int(share * (SLICE_NS_MAX - SLICE_NS))


def _nothing() -> None:
    pass
