"""Full synchronisation of many keys beside redis-server: time from REPLICAOF to a link that is up with all keys.

    python -m tests.bench.fullsync_bench [KEYS]

Pairs are (primary, replica): both ours, both Redis's, and mixed. Meanwhile the primary is pinged: its longest
answer tells how long the snapshot held its loop.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack

from tests.support import HexadServer, RedisServer, Server, Wire, encode

KEYS = 500_000
BATCH = 5_000
PAIRS: dict[str, tuple[type[Server], type[Server]]] = {
    "redis -> redis": (RedisServer, RedisServer),
    "hexad -> hexad": (HexadServer, HexadServer),
    "hexad -> redis": (HexadServer, RedisServer),
    "redis -> hexad": (RedisServer, HexadServer),
}


def fill(wire: Wire, count: int) -> None:
    """Write keys of 16 bytes with values of 32."""
    for start in range(0, count, BATCH):
        batch = range(start, min(count, start + BATCH))
        wire.send_raw(b"".join(encode("SET", f"key:{number:012}", f"{number:032}") for number in batch))
        for _ in batch:
            wire.read()


class Pings(threading.Thread):
    """PINGs one after the other until `over` is set; `longest_ms` is the slowest answer."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire, self.longest_ms, self.over = wire, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            started = time.perf_counter()
            self.wire("PING")
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - started) * 1000)


def measure(primary_kind: type[Server], replica_kind: type[Server], count: int) -> tuple[float, float, float]:
    """(seconds, longest ping of the primary in ms, of the replica)."""
    with ExitStack() as stack:
        primary = stack.enter_context(primary_kind(repl_diskless_sync_delay=0))
        replica = stack.enter_context(replica_kind(repl_diskless_sync_delay=0, repl_diskless_load="swapdb"))
        with primary.wire() as writer:
            fill(writer, count)
        last = f"key:{count - 1:012}"
        wire = replica.wire(timeout_s=60)
        pings = [Pings(primary.wire(timeout_s=60)), Pings(replica.wire(timeout_s=60))]
        for ping in pings:
            ping.start()
        started = time.perf_counter()
        wire("REPLICAOF", "127.0.0.1", str(primary.port))
        while wire("ROLE")[3] != b"connected":
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        for ping in pings:
            ping.over.set()
            ping.join()
        assert wire("GET", last) == f"{count - 1:032}".encode()
        return seconds, pings[0].longest_ms, pings[1].longest_ms


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else KEYS
    base = 0.0
    for name, kinds in PAIRS.items():
        seconds, primary_ms, replica_ms = min(measure(*kinds, count) for _ in range(2))
        base = base or seconds
        print(
            f"{name}: {seconds:.2f} s ({seconds / base:.1f} x), longest PING: primary {primary_ms:.0f} ms, "
            f"replica {replica_ms:.0f} ms"
        )


if __name__ == "__main__":
    main()
