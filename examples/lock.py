"""A lock: SET NX PX takes it, and only its holder gives it back.

    python examples/lock.py [port]

The value is a secret of the holder and the lock ends by itself, so that a holder that dies blocks nobody for ever. A
holder that was too slow must not give back what is another's by then. It takes the value out with GETDEL, which is one
step, and if that was another's secret, puts it back with a full time to live. For the instant between the two the
other's lock is open: so work for which even that is too much must check a fencing token where it writes.
"""

import secrets
import sys
from typing import Any

import redis


class NotHeld(Exception):
    """The lock had ended, or is another's by now: what was done under it may have met someone else's work."""


class Lock:
    """One holder at a time, for `ttl_ms` milliseconds at most."""

    def __init__(self, client: Any, name: str, ttl_ms: int) -> None:
        self.client = client
        self.key = f"lock:{name}"
        self.ttl_ms = ttl_ms
        self.secret = secrets.token_hex(16).encode()

    def take(self) -> bool:
        """Take the lock if nobody has it."""
        return bool(self.client.set(self.key, self.secret, nx=True, px=self.ttl_ms))

    def give_back(self) -> None:
        """Give the lock back. Raises NotHeld."""
        if self.client.get(self.key) != self.secret:
            raise NotHeld(self.key)  # the usual case of a holder that was too slow: nothing is touched
        found = self.client.getdel(self.key)
        if found == self.secret:
            return
        if found is not None:  # another took it since the GET
            self.client.set(self.key, found, nx=True, px=self.ttl_ms)
        raise NotHeld(self.key)


def main(port: int) -> None:
    client = redis.Redis(port=port)
    name = secrets.token_hex(4)
    ann, bob = Lock(client, name, ttl_ms=10_000), Lock(client, name, ttl_ms=10_000)
    print("ann takes it:", ann.take())
    print("bob, too:", bob.take())
    try:
        bob.give_back()
    except NotHeld:
        print("bob cannot give back what he does not hold")
    ann.give_back()
    print("ann gave it back; bob takes it:", bob.take())
    bob.give_back()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
