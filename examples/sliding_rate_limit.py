"""A rate limit over the last seconds, wherever they began: the times of the calls in a sorted set.

    python examples/sliding_rate_limit.py [port]

Windows that start anew at each full minute let through twice the limit around it; this one never does. A call enters
itself first and counts afterwards, so that of two at the same moment both see both: in doubt both are refused, but
never are too many allowed. A refused call takes itself out again.
"""

import sys
import uuid
from typing import Any

import redis


class SlidingRateLimit:
    """Allows `limit` calls by each caller within any `window_s` seconds."""

    def __init__(self, client: Any, limit: int, window_s: float) -> None:
        self.client = client
        self.limit = limit
        self.window_s = window_s

    def allows(self, caller: str, now_s: float) -> bool:
        """Enter a call; tell whether it is within the limit."""
        key, call = f"calls:{caller}", uuid.uuid4().hex
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zremrangebyscore(key, "-inf", now_s - self.window_s)
        pipeline.zadd(key, {call: now_s})
        pipeline.zcard(key)
        pipeline.expire(key, int(self.window_s) + 1)
        count = pipeline.execute()[2]
        if count <= self.limit:
            return True
        self.client.zrem(key, call)
        return False


def main(port: int) -> None:
    client = redis.Redis(port=port)
    client.delete("calls:ann")
    limit = SlidingRateLimit(client, limit=2, window_s=10)
    moments = (100, 104, 105, 110.5, 111, 114.5)
    print(*(f"{moment}: {'yes' if limit.allows('ann', moment) else 'no'}" for moment in moments), sep=", ")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
