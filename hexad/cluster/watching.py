"""`hexad cluster watch`: the cluster as it is, once a second, until Ctrl-C."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

import trio

from hexad.cluster.desk import WELL, Desk
from hexad.cluster.look import look
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.reach import show
from hexad.view import NodeStatus, Terminal, View, describe, status_of, summary_state, with_lags

LOOK_S = 1.0
MOVING = ("offset", "lag_bytes", "ops", "memory_bytes", "clients", "keys", "log")
"""What changes all the time, and is no news."""


async def watch(desk: Desk, wanted: Namespace) -> int:
    """Show every node until cancelled; with JSON a line for each change."""
    picture = await look(desk.access, desk.performer.seed)
    before: list[NodeStatus] = []
    view = None if desk.stage.is_json else View(Terminal(highlight=False), caption="Ctrl-C ends the view")
    left = wanted.looks
    if view is None:
        while True:
            now = statuses(picture)
            _tell_changes(desk, before, now)
            before = now
            left -= 1
            if not left:
                return WELL
            picture = await _next(desk, picture)
    with view.watching():
        while True:
            view.show(f"cluster of {len(picture.nodes)} nodes", statuses(picture))
            left -= 1
            if not left:
                return WELL
            picture = await _next(desk, picture)


async def _next(desk: Desk, picture: Picture) -> Picture:
    """The next look; nodes that are gone do not end it as long as one answers."""
    await trio.sleep(LOOK_S)
    try:
        return await look(desk.access, desk.performer.seed, [node.address for node in picture.nodes])
    except ClusterError:
        return Picture(tuple(_silent(node) for node in picture.nodes))


def _silent(node: Node) -> Node:
    return Node(node.address, (node.me,), failure="no answer")


def statuses(picture: Picture) -> list[NodeStatus]:
    """The nodes as the view shows them; hosts are named where there are several."""
    hosts = len({node.address[0] for node in picture.nodes}) > 1
    return with_lags([_status(node, picture, hosts) for node in picture.nodes])


def _status(node: Node, picture: Picture, hosts: bool) -> NodeStatus:
    host, port = node.address
    if not node.answers:
        return NodeStatus(port, 0, "no answer", host=host if hosts else "")
    info = dict(node.info)
    status = status_of(port, node.number("process_id"), info, node.known, node.state)
    if not hosts:
        return status
    primary = picture.by_id.get(node.me.primary)
    fields = {name: getattr(status, name) for name in status.__dataclass_fields__}
    return NodeStatus(**fields | {"host": host, "primary_host": primary.address[0] if primary else ""})


def _tell_changes(desk: Desk, before: list[NodeStatus], now: list[NodeStatus]) -> None:
    old = {node.name: describe(node) for node in before}
    for node in now:
        if old.get(node.name) != describe(node):
            fields = {name: value for name, value in asdict(node).items() if name not in MOVING}
            address = show((node.host, node.port)) if node.host else str(node.port)
            desk.stage.tell("", "node", **fields | {"address": address, "text": describe(node)})
    if summary_state(before) != summary_state(now):
        desk.stage.tell("", "cluster", state=summary_state(now))
