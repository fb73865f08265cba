"""Sessions of users: one hash a user, a field for each place where they are signed in, each field with its own end.

    python examples/sessions.py [port]

A session that is used lives on; one that is not ends by itself, and with the last one the whole hash. Needs a server
with deadlines of fields: Hexad, or Redis from 7.4 on.
"""

import sys
from typing import Any

import redis


class Sessions:
    """Who is signed in where. A session ends `lifetime_ms` after it was opened or last used."""

    def __init__(self, client: Any, lifetime_ms: int) -> None:
        self.client = client
        self.lifetime_ms = lifetime_ms

    def open(self, user: str, token: str, device: str) -> None:
        """Sign `user` in on `device`."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hset(f"sessions:{user}", token, device)
            pipe.execute_command("HPEXPIRE", f"sessions:{user}", self.lifetime_ms, "FIELDS", 1, token)
            pipe.execute()

    def use(self, user: str, token: str) -> str | None:
        """The device of a session, which lives on from now; None if it has ended."""
        (device,) = self.client.execute_command(
            "HGETEX", f"sessions:{user}", "PX", self.lifetime_ms, "FIELDS", 1, token
        )
        return device.decode() if device is not None else None

    def close(self, user: str, token: str) -> bool:
        """Sign out; False if that session had ended."""
        return self.client.hdel(f"sessions:{user}", token) == 1

    def devices(self, user: str) -> list[str]:
        """Where `user` is signed in."""
        return sorted(device.decode() for device in self.client.hvals(f"sessions:{user}"))


def main(port: int) -> None:
    client = redis.Redis(port=port)
    client.delete("sessions:ann")
    sessions = Sessions(client, lifetime_ms=60_000)
    sessions.open("ann", "t1", "phone")
    sessions.open("ann", "t2", "desk")
    print("ann is at:", *sessions.devices("ann"))
    print("t1 belongs to:", sessions.use("ann", "t1"))
    print("signed out:", sessions.close("ann", "t2"), "then at:", *sessions.devices("ann"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
