"""MEMORY: what a key holds, what the node uses and for what, and whether anything about that is unhealthy."""

from collections.abc import Mapping
from sys import getsizeof
from typing import NamedTuple

from node.client_memory import memory_bytes
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.datatypes.footprint import SAMPLES, footprint
from node.datatypes.numbers import parse_int
from node.keyspace.database import Database, Slot
from node.memory import BASE_BYTES, Memory
from node.net.resp import OK, Argv, CommandError, Reply, Status, Verbatim
from node.server import Client, Server
from node.slots import slot_of

SYNTAX_ERROR = CommandError("ERR syntax error")
NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")
SAMPLED_SLOTS = 64
"""So many slots stand for all where the tables of a database are measured."""
ALL_SHARDS = "nondeterministic_output request_policy:all_shards response_policy:special"

container("memory")


# --- measured ---------------------------------------------------------------------------------------------------------


class Tables(NamedTuple):
    """Bytes of the tables of one database, without keys and values."""

    keys: int
    deadlines: int


class Overhead(NamedTuple):
    """Bytes of used memory that are no data."""

    startup: int
    backlog: int
    replicas: int
    clients: int
    links: int
    file: int
    scripts: int
    functions: int
    tables: Mapping[int, Tables]  # by database

    @property
    def total(self) -> int:
        return sum(self[:-1]) + sum(sum(tables) for tables in self.tables.values())


def overhead_of(server: Server) -> Overhead:
    """What is no data, part by part."""
    sessions = server.clients.sessions.values()
    replicas = sum(memory_bytes(client) for client in sessions if client.kind == b"replica")
    clients = sum(memory_bytes(client) for client in sessions if client.kind != b"replica")
    backlog = server.replication.primary.stream.backlog
    tables = {db.index: tables_of(db) for db in server.keyspace.databases if db.size}
    held = beyond = 0
    if backlog is not None:
        beyond = max(0, backlog.held_bytes - backlog.size_bytes)  # kept for replicas that lag
        held = backlog.held_bytes - beyond
    scripts, functions = server.scripts.cache.size_bytes, server.functions.size_bytes
    links = 0 if server.cluster is None else server.cluster.links_bytes
    return Overhead(BASE_BYTES, held, replicas + beyond, clients, links, 0, scripts, functions, tables)


def tables_of(db: Database) -> Tables:
    """The tables of a database: some of its slots stand for all."""
    slots: list[Slot] = []
    number = db.occupied.find(1)
    while number >= 0 and len(slots) < SAMPLED_SLOTS:
        slot = db.slots[number]
        assert slot is not None
        slots.append(slot)
        number = db.occupied.find(1, number + 1)
    share = db.occupied.count(1) / max(1, len(slots))
    keys = sum(getsizeof(slot) + getsizeof(slot.values) + footprint_of_order(slot) for slot in slots)
    deadlines = sum(getsizeof(slot.deadlines) for slot in slots)
    return Tables(round(keys * share) + getsizeof(db.slots) + db.clock_bytes, round(deadlines * share))


def footprint_of_order(slot: Slot) -> int:
    """Of the order that a big slot has beside its keys."""
    return 0 if slot.order is None else getsizeof(slot.order.keys) + getsizeof(slot.order.places)


def memory_of(server: Server, overhead: Overhead | None = None) -> Memory:
    """The memory of the node's process, read just now."""
    account, platform = server.memory, server.platform
    used = account.read()
    resident = platform.resident_bytes()
    parts = overhead or overhead_of(server)
    return Memory(
        used=used,
        peak=account.peak,
        allocated=account.latest.used,
        held=max(account.latest.used, min(account.latest.held, resident)),  # some pages may have been given back
        resident=resident,
        startup=parts.startup,
        overhead=min(used, parts.total),
        total=platform.total_memory_bytes(),
    )


# --- MEMORY USAGE -----------------------------------------------------------------------------------------------------


@command("memory|usage", -3, "readonly", keys="@2/range:0:1:0/RO")
def memory_usage(client: Client, argv: Argv) -> Reply:
    """MEMORY USAGE key [SAMPLES count]: bytes of a key, its value and its places in the tables."""
    samples = _samples(argv[3:])
    db, key = client.db, argv[2]
    value = db.peek(key)
    if value is None:
        return None
    slot = db.slots[slot_of(key)]
    assert slot is not None
    places = getsizeof(slot.values) // len(slot.values)
    if key in slot.deadlines:
        places += getsizeof(slot.deadlines) // len(slot.deadlines) + footprint(slot.deadlines[key])
    return footprint(key) + places + footprint(value, samples)


def _samples(words: Argv) -> int:
    """The count that SAMPLES names, once or several times."""
    samples = SAMPLES
    for at in range(0, len(words), 2):
        if words[at].lower() != b"samples" or at + 1 == len(words):
            raise SYNTAX_ERROR
        number = parse_int(words[at + 1])
        if number is None:
            raise NOT_AN_INTEGER
        if number < 0:
            raise SYNTAX_ERROR
        samples = number
    return samples


# --- MEMORY STATS -----------------------------------------------------------------------------------------------------


@command("memory|stats", 2, "", tips=ALL_SHARDS)
def memory_stats(client: Client, argv: Argv) -> Reply:
    """MEMORY STATS: where the memory goes, part by part."""
    server = client.host
    overhead = overhead_of(server)
    memory = memory_of(server, overhead)
    keys = server.keyspace.size
    stats: dict[bytes, Reply] = {
        b"peak.allocated": memory.peak,
        b"total.allocated": memory.used,
        b"startup.allocated": memory.startup,
        b"replication.backlog": overhead.backlog,
        b"clients.slaves": overhead.replicas,
        b"clients.normal": overhead.clients,
        b"cluster.links": overhead.links,
        b"aof.buffer": overhead.file,
        b"lua.caches": overhead.scripts,
        b"functions.caches": overhead.functions,
    }
    for index, tables in overhead.tables.items():
        stats[b"db.%d" % index] = {
            b"overhead.hashtable.main": tables.keys,
            b"overhead.hashtable.expires": tables.deadlines,
            b"overhead.hashtable.slot-to-keys": 0,
        }
    return stats | {
        b"overhead.total": memory.overhead,
        b"keys.count": keys,
        b"keys.bytes-per-key": max(0, memory.used - memory.startup) // keys if keys else 0,
        b"dataset.bytes": memory.dataset,
        b"dataset.percentage": memory.dataset_percent,
        b"peak.percentage": memory.peak_percent,
        **_allocator_stats(memory),
    }


def _allocator_stats(memory: Memory) -> dict[bytes, Reply]:
    allocated, held, resident = max(1, memory.allocated), max(1, memory.held), memory.resident
    return {
        b"allocator.allocated": memory.allocated,
        b"allocator.active": memory.held,
        b"allocator.resident": resident,
        b"allocator-fragmentation.ratio": held / allocated,
        b"allocator-fragmentation.bytes": memory.held - memory.allocated,
        b"allocator-rss.ratio": resident / held,
        b"allocator-rss.bytes": resident - memory.held,
        b"rss-overhead.ratio": 1.0,
        b"rss-overhead.bytes": 0,
        b"fragmentation": memory.fragmentation,
        b"fragmentation.bytes": resident - memory.allocated,
    }


# --- MEMORY DOCTOR ----------------------------------------------------------------------------------------------------

EMPTY_BYTES = 5 << 20
"""Below this nothing can be said."""
PEAK_RATIO_MAX = 1.5
FRAGMENTATION_MAX, FRAGMENTATION_BYTES_MIN = 1.4, 10 << 20
CLIENT_BYTES_MAX, REPLICA_BYTES_MAX = 200 << 10, 10 << 20
"""The limits beyond which Redis's doctor, too, finds something to say."""

NOTHING_TO_EXAMINE = (
    "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these "
    "conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back "
    "to our programming as soon as I finished rebooting.\n"
)
HEALTHY = "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
FOUND = "Sam, I detected a few issues in this node's memory:\n\n"


@command("memory|doctor", 2, "", tips=ALL_SHARDS)
def memory_doctor(client: Client, argv: Argv) -> Reply:
    """MEMORY DOCTOR: what is unhealthy about the node's memory, in words."""
    server = client.host
    overhead = overhead_of(server)
    return Verbatim(diagnosis(memory_of(server, overhead), overhead, _count_by_kind(server)).encode())


def _count_by_kind(server: Server) -> tuple[int, int]:
    """(clients, replicas)"""
    kinds = [client.kind == b"replica" for client in server.clients.sessions.values()]
    return len(kinds) - sum(kinds), sum(kinds)


def diagnosis(memory: Memory, overhead: Overhead, counts: tuple[int, int]) -> str:
    """The doctor's words; `counts` are the clients and the replicas."""
    if memory.used < EMPTY_BYTES:
        return NOTHING_TO_EXAMINE
    clients, replicas = counts
    found = []
    if memory.peak / memory.used > PEAK_RATIO_MAX:
        found.append(
            f"Peak memory: the node once used {memory.peak / memory.used:.1f} times what it uses now. Python keeps "
            "most of what was freed for new data, so resident memory may stay high; MEMORY PURGE gives back what it "
            "can, a restart gives back all."
        )
    fragmented = memory.resident - memory.allocated
    if memory.fragmentation > FRAGMENTATION_MAX and fragmented > FRAGMENTATION_BYTES_MIN:
        found.append(
            f"High total RSS: the process holds {memory.fragmentation:.1f} bytes for each one in use. Values of many "
            "sizes that came and went have left holes. MEMORY PURGE may help; if the ratio keeps growing, let a "
            "replica take over and restart this node."
        )
    if clients and overhead.clients / clients > CLIENT_BYTES_MAX:
        found.append(
            "Big client buffers: on the average a client holds more than 200 KB. Some send or ask for much at a time, "
            "or do not read their replies; CLIENT LIST shows which (tot-mem), `maxmemory-clients` bounds them."
        )
    if replicas and overhead.replicas / replicas > REPLICA_BYTES_MAX:
        found.append(
            "Big replica buffers: on the average more than 10 MB wait for a replica. Either it or its network is too "
            "slow for what is written here; `client-output-buffer-limit replica` bounds it."
        )
    return FOUND + "".join(f" * {text}\n\n" for text in found) if found else HEALTHY


# --- the allocators ---------------------------------------------------------------------------------------------------


@command("memory|malloc-stats", 2, "", tips=ALL_SHARDS)
def memory_malloc_stats(client: Client, argv: Argv) -> Reply:
    """MEMORY MALLOC-STATS: the books of Python's allocator and of the C library's."""
    report = client.host.platform.allocators_report()
    return Verbatim((report or "Stats not supported for the current allocator").encode())


@command("memory|purge", 2, "", tips="request_policy:all_shards response_policy:all_succeeded")
def memory_purge(client: Client, argv: Argv) -> Reply:
    """MEMORY PURGE: give back what is free."""
    client.host.platform.trim_memory()
    return OK


@command("memory|help", 2, "loading stale")
def memory_help(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("memory", describe("memory"))]
