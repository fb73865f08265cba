"""RQ jobs, and what asks for them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from rq import Queue, Retry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry

JOBS_TIMEOUT_S = 60
JOBS = 40

connection = redis.Redis(port=int(os.environ["HEXAD_PORT"]))


def square(number: int) -> int:
    return number * number


def flaky(name: str, failures: int) -> int:
    """Fails `failures` times, then tells at which try it was done."""
    tries = connection.incr(f"tries:{name}")
    if tries <= failures:
        raise RuntimeError("not yet")
    return int(tries)


def broken() -> None:
    raise ValueError("always")


def append(word: str) -> str:
    connection.rpush("words", word)
    return word


def wait_for(jobs: list[Any]) -> list[str]:
    """The final states, in order."""
    deadline = time.monotonic() + JOBS_TIMEOUT_S
    while not all(job.get_status(refresh=True) in ("finished", "failed") for job in jobs):
        assert time.monotonic() < deadline, [job.get_status() for job in jobs]
        time.sleep(0.05)
    return [str(job.get_status().value) for job in jobs]


def drive() -> dict[str, Any]:
    """Everything once: results, retries, failures, jobs that wait for others, jobs for later, two queues by rank."""
    queue, low = Queue("high", connection=connection), Queue("low", connection=connection)
    asked = time.monotonic()
    squares = [(queue, low)[number % 2].enqueue(square, number) for number in range(JOBS)]
    retried = queue.enqueue(flaky, "a", 2, retry=Retry(max=3))
    failed = queue.enqueue(broken)
    first = queue.enqueue(append, "first")
    second = queue.enqueue(append, "second", depends_on=first)
    third = queue.enqueue(append, "third", depends_on=[first, second])
    late = queue.enqueue_in(timedelta(seconds=2), append, "late")  # RQ keeps whole seconds: one may be missing
    states = wait_for([*squares, retried, failed, third, late])
    late_after_s = time.monotonic() - asked
    return {
        "states": {name: states.count(name) for name in sorted(set(states))},
        "squares": [job.return_value() for job in squares],
        "retried": retried.return_value(),
        "failed": str(failed.latest_result().exc_string).strip().splitlines()[-1],
        "failed jobs": FailedJobRegistry(queue=queue).get_job_ids() == [failed.id],
        "words": [word.decode() for word in connection.lrange("words", 0, -1) if word != b"late"],
        "late took its time": late_after_s >= 1,
        "left": [len(queue), len(low), len(StartedJobRegistry(queue=queue))],
        "finished": len(FinishedJobRegistry(queue=queue)) + len(FinishedJobRegistry(queue=low)),
    }


def schedule_jobs() -> dict[str, Any]:
    """rq-scheduler: a job at a time, one that comes twice."""
    from rq_scheduler import Scheduler

    scheduler = Scheduler("high", connection=connection)
    at = datetime.now(UTC).replace(tzinfo=None)
    scheduler.enqueue_at(at + timedelta(seconds=1), append, "once")
    scheduler.schedule(at, append, args=["again"], interval=1, repeat=2)
    deadline = time.monotonic() + JOBS_TIMEOUT_S
    while connection.llen("words") < 3 or scheduler.count():
        assert time.monotonic() < deadline, [connection.lrange("words", 0, -1), list(scheduler.get_jobs())]
        time.sleep(0.05)
    return {"words": sorted(word.decode() for word in connection.lrange("words", 0, -1))}
