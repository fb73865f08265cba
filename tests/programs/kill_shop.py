"""Tasks that are asked for all the time, while nodes are killed: each must be done once at least.

main, with KIND as its argument, asks for tasks by Celery, RQ or arq and prints how many, and of what trouble it was
told. A task that no replica has is asked for again, since it would be lost with its node.
A task writes its number into a file, which no node can lose.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from arq import create_pool
from arq.connections import RedisSettings
from celery import Celery
from kombu.exceptions import OperationalError
from rq import Queue, Retry

PORT = int(os.environ["HEXAD_PORT"])
URL = f"redis://127.0.0.1:{PORT}/0"
TROUBLE = (redis.RedisError, OperationalError, OSError)
PAUSES_S = {"celery": 0.1, "rq": 0.5, "arq": 0.1}
"""Between two tasks; RQ makes a process for each."""
WAIT_MS = 500
UNCONFIRMED = "no replica has it"
VISIBILITY_TIMEOUT_S = 10
"""After so long a task whose worker has not said that it is done is given to another."""

app = Celery("kills", broker=URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT_S, "unacked_restore_limit": 100},
)


def done(number: int) -> int:
    """The task itself."""
    path = Path(os.environ["HEXAD_DIR"], "done")
    with path.open("a") as file:
        file.write(f"{number}\n")
    return number


@app.task(name="kills.task")
def celery_task(number: int) -> None:
    done(number)


async def arq_task(_context: dict[str, Any], number: int) -> int:
    return done(number)


class ArqSettings:
    """What `arq` reads."""

    functions = (arq_task,)
    redis_settings = RedisSettings(port=PORT, conn_retries=50)
    poll_delay = 0.1
    job_timeout = VISIBILITY_TIMEOUT_S
    max_tries = 50


def by_celery() -> Callable[[int], object]:
    return lambda number: celery_task.apply_async((number,), retry=False)


def by_rq() -> Callable[[int], object]:
    queue = Queue("kills", connection=redis.Redis(port=PORT))
    return lambda number: queue.enqueue(done, number, job_id=f"job{number}", result_ttl=600, retry=Retry(max=9))


def by_arq() -> Callable[[int], object]:
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(create_pool(ArqSettings.redis_settings))
    return lambda number: loop.run_until_complete(pool.enqueue_job("arq_task", number))


KINDS = {"celery": by_celery, "rq": by_rq, "arq": by_arq}


def ask(ask_for: Callable[[int], object], pause_s: float) -> dict[str, Any]:
    """Asks for tasks until a file says that it is over; who is told of trouble asks for the same task again."""
    store = redis.Redis(port=PORT)
    over, number, told, longest_s = Path(os.environ["HEXAD_DIR"], "over"), 0, list[str](), 0.0
    while not over.exists():
        asked = time.monotonic()
        try:
            ask_for(number)
            confirmed = store.wait(1, WAIT_MS)
        except TROUBLE as error:
            told.append(f"{type(error).__name__}: {error}")
            time.sleep(pause_s)
            continue
        if confirmed < 1:
            told.append(UNCONFIRMED)
            continue
        longest_s = max(longest_s, time.monotonic() - asked)
        number += 1
        time.sleep(pause_s)
    return {"asked": number, "told": told, "longest_s": round(longest_s, 2)}


def main() -> None:
    kind = sys.argv[1]
    print(json.dumps(ask(KINDS[kind](), PAUSES_S[kind])))
