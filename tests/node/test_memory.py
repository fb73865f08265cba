"""Used memory: the account beside what the process really grows by, and MEMORY beside redis-server."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node.allocators import Allocated, find_allocators
from node.commands.memory import FOUND, HEALTHY, NOTHING_TO_EXAMINE, Overhead, diagnosis, overhead_of
from node.datatypes.footprint import footprint
from node.datatypes.hashes import Hash
from node.datatypes.lists import List
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.memory import BASE_BYTES, READ_PAUSE_NS, Memory, MemoryAccount
from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.local import LocalNode
from tests.support.servers import ROOT

TOLERANCE = 0.10
SAMPLED_TOLERANCE = 0.15

GROWTH = """
import gc, sys
from tests.support.local import LocalNode

def member(number):
    return b"element:%08d" % number + b"x" * (number % 30)

node = LocalNode()
client = node.client()
make = {
    "string": lambda n: ("SET", b"key:%d" % n, b"v" * (20 + n % 60)),
    "long": lambda n: ("SET", b"key:%d" % n, b"v" * (2000 + n % 3000)),
    "list": lambda n: ("RPUSH", b"list:%d" % (n // 50), member(n)),
    "hash": lambda n: ("HSET", b"hash:%d" % (n // 20), member(n), b"v" * (n % 50)),
    "set": lambda n: ("SADD", b"set:%d" % (n // 20), member(n)),
    "zset": lambda n: ("ZADD", b"zset:%d" % (n // 200), b"%d" % (n * 7919 % 100003), member(n)),
    "stream": lambda n: ("XADD", b"stream:%d" % (n // 100), b"*", b"field", member(n)),
}[sys.argv[1]]
count = int(sys.argv[2])
for number in range(200):
    client.raw(*make(number))
platform, account = node.platform, node.server.memory
used, resident = account.read(), platform.resident_bytes()
for number in range(200, count):
    assert not client.raw(*make(number)).startswith(b"-")
print(account.read() - used, platform.resident_bytes() - resident)
"""

COUNTS = {
    "string": 40_000, "long": 3_000, "list": 40_000, "hash": 50_000, "set": 30_000, "zset": 25_000, "stream": 50_000
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTS)
def test_what_is_used_is_what_the_process_grows_by(kind: str) -> None:
    command = [sys.executable, "-c", GROWTH, kind, str(COUNTS[kind])]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    used, resident = map(int, ended.stdout.split())
    assert used > 3_000_000
    assert abs(used - resident) <= TOLERANCE * resident, (used, resident)


# --- one value --------------------------------------------------------------------------------------------------------


def _members(count: int) -> list[bytes]:
    return [b"element:%08d" % number + b"x" * 20 for number in range(count)]


MAKERS: dict[str, Callable[[int], Any]] = {
    "list": lambda count: List(_members(count)),
    "set": lambda count: Set(_members(count)),
    "hash": lambda count: Hash({member: member + b"v" for member in _members(count)}),
    "zset": lambda count: SortedSet.of([(member, float(at)) for at, member in enumerate(_members(count))], count < 100),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("count", [10, 200, 20_000])
def test_the_footprint_of_a_value(kind: str, count: int) -> None:
    allocators = find_allocators()
    if allocators is None:
        pytest.skip("the allocators cannot be asked")
    make = MAKERS[kind]
    copies = max(1, 20_000 // count)
    values: list[Any] = [None] * copies
    gc.collect()
    before = allocators.allocated().used
    for at in range(copies):
        values[at] = make(count)
    grown = allocators.allocated().used - before
    for samples, tolerance in ((5, SAMPLED_TOLERANCE), (0, TOLERANCE)):
        counted = sum(footprint(value, samples) for value in values)
        assert abs(counted - grown) <= tolerance * grown, (samples, counted, grown)


def test_what_several_hold_counts_once() -> None:
    shared = b"x" * 10_000
    alone, twice = footprint([b"y" * 10_000 + b"z"]), footprint([shared, shared])
    assert twice < alone, "the name `shared` and the list hold it: a third goes to each place in the list"
    assert footprint(bytearray(1000)) > 1000 and footprint(b"") == 48


# --- the account ------------------------------------------------------------------------------------------------------


class Outside:
    """Allocators and a clock as a test wants them."""

    def __init__(self) -> None:
        self.used = 50_000_000
        self.now_ns = 0
        self.cost_ns = 100_000
        self.account = MemoryAccount(self.allocated, lambda: self.now_ns)
        self.account.begin()

    def allocated(self) -> Allocated:
        self.now_ns += self.cost_ns
        return Allocated(self.used, self.used + 1_000_000)


def test_an_empty_node_uses_as_much_as_an_empty_redis() -> None:
    outside = Outside()
    assert outside.account.used == outside.account.peak == BASE_BYTES


def test_between_two_readings_the_estimate_moves_by_what_stays() -> None:
    outside = Outside()
    account = outside.account
    for _ in range(20):  # of what comes, half stays
        account.charged += 200_000
        outside.used += 100_000
        account.read()
    assert account.stayed == pytest.approx(0.5, abs=0.05)
    used = account.used
    account.charged += 1_000_000
    assert account.used - used == pytest.approx(500_000, rel=0.1)
    account.discharge(300_000)
    assert account.used - used == pytest.approx(200_000, rel=0.3)
    outside.used += 200_000
    assert account.read() == BASE_BYTES + 20 * 100_000 + 200_000 == account.peak


def test_readings_take_a_small_share_of_the_time() -> None:
    outside = Outside()
    account = outside.account
    for cost_ns, pause_ns in ((100_000, 5_000_000), (10, READ_PAUSE_NS)):
        outside.cost_ns = cost_ns
        account.read()
        readings = account.readings
        outside.now_ns += pause_ns - 1
        assert not account.refresh() and account.readings == readings
        outside.now_ns += 1
        assert account.refresh() and account.readings == readings + 1


def test_a_reading_that_was_interrupted_is_not_taken_for_dear() -> None:
    outside = Outside()
    outside.cost_ns = 1_000_000_000
    outside.account.read()
    outside.now_ns += 10_000_000
    assert outside.account.refresh()


# --- MEMORY beside redis-server ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Wire, Wire]]:
    with RedisServer(save=()) as theirs, HexadServer(save=()) as ours:
        with theirs.wire() as their_wire, ours.wire() as our_wire:
            yield their_wire, our_wire


@pytest.mark.parametrize(
    "line",
    [
        "MEMORY",
        "MEMORY NOSUCH",
        "MEMORY USAGE",
        "MEMORY USAGE missing",
        "MEMORY USAGE missing SAMPLES x",
        "MEMORY USAGE key SAMPLES",
        "MEMORY USAGE key SAMPLES -1",
        "MEMORY USAGE key SAMPLES x",
        "MEMORY USAGE key WORDS 1",
        "MEMORY USAGE key SAMPLES 1 SAMPLES",
        "MEMORY DOCTOR",
        "MEMORY DOCTOR now",
        "MEMORY PURGE",
        "MEMORY STATS all",
        "MEMORY MALLOC-STATS x",
        "MEMORY HELP x",
    ],
)
def test_replies_are_redis_replies(both: tuple[Wire, Wire], line: str) -> None:
    for wire in both:
        wire("SET", "key", "value")
    theirs, ours = (wire.raw(*line.split()) for wire in both)
    assert ours == theirs


def test_stats_have_the_fields_of_a_real_server(both: tuple[Wire, Wire]) -> None:
    for wire in both:
        wire("SET", "key", "value", "EX", 100)
    theirs, ours = (wire("MEMORY", "STATS") for wire in both)
    assert ours[::2] == theirs[::2]
    assert [type(value) for value in ours[1::2]] == [type(value) for value in theirs[1::2]]
    at = theirs.index(b"db.0") + 1
    assert ours[at][::2] == theirs[at][::2]
    stats = dict(zip(ours[::2], ours[1::2], strict=True))
    assert stats[b"keys.count"] == 1 and stats[b"total.allocated"] > stats[b"startup.allocated"]
    assert stats[b"dataset.bytes"] + stats[b"overhead.total"] == stats[b"total.allocated"]


def test_info_has_the_memory_fields_of_a_real_server(both: tuple[Wire, Wire]) -> None:
    theirs, ours = (wire.info("memory") for wire in both)
    assert set(theirs) <= set(ours)
    assert int(ours["used_memory"]) <= int(ours["used_memory_peak"])
    assert int(ours["allocator_allocated"]) <= int(ours["allocator_active"])
    assert int(ours["used_memory_rss"]) > int(ours["used_memory"])


def test_what_was_given_back_is_no_longer_active(both: tuple[Wire, Wire]) -> None:
    wire = both[1]
    wire.pipeline([("SET", f"key:{number}", "x" * 1000) for number in range(30_000)])
    wire("SET", "last", "1")  # beyond the others
    wire("EVAL", "for number = 0, 29999 do redis.call('DEL', 'key:' .. number) end", 0)
    wire("MEMORY", "PURGE")
    told = wire.info("memory")
    assert int(told["allocator_active"]) <= int(told["allocator_resident"]) and int(told["allocator_rss_bytes"]) >= 0


def test_usage_grows_with_the_value(both: tuple[Wire, Wire]) -> None:
    wire = both[1]
    wire("DEL", "key", "list")
    sizes = []
    for length in (1, 100, 10_000):
        wire("SET", "key", "x" * length)
        sizes.append(wire("MEMORY", "USAGE", "key"))
    assert 50 < sizes[0] < sizes[1] < sizes[2] and 10_000 < sizes[2] < 11_000
    wire("EXPIRE", "key", 1000)
    assert wire("MEMORY", "USAGE", "key") > sizes[2]
    wire("RPUSH", "list", *[f"element:{number}" for number in range(1000)])
    exact, sampled = wire("MEMORY", "USAGE", "list", "SAMPLES", 0), wire("MEMORY", "USAGE", "list")
    assert 45_000 < exact < 80_000 and abs(exact - sampled) < exact / 10


def test_malloc_stats_are_both_books(both: tuple[Wire, Wire]) -> None:
    report = both[1]("MEMORY", "MALLOC-STATS").decode()
    assert "bytes in allocated blocks" in report and "<malloc version=" in report


def _memory(**changed: int) -> Memory:
    figures = {
        "used": 100 << 20, "peak": 110 << 20, "allocated": 120 << 20, "held": 125 << 20, "resident": 130 << 20,
        "startup": 1 << 20, "overhead": 2 << 20, "total": 8 << 30,
    }  # fmt: skip
    return Memory(**{**figures, **changed})


def test_the_doctor_finds_what_is_unhealthy() -> None:
    overhead = Overhead(1 << 20, 0, 0, 0, 0, 0, 0, 0, {})
    assert diagnosis(_memory(used=1 << 20), overhead, (1, 0)) == NOTHING_TO_EXAMINE
    assert diagnosis(_memory(), overhead, (1, 0)) == HEALTHY
    buffers = overhead._replace(clients=1 << 20, replicas=20 << 20)
    words = diagnosis(_memory(peak=300 << 20, resident=300 << 20), buffers, (1, 1))
    assert words.startswith(FOUND)
    assert re.findall(r"\* ([^:]+):", words) == [
        "Peak memory", "High total RSS", "Big client buffers", "Big replica buffers",
    ]  # fmt: skip


# --- redis-cli --------------------------------------------------------------------------------------------------------


def redis_cli(port: int, *words: str) -> str:
    return subprocess.run(
        ["redis-cli", "-p", str(port), *words], capture_output=True, text=True, timeout=30, check=True
    ).stdout


def test_redis_cli_finds_big_and_hot_keys() -> None:
    with HexadServer(save=(), maxmemory_policy="allkeys-lfu") as server, server.wire() as wire:
        wire("SET", "small", "x")
        wire("SET", "big", "x" * 100_000)
        wire("RPUSH", "list", *range(500))
        wire.pipeline([("GET", "big")] * 300)
        biggest = redis_cli(server.port, "--bigkeys").replace("'", "")
        assert 'string found "big" has 100000 bytes' in biggest and 'list found "list" has 500 items' in biggest
        sizes = redis_cli(server.port, "--memkeys").replace("'", "")
        assert re.search(r'string found "big" has 100\d\d\d bytes', sizes), sizes
        hot = redis_cli(server.port, "--hotkeys").replace("'", "")
        assert re.search(r'hot key found with counter: \d+\s+keyname: "big"', hot), hot
        assert "Stats not supported" not in redis_cli(server.port, "MEMORY", "MALLOC-STATS")


def test_the_peak_is_forgotten_on_request() -> None:
    with HexadServer(save=()) as server, server.wire() as wire:
        wire("SET", "big", "x" * 20_000_000)
        assert int(wire.info("memory")["used_memory_peak"]) > 20_000_000
        wire("DEL", "big")
        wait_until(lambda: int(wire.info("memory")["used_memory"]) < 10_000_000, 5, "the value is freed")
        assert int(wire.info("memory")["used_memory_peak"]) > 20_000_000
        wire("CONFIG", "RESETSTAT")
        assert int(wire.info("memory")["used_memory_peak"]) < 10_000_000


def test_what_is_kept_for_replicas_that_lag_is_told_as_theirs() -> None:
    node = LocalNode(repl_backlog_size=1 << 20)
    primary = node.server.replication.primary
    primary.restart_stream()
    backlog = primary.stream.backlog
    assert backlog is not None
    backlog.append(b"x" * (3 << 20))  # as when nobody has read it
    overhead = overhead_of(node.server)
    assert overhead.backlog == 1 << 20 and overhead.replicas >= 2 << 20
