"""Programs on sorted sets with several client processes at once on one node: what comes out is exact all the same."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from math import asin, cos, radians, sin, sqrt
from typing import Any

import pytest
import redis

from tests.examples.test_examples import load
from tests.support import HexadServer, Server
from tests.support.servers import ROOT

PROCESSES = 4
ROUNDS = 200
CALLS = 60
LIMIT = 50
NOW_S = 1000.0
PROCESS_TIMEOUT_S = 60


def new_board(client: Any) -> Any:
    return load("leaderboard").Leaderboard(client, "go")


def new_limit(client: Any) -> Any:
    return load("sliding_rate_limit").SlidingRateLimit(client, LIMIT, 10)


def new_places(client: Any) -> Any:
    return load("nearby").Nearby(client, "shop")


def place_of(number: int) -> tuple[float, float]:
    """Four hundred places on a grid around a town."""
    return 11.0 + number % 20 / 100, 48.0 + number // 20 / 100


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with HexadServer() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port, protocol=2) as connected:
        connected.flushall()
        yield connected


def run_all(server: Server, program: str) -> list[str]:
    """Run the program in all processes at once; what each of them printed."""
    command = [sys.executable, "-m", "tests.examples.zset_player", str(server.port)]
    running = [
        subprocess.Popen([*command, str(number), program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for number in range(PROCESSES)
    ]
    printed = [process.communicate(timeout=PROCESS_TIMEOUT_S)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    return printed


def test_no_points_are_lost(server: Server, client: Any) -> None:
    run_all(server, "leaderboard")
    expected: Counter[str] = Counter()
    for number in range(PROCESSES):
        for round_ in range(ROUNDS):
            expected[f"player{(number + round_) % 7}"] += number + 0.5  # type: ignore[assignment]
    board = new_board(client)
    order = sorted(expected.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
    assert board.top(10) == order
    assert [board.place(player) for player, _ in order] == list(range(1, 8))


def test_exactly_the_limit_is_allowed(server: Server, client: Any) -> None:
    allowed = sum(map(int, run_all(server, "limit")))
    limit = new_limit(client)
    while limit.allows("ann", NOW_S):  # what was refused in doubt, with everybody gone
        allowed += 1
    assert allowed == LIMIT == client.zcard("calls:ann")
    assert limit.allows("ann", NOW_S + 10.5)
    assert client.zcard("calls:ann") == 1


def haversine_km(first: tuple[float, float], second: tuple[float, float]) -> float:
    (x1, y1), (x2, y2) = (tuple(map(radians, place)) for place in (first, second))
    return 2 * 6372.797560856 * asin(sqrt(sin((y2 - y1) / 2) ** 2 + cos(y1) * cos(y2) * sin((x2 - x1) / 2) ** 2))


def test_every_place_in_reach_is_found(server: Server, client: Any) -> None:
    run_all(server, "nearby")
    assert client.zcard("places:shop") == 400
    centre = (11.0913, 48.0927)
    distances = {f"place{number}": haversine_km(centre, place_of(number)) for number in range(400)}
    found = new_places(client).find(*centre, radius_km=5, count=400)
    assert dict(found).keys() == {name for name, distance in distances.items() if distance <= 5}
    assert all(abs(distance - distances[name]) < 0.001 for name, distance in found)
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
