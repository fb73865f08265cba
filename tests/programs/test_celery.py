"""Celery with Hexad as its broker, its result backend, and the place of RedBeat's schedule."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.programs.running import Programs
from tests.support import Server, wait_until

pytestmark = pytest.mark.long
PROGRAM = "Celery"

SHOP = "tests.programs.celery_shop"
CELERY = ("celery", "-A", SHOP)
WORKER = (*CELERY, "worker", "--loglevel", "INFO", "--concurrency", "2")


def test_tasks_groups_chords_chains_retries_countdowns_and_a_lost_process(programs: Programs) -> None:
    workers = [programs.start(*WORKER, "-n", f"{name}@here") for name in ("one", "two")]
    for worker in workers:
        worker.wait_for_log("ready.")
    assert programs.call(SHOP, "drive") == {
        "many": [2 * number for number in range(200)],
        "chord": sum(range(1, 51)),
        "chain": 15,
        "nested": sum(range(2, 12)),
        "retries": 3,
        "tries": "4",
        "broken": ["ValueError", "always", "FAILURE"],
        "lost": 2,
        "late": 42,
        "late took its time": True,
        "inspected": [6, 6],
        "left in the queue": 0,
    }, programs.logs()
    assert [worker.stop() for worker in workers] == [0, 0]


def test_redbeats_schedule_and_its_lock(server: Server, programs: Programs) -> None:
    programs.start(*WORKER).wait_for_log("ready.")
    key = programs.call(SHOP, "schedule_beats")
    beat = (*CELERY, "beat", "-S", "redbeat.RedBeatScheduler", "--loglevel", "DEBUG", "--pidfile=")
    first = programs.start(*beat).wait_for_log("Acquired lock")
    second = programs.start(*beat).wait_for_log("Acquiring lock...")
    with server.wire() as wire:
        wire("SELECT", 3)
        wait_until(lambda: wire("LLEN", "beats:a") >= 4, 30, "four beats")
        assert "Acquired lock" not in second.log()
        first.stop()
        second.wait_for_log("Acquired lock")  # its holder has let go
        before = wire("LLEN", "beats:a")
        wait_until(lambda: wire("LLEN", "beats:a") >= before + 2, 30, "beats by the second")
        beats = [int(at) for at in wire("LRANGE", "beats:a", 0, -1)]
        wire("SELECT", 2)
        assert wire("TYPE", key) == "hash" and wire("ZSCORE", "redbeat::schedule", key) is not None
    between = [later - earlier for earlier, later in pairwise(beats)]
    assert sorted(between)[len(between) // 2] >= 250, between  # one of them beats, not both
