"""A job queue: BLMOVE hands each job to one worker, and no job is lost with a worker that dies.

    python examples/job_queue.py [port]

Jobs wait in one list. A worker takes the oldest into a list of its own, in one step, and takes it out of there when it
is done. So what stands in the list of a worker that is gone was begun and not finished: `recover` puts it back to the
head of the queue. Work may then be done twice, never not at all; so results are kept by job, where twice is once.
"""

import secrets
import sys
from collections.abc import Callable
from typing import Any

import redis


class JobQueue:
    """Jobs (bytes) under one name. The keys share a hash tag, so that a cluster keeps them together."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.todo = f"jobs:{{{name}}}:todo"
        self.results = f"jobs:{{{name}}}:results"
        self._doing = f"jobs:{{{name}}}:doing:"

    def put(self, *jobs: str) -> None:
        """Add jobs behind those that wait."""
        self.client.rpush(self.todo, *jobs)

    def take(self, worker: str, timeout_s: float) -> bytes | None:
        """The next job for `worker`, waiting up to `timeout_s` for one (0: for ever)."""
        job: bytes | None = self.client.blmove(self.todo, self._doing + worker, timeout_s, "LEFT", "RIGHT")
        return job

    def finish(self, worker: str, job: bytes, result: bytes) -> None:
        """Keep the result, then forget that the job was begun."""
        self.client.hset(self.results, job, result)
        self.client.lrem(self._doing + worker, 1, job)

    def recover(self, worker: str) -> list[bytes]:
        """Put back what a worker that is gone had begun; which jobs those were."""
        back = []
        while (job := self.client.lmove(self._doing + worker, self.todo, "RIGHT", "LEFT")) is not None:
            back.append(job)
        return back

    def work(self, worker: str, do: Callable[[bytes], bytes], timeout_s: float) -> int:
        """Do jobs until none has come for `timeout_s`; how many were done."""
        count = 0
        while (job := self.take(worker, timeout_s)) is not None:
            self.finish(worker, job, do(job))
            count += 1
        return count


def main(port: int) -> None:
    client = redis.Redis(port=port)
    queue = JobQueue(client, secrets.token_hex(4))
    queue.put("wash", "dry", "fold")
    print("ann begins:", queue.take("ann", 1))
    print("ann is gone; put back:", queue.recover("ann"))
    print("bob does all of them:", queue.work("bob", bytes.upper, timeout_s=0.1))
    print("results:", sorted(client.hgetall(queue.results).values()))
    client.delete(queue.results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
