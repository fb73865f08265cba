"""Full synchronisation, and loading from an RDB file: 500 000 keys, each pair of the same kind."""

import time

from tests.bench.measuring import middle, populate
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

KEYS = 500_000


def full_sync(kind: type[Server]) -> float:
    """Seconds from REPLICAOF until the replica has everything."""
    options = {"repl_diskless_sync_delay": 0}
    with kind(**options) as primary, kind(**options) as replica:
        populate(primary, KEYS)
        with replica.wire(timeout_s=60) as wire:
            started = time.perf_counter()
            wire("REPLICAOF", "127.0.0.1", str(primary.port))
            wait_until(
                lambda: b"master_link_status:up" in wire("INFO", "replication") and wire("DBSIZE") == KEYS,
                120,
                "the replica is in sync",
            )
            return time.perf_counter() - started


def load(kind: type[Server]) -> float:
    """Seconds that DEBUG RELOAD NOSAVE takes: the RDB file read and put in place."""
    with kind(enable_debug_command="yes") as server:
        populate(server, KEYS)
        with server.wire(timeout_s=120) as wire:
            wire("SAVE")
            started = time.perf_counter()
            wire("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE")
            return time.perf_counter() - started


def table(rounds: int) -> str:
    lines = ["| 500 000 keys | Hexad | Redis | ratio |", "|---|---|---|---|"]
    for name, measure in (("full synchronisation", full_sync), ("load of an RDB file", load)):
        pairs = [(measure(HexadServer), measure(RedisServer)) for _ in range(min(rounds, 3))]
        mine, his = middle([pair[0] for pair in pairs]), middle([pair[1] for pair in pairs])
        ratio = middle([a / b for a, b in pairs])
        lines.append(f"| {name} | {mine:.2f} s | {his:.2f} s | **{ratio:.2f}** |")
    return "\n".join(lines) + "\n"
