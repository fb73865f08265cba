"""Relays between the nodes of a cluster, so that who talks to whom can be cut: partitions that need no rights.

Each node announces its relay's ports, and dials from an address of its own on the loopback (`bind-source-addr`), so a
relay knows which two nodes a connection is between. A cut is a stall, as on a real network: what was sent stays in
buffers, connections stay open, new ones get no answer. Clients go past the relays, and are not cut.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.ports import BUS_OFFSET, free_port

POLL_S = 0.02
CHUNK = 1 << 16


class Place(NamedTuple):
    """Where a node listens, where its relay does (each bus is as far above as usual), and where it dials from."""

    port: int
    relay: int
    source: str

    @property
    def options(self) -> dict[str, str | int]:
        """The directives that send the others by the relay."""
        return {
            "bind_source_addr": self.source,
            "cluster_announce_ip": "127.0.0.1",
            "cluster_announce_port": self.relay,
            "cluster_announce_bus_port": self.relay + BUS_OFFSET,
        }


class Pipe:
    """One relayed connection: two sockets, and what was read from one and not yet taken by the other."""

    def __init__(self, one: socket.socket, other: socket.socket, ends: frozenset[str]) -> None:
        self.ends = ends
        self.peer = {one: other, other: one}
        self.pending = {one: bytearray(), other: bytearray()}  # by who is to get it


class Relays(threading.Thread):
    """The relays of all nodes, in one thread."""

    def __init__(self, places: list[Place]) -> None:
        super().__init__(daemon=True)
        self.places = places
        self._cuts: set[frozenset[str]] = set()
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._pipes: dict[socket.socket, Pipe] = {}
        self._listeners: dict[socket.socket, tuple[Place, int]] = {}
        self._held: list[tuple[socket.socket, Place, int]] = []
        for place in places:
            for offset in (0, BUS_OFFSET):
                listener = socket.create_server(("127.0.0.1", place.relay + offset), backlog=128)
                listener.setblocking(False)
                self._listeners[listener] = (place, place.port + offset)
                self._selector.register(listener, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self.join(10)
        for sock in (*self._listeners, *self._pipes, *(held[0] for held in self._held)):
            sock.close()
        self._selector.close()

    # ---- cutting: from the test's thread; sets are replaced, not changed ----

    def isolate(self, port: int) -> None:
        """Cut the node at a client port off from all others."""
        mine = next(place.source for place in self.places if place.port == port)
        others = (place.source for place in self.places if place.source != mine)
        self._cuts = self._cuts | {frozenset((mine, other)) for other in others}

    def heal(self) -> None:
        self._cuts = set()

    # ---- forwarding ----

    def run(self) -> None:
        seen: set[frozenset[str]] = set()
        while not self._over.is_set():
            for key, mask in self._selector.select(POLL_S):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock in self._listeners:
                    self._accept(sock)
                elif sock in self._pipes:
                    self._move(sock, mask)
            if self._cuts is not seen:
                seen = self._cuts
                held, self._held = self._held, []
                for waiting in held:
                    self._connect(*waiting)
                for sock in list(self._pipes):
                    self._watch(sock)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            self._connect(sock, *self._listeners[listener])

    def _connect(self, sock: socket.socket, place: Place, port: int) -> None:
        try:
            ends = frozenset((sock.getpeername()[0], place.source))
            if ends in self._cuts:
                self._held.append((sock, place, port))
                return
            other = socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError:
            sock.close()
            return
        pipe = Pipe(sock, other, ends)
        for each in (sock, other):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pipes[each] = pipe
            self._watch(each)

    def _watch(self, sock: socket.socket) -> None:
        """Wait for what this socket has to do now: nothing across a cut."""
        pipe = self._pipes[sock]
        events = 0
        if pipe.ends not in self._cuts:
            events |= selectors.EVENT_READ if not pipe.pending[pipe.peer[sock]] else 0
            events |= selectors.EVENT_WRITE if pipe.pending[sock] else 0
        with contextlib.suppress(KeyError):
            self._selector.unregister(sock)
        if events:
            self._selector.register(sock, events)

    def _move(self, sock: socket.socket, mask: int) -> None:
        pipe = self._pipes[sock]
        if pipe.ends in self._cuts:
            self._watch(sock)
            return
        try:
            if mask & selectors.EVENT_READ:
                data = sock.recv(CHUNK)
                if not data:
                    raise ConnectionError
                pipe.pending[pipe.peer[sock]] += data
            for each, waiting in pipe.pending.items():
                if waiting:
                    with contextlib.suppress(BlockingIOError):
                        del waiting[: each.send(waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._close(pipe)
            return
        if any(pipe.pending.values()) or mask & selectors.EVENT_WRITE:
            for each in pipe.peer:
                self._watch(each)

    def _close(self, pipe: Pipe) -> None:
        for sock in pipe.peer:
            with contextlib.suppress(KeyError):
                self._selector.unregister(sock)
            del self._pipes[sock]
            sock.close()


def places(count: int, network: int) -> list[Place]:
    """Places for so many nodes; clusters that run side by side take different networks."""
    return [Place(free_port(), free_port(), f"127.0.{network}.{n + 1}") for n in range(count)]
