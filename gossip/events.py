"""What goes into the cluster machine and what comes out of it.

Events are named in the past, or are orders of a local client; effects are imperative.  Both are plain
values: nothing here knows how a link or a file looks.  A link is an int: the machine numbers the links that
it dials from 1 up; whoever accepts links numbers them downwards from -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gossip.packet import Packet, PacketError
from node.net.resp import CommandError


class ClusterError(CommandError):
    """A client asked for what the cluster refuses.  The text is the whole error reply, and nothing was changed."""


class Facts(Protocol):
    """What the machine asks its node about, always at the moment of a decision."""

    def key_count(self) -> int:
        """Keys in all slots."""

    def keys_in_slot(self, slot: int) -> int:
        """Keys in one slot."""

    def offset(self) -> int:
        """Replication offset: of a primary what it wrote, of a replica what it processed."""

    def data_is_complete(self) -> bool:
        """Whether the data that was loaded is known to be all there was, so that no replica can have more."""

    def holds_data_of(self, slots: int) -> bool:
        """Whether a replica that is not linked to its primary has data that is, or can only be, that primary's.

        slots -- bitmap of what the primary owns.
        """

    def primary_silence_ms(self, now_ms: int) -> int:
        """For how long a replica has had nothing from its primary: since the last data, or since the link broke.

        A replica that never had its primary's data answers with a number larger than any timeout.
        """


# ---- events of the links and of time -----------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Wakeup:
    """The time asked for by the last WakeAt has come.  The first Wakeup starts the machine."""


@dataclass(slots=True, frozen=True)
class LinkUp:
    """A link that the machine dialled stands."""

    link: int


@dataclass(slots=True, frozen=True)
class LinkDown:
    """A link that stood, dialled or accepted, was closed by the other side or broke."""

    link: int


@dataclass(slots=True, frozen=True)
class DialFailed:
    """A link that the machine dialled cannot be had."""

    link: int
    why: str = ""


@dataclass(slots=True, frozen=True)
class Resolved:
    """The numeric addresses of a name that the machine asked for by Resolve; none if it cannot be resolved now."""

    port: int
    cport: int
    ips: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class PacketReceived:
    """A message, or what was wrong with it, came over a link.

    peer_ip, local_ip -- the two addresses of the link's socket.
    """

    link: int
    packet: Packet | PacketError
    peer_ip: str = ""
    local_ip: str = ""


@dataclass(slots=True, frozen=True)
class SettingsChanged:
    """The settings object that the machine was given has new values."""


@dataclass(slots=True, frozen=True)
class DataLoaded:
    """The node's data was loaded at its start; these slots have keys."""

    slots: tuple[int, ...]


# ---- orders of local clients: each raises ClusterError before any change --------------------------------------------


@dataclass(slots=True, frozen=True)
class Meet:
    """CLUSTER MEET."""

    ip: str
    port: int
    cport: int


@dataclass(slots=True, frozen=True)
class Forget:
    """CLUSTER FORGET."""

    node_id: str


@dataclass(slots=True, frozen=True)
class AddSlots:
    """CLUSTER ADDSLOTS and ADDSLOTSRANGE."""

    slots: tuple[int, ...]


@dataclass(slots=True, frozen=True)
class DelSlots:
    """CLUSTER DELSLOTS and DELSLOTSRANGE."""

    slots: tuple[int, ...]


@dataclass(slots=True, frozen=True)
class FlushSlots:
    """CLUSTER FLUSHSLOTS."""


@dataclass(slots=True, frozen=True)
class SetSlotMigrating:
    """CLUSTER SETSLOT slot MIGRATING id."""

    slot: int
    node_id: str


@dataclass(slots=True, frozen=True)
class SetSlotImporting:
    """CLUSTER SETSLOT slot IMPORTING id."""

    slot: int
    node_id: str


@dataclass(slots=True, frozen=True)
class SetSlotStable:
    """CLUSTER SETSLOT slot STABLE."""

    slot: int


@dataclass(slots=True, frozen=True)
class SetSlotNode:
    """CLUSTER SETSLOT slot NODE id."""

    slot: int
    node_id: str


@dataclass(slots=True, frozen=True)
class TakeSlots:
    """All data of these slots is here: they are ours from now on, in an epoch that was fixed before.

    slots -- bitmap.  The state is saved, and nobody is told yet: AnnounceSlots or ReturnSlots follows at once.
    """

    slots: int
    source_id: str
    epoch: int


@dataclass(slots=True, frozen=True)
class AnnounceSlots:
    """Tell everybody what TakeSlots has taken."""


@dataclass(slots=True, frozen=True)
class ReturnSlots:
    """TakeSlots came too late: the slots (a bitmap) are their source's as before."""

    slots: int
    source_id: str


@dataclass(slots=True, frozen=True)
class KeepSlots:
    """A target that we were handing slots to has not taken them in time: whoever claims them in its epoch is to lose.

    epoch -- in which the target would have claimed them.
    """

    epoch: int


@dataclass(slots=True, frozen=True)
class AskVoters:
    """Ping all who vote: their answers, or their updates, tell whether slots of ours were claimed."""


@dataclass(slots=True, frozen=True)
class Leftover:
    """Keys of these slots (a bitmap) are here though they are not ours."""

    slots: int


@dataclass(slots=True, frozen=True)
class Replicate:
    """CLUSTER REPLICATE."""

    node_id: str


@dataclass(slots=True, frozen=True)
class Failover:
    """CLUSTER FAILOVER; mode is empty, "FORCE" or "TAKEOVER"."""

    mode: str = ""


@dataclass(slots=True, frozen=True)
class Reset:
    """CLUSTER RESET."""

    hard: bool = False


@dataclass(slots=True, frozen=True)
class SetConfigEpoch:
    """CLUSTER SET-CONFIG-EPOCH."""

    epoch: int


@dataclass(slots=True, frozen=True)
class BumpEpoch:
    """CLUSTER BUMPEPOCH; answered by a Reply."""


@dataclass(slots=True, frozen=True)
class SaveNow:
    """CLUSTER SAVECONFIG."""


@dataclass(slots=True, frozen=True)
class Broadcast:
    """PUBLISH or SPUBLISH on this node: the other nodes (of the shard) get it too."""

    channel: bytes
    message: bytes
    sharded: bool = False


Event = (
    Wakeup
    | LinkUp
    | LinkDown
    | DialFailed
    | Resolved
    | PacketReceived
    | SettingsChanged
    | DataLoaded
    | Meet
    | Forget
    | AddSlots
    | DelSlots
    | FlushSlots
    | SetSlotMigrating
    | SetSlotImporting
    | SetSlotStable
    | SetSlotNode
    | TakeSlots
    | AnnounceSlots
    | ReturnSlots
    | KeepSlots
    | AskVoters
    | Leftover
    | Replicate
    | Failover
    | Reset
    | SetConfigEpoch
    | BumpEpoch
    | SaveNow
    | Broadcast
)


# ---- effects ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class SaveConfig:
    """Write nodes.conf from the state as it is now.  It comes before every Send of the same list: with `fsync`
    nothing that follows may leave before the file is durable."""

    fsync: bool


@dataclass(slots=True, frozen=True)
class Send:
    """Send one message over each of these links; one that is gone is passed over."""

    links: tuple[int, ...]
    packet: Packet


@dataclass(slots=True, frozen=True)
class Dial:
    """Open a link to a bus port; answered by LinkUp or DialFailed with the same number."""

    link: int
    ip: str
    cport: int


@dataclass(slots=True, frozen=True)
class Resolve:
    """Find the addresses of a name (a number is one, too); answered by Resolved with the same ports.

    It is asked again in time, so a name that is still being resolved need not be resolved twice.
    """

    name: str
    port: int
    cport: int


@dataclass(slots=True, frozen=True)
class CloseLink:
    """Close a link, or give up dialling it.  No LinkDown or DialFailed follows."""

    link: int


@dataclass(slots=True, frozen=True)
class WakeAt:
    """Bring a Wakeup at this time; replaces the time asked for before."""

    at_ms: int


@dataclass(slots=True, frozen=True)
class BecomePrimary:
    """Stop replicating: this node is a primary now and keeps its data."""


@dataclass(slots=True, frozen=True)
class ReplicateFrom:
    """Replicate from this address, whatever was replicated before."""

    ip: str
    port: int


@dataclass(slots=True, frozen=True)
class EmptyData:
    """Delete all keys: this node left the shard whose data it copied."""


@dataclass(slots=True, frozen=True)
class DropSlotKeys:
    """Delete the keys of slots that another primary owns now."""

    slots: tuple[int, ...]


@dataclass(slots=True, frozen=True)
class PauseWrites:
    """Hold back clients' writes until this time, for a manual failover."""

    until_ms: int


@dataclass(slots=True, frozen=True)
class UnpauseWrites:
    """End PauseWrites."""


@dataclass(slots=True, frozen=True)
class DeliverMessage:
    """Hand a message that came over the bus to the local subscribers."""

    channel: bytes
    message: bytes
    sharded: bool


@dataclass(slots=True, frozen=True)
class ClusterStateChanged:
    """cluster_state is now ok, or fail: clients that wait for it may have to be told."""

    ok: bool


@dataclass(slots=True, frozen=True)
class Reply:
    """The status reply of the order just handled; without one it is OK."""

    text: str


@dataclass(slots=True, frozen=True)
class Log:
    """A line of the log; level is one of debug, verbose, notice, warning."""

    level: str
    text: str


Effect = (
    SaveConfig
    | Send
    | Dial
    | Resolve
    | CloseLink
    | WakeAt
    | BecomePrimary
    | ReplicateFrom
    | EmptyData
    | DropSlotKeys
    | PauseWrites
    | UnpauseWrites
    | DeliverMessage
    | ClusterStateChanged
    | Reply
    | Log
)
