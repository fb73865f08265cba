"""BullMQ with two worker processes: it lives on long Lua scripts, streams and blocking pops."""

from __future__ import annotations

import pytest

from tests.programs.running import HERE, Programs, node_modules

pytestmark = pytest.mark.long
PROGRAM = "BullMQ"


def test_jobs_retries_flows_priorities_schedules_and_events(programs: Programs) -> None:
    path = str(node_modules())
    workers = [programs.start("node", str(HERE / "bullmq_shop.js"), "work", NODE_PATH=path) for _ in range(2)]
    for worker in workers:
        worker.wait_for_log("ready")
    assert programs.drive("node", str(HERE / "bullmq_shop.js"), "drive", NODE_PATH=path) == {
        "squares": [number * number for number in range(100)],
        "flaky": 2,
        "broken": "always",
        "same": 9,
        "flow": 14,
        "late": 144,
        "tookItsTime": True,
        "ranked": {"waiting": 5, "order": [1, 2, 3, 4, 5]},
        "ticks": 4,
        "counts": {"failed": 1, "active": 0, "waiting": 0, "waitingForChildren": 0},
        "failed": [["broken", "always"]],
    }, programs.logs()
    assert [worker.stop() for worker in workers] == [0, 0]
