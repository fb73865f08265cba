"""redis-py's Lock, a lock with fencing tokens, and a sliding window by Lua, each among several processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.programs.running import STOP_TIMEOUT_S, Program, Programs
from tests.support import Server, wait_until

pytestmark = pytest.mark.long
PROGRAM = "redis-py Lock"

LOCKS = ("python", "-m", "tests.programs.locks")
PROCESSES, ROUNDS = 4, 60
MOST, WINDOW_MS, SECONDS = 10, 500, 2.5


def said(program: Program) -> Any:
    """What the process prints when it has ended well."""
    assert program.process.wait(STOP_TIMEOUT_S * 2) == 0, program.log()
    return json.loads(program.log().splitlines()[-1])


def test_no_count_is_lost_under_the_lock(server: Server, programs: Programs) -> None:
    running = [programs.start(*LOCKS, "counter", f"p{number}", str(ROUNDS)) for number in range(PROCESSES)]
    for number, program in enumerate(running):
        assert said(program) == {"name": f"p{number}", "released twice": "LockError"}
    with server.wire() as wire:
        assert wire("GET", "count") == str(PROCESSES * ROUNDS).encode()
        assert wire("EXISTS", "turn") == 0


def test_who_held_a_lock_too_long_is_fenced_off(server: Server, programs: Programs) -> None:
    with server.wire() as wire:
        late = programs.start(*LOCKS, "holder", "late", "300")
        wait_until(lambda: wire("LRANGE", "held", 0, -1) == [b"1"], STOP_TIMEOUT_S, "the first has the lock")
        assert said(programs.start(*LOCKS, "writer", "next", "300")) == {"token": 2, "written": True}
        wire("RPUSH", "go on", "now")
        assert said(late) == {"token": 1, "written": False}
        assert wire("HGETALL", "written") == [b"token", b"2", b"value", b"next"]


def test_no_window_lets_more_through_than_it_may_and_none_lets_less(programs: Programs) -> None:
    words = (str(MOST), str(WINDOW_MS), str(SECONDS))
    running = [programs.start(*LOCKS, "caller", f"p{number}", *words) for number in range(PROCESSES)]
    calls = sorted(at for program in running for at in said(program))
    gaps_ms = [later - earlier for earlier, later in zip(calls, calls[MOST:], strict=False)]
    assert gaps_ms and min(gaps_ms) >= WINDOW_MS, gaps_ms  # an (n+MOST)th call comes a window after the nth, or later
    assert len(calls) >= MOST * 3, calls
