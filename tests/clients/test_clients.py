"""Real clients, unmodified: each writes 10 000 keys over all slots, reads them back, and survives a killed primary."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.cluster import LocalCluster
from tests.support.sentinels import HexadSentinel, Watched
from tests.support.servers import ROOT, HexadServer, RedisServer
from tests.support.waiting import wait_until

HERE = Path(__file__).resolve().parent
CALM_TIMEOUT_S = 120
KIND = RedisServer

PYTHON = [sys.executable, "-m", "tests.clients.redis_py_client"]
CLIENTS = {
    "redis-py": [*PYTHON, "sync", "2"],
    "redis-py RESP3": [*PYTHON, "sync", "3"],
    "redis-py asyncio": [*PYTHON, "async", "2"],
    "redis-py asyncio RESP3": [*PYTHON, "async", "3"],
    "ioredis": ["node", str(HERE / "ioredis_client.js")],
    "node-redis": ["node", str(HERE / "node_redis_client.js")],
}


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The Node.js clients, installed from their registry once."""
    if not (HERE / "node_modules" / "ioredis").exists() or not (HERE / "node_modules" / "redis").exists():
        npm = shutil.which("npm")
        assert npm is not None, "npm is missing: `make test-long` installs it"
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=HERE, check=True, timeout=300
        )
    return HERE / "node_modules"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(KIND) as cluster:
        yield cluster


@pytest.mark.long
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_writes_reads_and_survives_a_killed_primary(
    name: str, cluster: LocalCluster, node_modules: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NODE_PATH": str(node_modules)}
    process = subprocess.Popen(
        [*CLIENTS[name], *map(str, cluster.ports)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        assert [process.stdout.readline().strip() for _ in range(2)] == ["written", "read"], process.stderr
        assert _keys_by_primary(cluster) == 10_000
        process.stdin.write("\n")
        process.stdin.flush()
        _kill_a_primary_and_bring_it_back(cluster)
        out, err = process.communicate(timeout=CALM_TIMEOUT_S)
        assert out.split() == ["written", "read", "done"], err
    finally:
        process.kill()


def _kill_a_primary_and_bring_it_back(cluster: LocalCluster) -> None:
    """As a supervisor does it: the process is started again, some time after its replica was voted in.

    (node-redis keeps commands for a dead node until that node is back and redirects them.)
    """
    victim = cluster.primaries()[0]
    victim.kill()
    survivor = cluster.alive()[0]
    wait_until(lambda: cluster.state_is_ok(survivor) and len(cluster.primaries()) == 3, 30, "the replica takes over")
    victim.start()


def _keys_by_primary(cluster: LocalCluster) -> int:
    """How many keys there are in all; no primary may have less than a fifth of them."""
    sizes = []
    for node in cluster.primaries():
        with node.wire() as wire:
            sizes.append(wire("DBSIZE"))
    assert min(sizes) > sum(sizes) / 5, sizes
    return sum(sizes)


@pytest.mark.long
def test_ioredis_goes_on_by_sentinels(node_modules: Path) -> None:
    with Watched(HexadServer, [HexadSentinel] * 3, repl_diskless_sync_delay="0") as group:
        process = subprocess.Popen(
            ["node", str(HERE / "ioredis_sentinel.js"), *(str(sentinel.port) for sentinel in group.sentinels)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_PATH": str(node_modules)}, cwd=ROOT,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "written"
            old = group.agreed_port()
            group.server_at(old).kill()
            process.stdin.write("\n")
            process.stdin.flush()
            out, err = process.communicate(timeout=CALM_TIMEOUT_S)
            assert out.split() == ["done"], err
            assert group.wait_for_new_primary(old, 10).wire()("GET", "key") == b"storm"
        finally:
            process.kill()


@pytest.mark.long
def test_redis_cli_follows_redirections(cluster: LocalCluster) -> None:
    lines = [f"SET cli:{number} v{number}" for number in range(10_000)]
    lines += [f"GET cli:{number}" for number in range(10_000)]
    run = subprocess.run(
        ["redis-cli", "-c", "-p", str(cluster.ports[0])],
        input="\n".join(lines), capture_output=True, text=True, timeout=CALM_TIMEOUT_S,
    )  # fmt: skip
    replies = [line for line in run.stdout.splitlines() if line and not line.startswith("->")]
    assert replies == ["OK"] * 10_000 + [f"v{number}" for number in range(10_000)], run.stderr


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_on_a_single_node(protocol: int) -> None:
    with HexadServer() as server, redis.Redis(port=server.port, protocol=protocol) as client:
        with client.pipeline(transaction=False) as pipe:
            for number in range(10_000):
                pipe.set(f"key:{number}", f"v{number}")
            assert pipe.execute() == [True] * 10_000
        assert client.mget([f"key:{number}" for number in range(10_000)]) == [
            f"v{number}".encode() for number in range(10_000)
        ]
        assert client.dbsize() == 10_000
        assert len(list(client.scan_iter(count=1000))) == 10_000


@pytest.mark.long
def test_clients_of_two_networks_stay_in_their_own(node_modules: Path) -> None:
    other = "127.0.0.2"
    options = {"bind": ["127.0.0.1", other], "cluster_announce_network": ["other", f"at:{other}", other]}
    with LocalCluster(HexadServer, nodes=3, replicas=0, **options) as cluster:
        for host in ("127.0.0.1", other):
            done = subprocess.run(
                ["node", str(HERE / "nodes_seen.js"), host, str(cluster.ports[0])],
                env={**os.environ, "NODE_PATH": str(node_modules)}, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            expected = " ".join(sorted(f"{host}:{port}" for port in cluster.ports))
            assert done.stdout.splitlines() == [expected, expected], done.stderr
