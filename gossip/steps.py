"""What voters say to one another about their set, as the payload of a module message (kind 9 of the bus).

A genuine Redis node passes over a module's messages that it does not know; these are sent to Hexad nodes only.
Payload: version u64, round u64 and proposer 40, epoch u64, accepted round u64 and its proposer 40, count of ids u16,
ids of 40 bytes each.  Integers are big endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from gossip.electorate import NO_ROUND, Round, are_voters
from gossip.packet import EPOCH_MAX, ID_BYTES, Module
from gossip.state import is_node_id

MODULE_ID = b"HXvoters"
PREPARE, PROMISE, ACCEPT, ACCEPTED, TELL = range(1, 6)
HEAD = Struct("!QQ40sQQ40sH")


@dataclass(slots=True, frozen=True)
class Step:
    """One message about the step from `version` to the next, or (TELL) that `version` is agreed."""

    kind: int
    version: int
    round: Round = NO_ROUND
    epoch: int = 0
    """PROMISE: the last epoch in which the sender voted.  ACCEPT, TELL: voters of the new set never vote up to it."""
    members: tuple[str, ...] = ()
    """PREPARE: who takes the step.  PROMISE: what the sender has accepted.  ACCEPT, TELL: the new voters."""
    accepted: Round = NO_ROUND
    """PROMISE: in which round it accepted that."""


def encode(step: Step) -> Module:
    """Return the step as the body of a module message."""
    head = HEAD.pack(
        step.version,
        step.round.number,
        step.round.proposer.encode("latin-1"),
        step.epoch,
        step.accepted.number,
        step.accepted.proposer.encode("latin-1"),
        len(step.members),
    )
    return Module(MODULE_ID, step.kind, head + b"".join(member.encode("latin-1") for member in step.members))


def decode(body: Module) -> Step | None:
    """Return the step that a module message tells; None for one of another module, or for nonsense."""
    if body.module_id != MODULE_ID or not PREPARE <= body.kind <= TELL or len(body.payload) < HEAD.size:
        return None
    version, number, proposer, epoch, accepted, accepter, count = HEAD.unpack_from(body.payload)
    if len(body.payload) != HEAD.size + count * ID_BYTES or max(version, number, epoch, accepted) > EPOCH_MAX:
        return None
    text = body.payload[HEAD.size :].decode("latin-1")
    members = tuple(text[at : at + ID_BYTES] for at in range(0, len(text), ID_BYTES))
    if not are_voters(members) or not all(map(is_node_id, members)):
        return None
    rounds = Round(number, _id(proposer)), Round(accepted, _id(accepter))
    return Step(body.kind, version, rounds[0], epoch, members, rounds[1])


def _id(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("latin-1")
