"""Work that is asked for all the time, while nodes are killed: each piece must be done once at least.

main, with KIND as its argument, asks for it by Celery, RedBeat, RQ, arq, Channels, Django, FastAPI or redis-py, and
prints how much, and of what trouble it was told. What no replica has is asked for again, since it would be lost with
its node. Whoever has done a piece writes its number into a file, which no node can lose. What is only kept (a cache,
sessions, counts) is looked for when all is over. `listen` is a consumer of Channels. (BullMQ's half is kill_shop.js.)
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import redis
from arq import create_pool
from arq.connections import RedisSettings
from celery import Celery
from celery.schedules import schedule
from kombu.exceptions import OperationalError
from redbeat import RedBeatSchedulerEntry
from redis.sentinel import Sentinel
from rq import Queue, Retry

from tests.programs.channels_shop import new_layer
from tests.programs.locks import SLIDING

PORT = int(os.environ["HEXAD_PORT"])
SENTINELS = [int(port) for port in os.environ.get("HEXAD_SENTINELS", "").split()]
"""Whom to ask for the primary, instead of using HEXAD_PORT."""
URL = ";".join(f"sentinel://127.0.0.1:{port}" for port in SENTINELS) or f"redis://127.0.0.1:{PORT}/0"
WATCHED = "mymaster"
TROUBLE = (redis.RedisError, OperationalError, OSError)
WAIT_MS = 500
UNCONFIRMED = "no replica has it"
UNHEARD = "nobody has answered"
ECHO_S = 5
"""How long whoever speaks in a room waits for an answer."""
BEAT_S = 30
"""How long what was put on the schedule may take."""
VISIBILITY_TIMEOUT_S = 10
"""After so long a task whose worker has not said that it is done is given to another."""

app = Celery("kills", broker=URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_limit": 100,
        **({"master_name": WATCHED} if SENTINELS else {}),
    },
    redbeat_redis_url=URL,
    redbeat_lock_timeout=3,
    beat_max_loop_interval=0.5,
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


class Asking(NamedTuple):
    """How one framework is asked: `ask_for` a number, and at the end, `look` which of so many numbers are kept."""

    ask_for: Callable[[int], object]
    pause_s: float = 0.1
    look: Callable[[int], object] = lambda asked: None


def new_store() -> redis.Redis:
    if not SENTINELS:
        return redis.Redis(port=PORT)
    finder = Sentinel([("127.0.0.1", port) for port in SENTINELS], socket_timeout=1)
    return finder.master_for(WATCHED, socket_timeout=1)


def wait_until_done(number: int, timeout_s: float) -> None:
    """Wait for what was just asked for. Raises TimeoutError."""
    file, until = Path(os.environ["HEXAD_DIR"], "done"), time.monotonic() + timeout_s
    while not (file.exists() and str(number) in file.read_text().split()[-9:]):
        if time.monotonic() > until:
            raise TimeoutError(UNHEARD)
        time.sleep(0.01)


def celery() -> Asking:
    return Asking(lambda number: celery_task.apply_async((number,), retry=False))


def redbeat() -> Asking:
    """Each number has a schedule of its own, which ends once it has come."""

    def ask_for(number: int) -> None:
        entry = RedBeatSchedulerEntry(f"n{number}", "kills.task", schedule(1, app=app), [number], app=app)
        entry.save()
        wait_until_done(number, BEAT_S)
        entry.delete()

    return Asking(ask_for)


def rq() -> Asking:
    """Every fourth job is for later."""
    queue = Queue("kills", connection=redis.Redis(port=PORT))
    options: dict[str, Any] = {"result_ttl": 600, "retry": Retry(max=9)}

    def ask_for(number: int) -> None:
        if number % 4:
            queue.enqueue(done, number, job_id=f"job{number}", **options)
        else:
            queue.enqueue_in(timedelta(seconds=1), done, number, job_id=f"job{number}", **options)

    return Asking(ask_for, pause_s=0.5)  # it makes a process for each


def arq() -> Asking:
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(create_pool(ArqSettings.redis_settings))
    return Asking(lambda number: loop.run_until_complete(pool.enqueue_job("arq_task", number)))


def channels(kind: str) -> Asking:
    """A layer promises a message once at most: who gets no answer speaks again."""
    loop = asyncio.new_event_loop()
    layer = new_layer(kind)

    def ask_for(number: int) -> None:
        loop.run_until_complete(layer.group_send("room", {"type": "said", "number": number}))
        wait_until_done(number, ECHO_S)

    return Asking(ask_for)


async def listen(kind: str) -> None:
    """Stays in the room whatever happens, as a consumer does whose server starts it again."""
    layer = new_layer(kind)
    while True:
        try:
            channel = await layer.new_channel()
            while True:
                await layer.group_add("room", channel)
                print("listening", flush=True)
                while message := await asyncio.wait_for(layer.receive(channel), ECHO_S / 2):
                    done(message["number"])
        except (*TROUBLE, TimeoutError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            await asyncio.sleep(0.1)


def django() -> Asking:
    """A cache and its sessions."""
    from tests.programs import django_shop
    from tests.programs.django_shop import cache

    sessions: dict[int, str] = {}

    def ask_for(number: int) -> None:
        cache.set(f"kept:{number}", number, timeout=None)
        sessions[number] = django_shop.login(f"ann{number}", 1)["session"]

    def look(asked: int) -> None:
        for number in range(asked):
            visitor = django_shop.Client()
            visitor.cookies["sessionid"] = sessions[number]
            if cache.get(f"kept:{number}") == number and visitor.get("/visit/ann").json()["visits"] == 2:
                done(number)

    return Asking(ask_for, look=look)


def fastapi() -> Asking:
    ports = os.environ["HEXAD_HTTP"].split()

    def request(number: int, path: str, method: str) -> Any:
        url = f"http://127.0.0.1:{ports[number % len(ports)]}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as reply:
            return json.load(reply)

    def look(asked: int) -> None:
        if sum(score for _, score in request(0, "/top", "GET")) >= asked:
            for number in range(asked):
                done(number)

    return Asking(lambda number: request(number, f"/visit/page{number % 5}", "POST"), look=look)


def locks() -> Asking:
    """redis-py's Lock around a count, and a limit by Lua."""
    store = redis.Redis(port=PORT)
    limit = store.register_script(SLIDING)

    def ask_for(number: int) -> None:
        with store.lock("turn", timeout=5, sleep=0.01):
            store.set("count", int(store.get("count") or 0) + 1)
        limit(keys=["window"], args=[1000, 1000, number])

    def look(asked: int) -> None:
        if int(store.get("count")) >= asked:
            for number in range(asked):
                done(number)

    return Asking(ask_for, look=look)


KINDS = {
    "celery": celery,
    "redbeat": redbeat,
    "rq": rq,
    "arq": arq,
    "channels": lambda: channels("core"),
    "channels-pubsub": lambda: channels("pubsub"),
    "django": django,
    "fastapi": fastapi,
    "locks": locks,
}


def ask(asking: Asking) -> dict[str, Any]:
    """Asks for work until a file says that it is over; who is told of trouble asks for the same again."""
    store = new_store()
    over, number, told, longest_s = Path(os.environ["HEXAD_DIR"], "over"), 0, list[str](), 0.0
    while not over.exists():
        asked = time.monotonic()
        try:
            asking.ask_for(number)
            confirmed = store.wait(1, WAIT_MS)
        except TROUBLE as error:
            told.append(f"{type(error).__name__}: {error}")
            time.sleep(asking.pause_s)
            continue
        if confirmed < 1:
            told.append(UNCONFIRMED)
            continue
        longest_s = max(longest_s, time.monotonic() - asked)
        number += 1
        time.sleep(asking.pause_s)
    asking.look(number)
    return {"asked": number, "told": told, "longest_s": round(longest_s, 2)}


def main() -> None:
    kind = sys.argv[1]
    if kind == "listen":
        asyncio.run(listen(sys.argv[2]))
    print(json.dumps(ask(KINDS[kind]())))
