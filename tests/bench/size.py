"""Memory: resident bytes per key of a million small strings."""

from tests.bench.measuring import both, populate, resident_bytes
from tests.support.servers import Server

KEYS = 1_000_000


def bytes_per_key(server: Server) -> float:
    before = resident_bytes(server.pid)
    populate(server, KEYS)
    return (resident_bytes(server.pid) - before) / KEYS


def table(_rounds: int) -> str:
    with both() as (ours, theirs):
        mine, his = bytes_per_key(ours), bytes_per_key(theirs)
    return (
        "| 1 M keys of 16 bytes, values of 32 | Hexad | Redis | ratio |\n|---|---|---|---|\n"
        f"| resident bytes a key | {mine:.0f} | {his:.0f} | **{mine / his:.2f}** |\n"
    )
