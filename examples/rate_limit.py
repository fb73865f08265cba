"""A rate limit: at most so many calls in each window of time, counted by INCR, forgotten by EXPIRE.

    python examples/rate_limit.py [port]

The window's number is part of the key, so a window ends by itself; the expiry only clears the counter away. Both go in
one round trip, and every call sets the expiry: a client that dies leaves no counter behind for ever.
"""

import sys
import time
from typing import Any

import redis


class RateLimit:
    """Allows `limit` calls by each caller in every window of `window_s` seconds."""

    def __init__(self, client: Any, limit: int, window_s: int) -> None:
        self.client = client
        self.limit = limit
        self.window_s = window_s

    def allows(self, caller: str, now_s: float) -> bool:
        """Count a call; tell whether it is within the limit."""
        key = f"limit:{{{caller}}}:{int(now_s // self.window_s)}"
        pipeline = self.client.pipeline(transaction=False)
        pipeline.incr(key)
        pipeline.expire(key, 2 * self.window_s)
        count, _ = pipeline.execute()
        return bool(count <= self.limit)


def main(port: int) -> None:
    limit = RateLimit(redis.Redis(port=port), limit=3, window_s=10)
    start_s = time.time() // 10 * 10
    allowed = [limit.allows(f"ann-{start_s}", start_s) for _ in range(5)]
    print("five calls in one window:", *("yes" if each else "no" for each in allowed))
    print("in the next window:", "yes" if limit.allows(f"ann-{start_s}", start_s + 10) else "no")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
