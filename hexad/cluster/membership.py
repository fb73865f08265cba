"""Nodes that come and go: the steps of `add` and `remove`, given the cluster as it is. Pure."""

from __future__ import annotations

from hexad.cluster.balance import drain
from hexad.cluster.findings import command
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.cluster.steps import CopyFunctions, Forget, Meet, Replicate, Reset, Step

AUTO = "auto"
"""The word for "a replica of whoever has fewest"."""


def add(picture: Picture, new: Node, replica_of: str | None) -> list[Step]:
    """What is left to do until the new node is a member; nothing if it is one. Raises ClusterError.

    replica_of -- a primary, `auto`, or None for a new primary without slots.
    """
    is_member = new.id in picture.by_id
    steps: list[Step] = []
    if not is_member:
        if len([known for known in new.known if not known.is_arriving]) > 1:
            raise ClusterError(f"{new.name} is in another cluster already: CLUSTER RESET it first")
        if new.keys:
            raise ClusterError(f"{new.name} holds {new.keys} keys: empty it (FLUSHALL) before it comes")
        if new.slots:
            raise ClusterError(f"{new.name} owns slots of a cluster of its own: CLUSTER RESET it first")
        if replica_of is None:
            steps.append(CopyFunctions(_source(picture).id, new.address))
        steps.append(Meet(_source(picture).id, new.address, new.me.bus_port))
    if replica_of is None:
        return steps
    if not new.is_primary and replica_of == AUTO:
        return steps
    primary = _fewest(picture, new) if replica_of == AUTO else picture.find(replica_of)
    if not primary.is_primary:
        raise ClusterError(f"{primary.name} is a replica: name its primary, {picture.name_of(primary.me.primary)}")
    if new.is_primary and new.slots:
        raise ClusterError(f"{new.name} owns slots: hexad cluster remove it first")
    if new.me.primary != primary.id:
        steps.append(Replicate(new.id, primary.id, new.address))
    return steps


def _source(picture: Picture) -> Node:
    if not picture.primaries:
        raise ClusterError("no primary of the cluster answers: run hexad cluster check")
    return next((node for node in picture.primaries if node.slots), picture.primaries[0])


def _fewest(picture: Picture, leaving: Node) -> Node:
    """The primary with fewest replicas, on another host than the new one if that can be."""
    found = [node for node in picture.primaries if node.slots and node.id != leaving.id]
    if not found:
        raise ClusterError("no other primary with slots answers: run hexad cluster check")
    return min(
        found,
        key=lambda node: (
            len([one for one in picture.replicas_of(node.id) if one.id != leaving.id]),
            node.address[0] == leaving.address[0],
            node.id,
        ),
    )


def remove(picture: Picture, node: Node) -> list[Step]:
    """What is left to do until the node is no member any more: its slots, replicas go to others. Raises ClusterError.

    A node that does not answer can be forgotten, if it owns nothing.
    """
    steps: list[Step] = []
    if node.is_primary and node.slots:
        if not node.answers:
            raise ClusterError(
                f"{node.name} owns slots and does not answer: start it, let a replica take over "
                f"({command(picture, 'failover', 'REPLICA', '--force')}), or give its data up "
                f"({command(picture, 'fix', '--give-up-unreachable')})"
            )
        owned = {one.id: one.slots for one in picture.primaries if one.slots or one.id == node.id}
        try:
            steps += drain(owned, node.id)
        except ValueError as error:
            raise ClusterError(f"{node.name} cannot leave: {error}") from error
    if node.is_primary:
        followers = [one for one in picture.replicas_of(node.id) if one.answers]
        for replica in followers:
            steps.append(Replicate(replica.id, _fewest(picture, node).id, replica.address))
    for other in picture.answering:
        if other.id != node.id and any(known.id == node.id for known in other.known):
            steps.append(Forget(other.id, node.id))
    if node.answers and len(node.known) > 1:
        steps.append(Reset(node.address))
    return steps
