"""Saving and loading a data set beside redis-server, and how long saving holds the loop.

Stalls are measured in a node without sockets, by the time that its thread has worked: a machine that does other things
too does not count. Each is the longest of a save under changes: one slice of the save, one command.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from sys import getsizeof

from node.persistence.saver import SLICE_NS
from node.persistence.source import RdbSource
from tests.bench.measuring import middle, populate
from tests.node.persistence.support import Node
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

KEYS = 500_000
MIXED = 20_000
"""Keys of each type in the mix, of ten elements each."""
MILLION = 1_000_000
STEP = 5000
SAVE_TIMEOUT_S = 120


def strings(server: Server) -> None:
    populate(server, KEYS)


def mix(server: Server) -> None:
    """Hashes, lists, sets, sorted sets and streams of ten elements, and one hash of 100 000 fields."""
    ten = range(10)
    with server.wire(timeout_s=60) as wire:
        for start in range(0, MIXED, 2000):
            for key in range(start, start + 2000, 500):
                batch: list[tuple[object, ...]] = []
                for number in range(key, key + 500):
                    batch += [
                        ("HSET", f"h:{number}", *[word for at in ten for word in (f"field:{at}", f"value:{number}")]),
                        ("RPUSH", f"l:{number}", *[f"element:{number + at}" for at in ten]),
                        ("SADD", f"s:{number}", *[f"member:{number + at}" for at in ten]),
                        ("ZADD", f"z:{number}", *[word for at in ten for word in (number + at, f"member:{at}")]),
                        ("XADD", f"x:{number}", "*", "field", f"value:{number}"),
                    ]
                wire.pipeline(batch)
        for start in range(0, 100_000, STEP):
            wire("HSET", "big", *[word for at in range(start, start + STEP) for word in (f"field:{at}", f"value:{at}")])


def save_and_load(kind: type[Server], fill: Callable[[Server], None]) -> tuple[float, float]:
    """Seconds of a BGSAVE of an idle server, and of loading its file."""
    with kind(enable_debug_command="yes") as server:
        fill(server)
        with server.wire(timeout_s=SAVE_TIMEOUT_S) as wire:
            started = time.perf_counter()
            wire("BGSAVE")
            wait_until(lambda: b"rdb_bgsave_in_progress:0" in wire("INFO", "persistence"), SAVE_TIMEOUT_S, "saved")
            saved = time.perf_counter()
            wire("DEBUG", "RELOAD", "NOSAVE")
            return saved - started, time.perf_counter() - saved


Change = Callable[[Node, int], tuple[bytes, ...]]


def stalls(node: Node, change: Change) -> tuple[float, float]:
    """(longest slice, longest command) in ms while the node is being saved and changed."""
    node.server.platform.tame_collector()
    longest_slice = longest_command = 0.0
    source, at = RdbSource(node.server), 0
    while True:
        began = time.thread_time()
        chunk = source.next_chunk(SLICE_NS)
        sliced = time.thread_time()
        if chunk is None:
            return longest_slice * 1000, longest_command * 1000
        longest_slice = max(longest_slice, sliced - began)
        for _ in range(5):
            at += 1
            words = change(node, at)
            began = time.thread_time()
            node(*words)
            longest_command = max(longest_command, time.thread_time() - began)


def one_slot(node: Node) -> Change:
    db = node.server.keyspace.databases[0]
    for number in range(MILLION):
        db.set(b"{t}key:%d" % number, b"value:%d" % number)
    luck = random.Random(1)
    return lambda _node, at: (b"SET", b"{t}key:%d" % luck.randrange(MILLION), b"new:%d" % at)


def many_slots(node: Node) -> Change:
    db = node.server.keyspace.databases[0]
    for number in range(MILLION):
        db.set(b"key:%d" % number, b"value:%d" % number)
    luck = random.Random(1)
    return lambda _node, at: (b"SET", b"key:%d" % luck.randrange(MILLION), b"new:%d" % at)


def one_hash(node: Node) -> Change:
    for start in range(0, MILLION, STEP):
        node(b"HSET", b"h", *[word for at in range(start, start + STEP) for word in (b"field:%d" % at, b"v:%d" % at)])
    luck = random.Random(1)
    return lambda _node, at: (b"HSET", b"h", b"field:%d" % luck.randrange(MILLION), b"new:%d" % at)


def one_sorted_set(node: Node) -> Change:
    for start in range(0, MILLION, STEP):
        node(b"ZADD", b"z", *[word for at in range(start, start + STEP) for word in (b"%d" % at, b"member:%d" % at)])
    luck = random.Random(1)
    return lambda _node, at: (b"ZINCRBY", b"z", b"3", b"member:%d" % luck.randrange(MILLION))


def stall_row(name: str, fill: Callable[[Node], Change]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory))
        longest_slice, longest_command = stalls(node, fill(node))
        node.close()
    return f"| {name} | {longest_slice:.1f} ms | {longest_command:.1f} ms |"


def kept_beside(node: Node, keys: int, writes_a_slice: int) -> tuple[float, float]:
    """(MB of memory beyond the data set at the worst moment, MB of values overwritten before their turn) of a save.

    Each slice of the save is followed by so many writes of random keys, with values as long as the old ones: the data
    set stays as big as it is, so all that is more is the save's.
    """
    db, luck, memory = node.server.keyspace.databases[0], random.Random(1), node.server.memory
    for number in range(keys):
        db.set(b"key:%d" % number, b"%0200d" % number)
    node(b"GET", b"key:1")
    old_bytes = getsizeof(b"%0200d" % 1)
    source, before = RdbSource(node.server), memory.read()
    (snapshot,) = db.preservers
    most = overwritten = at = 0
    while source.next_chunk(SLICE_NS) is not None:
        for _ in range(writes_a_slice):
            at += 1
            kept = len(snapshot._left)  # type: ignore[attr-defined]
            node(b"SET", b"key:%d" % luck.randrange(keys), b"%0200d" % at)
            overwritten += (len(snapshot._left) - kept) * old_bytes  # type: ignore[attr-defined]
        most = max(most, memory.read() - before)
    return most / 1e6, overwritten / 1e6


def memory_row() -> str:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory))
        most, overwritten = kept_beside(node, 300_000, 100)
        node.close()
    return f"| 300,000 keys | {most:.1f} MB | {overwritten:.1f} MB | **{most / overwritten:.2f}** |"


def table(rounds: int) -> str:
    lines = ["| | Hexad | Redis | ratio |", "|---|---|---|---|"]
    for name, fill in ((f"{KEYS:,} strings", strings), ("100,000 keys of five types", mix)):
        pairs = [(save_and_load(HexadServer, fill), save_and_load(RedisServer, fill)) for _ in range(min(rounds, 3))]
        for side, what in ((0, "BGSAVE"), (1, "load")):
            mine, his = (middle([pair[who][side] for pair in pairs]) for who in (0, 1))
            ratio = middle([ours[side] / theirs[side] for ours, theirs in pairs])
            lines.append(f"| {what}, {name} | {mine:.2f} s | {his:.2f} s | **{ratio:.2f}** |")
    lines += ["", "| being saved and changed | longest slice | longest command |", "|---|---|---|"]
    for name, prepare in (
        ("a million keys", many_slots),
        ("a million keys in one slot", one_slot),
        ("a hash of a million fields", one_hash),
        ("a sorted set of a million members", one_sorted_set),
    ):
        lines.append(stall_row(name, prepare))
    lines += ["", "| being saved, every second ms spent on writes | more memory at most | values overwritten before "]
    lines[-1] += "their turn | ratio |"
    lines += ["|---|---|---|---|", memory_row()]
    return "\n".join(lines) + "\n"
