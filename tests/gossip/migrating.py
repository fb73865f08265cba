"""What tests of atomic slot migration share: a cluster, its tasks, its keys by owner."""

from __future__ import annotations

from typing import Any

from node.slots import slot_of
from tests.support import Wire, wait_until
from tests.support.cluster import LocalCluster

TASK_TIMEOUT_S = 30.0


def key_in(slot: int, number: int = 0) -> str:
    """A key of a slot, another one for each number."""
    return f"{{{_tag(slot)}}}:{number}"


_TAGS: dict[int, str] = {}


def _tag(slot: int) -> str:
    """A hash tag whose slot is this one."""
    number = len(_TAGS)
    while slot not in _TAGS:
        _TAGS.setdefault(slot_of(b"%d" % number), str(number))
        number += 1
    return _TAGS[slot]


def as_dict(pairs: list[Any]) -> dict[str, Any]:
    """A flat array of names and values."""
    texts = [word.decode() if isinstance(word, bytes) else word for word in pairs]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def statuses(wire: Wire) -> list[dict[str, Any]]:
    """CLUSTER MIGRATION STATUS ALL."""
    return [as_dict(task) for task in wire("CLUSTER", "MIGRATION", "STATUS", "ALL")]


def status(wire: Wire, task_id: bytes) -> dict[str, Any]:
    """CLUSTER MIGRATION STATUS of one task."""
    (task,) = wire("CLUSTER", "MIGRATION", "STATUS", "ID", task_id)
    return as_dict(task)


def wait_over(wire: Wire, task_id: bytes, timeout_s: float = TASK_TIMEOUT_S) -> dict[str, Any]:
    """The task once it is over."""

    def over() -> dict[str, Any] | None:
        found = status(wire, task_id)
        return found if found["state"] in ("completed", "failed", "canceled") else None

    return wait_until(over, timeout_s, "the migration is over")


def cluster_info(wire: Wire) -> dict[str, str]:
    """CLUSTER INFO."""
    return dict(line.split(":", 1) for line in wire("CLUSTER", "INFO").decode().split("\r\n") if line)


def primary_of(cluster: LocalCluster, slot: int) -> int:
    """The port of a slot's owner, in the eyes of a living node."""
    with cluster.alive()[0].wire() as wire:
        for first, last, primary, *_ in wire("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return int(primary[1])
    raise AssertionError(f"slot {slot} has no owner")
