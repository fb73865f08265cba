"""A node without sockets, files or real time: sessions are called directly, and the clock goes when told to."""

from __future__ import annotations

from typing import Any

from node.app import build
from node.config.config import Config
from node.log import Log
from node.net.session import Session
from node.platform import Platform
from node.server import Server
from tests.support.wire import Argument, encode

START_MS = 1_800_000_000_000


class StillPlatform(Platform):
    """A platform whose clocks stand still until they are moved."""

    def __init__(self, seed: int = 1, now_ms: int = START_MS) -> None:
        super().__init__(seed)
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    def now_us(self) -> int:
        return self.time_ms * 1000

    def monotonic_ms(self) -> float:
        return float(self.time_ms)


class LocalClient:
    """A client of a `LocalNode`: one command, the bytes of its reply."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.session: Session[Server] = node.server.new_session()

    def raw(self, *arguments: Argument) -> bytes:
        """Run a command and return its reply as it would go over the wire."""
        self.node.server.read_clock()
        self.session.receive(encode(*arguments))
        while self.session.more:
            self.session.proceed()
        reply = bytes(self.session.out)
        self.session.out.clear()
        return reply


class LocalNode:
    """A whole node in this process. `platform.time_ms` is its wall clock; options are typed directives."""

    def __init__(self, seed: int = 1, now_ms: int = START_MS, **options: Any) -> None:
        self.platform = StillPlatform(seed, now_ms)
        config = Config()
        config.set([("save", "")])  # no files: FLUSHALL writes one where there are save points
        for name, value in options.items():
            config.put(name.replace("_", "-"), value)
        self.server = build(self.platform, config, Log(self.platform, lambda _text: None))
        self.keyspace = self.server.keyspace

    def client(self) -> LocalClient:
        return LocalClient(self)

    def pass_ms(self, milliseconds: int) -> None:
        """Let time go by: timers are called at their times."""
        timers = self.server.timers
        end_ms = self.platform.time_ms + milliseconds
        while timers.next_ms <= end_ms:
            self.platform.time_ms = max(self.platform.time_ms, int(-(-timers.next_ms // 1)))
            self.server.read_clock()
            timers.run_due()
        self.platform.time_ms = end_ms
        self.server.read_clock()
