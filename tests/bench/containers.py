"""Memory of containers: resident bytes an element, after writing and after loading from a file, untouched."""

from tests.bench.filling import fill
from tests.bench.measuring import both, progress, resident_bytes
from tests.support.servers import Server

MANY = 100_000
"""How many small containers are written."""
RESTART_S = 120.0
CONTAINERS = {
    "set of a million": ("set", 1_000_000, 1),
    "hash of a million": ("hash", 1_000_000, 1),
    "list of a million": ("list", 1_000_000, 1),
    "sorted set of a million": ("zset", 1_000_000, 1),
    "hashes of 10 fields": ("hash", 10, MANY),
    "sets of 20": ("set", 20, MANY // 2),
    "sorted sets of 20": ("zset", 20, MANY // 2),
    "lists of 50": ("list", 50, MANY // 5),
}


def measured(server: Server, kind: str, elements: int, keys: int) -> tuple[float, float]:
    """Bytes an element (after writing, after loading)."""
    empty = resident_bytes(server.pid)
    fill(server, kind, elements, keys)
    written = resident_bytes(server.pid) - empty
    with server.wire(timeout_s=120) as wire:
        wire("SAVE")
    restart(server)
    loaded = resident_bytes(server.pid) - empty
    with server.wire(timeout_s=120) as wire:
        assert wire("DBSIZE") == keys
        wire("FLUSHALL")
        wire("SAVE")
    restart(server)
    return written / elements / keys, loaded / elements / keys


def restart(server: Server) -> None:
    """Start it anew with the file that it has saved; reading that takes its time."""
    server.stop(RESTART_S)
    server.start(timeout_s=RESTART_S)


def table(_rounds: int) -> str:
    lines = [
        "| resident bytes an element | written: Hexad | Redis | ratio | loaded: Hexad | Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs):
        for title, (kind, elements, keys) in CONTAINERS.items():
            progress(title)
            mine, his = measured(ours, kind, elements, keys), measured(theirs, kind, elements, keys)
            cells = (f"{mine[n]:.0f} | {his[n]:.0f} | **{mine[n] / his[n]:.2f}**" for n in (0, 1))
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
