"""Programs through the proxy while one primary after another is killed: each task is done once at least.

What asks for tasks may lose its connection, or be told that no replica has one, and asks again. Nothing else is seen of
the kills. What asynchronous replication loses is thus left out: a task that only its dead node had. (A message of
Channels comes once at most, whatever its server: who gets no answer says it again.)
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.programs.running import HERE, Programs, node_modules, programs_of, programs_python
from tests.proxy.support import ProxyServer
from tests.support import HexadServer, Server, free_port, wait_until
from tests.support.cluster import LocalCluster
from tests.support.sentinels import HexadSentinel, Watched
from tests.support.waiting import TookTooLong

SHOP = "tests.programs.kill_shop"
PERIOD_S = 10.0
"""A primary is killed so often in the proof."""
NODE_TIMEOUT_MS = 1000
EXCUSES = ("onnection", "no replica has it", "nobody has answered", "HTTP Error 500")
"""What whoever asks may be told, in words of the programs."""
AFTER_S = 120
"""How long what was asked for last may take."""
NAMES = ("celery", "redbeat", "rq", "arq", "channels", "channels-pubsub", "bullmq", "fastapi", "django", "locks")
SUPERVISE = "import subprocess, sys\nwhile True: subprocess.run(sys.argv[1:])"
"""Starts a worker again that has ended: arq's and RQ's do when a connection breaks, whatever is at the other end."""
REDBEAT = "redbeat.RedBeatScheduler"
RQ_PACE = ("--with-scheduler", "--maintenance-interval", "5", "--worker-ttl", "20")
"""RQ looks after jobs that a dead worker has taken once it has waited for others: for 15 seconds less than its TTL."""


class Kind(NamedTuple):
    """The processes that serve one framework, what each says when it is ready, and what asks for work."""

    workers: list[tuple[str, ...]]
    ready: str
    asks: tuple[str, ...]


def kind_of(name: str, proxy_port: int, http_ports: list[int]) -> Kind:
    home, supervised = programs_python().parent, ("python", "-c", SUPERVISE)
    shop = ("python", "-c", f"import {SHOP} as shop; shop.main()")
    script = str(HERE / "kill_shop.js")
    uvicorn = ("uvicorn", "tests.programs.fastapi_shop:app", "--port")
    kinds = {
        "celery": Kind(
            [("celery", "-A", SHOP, "worker", "--loglevel", "INFO", "--concurrency", "2")] * 2, "ready.", shop
        ),
        "redbeat": Kind(
            [
                ("celery", "-A", SHOP, "worker", "--loglevel", "INFO", "--concurrency", "1"),
                (
                    *supervised,
                    str(home / "celery"),
                    "-A",
                    SHOP,
                    "beat",
                    "-S",
                    REDBEAT,
                    "--loglevel",
                    "INFO",
                    "--pidfile=",
                ),
            ],
            "",
            shop,
        ),
        "rq": Kind(
            [(*supervised, str(home / "rq"), "worker", "-u", f"redis://127.0.0.1:{proxy_port}/0", *RQ_PACE, "kills")]
            * 2,
            "Listening on",
            shop,
        ),
        "arq": Kind(
            [(*supervised, str(home / "arq"), f"{SHOP}.ArqSettings")] * 2,
            "Starting worker",
            shop,
        ),
        "channels": Kind([(*shop, "listen", "core")], "listening", shop),
        "channels-pubsub": Kind([(*shop, "listen", "pubsub")], "listening", shop),
        "bullmq": Kind([("node", script, "work")] * 2, "ready", ("node", script)),
        "fastapi": Kind([(*uvicorn, str(port)) for port in http_ports], "Uvicorn running", shop),
        "django": Kind([], "", shop),
        "locks": Kind([], "", shop),
    }
    return kinds[name]


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


def run(cluster: LocalCluster, name: str, kills: int, period_s: float) -> None:
    options = {"retry_timeout": 30_000, "unknown_outcome": "close"}
    with ProxyServer(cluster=cluster.ports, **options) as proxy, programs_of(proxy.port) as programs:
        programs.is_cluster = True
        go_through(programs, name, partial(kill_some, cluster, kills, period_s), least=5 * kills)


def go_through(programs: Programs, name: str, kill: Callable[[], None], *, least: int, **told: str) -> None:
    """Work goes on while `kill` runs, `least` pieces of it or more, and all of it is done in the end."""
    http_ports = [free_port() for _ in range(2)]
    kind = kind_of(name, programs.port, http_ports)
    told["HEXAD_HTTP"] = " ".join(map(str, http_ports))
    if kind.asks[0] == "node":
        told["NODE_PATH"] = str(node_modules())
    workers = [programs.start(*words, **told) for words in kind.workers]
    for worker in workers:
        worker.wait_for_log(kind.ready)
    asking = programs.start(*kind.asks, "ask" if kind.asks[0] == "node" else name, **told)
    kill()
    Path(programs.directory, "over").touch()
    assert asking.process.wait(AFTER_S) == 0, programs.logs()
    asked = json.loads(asking.log().splitlines()[-1])
    wanted = set(range(asked["asked"]))
    with contextlib.suppress(TookTooLong):
        wait_until(lambda: wanted <= done(programs), AFTER_S, "all tasks are done")
    missing = sorted(wanted - done(programs))
    assert not missing, f"{len(missing)} of {len(wanted)}, {missing[:9]}: {programs.logs()}"
    print(f"\n{name}: {asked}, each task done")
    assert len(wanted) > least
    assert all(any(excuse in line for excuse in EXCUSES) for line in asked["told"]), asked["told"]
    assert all(worker.process.poll() is None for worker in workers), programs.logs()


def done(programs: Programs) -> set[int]:
    path = Path(programs.directory, "done")
    return {int(line) for line in path.read_text().split()} if path.exists() else set()


@pytest.mark.long
def test_two_kills(cluster: LocalCluster) -> None:
    run(cluster, "celery", 2, PERIOD_S / 2)


def kill_watched(group: Watched) -> None:
    """Kill the primary; it is back as a replica when this returns."""
    port = group.agreed_port()
    time.sleep(PERIOD_S / 2)
    group.server_at(port).kill()
    group.wait_for_new_primary(port, 30)
    group.server_at(port).start()
    wait_until(group.is_settled, 60, "the Sentinels find everybody well")


@pytest.mark.long
def test_celery_asks_sentinels_for_its_broker() -> None:
    with Watched(HexadServer, [HexadSentinel] * 3) as group, programs_of(group.servers[0].port) as programs:
        ports = " ".join(str(sentinel.port) for sentinel in group.sentinels)
        go_through(programs, "celery", partial(kill_watched, group), least=20, HEXAD_SENTINELS=ports)


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_every_ten_seconds_for_a_minute(cluster: LocalCluster, name: str) -> None:
    run(cluster, name, 6, PERIOD_S)
