"""`hexad up`: a topology of real nodes on this machine, from one command until Ctrl-C."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import trio

from hexad.local import LocalError, LocalTopology
from hexad.processes import NODE_PROGRAM, STOP_SIGNALS, Place, PlaceError, ip_address, port_complaint
from hexad.topology import CLUSTER, TOPOLOGIES, WATCHED_NAME, BadPlan, Plan, make_plan
from hexad.view import Terminal, View
from node.platform import Platform

LOOK_EACH_S = 1.0

DESCRIPTION = """\
Start a topology of real nodes on this machine, join them, show them, and stop them all on Ctrl-C.

The data stays in DIR. A second start brings the same cluster and its data back: what the nodes
agree on is kept, whatever has failed over meanwhile; a start that was cut short is completed.
"""

EPILOG = """\
DIR holds a directory for each node, named by its port: nodes.conf, dump.rdb and node.log.
With Sentinels the last three ports are theirs, and they call the primary "mymaster".

examples:
  hexad up                                            six nodes, 127.0.0.1:7000-7005
  hexad up --nodes 9 --replicas 2 --port 8000 --dir /tmp/nine
  hexad up --topology replication --replicas 2        a primary and two replicas, no cluster
  hexad up --topology sentinel                        the same, and three Sentinels that watch them
  hexad up --proxy                                    and one Redis in front of it at port 6380
  hexad up -- --requirepass secret --save "60 1"      options of `hexad server` for each node
  redis-cli -c -p 7000                                talk to it

Ctrl-C (SIGTERM, SIGHUP) asks replicas, then primaries to save and end; a second one kills them.
exit codes: 0 stopped, and every node had run to the end; 1 could not start, or a node died or had
to be killed; 2 wrong use.
"""


def main(argv: Sequence[str], program: Sequence[str] = NODE_PROGRAM) -> int:
    """Run `hexad up`; the exit code. `program` is the command line that starts a node, without its options."""
    words, options = _split(argv)
    try:
        wanted = parser().parse_args(words)
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    view, errors = View(Terminal(highlight=False)), View(Terminal(stderr=True, highlight=False))
    try:
        return trio.run(_up, wanted, options, program, view)
    except BadPlan as error:
        errors.say(f"hexad up: {error}")
        return 2
    except (PlaceError, LocalError) as error:
        errors.say(f"hexad up: {error}")
        return 1


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own words, and those behind "--" for the nodes."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def parser() -> argparse.ArgumentParser:
    """The options; those not given are None, so that an older start's choice can stand."""
    form = argparse.RawDescriptionHelpFormatter
    usage = "hexad up [options] [-- options of each node]"
    result = argparse.ArgumentParser("hexad up", usage, DESCRIPTION, EPILOG, formatter_class=form, allow_abbrev=False)
    add = result.add_argument
    add("--topology", choices=TOPOLOGIES, help="what to start (default: cluster)")
    add("--nodes", type=int, metavar="N", help="nodes in all (default: 6 in a cluster)")
    add("--replicas", type=int, metavar="N", help="replicas of each primary (default: 1 in a cluster, else 2)")
    add("--host", metavar="ADDRESS", help="where nodes listen and reach each other (default: 127.0.0.1)")
    add("--port", type=int, metavar="PORT", help="port of the first node; the others follow (default: 7000)")
    add("--dir", default="./hexad-data", metavar="DIR", help="where the data is kept (default: ./hexad-data)")
    add("--proxy", type=int, nargs="?", const=PROXY_PORT, metavar="PORT", help=PROXY_HELP)
    add(
        "--node-timeout-ms", type=int, metavar="MS", help="when a node counts as dead (default: 15000; Sentinels: 5000)"
    )
    return result


PROXY_PORT = 6380
PROXY_HELP = "a proxy in front: one Redis for clients that know no cluster (default port: 6380)"
RECORDED = ("topology", "nodes", "replicas", "host", "port")


def settle(wanted: dict[str, Any], record: dict[str, Any], directory: str) -> dict[str, Any]:
    """What the record of an older start says, where nothing was asked for. Raises BadPlan where the two differ."""
    for name in RECORDED:
        if record and wanted[name] not in (None, record.get(name)):
            raise BadPlan(
                f"{directory} holds a {record.get('topology')} with {name} {record.get(name)}: "
                f"leave out --{name} {wanted[name]}, or choose another --dir"
            )
    return {name: wanted[name] if wanted[name] is not None else record.get(name) for name in RECORDED}


def _plan(wanted: argparse.Namespace, options: Sequence[str], place: Place) -> Plan:
    host = None if wanted.host is None else ip_address(wanted.host)
    chosen = settle({**vars(wanted), "host": host}, place.read_record(), place.path)
    given = {name: value for name, value in chosen.items() if value is not None}
    topology = given.pop("topology", CLUSTER)
    limits = {"node_timeout_ms": wanted.node_timeout_ms, "proxy_port": wanted.proxy}
    return make_plan(topology, **given, **limits, options=options)


def _record(plan: Plan) -> dict[str, Any]:
    values = (plan.topology, plan.nodes, plan.replicas, plan.host, plan.first_port)
    return dict(zip(RECORDED, values, strict=True))


async def _up(wanted: argparse.Namespace, options: Sequence[str], program: Sequence[str], view: View) -> int:
    place = Place.open(wanted.dir)
    try:
        plan = _plan(wanted, options, place)
        if complaint := port_complaint(plan.host, plan.listening_ports):
            raise LocalError(complaint)
        place.write_record(_record(plan))
        with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
            return await _run(LocalTopology(plan, place, program, Platform()), view, signals)
    finally:
        place.close()


async def _run(local: LocalTopology, view: View, signals: AsyncIterator[int]) -> int:
    """Start, watch until a signal comes, stop."""
    stopped_well = False

    async def stop() -> None:
        nonlocal stopped_well
        stopped_well = await local.stop(view.progress)

    try:
        await _until_signal(signals, lambda: _serve(local, view))
    finally:
        with trio.CancelScope(shield=True):
            await _until_signal(signals, stop)
        view.say("Stopped." if stopped_well else "Stopped; not every node ended well by itself.")
    return 0 if stopped_well else 1


async def _until_signal(signals: AsyncIterator[int], work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end, or cancel it when a signal comes. Raises what it raises."""
    failure: Exception | None = None

    async def cancel_on_signal(scope: trio.CancelScope) -> None:
        async for _ in signals:
            scope.cancel()
            return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
        try:
            await work()
        except Exception as error:  # raised below as it is: the nursery would put it into a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _serve(local: LocalTopology, view: View) -> None:
    """Bring the topology up, and show it until it is cancelled or no node is left."""
    plan = local.plan
    await local.start(view.progress)
    await local.join(view.progress)
    await local.start_proxy(view.progress)
    first, last = plan.ports[0], plan.ports[-1]
    ports = str(first) if first == last else f"{first}-{last}"
    view.say(f"{plan.topology} at {plan.host}:{ports} is ready (data and logs: {local.place.path})")
    if plan.sentinel_ports:
        port = plan.sentinel_ports[0]
        view.say(f"Try: redis-cli -h {plan.host} -p {port} sentinel get-master-addr-by-name {WATCHED_NAME}")
    else:
        view.say(f"Try: redis-cli {'-c ' if plan.topology == CLUSTER else ''}-h {plan.host} -p {first}")
    if plan.proxy_port is not None:
        view.say(f"One Redis in front of it: redis-cli -h {plan.host} -p {plan.proxy_port}")
    with view.watching():
        while not local.are_all_down:
            view.show(f"{plan.topology} at {plan.host}:{ports}", await local.look())
            await trio.sleep(LOOK_EACH_S)
        view.show(f"{plan.topology} at {plan.host}:{ports}", await local.look())
