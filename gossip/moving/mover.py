"""The migrations of one node: its tasks, who may begin one, and what the node around has to tell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from gossip.events import Event, Leftover
from gossip.moving.departure import PauseAsked, TargetGaveUp
from gossip.moving.exports import Export
from gossip.moving.imports import Import, introduce
from gossip.moving.task import ACTIVE_MAX, CANCELED, FAILED, IMPORT, MIGRATE, Book, Task, range_text
from gossip.packet import ranges_in, slots_in
from gossip.state import Node
from node.net.dialogue import Dialogue, DialogueError
from node.net.resp import CommandError
from node.server import Client
from node.slots import slot_of
from node.timers import Timer

if TYPE_CHECKING:
    from gossip.bus import Bus
    from gossip.core import Core
    from gossip.service import ClusterService

PULL_MS = 5000
"""For so long a source waits for the target's yes, and then again for its coming."""
LOOK_MS = 5
"""How often it is looked whether old keys of wanted slots are gone."""

POINTS = (
    "target began", "target connected", "target copying", "target copied", "target asked", "target final",
    "target settled", "target saved", "target adopted", "target announced", "target over",
    "source asked", "source copying", "source copied", "source ready", "source held", "source lost", "source over",
    "dropping",
)  # fmt: skip
"""The steps of a migration at which either node may die: tests walk them all."""

NOT_HEXAD = (
    "Node {} cannot take part in an atomic migration: it is no Hexad node, or has not been heard yet. "
    "Move the slots key by key: redis-cli --cluster reshard"
)


class Mover:
    """All migrations of one node, from and to it.  `trim_started` and the like are the node's trimmer's."""

    def __init__(self, service: ClusterService) -> None:
        self.server = service.server
        self.book = Book()
        self._service = service
        self._imports: dict[str, Import] = {}
        self._exports: dict[str, Export] = {}
        self.passes: Callable[[str], None] = lambda _point: None
        """Called at each of `POINTS`, in the middle of things: a test may end the node there."""
        self.server.background.trimmer.done = self.leftover_changed

    # --- shorthands -----------------------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        return self._service.machine.core

    @property
    def bus(self) -> Bus:
        return self._service.bus

    @property
    def my_id(self) -> str:
        return self._service.my_id

    def now_ms(self) -> int:
        """The clock of all deadlines here: Unix time that does not jump."""
        return self.bus.now_ms()

    def at(self, when_ms: int, call: Callable[[], None]) -> Timer | None:
        """Call at a time of that clock; never where there is none."""
        left_ms = when_ms - self.now_ms()
        return None if left_ms > 1 << 60 else self.server.timers.after(max(0, left_ms), call)

    def order(self, event: Event) -> None:
        """Hand an order to the cluster machine: it cannot be refused, or is of no use any more."""
        try:
            self.bus.handle(event)
        except CommandError as error:
            self.log(f"Not done: {error.reply.decode()}", "warning")

    def log(self, text: str, level: str = "notice") -> None:
        self.server.log.line(level, f"Slot migration: {text}")

    def shown(self, task: Task) -> str:
        """A task's slots for the log."""
        return f"{range_text(task.slots)[:200]} ({task.id[:8]})"

    @staticmethod
    def not_hexad(node: Node) -> str:
        """Why a node cannot take part, and what can be done instead."""
        return NOT_HEXAD.format(node.id)

    @staticmethod
    def numbers(slots: int) -> list[int]:
        return slots_in(slots)

    # --- who may begin --------------------------------------------------------------------------------------------

    def _check_free(self, slots: int) -> None:
        """Refuse slots that are on their way already, and too many tasks.  Raises CommandError."""
        active = self.book.active()
        if len(active) >= ACTIVE_MAX:
            raise CommandError(f"ERR {ACTIVE_MAX} slot migrations are going on already")
        if any(task.slots & slots for task in active):
            raise CommandError("ERR I am already migrating a slot of these")
        state = self.core.state
        open_slots = state.importing_bits | sum(1 << slot for slot in state.migrating)
        if open_slots & slots:
            raise CommandError("ERR a slot of these is being moved key by key: end that first (CLUSTER SETSLOT)")

    def _primary(self) -> Node:
        myself = self.core.myself
        if myself.is_replica:
            raise CommandError("ERR slot migration works on primaries only: this node is a replica")
        return myself

    def source_of(self, slots: int) -> Node:
        """The one node that owns these slots.  Raises CommandError."""
        state = self.core.state
        owners = {state.owners[number] for number in slots_in(slots)}
        if None in owners:
            raise CommandError("ERR a slot of these has no owner")
        if len(owners) != 1:
            raise CommandError("ERR the slots belong to several nodes: begin a migration for each")
        (owner,) = owners
        assert owner is not None
        if owner is state.myself:
            raise CommandError("ERR this node is already the owner of the slots")
        return owner

    def why_not_from(self, task: Task) -> str:
        """Why the slots cannot be had from the source of a task any more; empty if they can."""
        source = self.core.state.nodes.get(task.source_id)
        if source is None or source.is_replica or task.slots & ~source.slots:
            return "the slots have another owner now"
        return ""

    def begin_import(self, slots: int, task_id: str = "", *, pulled: bool = False) -> Task:
        """Get slots (a bitmap) from whoever owns them.  Raises CommandError."""
        self._primary()
        source = self.source_of(slots)
        self._check_free(slots)
        if not source.speaks_hexad:
            raise CommandError("ERR " + self.not_hexad(source))
        task_id = task_id or self.core.fresh_id()
        task = Task(task_id, slots, source.id, self.my_id, IMPORT, self.now_ms(), pulled=pulled)
        self.book.add(task)
        self.log(f"importing slots {self.shown(task)} from {source.id}")
        moving = self._imports[task.id] = Import(self, task)
        self.server.spawn(moving.run)
        return task

    def begin_migrate(self, wanted: list[tuple[int, str]]) -> None:
        """Have other nodes get slots of ours, all or nothing is begun.  Raises CommandError."""
        myself, state = self._primary(), self.core.state
        seen = 0
        for slots, node_id in wanted:
            target = state.nodes.get(node_id)
            if target is None or target.is_replica:
                raise CommandError(f"ERR {node_id[:40]} is not a primary that is known here")
            if target is myself or slots & ~myself.slots:
                raise CommandError("ERR the slots must be this node's, and the target another")
            if not target.speaks_hexad:
                raise CommandError("ERR " + self.not_hexad(target))
            if seen & slots:
                raise CommandError("ERR a slot is named twice")
            self._check_free(slots)
            seen |= slots
        if len(self.book.active()) + len(wanted) > ACTIVE_MAX:
            raise CommandError(f"ERR more than {ACTIVE_MAX} slot migrations at a time")
        for slots, node_id in wanted:
            task = Task(self.core.fresh_id(), slots, self.my_id, node_id, MIGRATE, self.now_ms(), pulled=True)
            self.book.add(task)
            self.server.spawn(self._ask_target, task)

    async def _ask_target(self, task: Task) -> None:
        """Tell the target of a task of ours to begin, and wait for its coming."""
        target = self.core.state.nodes.get(task.target_id)
        try:
            if target is None:
                raise DialogueError("the target is unknown")
            with trio.fail_after(PULL_MS / 1000):
                sock = await self.server.tls.dial(target.ip, target.port, is_tls=self.server.config["tls-cluster"])
                try:
                    ranges = [b"%d" % bound for pair in ranges_in(task.slots) for bound in pair]
                    request = [b"CLUSTER", b"SYNCSLOTS", b"PULL", task.id.encode(), *ranges]
                    answer = await introduce(self, Dialogue(self.server.platform, sock), request)
                finally:
                    sock.close()
            if answer[:1] != b"+":
                raise DialogueError(f"the target refuses: {answer[1:].decode('utf-8', 'replace')}")
            await trio.sleep(PULL_MS / 1000)
            if task.id not in self._exports and not task.is_over:
                raise DialogueError("the target has not come")
        except (OSError, DialogueError, trio.TooSlowError) as error:
            if not task.is_over and task.id not in self._exports:
                task.last_error = f"cannot reach the target: {str(error) or 'timeout'}"
                task.became(FAILED, self.now_ms())

    # --- what the other node says ---------------------------------------------------------------------------------

    def synchronize(self, client: Client, task_id: str, target_id: str, slots: int) -> None:
        """SYNC: a target wants slots of ours; its session becomes the link.  Raises CommandError."""
        myself, state = self._primary(), self.core.state
        target = state.nodes.get(target_id)
        if target is None or target.is_replica or target is myself:
            raise CommandError("ERR the target is not a primary that is known here")
        if slots & ~myself.slots:
            raise CommandError("ERR a slot of these is not this node's")
        if client.role is not None or client.transaction is not None or self.server.loading is not None:
            raise CommandError("ERR this connection or this node cannot begin a migration now")
        task = self.book.tasks.get(task_id)
        old = self._exports.get(task_id)
        if old is not None and not old.make_way():
            raise CommandError("ERR the outcome of an earlier attempt is not known yet")
        if task is not None and task.pulled and task.state == CANCELED:
            raise CommandError("ERR the migration was canceled")
        if task is None or task.is_over or task.slots != slots:
            self._check_free(slots)
            task = Task(task_id, slots, self.my_id, target_id, MIGRATE, self.now_ms())
            self.book.add(task)
        task.start_ms = self.now_ms()
        self.log(f"sending slots {self.shown(task)} to {target_id}")
        self._exports[task.id] = Export(self, task, client)

    def pause_asked(self, client: Client, epoch: int) -> None:
        """PAUSE: the target is nearly where we are.  A key that MIGRATE holds would be deleted behind the end."""
        export = client.role
        if not isinstance(export, Export):
            return
        held = self.server.migration.held if self.server.migration is not None else ()
        if not any(export.task.slots >> number & 1 for number in map(slot_of, held)):
            export.handle(PauseAsked(epoch))

    def acknowledged(self, client: Client, bytes_run: int) -> None:
        """ACK: the target has run so many bytes."""
        if isinstance(client.role, Export):
            client.role.acknowledged(bytes_run)

    def given_up(self, client: Client, reason: str) -> None:
        """GIVEUP: the target will not take the slots."""
        if isinstance(client.role, Export):
            client.role.handle(TargetGaveUp(f"the target gave up: {reason}"))

    # --- ends -----------------------------------------------------------------------------------------------------

    def cancel(self, wanted: Callable[[Task], bool]) -> int:
        """End tasks that can be ended still; how many."""
        count = 0
        for task in [task for task in self.book.active() if wanted(task)]:
            moving, export = self._imports.get(task.id), self._exports.get(task.id)
            if moving is not None:
                moving.cancel()
                count += 1
            elif export is not None:
                count += export.cancel()
            else:
                task.became(CANCELED, self.now_ms())
                count += 1
        return count

    def import_over(self, moving: Import) -> None:
        self._imports.pop(moving.task.id, None)
        self.leftover_changed()

    def export_over(self, export: Export) -> None:
        if self._exports.get(export.task.id) is export:
            del self._exports[export.task.id]

    # --- what the node tells --------------------------------------------------------------------------------------

    def owners_changed(self) -> None:
        """The state was saved: slots or roles may have changed."""
        state, trimmer = self.core.state, self.server.background.trimmer
        if not trimmer.idle:
            trimmer.finish(lambda number: state.owners[number] is state.myself or number in state.importing)
        for export in list(self._exports.values()):
            export.owners_changed()
        for moving in list(self._imports.values()):
            moving.owners_changed()

    def leftover_changed(self) -> None:
        """Note of which slots keys are here that are not ours."""
        slots = sum(1 << number for number in self.server.background.trimmer.numbers)
        if slots:
            self.passes("dropping")
        for moving in self._imports.values():
            if moving.db in self.server.keyspace.arriving:
                slots |= moving.task.slots
        self.order(Leftover(slots))

    async def dropped(self, slots: int) -> None:
        """Drop what is here of slots that are not ours, and return once nothing is left of it."""
        trimmer, main = self.server.background.trimmer, self.server.keyspace.databases[0]
        numbers = set(slots_in(slots))
        stray = [number for number in numbers if main.occupied[number]]
        if stray:
            trimmer.take(main, stray)
            self.leftover_changed()
        while trimmer.numbers & numbers:
            await trio.sleep(LOOK_MS / 1000)

    def info(self) -> list[str]:
        """Lines of CLUSTER INFO."""
        trimmer = self.server.background.trimmer
        busy = not trimmer.idle
        name = "cluster_slot_migration"
        return [
            f"{name}_active_tasks:{len(self.book.active())}",
            f"{name}_active_trim_running:{int(busy)}",
            f"{name}_active_trim_current_job_keys:{trimmer.job_keys if busy else 0}",
            f"{name}_active_trim_current_job_trimmed:{trimmer.job_trimmed if busy else 0}",
            f"{name}_stats_active_trim_started:{trimmer.started}",
            f"{name}_stats_active_trim_completed:{trimmer.completed}",
            f"{name}_stats_active_trim_cancelled:0",
        ]
