"""Throughput and server CPU per operation of redis-benchmark's tests of containers, in turns with redis-server."""

from tests.bench.filling import fill
from tests.bench.measuring import benchmark, both, cpu_seconds, ratio_row
from tests.support.servers import Server

REQUESTS = {1: 50_000, 16: 200_000}
"""Requests of one run by pipeline depth."""
TESTS: dict[str, tuple[str, ...]] = {
    "SADD": ("-t", "sadd"),
    "HSET": ("-t", "hset"),
    "SPOP": ("SPOP", "set:0"),
    "ZADD": ("-t", "zadd"),
    "ZPOPMIN": ("ZPOPMIN", "zset:0"),
    "LPUSH": ("-t", "lpush"),
    "RPOP": ("RPOP", "list:0"),
    "LRANGE_100": ("LRANGE", "hundred", "0", "99"),
    "XADD": ("XADD", "mystream", "*", "myfield", "VXK"),
}
TAKEN_FROM = {"SPOP": "set", "ZPOPMIN": "zset", "RPOP": "list"}
"""What must be there before a run, with more elements than it takes."""
SLOWER = {"LRANGE_100": 4}
"""How much fewer requests a run makes."""


def run(server: Server, test: str, pipeline: int) -> tuple[float, float]:
    """(requests a second, CPU µs of the server per request)."""
    requests = REQUESTS[pipeline] // SLOWER.get(test, 1)
    with server.wire(timeout_s=60) as wire:
        wire("FLUSHALL")
        wire("RPUSH", "hundred", *("VXK" for _ in range(100)))
    if test in TAKEN_FROM:
        fill(server, TAKEN_FROM[test], requests + 1000)
    before = cpu_seconds(server.pid)
    rate = benchmark(server.port, "-c", "50", "-P", str(pipeline), "-n", str(requests), "-r", "100000", *TESTS[test])
    return rate, (cpu_seconds(server.pid) - before) / requests * 1e6


def table(rounds: int) -> str:
    lines = [
        "| `redis-benchmark -c 50` | throughput Hexad | Redis | ratio | CPU per op Hexad | Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs):
        for pipeline in REQUESTS:
            for test in TESTS:
                pairs = [(run(ours, test, pipeline), run(theirs, test, pipeline)) for _ in range(rounds)]
                lines.append(ratio_row(f"{test} `-P {pipeline}`", pairs, (0, 2)))
    return "\n".join(lines) + "\n"
