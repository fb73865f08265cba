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
"""How long load is counted."""
METRICS = {MEMORY: b"memory-bytes", LOAD: b"cpu-usec"}


async def slot_costs(access: Access, picture: Picture, by: str) -> dict[int, float]:
    """What each slot costs its owner. Raises OSError.

    Counters of load go up for ever, and begin anew where a slot has moved to: so their growth is what counts.
    """
    counted = await count_keys(access, picture)
    if by == KEYS:
        return {
            slot: float(node.keys_in[slot]) for node in counted.primaries for slot in node.slots & set(node.keys_in)
        }
    costs = await _costs(access, counted, by)
    if by == LOAD:
        await trio.sleep(SAMPLE_S)
        before, after = costs, await _costs(access, counted, by)
        costs = {slot: max(0.0, cost - before.get(slot, 0.0)) for slot, cost in after.items()}
    return costs


async def _costs(access: Access, counted: Picture, by: str) -> dict[int, float]:
    """What each slot has cost so far."""
    costs: dict[int, float] = {}
    for node in counted.primaries:
        told = await _slot_stats(access, node, METRICS[by])
        if told is None:
            total = await _total(access, node, by)
            told = _spread(node, total)
        costs |= {slot: cost for slot, cost in told.items() if slot in node.slots}
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


async def _total(access: Access, node: Node, by: str) -> float:
    """What all slots of a node have cost together."""
    now = await ask_node(access, node.address)
    if by == MEMORY:
        return float(now.number("used_memory") - now.number("used_memory_startup"))
    return float(now.number("total_commands_processed"))


def _spread(node: Node, total: float) -> dict[int, float]:
    """A node's sum over its slots: by their keys, or evenly if it has none."""
    keys = {slot: node.keys_in.get(slot, 0) for slot in node.slots}
    whole, total = sum(keys.values()), max(0.0, total)
    if not whole:
        return {slot: total / len(keys) for slot in keys}
    return {slot: total * count / whole for slot, count in keys.items() if count}
