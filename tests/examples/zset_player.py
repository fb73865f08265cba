"""One of several client processes on a sorted set.

python -m tests.examples.zset_player PORT NUMBER (leaderboard|limit|nearby)
"""

from __future__ import annotations

import sys

import redis

from tests.examples.test_sortedset_programs import CALLS, NOW_S, ROUNDS, new_limit, new_places, place_of
from tests.examples.test_sortedset_programs import new_board as new_leaderboard


def main(port: int, number: int, program: str) -> None:
    with redis.Redis(port=port, protocol=3 if number % 2 else 2) as client:
        if program == "leaderboard":
            board = new_leaderboard(client)
            for round_ in range(ROUNDS):
                board.score(f"player{(number + round_) % 7}", number + 0.5)
        elif program == "limit":
            limit = new_limit(client)
            print(sum(limit.allows("ann", NOW_S) for _ in range(CALLS)))
        else:
            places = new_places(client)
            for one in range(number, 400, 4):
                places.put(f"place{one}", *place_of(one))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
