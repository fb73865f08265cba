"""Pictures for tests of what is decided from them, and a cluster in memory to which plans are done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hexad.cluster.picture import Node, Picture
from hexad.cluster.steps import CloseSlot, GatherKeys, MoveSlots, Step, TakeSlots
from hexad.sight import SLOT_COUNT, Known, ranges_of


def node_id(name: str) -> str:
    return (name * 40)[:40]


@dataclass
class Model:
    """One node of the model: what it owns, holds and says is moving."""

    name: str
    slots: set[int] = field(default_factory=set)
    keys: dict[int, int] = field(default_factory=dict)
    migrating: dict[int, str] = field(default_factory=dict)
    importing: dict[int, str] = field(default_factory=dict)
    primary: str = ""
    host: str = "10.0.0.1"
    epoch: int = 1
    answers: bool = True
    synced: bool = True
    offset: int = 0
    uptime_s: int = 1000

    @property
    def id(self) -> str:
        return node_id(self.name)

    def known(self) -> Known:
        flags = frozenset({"slave"} if self.primary else {"master"})
        ranges = () if self.primary else ranges_of(self.slots)
        return Known(self.id, self.host, 7000 + ord(self.name[0]), flags, self.primary, self.epoch, ranges, 0)


def picture(models: Iterable[Model], state: str = "ok") -> Picture:
    """What these nodes say, if all of them know and believe one another."""
    models = list(models)
    nodes = []
    for model in models:
        me = model.known()
        own = Known(
            me.id,
            me.host,
            me.port,
            me.flags | {"myself"},
            me.primary,
            me.config_epoch,
            me.ranges,
            0,
            tuple(sorted(model.migrating.items())),
            tuple(sorted(model.importing.items())),
        )
        address = (me.host, me.port)
        if not model.answers:
            nodes.append(Node(address, (own,), failure="no connection"))
            continue
        others = tuple(other.known() for other in models if other is not model)
        info = {
            "role": "slave" if model.primary else "master",
            "master_link_status": "up" if model.synced else "down",
            "slave_repl_offset": str(model.offset),
            "master_repl_offset": str(model.offset),
            "uptime_in_seconds": str(model.uptime_s),
            "db0": f"keys={sum(model.keys.values())},expires=0",
        }
        keys = {slot: count for slot, count in model.keys.items() if count}
        nodes.append(Node(address, (own, *others), info, state, keys_in=keys))
    return Picture(tuple(sorted(nodes, key=lambda node: (node.address, node.id))))


def apply(models: Mapping[str, Model], step: Step, only: int | None = None) -> None:
    """Do a step to the model, as the real performer does it to nodes; only so many slots of it, if it is cut short."""
    match step:
        case MoveSlots(source, target, slots):
            for slot in slots[:only]:
                giver, taker = models[source], models[target]
                taker.keys[slot] = taker.keys.pop(slot, 0) + giver.keys.pop(slot, 0)
                giver.slots.discard(slot)
                giver.migrating.pop(slot, None)
                taker.importing.pop(slot, None)
                taker.slots.add(slot)
        case TakeSlots(node, slots, losers):
            for slot in slots[:only]:
                for loser in losers:
                    models[loser].slots.discard(slot)
                    if models[loser].keys.get(slot):
                        models[loser].importing[slot] = node
                for other in models.values():
                    if not other.answers:
                        other.slots.discard(slot)
                models[node].slots.add(slot)
                models[node].importing.pop(slot, None)
        case GatherKeys(slot, owner, source):
            models[owner].keys[slot] = models[owner].keys.get(slot, 0) + models[source].keys.pop(slot, 0)
            models[source].importing.pop(slot, None)
            models[source].migrating.pop(slot, None)
        case CloseSlot(node, slot):
            models[node].importing.pop(slot, None)
            models[node].migrating.pop(slot, None)
        case _:
            raise AssertionError(step)


def covered(models: Iterable[Model]) -> bool:
    """Every slot has one owner."""
    owned = [slot for model in models for slot in model.slots]
    return len(owned) == len(set(owned)) == SLOT_COUNT
