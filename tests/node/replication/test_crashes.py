"""`appendfsync always`: what a replica has been sent, snapshot or stream, is there after a crash of its primary."""

from __future__ import annotations

import re

import pytest
import trio

from node.dispatch import Client
from node.persistence.aofwriter import AofWriter
from tests.node.persistence.crashes import Life, Run

WRITES = 8
WAYS = ["yes", "no"]


async def deliver(life: Life, replicas: list[Client], heard: bytearray) -> None:
    """What leaves the node for its replicas, as the reactor would send it."""
    reactor = life.server.reactor
    while True:
        await trio.sleep(0.001)
        reactor.send_all()
        if reactor.held:
            continue
        for session in replicas:
            heard += session.out
            session.out.clear()
            session.role.sent()
            session.receive(b"REPLCONF ACK 0\r\n")  # it has loaded what it got


async def followed(life: Life, heard: bytearray) -> None:
    """Writes, and replicas that ask for everything in the middle of the batches of some of them."""
    replicas: list[Client] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, life, replicas, heard)
        for number in range(WRITES):
            life.feed("SET", f"k:{number:04}", "1")
            if number % 3 == 1:
                session = life.server.new_session()
                session.receive(b"REPLCONF capa eof capa psync2\r\n")
                session.out.clear()
                session.receive(b"PSYNC ? -1\r\n")
                replicas.append(session)
            await life.call(("SET", f"l:{number:04}", "1"))
            await trio.sleep(0.002)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def crash(way: str, seed: int, at: int) -> tuple[set[bytes], bool]:
    """Crash at a step; the keys of which replicas had heard, and whether the story had ended before."""
    run = Run(seed * 1000 + at, repl_diskless_sync=way == "yes", repl_diskless_sync_delay=0)
    heard = bytearray()
    await run.live(lambda _run, life: followed(life, heard), at)
    ended = len(run.disk.steps) < at
    told = set(re.findall(rb"[kl]:\d{4}", heard))
    found = (await run.find()).get(0, {})
    assert told <= found.keys(), f"step {at}, seed {seed}: {sorted(told - found.keys())} were only heard of"
    return told, ended


async def crash_everywhere(way: str, seed: int, stride: int) -> None:
    at, told = 1 + seed, set[bytes]()
    while True:
        heard, ended = await crash(way, seed, at)
        told |= heard
        if ended:
            break
        at += stride
    assert len(told) == 2 * WRITES


@pytest.mark.parametrize("way", WAYS)
async def test_no_replica_has_seen_what_a_crash_undoes(way: str, autojump_clock: trio.testing.MockClock) -> None:
    await crash_everywhere(way, 1, 5)


async def test_the_crashes_notice(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    monkeypatch.setattr(AofWriter, "before_send", lambda self: (self._buffer and self._kick()) or 0)
    with pytest.raises(AssertionError, match="were only heard of"):
        for seed in range(10):
            await crash_everywhere("yes", seed, 2)
