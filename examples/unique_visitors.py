"""Unique visitors: a HyperLogLog a day counts millions of them in 12 KiB, within about one percent.

python examples/unique_visitors.py [port]
"""

import secrets
import sys
from typing import Any

import redis


class UniqueVisitors:
    """Visitors of one site by day. The keys share a hash tag, so that days can be counted together in a cluster."""

    def __init__(self, client: Any, site: str) -> None:
        self.client, self.site = client, site

    def _key(self, day: str) -> str:
        return f"visitors:{{{self.site}}}:{day}"

    def seen(self, day: str, *visitors: str) -> bool:
        """Note visitors; False if the count is what it was."""
        return bool(self.client.pfadd(self._key(day), *visitors))

    def count(self, *days: str) -> int:
        """About how many different visitors there were on these days together."""
        return int(self.client.pfcount(*map(self._key, days)))


def main(port: int) -> None:
    client = redis.Redis(port=port, protocol=2)
    visitors = UniqueVisitors(client, secrets.token_hex(4))
    visitors.seen("monday", "ann", "bob", "cid", "ann")
    visitors.seen("tuesday", "bob", "dan")
    print("monday:", visitors.count("monday"), "tuesday:", visitors.count("tuesday"))
    print("both days:", visitors.count("monday", "tuesday"))
    print("bob again changes the count:", visitors.seen("monday", "bob"))
    client.delete(*map(visitors._key, ("monday", "tuesday")))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
