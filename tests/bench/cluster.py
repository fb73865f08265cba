"""What cluster mode costs: slots resharded by redis-cli, and GET and SET of a node beside the same node standalone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from node.slots import slot_of
from tests.bench.measuring import benchmark, cpu_seconds, middle
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

SLOTS, KEYS_PER_SLOT = 1000, 100
REQUESTS = 100_000
VALUE = b"v" * 32
UP_S = 60.0


@contextmanager
def pair(kind: type[Server]) -> Iterator[list[Server]]:
    """Two primaries: the first has slots 0-8191, the second the others."""
    options = {"cluster_enabled": "yes", "repl_diskless_sync_delay": 0}
    with kind(**options) as a, kind(**options) as b:
        with a.wire() as at_a, b.wire() as at_b:
            at_a("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            at_b("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            at_b("CLUSTER", "SET-CONFIG-EPOCH", 5)
            at_a("CLUSTER", "MEET", "127.0.0.1", b.port)
            for wire in (at_a, at_b):
                wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), UP_S, "the cluster is up")
        yield [a, b]


def tags() -> list[bytes]:
    """A tag for each of the first slots."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < SLOTS:
        tag = b"%d" % number
        slot = slot_of(tag)
        if slot < SLOTS:
            found.setdefault(slot, tag)
        number += 1
    return list(found.values())


def fill(server: Server) -> None:
    with server.wire(timeout_s=60) as wire:
        for tag in tags():
            wire.pipeline([("SET", b"{%b}:%d" % (tag, n), VALUE) for n in range(KEYS_PER_SLOT)])
        assert wire("DBSIZE") == SLOTS * KEYS_PER_SLOT


def reshard(kind: type[Server]) -> tuple[float, float]:
    """(seconds, CPU seconds of both nodes) that redis-cli takes to move the slots."""
    with pair(kind) as nodes:
        fill(nodes[0])
        ids = []
        for node in nodes:
            with node.wire() as wire:
                ids.append(wire("CLUSTER", "MYID").decode())
        command = ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{nodes[0].port}", "--cluster-yes"]
        command += ["--cluster-slots", str(SLOTS), "--cluster-from", ids[0], "--cluster-to", ids[1]]
        before, started = sum(cpu_seconds(node.pid) for node in nodes), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        took = time.perf_counter() - started
        with nodes[1].wire() as wire:
            assert wire("DBSIZE") == SLOTS * KEYS_PER_SLOT, "all keys moved"
        return took, sum(cpu_seconds(node.pid) for node in nodes) - before


@contextmanager
def both_modes(kind: type[Server]) -> Iterator[tuple[Server, Server]]:
    """(in a cluster of its own, standalone)."""
    with kind(cluster_enabled="yes") as clustered, kind() as alone:
        with clustered.wire() as wire:
            wire("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: b"cluster_state:ok" in wire("CLUSTER", "INFO"), UP_S, "the cluster is up")
        yield clustered, alone


def cost(server: Server, test: str, pipeline: int) -> float:
    """CPU µs of the server per request."""
    before = cpu_seconds(server.pid)
    arguments = ["-c", "50", "-P", str(pipeline), "-n", str(REQUESTS), "-r", "100000", "-d", "32", "-t", test]
    benchmark(server.port, *arguments)
    return (cpu_seconds(server.pid) - before) / REQUESTS * 1e6


def modes(servers: tuple[Server, Server], test: str, pipeline: int, rounds: int) -> str:
    """The cells of one kind of server: CPU µs in a cluster, standalone, and their ratio, measured in turns."""
    in_cluster, alone = servers
    cost(in_cluster, test, pipeline), cost(alone, test, pipeline)
    turns = [(cost(in_cluster, test, pipeline), cost(alone, test, pipeline)) for _ in range(rounds)]
    first, second = (middle([turn[side] for turn in turns]) for side in (0, 1))
    return f"{first:.2f} µs | {second:.2f} µs | **{middle([turn[0] / turn[1] for turn in turns]):.2f}**"


def mode_rows(rounds: int) -> Iterator[str]:
    with both_modes(HexadServer) as ours, both_modes(RedisServer) as theirs:
        for test in ("get", "set"):
            for pipeline in (1, 16):
                cells = [modes(servers, test, pipeline, rounds) for servers in (ours, theirs)]
                yield f"| {test.upper()} `-P {pipeline}` | {' | '.join(cells)} |"


def table(rounds: int) -> str:
    pairs = [(reshard(HexadServer), reshard(RedisServer)) for _ in range(min(rounds, 3))]
    lines = [f"| `redis-cli --cluster reshard`, {SLOTS} slots, {SLOTS * KEYS_PER_SLOT} keys | Hexad | Redis | ratio |"]
    lines.append("|---|---|---|---|")
    for name, at in (("time", 0), ("CPU of both nodes", 1)):
        mine, his = (middle([one[side][at] for one in pairs]) for side in (0, 1))
        lines.append(f"| {name} | {mine:.2f} s | {his:.2f} s | **{middle([a[at] / b[at] for a, b in pairs]):.2f}** |")
    lines += [
        "",
        "| CPU per op, `-c 50` | Hexad in a cluster | standalone | ratio | Redis in a cluster | standalone | ratio |",
        "|---|---|---|---|---|---|---|",
        *mode_rows(rounds),
    ]
    return "\n".join(lines) + "\n"
