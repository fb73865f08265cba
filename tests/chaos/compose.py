"""The six nodes of deploy/compose/cluster.yaml under the Docker SDK: faults, and what every node says of the others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import docker

from hexad.sight import Range, Sight, key_count, parse_info, parse_nodes, slots_in
from node.slots import SLOTS
from tests.support import Wire, wait_until
from tests.support.containers import Compose, free_port_prefix, project

NODES = 6
NODE_TIMEOUT_MS = 2000
UP_TIMEOUT_S = 90.0
LOOK_TIMEOUT_S = 2.0
RESTART_TIMEOUT_S = 30


class ComposeCluster:
    """A compose project that is up. Its nodes are named by their ports, which are the same inside and on the host."""

    def __init__(self, compose: Compose) -> None:
        self.compose = compose
        self.docker: Any = docker.from_env(environment={**os.environ, **compose.env})
        first = int(compose.env["HEXAD_PORTS"] + "0")
        self.ports = list(range(first, first + NODES))

    def up(self) -> None:
        """Start it, and wait until its init service has ended well and all nodes agree."""
        self.compose("up", "-d")
        wait_until(lambda: self.compose.state("init") == "exited 0", UP_TIMEOUT_S, "init ends with 0")
        self.wait_until_whole(UP_TIMEOUT_S)

    def _container(self, port: int) -> Any:
        return self.docker.containers.get(self.compose.container(self._service(port)))

    def _service(self, port: int) -> str:
        return f"node{port - self.ports[0] + 1}"

    @property
    def _network(self) -> Any:
        return self.docker.networks.get(f"{self.compose.project}_cluster")

    # --- faults ---------------------------------------------------------------------------------------------------

    def kill(self, port: int) -> None:
        """As `kill -9`: nothing is saved, and it stays down."""
        self._container(port).kill()

    def start(self, port: int) -> None:
        self._container(port).start()

    def pause(self, port: int) -> None:
        """It stands still with all its connections open."""
        self._container(port).pause()

    def unpause(self, port: int) -> None:
        self._container(port).unpause()

    def disconnect(self, port: int) -> None:
        """It runs on, but reaches nobody and nobody reaches it."""
        self._network.disconnect(self._container(port))

    def connect(self, port: int) -> None:
        address = f"{self.compose.env['HEXAD_NET']}.{port - self.ports[0] + 11}"
        self._network.connect(self._container(port), ipv4_address=address, aliases=[self._service(port)])

    def restart_all(self, _port: int) -> None:
        """All at once, as an operator or the engine does it: they are asked to end, and started again."""
        containers = [self._container(port) for port in self.ports]
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(lambda container: container.restart(timeout=RESTART_TIMEOUT_S), containers))

    # --- looking --------------------------------------------------------------------------------------------------

    def sights(self) -> list[Sight]:
        """Every node as it sees itself and the others. OSError where one does not answer."""
        return [_look(port) for port in self.ports]

    def shards(self) -> dict[int, tuple[Range, ...]]:
        """The primaries' ports with their slots, by what each says of itself."""
        return {sight.port: sight.me.ranges for sight in self.sights() if not sight.me.is_replica}

    def wait_until_whole(self, timeout_s: float) -> None:
        """Until every node serves, suspects nobody, has the same view of all slots, and replicas have their data."""

        def is_whole() -> bool:
            sights = self.sights()
            wrong = doubly_owned(sights) + unsettled(sights)
            assert not wrong, "; ".join(wrong)
            return True

        wait_until(is_whole, timeout_s, "the cluster is whole")


def _look(port: int) -> Sight:
    with Wire(port, timeout_s=LOOK_TIMEOUT_S) as wire:
        nodes, state, text = wire.pipeline([("CLUSTER", "NODES"), ("CLUSTER", "INFO"), ("INFO",)])
    if not all(isinstance(reply, bytes) for reply in (nodes, state, text)):
        raise ConnectionError(f"port {port}: {nodes!r:.80} {state!r:.80} {text!r:.80}")
    info = parse_info(text)
    serves = b"cluster_state:ok" in state
    synced = info["role"] == "master" or info["master_link_status"] == "up"
    return Sight(port, parse_nodes(nodes), serves, key_count(info), synced)


def doubly_owned(sights: Sequence[Sight]) -> list[str]:
    """Slots that two nodes hold to be their own."""
    found, owners = [], {}
    for sight in sights:
        for slot in slots_in(sight.me.ranges):
            if slot in owners:
                found.append(f"slot {slot} is of {owners[slot]} and {sight.port}")
            owners[slot] = sight.port
    return found


def unsettled(sights: Sequence[Sight]) -> list[str]:
    """What keeps the nodes from being one cluster that serves, from every node's point of view."""
    wrong = []
    views = {sight.port: {(node.id, node.ranges) for node in sight.known if node.ranges} for sight in sights}
    for sight in sights:
        wrong += [f"{sight.port} is not ok"] if not sight.serves else []
        wrong += [f"{sight.port} has no data yet"] if not sight.synced else []
        wrong += [f"{sight.port} suspects {node.port}" for node in sight.known if node.is_failing]
        wrong += [f"{sight.port} sees other owners"] if views[sight.port] != views[sights[0].port] else []
        wrong += [f"{sight.port} knows {len(sight.known)} nodes"] if len(sight.known) != NODES else []
    if sum(len(slots_in(sight.me.ranges)) for sight in sights) != SLOTS:
        wrong.append("not every slot is owned")
    return wrong


class Fault(NamedTuple):
    """What is done to a primary and what ends it; `replaced` where its replica has to take over in between."""

    name: str
    begin: Callable[[ComposeCluster, int], None]
    end: Callable[[ComposeCluster, int], None]
    replaced: bool = True


FAULTS = (
    Fault("kill a primary", ComposeCluster.kill, ComposeCluster.start),
    Fault("pause a primary", ComposeCluster.pause, ComposeCluster.unpause),
    Fault("disconnect a primary", ComposeCluster.disconnect, ComposeCluster.connect),
    Fault("restart all", ComposeCluster.restart_all, lambda _cluster, _port: None, replaced=False),
)


@contextlib.contextmanager
def compose_cluster(env: dict[str, str], image: str, network: str, **more: str) -> Iterator[ComposeCluster]:
    """A cluster of nodes of an image, up and whole; gone at the end. `more` are further variables of the file."""
    settings = {
        "HEXAD_IMAGE": image,
        "HEXAD_NET": network,
        "HEXAD_PORTS": free_port_prefix(),
        "HEXAD_TIMEOUT_MS": str(NODE_TIMEOUT_MS),
        **more,
    }
    name = "-".join(["hexad-chaos", image.replace(":", "-"), *more.get("COMPOSE_PROFILES", "").split()])
    with contextlib.contextmanager(project)("cluster.yaml", name, {**env, **settings}) as compose:
        cluster = ComposeCluster(compose)
        cluster.up()
        yield cluster
