"""Locks and limits on redis-py, as processes: each role prints as JSON what it has done.

locks counter NAME ROUNDS       counts up what only a lock keeps from losing counts
locks holder NAME LEASE_MS      holds a fenced lock too long: takes it, waits for a line, then writes
locks writer NAME LEASE_MS      takes the fenced lock when it is free and writes
locks caller NAME MOST WINDOW_MS SECONDS   calls as often as it can under a sliding window
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import redis

ACQUIRE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('INCR', KEYS[2]) end
return false
"""
WRITE = """
if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'token') or 0) then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2])
return 1
"""
SLIDING = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return false end
redis.call('ZADD', KEYS[1], now_ms, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return now_ms
"""

store = redis.Redis(port=int(os.environ["HEXAD_PORT"]), decode_responses=True)


def counter(name: str, rounds: str) -> dict[str, Any]:
    """redis-py's own Lock, with a look and a write that anybody may come between."""
    for _ in range(int(rounds)):
        with store.lock("turn", timeout=20, sleep=0.005):
            store.set("count", int(store.get("count") or 0) + 1)
    lock = store.lock(f"own:{name}", timeout=5)
    assert lock.acquire() and lock.extend(5) and lock.owned() and lock.reacquire()
    lock.release()
    try:
        lock.release()
    except redis.exceptions.LockError as error:
        return {"name": name, "released twice": type(error).__name__}
    return {"name": name}


def acquire(name: str, lease_ms: str) -> int:
    """Waits for the fenced lock; the token, one more than its last holder's."""
    script = store.register_script(ACQUIRE)
    while not (token := script(keys=["{fence}", "{fence}:token"], args=[name, lease_ms])):
        time.sleep(0.005)
    return int(token)


def write(name: str, token: int) -> bool:
    return bool(store.register_script(WRITE)(keys=["written"], args=[token, name]))


def holder(name: str, lease_ms: str) -> dict[str, Any]:
    token = acquire(name, lease_ms)
    store.lpush("held", token)
    store.blpop("go on", timeout=30)  # longer than its lease: somebody else has the lock by then
    return {"token": token, "written": write(name, token)}


def writer(name: str, lease_ms: str) -> dict[str, Any]:
    token = acquire(name, lease_ms)
    return {"token": token, "written": write(name, token)}


def caller(name: str, most: str, window_ms: str, seconds: str) -> list[int]:
    """When each of its calls was let through, in ms."""
    script = store.register_script(SLIDING)
    until, calls, tries = time.monotonic() + float(seconds), [], 0
    while time.monotonic() < until:
        tries += 1
        if (at := script(keys=["window"], args=[most, window_ms, f"{name}:{tries}"])) is not None:
            calls.append(int(at))
        time.sleep(0.002)
    return calls


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    roles: dict[str, Any] = {"counter": counter, "holder": holder, "writer": writer, "caller": caller}
    print(json.dumps(roles[role](*words)))
