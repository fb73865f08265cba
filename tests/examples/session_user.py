"""One of several client processes that open sessions, and keep every other one alive.

python -m tests.examples.session_user PORT NUMBER
"""

from __future__ import annotations

import sys

import redis

from tests.examples.test_sessions import LONG_MS, SESSIONS, SHORT_MS, new_sessions


def main(port: int, number: int) -> None:
    with redis.Redis(port=port, protocol=3 if number % 2 else 2) as client:
        short, long = new_sessions(client, SHORT_MS), new_sessions(client, LONG_MS)
        for one in range(SESSIONS):
            user, token = f"user{one % 5}", f"{number}:{one}"
            short.open(user, token, f"device{token}")
            if one % 2:
                assert long.use(user, token) == f"device{token}"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
