"""A cluster of server processes for tests: made with `redis-cli --cluster create`, of Hexad nodes or of genuine ones.

with LocalCluster(HexadServer, nodes=6, replicas=1, cluster_node_timeout=2000) as cluster: ...
"""

from __future__ import annotations

import contextlib
import subprocess
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.servers import Server
from tests.support.waiting import wait_until
from tests.support.wire import Wire

UP_TIMEOUT_S = 60.0
LOG_END = 4000
"""How many characters of a log are its end."""


class Seen(NamedTuple):
    """A node as another one sees it (a line of CLUSTER NODES)."""

    id: str
    port: int
    flags: frozenset[str]
    primary: str
    slots: int  # how many it owns

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags


def once_loaded(wire: Wire, *words: str) -> bytes:
    """The reply to such a command: a node that has its data yet to load refuses it."""

    def text() -> bytes:
        reply = wire(*words)
        return reply if isinstance(reply, bytes) else b""

    return wait_until(text, UP_TIMEOUT_S, f"{' '.join(words)} is answered")


class LocalCluster:
    """Six nodes, or as many as wanted; `kinds` gives each node's program where they differ."""

    def __init__(self, kind: type[Server], *, nodes: int = 6, replicas: int = 1, **options: Any) -> None:
        self.replicas = replicas
        self.stack = contextlib.ExitStack()
        defaults = {"cluster_enabled": "yes", "cluster_node_timeout": 2000, "repl_diskless_sync_delay": 0}
        self.nodes = [kind(**{**defaults, **options}) for _ in range(nodes)]

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                self.stack.enter_context(node)
            self.create()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stack.close()

    def create(self) -> None:
        """Join the nodes, as an operator would, and wait until all of them agree."""
        command = ["redis-cli", "--cluster", "create", *self.addresses(), "--cluster-yes"]
        if self.replicas:
            command += ["--cluster-replicas", str(self.replicas)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=UP_TIMEOUT_S)
        assert made.returncode == 0, made.stdout + made.stderr
        replicas = len(self.nodes) * self.replicas // (self.replicas + 1)
        for node in self.nodes:
            wait_until(lambda n=node: self._replicas_known_to(n) == replicas, UP_TIMEOUT_S, "all know all replicas")
        self.wait_until_whole()

    def _replicas_known_to(self, node: Server) -> int:
        return sum(not seen.is_primary for seen in self.seen_by(node))

    def addresses(self) -> list[str]:
        """Where the nodes find one another."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def node(self, port: int) -> Server:
        """The node at a client port."""
        return next(node for node in self.nodes if node.port == port)

    def alive(self) -> list[Server]:
        """Nodes whose process runs."""
        return [node for node in self.nodes if node.process is not None and node.process.poll() is None]

    def seen_by(self, node: Server) -> list[Seen]:
        """CLUSTER NODES of one node."""
        with node.wire() as wire:
            return parse_nodes(once_loaded(wire, "CLUSTER", "NODES").decode())

    def primaries(self) -> list[Server]:
        """Primaries with slots, in the eyes of a living node."""
        seen = self.seen_by(self.alive()[0])
        return [
            self.node(entry.port) for entry in seen if entry.is_primary and entry.slots and "fail" not in entry.flags
        ]

    def ends_of_logs(self) -> str:
        """The last words of every node, for whoever has to find out why something did not happen."""
        return "\n".join(f"--- node {node.port}\n{node.log()[-LOG_END:]}" for node in self.nodes)

    def state_is_ok(self, node: Server) -> bool:
        with contextlib.suppress(OSError, ConnectionError), node.wire(timeout_s=2) as wire:
            reply = wire("CLUSTER", "INFO")  # an error while it loads its data
            return isinstance(reply, bytes) and b"cluster_state:ok" in reply
        return False

    def wait_until_whole(self, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Until every living node says ok, knows all nodes, and every replica follows its primary."""
        wait_until(self._is_whole, timeout_s, "all nodes agree and all replicas follow")

    def wait_until_agreed(self, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Whole, and all have the same view of who owns what."""

        def agreed() -> bool:
            views = [{(one.id, one.slots) for one in self.seen_by(node) if one.slots} for node in self.alive()]
            return self._is_whole() and all(view == views[0] for view in views)

        wait_until(agreed, timeout_s, "all nodes agree")

    def _is_whole(self) -> bool:
        for node in self.alive():
            if not self.state_is_ok(node):
                return False
            if any(entry.flags & {"handshake", "fail", "fail?"} for entry in self.seen_by(node)):
                return False
            with node.wire(timeout_s=2) as wire:
                info = wire.info("replication")
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return False
        return True

    def wire_for(self, port: int) -> Wire:
        return self.node(port).wire()


def parse_nodes(text: str) -> list[Seen]:
    """The lines of CLUSTER NODES."""
    found = []
    for line in text.splitlines():
        words = line.split()
        port = int(words[1].partition("@")[0].rpartition(":")[2])
        slots = 0
        for word in words[8:]:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                slots += int(last or first) - int(first) + 1
        found.append(Seen(words[0], port, frozenset(words[2].split(",")), words[3], slots))
    return found
