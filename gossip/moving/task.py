"""What is known of one migration: a task, as CLUSTER MIGRATION STATUS and CLUSTER GETSLOTMIGRATIONS show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gossip.packet import ranges_in

FINISHED_MAX = 64
"""So many tasks that are over are remembered."""
ACTIVE_MAX = 16
"""So many may go on at a time, in both directions together: each has a snapshot or a database of its own."""

IMPORT, MIGRATE = "import", "migrate"
COMPLETED, FAILED, CANCELED = "completed", "failed", "canceled"
FINAL_STATES = {COMPLETED: "success", FAILED: "failed", CANCELED: "cancelled"}
"""States of a task that is over, and Valkey's words for them."""


@dataclass(slots=True, eq=False)
class Task:
    """One migration as one of its two nodes sees it.  Times are Unix ms, 0 for not yet; `slots` is a bitmap."""

    id: str
    slots: int
    source_id: str
    target_id: str
    operation: str
    create_ms: int
    state: str = "connecting"
    last_error: str = ""
    retries: int = 0
    start_ms: int = 0
    end_ms: int = 0
    update_ms: int = 0
    ack_ms: int = 0
    write_pause_ms: int = 0
    keys_copied: int = 0
    lag_bytes: int = 0
    pulled: bool = False
    """The source was told to begin (CLUSTER MIGRATESLOTS): there is one attempt, and the source can call it off."""

    @property
    def is_over(self) -> bool:
        return self.state in FINAL_STATES

    def became(self, state: str, now_ms: int) -> None:
        """The task has come to another state."""
        if state == self.state:
            return
        self.state, self.update_ms = state, now_ms
        if self.is_over:
            self.end_ms = now_ms

    def status(self) -> dict[bytes, Any]:
        """A task of CLUSTER MIGRATION STATUS, with the progress behind Redis's fields."""
        texts: dict[str, Any] = {
            "id": self.id,
            "slots": range_text(self.slots),
            "source": self.source_id,
            "dest": self.target_id,
            "operation": self.operation,
            "state": self.state,
            "last_error": self.last_error,
            "retries": self.retries,
            "create_time": self.create_ms,
            "start_time": self.start_ms,
            "end_time": self.end_ms,
            "write_pause_ms": self.write_pause_ms,
            "keys_copied": self.keys_copied,
            "lag_bytes": self.lag_bytes,
        }
        return _map(texts)

    def job(self) -> dict[bytes, Any]:
        """A job of CLUSTER GETSLOTMIGRATIONS."""
        texts: dict[str, Any] = {
            "name": self.id,
            "operation": "IMPORT" if self.operation == IMPORT else "EXPORT",
            "slot_ranges": range_text(self.slots),
            "target_node": self.target_id,
            "source_node": self.source_id,
            "create_time": self.create_ms // 1000,
            "last_update_time": (self.update_ms or self.create_ms) // 1000,
            "last_ack_time": self.ack_ms // 1000,
            "state": FINAL_STATES.get(self.state, self.state),
            "message": self.last_error,
            "cow_size": 0,
        }
        return _map(texts)


def _map(texts: dict[str, Any]) -> dict[bytes, Any]:
    return {
        name.encode(): value if isinstance(value, int) else value.encode("utf-8", "replace")
        for name, value in texts.items()
    }


def range_text(slots: int) -> str:
    """A bitmap as `0-9 20-29`."""
    return " ".join(f"{first}-{last}" for first, last in ranges_in(slots))


class Book:
    """The tasks of one node, oldest first; those that are over up to FINISHED_MAX."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        self.tasks[task.id] = task
        finished = [task for task in self.tasks.values() if task.is_over]
        for old in finished[:-FINISHED_MAX]:
            del self.tasks[old.id]

    def active(self) -> list[Task]:
        """Tasks that go on."""
        return [task for task in self.tasks.values() if not task.is_over]
