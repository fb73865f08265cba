"""An arq worker's jobs and settings, and (run as a program) what asks for them and prints the results as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from arq import Retry, create_pool, cron
from arq.connections import RedisSettings
from arq.jobs import Job

SETTINGS = RedisSettings(port=int(os.environ["HEXAD_PORT"]))
RESULT_TIMEOUT_S = 60
JOBS = 60


async def square(_context: dict[str, Any], number: int) -> int:
    return number * number


async def flaky(context: dict[str, Any], failures: int) -> int:
    """Asks to be tried again `failures` times, then tells at which try it was done."""
    if context["job_try"] <= failures:
        raise Retry(defer=0.05)
    return int(context["job_try"])


async def broken(_context: dict[str, Any]) -> None:
    raise ValueError("always")


async def tick(context: dict[str, Any]) -> None:
    await context["redis"].incr("ticks")


class WorkerSettings:
    """What `arq` reads."""

    functions = (square, flaky, broken)
    cron_jobs = (cron(tick, second=set(range(60)), unique=True),)
    redis_settings = SETTINGS
    poll_delay = 0.05
    max_tries = 5


async def failure(job: Job) -> str:
    try:
        await job.result(timeout=RESULT_TIMEOUT_S, poll_delay=0.02)
    except ValueError as error:
        return str(error)
    return "none"


async def drive() -> dict[str, Any]:
    """Everything once: results, one job for two who ask for it, retries, a failure, a job for later, a cron job."""
    pool = await create_pool(SETTINGS)
    asked = time.monotonic()
    jobs = [await pool.enqueue_job("square", number) for number in range(JOBS)]
    late = await pool.enqueue_job("square", 12, _defer_by=1.0)
    same = [await pool.enqueue_job("square", 7, _job_id="seven", _defer_by=0.5) for _ in range(2)]
    retried = await pool.enqueue_job("flaky", 2)
    seen = {
        "squares": [await job.result(timeout=RESULT_TIMEOUT_S, poll_delay=0.02) for job in jobs],
        "same": [same[0] is not None, same[1] is None, await same[0].result(timeout=RESULT_TIMEOUT_S)],
        "retried": await retried.result(timeout=RESULT_TIMEOUT_S),
        "broken": await failure(await pool.enqueue_job("broken")),
        "late": await late.result(timeout=RESULT_TIMEOUT_S),
        "late took its time": time.monotonic() - asked >= 1,
        "state": (await late.status()).value,
        "left": [job for job in await pool.zrange("arq:queue", 0, -1) if not job.startswith(b"cron:")],
    }
    deadline = time.monotonic() + RESULT_TIMEOUT_S
    while int(await pool.get("ticks") or 0) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - asked
    return {**seen, "one tick a second": int(await pool.get("ticks")) <= seconds + 8}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive())))
