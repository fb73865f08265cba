"""An event stream: every group of consumers sees all events, and within a group each event goes to one of them.

    python examples/event_stream.py [port]

What was given to a consumer stays on its account until it says that it is done. So when a consumer dies, the others
claim what has lain there too long: each event is handled at least once.
"""

import secrets
import sys
from collections.abc import Callable
from typing import Any

import redis

Handle = Callable[[bytes, dict[bytes, bytes]], None]
"""Takes an event: its id, and its fields and values."""


class EventGroup:
    """The consumers called `group` of the events under `key`, from the first event on."""

    def __init__(self, client: Any, key: str, group: str) -> None:
        self.client, self.key, self.group = client, key, group
        try:
            client.xgroup_create(key, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def handle_new(self, consumer: str, handle: Handle, timeout_ms: int, most: int = 10) -> int:
        """Handle up to `most` events that nobody has had, waiting up to `timeout_ms` for one; how many there were."""
        found = self.client.xreadgroup(self.group, consumer, {self.key: ">"}, count=most, block=timeout_ms)
        return self._handle(found[0][1] if found else [], handle)

    def handle_abandoned(self, consumer: str, handle: Handle, idle_ms: int) -> int:
        """Take over and handle what others were given `idle_ms` ago and have not finished; how many that were."""
        cursor, count = b"0-0", 0
        while True:
            cursor, events, *_ = self.client.xautoclaim(self.key, self.group, consumer, idle_ms, cursor)
            count += self._handle(events, handle)
            if cursor == b"0-0":
                return count

    def _handle(self, events: list[tuple[bytes, dict[bytes, bytes]]], handle: Handle) -> int:
        for event_id, fields in events:
            handle(event_id, fields)
            self.client.xack(self.key, self.group, event_id)
        return len(events)


def main(port: int) -> None:
    client = redis.Redis(port=port, protocol=2)
    key = f"events:{secrets.token_hex(4)}"
    mail = EventGroup(client, key, "mail")
    for number in range(5):
        client.xadd(key, {"order": number})
    client.xreadgroup("mail", "ann", {key: ">"}, count=2)  # ann is given two, and is never seen again
    done: list[int] = []
    print("bob handles:", mail.handle_new("bob", lambda _id, fields: done.append(int(fields[b"order"])), 100))
    print("bob takes over:", mail.handle_abandoned("bob", lambda _id, fields: done.append(int(fields[b"order"])), 0))
    print("orders:", sorted(done), "open:", client.xpending(key, "mail")["pending"])
    client.delete(key)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
