"""A cluster machine on real sockets, for tests beside genuine nodes: links, time and a file in memory, nothing else.

It has no data and no client port: real nodes know it from the bus alone.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable
from random import Random
from types import TracebackType

from gossip.events import (
    CloseLink,
    DataLoaded,
    Dial,
    DialFailed,
    Effect,
    Event,
    LinkDown,
    LinkUp,
    Log,
    PacketReceived,
    SaveConfig,
    Send,
    WakeAt,
    Wakeup,
)
from gossip.machine import ClusterMachine, new_state
from gossip.nodesconf import render
from gossip.packet import PacketReader, encode
from gossip.settings import ClusterSettings
from tests.gossip.facts import PlainFacts
from tests.support.ports import free_port


class LiveNode(PlainFacts):
    """Runs one machine while `pump` is called.  `effects` keeps all effects but those of links and time."""

    def __init__(self, timeout_ms: int = 2000, seed: int | None = None) -> None:
        super().__init__()
        self.port = free_port()
        rng = Random(seed if seed is not None else time.time_ns())
        self.settings = ClusterSettings(port=self.port, cport=self.port + 10000, node_timeout_ms=timeout_ms)
        self.machine = ClusterMachine(new_state(rng), self.settings, self, rng)
        self.listener = socket.create_server(("127.0.0.1", self.port + 10000))
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.sockets: dict[int, socket.socket] = {}
        self.readers: dict[int, PacketReader] = {}
        self.accepted = 0
        self.wake_ms = 1 << 62
        self.effects: list[Effect] = []
        self.log: list[str] = []
        self.saved = ""
        self.start_wall_ms, self.start_s = time.time_ns() // 1_000_000, time.monotonic()
        self.handle(Wakeup())
        self.handle(DataLoaded(()))

    def __enter__(self) -> LiveNode:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for link in list(self.sockets):
            self.close(link)
        self.listener.close()
        self.selector.close()

    # ---- driving ----

    @property
    def now_ms(self) -> int:
        return self.start_wall_ms + int((time.monotonic() - self.start_s) * 1000)

    @property
    def id(self) -> str:
        return self.machine.state.myself.id

    def handle(self, event: Event) -> None:
        for effect in self.machine.handle(event, self.now_ms):
            match effect:
                case SaveConfig():
                    self.saved = render(self.machine.state)
                case Send(links, packet):
                    data = encode(packet)
                    for link in links:
                        if link in self.sockets:
                            self.sockets[link].setblocking(True)
                            self.sockets[link].sendall(data)
                            self.sockets[link].setblocking(False)
                case Dial(link, ip, cport):
                    self.dial(link, ip, cport)
                case CloseLink(link):
                    self.close(link)
                case WakeAt(at_ms):
                    self.wake_ms = at_ms
                case Log(_, text):
                    self.log.append(text)
                case _:
                    self.effects.append(effect)

    def dial(self, link: int, ip: str, cport: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if sock.connect_ex((ip, cport)) not in (0, errno.EINPROGRESS):
            sock.close()
            self.handle(DialFailed(link, "refused"))
            return
        self.sockets[link] = sock
        self.selector.register(sock, selectors.EVENT_WRITE, link)

    def close(self, link: int) -> None:
        sock = self.sockets.pop(link, None)
        self.readers.pop(link, None)
        if sock is not None:
            self.selector.unregister(sock)
            sock.close()

    def pump(self, until: Callable[[], object], limit_s: float, what: str = "") -> None:
        """Live until the condition holds; AssertionError if it does not within `limit_s`."""
        pump([self], until, limit_s, what)

    def turn(self, wait_s: float) -> None:
        """Do what is there to do; wait at most so long for it."""
        wait_s = min(max(0.0, (self.wake_ms - self.now_ms) / 1000), wait_s)
        for key, _ in self.selector.select(wait_s):
            self.ready(key.data)
        if self.now_ms >= self.wake_ms:
            self.wake_ms = 1 << 62
            self.handle(Wakeup())

    def ready(self, link: int | None) -> None:
        if link is None:
            sock, _ = self.listener.accept()
            sock.setblocking(False)
            self.accepted -= 1
            self.sockets[self.accepted], self.readers[self.accepted] = sock, PacketReader()
            self.selector.register(sock, selectors.EVENT_READ, self.accepted)
        elif link in self.sockets and link not in self.readers:
            self.finish_dial(link)
        elif link in self.sockets:
            self.receive(link)

    def finish_dial(self, link: int) -> None:
        sock = self.sockets[link]
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.close(link)
            self.handle(DialFailed(link, errno.errorcode[error]))
            return
        self.readers[link] = PacketReader()
        self.selector.modify(sock, selectors.EVENT_READ, link)
        self.handle(LinkUp(link))

    def receive(self, link: int) -> None:
        sock = self.sockets[link]
        try:
            data = sock.recv(1 << 16)
            peer, local = sock.getpeername()[0], sock.getsockname()[0]
        except OSError:
            data = b""
        if not data:
            self.close(link)
            self.handle(LinkDown(link))
            return
        for packet in self.readers[link].feed(data):
            if link in self.readers:
                self.handle(PacketReceived(link, packet, peer, local))


def pump(nodes: list[LiveNode], until: Callable[[], object], limit_s: float, what: str = "") -> None:
    """Let several nodes live until the condition holds; AssertionError if it does not within `limit_s`."""
    end_s = time.monotonic() + limit_s
    while not until():
        if time.monotonic() > end_s:
            told = [line for node in nodes for line in (*node.log[-30:], node.saved)]
            raise AssertionError(f"not within {limit_s} s: {what}\n" + "\n".join(told))
        for node in nodes:
            node.turn(0.02 / len(nodes))
