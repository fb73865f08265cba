"""The append-only file: what it costs writers, and how long it takes to load, beside redis-server."""

import re
from contextlib import ExitStack
from pathlib import Path

from tests.bench.measuring import benchmark, middle
from tests.support.servers import HexadServer, RedisServer, Server

REQUESTS = {1: 60_000, 16: 240_000}
"""Requests of one run by pipeline depth: about a second each."""
ALWAYS_REQUESTS = 10_000
LOAD_COMMANDS = 500_000


def write(server: Server, pipeline: int, requests: int) -> float:
    """SETs a second."""
    return benchmark(
        server.port, "-c", "50", "-P", str(pipeline), "-n", str(requests), "-r", "100000", "-d", "32", "-t", "set"
    )


def row(name: str, pairs: list[tuple[float, float]], unit: str, scale: float) -> str:
    ours, theirs = (middle([pair[side] for pair in pairs]) / scale for side in (0, 1))
    return f"| {name} | {ours:.3g} {unit} | {theirs:.3g} {unit} | **{middle([one / two for one, two in pairs]):.2f}** |"


def everysec(rounds: int) -> list[str]:
    """With and without the file, both ours."""
    lines = []
    with HexadServer(appendonly="yes") as on, HexadServer() as off:
        for pipeline, requests in REQUESTS.items():
            write(on, pipeline, requests), write(off, pipeline, requests)
            pairs = [(write(on, pipeline, requests), write(off, pipeline, requests)) for _ in range(rounds)]
            lines.append(row(f"SET `-P {pipeline}`, `everysec` beside no file", pairs, "k/s", 1000))
    return lines


def always(rounds: int) -> list[str]:
    lines = []
    with ExitStack() as stack:
        options = {"appendonly": "yes", "appendfsync": "always"}
        ours, theirs = (stack.enter_context(kind(**options)) for kind in (HexadServer, RedisServer))  # type: ignore[arg-type]
        for pipeline in REQUESTS:
            requests = ALWAYS_REQUESTS * pipeline
            pairs = [(write(ours, pipeline, requests), write(theirs, pipeline, requests)) for _ in range(rounds)]
            lines.append(row(f"SET `-P {pipeline}`, `always` beside redis-server", pairs, "k/s", 1000))
    return lines


def load_seconds(server: Server) -> float:
    """How long a restart takes to load the file, as the log tells it."""
    server.restart()
    found = re.findall(r"DB loaded from append only file: (\d+\.\d+) seconds", server.log())
    return float(found[-1])


def fill(directory: Path, commands: int = LOAD_COMMANDS) -> None:
    """A directory with one increment of SETs and pushes, as both servers write it."""
    folder = directory / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    with (folder / "appendonly.aof.1.incr.aof").open("wb") as file:
        file.write(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")
        for number in range(commands):
            if number % 4:
                file.write(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$32\r\n%032d\r\n" % (number, number))
            else:
                file.write(b"*3\r\n$5\r\nRPUSH\r\n$9\r\nlist:%04d\r\n$12\r\n%012d\r\n" % (number % 10000, number))


def loading(rounds: int) -> list[str]:
    pairs = []
    with ExitStack() as stack:
        servers: list[Server] = [HexadServer(appendonly="yes"), RedisServer(appendonly="yes")]
        for server in servers:
            stack.callback(server.close)
            fill(server.directory)
            server.start(timeout_s=120)
        for _ in range(rounds):
            pairs.append((load_seconds(servers[0]), load_seconds(servers[1])))
    return [row(f"Loading {LOAD_COMMANDS:,} commands beside redis-server", pairs, "s", 1)]


def table(rounds: int) -> str:
    head = ["| append-only file | Hexad | beside | ratio |", "|---|---|---|---|"]
    return "\n".join([*head, *everysec(rounds), *always(rounds), *loading(rounds)]) + "\n"
