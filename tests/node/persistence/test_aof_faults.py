"""A disk that refuses: at each step of a scenario, for good or for a while. Nobody is told OK for what is not kept."""

from __future__ import annotations

import errno
from typing import Any

import pytest
import trio

from node import app
from node.persistence.aof import State
from node.server import CannotGoOn
from tests.node.persistence.crashdisk import Crashed, CrashPlatform
from tests.node.persistence.crashes import Life, Run, content


class Faults:
    """Refuses the steps from `first` on, `count` of them."""

    def __init__(self, first: int, count: int, number: int = errno.ENOSPC) -> None:
        self.first, self.count, self.number = first, count, number
        self.seen = 0

    def __call__(self, step: str) -> OSError | None:
        self.seen += 1
        if self.first <= self.seen < self.first + self.count:
            return OSError(self.number, {errno.ENOSPC: "No space left on device", errno.EIO: "I/O error"}[self.number])
        return None


async def a_short_day(run: Run, life: Life) -> None:
    """Writes, and a rewrite while more is written. A write that is refused is no write."""
    for name in ("a", "b"):
        await attempt(run, life, ("MULTI",), ("SET", name, "1"), ("INCR", "n"), ("EXEC",))
        await trio.sleep(1.2)
    await life.call(("BGREWRITEAOF",))
    for _ in range(2):
        await attempt(run, life, ("INCR", "n"))
        await trio.sleep(1.2)
    await trio.sleep(10)


async def attempt(run: Run, life: Life, *unit: tuple[str, ...]) -> None:
    reply = await life.call(*unit)
    if b"MISCONF" not in reply:
        run.model.run(*unit)
        run.acknowledged.append((trio.current_time(), len(run.model.states) - 1))
        if run.options["appendfsync"] == "always":
            run.promised = len(run.model.states) - 1


async def live_with(faults: Faults, fsync: str) -> tuple[Run, Life, BaseException | None]:
    """One day with faults, ended by a crash; the node, and why it ended by itself."""
    run = Run(faults.first, fsync)
    life = Life(CrashPlatform(run.disk), **run.options)
    reason: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            life.server.spawn = lambda task, *args: nursery.start_soon(task, *args)
            nursery.start_soon(app.keep_time, life.server)
            await app.load(life.server)
            run.disk.fails = faults
            await a_short_day(run, life)
            run.disk.fails = lambda _step: None
            run.disk.crashed = True
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        rest = group.split(Crashed)[1]
        assert rest is None or rest.split(CannotGoOn)[1] is None, group
        reason = rest
        run.disk.fails = lambda _step: None
    life.server.reactor.close()
    return run, life, reason


async def refuse_at_each(fsync: str, count: int, number: int, start: int, stride: int) -> int:
    first, met = start, 0
    while True:
        faults = Faults(first, count, number)
        run, life, reason = await live_with(faults, fsync)
        try:
            if reason is not None:
                assert fsync == "always" and "AOF fsync policy is 'always'" in "".join(life.lines)
            elif count < 50:
                assert life.aof.state is State.ON and life.aof.writer.last_write_ok
                assert life.aof.rewriter.background is None
            if faults.seen >= first and count < 50:
                assert "rror" in "".join(life.lines) or "Fail" in "".join(life.lines)
            await run.check()
        except BaseException as error:
            error.add_note(f"refused {count} from step {first}: {''.join(life.lines)}")
            raise
        if faults.seen < first:
            return met
        met += 1
        first += stride


KINDS: list[tuple[str, int, int]] = [
    ("everysec", 1, errno.ENOSPC),
    ("everysec", 3, errno.EIO),
    ("everysec", 1000, errno.EIO),
    ("always", 1, errno.ENOSPC),
]


@pytest.mark.parametrize(("fsync", "count", "number"), KINDS)
async def test_a_disk_that_refuses(fsync: str, count: int, number: int, autojump_clock: Any) -> None:
    assert await refuse_at_each(fsync, count, number, 1, 4) > 3


@pytest.mark.long
@pytest.mark.parametrize(("fsync", "count", "number"), KINDS)
async def test_a_disk_that_refuses_at_every_step(fsync: str, count: int, number: int, autojump_clock: Any) -> None:
    assert await refuse_at_each(fsync, count, number, 1, 1) > 12


async def test_writes_are_refused_while_the_disk_is_full_and_taken_again_afterwards(autojump_clock: Any) -> None:
    run = Run(1, "everysec")
    life = Life(CrashPlatform(run.disk), **run.options)
    async with trio.open_nursery() as nursery:
        life.server.spawn = lambda task, *args: nursery.start_soon(task, *args)
        nursery.start_soon(app.keep_time, life.server)
        await app.load(life.server)
        full = Faults(1, 10**9)
        run.disk.fails = full
        assert await life.call(("SET", "a", "1")) == b"+OK\r\n"
        await trio.sleep(0.5)
        refusal = b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"
        assert await life.call(("SET", "a", "2")) == refusal == await life.call(("PING",))
        assert await life.call(("GET", "a")) == b"$1\r\n1\r\n"
        assert "aof_last_write_status:err" in (await life.call(("INFO", "persistence"))).decode()
        run.disk.fails = lambda _step: None
        await trio.sleep(2)
        assert await life.call(("SET", "a", "3")) == b"+OK\r\n"
        assert "AOF write error looks solved. The server can write again." in "".join(life.lines)
        assert life.aof.writer.flush_now()
        nursery.cancel_scope.cancel()
    expected = content(life.server)
    life.server.reactor.close()
    assert await run.find() == expected
