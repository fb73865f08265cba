"""Many processes in one cluster: how long until it serves, and what its gossip costs beside a genuine one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bench.measuring import cpu_seconds
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

CI_NODES, PROOF_NODES = 20, 60
FORMED_S_MAX = 90.0
FORM_TIMEOUT_S = 300.0
SETTLE_S = 3.0
WATCHED_S, WATCHED_PROOF_S = 6.0, 60.0
CPU_RATIO_MAX = 5.0


def knows_all(server: Server, count: int) -> bool:
    """Its cluster serves, and has all nodes, half of them replicas."""
    with server.wire() as wire:
        info, nodes = wire.pipeline([("CLUSTER", "INFO"), ("CLUSTER", "NODES")])
    lines = nodes.decode().splitlines()
    replicas = sum(" slave " in line or ",slave " in line for line in lines)
    return b"cluster_state:ok" in info and len(lines) == count and replicas == count // 2 and b"handshake" not in nodes


def form_and_watch(kind: type[Server], count: int, watched_s: float) -> tuple[float, float, float]:
    """(seconds from the first start until all processes answer, until all agree, CPU ms a second of one idle node)."""
    with contextlib.ExitStack() as stack:
        nodes = [kind(cluster_enabled="yes", repl_diskless_sync_delay=0) for _ in range(count)]
        started = time.monotonic()
        for node in nodes:
            stack.callback(node.close)
            node.start(wait=False)
        for node in nodes:
            wait_until(node.answers, FORM_TIMEOUT_S, "the node answers")
        up_s = time.monotonic() - started
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        command = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=FORM_TIMEOUT_S)
        for node in nodes:
            wait_until(lambda n=node: knows_all(n, count), FORM_TIMEOUT_S, "all agree")
        formed_s = time.monotonic() - started
        time.sleep(SETTLE_S)  # replicas attach, the first rush of gossip ends
        before, since = sum(cpu_seconds(node.pid) for node in nodes), time.monotonic()
        time.sleep(watched_s)
        spent = (sum(cpu_seconds(node.pid) for node in nodes) - before) / (time.monotonic() - since)
        return up_s, formed_s, spent / count * 1000


@pytest.mark.proof
def test_twenty_processes() -> None:
    with ThreadPoolExecutor(2) as pool:  # at the same time: most of it is waiting
        runs = [pool.submit(form_and_watch, kind, CI_NODES, WATCHED_S) for kind in (HexadServer, RedisServer)]
        (_, formed_s, mine), (_, _, his) = (run.result() for run in runs)
    assert formed_s < FORMED_S_MAX
    assert mine <= CPU_RATIO_MAX * his, (mine, his)


@pytest.mark.proof
def test_proof_of_size(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = (form_and_watch(kind, PROOF_NODES, WATCHED_PROOF_S) for kind in (HexadServer, RedisServer))
    with capsys.disabled():
        print(f"\n| {PROOF_NODES} processes, half of them replicas | Hexad | Redis | ratio |")
        print("|---|---|---|---|")
        for name, mine, his, unit in zip(
            ("all answer", "all agree", "CPU of an idle node"), ours, theirs, ("s", "s", "ms/s"), strict=True
        ):
            print(f"| {name} | {mine:.1f} {unit} | {his:.1f} {unit} | **{mine / his:.1f}** |")
    assert ours[1] < FORMED_S_MAX
    assert ours[2] <= CPU_RATIO_MAX * theirs[2]
