"""A client that counts: INCRs over many keys while the cluster changes under it, and the proof that nothing was lost.

It does what a cluster client does: it follows MOVED, ASK and TRYAGAIN, and asks again after a lost connection. So a
counter may stand higher than what was confirmed (an INCR whose reply was lost), by at most as many as had no reply;
never lower.
"""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any, Self

from tests.support.wire import ReplyError, Wire

REPLY_TIMEOUT_S = 5.0
AGAIN_S = 0.02
REDIRECTS_MAX = 500
"""So often, every AGAIN_S, a command is sent again before the load gives up: ten seconds."""


class ClusterClient:
    """Follows redirects, remembers who owns a slot no longer than a connection lasts."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.at: dict[str, int] = {}  # by key
        self.wires: dict[int, Wire] = {}
        self.unanswered = 0

    def close(self) -> None:
        for wire in self.wires.values():
            wire.close()
        self.wires.clear()

    def __call__(self, command: str, key: str, *words: str) -> Any:
        """The reply of the node that serves the key; AssertionError when none does for too long."""
        asking, reply = False, None
        port = self.at.get(key, self.ports[0])
        for attempt in range(REDIRECTS_MAX):
            try:
                reply = self._ask(port, asking, command, key, *words)
            except OSError as error:
                self._forget(port)
                self.unanswered += 1
                reply, port, asking = error, self.ports[attempt % len(self.ports)], False
                time.sleep(AGAIN_S)
                continue
            if not isinstance(reply, ReplyError):
                return reply
            asking = False
            if reply.code in ("MOVED", "ASK"):
                port = int(reply.text.rpartition(":")[2])
                asking = reply.code == "ASK"
                if not asking:
                    self.at[key] = port
            elif reply.code in ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN"):
                time.sleep(AGAIN_S)
            else:
                return reply
        raise AssertionError(f"{command} {key}: not served, last {reply!r}")

    def _ask(self, port: int, asking: bool, *words: str) -> Any:
        wire = self.wires.get(port)
        if wire is None:
            wire = self.wires[port] = Wire(port, timeout_s=REPLY_TIMEOUT_S)
        if asking:
            wire("ASKING")
        return wire(*words)

    def _forget(self, port: int) -> None:
        wire = self.wires.pop(port, None)
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.close()
        self.at = {key: at for key, at in self.at.items() if at != port}


class Counting:
    """`with Counting(ports) as load: …` counts in a thread of its own; `prove` compares afterwards."""

    def __init__(self, ports: list[int], keys: list[str], pause_s: float = 0.001) -> None:
        self.client = ClusterClient(ports)
        self.keys = keys
        self.pause_s = pause_s
        self.confirmed = dict.fromkeys(keys, 0)
        self.longest_s = 0.0
        """The longest time that one INCR took."""
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(60)
        self.client.close()
        if self.failure is not None and error is None:
            raise self.failure

    @property
    def total(self) -> int:
        return sum(self.confirmed.values())

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                for key in self.keys:
                    started = time.monotonic()
                    reply = self.client("INCR", key)
                    self.longest_s = max(self.longest_s, time.monotonic() - started)
                    assert isinstance(reply, int), reply
                    assert reply > self.confirmed[key], f"{key}: {reply} after {self.confirmed[key]}: writes were lost"
                    self.confirmed[key] = reply
                    time.sleep(self.pause_s)
                    if self._over.is_set():
                        return
        except BaseException as failure:
            self.failure = failure

    def prove(self) -> None:
        """Every confirmed INCR is there."""
        client = ClusterClient(self.client.ports)
        try:
            for key, confirmed in self.confirmed.items():
                value = int(client("GET", key) or 0)
                assert confirmed <= value <= confirmed + self.client.unanswered, (key, confirmed, value)
        finally:
            client.close()
