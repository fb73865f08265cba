"""1 000 slots with 100 000 keys of 100 bytes go to another primary: atomically, and as `redis-cli` reshards."""

import subprocess
import time

from tests.bench.measuring import cpu_seconds, middle, progress
from tests.gossip.migrating import key_in, wait_over
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer, Server

SLOTS = 1000
KEYS_A_SLOT = 100
VALUE = "x" * 100
BATCH = 1000
LIMIT_S = 600.0

Figures = tuple[float, float]
"""Seconds from the order to its end, CPU seconds of the two nodes together."""


def filled(kind: type[Server]) -> LocalCluster:
    """Three primaries; the first one's slots 0 to 999 have the keys."""
    cluster = LocalCluster(kind, nodes=3, replicas=0, cluster_node_timeout=15_000)
    cluster.__enter__()
    keys = [key_in(slot, number) for slot in range(SLOTS) for number in range(KEYS_A_SLOT)]
    with cluster.nodes[0].wire(timeout_s=60) as wire:
        for first in range(0, len(keys), BATCH):
            batch = keys[first : first + BATCH]
            for key in batch:
                wire.send("SET", key, VALUE)
            for _ in batch:
                assert wire.read() == "OK"
    return cluster


def count(node: Server) -> int:
    with node.wire(timeout_s=60) as wire:
        return int(wire("DBSIZE"))


def node_id(node: Server) -> str:
    with node.wire(timeout_s=60) as wire:
        return str(wire("CLUSTER", "MYID").decode())


def atomically(cluster: LocalCluster) -> None:
    """CLUSTER MIGRATION IMPORT at the target."""
    with cluster.nodes[1].wire(timeout_s=60) as wire:
        task = wait_over(wire, wire("CLUSTER", "MIGRATION", "IMPORT", 0, SLOTS - 1), LIMIT_S)
        assert task["state"] == "completed", task


def key_by_key(cluster: LocalCluster) -> None:
    """As an operator of Redis does it."""
    command = [
        "redis-cli", "--cluster", "reshard", f"127.0.0.1:{cluster.nodes[2].port}", "--cluster-yes",
        "--cluster-from", node_id(cluster.nodes[0]), "--cluster-to", node_id(cluster.nodes[1]),
        "--cluster-slots", str(SLOTS),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def measure(kind: type[Server], *, atomic: bool) -> Figures:
    """One migration, on a cluster of its own."""
    progress(f"migration: {kind.__name__}, {'atomic' if atomic else 'reshard'}")
    cluster = filled(kind)
    try:
        pids = [node.pid for node in cluster.nodes[:2]]
        before, started = sum(map(cpu_seconds, pids)), time.perf_counter()
        (atomically if atomic else key_by_key)(cluster)
        took_s = time.perf_counter() - started
        assert count(cluster.nodes[1]) == SLOTS * KEYS_A_SLOT
        return took_s, sum(map(cpu_seconds, pids)) - before
    finally:
        cluster.__exit__(None, None, None)


def table(rounds: int) -> str:
    lines = [
        "| 1 000 slots, 100 000 keys | time | of Redis's reshard | CPU of both nodes |",
        "|---|---|---|---|",
    ]
    kinds = {
        "Redis, reshard": (RedisServer, False),
        "Hexad, reshard": (HexadServer, False),
        "Hexad, atomic migration": (HexadServer, True),
    }
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(min(rounds, 3)):
        for name, (kind, atomic) in kinds.items():
            found[name].append(measure(kind, atomic=atomic))
    his = found["Redis, reshard"]
    for name, mine in found.items():
        ratio = middle([one[0] / other[0] for one, other in zip(mine, his, strict=True)])
        time_s, cpu_s = (middle([pair[side] for pair in mine]) for side in (0, 1))
        lines.append(f"| {name} | {time_s:.1f} s | **{ratio:.2f}** | {cpu_s:.1f} s |")
    return "\n".join(lines) + "\n"
