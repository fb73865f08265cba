"""Costs that stay flat: the servers' own time per call as containers grow, and how long removing a big one stalls."""

import threading
import time
from collections.abc import Callable

from tests.bench.filling import Words, fill, name
from tests.bench.measuring import both, middle
from tests.support.servers import Server

SIZES = (1_000, 100_000, 1_000_000)
CALLS, CALLS_IN_THE_MIDDLE = 2_000, 100
STALL_WATCHED_S = 3.0

Make = Callable[[int, int], Words]
"""(number of the call, size of the container) -> the command."""


def spread(call: int, size: int) -> int:
    """Elements here and there, each once before any comes twice."""
    return call * 7919 % size


OPERATIONS: dict[str, tuple[str, Make]] = {
    "LINDEX near an end": ("list", lambda n, _: ("LINDEX", "list:0", n % 20 - 10)),
    "LPUSH": ("list", lambda n, _: ("LPUSH", "list:0", name(n))),
    "RPOP": ("list", lambda n, _: ("RPOP", "list:0")),
    "HSET": ("hash", lambda n, _: ("HSET", "hash:0", b"new:%d" % n, "value")),
    "HGET": ("hash", lambda n, size: ("HGET", "hash:0", name(spread(n, size)))),
    "HSCAN": ("hash", lambda n, size: ("HSCAN", "hash:0", spread(n, size))),
    "SADD": ("set", lambda n, _: ("SADD", "set:0", b"new:%d" % n)),
    "SPOP": ("set", lambda n, _: ("SPOP", "set:0")),
    "SRANDMEMBER": ("set", lambda n, _: ("SRANDMEMBER", "set:0")),
    "SSCAN": ("set", lambda n, size: ("SSCAN", "set:0", spread(n, size))),
    "ZADD": ("zset", lambda n, _: ("ZADD", "zset:0", n * 31 % 1_000_003, b"new:%d" % n)),
    "ZRANK": ("zset", lambda n, size: ("ZRANK", "zset:0", name(spread(n, size)))),
    "ZRANGE of 10": ("zset", lambda n, size: ("ZRANGE", "zset:0", spread(n, size), spread(n, size) + 9)),
    "ZRANGEBYSCORE LIMIT": (
        "zset",
        lambda n, _: ("ZRANGEBYSCORE", "zset:0", n * 31 % 1_000_003, "+inf", "LIMIT", 0, 10),
    ),
    "XADD": ("stream", lambda n, _: ("XADD", "stream:0", "*", "field", "value")),
    "XRANGE of 10": (
        "stream",
        lambda n, size: ("XRANGE", "stream:0", f"{spread(n, size) + 1}-0", "+", "COUNT", 10),
    ),
}
IN_THE_MIDDLE: dict[str, tuple[str, Make]] = {
    "LINDEX in the middle": ("list", lambda n, size: ("LINDEX", "list:0", size // 2 + n)),
    "LSET in the middle": ("list", lambda n, size: ("LSET", "list:0", size // 2 + n, "changed")),
    "LINSERT in the middle": ("list", lambda n, size: ("LINSERT", "list:0", "BEFORE", name(size // 2 + n), "more")),
    "LREM in the middle": ("list", lambda n, size: ("LREM", "list:0", 1, name(size // 2 + n))),
}


def cost(server: Server, make: Make, size: int, calls: int) -> float:
    """The server's own µs per call."""
    with server.wire(timeout_s=120) as wire:
        wire("CONFIG", "RESETSTAT")
        words = [make(call, size) for call in range(calls)]
        for start in range(0, calls, 100):
            wire.pipeline(words[start : start + 100])
        fields = wire.info("commandstats")[f"cmdstat_{str(words[0][0]).lower()}"]
    return float(fields.split("usec_per_call=")[1].split(",")[0])


def costs(server: Server, rounds: int) -> dict[str, list[float]]:
    """By operation: µs per call at each size."""
    found: dict[str, list[float]] = {}
    for size in SIZES:
        for kind in ("list", "hash", "set", "zset", "stream"):
            fill(server, kind, size)
        for table, calls in ((OPERATIONS, CALLS), (IN_THE_MIDDLE, CALLS_IN_THE_MIDDLE)):
            for operation, (_, make) in table.items():
                times = [cost(server, make, size, calls) for _ in range(rounds)]
                found.setdefault(operation, []).append(middle(times))
        with server.wire(timeout_s=120) as wire:
            wire("FLUSHALL")
    return found


REMOVALS: dict[str, Words] = {
    "UNLINK": ("UNLINK", "set:0"),
    "DEL": ("DEL", "set:0"),
    "expiry": ("PEXPIRE", "set:0", 100),
    "FLUSHALL": ("FLUSHALL",),
    "FLUSHALL ASYNC": ("FLUSHALL", "ASYNC"),
}


def stall_ms(server: Server, removal: Words) -> float:
    """The longest time that a client waits for its PING while a set of a million goes."""
    fill(server, "set", SIZES[-1])
    longest = 0.0
    with server.wire(timeout_s=60) as other, server.wire(timeout_s=60) as wire:
        remover = threading.Timer(0.2, lambda: other(*removal))
        remover.start()
        end = time.perf_counter() + STALL_WATCHED_S
        while (began := time.perf_counter()) < end:
            wire("PING")
            longest = max(longest, time.perf_counter() - began)
        remover.join()
    return longest * 1000


def table(rounds: int) -> str:
    rounds = min(rounds, 3)
    heads = " | ".join(f"{size // 1000} k" for size in SIZES)
    lines = [
        f"| server's own µs per call | Hexad {heads} | growth | Redis {heads} | growth |",
        "|---|" + "---|" * (2 * len(SIZES) + 2),
    ]
    with both() as (ours, theirs):
        mine, his = costs(ours, rounds), costs(theirs, rounds)
        for operation in mine:
            cells = [
                " | ".join([*(f"{each:.2f}" for each in side[operation]), f"**{growth(side[operation]):.1f}**"])
                for side in (mine, his)
            ]
            lines.append(f"| {operation} | {' | '.join(cells)} |")
        lines += ["", "| a set of a million goes: longest wait of another client | Hexad | Redis |", "|---|---|---|"]
        for title, removal in REMOVALS.items():
            waits = [middle([stall_ms(server, removal) for _ in range(rounds)]) for server in (ours, theirs)]
            lines.append(f"| {title} | {waits[0]:.1f} ms | {waits[1]:.1f} ms |")
    return "\n".join(lines) + "\n"


def growth(each: list[float]) -> float:
    """How much more a call costs at the greatest size than at the least."""
    return each[-1] / max(each[0], 0.01)
