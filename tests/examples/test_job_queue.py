"""The job queue with worker processes of its own, one of them killed in the middle of a job."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.examples.test_examples import EXAMPLES, load
from tests.support import HexadServer, RedisServer, Server, wait_until

JOBS = 300
WORKERS = 3
TIMEOUT_S = 20

WORKER = """
import sys
import redis
from job_queue import JobQueue

port, name, gate = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = redis.Redis(port=port)

def do(job):
    if job == b"7" and client.lpop("killer"):
        client.blpop(gate, 0)  # whoever has this job is in the middle of it, until it is killed
    return job + b"!"

JobQueue(client, "test").work(name, do, 0)
"""


@pytest.fixture(scope="module", params=[RedisServer, HexadServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


@pytest.fixture
def workers(server: Server) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", WORKER, str(server.port), name, "gate"], cwd=EXAMPLES, stderr=subprocess.DEVNULL
        )
        for name in [f"worker{number}" for number in range(WORKERS)]
    }
    yield running
    for process in running.values():
        process.kill()
        process.wait(TIMEOUT_S)


def killed(client: Any, queue: Any, workers: dict[str, subprocess.Popen[bytes]]) -> str:
    """Kill the worker that is in the middle of job 7; its name."""

    def in_the_middle() -> str | None:
        busy = [name for name in workers if client.lrange(queue._doing + name, 0, -1) == [b"7"]]
        return busy[0] if busy and client.hlen(queue.results) == JOBS - 1 else None

    name = wait_until(in_the_middle, TIMEOUT_S, "all is done but for one job")
    assert isinstance(name, str)
    workers[name].send_signal(signal.SIGKILL)
    workers[name].wait(TIMEOUT_S)
    return name


def test_no_job_is_lost_with_its_worker(server: Server, workers: dict[str, subprocess.Popen[bytes]]) -> None:
    with redis.Redis(port=server.port, protocol=2) as client:
        queue = load("job_queue").JobQueue(client, "test")
        client.rpush("killer", "once")
        queue.put(*map(str, range(JOBS)))
        gone = killed(client, queue, workers)
        assert client.hget(queue.results, "7") is None and client.llen(queue.todo) == 0
        assert queue.recover(gone) == [b"7"]
        wait_until(lambda: client.hlen(queue.results) == JOBS, TIMEOUT_S, "the rest of the workers finish")
        assert client.hgetall(queue.results) == {b"%d" % job: b"%d!" % job for job in range(JOBS)}
        wait_until(lambda: not any(client.llen(queue._doing + name) for name in workers), TIMEOUT_S, "nothing is open")
