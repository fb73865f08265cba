"""An event stream and unique visitors with several client processes on one node; a consumer is killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from tests.examples.test_examples import EXAMPLES, load
from tests.support import HexadServer, RedisServer, Server, wait_until

EVENTS = 200
CONSUMERS = 3
VISITORS = 1500
TIMEOUT_S = 30

CONSUMER = """
import sys
import redis
from event_stream import EventGroup

client = redis.Redis(port=int(sys.argv[1]), protocol=2)
name = sys.argv[2]

def handle(event_id, fields):
    if fields[b"number"] == b"7" and client.lpop("killer"):
        client.blpop("gate", 0)  # whoever has this event is in the middle of it, until it is killed
    client.hincrby("handled", fields[b"number"], 1)

group = EventGroup(client, "events", "workers")
while True:
    group.handle_new(name, handle, 0, 1)
"""
VISITOR = """
import sys
import redis
from unique_visitors import UniqueVisitors

visitors = UniqueVisitors(redis.Redis(port=int(sys.argv[1]), protocol=2), "site")
first = int(sys.argv[2]) * 500
for number in range(first, first + 1000, 50):
    visitors.seen("today", *map(str, range(number, number + 50)))
"""


@pytest.fixture(scope="module", params=[RedisServer, HexadServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


def start(server: Server, program: str, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, str(server.port), name], cwd=EXAMPLES)


def test_events_of_a_dead_consumer_are_claimed(server: Server) -> None:
    running = {f"c{number}": start(server, CONSUMER, f"c{number}") for number in range(CONSUMERS)}
    try:
        with redis.Redis(port=server.port, protocol=2) as client:
            group = load("event_stream").EventGroup(client, "events", "workers")
            client.rpush("killer", "once")
            for number in range(EVENTS):
                client.xadd("events", {"number": number})
            wait_until(lambda: client.hlen("handled") == EVENTS - 1, TIMEOUT_S, "all but one are handled")
            pending = client.xpending
            wait_until(lambda: pending("events", "workers")["pending"] == 1, TIMEOUT_S, "and acknowledged after that")
            (open_event,) = client.xpending_range("events", "workers", "-", "+", 10)
            dead = running[open_event["consumer"].decode()]
            dead.send_signal(signal.SIGKILL)
            dead.wait(TIMEOUT_S)
            claimed: list[bytes] = []
            assert group.handle_abandoned("other", lambda _id, fields: claimed.append(fields[b"number"]), 0) == 1
            assert claimed == [b"7"] and client.xpending("events", "workers")["pending"] == 0
            assert set(client.hvals("handled")) == {b"1"}
    finally:
        for process in running.values():
            process.kill()
            process.wait(TIMEOUT_S)


def test_visitors_of_several_processes_are_counted_once(server: Server) -> None:
    running = [start(server, VISITOR, str(number)) for number in range(2)]
    assert [process.wait(TIMEOUT_S) for process in running] == [0, 0]
    with redis.Redis(port=server.port, protocol=2) as client:
        client.pfadd("expected", *map(str, range(VISITORS)))
        count = load("unique_visitors").UniqueVisitors(client, "site").count("today")
        assert count == client.pfcount("expected")  # in whatever order they came
        assert abs(count - VISITORS) < VISITORS * 0.03
