"""A proxy in this process, without sockets and real time, before nodes that are in this process, too."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from node.config import CommandLine
from node.log import Log
from node.net.peer import OPEN
from node.program import configure
from node.slots import SLOTS
from proxy.app import build
from proxy.link import Link
from proxy.session import ProxySession
from proxy.settings import read
from proxy.topology import Shard
from tests.support.local import LocalNode, StillPlatform
from tests.support.wire import Argument, encode

NODES = 3
ROUNDS_MAX = 10_000
"""So often bytes go to and fro before something is wrong."""

Change = Callable[[bytes], bytes | None]
"""What becomes of the bytes that a node sends; None: its connection breaks."""


class LocalProxy:
    """A proxy before three nodes with a third of the slots each, which know nothing of one another."""

    def __init__(self, options: str = "") -> None:
        settings, rest = read(None, f"cluster 127.0.0.1:1\n{options}", lambda _path: "")
        self.platform = StillPlatform()
        config = configure(self.platform, CommandLine(None, False, rest))
        self.log: list[str] = []
        self.proxy = build(self.platform, config, settings, Log(self.platform, self.log.append))
        self.nodes = [LocalNode() for _ in range(NODES)]
        self.change: Change = lambda data: data
        self._clients: dict[ProxySession, LocalClient] = {}
        self._dialled: list[Link] = []
        self._ends: dict[Link, Any] = {}  # the session at its node of each link
        self.proxy.begin_dialling = self._dialled.append
        edges = [SLOTS * number // NODES for number in range(NODES + 1)]
        ranges = [(first, after - 1) for first, after in pairwise(edges)]
        self.proxy.topology.adopt([Shard(("node", number), (), (ranges[number],)) for number in range(NODES)])

    def client(self) -> LocalClient:
        session = self.proxy.new_session()
        assert isinstance(session, ProxySession)
        client = self._clients[session] = LocalClient(self, session)
        return client

    def forget(self, client: LocalClient) -> None:
        del self._clients[client.session]

    def pump(self) -> None:
        """Carry bytes to and fro until nothing moves."""
        proxy = self.proxy
        for _ in range(ROUNDS_MAX):
            moved = bool(self._dialled)
            dialled, self._dialled[:] = list(self._dialled), []
            for link in dialled:
                if not link.ended:
                    self._ends[link] = self.nodes[link.node.address[1]].server.new_session()
                    link.connected()
            for link, end in list(self._ends.items()):
                moved = self._carry(link, end) or moved
            for client in list(self._clients.values()):
                while client.act():
                    moved = True
            proxy.before_send()
            due = proxy.timers.next_ms <= self.platform.monotonic_ms()
            if due:
                proxy.timers.run_due()
            if not moved and not due:
                return
        raise AssertionError("it never comes to rest")

    def _carry(self, link: Link, end: Any) -> bool:
        """What a link has to send to its node, and back; False if there was nothing."""
        if link.ended or end.closing != OPEN:
            del self._ends[link]
            end.lost("over")
            link.lost("")
            return True
        server = end.host
        moved = False
        if link.out and end.parked is None:
            data = bytes(link.out)
            link.out.clear()
            if link.hears_of_sending:
                link.sent()
            server.read_clock()
            end.receive(data)
            moved = True
        while end.more:
            end.proceed()
            moved = True
        server.before_send()
        if end.out:
            data = self.change(bytes(end.out))
            end.out.clear()
            if data is None:
                link.lost("broken")
            else:
                link.receive(data)
            moved = True
        return moved

    def pass_ms(self, milliseconds: int) -> None:
        """Let time go by at the proxy and the nodes, with all that is due then."""
        proxy, end_ms = self.proxy, self.platform.time_ms + milliseconds
        while proxy.timers.next_ms <= end_ms:
            self.platform.time_ms = max(self.platform.time_ms, int(-(-proxy.timers.next_ms // 1)))
            proxy.read_clock()
            proxy.timers.run_due()
            self.pump()
        self.platform.time_ms = end_ms
        proxy.read_clock()
        for node in self.nodes:
            node.pass_ms(milliseconds)
        proxy.end_stuck_links()
        self.pump()


class LocalClient:
    """A client of a `LocalProxy`."""

    def __init__(self, home: LocalProxy, session: ProxySession) -> None:
        self.home = home
        self.session = session
        self.chunks: list[bytes] = []  # what it has sent, and the proxy has not read

    @property
    def is_gone(self) -> bool:
        return self.session.closing != OPEN

    def send(self, *chunks: bytes) -> None:
        """Send bytes, each chunk for a read of its own, and let all happen that comes of them."""
        self.chunks += chunks
        self.home.pump()

    def act(self) -> bool:
        """Have the proxy serve it once, as the reactor does: who waits is not read. False: there was nothing."""
        session = self.session
        if session.closing != OPEN or session.parked is not None or not (session.more or self.chunks):
            return False
        if session.more:
            session.proceed()
        else:
            session.receive(self.chunks.pop(0))
        return True

    def take(self) -> bytes:
        """What has come."""
        data = bytes(self.session.out)
        self.session.out.clear()
        if self.session.hears_of_sending:
            self.session.sent()
        return data

    def raw(self, *arguments: Argument) -> bytes:
        """One command, and the bytes of what comes back at once."""
        self.send(encode(*arguments))
        return self.take()

    def close(self) -> None:
        self.session.lost("over")
        self.home.forget(self)
        self.home.pump()
