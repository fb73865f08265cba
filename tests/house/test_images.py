"""The image of this checkout, and the compose files with it: what an operator does to them, faults are elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import wait_until
from tests.support.containers import (
    COMPOSES,
    IMAGE,
    Compose,
    build_image,
    engine_environment,
    free_port_prefix,
    project,
    run,
)

pytestmark = pytest.mark.long

COMPOSE_FILES = sorted(p.name for p in (Path(__file__).parents[2] / "deploy/compose").glob("*.yaml"))
NETWORK = "172.30.78"
READY_S = 60.0
WRITTEN = [str(number) for number in range(20)]


@pytest.fixture(scope="module")
def engine() -> dict[str, str]:
    """The engine's variables, with our image built."""
    env = engine_environment()
    return {**env, "HEXAD_IMAGE": build_image(env)}


@pytest.fixture(params=sorted(COMPOSES))
def version(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "1.29" and not shutil.which("docker-compose"):
        pytest.skip("docker-compose 1.29 is not installed, and need not be where `docker compose` is")
    return name


@pytest.fixture
def cluster(engine: dict[str, str]) -> Iterator[Compose]:
    yield from project("cluster.yaml", "hexad-test-cluster", cluster_env(engine), "v2")


@pytest.fixture
def cluster_of_either(engine: dict[str, str], version: str) -> Iterator[Compose]:
    yield from project("cluster.yaml", "hexad-test-cluster", cluster_env(engine), version)


def cluster_env(engine: dict[str, str]) -> dict[str, str]:
    return {**engine, "HEXAD_NET": NETWORK, "HEXAD_PORTS": free_port_prefix(), "HEXAD_TIMEOUT_MS": "2000"}


def cli(compose: Compose, node: int, *words: str) -> str:
    """redis-cli on the host, following redirects."""
    return run(["redis-cli", "-c", "-p", f"{compose.env['HEXAD_PORTS']}{node - 1}", *words]).strip()


def is_ready(compose: Compose) -> bool:
    return all("cluster_state:ok" in cli(compose, node, "cluster", "info") for node in range(1, 7))


def up(compose: Compose) -> None:
    """`up -d`, and waits until the init service has ended well and all nodes serve."""
    compose("up", "-d")
    wait_until(lambda: compose.state("init") == "exited 0", READY_S, "init ends with 0")
    wait_until(lambda: is_ready(compose), READY_S, "all nodes serve")


def nodes(compose: Compose) -> list[str]:
    return sorted(line.split()[0] for line in cli(compose, 1, "cluster", "nodes").splitlines())


def fill(compose: Compose) -> None:
    assert [cli(compose, 1, "set", f"key:{i}", value) for i, value in enumerate(WRITTEN)] == ["OK"] * len(WRITTEN)


def read(compose: Compose) -> list[str]:
    return [cli(compose, 2, "get", f"key:{i}") for i in range(len(WRITTEN))]


def replicas_follow(compose: Compose) -> bool:
    """Three replicas, each with its link up."""
    told = [cli(compose, node, "info", "replication") for node in range(1, 7)]
    return sum("master_link_status:up" in text for text in told) == 3


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_file_is_valid(engine: dict[str, str], version: str, file: str) -> None:
    Compose(file, "hexad-test", engine, version)("config", "-q")


def write_inside(compose: Compose) -> None:
    """As a client in the containers' network, which knows one node by its name."""
    inside = [compose.container("node3"), "redis-cli", "-c", "-h", "node1", "-p", f"{compose.env['HEXAD_PORTS']}0"]
    for at, value in enumerate(WRITTEN):
        assert compose.docker("exec", *inside, "set", f"key:{at}", value) == "OK\n"


def test_cluster_comes_up_once_and_keeps_its_data(cluster_of_either: Compose) -> None:
    cluster = cluster_of_either
    up(cluster)
    write_inside(cluster)
    assert read(cluster) == WRITTEN
    wait_until(lambda: cluster.state("node6") == "healthy", READY_S, "node6 is healthy")
    before = nodes(cluster)
    up(cluster)
    assert nodes(cluster) == before and len(before) == 6
    cluster("down", "-t", "10")
    up(cluster)
    assert nodes(cluster) == before
    assert read(cluster) == WRITTEN


def lose_volume(cluster: Compose, node: str) -> None:
    cluster("rm", "-s", "-f", "-v", node)
    cluster.docker("volume", "rm", f"{cluster.project}_{node}")


def test_nodes_that_lost_their_volumes_join_again_and_no_key_is_lost(cluster: Compose) -> None:
    """A replica's; a primary's while the others run; a primary's while none runs, so that none knows who was up."""
    up(cluster)
    fill(cluster)
    lose_volume(cluster, "node6")
    up(cluster)
    assert "role:slave" in cli(cluster, 6, "info", "replication")
    for node in (1, 2):
        wait_until(lambda: replicas_follow(cluster), READY_S, "all replicas follow")
        assert "role:master" in cli(cluster, node, "info", "replication")
        if node == 2:
            cluster("stop", "-t", "10")
        lose_volume(cluster, f"node{node}")
        up(cluster)
        assert "role:slave" in cli(cluster, node, "info", "replication")
        assert read(cluster) == WRITTEN and len(nodes(cluster)) == 6


def test_a_creation_cut_short_is_begun_again_but_never_over_data(cluster: Compose) -> None:
    cluster("up", "-d", *[f"node{n}" for n in range(1, 7)])
    wait_until(lambda: cli(cluster, 1, "ping") == "PONG", READY_S, "node1 answers")
    cli(cluster, 1, "cluster", "addslotsrange", "0", "16383")
    wait_until(lambda: cli(cluster, 1, "set", "kept", "yes") == "OK", READY_S, "node1 serves alone")
    cli(cluster, 1, "cluster", "delslots", "16383")
    wait_until(lambda: "state:fail" in cli(cluster, 1, "cluster", "info"), READY_S, "node1 misses a slot")
    places = [f"{NETWORK}.1{n}:{cluster.env['HEXAD_PORTS']}{n - 1}" for n in range(1, 7)]
    with pytest.raises(AssertionError, match="nothing was touched"):
        cluster("run", "--rm", "-e", "WAIT_S=3", "init", "cluster-init", *places)
    assert cli(cluster, 1, "dbsize") == "1"

    cli(cluster, 1, "flushall")
    cluster("run", "--rm", "-e", "WAIT_S=10", "init", "cluster-init", *places)
    wait_until(lambda: is_ready(cluster), READY_S, "all nodes serve")


def answers(port: str, *words: str) -> str:
    return run(["redis-cli", "-p", port, *words]).strip()


def test_replication(engine: dict[str, str], version: str) -> None:
    ports = [f"{free_port_prefix()}{digit}" for digit in range(3)]
    env = {**engine, "HEXAD_PORT": ports[0], "HEXAD_PORT_1": ports[1], "HEXAD_PORT_2": ports[2]}
    for compose in project("replication.yaml", "hexad-test-replication", env, version):
        compose("up", "-d")
        wait_until(lambda: answers(ports[0], "set", "k", "v") == "OK", READY_S, "the primary serves")
        wait_until(lambda: [answers(p, "get", "k") for p in ports] == ["v"] * 3, READY_S, "the replicas follow")


def test_standalone(engine: dict[str, str], version: str) -> None:
    port = f"{free_port_prefix()}0"
    for compose in project("standalone.yaml", "hexad-test-standalone", {**engine, "HEXAD_PORT": port}, version):
        compose("up", "-d")
        wait_until(lambda: answers(port, "set", "k", "v") == "OK", READY_S, "the node serves")
        compose("restart")
        wait_until(lambda: answers(port, "get", "k") == "v", READY_S, "the data is back")


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["--port", "7777", "--requirepass", "two words"], ""),
        (["redis-server", "--port", "0", "--unixsocket", "/tmp/socket"], ""),
        (["/data/redis.conf", "--port", "7778"], "port 7777\nrequirepass 'secret'\n"),
    ],
)
def test_node_is_healthy_and_ends_well(engine: dict[str, str], options: list[str], file: str) -> None:
    """The health check knows port, socket and password from wherever the node has them."""
    container = run(["docker", "create", IMAGE, *options], engine).strip()
    try:
        if file:
            _put(engine, container, file)
        run(["docker", "start", container], engine)
        wait_until(lambda: run(["docker", "exec", container, "healthcheck"], engine) == "", READY_S, "healthy")
        run(["docker", "stop", "-t", "10", container], engine)
        assert run(["docker", "inspect", "-f", "{{.State.ExitCode}}", container], engine) == "0\n"
    finally:
        run(["docker", "rm", "-f", "-v", container], engine)


def _put(engine: dict[str, str], container: str, text: str) -> None:
    """Writes /data/redis.conf into a container that has not been started."""
    path = Path("/tmp") / f"hexad-{container[:12]}.conf"
    path.write_text(text)
    path.chmod(0o644)
    try:
        run(["docker", "cp", str(path), f"{container}:/data/redis.conf"], engine)
    finally:
        path.unlink()


def test_other_commands_run_as_they_are(engine: dict[str, str]) -> None:
    assert "redis-cli" in run(["docker", "run", "--rm", IMAGE, "redis-cli", "--version"], engine)
    assert run(["docker", "run", "--rm", IMAGE, "id", "-un"], engine) == "hexad\n"
    with pytest.raises(AssertionError, match="Bad directive"):
        run(["docker", "run", "--rm", IMAGE, "--no-such-option", "1"], engine)


def test_installing_redis_server_leaves_its_port_free(engine: dict[str, str]) -> None:
    """`make test` brings Debian's package, which by itself starts its service, as the second half shows."""
    container = run(["docker", "run", "-d", "--user", "root", IMAGE, "sleep", "300"], engine).strip()

    def inside(command: str) -> str:
        return run(["docker", "exec", container, "sh", "-c", command], engine)

    try:
        # As on a machine that runs its services, unlike a container:
        inside(
            "rm -f /usr/sbin/policy-rc.d; touch /sbin/init; echo 'echo N 2' >/sbin/runlevel; chmod 755 /sbin/runlevel"
        )
        run(["docker", "cp", "deploy/dev/apt.sh", f"{container}:/tmp/apt.sh"], engine)
        inside("/tmp/apt.sh redis-server")
        with pytest.raises(AssertionError, match="refused"):
            inside("redis-cli ping")
        inside("apt-get install -q -y --reinstall redis-server")
        wait_until(lambda: inside("redis-cli ping") == "PONG\n", READY_S, "the service runs")
    finally:
        run(["docker", "rm", "-f", "-v", container], engine)
