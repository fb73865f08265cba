"""Full synchronisation, and loading from an RDB file: 500 000 keys, each pair of the same kind."""

import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.measuring import middle, populate, progress
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until
from tests.support.wire import Wire

KEYS = 500_000


class Sync(NamedTuple):
    """What one full synchronisation took."""

    seconds: float  # from REPLICAOF until the replica has everything
    stall_ms: float  # the longest answer of the primary to PING meanwhile
    megabytes: float  # that the primary held beside what it holds anyhow, its child's copies included


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


def full_sync(kind: type[Server]) -> Sync:
    options = {"repl_diskless_sync_delay": 0}
    with kind(**options) as primary, kind(**options) as replica, primary.wire(timeout_s=60) as up:
        populate(primary, KEYS)
        pings = Pings(primary.wire(timeout_s=60))
        held = _peak_bytes(primary, renew=True)
        with replica.wire(timeout_s=60) as wire:
            pings.start()
            started = time.perf_counter()
            wire("REPLICAOF", "127.0.0.1", str(primary.port))
            wait_until(
                lambda: b"master_link_status:up" in wire("INFO", "replication") and wire("DBSIZE") == KEYS,
                120,
                "the replica is in sync",
            )
            seconds = time.perf_counter() - started
        pings.over.set()
        pings.join()
        more = _peak_bytes(primary) - held + int(up.info("persistence")["rdb_last_cow_size"])
        return Sync(seconds, pings.longest_ms, more / 1e6)


def _peak_bytes(server: Server, *, renew: bool = False) -> int:
    """The most that a server has held; `renew`: from now on."""
    process = Path(f"/proc/{server.pid}")
    if renew:
        (process / "clear_refs").write_text("5")
    (line,) = [line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def load(kind: type[Server]) -> float:
    """Seconds that DEBUG RELOAD NOSAVE takes: the RDB file read and put in place."""
    with kind(enable_debug_command="yes") as server:
        populate(server, KEYS)
        with server.wire(timeout_s=120) as wire:
            wire("SAVE")
            started = time.perf_counter()
            wire("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE")
            return time.perf_counter() - started


def table(rounds: int) -> str:
    lines = ["| 500 000 keys | Hexad | Redis | ratio |", "|---|---|---|---|"]
    times = min(rounds, 3)
    progress("full synchronisation")
    syncs = [(full_sync(HexadServer), full_sync(RedisServer)) for _ in range(times)]
    for place, (name, unit) in enumerate(
        [
            ("full synchronisation", "s"),
            ("longest PING of the primary meanwhile", "ms"),
            ("its memory beside the data", "MB"),
        ]
    ):
        mine, his = (middle([pair[side][place] for pair in syncs]) for side in (0, 1))
        ratio = f"**{middle([a[0] / b[0] for a, b in syncs]):.2f}**" if not place else ""
        lines.append(f"| {name} | {mine:.2f} {unit} | {his:.2f} {unit} | {ratio} |")
    progress("load of an RDB file")
    loads = [(load(HexadServer), load(RedisServer)) for _ in range(times)]
    mine, his = (middle([pair[side] for pair in loads]) for side in (0, 1))
    lines.append(f"| load of an RDB file | {mine:.2f} s | {his:.2f} s | **{middle([a / b for a, b in loads]):.2f}** |")
    return "\n".join(lines) + "\n"
