"""EVAL of a counter and of a script that only computes, in turns with redis-server."""

from tests.bench.measuring import benchmark, both, cpu_seconds, ratio_row
from tests.support.servers import Server

PROGRAMS = {
    "a counter": ("return redis.call('incr',KEYS[1])", 20_000),
    "ten calls": ("for i=1,10 do redis.call('incr',KEYS[1]) end", 4_000),
    "10 000 steps of Lua": ("local n=0 for i=1,10000 do n=n+i end return n", 1_000),
}
"""Programs, and how many requests of each make a run."""


def run(server: Server, program: str, requests: int, pipeline: int) -> tuple[float, float]:
    """(requests a second, CPU µs of the server per request)."""
    before = cpu_seconds(server.pid)
    words = ("-c", "50", "-P", str(pipeline), "-n", str(requests), "eval", program, "1", "counter")
    rate = benchmark(server.port, *words)
    return rate, (cpu_seconds(server.pid) - before) / requests * 1e6


def table(rounds: int) -> str:
    lines = [
        "| EVAL, `redis-benchmark -c 50` | throughput Hexad | Redis | ratio | CPU per op Hexad | Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs):
        for pipeline in (1, 16):
            for name, (program, requests) in PROGRAMS.items():
                asked = (program, requests, pipeline)
                pairs = [(run(ours, *asked), run(theirs, *asked)) for _ in range(rounds)]
                lines.append(ratio_row(f"{name} `-P {pipeline}`", pairs))
    return "\n".join(lines) + "\n"
