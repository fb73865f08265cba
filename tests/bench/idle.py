"""What six nodes cost that do nothing but gossip: CPU of all six over a while, beside six of redis-server."""

import contextlib
import subprocess
import time

from tests.bench.measuring import cpu_seconds
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

WATCHED_S = 20.0


def idle_cpu(kind: type[Server]) -> float:
    """CPU seconds a second of six idle nodes with the default node timeout."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(kind(cluster_enabled="yes")) for _ in range(6)]
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        command = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        for node in nodes:
            with node.wire() as wire:
                wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 60, "the cluster is up")
        time.sleep(5)  # replicas attach, the first rush of gossip ends
        before = sum(cpu_seconds(node.pid) for node in nodes)
        time.sleep(WATCHED_S)
        return (sum(cpu_seconds(node.pid) for node in nodes) - before) / WATCHED_S


def table(_rounds: int) -> str:
    mine, his = idle_cpu(HexadServer), idle_cpu(RedisServer)
    return (
        "| six idle nodes | Hexad | Redis | ratio |\n|---|---|---|---|\n"
        f"| CPU ms a second | {mine * 1000:.1f} | {his * 1000:.1f} | **{mine / his:.1f}** |\n"
    )
