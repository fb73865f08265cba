"""Roles change hands: rolling restarts under load, dead primaries, and all of it by TLS."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hexad.cluster.program import main
from node.slots import slot_of
from tests.gossip.load import Counting
from tests.hexad.cluster.support import KINDS, Supervised, Told, agrees, at, bare, run
from tests.support import wait_until
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.long
COUNTERS = [f"counter:{number}" for number in range(20)]


@pytest.fixture(scope="module", params=KINDS)
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    with bare(KINDS[request.param], 6, requirepass=(), masterauth=()) as made:
        run("create", "--yes", *map(at, made))
        yield made


def run_id(node: Server) -> str:
    with node.wire() as wire:
        return str(wire.info("server")["run_id"])


def role(node: Server) -> str:
    with node.wire() as wire:
        return str(wire.info("replication")["role"])


def test_a_rolling_restart(nodes: list[Server]) -> None:
    """A shard restarts, replica first; its primary hands over, and takes its place back: no confirmed write is lost."""
    primary, replica = nodes[0], nodes[3]
    before = {node.port: run_id(node) for node in nodes}
    with Supervised(nodes) as supervised, Counting([node.port for node in nodes], COUNTERS) as load:
        wait_until(lambda: load.total > 100 or load.failure, 30, "the load runs")
        told = run("rolling-restart", at(replica), "--only", at(primary), "--only", at(replica), "--back", "--yes")
        assert "Restarted." in told
        plan = [line.strip() for line in told.split("[1/")[0].splitlines()[1:]]
        assert plan == [
            f"restart {at(replica)} and wait until all is well",
            f"let {at(replica)} take the place of its primary {at(primary)}",
            f"restart {at(primary)} and wait until all is well",
            f"let {at(primary)} take the place of its primary {at(replica)}",
        ]
        assert (role(primary), role(replica)) == ("master", "slave")
        assert supervised.restarts == {node.port: int(node in (primary, replica)) for node in nodes}
        changed = {node.port for node in nodes if run_id(node) != before[node.port]}
        assert changed == {primary.port, replica.port}
        young = run("rolling-restart", at(replica), "--skip-younger-than-s", 10000, "--yes")
        assert "There is nothing to do." in young
    load.prove()
    agrees(primary)


def test_a_restart_by_command(nodes: list[Server], tmp_path: Path) -> None:
    """The command is what an operator says; one that fails is told of, and nothing else is restarted."""
    script = "import os, signal, sys; os.kill(int(sys.argv[2]), signal.SIGTERM); open(sys.argv[1], 'a').write('done ')"
    file, replica = tmp_path / "told", nodes[4]
    program = f"{sys.executable} -c {shlex.quote(script)} {file} {replica.pid} %h:%p"
    with Supervised([replica]) as supervised:
        run("rolling-restart", at(nodes[0]), "--only", at(replica), "--command", program, "--yes")
        assert supervised.restarts[replica.port] == 1
    assert file.read_text() == "done "
    told = run("rolling-restart", at(nodes[0]), "--only", at(replica), "--command", "exit 3", "--yes", code=1)
    assert "ended with 3" in told
    agrees(nodes[0])


def test_a_dead_primary_is_replaced(nodes: list[Server]) -> None:
    """By force, before the cluster's own election would do it."""
    dead, replica = nodes[2], nodes[5]
    for node in nodes:
        with node.wire() as wire:
            assert wire("CONFIG", "SET", "cluster-replica-no-failover", "yes") == "OK"
    dead.kill()
    wait_until(lambda: "does not answer" in run("check", at(nodes[0]), code=1), 30, "it is told")
    told = run("check", at(nodes[0]), code=1)
    assert f"failover {min(at(node) for node in nodes if node is not dead)} {at(replica)} --force" in told
    assert "--force" in run("failover", at(nodes[0]), at(replica), "--yes", code=1)
    run("failover", at(nodes[0]), at(replica), "--force", "--yes")
    assert role(replica) == "master"
    dead.start()
    wait_until(lambda: role(dead) == "slave", 30, "it follows its replica")
    wait_until(lambda: "All is well" in "".join(_checked(nodes[0])), 30, "all is well again")
    agrees(nodes[0])


def _checked(node: Server) -> tuple[str, str]:
    told = Told()
    main(["check", at(node)], told)
    return told.out, told.err


def test_by_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    shown = ca.issue("node")
    ports = [free_port() for _ in range(3)]
    words = ["--tls", "--cacert", ca.cert, "--cert", shown.cert, "--key", shown.key]
    options = {"tls_cluster": "yes", "tls_replication": "yes", **shown.options(ca)}
    kinds = {"requirepass": (), "masterauth": (), "cluster_enabled": "yes", "cluster_node_timeout": 3000}
    servers = [RedisServer(port=free_port(), tls_port=port, **kinds, **options) for port in ports]
    with servers[0], servers[1], servers[2]:
        names = [f"127.0.0.1:{port}" for port in ports]
        run("create", "--yes", "--replicas", 0, *names, *words)
        key, slot = next((f"key:{n}", slot_of(b"key:%d" % n)) for n in range(9) if slot_of(b"key:%d" % n) < 5000)
        with servers[0].wire() as wire:
            assert wire("SET", key, "by TLS") == "OK"
        run("reshard", names[1], "--to", names[1], "--slots", slot, "--yes", *words)
        with servers[1].wire() as wire:
            assert wire("GET", key) == b"by TLS"
        assert "certificate verify failed" in run("check", names[0], "--tls", code=1)
        assert "failed to load" in run("check", names[0], *words[:-1], tmp_path / "none", code=1).lower()
