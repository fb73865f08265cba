"""What each slot costs, in keys, memory or load: what `rebalance` evens out.

Nodes that know CLUSTER SLOT-STATS say it of each slot. Of others only the sum is known (INFO): it is spread over their
slots in proportion to the keys in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from hexad.cluster.access import Access
from hexad.cluster.look import ask_node, count_keys
from hexad.cluster.picture import Node, Picture
from hexad.sight import SLOT_COUNT
from node.net.resp import Reply

KEYS, MEMORY, LOAD = "keys", "memory", "load"
SAMPLE_S = 3.0
"""How long commands are counted where only their sum is known."""
METRICS = {MEMORY: b"memory-bytes", LOAD: b"cpu-usec"}


async def slot_costs(access: Access, picture: Picture, by: str) -> dict[int, float]:
    """What each slot costs its owner. Raises OSError."""
    counted = await count_keys(access, picture)
    costs: dict[int, float] = {}
    unknown = []
    for node in counted.primaries:
        if by == KEYS:
            costs |= {slot: float(node.keys_in[slot]) for slot in node.slots if slot in node.keys_in}
            continue
        told = await _slot_stats(access, node, METRICS[by])
        if told is None:
            unknown.append(node)
        else:
            costs |= {slot: cost for slot, cost in told.items() if slot in node.slots}
    sums = await _sums(access, unknown, by)
    for node in unknown:
        costs |= _spread(node, sums[node.id])
    return costs


async def _slot_stats(access: Access, node: Node, metric: bytes) -> dict[int, float] | None:
    reply = await access.ask(node.address, "CLUSTER", "SLOT-STATS", "SLOTSRANGE", 0, SLOT_COUNT - 1)
    if not isinstance(reply, list):
        return None
    found = {entry[0]: _stats(entry[1]).get(metric) for entry in reply}
    if any(not isinstance(value, int) for value in found.values()):
        return None  # it does not keep this one
    return {slot: float(value) for slot, value in found.items() if value}


def _stats(entry: Reply) -> Mapping[bytes, Reply]:
    return entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=False))


async def _sums(access: Access, nodes: list[Node], by: str) -> dict[str, float]:
    if by == MEMORY:
        return {
            node.id: float(max(0, node.number("used_memory") - node.number("used_memory_startup"))) for node in nodes
        }
    if not nodes:
        return {}
    before = {node.id: (await ask_node(access, node.address)).number("total_commands_processed") for node in nodes}
    await trio.sleep(SAMPLE_S)
    after = {node.id: (await ask_node(access, node.address)).number("total_commands_processed") for node in nodes}
    return {id: float(max(0, after[id] - before[id])) for id in before}


def _spread(node: Node, total: float) -> dict[int, float]:
    """A node's sum over its slots: by their keys, or evenly if it has none."""
    keys = {slot: node.keys_in.get(slot, 0) for slot in node.slots}
    whole, total = sum(keys.values()), max(0.0, total)
    if not whole:
        return {slot: total / len(keys) for slot in keys}
    return {slot: total * count / whole for slot, count in keys.items() if count}
