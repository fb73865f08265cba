"""SET at the memory limit: nearly every command brings a new key, and another one goes for it."""

from tests.bench.measuring import benchmark, both, cpu_seconds, middle
from tests.support import Wire
from tests.support.servers import Server

REQUESTS = {1: 60_000, 16: 120_000}
"""Requests of one run by pipeline depth."""
KEYS = "1000000"
"""Of so many names: most commands meet one that is not there."""
KEPT = 100_000
POLICIES = ("allkeys-lru", "allkeys-lfu")


def run(server: Server, pipeline: int) -> tuple[float, float]:
    """(requests a second, CPU µs of the server per request)."""
    requests = REQUESTS[pipeline]
    before = cpu_seconds(server.pid)
    rate = benchmark(
        server.port, "-c", "50", "-P", str(pipeline), "-n", str(requests), "-r", KEYS, "-d", "32", "-t", "set"
    )
    return rate, (cpu_seconds(server.pid) - before) / requests * 1e6


def fill_to_limit(wire: Wire, policy: str) -> None:
    """Some keys, a limit that they just reach, and a policy."""
    wire("CONFIG", "SET", "maxmemory", 0, "maxmemory-policy", policy)
    wire("FLUSHALL")
    for at in range(0, KEPT, 1000):
        wire.pipeline([("SET", f"kept:{number}", "x" * 32) for number in range(at, at + 1000)])
    wire("CONFIG", "SET", "maxmemory", wire.info("memory")["used_memory"])


def table(rounds: int) -> str:
    lines = [
        "| SET at the limit, `redis-benchmark -c 50` | throughput Hexad | Redis | ratio | CPU per op Hexad | Redis |",
        "|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs):
        for policy in POLICIES:
            for server in (ours, theirs):
                with server.wire(timeout_s=60) as wire:
                    fill_to_limit(wire, policy)
            for pipeline in REQUESTS:
                run(ours, pipeline), run(theirs, pipeline)
                pairs = [(run(ours, pipeline), run(theirs, pipeline)) for _ in range(rounds)]
                rates = [middle([pair[side][0] for pair in pairs]) for side in (0, 1)]
                costs = [middle([pair[side][1] for pair in pairs]) for side in (0, 1)]
                ratio = middle([mine[0] / his[0] for mine, his in pairs])
                lines.append(
                    f"| {policy} `-P {pipeline}` | {rates[0] / 1000:.0f} k/s | {rates[1] / 1000:.0f} k/s | "
                    f"**{ratio:.2f}** | {costs[0]:.2f} µs | {costs[1]:.2f} µs |"
                )
    return "\n".join(lines) + "\n"
