"""Throughput and server CPU per operation of redis-benchmark's simplest tests, in turns with redis-server."""

from tests.bench.measuring import benchmark, both, cpu_seconds, ratio_row
from tests.support.servers import Server

TESTS = ("get", "set", "incr", "mset")
REQUESTS = {1: 60_000, 16: 240_000, 64: 480_000}
"""Requests of one run by pipeline depth: about a second each."""


def run(server: Server, test: str, pipeline: int) -> tuple[float, float]:
    """(requests a second, CPU µs of the server per request)."""
    requests = REQUESTS[pipeline] // (4 if test == "mset" else 1)
    before = cpu_seconds(server.pid)
    rate = benchmark(
        server.port, "-c", "50", "-P", str(pipeline), "-n", str(requests), "-r", "100000", "-d", "32", "-t", test
    )
    return rate, (cpu_seconds(server.pid) - before) / requests * 1e6


def table(rounds: int) -> str:
    lines = [
        "| `redis-benchmark -c 50` | throughput Hexad | Redis | ratio | CPU per op Hexad | Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs):
        for pipeline in REQUESTS:
            for test in TESTS:
                run(ours, test, pipeline), run(theirs, test, pipeline)
                pairs = [(run(ours, test, pipeline), run(theirs, test, pipeline)) for _ in range(rounds)]
                lines.append(ratio_row(f"{test.upper()} `-P {pipeline}`", pairs, (0, 2)))
    return "\n".join(lines) + "\n"
