"""A backup is taken: writers are paused, snapshots begin, writers go on, files come.

One attempt is: look who has which slots; pause the writes of all primaries; ask each where its stream is; ask each for
its RDB as a replica would, and let its writers go on once it has begun (`+FULLRESYNC` is said at the moment of the
snapshot: by Redis together with its fork, by Hexad as it begins to walk); take the files; look again. An attempt is
given up, and made anew, when a snapshot is of an earlier moment than the pause (it was begun for another replica), when
the pause may have ended by itself before all had begun, or when slots or primaries have changed meanwhile.

A Redis is not told that we take a payload of unknown length (`capa eof`): it would wait for further replicas
(`repl-diskless-sync-delay`) with its writers paused. So it writes its file first; Hexad streams at once.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio

from hexad.backup.folder import Folder, Sink
from hexad.backup.manifest import BackupError, Manifest, Shard
from hexad.backup.nodes import Layout, Nodes, Primary
from hexad.backup.telling import Teller
from hexad.reach import Address
from hexad.sight import parse_info
from node.net.client import RespClient
from node.net.dialogue import Dialogue, DialogueError
from node.net.resp import Argv, Failure, encode_command

ATTEMPTS_MAX = 5
ATTEMPT_WAIT_S = 1.0
PAUSE_MS = 5000
"""Writers go on by themselves after this, whatever becomes of us."""
PAUSE_MARGIN_MS = 100
"""So long before its end a pause counts as over: our clock and the node's may differ a little."""
BUSY_S_MAX = 600.0
"""How long is waited for a node that writes a file already: a Redis can have one child at a time."""
BUSY_LOOK_S = 0.5
IDLE_S_MAX = 60.0
"""A node that sends nothing for so long is given up. While it writes its file first, it sends empty lines."""
UNPAUSE_S_MAX = 2.0
WRITE_BYTES = 1 << 20
FILE_ONLY = [b"REPLCONF", b"rdb-only", b"1"]
STREAMED = [b"REPLCONF", b"capa", b"eof"]
_CHILDREN = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "module_fork_in_progress")


class Again(Exception):
    """This attempt came to nothing; the next one may not."""


@dataclass(slots=True)
class Source:
    """One primary during an attempt."""

    primary: Primary
    client: RespClient
    sync: Dialogue
    file: str
    info: dict[str, str]
    paused_ms: float = 0.0
    """When we asked for the pause."""
    resumed_ms: float = 0.0
    """When its writers went on; 0 while they may not."""
    offset: int = 0
    """Where its stream was once it was paused."""
    keys: int = 0
    replication_id: str = ""
    snapshot_offset: int = -1

    @property
    def is_hexad(self) -> bool:
        return "hexad_version" in self.info


Step = Callable[[Source], Awaitable[None]]


class Backup:
    """One backup of the cluster, or server, that the node at `seed` is of."""

    def __init__(self, nodes: Nodes, seed: Address, folder: Folder, teller: Teller, pause_ms: int = PAUSE_MS) -> None:
        self.nodes = nodes
        self.seed = seed
        self.folder = folder
        self.teller = teller
        self.pause_ms = pause_ms
        self._platform = nodes.platform

    async def take(self) -> Manifest:
        """Take it. Raises BackupError, OSError; then there is no manifest."""
        self.folder.claim()
        try:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    manifest = await self._attempt()
                except Again as reason:
                    self.folder.clear()
                    if attempt == ATTEMPTS_MAX:
                        raise BackupError(f"{reason}; given up after {attempt} attempts") from None
                    self.teller.say(f"{reason}: once more")
                    await trio.sleep(ATTEMPT_WAIT_S)
                else:
                    self.folder.finish(manifest)
                    return manifest
            raise AssertionError("the last attempt returns or raises")
        except BaseException:
            self.folder.clear()
            raise
        finally:
            self.folder.release()

    async def _attempt(self) -> Manifest:
        layout = await self.nodes.look(self.seed)
        sources: list[Source] = []
        try:
            for number, primary in enumerate(layout.primaries, 1):
                sources.append(await self._open(primary, f"shard-{number}.rdb"))
            await self._all(sources, self._until_idle)
            created_ms = self._platform.now_ms()
            await self._begin_snapshots(sources)
            paused_ms = int(max(map(self._paused_ms, sources)))
            self.teller.say(f"{len(sources)} snapshots have begun; writes were paused for {paused_ms} ms")
            shards = await self._take_files(sources)
            await self._check_unchanged(layout)
            return Manifest(created_ms, layout.clustered, paused_ms, tuple(shards))
        finally:
            for source in sources:
                source.client.close()
                source.sync.socket.close()

    async def _open(self, primary: Primary, file: str) -> Source:
        client = await self.nodes.client(primary.address)
        try:
            info = parse_info(_text(primary, await client.call("INFO")))
            sync = await self.nodes.dialogue(primary.address)
        except BaseException:
            client.close()
            raise
        return Source(primary, client, sync, file, info)

    async def _until_idle(self, source: Source) -> None:
        """Wait until no child of a Redis is at work: it would put ours off, with its writers paused."""
        with trio.move_on_after(BUSY_S_MAX):
            while True:
                info = parse_info(_text(source.primary, await source.client.call("INFO", "persistence")))
                busy = {name for name in _CHILDREN if info.get(name) == "1"}
                if source.is_hexad or not busy:
                    return
                await trio.sleep(BUSY_LOOK_S)
        raise BackupError(f"{source.primary.name} has been writing a file for {BUSY_S_MAX:g} s")

    # --- the pause ------------------------------------------------------------------------------------------------

    async def _begin_snapshots(self, sources: Sequence[Source]) -> None:
        """Pause all, have all snapshots begin, let all go on. Raises Again, BackupError, OSError."""
        try:
            await self._all(sources, self._introduce)
            await self._all(sources, self._pause)
            with trio.move_on_after(self._left_s(sources)):
                await self._all(sources, self._begin_snapshot)
            late = [each.primary.name for each in sources if each.snapshot_offset < 0]
            if late:
                raise Again(f"no snapshot of {', '.join(late)} within {self.pause_ms} ms of pause")
            early = [each.primary.name for each in sources if each.snapshot_offset < each.offset]
            if early:
                raise Again(f"the snapshot of {', '.join(early)} had begun before the pause")
        finally:
            with trio.CancelScope(deadline=trio.current_time() + UNPAUSE_S_MAX, shield=True):
                await self._all(sources, self._unpause)

    def _left_s(self, sources: Sequence[Source]) -> float:
        """How long all are still paused for sure."""
        first_ms = min(source.paused_ms for source in sources)
        left_ms = first_ms + self.pause_ms - PAUSE_MARGIN_MS - self._platform.monotonic_ms()
        return max(0.0, left_ms / 1000)

    def _paused_ms(self, source: Source) -> float:
        """How long its writers were held back."""
        return source.resumed_ms - source.paused_ms if source.resumed_ms else self.pause_ms

    async def _introduce(self, source: Source) -> None:
        """Say beforehand what kind of replica we are."""
        for words in (FILE_ONLY, STREAMED) if source.is_hexad else (FILE_ONLY,):
            reply = await _asked(source, words)
            if reply[:1] == b"-":
                raise BackupError(f"{source.primary.name}: {_shown(reply[1:])}")

    async def _pause(self, source: Source) -> None:
        source.paused_ms = self._platform.monotonic_ms()
        await _order(source, "CLIENT", "PAUSE", self.pause_ms, "WRITE")
        info = parse_info(_text(source.primary, await source.client.call("INFO", "replication")))
        source.offset = int(info.get("master_repl_offset", "0"))
        keys = await source.client.call("DBSIZE")
        source.keys = keys if isinstance(keys, int) else 0

    async def _begin_snapshot(self, source: Source) -> None:
        words = _shown(await _asked(source, [b"PSYNC", b"?", b"-1"])).split()
        if len(words) != 3 or words[0] != "+FULLRESYNC":
            raise BackupError(f"{source.primary.name} gives no snapshot: {' '.join(words)}")
        source.replication_id, source.snapshot_offset = words[1], int(words[2])
        await self._unpause(source)

    async def _unpause(self, source: Source) -> None:
        """Let its writers go on; where that cannot be told any more, the pause ends by itself."""
        if not source.paused_ms or source.resumed_ms:
            return
        with suppress(OSError, BackupError):
            if not source.client.is_open:  # as after a call that was cancelled
                source.client = await self.nodes.client(source.primary.address)
            await source.client.call("CLIENT", "UNPAUSE")
            source.resumed_ms = self._platform.monotonic_ms()

    # --- the files ------------------------------------------------------------------------------------------------

    async def _take_files(self, sources: Sequence[Source]) -> list[Shard]:
        sums: dict[str, tuple[str, int]] = {}

        async def take(source: Source) -> None:
            sums[source.file] = await self._take_file(source)

        with self.teller.progress():
            await self._all(sources, take)
        return [
            Shard(
                source.file,
                sums[source.file][1],
                sums[source.file][0],
                source.primary.slots,
                source.primary.id,
                source.primary.name,
                source.primary.config_epoch,
                source.replication_id,
                source.snapshot_offset,
                source.keys,
                source.info.get("redis_version", ""),
            )
            for source in sources
        ]

    async def _take_file(self, source: Source) -> tuple[str, int]:
        """The checksum and the size of the file, once it is on the disk."""
        header = await _line(source)
        sink = Sink(self.folder, source.file)
        try:
            if header.startswith(b"$EOF:"):
                await self._take_marked(source, sink, header[5:])
            elif header[:1] == b"$" and header[1:].isdigit():
                await self._take_counted(source, sink, int(header[1:]))
            else:
                raise BackupError(f"{source.primary.name} sends no RDB: {_shown(header)}")
            return await self._platform.in_thread(sink.finish), sink.size
        except BaseException:
            sink.abandon()
            raise

    async def _take_marked(self, source: Source, sink: Sink, mark: bytes) -> None:
        """A payload between two marks. Its end may be cut anywhere."""
        waiting = bytearray()
        while not waiting.endswith(mark):
            if len(waiting) > WRITE_BYTES:
                keep = len(waiting) - len(mark)
                await self._write(source, sink, bytes(waiting[:keep]), None)
                del waiting[:keep]
            waiting += await _some(source)
        await self._write(source, sink, bytes(waiting[: -len(mark)]), None)

    async def _take_counted(self, source: Source, sink: Sink, size: int) -> None:
        left, waiting = size, bytearray()
        while left:
            data = await _some(source)
            waiting += data[:left]
            left -= min(left, len(data))
            if len(waiting) > WRITE_BYTES or not left:
                await self._write(source, sink, bytes(waiting), size)
                waiting.clear()

    async def _write(self, source: Source, sink: Sink, data: bytes, total: int | None) -> None:
        await self._platform.in_thread(sink.write, data)
        self.teller.moved(source.file, len(data), total)

    async def _check_unchanged(self, before: Layout) -> None:
        after = await self.nodes.look(self.seed)
        for old in before.primaries:
            if not any((new.id, new.slots) == (old.id, old.slots) for new in after.primaries):
                raise Again(f"{old.name} has other slots, or no place, now")

    async def _all(self, sources: Sequence[Source], step: Step) -> None:
        """Do it for all at once; the first failure is the whole's."""
        failures: list[Exception] = []

        async def one(source: Source) -> None:
            try:
                await step(source)
            except (Again, BackupError, OSError) as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for source in sources:
                nursery.start_soon(one, source)
        if failures:
            raise failures[0]


async def _order(source: Source, *words: str | int) -> None:
    reply = await source.client.call(*words)
    if isinstance(reply, Failure):
        raise BackupError(f"{source.primary.name} refuses {words[0]} {words[1]}: {_shown(reply)}")


async def _asked(source: Source, words: Argv) -> bytes:
    """The line that answers. Raises ConnectionError."""
    try:
        await source.sync.send(encode_command(words))
    except OSError as error:
        raise _lost(source, error) from error
    return await _line(source)


async def _line(source: Source) -> bytes:
    """The next line that says something. Raises ConnectionError."""
    try:
        return await source.sync.patient_line(IDLE_S_MAX)
    except (DialogueError, trio.TooSlowError, OSError) as error:
        raise _lost(source, error) from error


async def _some(source: Source) -> bytes:
    try:
        return await source.sync.some(IDLE_S_MAX)
    except (DialogueError, trio.TooSlowError, OSError) as error:
        raise _lost(source, error) from error


def _lost(source: Source, error: Exception) -> ConnectionError:
    why = f"nothing came for {IDLE_S_MAX:g} s" if isinstance(error, trio.TooSlowError) else str(error)
    return ConnectionError(f"{source.primary.name}: {why}")


def _text(primary: Primary, reply: object) -> bytes:
    if isinstance(reply, Failure) or not isinstance(reply, bytes):
        raise BackupError(f"{primary.name}: {_shown(reply) if isinstance(reply, bytes) else reply!r}")
    return reply


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
