"""Who takes whose place, and the order of a rolling restart. Pure.

Replicas come first: their primaries go on serving. Then each primary hands over to its best replica, is restarted as a
replica, and takes its place back where that is wanted; so no slot is ever without a primary.
"""

from __future__ import annotations

from collections.abc import Collection

from hexad.cluster.findings import command
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.cluster.steps import HandOver, Restart, Step


def best_replica(picture: Picture, primary: Node) -> Node | None:
    """The replica that has most of its primary's data, and a link to it."""
    found = [one for one in picture.replicas_of(primary.id) if one.answers]
    return max(found, key=lambda one: (one.is_synced, one.offset, one.id), default=None)


def hand_over(picture: Picture, node: Node, to: Node | None, mode: str) -> list[Step]:
    """Let a replica take its primary's place; nothing if it has it. Raises ClusterError.

    node -- the primary that hands over, or the replica that takes over.
    to -- which replica of the primary `node`; the best one if None.
    """
    if node.is_primary:
        if to is not None and to.is_primary:
            raise ClusterError(f"{to.name} is a primary itself: name a replica of {node.name}")
        if to is not None and to.me.primary != node.id:
            raise ClusterError(f"{to.name} is no replica of {node.name}")
        replica, primary = to or best_replica(picture, node), node
        if replica is None:
            raise ClusterError(_no_replica(picture, node))
    else:
        if to is not None and to.id != node.id:
            raise ClusterError(f"{node.name} is a replica: it can only take over itself; leave out --to")
        found = picture.by_id.get(node.me.primary)
        if found is None:
            raise ClusterError(f"{node.name} follows a node that nobody knows: run hexad cluster check")
        replica, primary = node, found
    if not replica.answers:
        raise ClusterError(f"{replica.name} does not answer: {replica.failure}")
    if not mode and not primary.answers:
        raise ClusterError(f"{primary.name} does not answer: its replica can take over with --force")
    if not mode and not replica.is_synced:
        raise ClusterError(f"{replica.name} is without its primary's data: wait for its sync, or use --force")
    return [HandOver(replica.id, primary.id, mode)]


def _no_replica(picture: Picture, node: Node) -> str:
    step = command(picture, "add", "NEW-HOST:PORT", "--replica-of", node.name)
    return f"{node.name} has no replica that answers: add one ({step})"


def rolling(
    picture: Picture,
    *,
    only: Collection[str] = (),
    done: Collection[str] = (),
    homes: Collection[str] = (),
    outage: bool = False,
) -> list[Step]:
    """What is left of a rolling restart, in order. Raises ClusterError.

    only -- ids of the nodes to restart; all if empty.  done -- ids of those that have been.
    homes -- ids of nodes that shall be primaries at the end.  outage -- primaries without replicas may be restarted,
        too: their slots are not served meanwhile.
    """
    wanted = {id for id in only or picture.by_id if id not in done}
    steps: list[Step] = []
    for node in picture.answering:  # where a run was cut short behind a restart
        if node.id in homes and node.id not in wanted and not node.is_primary:
            steps.append(HandOver(node.id, node.me.primary))
    for node in picture.answering:
        if node.id in wanted and not node.is_primary:
            steps.append(Restart(node.id))
            if node.id in homes:  # where it was cut short in front of the restart
                steps.append(HandOver(node.id, node.me.primary))
    for primary in picture.primaries:
        if primary.id not in wanted:
            continue
        replica = best_replica(picture, primary) if primary.slots else None
        if replica is None:
            if primary.slots and not outage:
                raise ClusterError(
                    f"{_no_replica(picture, primary)}, or say --outage: its slots are not served meanwhile"
                )
            steps.append(Restart(primary.id))
            continue
        steps += [HandOver(replica.id, primary.id), Restart(primary.id)]
        if primary.id in homes:
            steps.append(HandOver(primary.id, replica.id))
    return steps
