"""A disk that refuses: at each step of a scenario, for good or for a while. Nobody is told OK for what is not kept."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

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
    try:
        reply = await life.call(*unit)
    except trio.Cancelled:  # the node ends before it could reply: the write may be in the file all the same
        run.model.run(*unit)
        raise
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
            await life.begin(nursery)
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
        await life.begin(nursery)
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


# --- a slow disk ------------------------------------------------------------------------------------------------------


class SlowPlatform(CrashPlatform):
    """Each turn of the thread takes `delay_s`, on Trio's clock."""

    delay_s = 0.0

    async def in_thread(self, work: Any, *args: Any) -> Any:
        result = work(*args)
        await trio.sleep(self.delay_s)
        return result


@asynccontextmanager
async def slow_node(fsync: str, delay_s: float) -> AsyncIterator[Life]:
    platform = SlowPlatform(Run(1, fsync).disk)
    life = Life(platform, appendfsync=fsync)
    async with trio.open_nursery() as nursery:
        await life.begin(nursery)
        platform.delay_s = delay_s
        yield life
        nursery.cancel_scope.cancel()
    life.server.reactor.close()


async def test_with_always_nothing_leaves_before_its_fsync(autojump_clock: Any) -> None:
    """The writer's reply, a reader's, a subscriber's message and the replicas' stream: all wait for the one fsync."""
    async with slow_node("always", 0.5) as life:
        server, reactor = life.server, life.server.reactor
        reader, subscriber = server.new_session(), server.new_session()
        subscriber.receive(b"SUBSCRIBE c\r\n")
        subscriber.out.clear()
        server.replication.primary.restart_stream()
        peers = {"writer": life.session, "reader": reader, "subscriber": subscriber}
        began = trio.current_time()
        life.feed("SET", "a", "1")
        reader.receive(b"GET a\r\n")
        life.feed("PUBLISH", "c", "m")
        assert all(peer.out for peer in peers.values())
        reactor.send_all()
        reactor.before_rest()
        assert reactor.held and not reactor.is_full(), "requests are served on, and what they make waits in its turn"
        steps = len(server.platform.disk.steps)  # type: ignore[attr-defined]
        await life.let_go()
        assert trio.current_time() - began == pytest.approx(0.5, abs=0.01)
        done = server.platform.disk.steps[steps:]  # type: ignore[attr-defined]
        assert done == ["write appendonly.aof.1.incr.aof", "fsync appendonly.aof.1.incr.aof"]
        assert life.aof.fsynced_offset == server.journal.offset


async def test_with_everysec_a_slow_disk_makes_everybody_wait_in_the_end(autojump_clock: Any) -> None:
    async with slow_node("everysec", 5) as life:
        assert await life.call(("SET", "a", "1")) == b"+OK\r\n"  # it is on its way
        began = trio.current_time()
        assert await life.call(("SET", "a", "2")) == b"+OK\r\n"
        assert trio.current_time() == began
        await trio.sleep(2.5)
        await life.call(("SET", "a", "3"))
        assert trio.current_time() - began > 4
        assert "aof_delayed_fsync:1" in (await life.call(("INFO", "persistence"))).decode()
        assert "Asynchronous AOF fsync is taking too long (disk is busy?)." in "".join(life.lines)


async def test_with_everysec_an_fsync_comes_once_a_second(autojump_clock: Any) -> None:
    async with slow_node("everysec", 0) as life:
        steps = life.server.platform.disk.steps  # type: ignore[attr-defined]
        before = sum(step.startswith("fsync") for step in steps)
        for number in range(50):
            await life.call(("SET", "a", str(number)))
            await trio.sleep(0.1)
        fsyncs = sum(step.startswith("fsync") for step in steps) - before
        assert 4 <= fsyncs <= 6
        await life.call(("CONFIG", "SET", "appendfsync", "no"))
        await trio.sleep(2)
        before = len(steps)
        await life.call(("SET", "a", "1"))
        await trio.sleep(5)
        assert steps[before:] == ["write appendonly.aof.1.incr.aof"]


async def test_an_idle_node_has_no_timer_for_its_file(autojump_clock: Any) -> None:
    async with slow_node("everysec", 0) as life:
        await life.call(("SET", "a", "1"))
        await trio.sleep(3)
        assert life.aof.writer._sync_timer is None and not life.aof.writer._running


async def test_a_save_waits_for_a_rewrite_and_a_rewrite_for_a_save(autojump_clock: Any) -> None:
    async with slow_node("everysec", 0.5) as life:
        assert b"rewriting started" in await life.call(("BGREWRITEAOF",))
        assert b"already in progress" in await life.call(("BGREWRITEAOF",))
        assert b"Another child process is active (AOF?)" in await life.call(("BGSAVE",))
        assert await life.call(("BGSAVE", "SCHEDULE")) == b"+Background saving scheduled\r\n"
        await life.rewritten()
        assert "rdb_bgsave_in_progress:1" in (await life.call(("INFO", "persistence"))).decode()
        assert await life.call(("BGREWRITEAOF",)) == b"+Background append only file rewriting scheduled\r\n"
        assert "aof_rewrite_scheduled:1" in (await life.call(("INFO", "persistence"))).decode()
        await life.rewritten()
        assert life.aof.rewriter.count == 2 and life.server.saver.background is None


async def test_a_rewrite_is_as_slow_as_it_is_told_and_stands_in_the_way_of_the_end(autojump_clock: Any) -> None:
    async with slow_node("everysec", 0) as life:
        await life.call(*(("SET", name, "1") for name in "abc"))
        config = life.server.config
        config.put("aof-use-rdb-preamble", False)
        config.put("aof-timestamp-enabled", True)
        config.put("rdb-key-save-delay", 1_000_000)
        began_s = trio.current_time()
        await life.call(("BGREWRITEAOF",))
        await life.rewritten()
        assert trio.current_time() - began_s >= 3
        base = life.server.platform.read_file(life.aof.disk.path(life.aof.manifest.base.name))
        assert base.startswith(b"#TS:"), "the time that `redis-check-aof --truncate-to-timestamp` may go back to"
        await life.call(("CONFIG", "SET", "appendonly", "no"), ("CONFIG", "SET", "appendonly", "yes"))
        await life.call(("SHUTDOWN",))
        assert "Writing initial AOF, can't exit." in "".join(life.lines)


async def test_old_files_are_kept_while_that_is_wanted(autojump_clock: Any) -> None:
    async with slow_node("everysec", 0) as life:
        await life.call(("CONFIG", "SET", "aof-disable-auto-gc", "yes"), ("BGREWRITEAOF",))
        await life.rewritten()
        platform, disk = life.server.platform, life.aof.disk
        old = [disk.path(file.name) for file in life.aof.manifest.history]
        assert len(old) == 2 and all(map(platform.exists, old))
        await life.call(("CONFIG", "SET", "aof-disable-auto-gc", "no"))
        assert not life.aof.manifest.history and not any(map(platform.exists, old))
