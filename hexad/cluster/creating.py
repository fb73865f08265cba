"""`hexad cluster create`: nodes that know nobody become a cluster."""

from __future__ import annotations

from argparse import Namespace

import trio

from hexad.cluster.desk import FAILED, WELL, Desk
from hexad.cluster.layout import (
    Act,
    AddSlots,
    Follow,
    Introduce,
    Layout,
    SetEpoch,
    Wait,
    check_new,
    decide,
    make_layout,
)
from hexad.cluster.look import ask_node
from hexad.cluster.picture import ClusterError, Node
from hexad.reach import show
from hexad.sight import ranges_text
from node.net.resp import Failure

LOOK_S = 0.1
AGAIN_S = 5.0
"""When an act that has shown no effect is done again: what gossip carries can get lost."""
STALL_TIMEOUT_S = 60.0
"""For the joining to get on."""


async def create(desk: Desk, wanted: Namespace) -> int:
    """Lay the nodes out, show that, and join them."""
    layout = make_layout(wanted.nodes, wanted.replicas)
    nodes = await _ask_all(desk, layout)
    check_new(layout, nodes)
    _show(desk, layout)
    if wanted.dry_run:
        return WELL
    acts = decide(layout, nodes)
    if acts and not desk.stage.agreed():
        return FAILED
    await _join(desk, layout)
    return await desk.end("The cluster is made.")


def _show(desk: Desk, layout: Layout) -> None:
    rows = []
    for primary in layout.primaries:
        rows.append((show(primary), "primary", ranges_text([layout.slots_of(primary)])))
        rows += [(show(one), f"  replica of {show(to)}", "") for one, to in layout.replicas if to == primary]
    desk.stage.table(("Node", "Role", "Slots"), rows)
    told = [dict(zip(("node", "role", "slots"), map(str.strip, row), strict=True)) for row in rows]
    shared = layout.same_host
    hosts = {address[0] for address in layout.addresses}
    text = (
        f"{shared} replicas share their primary's host: name nodes on more hosts" if shared and len(hosts) > 1 else ""
    )
    desk.stage.tell(text, "layout", nodes=told, replicas_on_primary_host=shared)


async def _ask_all(desk: Desk, layout: Layout) -> list[Node]:
    """Every node of the layout. Raises ClusterError."""
    nodes = []
    for address in layout.addresses:
        try:
            nodes.append(await ask_node(desk.access, address))
        except OSError as error:
            raise ClusterError(f"{error}: start it with cluster-enabled yes, then run this again") from error
    return nodes


async def _join(desk: Desk, layout: Layout) -> None:
    """Decide and act until nothing is left to do. What is waited for changes, or the time is up."""
    done_at: dict[Act, float] = {}
    said, deadline = "", trio.current_time() + STALL_TIMEOUT_S
    while True:
        try:
            decision = decide(layout, await _ask_all(desk, layout))
            if not decision:
                return
            if isinstance(decision, Wait):
                text = decision.why
            else:
                text = _text(decision)
                for act in decision:
                    if trio.current_time() >= done_at.get(act, -AGAIN_S) + AGAIN_S:
                        done_at[act] = trio.current_time()
                        text = await _do(desk, act) or text
        except OSError as error:
            text = str(error)
        if text != said:
            said, deadline = text, trio.current_time() + STALL_TIMEOUT_S
            desk.stage.say(text)
        if trio.current_time() >= deadline:
            raise ClusterError(f"the nodes do not get on: {text} (for {STALL_TIMEOUT_S:.0f} s); run this again")
        await trio.sleep(LOOK_S)


def _text(acts: list[Act]) -> str:
    words = {AddSlots: "assigning slots", SetEpoch: "numbering", Introduce: "introducing", Follow: "making replicas"}
    return f"{words[type(acts[0])]}: {len(acts)} node{'s' * (len(acts) != 1)}"


async def _do(desk: Desk, act: Act) -> str:
    """Do it; the text of the refusal, if the node refuses (what it knows has just changed)."""
    match act:
        case AddSlots(address, ranges):
            slots = [slot for first, last in ranges for slot in range(first, last + 1)]
            reply = await desk.access.ask(address, "CLUSTER", "ADDSLOTS", *slots)
        case SetEpoch(address, epoch):
            reply = await desk.access.ask(address, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        case Introduce(address, (host, port), bus_port):
            bus = [bus_port] if bus_port not in (0, port + 10000) else []
            (ip, *_) = await desk.access.platform.resolve(host)
            reply = await desk.access.ask(address, "CLUSTER", "MEET", ip, port, *bus)
        case Follow(address, primary_id, _):
            reply = await desk.access.ask(address, "CLUSTER", "REPLICATE", primary_id)
    return f"{show(act.address)}: {reply.decode('utf-8', 'replace')}" if isinstance(reply, Failure) else ""
