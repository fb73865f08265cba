"""The compose profile `proxy`: one Redis in front of six containers, to which things happen under a checking load.

A client that knows no cluster writes through the proxy all the time and asks `WAIT 1` for each write; what was
confirmed must be there in the end, and the gap in which nothing was taken has a bound. `make test-long` kills a primary
and restarts the proxy itself; `make proof` does all faults, five times each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.chaos.compose import FAULTS, NODE_TIMEOUT_MS, ComposeCluster, Fault, compose_cluster
from tests.support.containers import build_image, engine_environment
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, Wire

NETWORK = "172.30.83"
DOWN_S_MAX = 2 * NODE_TIMEOUT_MS / 1000 + 4
"""As for clients that know the cluster, and what the proxy needs to hear of it."""
WHOLE_S_MAX = 60.0
CONFIRMED_WRITES = 30
WAIT_MS = 100
PAUSE_S = 0.01
PROOF_ROUNDS = 5


class Client(threading.Thread):
    """Writes one key after another through the proxy, and remembers what a replica has."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.number = 0
        self.confirmed: list[int] = []
        self.taken_s: list[float] = []
        self.refused: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with Wire(self.port, timeout_s=60) as wire:
                    while not self.over.is_set():
                        self._write(wire)
                        self.over.wait(PAUSE_S)
            except OSError:
                self.over.wait(PAUSE_S)

    def _write(self, wire: Wire) -> None:
        self.number += 1
        taken, replicas = wire.pipeline([("SET", f"chaos:{self.number}", self.number), ("WAIT", 1, WAIT_MS)])
        if isinstance(taken, ReplyError):
            self.refused.append(taken.text)
            return
        self.taken_s.append(time.monotonic())
        if replicas == 1:
            self.confirmed.append(self.number)

    def await_confirmed(self, more: int) -> None:
        wanted = len(self.confirmed) + more
        wait_until(lambda: len(self.confirmed) >= wanted, WHOLE_S_MAX, f"{more} writes more are confirmed")

    def longest_gap_s(self, since_s: float) -> float:
        times = [since_s, *(at for at in self.taken_s if at > since_s)]
        return max(later - earlier for earlier, later in pairwise(times))

    def end(self) -> list[int]:
        """Stop, and say which confirmed writes are missing."""
        self.over.set()
        self.join(WHOLE_S_MAX)
        with Wire(self.port, timeout_s=60) as wire:
            found = wire("MGET", *(f"chaos:{number}" for number in self.confirmed))
        return [number for number, value in zip(self.confirmed, found, strict=True) if value != str(number).encode()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ComposeCluster]:
    env = engine_environment()
    settings = {"COMPOSE_PROFILES": "proxy", "HEXAD_PROXY_PORT": str(free_port())}
    with compose_cluster(env, build_image(env), NETWORK, **settings) as cluster:
        yield cluster


def proxy_port(cluster: ComposeCluster) -> int:
    return int(cluster.compose.env["HEXAD_PROXY_PORT"])


def restart_proxy(cluster: ComposeCluster, _port: int) -> None:
    container: Any = cluster.docker.containers.get(cluster.compose.container("proxy"))
    container.restart(timeout=30)


PROXY_RESTARTS = Fault("restart the proxy", restart_proxy, lambda _cluster, _port: None, replaced=False)


def run_round(cluster: ComposeCluster, fault: Fault) -> float:
    """Do it to the first primary; for how long nothing was taken, in seconds."""
    client = Client(proxy_port(cluster))
    client.start()
    client.await_confirmed(CONFIRMED_WRITES)
    begun_s, victim = time.monotonic(), min(cluster.shards())
    fault.begin(cluster, victim)
    try:
        if fault.replaced:
            wait_until(lambda: len([at for at in client.taken_s if at > begun_s + 1]) > 20, WHOLE_S_MAX, "writes go on")
    finally:
        fault.end(cluster, victim)
    cluster.wait_until_whole(WHOLE_S_MAX)
    client.await_confirmed(CONFIRMED_WRITES)
    assert client.end() == [], "no confirmed write is missing"
    assert all("outcome is unknown" in text for text in client.refused), client.refused
    return client.longest_gap_s(begun_s)


@pytest.mark.long
@pytest.mark.parametrize("fault", [FAULTS[0], PROXY_RESTARTS], ids=lambda fault: fault.name)
def test_clients_of_the_proxy_notice_a_delay_at_most(cluster: ComposeCluster, fault: Fault) -> None:
    down_s = run_round(cluster, fault)
    assert down_s <= DOWN_S_MAX or not fault.replaced, down_s


@pytest.mark.proof
@pytest.mark.parametrize("fault", [*FAULTS, PROXY_RESTARTS], ids=lambda fault: fault.name)
def test_every_fault_five_times(cluster: ComposeCluster, fault: Fault) -> None:
    downs = sorted(run_round(cluster, fault) for _ in range(PROOF_ROUNDS))
    print(f"\n| {fault.name} | {PROOF_ROUNDS} | {downs[len(downs) // 2]:.2f} s ({downs[-1]:.2f} s) |")
