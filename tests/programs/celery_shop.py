"""A Celery application, its tasks, and what asks for them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import redis
from celery import Celery, chain, chord, group
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

URL = f"redis://127.0.0.1:{os.environ['HEXAD_PORT']}"
RESULT_TIMEOUT_S = 60
BEATS = 3


def database(number: int) -> int:
    """The database to use; a cluster has but one."""
    return 0 if os.environ.get("HEXAD_CLUSTER") else number


app = Celery("shop", broker=f"{URL}/0", backend=f"{URL}/{database(1)}")
app.conf.update(
    redbeat_redis_url=f"{URL}/{database(2)}",
    beat_max_loop_interval=1,
    redbeat_lock_timeout=5,
    result_expires=300,
    task_track_started=True,
    broker_connection_retry_on_startup=True,
)
store = redis.Redis.from_url(f"{URL}/{database(3)}", decode_responses=True)


@app.task
def add(one: int, other: int) -> int:
    return one + other


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def flaky(self: Any, name: str, failures: int) -> int:
    """Fails `failures` times, then tells how often it was tried again."""
    if store.incr(f"tries:{name}") <= failures:
        raise self.retry(countdown=0.05, exc=RuntimeError("not yet"))
    return int(self.request.retries)


@app.task
def broken() -> None:
    raise ValueError("always")


@app.task(acks_late=True, reject_on_worker_lost=True)
def lost_once(name: str) -> int:
    """At the first try the process that runs it dies, so the message must come again."""
    if store.incr(f"lost:{name}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(store.get(f"lost:{name}"))


@app.task
def beat(name: str) -> None:
    store.rpush(f"beats:{name}", time.time_ns() // 1_000_000)


def failure(result: Any) -> list[str]:
    try:
        result.get(timeout=RESULT_TIMEOUT_S)
    except Exception as error:
        return [type(error).__name__, str(error), result.state]
    return ["none"]


def drive() -> dict[str, Any]:
    """Everything once; the numbers are chosen so that a task lost or run twice shows."""
    asked = time.monotonic()
    late = add.apply_async((20, 22), countdown=1.5)
    many = group(add.s(number, number) for number in range(200)).apply_async()
    chorded = chord([add.s(number, 1) for number in range(50)], total.s())()
    chained = chain(add.s(1, 2), add.s(4), add.s(8))()
    nested = chord([chain(add.s(number, 1), add.s(1)) for number in range(10)], total.s())()
    seen = {
        "many": many.get(timeout=RESULT_TIMEOUT_S),
        "chord": chorded.get(timeout=RESULT_TIMEOUT_S),
        "chain": chained.get(timeout=RESULT_TIMEOUT_S),
        "nested": nested.get(timeout=RESULT_TIMEOUT_S),
        "retries": flaky.delay("a", 3).get(timeout=RESULT_TIMEOUT_S),
        "tries": store.get("tries:a"),
        "broken": failure(broken.delay()),
        "lost": lost_once.delay("a").get(timeout=RESULT_TIMEOUT_S),
        "late": late.get(timeout=RESULT_TIMEOUT_S),
        "late took its time": time.monotonic() - asked >= 1.5,
        "inspected": sorted(len(tasks) for tasks in (app.control.inspect(timeout=2).registered() or {}).values()),
    }
    broker = redis.Redis.from_url(f"{URL}/0")
    return {**seen, "left in the queue": broker.llen("celery")}


def schedule_beats() -> str:
    """A schedule in Redis: every half second."""
    entry = RedBeatSchedulerEntry("every", "tests.programs.celery_shop.beat", schedule(0.5, app=app), ["a"], app=app)
    entry.save()
    return entry.key
