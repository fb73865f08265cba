"""CLUSTER and its subcommands, and ASKING: orders and questions of clients to the cluster machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gossip import report
from gossip.events import (
    AddSlots,
    BumpEpoch,
    DelSlots,
    Event,
    Failover,
    FlushSlots,
    Forget,
    Meet,
    Replicate,
    Reset,
    SaveNow,
    SetConfigEpoch,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
    SetSlotStable,
)
from gossip.packet import slots_in
from gossip.service import BUS_PORT_OFFSET, ClusterService
from gossip.slotstats import METRICS
from gossip.words import declare
from node.commands.help import describe, help_lines
from node.datatypes.numbers import parse_int
from node.net.resp import OK, Argv, CommandError, Reply, Status, Verbatim
from node.server import Client
from node.slots import SLOTS, slot_of
from node.table import Registry, Run

CLUSTER = Registry()
CLUSTER.container("cluster")

SYNTAX_ERROR = CommandError("ERR syntax error")
NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")

SHOWN_CHARS_MAX = 128
"""How much of a client's word an error repeats."""


def command(name: str) -> Callable[[Run], Run]:
    """Let the decorated function be the command `name`, with what `WORDS` knows of it."""
    return declare(CLUSTER, name)


def service(client: Client) -> ClusterService:
    """The cluster of the client's node."""
    cluster = client.host.cluster
    assert isinstance(cluster, ClusterService)
    return cluster


def order(client: Client, event: Event) -> Reply:
    """Hand a client's order to the machine."""
    text = service(client).bus.handle(event)
    return OK if text == "OK" else Status(text.encode())


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


def _too_many(argv: Argv) -> CommandError:
    name = _text(argv[1])[:SHOWN_CHARS_MAX]
    return CommandError(f"ERR unknown subcommand or wrong number of arguments for '{name}'. Try CLUSTER HELP.")


def _slot(word: bytes) -> int:
    slot = parse_int(word)
    if slot is None or not 0 <= slot < SLOTS:
        raise CommandError("ERR Invalid or out of range slot")
    return slot


@command("asking")
def asking(client: Client, _argv: Argv) -> Reply:
    client.set_asking(True)
    return OK


# --- questions --------------------------------------------------------------------------------------------------------


@command("cluster|help")
def help_(client: Client, _argv: Argv) -> Reply:
    names = client.host.commands.top["cluster"].subcommands
    lines = help_lines("cluster", describe("cluster", [name.decode() for name in names]))
    return [Status(line.encode()) for line in lines]


@command("cluster|info")
def info(client: Client, _argv: Argv) -> Reply:
    cluster = service(client)
    lines = report.info(cluster.machine.core, cluster.bus.links_over_limit)
    return Verbatim((lines + "".join(line + "\r\n" for line in cluster.mover.info())).encode())


@command("cluster|nodes")
def nodes(client: Client, _argv: Argv) -> Reply:
    cluster = service(client)
    return Verbatim(report.nodes(cluster.machine.core, tls=client.tls, network=cluster.network_of(client)).encode())


@command("cluster|myid")
def myid(client: Client, _argv: Argv) -> Reply:
    return service(client).my_id.encode()


@command("cluster|myshardid")
def myshardid(client: Client, _argv: Argv) -> Reply:
    return service(client).state.myself.shard_id.encode()


@command("cluster|slots")
def slots(client: Client, _argv: Argv) -> Reply:
    cluster = service(client)
    return report.slots(cluster.machine.core, tls=client.tls, network=cluster.network_of(client))


@command("cluster|shards")
def shards(client: Client, _argv: Argv) -> Reply:
    cluster = service(client)
    loading = client.host.loading is not None
    return report.shards(cluster.machine.core, loading=loading, network=cluster.network_of(client))


@command("cluster|links")
def links(client: Client, _argv: Argv) -> Reply:
    cluster = service(client)

    def buffers(number: int) -> tuple[int, int]:
        link = cluster.bus.links.get(number)
        return (0, 0) if link is None else (len(link.out), len(link.out))

    return report.links(cluster.machine.core, buffers)


@command("cluster|replicas")
@command("cluster|slaves")
def replicas(client: Client, argv: Argv) -> Reply:
    cluster = service(client)
    network = cluster.network_of(client)
    return report.replicas(cluster.machine.core, _text(argv[2]), tls=client.tls, network=network)


@command("cluster|count-failure-reports")
def count_failure_reports(client: Client, argv: Argv) -> Reply:
    cluster = service(client)
    return report.failure_reports(cluster.machine.core, _text(argv[2]), cluster.bus.now_ms())


@command("cluster|keyslot")
def keyslot(client: Client, argv: Argv) -> Reply:
    return slot_of(argv[2])


@command("cluster|countkeysinslot")
def countkeysinslot(client: Client, argv: Argv) -> Reply:
    cluster = service(client)
    slot = parse_int(argv[2])
    if slot is None:
        raise NOT_AN_INTEGER
    if not 0 <= slot < SLOTS:
        raise CommandError("ERR Invalid slot")
    return cluster.keys_in_slot(slot)


@command("cluster|getkeysinslot")
def getkeysinslot(client: Client, argv: Argv) -> Reply:
    slot, count = parse_int(argv[2]), parse_int(argv[3])
    if slot is None or count is None:
        raise NOT_AN_INTEGER
    if not 0 <= slot < SLOTS or count < 0:
        raise CommandError("ERR Invalid slot or number of keys")
    keys = client.host.keyspace.databases[0].slots[slot]
    return [] if keys is None else [key for key, _ in zip(keys.values, range(count), strict=False)]


@command("cluster|slot-stats")
def slot_stats(client: Client, argv: Argv) -> Reply:
    """CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric [LIMIT count] [ASC | DESC]."""
    form = argv[2].upper()
    if form == b"SLOTSRANGE" and len(argv) == 5:
        first, last = _slot(argv[3]), _slot(argv[4])
        if first > last:
            raise CommandError(f"ERR Start slot number {first} is greater than end slot number {last}")
        return [_stats_of(client, slot) for slot in _our_slots(client) if first <= slot <= last]
    if form == b"ORDERBY":
        return _ordered_stats(client, argv)
    raise SYNTAX_ERROR


def _our_slots(client: Client) -> list[int]:
    """The slots of our shard, ascending."""
    return slots_in(service(client).state.myself.source.slots)


def _stats_of(client: Client, slot: int) -> list[Any]:
    cluster = service(client)
    stats: dict[bytes, Reply] = {b"key-count": cluster.keys_in_slot(slot)}
    if cluster.slot_stats.is_on:
        stats |= zip(METRICS, cluster.slot_stats.of(slot), strict=True)
    return [slot, stats]


def _ordered_stats(client: Client, argv: Argv) -> Reply:
    """By a metric, the largest first unless asked otherwise; equal ones by slot."""
    metric, given = argv[3].lower(), argv[4:]
    if metric != b"key-count" and (metric not in METRICS or not service(client).slot_stats.is_on):
        raise CommandError("ERR Unrecognized sort metric for ORDERBY.")
    limit: int | None = None
    ascending: bool | None = None
    while given:
        word = given[0].upper()
        if (word == b"LIMIT" and limit is not None) or (word in (b"ASC", b"DESC") and ascending is not None):
            raise CommandError("ERR you cannot provide multiple filters of the same type.")
        if word == b"LIMIT" and len(given) > 1:
            limit = parse_int(given[1])
            if limit is None or not 1 <= limit <= SLOTS:
                raise CommandError("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).")
            given = given[2:]
        elif word in (b"ASC", b"DESC"):
            ascending, given = word == b"ASC", given[1:]
        else:
            raise SYNTAX_ERROR
    cluster, sign = service(client), 1 if ascending else -1
    place = METRICS.index(metric) if metric in METRICS else None

    def rank(slot: int) -> int:
        return sign * (cluster.keys_in_slot(slot) if place is None else cluster.slot_stats.of(slot)[place])

    return [_stats_of(client, slot) for slot in sorted(_our_slots(client), key=rank)[:limit]]


# --- orders -----------------------------------------------------------------------------------------------------------


@command("cluster|meet")
def meet(client: Client, argv: Argv) -> Reply:
    """CLUSTER MEET ip port [cport]."""
    if len(argv) > 5:
        raise _too_many(argv)
    port = parse_int(argv[3])
    if port is None:
        raise CommandError(f"ERR Invalid base port specified: {_text(argv[3])}")
    cport = port + BUS_PORT_OFFSET
    if len(argv) == 5:
        given = parse_int(argv[4])
        if given is None:
            raise CommandError(f"ERR Invalid bus port specified: {_text(argv[4])}")
        cport = given
    return order(client, Meet(_text(argv[2]), port, cport))


@command("cluster|forget")
def forget(client: Client, argv: Argv) -> Reply:
    return order(client, Forget(_text(argv[2])))


@command("cluster|replicate")
def replicate(client: Client, argv: Argv) -> Reply:
    return order(client, Replicate(_text(argv[2])))


@command("cluster|failover")
def failover(client: Client, argv: Argv) -> Reply:
    """CLUSTER FAILOVER [FORCE | TAKEOVER]."""
    if len(argv) > 3:
        raise _too_many(argv)
    mode = argv[2].upper() if len(argv) == 3 else b""
    if mode not in (b"", b"FORCE", b"TAKEOVER"):
        raise SYNTAX_ERROR
    return order(client, Failover(mode.decode()))


@command("cluster|reset")
def reset(client: Client, argv: Argv) -> Reply:
    """CLUSTER RESET [HARD | SOFT]."""
    if len(argv) > 3:
        raise _too_many(argv)
    mode = argv[2].upper() if len(argv) == 3 else b"SOFT"
    if mode not in (b"HARD", b"SOFT"):
        raise SYNTAX_ERROR
    return order(client, Reset(mode == b"HARD"))


@command("cluster|set-config-epoch")
def set_config_epoch(client: Client, argv: Argv) -> Reply:
    epoch = parse_int(argv[2])
    if epoch is None:
        raise NOT_AN_INTEGER
    return order(client, SetConfigEpoch(epoch))


@command("cluster|bumpepoch")
def bumpepoch(client: Client, _argv: Argv) -> Reply:
    return order(client, BumpEpoch())


@command("cluster|saveconfig")
def saveconfig(client: Client, _argv: Argv) -> Reply:
    return order(client, SaveNow())


# --- slots ------------------------------------------------------------------------------------------------------------


@command("cluster|addslots")
def addslots(client: Client, argv: Argv) -> Reply:
    return order(client, AddSlots(tuple(map(_slot, argv[2:]))))


@command("cluster|delslots")
def delslots(client: Client, argv: Argv) -> Reply:
    return order(client, DelSlots(tuple(map(_slot, argv[2:]))))


@command("cluster|addslotsrange")
def addslotsrange(client: Client, argv: Argv) -> Reply:
    return order(client, AddSlots(_ranges(argv)))


@command("cluster|delslotsrange")
def delslotsrange(client: Client, argv: Argv) -> Reply:
    return order(client, DelSlots(_ranges(argv)))


def _ranges(argv: Argv) -> tuple[int, ...]:
    if len(argv) % 2:
        raise CommandError(f"ERR wrong number of arguments for 'cluster|{_text(argv[1]).lower()}' command")
    found: list[int] = []
    for at in range(2, len(argv), 2):
        first, last = _slot(argv[at]), _slot(argv[at + 1])
        if first > last:
            raise CommandError(f"ERR start slot number {first} is greater than end slot number {last}")
        found += range(first, last + 1)
    return tuple(found)


@command("cluster|flushslots")
def flushslots(client: Client, _argv: Argv) -> Reply:
    return order(client, FlushSlots())


@command("cluster|setslot")
def setslot(client: Client, argv: Argv) -> Reply:
    """CLUSTER SETSLOT slot (MIGRATING id | IMPORTING id | NODE id | STABLE)."""
    slot = _slot(argv[2])
    action = argv[3].upper()
    if action == b"STABLE" and len(argv) == 4:
        return order(client, SetSlotStable(slot))
    kind = _SETSLOT.get(action)
    if kind is None or len(argv) != 5:
        raise CommandError("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP")
    return order(client, kind(slot, _text(argv[4])))


_SETSLOT: dict[bytes, Callable[[int, str], Event]] = {
    b"MIGRATING": SetSlotMigrating,
    b"IMPORTING": SetSlotImporting,
    b"NODE": SetSlotNode,
}
