"""Cache-aside: read through the cache, fill it on a miss, drop the entry when the source changes.

    python examples/cache_aside.py [port]

The entry has a time to live, so that what was filled just before a change is wrong for no longer than that.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import redis

TTL_S = 60
NOTHING = b"null"  # also remembered: or each question for what does not exist would go to the source


class Cache:
    """A cache in front of `load`, which is slow."""

    def __init__(self, client: Any, load: Callable[[str], Any], ttl_s: int = TTL_S) -> None:
        self.client = client
        self.load = load
        self.ttl_s = ttl_s

    def get(self, name: str) -> Any:
        """What `load` says, from the cache if it is there."""
        found = self.client.get(f"cache:{name}")
        if found is None:
            found = json.dumps(self.load(name)).encode()
            self.client.set(f"cache:{name}", found, ex=self.ttl_s)
        return json.loads(found)

    def changed(self, name: str) -> None:
        """To be called after the source was changed."""
        self.client.delete(f"cache:{name}")


def main(port: int) -> None:
    source = {"ann": {"age": 41}}
    loads: list[str] = []

    def load(name: str) -> Any:
        loads.append(name)
        return source.get(name)

    cache = Cache(redis.Redis(port=port), load)
    for name in ("ann", "bob"):
        cache.changed(name)
    print("first:", cache.get("ann"), "then:", cache.get("ann"), "nobody:", cache.get("bob"), cache.get("bob"))
    source["ann"] = {"age": 42}
    cache.changed("ann")
    print("after the change:", cache.get("ann"))
    print("the source was asked for:", ", ".join(loads))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
