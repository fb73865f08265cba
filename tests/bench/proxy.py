"""The proxy beside a direct connection and beside nutcracker (twemproxy), over three redis-servers each, in turns.

nutcracker cannot stand before a cluster, so its three servers are plain ones; the proxy's are a cluster's primaries.
CPU is that of the proxy's (or the server's) process.
"""

import csv
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measuring import cpu_seconds, middle
from tests.proxy.support import ProxyServer
from tests.support.cluster import LocalCluster
from tests.support.ports import free_port
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import Wire

REQUESTS = {1: 30_000, 16: 150_000}
MGET_SHARE = 10
"""An MGET of ten is asked for a tenth as often."""
TESTS = {
    "GET": ("get", "key:__rand_int__"),
    "SET": ("set", "key:__rand_int__", "x" * 32),
    "MGET of 10": ("mget", *["key:__rand_int__"] * 10),
}


@contextmanager
def nutcracker() -> Iterator[tuple[int, int]]:
    """(port, pid) of twemproxy before three servers."""
    port = free_port()
    with ExitStack() as stack, TemporaryDirectory() as directory:
        servers = [stack.enter_context(RedisServer()) for _ in range(3)]
        lines = "".join(f"   - 127.0.0.1:{server.port}:1\n" for server in servers)
        config = Path(directory, "nutcracker.yml")
        settings = f"listen: 127.0.0.1:{port}", "hash: crc16", "distribution: modula", "redis: true", "servers:"
        config.write_text("pool:\n" + "".join(f"  {line}\n" for line in settings) + lines)
        stats = free_port()
        process = subprocess.Popen(["nutcracker", "-c", str(config), "-s", str(stats)], stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_until(lambda: Wire(port)("GET", "a") is None, 10, "nutcracker answers")
        yield port, process.pid


def run(port: int, pid: int, name: str, pipeline: int) -> tuple[float, float, float, float]:
    """(requests a second, CPU µs of `pid` per request, p50 and p99 of the latency in ms)."""
    requests = REQUESTS[pipeline] // (MGET_SHARE if name.startswith("MGET") else 1)
    before = cpu_seconds(pid)
    options = ["-p", str(port), "-c", "50", "-P", str(pipeline), "-n", str(requests), "-r", "100000", "--csv"]
    command = ["redis-benchmark", *options, *TESTS[name]]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    (row,) = csv.reader(lines[-1:])
    return float(row[1]), (cpu_seconds(pid) - before) / requests * 1e6, float(row[4]), float(row[6])


def table(rounds: int) -> str:
    """Throughput, CPU and latency through the proxy, beside direct and nutcracker."""
    if shutil.which("nutcracker") is None:
        return "The proxy beside nutcracker: not measured, since nutcracker is not installed (Debian's package).\n"
    head = "| | -P | direct, 1/s | nutcracker, 1/s | proxy, 1/s | proxy / direct | CPU µs: nutcracker | proxy |"
    head += " proxy / nutcracker | p50, p99 ms: direct | nutcracker | proxy |\n"
    rows = [head + "|---|---" + "|---:" * 10 + "|"]
    with (
        RedisServer() as single,
        nutcracker() as (other_port, other_pid),
        LocalCluster(RedisServer, nodes=3, replicas=0) as cluster,
        ProxyServer(cluster=cluster.ports) as proxy,
    ):
        ways = ((single.port, single.pid), (other_port, other_pid), (proxy.port, proxy.pid))
        for name in TESTS:
            for pipeline in REQUESTS:
                seen = [[run(*way, name, pipeline) for way in ways] for _ in range(rounds)]
                rows.append(_row(name, pipeline, seen))
    return "\n".join(rows) + "\n"


def _row(name: str, pipeline: int, seen: list[list[tuple[float, float, float, float]]]) -> str:
    def mid(way: int, place: int) -> float:
        return middle([one[way][place] for one in seen])

    share = middle([one[2][0] / one[0][0] for one in seen])
    cost = middle([one[2][1] / max(one[1][1], 0.01) for one in seen])
    rates = " | ".join(f"{mid(way, 0):,.0f}" for way in range(3))
    delays = " | ".join(f"{mid(way, 2):.2f}, {mid(way, 3):.2f}" for way in range(3))
    return (
        f"| {name} | {pipeline} | {rates} | {share:.2f} | {mid(1, 1):.1f} | {mid(2, 1):.1f} | {cost:.1f} | {delays} |"
    )
