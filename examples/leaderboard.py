"""A leaderboard: players by their points in a sorted set, which knows everybody's place at once.

    python examples/leaderboard.py [port]

Points are added by ZINCRBY, so that many game servers may write at the same time and none is lost. Of players with the
same points the one whose name comes later in the alphabet stands first: that is the order of ZREVRANGE.
"""

import sys
from typing import Any

import redis


class Leaderboard:
    """The players of one game."""

    def __init__(self, client: Any, game: str) -> None:
        self.client = client
        self.key = f"leaderboard:{game}"

    def score(self, player: str, points: float) -> float:
        """Give points to a player; how many they are now."""
        return float(self.client.zincrby(self.key, points, player))

    def top(self, count: int) -> list[tuple[str, float]]:
        """The best players with their points."""
        return self._named(self.client.zrevrange(self.key, 0, count - 1, withscores=True))

    def place(self, player: str) -> int | None:
        """A player's place, 1 for the best; None for somebody who never played."""
        rank = self.client.zrevrank(self.key, player)
        return None if rank is None else rank + 1

    def around(self, player: str, count: int) -> list[tuple[str, float]]:
        """A player between the `count` before and the `count` behind."""
        rank = self.client.zrevrank(self.key, player)
        if rank is None:
            return []
        return self._named(self.client.zrevrange(self.key, max(0, rank - count), rank + count, withscores=True))

    @staticmethod
    def _named(found: list[tuple[bytes, float]]) -> list[tuple[str, float]]:
        return [(player.decode(), float(points)) for player, points in found]


def main(port: int) -> None:
    client = redis.Redis(port=port)
    client.delete("leaderboard:chess")
    board = Leaderboard(client, "chess")
    for player, points in (("ann", 30), ("bob", 10), ("cid", 20), ("dan", 25), ("bob", 17.5)):
        board.score(player, points)
    print("the best two:", *(f"{player} {points:g}" for player, points in board.top(2)))
    print("dan has place", board.place("dan"), "and nobody has", board.place("nobody"))
    print("around dan:", *(player for player, _ in board.around("dan", 1)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
