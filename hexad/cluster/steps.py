"""What can be done to a cluster, a step at a time. Data: `perform` does it, `words` tells people what it is.

Every step may be taken again, and may be cut short anywhere: whoever plans anew from what is there then names what is
left of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hexad.cluster.picture import Picture
from hexad.reach import Address, show
from hexad.sight import ranges_of, ranges_text


@dataclass(frozen=True, slots=True)
class MoveSlots:
    """Slots go from their owner to another primary, with their keys."""

    source: str
    target: str
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TakeSlots:
    """A primary takes slots that nobody owns, or that others claim too; `losers` let go of them and keep their keys."""

    node: str
    slots: tuple[int, ...]
    losers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GatherKeys:
    """Keys that lie on a node which does not own their slot go to the owner."""

    slot: int
    owner: str
    source: str


@dataclass(frozen=True, slots=True)
class CloseSlot:
    """A slot that is said to be on its way, and is not, stays where it is."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Meet:
    """A node of the cluster makes the acquaintance of one at an address, and all hear of it."""

    node: str
    address: Address
    bus_port: int = 0


@dataclass(frozen=True, slots=True)
class CopyFunctions:
    """A new primary gets the cluster's function libraries."""

    source: str
    address: Address


@dataclass(frozen=True, slots=True)
class Replicate:
    """A node without slots and keys becomes a replica, or a replica follows another primary."""

    node: str
    primary: str
    address: Address


@dataclass(frozen=True, slots=True)
class Forget:
    """A node drops another one."""

    node: str
    lost: str


@dataclass(frozen=True, slots=True)
class Reset:
    """A node forgets the cluster, and the data that it had as a replica."""

    address: Address


@dataclass(frozen=True, slots=True)
class HandOver:
    """A replica takes its primary's place; `mode` is empty (nothing is lost), "FORCE" or "TAKEOVER"."""

    replica: str
    primary: str
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A node ends, comes back by its supervisor or by a command, and is waited for until all is well."""

    node: str


Step: TypeAlias = (
    MoveSlots | TakeSlots | GatherKeys | CloseSlot | Meet | CopyFunctions | Replicate | Forget | Reset | HandOver
) | Restart


def slots_text(slots: Sequence[int]) -> str:
    """How many slots, and which: "3 slots 0-1 7"."""
    return f"{len(slots)} slot{'s' * (len(slots) != 1)} {ranges_text(ranges_of(slots))}"


def text_of(step: Step, picture: Picture) -> str:
    """A step for people."""
    name = picture.name_of
    match step:
        case MoveSlots(source, target, slots):
            return f"move {slots_text(slots)} from {name(source)} to {name(target)}"
        case TakeSlots(node, slots, losers):
            against = f", not {' or '.join(map(name, losers))}" if losers else ""
            return f"give {slots_text(slots)} to {name(node)}{against}"
        case GatherKeys(slot, owner, source):
            return f"bring the keys of slot {slot} on {name(source)} to their owner {name(owner)}"
        case CloseSlot(node, slot):
            return f"close slot {slot} on {name(node)}: it is not on its way"
        case Meet(_, address):
            return f"introduce {show(address)} to the cluster"
        case CopyFunctions(source, address):
            return f"copy the function libraries of {name(source)} to {show(address)}"
        case Replicate(_, primary, address):
            return f"make {show(address)} a replica of {name(primary)}"
        case Forget(node, lost):
            return f"let {name(node)} forget {name(lost)}"
        case Reset(address):
            return f"let {show(address)} forget the cluster"
        case HandOver(replica, primary, mode):
            how = {"": "", "FORCE": " without asking it", "TAKEOVER": " without asking anybody"}[mode]
            return f"let {name(replica)} take the place of its primary {name(primary)}{how}"
        case Restart(node):
            return f"restart {name(node)} and wait until all is well"


def as_json(step: Step, picture: Picture) -> dict[str, Any]:
    """A step for programs: its kind, its fields (slots as ranges), and the same text."""
    fields = {name: getattr(step, name) for name in step.__dataclass_fields__}
    if "slots" in fields:
        fields["slots"] = ranges_text(ranges_of(fields["slots"]))
    if "address" in fields:
        fields["address"] = show(fields["address"])
    return {"kind": type(step).__name__, **fields, "text": text_of(step, picture)}
