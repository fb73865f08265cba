"""Where a command with keys is served: here, or at which redirect.

The usual case does not come here.  A session serves a command at once if

    state.ok and state.serving[slot]        for the one slot of all its keys

which is true for slots of ours without a migration.  Everything else asks `redirect`, which returns None for
"serve it here" or the text of the error, without the leading minus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossip.core import Core
from gossip.report import client_port, preferred_endpoint
from gossip.state import Node

CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"
TRYAGAIN = "TRYAGAIN Multiple keys request during rehashing of slot"
NOT_SERVED = "CLUSTERDOWN Hash slot not served"
DOWN = "CLUSTERDOWN The cluster is down"
DOWN_READS_ONLY = "CLUSTERDOWN The cluster is down and only accepts read commands"


@dataclass(slots=True, frozen=True)
class Request:
    """What matters of a command and its client.  For EXEC: of all queued commands together."""

    keys: Sequence[bytes]
    slots: Sequence[int]
    """The keys' slots, in the same order.  For sharded Pub/Sub the channels take the keys' place."""
    writes: bool = False
    """Whether it may write; a script that says something of itself may, unless it says that it does not."""
    asking: bool = False
    """The client said ASKING, or the command (RESTORE-ASKING) implies it."""
    readonly: bool = False
    """The client said READONLY."""
    migrates: bool = False
    """It is MIGRATE, which works on the keys that are here."""
    sharded: bool = False
    """It is sharded Pub/Sub."""


def redirect(
    core: Core, request: Request, exists: Callable[[bytes], bool], *, tls: bool = False, network: str = ""
) -> str | None:
    """Return None to serve the request here, or the error that sends the client elsewhere.

    exists -- tells whether we hold a key; asked only while its slot moves.
    tls -- the client came over TLS, and is told the port for that.
    network -- name of the network that it came through, and is told addresses in; empty for none.
    """
    if not request.slots:
        return None
    state, slot = core.state, request.slots[0]
    owner = state.owners[slot]
    if owner is None:
        return NOT_SERVED
    if any(other != slot for other in request.slots):
        return CROSSSLOT
    if not state.ok:
        refusal = _down(core, request)
        if refusal:
            return refusal
    if slot in state.migrating or slot in state.importing:
        served, answer = _moving(core, request, owner, slot, exists, tls, network)
        if served or answer:
            return answer
    if owner is core.myself or _reads_from_replica(core, request, owner):
        return None
    return _sends_to(core, "MOVED", slot, owner, tls, network)


def _down(core: Core, request: Request) -> str | None:
    """Why the cluster's state forbids the request, if it does."""
    settings = core.settings
    if request.sharded:
        return None if settings.allow_pubsubshard_when_down else DOWN
    if not settings.allow_reads_when_down:
        return DOWN
    return DOWN_READS_ONLY if request.writes else None


def _moving(
    core: Core,
    request: Request,
    owner: Node,
    slot: int,
    exists: Callable[[bytes], bool],
    tls: bool,
    network: str,
) -> tuple[bool, str | None]:
    """A slot that moves: (serve it here?, or with this error); (False, None) if the usual rules hold.

    At the source a key that is gone has gone to the target; at the target a client must ask explicitly.  Several
    keys of which some are on either side have to wait.
    """
    state = core.state
    leaves = owner is core.myself and slot in state.migrating
    arrives = not leaves and slot in state.importing
    if request.migrates and (leaves or arrives):
        return True, None
    if not (leaves or (arrives and request.asking)):
        return False, None
    if request.sharded:
        return arrives, None  # a channel is nowhere more than elsewhere: nothing of it can be missing
    missing = sum(1 for key in request.keys if not exists(key))
    if leaves and missing:
        if missing < len(request.keys):
            return False, TRYAGAIN
        return False, _sends_to(core, "ASK", slot, state.migrating[slot], tls, network)
    if arrives and missing and len(set(request.keys)) > 1:
        return False, TRYAGAIN
    return True, None


def _reads_from_replica(core: Core, request: Request, owner: Node) -> bool:
    """A replica of the owner serves reads of clients that said READONLY, and sharded Pub/Sub."""
    if core.myself.primary is not owner:
        return False
    return request.sharded or (request.readonly and not request.writes)


def _sends_to(core: Core, word: str, slot: int, node: Node, tls: bool, network: str) -> str:
    host = preferred_endpoint(core, node, network) or ""
    return f"{word} {slot} {host}:{client_port(core, node, tls=tls, network=network)}"
