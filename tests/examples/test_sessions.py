"""Sessions with an end of their own, opened by several client processes at once: only those that were used stay."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import redis

from tests.examples.test_examples import load
from tests.support import HexadServer, wait_until
from tests.support.servers import ROOT

PROCESSES = 4
SESSIONS = 60
SHORT_MS, LONG_MS = 3000, 600_000
PROCESS_TIMEOUT_S = 60


def new_sessions(client: Any, lifetime_ms: int) -> Any:
    return load("sessions").Sessions(client, lifetime_ms)


def test_sessions_end_unless_they_are_used() -> None:
    with HexadServer() as server, redis.Redis(port=server.port, protocol=2) as client:
        command = [sys.executable, "-m", "tests.examples.session_user", str(server.port)]
        running = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(PROCESSES)]
        assert [process.wait(PROCESS_TIMEOUT_S) for process in running] == [0] * PROCESSES
        used = {
            f"user{user}": sorted(
                f"device{number}:{one}"
                for number in range(PROCESSES)
                for one in range(1, SESSIONS, 2)
                if one % 5 == user
            )
            for user in range(5)
        }
        sessions = new_sessions(client, LONG_MS)
        wait_until(lambda: {user: sessions.devices(user) for user in used} == used, 20, "the end of unused sessions")
        assert sum(client.hlen(f"sessions:{user}") for user in used) == PROCESSES * SESSIONS / 2
        assert sessions.use("user0", "0:0") is None
        assert not sessions.close("user0", "0:0") and sessions.close("user0", "0:5")
        assert client.dbsize() == 5


def test_the_example_says_what_it_does() -> None:
    with HexadServer() as server:
        program = [sys.executable, str(ROOT / "examples" / "sessions.py"), str(server.port)]
        said = subprocess.run(program, capture_output=True, text=True, check=True, timeout=PROCESS_TIMEOUT_S).stdout
        assert said.splitlines() == [
            "ann is at: desk phone",
            "t1 belongs to: phone",
            "signed out: True then at: phone",
        ]
