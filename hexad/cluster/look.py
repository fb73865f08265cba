"""All nodes of a cluster asked at once: what they say becomes a `Picture`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import trio

from hexad.cluster.access import Access, Word, says
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.reach import Address, show
from hexad.sight import SLOT_COUNT, Known, parse_info, parse_nodes
from node.net.resp import Failure, Reply

AT_ONCE_MAX = 64
"""So many nodes are asked at a time."""


async def ask_node(access: Access, address: Address) -> Node:
    """One node as it is. Raises OSError, also for what is no answer of a node; ClusterError if it is in no cluster."""
    nodes, state, info = await access.ask_all(address, [["CLUSTER", "NODES"], ["CLUSTER", "INFO"], ["INFO"]])
    if says(nodes, b"cluster support disabled"):
        raise ClusterError(f"{show(address)} is not in cluster mode: start it with cluster-enabled yes")
    try:
        told = parse_nodes(_text(address, nodes))
    except ValueError as error:
        raise ConnectionError(f"{show(address)}: {error}") from error
    if not any("myself" in known.flags for known in told):
        raise ConnectionError(f"{show(address)}: its CLUSTER NODES does not tell which one it is")
    return Node(address, told, parse_info(_text(address, info)), _state(_text(address, state)))


async def look(access: Access, seed: Address, others: Iterable[Address] = ()) -> Picture:
    """The whole cluster, beginning at one node. Raises ClusterError if neither it nor another one answers."""
    first = None
    failures = []
    for address in dict.fromkeys([seed, *others]):
        try:
            first = await ask_node(access, address)
            break
        except OSError as error:
            failures.append(str(error))
    if first is None:
        raise ClusterError("; ".join(failures) + ": name a node that runs")
    if first.me.host:  # named as the others name it: MIGRATE is told this address, too
        first = replace(first, address=(first.me.host, first.me.port))
    found: dict[str, Node] = {first.id: first}
    waiting = _unseen(first, found)
    while waiting:
        limit = trio.CapacityLimiter(AT_ONCE_MAX)
        async with trio.open_nursery() as nursery:
            for known in waiting.values():
                nursery.start_soon(_ask_known, access, known, found, limit)
        waiting = {id: known for node in list(found.values()) for id, known in _unseen(node, found).items()}
    return Picture(tuple(sorted(found.values(), key=lambda node: (node.address, node.id))))


def _unseen(node: Node, found: dict[str, Node]) -> dict[str, Known]:
    if not node.answers:
        return {}
    return {known.id: known for known in node.known if known.id not in found and not known.is_arriving}


async def _ask_known(access: Access, known: Known, found: dict[str, Node], limit: trio.CapacityLimiter) -> None:
    address = (known.host, known.port)
    async with limit:
        try:
            if not known.host or "noaddr" in known.flags:
                raise ConnectionError("nobody knows its address")
            node = await ask_node(access, address)
            if node.id != known.id:
                raise ConnectionError(f"another node ({node.id[:8]}) answers at its address")
        except (OSError, ClusterError) as error:
            why = str(error).removeprefix(f"{show(address)}: ")
            node = Node(address, (replace(known, flags=known.flags | {"myself"}),), failure=why)
    found[known.id] = node


async def count_keys(access: Access, picture: Picture, slots: Collection[int] | None = None) -> Picture:
    """The same picture with the keys of each slot on each primary. Raises OSError.

    slots -- which to count; if None, each primary's own, and all others where its own do not make up its data set.
    """
    counted: dict[str, Node] = {}
    failures: list[OSError] = []

    async def count(node: Node) -> None:
        try:
            if slots is not None:
                found, _ = await _counts(access, node, slots)
            else:
                found, total = await _counts(access, node, node.slots)
                if sum(found.values()) != total:
                    found |= (await _counts(access, node, set(range(SLOT_COUNT)) - node.slots))[0]
        except OSError as error:  # raised below as it is: the nursery would put it into a group
            failures.append(error)
            return
        counted[node.id] = replace(node, keys_in=found)

    async with trio.open_nursery() as nursery:
        for node in picture.primaries:
            nursery.start_soon(count, node)
    if failures:
        raise failures[0]
    return Picture(tuple(counted.get(node.id, node) for node in picture.nodes))


async def _counts(access: Access, node: Node, slots: Collection[int]) -> tuple[dict[int, int], int]:
    """Keys by slot, without empty ones, and how many keys the node holds in all."""
    order = sorted(slots)
    commands: list[list[Word]] = [["CLUSTER", "COUNTKEYSINSLOT", slot] for slot in order]
    *counts, total = await access.ask_all(node.address, [*commands, ["DBSIZE"]])
    found = {slot: count for slot, count in zip(order, counts, strict=True) if isinstance(count, int) and count}
    return found, total if isinstance(total, int) else 0


def _text(address: Address, reply: Reply) -> bytes:
    """The text of a reply. Raises ConnectionError for a refusal: this node cannot be asked now."""
    if isinstance(reply, bytes) and not isinstance(reply, Failure):
        return reply
    raise ConnectionError(f"{show(address)}: {reply.decode('utf-8', 'replace') if isinstance(reply, bytes) else reply}")


def _state(text: bytes) -> str:
    return parse_info(text).get("cluster_state", "fail")
