"""`appendfsync always`: requests are served on while an fsync runs, and no reply leaves before the one that covers it.

Clients of real sockets, a disk on Trio's clock.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from node.net import reactor
from node.net.reactor import Connection
from node.persistence.aofwriter import SERVE_ON_MS, AofWriter
from tests.node.persistence.crashdisk import CrashPlatform
from tests.node.persistence.crashes import Life, Run, suppress_crash
from tests.support.wire import encode

WRITES = 12


class SlowPlatform(CrashPlatform):
    """Each turn of the thread takes `delay_s` before its work and as long after it."""

    delay_s = 0.0

    async def in_thread(self, work: Any, *args: Any) -> Any:
        await trio.sleep(self.delay_s)
        result = work(*args)
        await trio.sleep(self.delay_s)
        return result


class Caller:
    """A client that does not wait for its replies."""

    def __init__(self, life: Life) -> None:
        ours, self.socket = socket.socketpair()
        for end in (ours, self.socket):
            end.setblocking(False)
        self.heard = b""
        life.server.reactor.add(ours, life.server.new_session())

    def send(self, *words: str) -> None:
        self.socket.send(encode(*words))

    def hear(self) -> bytes:
        """All that has come so far."""
        try:
            while data := self.socket.recv(1 << 16):
                self.heard += data
        except BlockingIOError:
            pass
        return self.heard


@asynccontextmanager
async def served(run: Run, delay_s: float, callers: int) -> AsyncIterator[tuple[Life, list[Caller]]]:
    """A node that serves its clients, until the block ends or the power fails."""
    platform = SlowPlatform(run.disk)
    life = Life(platform, **run.options)
    called: list[Caller] = []
    try:
        with suppress_crash():
            async with trio.open_nursery() as nursery:
                await life.begin(nursery)
                platform.delay_s = delay_s / 2
                called += [Caller(life) for _ in range(callers)]
                yield life, called
                nursery.cancel_scope.cancel()
    finally:
        life.server.reactor.close()
        for caller in called:
            caller.socket.close()


async def test_replies_leave_with_the_fsync_that_covers_what_they_tell(autojump_clock: Any) -> None:
    async with served(Run(1), 0.05, 4) as (life, (first, early, second, late)):
        steps = life.server.platform.disk.steps  # type: ignore[attr-defined]
        del steps[:]
        began = trio.current_time()

        async def at(when_s: float) -> list[bytes]:
            await trio.sleep_until(began + when_s)
            return [caller.hear() for caller in (first, early, second, late)]

        first.send("SET", "a", "1")
        await at(0.01)
        early.send("GET", "a")
        await at(0.02)
        second.send("SET", "b", "2")
        first.send("SET", "c", "3")
        await at(0.03)
        late.send("GET", "b")
        assert await at(0.04) == [b"", b"", b"", b""]
        assert life.server.commands_processed >= 5, "they have been served"
        assert await at(0.06) == [b"+OK\r\n", b"$1\r\n1\r\n", b"", b""]
        assert await at(0.11) == [b"+OK\r\n+OK\r\n", b"$1\r\n1\r\n", b"+OK\r\n", b"$1\r\n2\r\n"]
        file = "appendonly.aof.1.incr.aof"
        assert steps == [f"write {file}", f"fsync {file}"] * 2, "one fsync for all that was served during the first"


async def test_batches_that_follow_one_another_closely_share_an_fsync(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactor, "SLICE_NS", 1 << 60)  # however slow the machine
    async with served(Run(1), 0.05, 2) as (life, (first, second)):
        steps = life.server.platform.disk.steps  # type: ignore[attr-defined]
        del steps[:]
        turns = life.server.reactor.turns
        second.send("SET", "b", "1")
        for _ in range(3):
            first.send("SET", "a", "x" * 40_000)
        await trio.sleep(0.06)
        assert first.hear() == b"+OK\r\n" * 3 and second.hear() == b"+OK\r\n"
        assert life.server.reactor.turns > turns + 1
        assert [step.split()[0] for step in steps] == ["write", "fsync"]


async def test_a_disk_that_takes_long_makes_everybody_wait(autojump_clock: Any) -> None:
    async with served(Run(1), 1, 2) as (life, (writer, other)):
        writer.send("SET", "a", "1")
        await trio.sleep(SERVE_ON_MS / 1000 / 2)
        other.send("SET", "b", "1")
        await trio.sleep(SERVE_ON_MS / 1000)
        served_so_far = life.server.commands_processed
        other.send("SET", "c", "1")
        await trio.sleep(0.8)
        assert life.server.commands_processed == served_so_far and not writer.hear()
        await trio.sleep(0.1)
        assert life.server.commands_processed == served_so_far + 1 and writer.hear() == b"+OK\r\n"
        await trio.sleep(2)
        assert other.hear() == b"+OK\r\n+OK\r\n"


# --- crashes ----------------------------------------------------------------------------------------------------------


async def crash(seed: int, at: int) -> tuple[set[str], bool]:
    """Write without waiting, and crash at a step after the start.

    Of which keys anybody has heard, and whether all was over before.
    """
    run = Run(seed * 1000 + at)
    told = set[str]()
    async with served(run, 0.01, 3) as (_life, callers):
        run.disk.crash_at = len(run.disk.steps) + at
        writer, reader, subscriber = callers
        subscriber.send("SUBSCRIBE", "c")
        try:
            for number in range(WRITES):
                writer.send("SET", f"k:{number:04}", "1")
                await trio.sleep(0.003)
                writer.send("PUBLISH", "c", f"k:{number:04}")
                reader.send("KEYS", "k:*")
                await trio.sleep(0.002)
                if number == WRITES // 2:
                    reader.send("BGREWRITEAOF")
            await trio.sleep(0.2)
        finally:
            for caller in callers:
                told.update(re.findall(r"k:\d{4}", caller.hear().decode()))
            told.update(f"k:{number:04}" for number in range(writer.heard.count(b"+OK")))
            ended = not run.disk.crashed
            run.disk.crashed = True
    found = {key.decode() for key in (await run.find()).get(0, {})}
    assert told <= found, f"step {at}, seed {seed}: {sorted(told - found)} were only heard of"
    return told, ended


async def crash_everywhere(seed: int, stride: int) -> int:
    """How many crashes there were."""
    at, told = 1 + seed % stride, set[str]()
    while True:
        heard, ended = await crash(seed, at)
        told |= heard
        if ended:
            break
        at += stride
    assert len(told) == WRITES
    return at // stride


async def test_nobody_has_seen_what_a_crash_undoes(autojump_clock: Any) -> None:
    assert await crash_everywhere(1, 3) > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_nobody_has_seen_what_any_crash_undoes(seed: int, autojump_clock: Any) -> None:
    assert await crash_everywhere(seed, 1) > 20


_mark = AofWriter.before_send


def _a_turn_too_early(self: AofWriter) -> int:
    return min(_mark(self), self._turns)


def _release_all(connection: Connection, _mark: int) -> None:
    connection.holds.clear()


PLANTED: dict[str, tuple[object, str, Callable[..., object]]] = {
    "no mark": (AofWriter, "before_send", lambda self: _mark(self) and 0),
    "the mark of the turn that runs": (AofWriter, "before_send", _a_turn_too_early),
    "a release lets all go": (Connection, "release", _release_all),
}


@pytest.mark.parametrize("bug", PLANTED)
async def test_the_crashes_notice(bug: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> None:
    monkeypatch.setattr(*PLANTED[bug])
    with pytest.raises(AssertionError, match="were only heard of"):
        for seed in range(10):
            await crash_everywhere(seed, 2)
