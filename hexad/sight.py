"""What a node says of itself and of the others, from its own replies (INFO, CLUSTER NODES) into data. Pure.

The forms are Redis's: INFO is `field:value` lines; a line of CLUSTER NODES is

    id host:port@bus[,hostname] flags primary-id ping-sent pong-received config-epoch link-state slot slot-slot ...

where `[slot->-id]` and `[slot-<-id]` tell of a slot that is moving.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLOT_COUNT = 16384
Range = tuple[int, int]
"""First and last slot, both included."""


@dataclass(frozen=True, slots=True)
class Known:
    """A node as some node knows it; `primary` is the id of the one it replicates, empty for a primary."""

    id: str
    host: str
    port: int
    flags: frozenset[str]
    primary: str
    config_epoch: int
    ranges: tuple[Range, ...]
    bus_port: int = 0
    migrating: tuple[tuple[int, str], ...] = ()
    """Slots that are on their way to another node, with its id: a node says so of itself alone."""
    importing: tuple[tuple[int, str], ...] = ()
    """Slots that are on their way from another node, with its id."""

    @property
    def is_arriving(self) -> bool:
        """Tell whether it has been met but not answered yet: its id is made up."""
        return "handshake" in self.flags

    @property
    def is_failing(self) -> bool:
        return bool(self.flags & {"fail", "fail?"})

    @property
    def is_replica(self) -> bool:
        return "slave" in self.flags


@dataclass(frozen=True, slots=True)
class Sight:
    """One node of ours as it is: what it knows of the cluster, whether it serves, what it holds."""

    port: int
    known: tuple[Known, ...]
    serves: bool
    keys: int
    synced: bool
    """A replica that has its primary's data and a link to it; a primary always."""
    offset: int = 0
    """How much of the journal it has, in bytes."""

    @property
    def me(self) -> Known:
        return next(node for node in self.known if "myself" in node.flags)

    @property
    def is_alone(self) -> bool:
        return not any(node.id != self.me.id and not node.is_arriving for node in self.known)

    def knows(self, id: str) -> bool:
        return any(node.id == id and not node.is_arriving for node in self.known)


def parse_info(text: bytes) -> dict[str, str]:
    """INFO's fields by name."""
    lines = text.decode("utf-8", "replace").split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def parse_nodes(text: bytes) -> tuple[Known, ...]:
    """The nodes of a CLUSTER NODES reply. Raises ValueError for what is none."""
    return tuple(_parse_node(line) for line in text.decode("utf-8", "replace").splitlines() if line)


def _parse_node(line: str) -> Known:
    words = line.split(" ")
    if len(words) < 8:
        raise ValueError(f"not a line of CLUSTER NODES: {line!r}")
    id, address, flags, primary, _, _, epoch, _, *slots = words
    address, _, bus_port = address.split(",")[0].partition("@")
    host, _, port = address.rpartition(":")
    ranges = tuple(_parse_range(word) for word in slots if not word.startswith("["))
    return Known(
        id,
        host,
        int(port),
        frozenset(flags.split(",")),
        "" if primary == "-" else primary,
        int(epoch),
        ranges,
        int(bus_port or 0),
        _parse_moving(slots, "->-"),
        _parse_moving(slots, "-<-"),
    )


def _parse_moving(words: Sequence[str], arrow: str) -> tuple[tuple[int, str], ...]:
    """The slots in words like `[12->-id]`, and the ids."""
    pairs = (word[1:-1].partition(arrow)[::2] for word in words if word.startswith("[") and arrow in word)
    return tuple((int(slot), id) for slot, id in pairs)


def _parse_range(word: str) -> Range:
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def key_count(info: dict[str, str]) -> int:
    """How many keys all databases hold together, from INFO's keyspace section."""
    fields = [value for name, value in info.items() if name.startswith("db") and value.startswith("keys=")]
    return sum(int(value.split(",")[0].removeprefix("keys=")) for value in fields)


def slots_in(ranges: Iterable[Range]) -> set[int]:
    return {slot for first, last in ranges for slot in range(first, last + 1)}


def ranges_of(slots: Iterable[int]) -> tuple[Range, ...]:
    """The fewest ranges that hold these slots, in order."""
    ranges: list[Range] = []
    for slot in sorted(slots):
        if ranges and ranges[-1][1] == slot - 1:
            ranges[-1] = (ranges[-1][0], slot)
        else:
            ranges.append((slot, slot))
    return tuple(ranges)


def parse_ranges(text: str) -> set[int]:
    """The slots that a text like "0-99,200" names. Raises ValueError that says what is wrong."""
    found: set[int] = set()
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{word!r} is no slot and no range of slots like 0-99")
        ends = int(first), int(last or first)
        if ends[0] > ends[1] or ends[1] >= SLOT_COUNT:
            raise ValueError(f"{word!r}: slots go from 0 to {SLOT_COUNT - 1}, the lower end first")
        found |= slots_in([ends])
    return found


def ranges_text(ranges: Iterable[Range]) -> str:
    """For people: "0-5460 9000"."""
    return " ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges)
