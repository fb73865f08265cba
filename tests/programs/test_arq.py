"""arq with two workers as processes."""

from __future__ import annotations

import pytest

from tests.programs.running import Programs

pytestmark = pytest.mark.long
PROGRAM = "arq"

SHOP = "tests.programs.arq_shop"


def test_jobs_retries_failures_unique_jobs_jobs_for_later_and_cron(programs: Programs) -> None:
    for _ in range(2):
        programs.start("arq", f"{SHOP}.WorkerSettings").wait_for_log("Starting worker")
    assert programs.drive("python", "-m", SHOP) == {
        "squares": [number * number for number in range(60)],
        "same": [True, True, 49],
        "retried": 3,
        "broken": "always",
        "late": 144,
        "late took its time": True,
        "state": "complete",
        "left": [],
        "one tick a second": True,
    }, programs.logs()
