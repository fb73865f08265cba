"""Throughput and server CPU per operation of redis-benchmark's simplest tests, in turns with redis-server."""

from tests.bench.measuring import benchmark, both, cpu_seconds, middle
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
                rates = [middle([pair[side][0] for pair in pairs]) for side in (0, 1)]
                costs = [middle([pair[side][1] for pair in pairs]) for side in (0, 1)]
                rate_ratio = middle([mine[0] / his[0] for mine, his in pairs])
                cost_ratio = middle([mine[1] / his[1] for mine, his in pairs])
                lines.append(
                    f"| {test.upper()} `-P {pipeline}` | {rates[0] / 1000:.0f} k/s | {rates[1] / 1000:.0f} k/s | "
                    f"**{rate_ratio:.2f}** | {costs[0]:.2f} µs | {costs[1]:.2f} µs | **{cost_ratio:.2f}** |"
                )
    return "\n".join(lines) + "\n"
