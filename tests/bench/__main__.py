"""`python -m tests.bench [speed|eviction|messages|scripts|types|flat|size|… ] [--rounds N]`: prints Markdown tables."""

import argparse
import platform
import subprocess
from collections.abc import Callable
from datetime import date

from tests.bench import (
    aof,
    cluster,
    connections,
    containers,
    eviction,
    flat,
    idle,
    messages,
    persistence,
    proxy,
    replication,
    scripts,
    size,
    speed,
    sync,
    tls,
    transactions,
    types,
)

PARTS: dict[str, Callable[[int], str]] = {
    "speed": speed.table,
    "aof": aof.table,
    "eviction": eviction.table,
    "messages": messages.table,
    "transactions": transactions.table,
    "persistence": persistence.table,
    "scripts": scripts.table,
    "types": types.table,
    "flat": flat.table,
    "size": size.table,
    "containers": containers.table,
    "sync": sync.table,
    "replication": replication.table,
    "idle": idle.table,
    "connections": connections.table,
    "tls": tls.table,
    "proxy": proxy.table,
    "cluster": cluster.table,
}


def machine() -> str:
    """The machine in one line, for the tables' head."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    version = subprocess.check_output(["redis-server", "--version"], text=True).split()[2]
    return (
        f"{date.today()}, {len(models)} × {models[0] if models else platform.machine()}, Python "
        f"{platform.python_version()}, redis-server {version.removeprefix('v=')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help="what to measure; all without")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured (default 5)")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"nothing to measure is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(f"Measured {machine()}\n", flush=True)
    for name in options.parts or PARTS:
        print(PARTS[name](options.rounds), flush=True)


if __name__ == "__main__":
    main()
