"""Workers through the proxy while one primary after another is killed: each task is done once at least.

What asks for tasks may lose its connection, or be told that no replica has one, and asks again. Nothing else is seen of
the kills. What asynchronous replication loses is thus left out: a task that only its dead node had.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.programs.running import Programs, programs_of, programs_python
from tests.proxy.support import ProxyServer
from tests.support import HexadServer, Server, wait_until
from tests.support.cluster import LocalCluster
from tests.support.waiting import TookTooLong

SHOP = "tests.programs.kill_shop"
PERIOD_S = 10.0
"""A primary is killed so often in the proof."""
NODE_TIMEOUT_MS = 1000
UNCONFIRMED = "no replica has it"
AFTER_S = 120
"""How long what was asked for last may take."""
SUPERVISE = "import subprocess, sys\nwhile True: subprocess.run(sys.argv[1:])"
"""Starts a worker again that has ended: arq's does when its connection breaks, whatever is at the other end."""
WORKERS = {
    "celery": ("celery", "-A", SHOP, "worker", "--loglevel", "INFO", "--concurrency", "2"),
    "rq": ("rq", "worker", "-u", "redis://127.0.0.1:{port}/0", "--maintenance-interval", "5", "kills"),
    "arq": ("python", "-c", SUPERVISE, "{bin}/arq", f"{SHOP}.ArqSettings"),
}
READY = {"celery": "ready.", "rq": "Listening on", "arq": "Starting worker"}


def kill_some(cluster: LocalCluster, kills: int, period_s: float) -> None:
    """Kill one primary after another, `period_s` apart, none twice in a row; each is started again when replaced."""
    killed: list[int] = []
    for _ in range(kills):
        time.sleep(period_s)
        cluster.wait_until_whole()
        victim = next(node for node in cluster.primaries() if node.port not in killed[-2:])
        victim.kill()
        killed.append(victim.port)
        wait_until(partial(is_replaced, cluster, victim), 60, "another node has its slots")
        victim.start(timeout_s=60)
    time.sleep(period_s / 2)


def is_replaced(cluster: LocalCluster, victim: Server) -> bool:
    others = cluster.alive()
    return all(cluster.state_is_ok(node) for node in others) and victim not in cluster.primaries()


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(HexadServer, nodes=6, replicas=1, cluster_node_timeout=NODE_TIMEOUT_MS) as cluster:
        yield cluster


def run(cluster: LocalCluster, kind: str, kills: int, period_s: float) -> None:
    options = {"retry_timeout": 30_000, "unknown_outcome": "close"}
    with ProxyServer(cluster=cluster.ports, **options) as proxy, programs_of(proxy.port) as programs:
        programs.is_cluster, home = True, programs_python().parent
        workers = [
            programs.start(*(word.format(port=proxy.port, bin=home) for word in WORKERS[kind])) for _ in range(2)
        ]
        for worker in workers:
            worker.wait_for_log(READY[kind])
        asking = programs.start("python", "-c", f"import {SHOP} as shop; shop.main()", kind)
        kill_some(cluster, kills, period_s)
        Path(programs.directory, "over").touch()
        assert asking.process.wait(AFTER_S) == 0, programs.logs()
        asked = json.loads(asking.log().splitlines()[-1])
        wanted = set(range(asked["asked"]))
        with contextlib.suppress(TookTooLong):
            wait_until(lambda: wanted <= done(programs), AFTER_S, "all tasks are done")
        missing = sorted(wanted - done(programs))
        assert not missing, f"{len(missing)} of {len(wanted)}, {missing[:9]}: {programs.logs()}"
        print(f"\n{kind}: {kills} primaries killed, {asked}, each task done")
        assert len(wanted) > 5 * kills
        assert all("onnection" in told or told == UNCONFIRMED for told in asked["told"]), asked["told"]
        assert all(worker.process.poll() is None for worker in workers), programs.logs()


def done(programs: Programs) -> set[int]:
    path = Path(programs.directory, "done")
    return {int(line) for line in path.read_text().split()} if path.exists() else set()


@pytest.mark.long
def test_two_kills(cluster: LocalCluster) -> None:
    run(cluster, "celery", 2, PERIOD_S / 2)


@pytest.mark.proof
@pytest.mark.parametrize("kind", WORKERS)
def test_a_kill_every_ten_seconds_for_a_minute(cluster: LocalCluster, kind: str) -> None:
    run(cluster, kind, 6, PERIOD_S)
