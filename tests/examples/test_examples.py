"""The examples, run as a reader would, and each one's promise checked beside both servers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import redis

from tests.support import HexadServer, RedisServer, Server
from tests.support.servers import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module", params=[RedisServer, HexadServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port, protocol=2) as connected:
        connected.flushall()
        yield connected


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAYS = {
    "cache_aside": [
        "first: {'age': 41} then: {'age': 41} nobody: None None",
        "after the change: {'age': 42}",
        "the source was asked for: ann, bob, ann",
    ],
    "rate_limit": ["five calls in one window: yes yes yes no no", "in the next window: yes"],
    "leaderboard": [
        "the best two: ann 30 bob 27.5",
        "dan has place 3 and nobody has None",
        "around dan: bob dan cid",
    ],
    "sliding_rate_limit": ["100: yes, 104: yes, 105: no, 110.5: yes, 111: no, 114.5: yes"],
    "nearby": [
        "within 100 km: Catania 7.7, Messina 91.2",
        "within 200 km: Catania 7.7, Messina 91.2, Palermo 159.4",
        "within 1000 km: Catania 7.7, Messina 91.2, Palermo 159.4",
    ],
    "job_queue": [
        "ann begins: b'wash'",
        "ann is gone; put back: [b'wash']",
        "bob does all of them: 3",
        "results: [b'DRY', b'FOLD', b'WASH']",
    ],
    "sessions": ["ann is at: desk phone", "t1 belongs to: phone", "signed out: True then at: phone"],
    "event_stream": ["bob handles: 3", "bob takes over: 2", "orders: [0, 1, 2, 3, 4] open: 0"],
    "unique_visitors": ["monday: 3 tuesday: 2", "both days: 4", "bob again changes the count: False"],
    "lock": [
        "ann takes it: True",
        "bob, too: False",
        "bob cannot give back what he does not hold",
        "ann gave it back; bob takes it: True",
    ],
}


BEYOND_7_0 = {"sessions"}
"""Examples whose commands are newer than the genuine server beside us, which says so."""


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_it_runs(name: str, server: Server) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(server.port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if name in BEYOND_7_0 and isinstance(server, RedisServer):
        assert "unknown command" in ended.stderr
        return
    assert (ended.stdout.splitlines(), ended.stderr) == (SAYS[name], "")


def test_entries_of_the_cache_end(client: Any) -> None:
    load("cache_aside").Cache(client, lambda name: 1, ttl_s=7).get("x")
    assert 0 < client.ttl("cache:x") <= 7


def test_counters_end_and_callers_do_not_meet(client: Any) -> None:
    limit = load("rate_limit").RateLimit(client, limit=1, window_s=5)
    assert limit.allows("ann", 100) and not limit.allows("ann", 104.9)
    assert limit.allows("bob", 100) and limit.allows("ann", 105)
    assert 0 < client.ttl("limit:{ann}:20") <= 10


def test_a_lock_that_ended_is_not_taken_from_its_next_holder(client: Any) -> None:
    module = load("lock")
    slow, next_one = module.Lock(client, "x", 1000), module.Lock(client, "x", 60_000)
    assert slow.take() and 0 < client.pttl("lock:x") <= 1000
    client.delete("lock:x")  # its time is up
    assert next_one.take()
    with pytest.raises(module.NotHeld):
        slow.give_back()
    assert client.get("lock:x") == next_one.secret


def test_a_lock_that_changes_hands_meanwhile_is_put_back(client: Any) -> None:
    module = load("lock")
    slow, next_one = module.Lock(client, "x", 1000), module.Lock(client, "x", 60_000)
    assert slow.take()

    class Late:
        """A client between whose GET and GETDEL the lock changes hands."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def getdel(self, key: str) -> Any:
            client.delete(key)
            assert next_one.take()
            return client.getdel(key)

    slow.client = Late()
    with pytest.raises(module.NotHeld):
        slow.give_back()
    assert client.get("lock:x") == next_one.secret and client.pttl("lock:x") > 0
