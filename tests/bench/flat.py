"""Costs that stay flat: the servers' own time per call as containers grow, and how long removing a big one stalls.

Of several rounds the fastest counts: what else the machine does can only add to it. What grows no faster than log n
costs at most twice as much with a million elements as with a thousand.
"""

import threading
import time
from collections.abc import Callable
from math import log

from tests.bench.filling import fill, name
from tests.bench.measuring import both, progress
from tests.support.servers import Server

SIZES = (1_000, 100_000, 1_000_000)
CALLS, CALLS_IN_THE_MIDDLE = 1_000, 20
ROUNDS_MAX = 3
LOGARITHMIC_GROWTH = log(SIZES[-1]) / log(SIZES[0])
STALL_WATCHED_S = 1.5
"""After the removal has been answered: what is freed by and by is freed within this."""
STALL_MS_MAX = 20

Words = tuple[bytes | str | int, ...]
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
    "SRANDMEMBER": ("set", lambda n, _: ("SRANDMEMBER", "set:0")),
    "SSCAN": ("set", lambda n, size: ("SSCAN", "set:0", spread(n, size))),
    "SADD": ("set", lambda n, _: ("SADD", "set:0", b"new:%d" % n)),
    "SPOP": ("set", lambda n, _: ("SPOP", "set:0")),
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


def cost(server: Server, make: Make, size: int, calls: range) -> float:
    """The server's own µs per call."""
    with server.wire(timeout_s=120) as wire:
        wire("CONFIG", "RESETSTAT")
        words = [make(call, size) for call in calls]
        for start in range(0, len(words), 100):
            wire.pipeline(words[start : start + 100])
        fields = wire.info("commandstats")[f"cmdstat_{str(words[0][0]).lower()}"]
    return float(fields.split("usec_per_call=")[1].split(",")[0])


def costs(server: Server, rounds: int) -> dict[str, list[float]]:
    """By operation: µs per call at each size."""
    found: dict[str, list[float]] = {}
    for size in SIZES:
        progress(f"{type(server).__name__}: containers of {size}")
        for kind in ("list", "hash", "set", "zset", "stream"):
            fill(server, kind, size)
        for table, calls in ((OPERATIONS, CALLS), (IN_THE_MIDDLE, CALLS_IN_THE_MIDDLE)):
            for operation, (_, make) in table.items():
                turns = [range(calls * turn, calls * (turn + 1)) for turn in range(rounds)]
                times = [cost(server, make, size, turn) for turn in turns]
                found.setdefault(operation, []).append(min(times))
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
        remover = threading.Thread(target=lambda: other(*removal))
        remover.start()
        end = time.perf_counter() + STALL_WATCHED_S
        while (began := time.perf_counter()) < end or remover.is_alive():
            wire("PING")
            longest = max(longest, time.perf_counter() - began)
        remover.join()
        assert not other("EXISTS", "set:0")
    return longest * 1000


def least_stall_ms(server: Server, removal: Words, rounds: int) -> float:
    """Once more where it was long: something else may have had the machine."""
    least = stall_ms(server, removal)
    for _ in range(min(rounds, ROUNDS_MAX) - 1):
        if least > STALL_MS_MAX:
            least = min(least, stall_ms(server, removal))
    return least


def table(rounds: int) -> str:
    heads = " | ".join(f"{size // 1000} k" for size in SIZES)
    lines = [
        f"| server's own µs per call | Hexad {heads} | growth | Redis {heads} | growth | as it should be |",
        "|---|" + "---|" * (2 * len(SIZES) + 3),
    ]
    with both() as (ours, theirs):
        mine, his = (costs(server, min(rounds, ROUNDS_MAX)) for server in (ours, theirs))
        for operation in mine:
            cells = [
                " | ".join([*(f"{each:.2f}" for each in side[operation]), f"**{growth(side[operation]):.1f}**"])
                for side in (mine, his)
            ]
            lines.append(f"| {operation} | {' | '.join(cells)} | {verdict(operation, mine, his)} |")
        lines += [
            "",
            "| a set of a million goes: longest wait of another client | Hexad | Redis | as it should be |",
            "|---|---|---|---|",
        ]
        for title, removal in REMOVALS.items():
            progress(f"a set of a million goes by {title}")
            waits = [least_stall_ms(server, removal, rounds) for server in (ours, theirs)]
            word = "yes" if waits[0] <= STALL_MS_MAX else "no"
            lines.append(f"| {title} | {waits[0]:.1f} ms | {waits[1]:.1f} ms | ≤ {STALL_MS_MAX} ms: {word} |")
    return "\n".join(lines) + "\n"


def verdict(operation: str, mine: dict[str, list[float]], his: dict[str, list[float]]) -> str:
    """Whether the cost grows no faster than log n, or than Redis's, to which memory beyond the caches is as far."""
    if growth(mine[operation]) <= LOGARITHMIC_GROWTH:
        return "≤ log n: yes"
    word = "yes" if growth(mine[operation]) <= growth(his[operation]) else "no"
    return f"≤ Redis's: {word}" if operation in IN_THE_MIDDLE or word == "yes" else "≤ log n: no"


def growth(each: list[float]) -> float:
    """How much more a call costs at the greatest size than at the least."""
    return each[-1] / max(each[0], 0.01)
