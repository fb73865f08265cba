"""Sentinel processes for tests: Debian's `redis-sentinel` and ours, and groups of either over servers of either.

    with Watched(HexadServer, [RedisSentinel, HexadSentinel, HexadSentinel]) as group: ...

Each has a configuration file in a directory of its own, which it rewrites.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.support.servers import ROOT, Server
from tests.support.waiting import wait_until

SETTLE_TIMEOUT_S = 15.0


class SentinelServer(Server):
    """A Sentinel; `lines` are the `sentinel` lines of its file, each without that word."""

    def __init__(self, lines: Sequence[str], *, more: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.conf = self.directory / "sentinel.conf"
        text = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}", *(f"sentinel {line}" for line in lines)]
        self.conf.write_text("\n".join(text) + f"\n{more}\n")

    def command_line(self) -> list[str]:
        return [*self.program, str(self.conf)]

    def address_of(self, name: str = "mymaster") -> int:
        """The port of the node that this Sentinel takes for the primary."""
        with self.wire() as wire:
            reply = wire("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        return int(reply[1]) if reply else 0

    def fields(self, *words: str) -> dict[str, str] | list[dict[str, str]]:
        """A reply of SENTINEL as dicts of text."""
        with self.wire() as wire:
            reply = wire("SENTINEL", *words)
        assert isinstance(reply, list), reply
        if reply and isinstance(reply[0], list):
            return [_pairs(each) for each in reply]
        return _pairs(reply) if reply else []


def _pairs(flat: list[bytes]) -> dict[str, str]:
    return {flat[at].decode(): flat[at + 1].decode() for at in range(0, len(flat), 2)}


class RedisSentinel(SentinelServer):
    """Debian's redis-sentinel 7.0."""

    program = ("redis-sentinel",)


class HexadSentinel(SentinelServer):
    """`hexad sentinel` of this checkout."""

    program = (sys.executable, "-m", "hexad", "sentinel")
    environment: ClassVar[dict[str, str]] = {"PYTHONPATH": str(ROOT)}


class Watched:
    """A primary with replicas, and Sentinels that know each other and all of them."""

    def __init__(
        self,
        server: type[Server] | Sequence[type[Server]],
        sentinels: Sequence[type[SentinelServer]],
        *,
        replicas: int = 2,
        down_after_ms: int = 1000,
        failover_timeout_ms: int = 6000,
        lines: Sequence[str] = (),
        **options: Any,
    ) -> None:
        kinds = [server] * (replicas + 1) if isinstance(server, type) else list(server)
        self.servers = [kind(**options) for kind in kinds]
        for replica in self.servers[1:]:
            replica.options["replicaof"] = ["127.0.0.1", str(self.servers[0].port)]
        quorum = len(sentinels) // 2 + 1
        self.down_after_ms = down_after_ms
        watch = [
            f"monitor mymaster 127.0.0.1 {self.servers[0].port} {quorum}",
            f"down-after-milliseconds mymaster {down_after_ms}",
            f"failover-timeout mymaster {failover_timeout_ms}",
            *lines,
        ]
        self.sentinels = [kind(watch) for kind in sentinels]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for each in (*self.servers, *self.sentinels):
                self._stack.callback(each.close)
                each.start()
            wait_until(self.is_settled, SETTLE_TIMEOUT_S, "everybody knows everybody")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    def is_settled(self) -> bool:
        """Whether every Sentinel knows all replicas and fellows, and finds nobody down."""
        for sentinel in self.sentinels:
            primary = sentinel.fields("MASTER", "mymaster")
            replicas = sentinel.fields("REPLICAS", "mymaster")
            assert isinstance(primary, dict) and isinstance(replicas, list)
            counts = int(primary["num-slaves"]), int(primary["num-other-sentinels"])
            if counts != (len(self.servers) - 1, len(self.sentinels) - 1):
                return False
            if any(each["flags"] != "slave" or each["master-link-status"] != "ok" for each in replicas):
                return False
        return True

    def server_at(self, port: int) -> Server:
        """The server that listens there."""
        return next(each for each in self.servers if each.port == port)

    def agreed_port(self) -> int:
        """The port that all Sentinels name; 0 as long as they differ."""
        ports = {sentinel.address_of() for sentinel in self.sentinels}
        return ports.pop() if len(ports) == 1 else 0

    def wait_for_new_primary(self, old: int, timeout_s: float) -> Server:
        """Wait until all Sentinels name another primary than `old`, and it is one."""

        def found() -> Server | None:
            port = self.agreed_port()
            if port in (0, old):
                return None
            server = self.server_at(port)
            with server.wire() as wire:
                return server if wire("ROLE")[0] == b"master" else None

        return wait_until(found, timeout_s, "a new primary")
