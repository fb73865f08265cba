"""A crash at each file operation of a scenario: what was promised is there, and a transaction whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from node.persistence.aofdisk import AofDisk
from node.persistence.aofwriter import AofWriter
from tests.node.persistence.crashdisk import CrashPlatform
from tests.node.persistence.crashes import Life, Run

SETTINGS: list[dict[str, Any]] = [
    {"fsync": "always"},
    {"fsync": "everysec"},
    {"fsync": "always", "aof_use_rdb_preamble": False, "aof_timestamp_enabled": True},
]


async def some_writes(run: Run, life: Life, name: str) -> None:
    await run.write(life, ("SET", name, "1"))
    await run.write(life, ("MULTI",), ("INCR", "n"), ("SELECT", "1"), ("RPUSH", "l", name), ("EXEC",))
    await run.write(life, ("INCR", "n"))
    await run.write(life, ("SELECT", "0"))
    await run.write(life, ("INCRBY", "n", "2"))
    await run.write(life, ("SET", f"{name}:e", "2", "PX", "100000"))
    await trio.sleep(0.3)


async def a_day(run: Run, life: Life) -> None:
    """Writes, a rewrite while more is written, off and on again, another rewrite."""
    await some_writes(run, life, "first")
    await life.call(("BGREWRITEAOF",))
    await run.write(life, ("INCR", "n"))
    await some_writes(run, life, "second")
    await life.rewritten()
    await some_writes(run, life, "third")
    await life.call(("CONFIG", "SET", "appendonly", "no"))
    await run.write(life, ("INCR", "n"))
    await life.call(("CONFIG", "SET", "appendonly", "yes"))
    await run.write(life, ("INCR", "n"))
    await life.rewritten()
    await some_writes(run, life, "fourth")
    await life.call(("BGREWRITEAOF",))
    await some_writes(run, life, "fifth")
    await life.rewritten()


async def crash_at_each(settings: dict[str, Any], seed: int, start: int, stride: int) -> int:
    """Live the day with a crash at every `stride`-th step; how many crashes there were."""
    crashes = 0
    at = start
    while True:
        run = Run(seed * 10_000 + at, **settings)
        await run.live(a_day, at)
        ended = len(run.disk.steps) < at
        try:
            await run.check()
        except BaseException as error:
            error.add_note(f"crash at step {at} ({run.disk.steps[-1:]}), seed {seed}, {settings}")
            raise
        if ended:
            return crashes
        crashes += 1
        at += stride


@pytest.mark.parametrize("settings", SETTINGS, ids=["always", "everysec", "commands"])
async def test_a_crash_at_some_steps(settings: dict[str, Any], autojump_clock: trio.testing.MockClock) -> None:
    assert await crash_at_each(settings, 1, 3, 11) > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", SETTINGS, ids=["always", "everysec", "commands"])
async def test_a_crash_at_every_step(
    settings: dict[str, Any], seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    assert await crash_at_each(settings, seed, 1, 1) > 50


def _copy(platform: CrashPlatform, old: str, new: str) -> None:
    file = platform.open_write(new)
    file.write(platform.read_file(old))
    platform.fsync(file)
    platform.remove(old)


PLANTED: dict[str, tuple[object, str, object]] = {
    "replies that do not wait": (AofWriter, "before_send", lambda self: (self._buffer and self._kick()) or 0),
    "no fsync before the next increment": (AofDisk, "sync", lambda self: setattr(self, "is_synced", True)),
    "names that are not made durable": (CrashPlatform, "fsync_directory", lambda self, path: None),
    "a manifest written in place": (CrashPlatform, "replace", _copy),
}


@pytest.mark.parametrize("bug", PLANTED)
async def test_the_crashes_notice(
    bug: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(*PLANTED[bug])
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        for seed in range(10):
            await crash_at_each(SETTINGS[0], seed, 2 + seed, 7)
