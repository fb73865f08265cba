"""RQ and rq-scheduler with their workers as processes."""

from __future__ import annotations

import pytest

from tests.programs.running import Programs
from tests.support import Server

pytestmark = pytest.mark.long
PROGRAM = "RQ"

SHOP = "tests.programs.rq_shop"


def worker(server: Server, programs: Programs) -> None:
    """Two workers that prefer one queue; one of them also runs what was asked for later."""
    url = f"redis://127.0.0.1:{server.port}/0"
    programs.start("rq", "worker", "-u", url, "--with-scheduler", "high", "low").wait_for_log("Listening on")
    programs.start("rq", "worker", "-u", url, "high", "low").wait_for_log("Listening on")


def test_jobs_retries_failures_dependencies_and_jobs_for_later(server: Server, programs: Programs) -> None:
    worker(server, programs)
    assert programs.call(SHOP, "drive") == {
        "states": {"failed": 1, "finished": 43},
        "squares": [number * number for number in range(40)],
        "retried": 3,
        "failed": "ValueError: always",
        "failed jobs": True,
        "words": ["first", "second", "third"],
        "late took its time": True,
        "left": [0, 0, 0],
        "finished": 45,
    }, programs.logs()


def test_rq_scheduler(server: Server, programs: Programs) -> None:
    worker(server, programs)
    programs.start("rqscheduler", "--port", str(server.port), "--interval", "0.2", "-v")
    assert programs.call(SHOP, "schedule_jobs") == {"words": ["again", "again", "once"]}
