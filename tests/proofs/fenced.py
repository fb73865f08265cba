"""Clusters behind relays, the faults that are done to them, and writers that remember what was confirmed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple, Self

from node.slots import SLOTS, slot_of
from tests.proofs.relays import Place, Relays, places
from tests.support.cluster import LocalCluster
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, Wire

WHOLE_S = 60.0
REPLY_S = 1.0
PACE_S = 0.002
RETRY_S = 0.02
BATCH = 500


class FencedCluster(LocalCluster):
    """Nodes that reach one another by relays alone. `kinds` says what program each is: primaries first."""

    def __init__(self, kinds: Sequence[type[Server]], *, replicas: int = 1, network: int = 1, **options: Any) -> None:
        self.places: list[Place] = places(len(kinds), network)
        super().__init__(kinds[0], nodes=0, replicas=replicas)
        defaults: dict[str, Any] = {
            "cluster_enabled": "yes", "repl_diskless_sync_delay": 0, "enable_debug_command": "yes",
        }  # fmt: skip
        for kind, place in zip(kinds, self.places, strict=True):
            self.nodes.append(kind(port=place.port, **{**defaults, **place.options, **options}))
        self.relays = Relays(self.places)
        self.stack.enter_context(self.relays)

    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{place.relay}" for place in self.places]

    def node(self, port: int) -> Server:
        """The node that announces this port, or listens there."""
        real = next(place.port for place in self.places if port in (place.port, place.relay))
        return next(node for node in self.nodes if node.port == real)


# ---- faults ----------------------------------------------------------------------------------------------------------


def kill(cluster: FencedCluster, victim: Server) -> Callable[[], object]:
    victim.kill()
    return lambda: victim.start(timeout_s=WHOLE_S)


def pause(cluster: FencedCluster, victim: Server) -> Callable[[], object]:
    victim.signal(signal.SIGSTOP)
    return lambda: victim.signal(signal.SIGCONT)


def cut_off(cluster: FencedCluster, victim: Server) -> Callable[[], object]:
    cluster.relays.isolate(victim.port)
    return cluster.relays.heal


Fault = Callable[[FencedCluster, Server], Callable[[], object]]
FAULTS: dict[str, Fault] = {"kill -9": kill, "partition": cut_off, "pause": pause}


def replaced(cluster: FencedCluster, victim: Server) -> bool:
    """Whether all others hold another node for the primary of the victim's slots."""
    others = [node for node in cluster.nodes if node is not victim]
    return all(
        cluster.state_is_ok(node)
        and sum(one.slots for one in cluster.seen_by(node) if cluster.node(one.port) is not victim) == SLOTS
        for node in others
    )


def strike(cluster: FencedCluster, fault: Fault, victim: Server, down_s: float) -> bool:
    """Do a fault to a primary, end it once it was replaced and its time is over, and wait until all is whole.

    Returns whether it was replaced; a fault that is over too soon for that is one, too.
    """
    started = time.monotonic()
    undo = fault(cluster, victim)
    try:
        wait_until(lambda: time.monotonic() - started > down_s, down_s + 5, "the fault is over")
        was_replaced = replaced(cluster, victim)
    finally:
        undo()
    cluster.wait_until_agreed()
    return was_replaced


# ---- writers ---------------------------------------------------------------------------------------------------------


class Lost(NamedTuple):
    """What became of confirmed writes: how many there were, and the names of those that are gone."""

    confirmed: int
    keys: list[str]


class Writer(threading.Thread):
    """Writes keys of one slot, one after the other, to whoever takes them; remembers those that were confirmed.

    real -- client ports by the ports that nodes announce.
    """

    def __init__(self, tag: str, real: dict[int, int], name: str = "") -> None:
        super().__init__(daemon=True)
        self.tag, self.real, self.label = tag, real, name or tag
        self.ports = sorted(set(real.values()))
        self.port = self.ports[0]
        self.confirmed: list[int] = []
        self.at_s: list[float] = []
        """When each was confirmed (monotonic)."""
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._number = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self.join(30)
        if self.failure is not None and error is None:
            raise self.failure

    def key(self, number: int) -> str:
        return f"{{{self.tag}}}:{self.label}:{number}"

    def run(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    with Wire(self.port, timeout_s=REPLY_S) as wire:
                        self._write(wire)
                except OSError:
                    self.port = self.ports[(self.ports.index(self.port) + 1) % len(self.ports)]
                    self._over.wait(RETRY_S)
        except BaseException as failure:
            self.failure = failure

    def _write(self, wire: Wire) -> None:
        """Write on one connection until its node sends us elsewhere."""
        while not self._over.wait(PACE_S):
            self._number += 1
            reply = wire("SET", self.key(self._number), self._number)
            if not isinstance(reply, ReplyError):
                self.confirmed.append(self._number)
                self.at_s.append(time.monotonic())
                continue
            if reply.code == "ASK":
                self._ask(int(reply.text.rpartition(":")[2]))
            elif reply.code == "MOVED":
                self.port = self.real[int(reply.text.rpartition(":")[2])]
                if self.port != wire.socket.getpeername()[1]:
                    return
            else:
                self._over.wait(RETRY_S)
                self.port = self.ports[(self.ports.index(self.port) + 1) % len(self.ports)]
                return

    def _ask(self, announced: int) -> None:
        """The slot moves: this key is written at its new place, the next one asks at the old again."""
        with Wire(self.real[announced], timeout_s=REPLY_S) as other:
            replies = other.pipeline([("ASKING",), ("SET", self.key(self._number), self._number)])
        if not isinstance(replies[1], ReplyError):
            self.confirmed.append(self._number)
            self.at_s.append(time.monotonic())

    def longest_gap_s(self) -> float:
        """The longest time between two confirmed writes."""
        return max((after - before for before, after in pairwise(self.at_s)), default=0.0)

    def missing(self, port: int) -> list[str]:
        """Confirmed keys that the node at this port, their primary, does not have."""
        gone: list[str] = []
        with Wire(port) as wire:
            for start in range(0, len(self.confirmed), BATCH):
                numbers = self.confirmed[start : start + BATCH]
                replies = wire.pipeline([("GET", self.key(number)) for number in numbers])
                gone += [self.key(n) for n, reply in zip(numbers, replies, strict=True) if reply != str(n).encode()]
        return gone


def writers(cluster: FencedCluster) -> list[Writer]:
    """One for each third of the slots."""
    real = {place.relay: place.port for place in cluster.places}
    tags = [next(t for t in map(str, range(1000)) if slot_of(t.encode()) * 3 // SLOTS == n) for n in range(3)]
    return [Writer(tag, real) for tag in tags]


def await_writes(load: Sequence[Writer], count: int = 100) -> None:
    """Until each writer has so many writes confirmed more than now."""
    for writer, goal in [(writer, len(writer.confirmed) + count) for writer in load]:
        wait_until(
            lambda w=writer, g=goal: len(w.confirmed) >= g or w.failure, WHOLE_S, f"confirmed writes of {writer.label}"
        )


def count_lost(cluster: FencedCluster, load: Sequence[Writer]) -> Lost:
    """Look for all that was confirmed, at the primaries that there are now."""
    gone: list[str] = []
    for writer in load:
        for primary in cluster.primaries():
            with primary.wire() as wire:
                if not isinstance(wire("GET", writer.key(0)), ReplyError):
                    gone += writer.missing(primary.port)
    return Lost(sum(len(writer.confirmed) for writer in load), gone)
