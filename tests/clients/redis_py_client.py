"""redis-py's RedisCluster, plain or asyncio, in RESP2 or RESP3: as ioredis_client.js.

python -m tests.clients.redis_py_client (sync|async) (2|3) PORT...
"""

import asyncio
import sys

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

KEYS = 10_000
LOST_MAX = 200
RETRIES = 2000
"""Tried without a pause while the cluster fails over: some seconds of them."""


def plain(protocol: int, ports: list[int]) -> None:
    """Pipelines first, then single commands through the storm."""
    nodes = [ClusterNode("127.0.0.1", port) for port in ports]
    with RedisCluster(startup_nodes=nodes, protocol=protocol, retry=Retry(ConstantBackoff(0.2), RETRIES)) as client:
        for name in ("calm", "storm"):
            for number in range(KEYS):
                client.set(f"py:{name}:{number}", f"v{number}")
            say("written")
            check(name, [client.get(f"py:{name}:{number}") for number in range(KEYS)])
            say("read")
            if name == "calm":
                sys.stdin.readline()
    say("done")


async def asynchronous(protocol: int, ports: list[int]) -> None:
    nodes = [AsyncClusterNode("127.0.0.1", port) for port in ports]
    retry = redis.asyncio.retry.Retry(ConstantBackoff(0.2), RETRIES)
    async with AsyncRedisCluster(startup_nodes=nodes, protocol=protocol, retry=retry) as client:
        for name in ("calm", "storm"):
            at_once = 100 if name == "calm" else 1  # side by side its commands trip over each other's reconnects
            for start in range(0, KEYS, at_once):
                await asyncio.gather(*(client.set(f"pa:{name}:{n}", f"v{n}") for n in range(start, start + at_once)))
            say("written")
            found: list[bytes | None] = []
            for start in range(0, KEYS, at_once):
                found += await asyncio.gather(*(client.get(f"pa:{name}:{n}") for n in range(start, start + at_once)))
            check(name, found)
            say("read")
            if name == "calm":
                await asyncio.to_thread(sys.stdin.readline)
    say("done")


def check(name: str, found: list[bytes | None]) -> None:
    """What a primary had confirmed just before it died, its replica may lack; nothing else, and no wrong value."""
    lost = sum(1 for value in found if value is None)
    assert lost <= (LOST_MAX if name == "storm" else 0), lost
    assert all(value in (None, f"v{number}".encode()) for number, value in enumerate(found))


def say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    protocol, ports = int(sys.argv[2]), [int(word) for word in sys.argv[3:]]
    if sys.argv[1] == "sync":
        plain(protocol, ports)
    else:
        asyncio.run(asynchronous(protocol, ports))
