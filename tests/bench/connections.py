"""What connections cost: memory of many idle ones, memory and CPU of many active ones, beside redis-server."""

import contextlib
import resource
import socket
import time
from dataclasses import dataclass

from tests.bench.measuring import benchmark, cpu_seconds, middle, resident_bytes
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

IDLE, ACTIVE = 10_000, 1_000
REQUESTS = 200_000
SETTLE_S = 6.0
"""Redis gives back the buffers of a client that was idle for some seconds."""
DESCRIPTORS = IDLE + 1_000


@dataclass
class Cost:
    """Of one server: bytes and CPU µs."""

    idle_bytes: float
    idle_cpu_ms_per_s: float
    active_bytes: float
    active_cpu_us_per_request: float
    active_rate: float


def connected(server: Server, count: int) -> list[socket.socket]:
    """So many connections, each of which has asked for something once."""
    found = []
    for _ in range(count):
        found.append(socket.create_connection(("127.0.0.1", server.port), 10))
        found[-1].sendall(b"*1\r\n$4\r\nPING\r\n")
        assert found[-1].recv(100) == b"+PONG\r\n"
    return found


def cost_of(kind: type[Server]) -> Cost:
    with kind(maxclients=IDLE + 500) as server:
        with contextlib.ExitStack() as stack:
            for sock in connected(server, 100):  # what the first ones cost is the server's own
                sock.close()
            before = resident_bytes(server.pid)
            for sock in connected(server, IDLE):
                stack.callback(sock.close)
            time.sleep(SETTLE_S)
            idle_bytes = (resident_bytes(server.pid) - before) / IDLE
            cpu = cpu_seconds(server.pid)
            time.sleep(SETTLE_S)
            idle_cpu_ms = (cpu_seconds(server.pid) - cpu) / SETTLE_S * 1000
        with server.wire() as wire:
            wait_until(lambda: wire.info("clients")["connected_clients"] == "1", 30, "all have gone")
    with kind(maxclients=IDLE + 500) as server:
        before, cpu = resident_bytes(server.pid), cpu_seconds(server.pid)
        rate = benchmark(server.port, "-c", str(ACTIVE), "-n", str(REQUESTS), "-r", "1000", "-t", "get")
        cpu_us = (cpu_seconds(server.pid) - cpu) / REQUESTS * 1e6
        return Cost(idle_bytes, idle_cpu_ms, (resident_bytes(server.pid) - before) / ACTIVE, cpu_us, rate)


def table(rounds: int) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
    pairs = [(cost_of(HexadServer), cost_of(RedisServer)) for _ in range(min(rounds, 3))]
    lines = ["| connections | Hexad | Redis | ratio |", "|---|---|---|---|"]
    for title, unit, name in (
        (f"{IDLE} idle ones, bytes each", "", "idle_bytes"),
        (f"{IDLE} idle ones, CPU ms a second", " ms", "idle_cpu_ms_per_s"),
        (f"{ACTIVE} active ones, bytes each", "", "active_bytes"),
        (f"{ACTIVE} active ones, CPU of a GET", " µs", "active_cpu_us_per_request"),
        (f"{ACTIVE} active ones, GETs a second", "/s", "active_rate"),
    ):
        values = [(getattr(mine, name), getattr(his, name)) for mine, his in pairs]
        ours, theirs = middle([mine for mine, _ in values]), middle([his for _, his in values])
        ratio = f"{middle([mine / his for mine, his in values]):.2f}" if min(his for _, his in values) > 0 else "-"
        lines.append(f"| {title} | {ours:.1f}{unit} | {theirs:.1f}{unit} | **{ratio}** |")
    return "\n".join(lines) + "\n"
