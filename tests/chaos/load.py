"""A writing and checking load: what was confirmed must stay, whatever happens to the nodes.

Each writer has the keys of one shard. It writes new ones one after another, asks `WAIT 1` for each on the same
connection, remembers those for which a replica answered, and reads an old one back each time. Clients talk to 127.0.0.1
alone: a node's port is published there under its own number, so of a redirect only the port counts.

`WAIT` is no promise for ever in Redis's model: a replica that has the write need not be the one that wins. With one
replica a primary, as here, it is, so here not one confirmed write may be lost.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from hexad.sight import Range, slots_in
from node.slots import slot_of
from tests.support import ReplyError, Wire, wait_until

PACE_S = 0.003
WAIT_MS = 100
REPLY_TIMEOUT_S = 1.0
INSIST_TIMEOUT_S = 60.0
RETRY_S = 0.05
AVOID_S = 1.0
TAGS = 8
BATCH = 500
Answered = list[Any]


class Writer(threading.Thread):
    """Writes keys `chaos:{tag}:name:n` with tags of one shard, to whom the nodes say. One that `insists` stays with its
    first port, as a client with an old map would."""

    def __init__(
        self, name: str, port: int, ports: Sequence[int], tags: Sequence[str], *, insists: bool = False
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.port, self.ports, self.tags, self.insists = port, list(ports), tags, insists
        self.next = 0
        self.confirmed: list[int] = []
        self.unconfirmed = 0
        self.ok_s: list[float] = []
        """When each write was taken (monotonic)."""
        self.violations: list[str] = []
        self._avoided: dict[int, float] = {}  # ports that gave no answer, and until when they are not asked again
        self._ended = threading.Event()

    def key(self, number: int) -> str:
        return f"chaos:{{{self.tags[number % len(self.tags)]}}}:{self.name}:{number}"

    def end(self) -> None:
        """Stop writing, soon; `join` waits for it."""
        self._ended.set()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with Wire(self.port, timeout_s=INSIST_TIMEOUT_S if self.insists else REPLY_TIMEOUT_S) as wire:
                    self._write_on(wire)
            except OSError:
                self._avoided[self.port] = time.monotonic() + AVOID_S
                self._go_on_with(self.ports[(self.ports.index(self.port) + 1) % len(self.ports)])

    def _write_on(self, wire: Wire) -> None:
        """Write on one connection until its node sends us elsewhere."""
        while not self._ended.wait(PACE_S):
            old = random.choice(self.confirmed) if self.confirmed else None
            commands: list[tuple[Any, ...]] = [("SET", self.key(self.next), self.next), ("WAIT", 1, WAIT_MS)]
            if old is not None:
                commands.append(("GET", self.key(old)))
            replies = wire.pipeline(commands)
            if old is not None and not isinstance(replies[2], ReplyError) and replies[2] != str(old).encode():
                self.violations.append(f"{self.key(old)}: {replies[2]!r} on port {self.port}")
            if isinstance(replies[0], ReplyError):
                self._refused(replies[0])
                return
            self._taken(replies)

    def _taken(self, replies: Answered) -> None:
        self.ok_s.append(time.monotonic())
        if isinstance(replies[1], int) and replies[1] >= 1:
            self.confirmed.append(self.next)
        else:
            self.unconfirmed += 1
        self.next += 1

    def _refused(self, error: ReplyError) -> None:
        """MOVED names the next port; any other refusal may be over soon, here or at another node."""
        words = error.text.split()
        if words[0] == "MOVED":
            port = int(words[2].rpartition(":")[2])
            if self._avoided.get(port, 0) < time.monotonic():
                self._go_on_with(port, pause_s=RETRY_S if self.insists else 0)
                return
        self._ended.wait(RETRY_S)

    def _go_on_with(self, port: int, pause_s: float = RETRY_S) -> None:
        if not self.insists:
            self.port = port
        self._ended.wait(pause_s)

    def longest_gap_s(self, since_s: float) -> float:
        """The longest time without a write taken that ends after `since_s`."""
        times = [*self.ok_s, time.monotonic()]
        return max(after - before for before, after in pairwise(times) if after > since_s)

    def lost(self, port: int) -> list[str]:
        """Confirmed keys that the node at `port`, their primary, does not have."""
        missing = []
        with Wire(port) as wire:
            for start in range(0, len(self.confirmed), BATCH):
                numbers = self.confirmed[start : start + BATCH]
                replies = wire.pipeline([("GET", self.key(number)) for number in numbers])
                found = zip(numbers, replies, strict=True)
                missing += [f"{self.key(n)}: {reply!r}" for n, reply in found if reply != str(n).encode()]
        return missing


class Load:
    """Writers for all shards, given as {port of the primary: its slots}; one more insists on `victim`."""

    def __init__(self, shards: dict[int, Iterable[Range]], ports: Sequence[int], victim: int, name: str) -> None:
        tags = {port: _tags(ranges) for port, ranges in shards.items()}
        self.writers = {port: Writer(f"{name}:{port}", port, ports, tags[port]) for port in shards}
        self.insisting = Writer(f"{name}:old", victim, ports, tags[victim], insists=True)

    def __enter__(self) -> Self:
        for writer in self.all:
            writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for writer in self.all:
            writer.end()
        for writer in self.all:
            writer.join(INSIST_TIMEOUT_S)
            assert not writer.is_alive(), f"{writer.name} does not end"

    @property
    def all(self) -> list[Writer]:
        return [*self.writers.values(), self.insisting]

    def await_confirmed(self, count: int, timeout_s: float) -> None:
        """Until each shard has that many confirmed writes more than now."""
        goals = {writer: len(writer.confirmed) + count for writer in self.writers.values()}
        for writer, goal in goals.items():
            wait_until(lambda w=writer, g=goal: len(w.confirmed) >= g, timeout_s, f"confirmed writes of {writer.name}")

    def await_taken(self, shard: int, count: int, timeout_s: float) -> None:
        """Until one shard has taken that many writes more than now."""
        writer = self.writers[shard]
        goal = len(writer.ok_s) + count
        wait_until(lambda: len(writer.ok_s) >= goal, timeout_s, f"{count} writes of {writer.name}")


def _tags(ranges: Iterable[Range]) -> list[str]:
    slots = slots_in(ranges)
    found = (str(number) for number in range(1 << 20) if slot_of(b"%d" % number) in slots)
    return [next(found) for _ in range(TAGS)]
