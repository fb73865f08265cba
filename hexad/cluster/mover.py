"""Slots on their way from one primary to another: two ways behind one interface, `Mover`.

`AtomicMover` lets Hexad nodes do it by themselves (CLUSTER MIGRATION IMPORT): a snapshot, then what changed, then one
moment at which the slots change hands. `MigrateMover` works with every Redis: slot by slot, key by key, as redis-cli
does it. Either may be cut short at any point, and be begun again for the same slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from hexad.cluster.access import Access, Word, refused, says
from hexad.cluster.picture import ClusterError, Node
from hexad.sight import ranges_of
from node.net.resp import Failure, Reply

OPEN_MAX = 16
"""So many slots are open at a time: their SETSLOTs share one round trip, and one fsync of each node's nodes.conf."""
MIGRATE_TIMEOUT_MS = 60_000
"""For one MIGRATE: a big value takes its time, and a Redis stands still meanwhile."""
MIGRATE_TRIES_MAX = 3
"""So often MIGRATE is sent again after the link between the two nodes broke."""
TASK_TIMEOUT_S = 3600.0
"""For one atomic migration, and for those of others that are under way at its target."""
PACED_SLOTS = 16
"""In one atomic migration, where there is to be a rest in between."""
TASK_LOOK_S = 0.1
CANCEL_TIMEOUT_S = 2.0
STATES_WELL, STATES_ENDED = ("completed",), ("completed", "failed", "canceled", "cancelled")

Progress = Callable[[int, int], None]
"""Called with how many more slots, and how many more keys, have moved."""


class WorldChanged(Exception):
    """A node is not what the plan took it for: look again, plan anew. The text says what was seen."""


@dataclass(frozen=True)
class Pace:
    """How fast keys may move. Zero is no limit."""

    batch_keys: int = 100
    """Keys in one MIGRATE."""
    keys_per_s: float = 0
    pause_ms: float = 0
    """A rest for each slot that has moved."""

    @property
    def is_slow(self) -> bool:
        return bool(self.keys_per_s or self.pause_ms)

    async def rest(self, keys: int) -> None:
        if self.keys_per_s and keys:
            await trio.sleep(keys / self.keys_per_s)

    async def rest_after(self, slots: int) -> None:
        if self.pause_ms:
            await trio.sleep(self.pause_ms * slots / 1000)


class Mover(Protocol):
    """Moves slots with their keys. Raises OSError, WorldChanged, ClusterError."""

    async def move(self, source: Node, target: Node, slots: Sequence[int], progress: Progress) -> None: ...


async def mover_for(access: Access, source: Node, target: Node, pace: Pace) -> Mover:
    """The best way that both nodes know."""
    atomic = [await _knows_migration(access, node) for node in (source, target)]
    return AtomicMover(access, pace) if all(atomic) else MigrateMover(access, pace)


async def _knows_migration(access: Access, node: Node) -> bool:
    reply = await access.ask(node.address, "COMMAND", "INFO", "cluster|migration")
    return isinstance(reply, list) and bool(reply) and isinstance(reply[0], list)


# --- slot by slot -----------------------------------------------------------------------------------------------------


class MigrateMover:
    """SETSLOT and MIGRATE.

    The source serves a key for as long as it has it, and only then sends clients on with ASK. So when a run was cut
    short between the copy at the target and its deletion at the source, the source's copy is the right one: a key that
    the target has already is replaced.
    """

    def __init__(self, access: Access, pace: Pace) -> None:
        self._access = access
        self._pace = pace

    async def move(self, source: Node, target: Node, slots: Sequence[int], progress: Progress) -> None:
        for start in range(0, len(slots), OPEN_MAX):
            part = slots[start : start + OPEN_MAX]
            for slot, keys in (await self._open(source, target, part)).items():
                while keys:
                    await self._send(source, target, keys)
                    progress(0, len(keys))
                    await self._pace.rest(len(keys))
                    keys = await self._list(source, slot)
            await self._hand_over(source, target, part)
            progress(len(part), 0)
            await self._pace.rest_after(len(part))

    async def _open(self, source: Node, target: Node, slots: Sequence[int]) -> dict[int, list[bytes]]:
        """Open slots on both sides, the target first: it must let clients in before they are sent.

        Returns their first keys. Of a slot that the target has already only the source is still to be told.
        """
        replies = await self._setslot(target, slots, "IMPORTING", source.id)
        arriving = []
        for slot, reply in zip(slots, replies, strict=True):
            if not isinstance(reply, Failure):
                arriving.append(slot)
            elif not says(reply, b"already the owner"):
                raise WorldChanged(str(refused(target.address, ["SETSLOT", slot, "IMPORTING"], reply)))
        for slot, reply in zip(arriving, await self._setslot(source, arriving, "MIGRATING", target.id), strict=True):
            if isinstance(reply, Failure):
                raise WorldChanged(str(refused(source.address, ["SETSLOT", slot, "MIGRATING"], reply)))
        commands: list[list[Word]] = [["CLUSTER", "GETKEYSINSLOT", slot, self._pace.batch_keys] for slot in arriving]
        lists = await self._access.ask_all(source.address, commands)
        if refusal := next((reply for reply in lists if isinstance(reply, Failure)), None):
            raise WorldChanged(str(refused(source.address, ["CLUSTER", "GETKEYSINSLOT"], refusal)))
        return dict(zip(arriving, lists, strict=True))

    async def _setslot(self, node: Node, slots: Sequence[int], *words: Word) -> list[Reply]:
        return await self._access.ask_all(node.address, [["CLUSTER", "SETSLOT", slot, *words] for slot in slots])

    async def _list(self, node: Node, slot: int) -> list[bytes]:
        reply = await self._access.order(node.address, "CLUSTER", "GETKEYSINSLOT", slot, self._pace.batch_keys)
        return list(reply)

    async def _send(self, source: Node, target: Node, keys: Sequence[bytes]) -> None:
        for tries in range(MIGRATE_TRIES_MAX):
            reply = await migrate(self._access, source, target, keys, replace=True)
            if not isinstance(reply, Failure):
                return
            if not reply.startswith(b"IOERR") or tries == MIGRATE_TRIES_MAX - 1:
                raise WorldChanged(str(refused(source.address, ["MIGRATE", *target.address], reply)))

    async def _hand_over(self, source: Node, target: Node, slots: Sequence[int]) -> None:
        """The target first: from then on the slots have an owner whatever happens to the source."""
        for node in (target, source):
            for slot, reply in zip(slots, await self._setslot(node, slots, "NODE", target.id), strict=True):
                if not isinstance(reply, Failure):
                    continue
                if node is source and says(reply, b"only with masters"):
                    continue  # it gave its last slot away, and is a replica of the target now
                raise WorldChanged(str(refused(node.address, ["SETSLOT", slot, "NODE"], reply)))


async def migrate(access: Access, source: Node, target: Node, keys: Sequence[bytes], *, replace: bool) -> Reply:
    """Let keys go from a node to another one; the source's reply."""
    host, port = target.me.host or target.address[0], target.me.port
    words: list[Word] = ["MIGRATE", host, port, "", 0, MIGRATE_TIMEOUT_MS, *(["REPLACE"] if replace else [])]
    words += [*access.migrate_auth(target.address), "KEYS", *keys]
    return await access.ask(source.address, *words, timeout_ms=MIGRATE_TIMEOUT_MS + access.timeout_ms)


# --- atomically -------------------------------------------------------------------------------------------------------


class AtomicMover:
    """CLUSTER MIGRATION: the target fetches the slots, and tells how far it is."""

    def __init__(self, access: Access, pace: Pace) -> None:
        self._access = access
        self._pace = pace

    async def move(self, source: Node, target: Node, slots: Sequence[int], progress: Progress) -> None:
        size = PACED_SLOTS if self._pace.is_slow else max(1, len(slots))
        for start in range(0, len(slots), size):
            part = slots[start : start + size]
            with trio.move_on_after(TASK_TIMEOUT_S):
                await self._others_over(target)
                keys = await self._import(target, part, progress)
                progress(len(part), 0)
                await self._pace.rest(keys)
                await self._pace.rest_after(len(part))
                continue
            raise ClusterError(f"{target.name}: the migration of slots is not over after {TASK_TIMEOUT_S:.0f} s")

    async def _import(self, target: Node, slots: Sequence[int], progress: Progress) -> int:
        """Let the target fetch these slots; how many keys that were."""
        bounds: list[Word] = [bound for pair in ranges_of(slots) for bound in pair]
        reply = await self._access.ask(target.address, "CLUSTER", "MIGRATION", "IMPORT", *bounds)
        if isinstance(reply, Failure):
            raise WorldChanged(str(refused(target.address, ["CLUSTER", "MIGRATION", "IMPORT"], reply)))
        task, over = reply.decode(), False
        try:
            keys = await self._follow(target, task, progress)
            over = True
        finally:
            if not over:
                await self._cancel(target, task)
        return keys

    async def _others_over(self, target: Node) -> None:
        """Wait for tasks that a run which was cut short may have left at the target: they end by themselves."""
        while any(task.get("state") not in STATES_ENDED for task in await self._tasks(target, "ALL")):
            await trio.sleep(TASK_LOOK_S)

    async def _follow(self, target: Node, task: str, progress: Progress) -> int:
        copied = 0
        while True:
            told = next(iter(await self._tasks(target, "ID", task)), None)
            if told is None:
                raise WorldChanged(f"{target.name} knows nothing of its task {task[:8]} any more")
            keys = int(told.get("keys_copied", "0"))
            progress(0, max(0, keys - copied))
            copied = max(keys, copied)
            if told.get("state") in STATES_WELL:
                return copied
            if told.get("state") in STATES_ENDED:
                raise WorldChanged(f"{target.name}: the migration {told['state']}: {told.get('last_error', '')}")
            await trio.sleep(TASK_LOOK_S)

    async def _tasks(self, node: Node, *which: Word) -> list[dict[str, str]]:
        reply = await self._access.order(node.address, "CLUSTER", "MIGRATION", "STATUS", *which)
        return [_fields(entry) for entry in reply]

    async def _cancel(self, target: Node, task: str) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(CANCEL_TIMEOUT_S):
            try:
                await self._access.ask(target.address, "CLUSTER", "MIGRATION", "CANCEL", "ID", task)
            except OSError:
                return  # the target rolls it back by itself


def _fields(entry: Reply) -> dict[str, str]:
    """A task's field-value list, or map, as texts."""
    pairs = entry.items() if isinstance(entry, dict) else zip(entry[::2], entry[1::2], strict=False)
    return {_word(name): _word(value) for name, value in pairs}


def _word(value: Reply) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
