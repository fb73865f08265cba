"""A cluster inside the tests' process: whole nodes with real sockets and files, which can be ended at any point.

A node is ended by an exception out of the middle of what it does, as the kernel would end a process: what stood in its
files stays, nothing more is sent but the end of its connections.  It can be started again on the same files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from gossip.moving.mover import Mover
from gossip.service import ClusterService
from node import app
from node.config import Config
from node.log import Log
from node.net.replies import ReplyParser
from node.net.resp import encode_command
from node.platform import Platform
from node.server import Server
from tests.support.ports import free_port

NODE_TIMEOUT_MS = 1000
PAUSE_MS = 1500
WAIT_S = 30.0


class Died(Exception):
    """The node ends here."""


class Member:
    """One node of the cluster, and how it is ended and started."""

    def __init__(self, name: str, directory: Path, options: dict[str, Any]) -> None:
        self.name, self.directory, self.options = name, directory, options
        self.port = free_port()
        self.id = ""
        self.lines: list[str] = []
        self.server: Server | None = None
        self.died_at = ""
        self.deadly = ""
        """The point at which it is to die, once."""
        self._gone = trio.Event()

    @property
    def up(self) -> Server:
        assert self.server is not None, f"{self.name} is down: {self.died_at}\n" + "\n".join(self.lines[-20:])
        return self.server

    @property
    def cluster(self) -> ClusterService:
        cluster = self.up.cluster
        assert isinstance(cluster, ClusterService)
        return cluster

    @property
    def mover(self) -> Mover:
        return self.cluster.mover

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until something ends it."""
        config = Config()
        values = {
            "dir": str(self.directory), "port": self.port, "save": [], "cluster-enabled": "yes", "bind": ["127.0.0.1"],
            "cluster-node-timeout": NODE_TIMEOUT_MS, "repl-diskless-sync-delay": 0, "appendonly": "yes",
            "cluster-slot-migration-write-pause-timeout": PAUSE_MS, "enable-debug-command": "yes", **self.options,
        }  # fmt: skip
        for name, value in values.items():
            config.put(name.replace("_", "-"), value)
        platform = Platform()
        server = app.build(platform, config, Log(platform, self.lines.append))
        self._gone = trio.Event()
        try:
            async with app.running(server):
                self.server = server
                self.mover.passes = self._pass
                await app.load(server)
                task_status.started()
                await trio.sleep_forever()
        except* Died:
            pass
        finally:
            self.server = None
            self._gone.set()

    def _pass(self, point: str) -> None:
        if point == self.deadly:
            self.deadly, self.died_at = "", point
            raise Died(point)

    def kill(self) -> None:
        """Let it die as soon as its clock is looked at."""

        def die() -> None:
            raise Died("killed")

        self.up.timers.after(0, die)

    def ask(self, *words: Any) -> Any:
        """The reply to a command that does not wait."""
        client = self.up.new_session()
        client.receive(encode_command([str(word).encode() if not isinstance(word, bytes) else word for word in words]))
        parser = ReplyParser(1 << 30)
        parser.feed(bytes(client.out))
        replies = parser.parse()
        self.up.clients.lost(client)
        return replies[0] if replies else None

    def all_keys(self) -> set[bytes]:
        """All keys that are here, whoever may see them."""
        return {key for db in self.up.keyspace.every() for slot in db.slots if slot for key in slot.values}


class Shards:
    """The members by name: p1 p2 p3, and r1 r2 r3 with a replica each."""

    def __init__(self, nursery: trio.Nursery, members: dict[str, Member]) -> None:
        self.nursery = nursery
        self.members = members

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    async def start(self, member: Member) -> None:
        await self.nursery.start(member.run)

    async def until(self, good: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
        """Wait until it holds; AssertionError with the logs' ends if it does not in time."""
        with trio.move_on_after(limit_s):
            while not good():
                await trio.sleep(0.01)
            return
        told = [line for member in self.members.values() for line in (f"--- {member.name}", *member.lines[-25:])]
        raise AssertionError(f"not within {limit_s} s: {what}\n" + "\n".join(told))

    def agreed(self) -> bool:
        """All are up, call the cluster ok and name the same owners."""
        views = set()
        for member in self.members.values():
            if member.server is None or not member.cluster.state.ok:
                return False
            nodes = member.cluster.state.nodes.values()
            if any(node.is_troubled for node in nodes):
                return False
            follower = member.up.replication.follower
            if follower is not None and not follower.connected:
                return False
            views.add(tuple(sorted((node.id, node.slots) for node in nodes if node.slots)))
        return len(views) == 1

    def owner(self, slot: int) -> Member:
        """Who owns a slot, in the eyes of one who is up."""
        state = next(member for member in self.members.values() if member.server is not None).cluster.state
        node = state.owners[slot]
        assert node is not None
        return next(member for member in self.members.values() if member.id == node.id)


@asynccontextmanager
async def shards(directory: Path, *, replicas: int = 0, **options: Any) -> AsyncIterator[Shards]:
    """Three primaries with a third of the slots each, and their replicas: a finished cluster from the first moment."""
    names = ["p1", "p2", "p3", *(f"r{number}" for number in range(1, 3 * replicas + 1))]
    members = {name: Member(name, directory / name, options) for name in names}
    for place, member in enumerate(members.values()):
        member.id = f"{0xA1 + place:02x}" * 20
    bounds = [0, 5461, 10923, 16384]
    for me in members.values():
        lines = []
        for place, member in enumerate(members.values()):
            primary = members[f"p{place % 3 + 1}"]
            flags = ("myself," if member is me else "") + ("master" if member is primary else "slave")
            slots = f" {bounds[place]}-{bounds[place + 1] - 1}" if member is primary else ""
            lines.append(
                f"{member.id} 127.0.0.1:{member.port}@{member.port + 10000},,tls-port=0,shard-id={place % 3 + 1:040x} "
                f"{flags} {'-' if member is primary else primary.id} 0 0 {place % 3 + 1} connected{slots}"
            )
        me.directory.mkdir()
        (me.directory / "nodes.conf").write_text("\n".join([*lines, "vars currentEpoch 3 lastVoteEpoch 0"]) + "\n")
    async with trio.open_nursery() as nursery:
        found = Shards(nursery, members)
        for member in members.values():
            await found.start(member)
        await found.until(found.agreed, "the cluster is whole")
        yield found
        nursery.cancel_scope.cancel()
