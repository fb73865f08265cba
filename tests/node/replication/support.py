"""What the tests of replication share: pairs of servers, a link that can be cut, and what a node says of itself."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
from types import TracebackType
from typing import Any, Self

from tests.support import HexadServer, RedisServer, Server, Wire, wait_until

TIMEOUT_S = 15.0
KINDS: dict[str, type[Server]] = {"redis": RedisServer, "hexad": HexadServer}
PAIRS = [("hexad", "redis"), ("redis", "hexad"), ("hexad", "hexad")]
"""(primary, replica): genuine Redis on one side, and ours on both."""


def node(kind: str, **options: Any) -> Server:
    """A server that begins a full synchronisation at once and answers silence soon."""
    settings = {"repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1, **options}
    return KINDS[kind](**settings)


def follow(replica: Wire, port: int) -> None:
    """Follow the primary at `port`; not while what an earlier one has sent is being loaded."""
    wait_until(lambda: replica("REPLICAOF", "127.0.0.1", str(port)) == "OK", 10, "it follows")


def offset_of(wire: Wire) -> int:
    """The replication offset, of a primary or a replica."""
    role = wire("ROLE")
    offset = role[1] if role[0] == b"master" else role[4]
    assert isinstance(offset, int)
    return offset


def is_connected(wire: Wire) -> bool:
    role = wire("ROLE")
    return bool(role[0] == b"slave" and role[3] == b"connected")


def wait_connected(*wires: Wire) -> None:
    for wire in wires:
        wait_until(lambda wire=wire: is_connected(wire), TIMEOUT_S, "the link is up")


def wait_same_offset(primary: Wire, *replicas: Wire) -> int:
    """Until all have everything: pings move the offset, so it is looked at in one breath."""

    def same() -> int | None:
        offset = offset_of(primary)
        return offset if all(offset_of(replica) == offset for replica in replicas) else None

    return wait_until(same, TIMEOUT_S, "the same offset on both sides")


def full_syncs(server: Server) -> int:
    """How many snapshots this replica has taken (both kinds of server log it in the same words)."""
    return len(re.findall(r"Full resync from master", server.log()))


def partial_syncs(server: Server) -> int:
    return len(re.findall(r"Successful partial resynchronization with master", server.log()))


class Proxy:
    """A TCP link through the test, which it can cut and hold back."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.is_open = True
        self.passed_bytes = 0
        self.stop_after_bytes: int | None = None  # of what the primary sends: nothing more passes, nothing is closed
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.cut()
        self.listener.close()

    def cut(self) -> None:
        """Break every connection, now."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
                side.close()

    def _run(self) -> None:
        while not self._over.is_set():
            sides = {side: pair for pair in self._pairs for side in pair}
            with contextlib.suppress(OSError, ValueError):  # ValueError: one was closed by `cut` just now
                for side in self._ready([self.listener, *sides]):
                    if side is self.listener:
                        self._accept()
                    else:
                        self._pass_on(side, sides[side])

    @staticmethod
    def _ready(sockets: list[socket.socket]) -> list[socket.socket]:
        """Those that can be read. By `poll`: `select` knows no descriptor above 1023, and a long run has more."""
        poller, by_number = select.poll(), {one.fileno(): one for one in sockets if one.fileno() >= 0}
        for number in by_number:
            poller.register(number, select.POLLIN)
        return [by_number[number] for number, _ in poller.poll(20)]

    def _accept(self) -> None:
        near, _ = self.listener.accept()
        if not self.is_open:
            near.close()
            return
        self._pairs.append((near, socket.create_connection(("127.0.0.1", self.target))))

    def _pass_on(self, side: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        size = 1 << 16
        if side is far and self.stop_after_bytes is not None:
            size = min(size, self.stop_after_bytes - self.passed_bytes)
            if size <= 0:
                self._over.wait(0.01)
                return
        data = side.recv(size)
        if not data:
            for each in pair:
                each.close()
            if pair in self._pairs:
                self._pairs.remove(pair)
            return
        if side is far:
            self.passed_bytes += len(data)
        (near if side is far else far).sendall(data)
