"""GET by TLS, one connection a client: throughput and server CPU per operation, in turns with redis-server.

The load is as long as the handshakes are nothing beside it; those are measured by themselves.
"""

import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.measuring import benchmark, both, cpu_seconds, middle
from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port
from tests.support.servers import Server

REQUESTS = {1: 60_000, 16: 240_000}
HANDSHAKES = 300


def load(server: Server, port: int, words: list[str], pipeline: int) -> tuple[float, float]:
    """(requests a second, CPU µs of the server per request)."""
    before = cpu_seconds(server.pid)
    options = ["-c", "50", "-P", str(pipeline), "-n", str(REQUESTS[pipeline]), "-r", "100000", "-d", "32", "-t", "get"]
    rate = benchmark(port, *words, *options)
    return rate, (cpu_seconds(server.pid) - before) / REQUESTS[pipeline] * 1e6


def handshakes(server: Server, port: int, context: ssl.SSLContext) -> float:
    """CPU µs of the server for one connection, from its first byte to the reply to a PING, and its end."""
    before = cpu_seconds(server.pid)
    for _ in range(HANDSHAKES):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10)) as sock:
            sock.sendall(b"PING\r\n")
            assert sock.recv(100) == b"+PONG\r\n"
    return (cpu_seconds(server.pid) - before) / HANDSHAKES * 1e6


def table(rounds: int) -> str:
    lines = [
        "| by TLS | throughput Hexad | Redis | ratio | CPU per op Hexad | Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as directory:
        ca = Authority(Path(directory))
        shown = ca.issue("server")
        options: dict[str, str | int] = {**shown.options(ca)}
        ports = free_port(), free_port()
        with both(**options) as (ours, theirs):
            for server, port in zip((ours, theirs), ports, strict=True):
                with server.wire() as wire:
                    wire("CONFIG", "SET", "tls-port", port)
            for title, measure in measures(ca, shown):
                pairs = [
                    tuple(measure(server, port) for server, port in zip((ours, theirs), ports, strict=True))
                    for _ in range(rounds + 1)
                ][1:]
                lines.append(row(title, pairs))
    return "\n".join(lines) + "\n"


Measure = Callable[[Server, int], tuple[float, float]]


def measures(ca: Authority, shown: Certificate) -> list[tuple[str, Measure]]:
    def loading(pipeline: int) -> Measure:
        return lambda server, port: load(server, port, shown.words(ca), pipeline)

    context = ca.client_context(shown)
    context.check_hostname = False
    found: list[tuple[str, Measure]] = [(f"GET `-c 50 -P {pipeline}`", loading(pipeline)) for pipeline in REQUESTS]
    return [*found, ("handshake and PING", lambda server, port: (0.0, handshakes(server, port, context)))]


def row(title: str, pairs: list[tuple[tuple[float, float], ...]]) -> str:
    mine, his = zip(*pairs, strict=True)
    cells = [title]
    rates = middle([rate for rate, _ in mine]), middle([rate for rate, _ in his])
    if rates[1]:
        ratio = middle([a[0] / b[0] for a, b in pairs])
        cells += [f"{rates[0] / 1000:.0f} k/s", f"{rates[1] / 1000:.0f} k/s", f"**{ratio:.2f}**"]
    else:
        cells += ["", "", ""]
    costs = middle([cost for _, cost in mine]), middle([cost for _, cost in his])
    ratio = middle([a[1] / b[1] for a, b in pairs])
    return f"| {' | '.join([*cells, f'{costs[0]:.1f} µs', f'{costs[1]:.1f} µs', f'**{ratio:.2f}**'])} |"
