"""A snapshot on its way to the replicas that share it: a Trio task, in slices between requests.

It comes from the keyspace as that is walked (`Streaming`), or from a file in which it lies already (`FromFile`). The
slowest replica sets the pace, and the snapshot waits for it; one that takes nothing for `repl-timeout` is dropped.
"""

from collections.abc import Callable, Iterable
from typing import IO

import trio

from node.net.peer import CLOSE_NOW
from node.persistence.slowness import rest_after_saving
from node.persistence.source import CHUNK_BYTES, RdbSource
from node.replication.host import ReplicationHost
from node.replication.stream import OUTPUT_BYTES_MAX, Replica, State

SLICE_NS = 1_000_000
"""How long one slice of a snapshot holds the loop, between the requests of clients..."""
SLICE_NS_MAX = 10_000_000
"""...and how long when what is kept for its replicas meanwhile comes near to their output limit."""
LOOK_S = 1
"""How often a replica that takes nothing is looked at: `repl-timeout` may be set meanwhile."""
Done = Callable[[list[Replica]], None]


class Transfer:
    """One snapshot for a group of replicas. `done` gets those that have all of it."""

    def __init__(self, host: ReplicationHost, group: list[Replica], done: Done) -> None:
        self.host = host
        self.group = group
        self.done = done

    async def run(self) -> None:
        """Send it all."""
        try:
            await self._send_all()
        finally:
            self._close()
            taken = self._taking()
            for replica in self.group:
                replica.drained = _nothing
        self.done(taken)

    async def _send_all(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

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
            since_ms = self.host.timers.monotonic_ms()
            while len(replica.session.out) > OUTPUT_BYTES_MAX and replica.state is State.TAKING:
                drained = trio.Event()
                replica.drained = drained.set
                with trio.move_on_after(LOOK_S):
                    await drained.wait()
                    since_ms = self.host.timers.monotonic_ms()
                if self.host.timers.monotonic_ms() - since_ms > self.host.config["repl-timeout"] * 1000:
                    self.host.log.warning(f"Disconnecting timedout replica (full sync): {replica.name}")
                    replica.give_up()
                    replica.session.close(CLOSE_NOW)


class Streaming(Transfer):
    """Without a length, between two marks, since nobody knows yet how long it becomes."""

    def __init__(self, host: ReplicationHost, group: list[Replica], source: RdbSource, done: Done) -> None:
        super().__init__(host, group, done)
        self._source = source

    async def _send_all(self) -> None:
        host, source = self.host, self._source
        host.saver.streamed[source] = host.timers.monotonic_ms()
        host.log.notice(f"Background RDB transfer started by pid {host.platform.pid}")
        mark = host.platform.random_hex().encode()
        self._send(b"$EOF:" + mark + b"\r\n")
        while taking := self._taking():
            chunk = source.next_chunk(slice_for(host, taking))
            if chunk is None:
                host.log.notice(f"Diskless rdb transfer, done reading from pipe, {len(taking)} replicas still up.")
                self._send(mark)
                host.log.notice("Background RDB transfer terminated with success")
                return
            self._send(chunk)
            await self._room()
            await rest_after_saving(host, source.keys_step, lambda: bool(self._taking()))
        host.log.notice("Diskless rdb transfer, last replica dropped, killing fork child.")
        host.log.warning("Background transfer terminated by signal 10")

    def _close(self) -> None:
        self._source.close()
        self.host.saver.streamed.pop(self._source, None)


class FromFile(Transfer):
    """After its length. Another file may take its name meanwhile: it was opened before."""

    def __init__(self, host: ReplicationHost, group: list[Replica], file: IO[bytes], size: int, done: Done) -> None:
        super().__init__(host, group, done)
        self._file = file
        self._size = size

    async def _send_all(self) -> None:
        self._send(b"$%d\r\n" % self._size)
        read, left = self._file.read, self._size
        try:
            while left and self._taking():
                chunk = await self.host.platform.in_thread(read, CHUNK_BYTES)
                if not chunk:
                    raise OSError("the file is shorter than it was")
                left -= len(chunk)
                self._send(chunk)
                await self._room()
        except OSError as error:
            self.host.log.warning(f"Read error sending DB to replica: {error.strerror or error}")
            for replica in self._taking():
                replica.give_up()
                replica.session.close(CLOSE_NOW)

    def _close(self) -> None:
        self._file.close()


def slice_for(host: ReplicationHost, replicas: Iterable[Replica]) -> int:
    """How long a slice of these replicas' snapshot may hold the loop, in ns.

    Longer slices slow the writers down, so that it ends before its replicas are too far behind. Else a data set that is
    big for its rate of writes would be copied again and again, each time in vain.
    """
    if host.config.rdb_key_save_delay:
        return 0  # each key is to be slow: as few as can be
    kept_bytes = max((replica.waiting_bytes for replica in replicas), default=0)
    limit = host.config["client-output-buffer-limit"]["replica"]
    return slice_ns(kept_bytes, limit.hard_bytes, limit.soft_bytes)


def slice_ns(kept_bytes: int, *limits_bytes: int) -> int:
    """How long a slice may be, with so much kept for a replica; a limit of 0 is none."""
    limit_bytes = min((limit for limit in limits_bytes if limit), default=0)
    if not limit_bytes:
        return SLICE_NS
    share = min(1.0, kept_bytes / limit_bytes)
    return SLICE_NS + int(share * (SLICE_NS_MAX - SLICE_NS))


def _nothing() -> None:
    pass
