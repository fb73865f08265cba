"""What the measurements share: both servers side by side, CPU time of a process, medians of ratios."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.support.servers import HexadServer, RedisServer, Server

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system CPU time of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def both(**options: str | int) -> Iterator[tuple[Server, Server]]:
    """(ours, theirs), with the same options."""
    with HexadServer(**options) as ours, RedisServer(**options) as theirs:
        yield ours, theirs


def progress(text: str) -> None:
    """Tell who waits what is being measured now: not a part of the table."""
    print(f"... {text}", file=sys.stderr, flush=True)


def middle(values: list[float]) -> float:
    return median(values)


Figures = tuple[float, float]
"""Requests a second, CPU µs of the server per request."""


def ratio_row(name: str, pairs: list[tuple[Figures, Figures]], digits: tuple[int, int] = (1, 1)) -> str:
    """A line of a table: throughput and CPU of both servers (ours first in each pair) and the medians of the ratios.

    digits -- behind the point of rates and of CPU.
    """
    of_rates, of_costs = digits
    rates = [middle([pair[side][0] for pair in pairs]) for side in (0, 1)]
    costs = [middle([pair[side][1] for pair in pairs]) for side in (0, 1)]
    rate_ratio = middle([mine[0] / his[0] for mine, his in pairs])
    cost_ratio = middle([mine[1] / his[1] for mine, his in pairs])
    return (
        f"| {name} | {rates[0] / 1000:.{of_rates}f} k/s | {rates[1] / 1000:.{of_rates}f} k/s | "
        f"**{rate_ratio:.2f}** | {costs[0]:.{of_costs}f} µs | {costs[1]:.{of_costs}f} µs | **{cost_ratio:.2f}** |"
    )


def populate(server: Server, keys: int, value_bytes: int = 32) -> None:
    """Write `keys` keys of 16 bytes with different values."""
    lines = bytearray()
    with server.wire(timeout_s=60) as wire:
        for start in range(0, keys, 10_000):
            lines.clear()
            for number in range(start, min(start + 10_000, keys)):
                value = (b"%032x" % (number * 0x9E3779B97F4A7C15 % (1 << 127)))[:value_bytes]
                lines += b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%b\r\n" % (number, len(value), value)
            wire.send_raw(bytes(lines))
            for _ in range(start, min(start + 10_000, keys)):
                wire.read()


def benchmark(port: int, *arguments: str) -> float:
    """Run redis-benchmark; requests a second of its (last) test."""
    command = ["redis-benchmark", "-p", str(port), "--csv", *arguments]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    (row,) = csv.reader(lines[-1:])  # the name of a test may hold commas
    return float(row[1])
