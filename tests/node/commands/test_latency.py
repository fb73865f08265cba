"""LATENCY beside a real server, and its parts by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.latency import cumulative, record
from node.latencymonitor import EVENTS_MAX, SAMPLES_MAX, LatencyMonitor, diagnosis
from node.persistence.aofdisk import AofDisk, Sync
from node.platform import Platform
from node.sparkline import sparkline
from tests.support import HexadServer, RedisServer, RespMap, Wire, wait_until

Both = tuple[Wire, Wire]
OPTIONS = {"enable_debug_command": "yes", "latency_monitor_threshold": 20}


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with (
        RedisServer(**OPTIONS) as theirs,
        HexadServer(**OPTIONS) as ours,
        theirs.wire(protocol=3) as their_wire,
        ours.wire(protocol=3) as our_wire,
    ):
        yield their_wire, our_wire


def near(reply: object) -> object:
    """A reply without the hundredths that two runs differ by, and without times."""
    return [[name, ms // 10, worst // 10] for name, _, ms, worst in reply] if isinstance(reply, list) else reply


@pytest.mark.parametrize(
    "words",
    [
        ("LATENCY",),
        ("LATENCY", "NOSUCH"),
        ("LATENCY", "LATEST"),
        ("LATENCY", "LATEST", "x"),
        ("LATENCY", "HISTORY"),
        ("LATENCY", "HISTORY", "command"),
        ("LATENCY", "GRAPH", "nosuch"),
        ("LATENCY", "RESET", "nosuch"),
        ("LATENCY", "RESET"),
        ("LATENCY", "HISTOGRAM", "nosuch"),
        ("LATENCY", "HISTOGRAM", "nosuch", "lpush"),
    ],
)
def test_replies(both: Both, words: tuple[str, ...]) -> None:
    theirs, ours = both
    assert ours(*words) == theirs(*words)


def test_a_slow_command_is_seen_in_every_form(both: Both) -> None:
    for wire in both:
        wire("LATENCY", "RESET")
        wire("DEBUG", "SLEEP", "0.06")
    theirs, ours = both
    (name, time_s, ms, worst), *others = ours("LATENCY", "LATEST")
    assert (name, others) == (b"command", [])
    assert 60 <= ms < 110 and worst == ms
    assert abs(time_s - theirs("LATENCY", "LATEST")[0][1]) <= 1
    assert ours("LATENCY", "HISTORY", "command") == [[time_s, ms]]
    lines = ours("LATENCY", "GRAPH", "command").text.decode().split("\n")
    their_lines = theirs("LATENCY", "GRAPH", "command").text.decode().split("\n")
    assert lines[0] == f"command - high {ms} ms, low {ms} ms (all time high {ms} ms)"
    assert lines[1:-3] == their_lines[1:-3] and len(lines) == len(their_lines)
    assert "1. command: 1 latency spikes" in ours("LATENCY", "DOCTOR").text.decode()
    assert [wire("LATENCY", "RESET", "command", "x") for wire in both] == [1, 1]
    assert ours("LATENCY", "LATEST") == []


def test_fast_commands_and_expiry_have_events_of_their_own() -> None:
    options = {"latency_monitor_threshold": 1, "slowlog_log_slower_than": -1}
    with HexadServer(**options) as ours, ours.wire() as wire:
        wire("SADD", "set", *range(60_000))
        wire("SPOP", "set", 59_000)
        assert b"fast-command" in [event[0] for event in wire("LATENCY", "LATEST")]
        for _ in range(20):
            wire.pipeline(("SET", f"key:{number}", "x", "PX", 50) for number in range(2000))
            if b"expire-cycle" in [event[0] for event in wire("LATENCY", "LATEST")]:
                break
        wait_until(
            lambda: b"expire-cycle" in [event[0] for event in wire("LATENCY", "LATEST")], 5, "a cycle of a millisecond"
        )


def test_histograms_have_the_form_of_a_real_server(both: Both) -> None:
    for wire in both:
        wire("CONFIG", "RESETSTAT")
        for number in range(50):
            wire("SET", "key", number)
        wire("CONFIG", "GET", "timeout")
    for words in (("set",), ("SET", "config", "nosuch"), ("config|get",), ()):
        told = [wire("LATENCY", "HISTOGRAM", *words) for wire in both]
        assert names(told[1]) >= names(told[0]) - {b"latency|histogram"}
    entry = dict(both[1]("LATENCY", "HISTOGRAM", "set").pairs)[b"set"]
    assert entry[b"calls"] == 50
    counts = [count for _, count in entry[b"histogram_usec"].pairs]
    assert counts == sorted(set(counts)) and counts[-1] == 50


def names(reply: RespMap) -> set[bytes]:
    return {name for name, _ in reply.pairs}


BOUNDS_US = (1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816)
"""As a real server names them."""


@given(st.lists(st.integers(1, 33_000_000), min_size=1))
def test_cumulative_counts(times: list[int]) -> None:
    histogram: dict[int, int] = {}
    for time_ns in times:
        record(histogram, time_ns, 1)
    told = list(cumulative(histogram))
    assert {us for us, _ in told} <= set(BOUNDS_US)
    counts = [count for _, count in told]
    assert counts == sorted(set(counts)) and counts[-1] == len(times)
    for us, count in told:  # within the width of a bucket
        assert sum(ns < us * 1000 for ns in times) <= count <= sum(ns <= (us + 1) * 1000 * 65 / 64 for ns in times)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99))), st.integers(0, 50))
def test_a_second_keeps_its_worst(delays: list[tuple[int, int]], threshold_ms: int) -> None:
    now_s = 0
    monitor = LatencyMonitor(lambda: now_s)
    monitor.threshold_ms = threshold_ms
    worst: dict[int, int] = {}
    for later_s, ms in delays:
        now_s += later_s
        monitor.add("command", ms)
        if threshold_ms and ms >= threshold_ms:
            worst[now_s] = max(ms, worst.get(now_s, 0))
    if not worst:
        assert not monitor.events
        return
    event = monitor.events["command"]
    assert list(event.samples) == list(worst.items())[-SAMPLES_MAX:]
    assert event.max_ms == max(worst.values())
    assert f"Worst all time event {event.max_ms}ms" in diagnosis(monitor)
    assert monitor.reset(["command", "command", "other"]) == 1 and monitor.reset() == 0


def test_events_are_bounded() -> None:
    monitor = LatencyMonitor(lambda: 0)
    monitor.threshold_ms = 1
    for number in range(EVENTS_MAX):
        monitor.add(f"event-{number}", 1)
    with pytest.raises(AssertionError):
        monitor.add("one more", 1)


def test_the_doctor_without_anything_to_say() -> None:
    monitor = LatencyMonitor(lambda: 0)
    assert "latency-monitor-threshold" in diagnosis(monitor)
    monitor.threshold_ms = 100
    assert "100 ms" in diagnosis(monitor)


def test_a_graph() -> None:
    values = [(1100, "10s"), (20, "9s"), (300, "2m")]
    assert sparkline(values, 4, 80) == "# _\n| |\n| |\n|_|\n   \n192\n0sm\ns  \n"
    assert sparkline(values, 4, 2).count("\n\n") == 1
    assert sparkline([], 4, 80) == ""


# --- the events of other parts ----------------------------------------------------------------------------------------


def events(wire: Wire) -> set[str]:
    return {bytes(event[0]).decode() for event in wire("LATENCY", "LATEST")}


def test_events_of_the_append_only_file() -> None:
    """(Redis sleeps before it looks at the clock, so its own cannot be made slow.)"""
    with HexadServer(**OPTIONS, appendonly="yes", appendfsync="always", rdb_key_save_delay=100_000) as server:
        wire = server.wire()
        wire("DEBUG", "AOF-FLUSH-SLEEP", 40_000)
        wire("SET", "a", "1")
        wait_until(lambda: {"aof-write", "aof-write-alone"} <= events(wire), 10, "a slow write")
        wire("BGSAVE")
        wire("SET", "b", "1")
        wait_until(lambda: "aof-write-active-child" in events(wire), 10, "a slow write during a save")


@pytest.mark.parametrize("kind", [RedisServer, HexadServer])
def test_events_of_eviction(kind: type[HexadServer | RedisServer]) -> None:
    options = {"maxmemory_policy": "allkeys-random", "maxmemory_eviction_tenacity": 100}
    with kind(**OPTIONS, **options) as server:
        wire = server.wire(timeout_s=30)
        wire("CONFIG", "SET", "latency-monitor-threshold", 1)
        wire("DEBUG", "POPULATE", 50_000)
        wire("CONFIG", "SET", "maxmemory", 1)
        wire("SET", "a", "1")
        wait_until(lambda: "eviction-cycle" in events(wire), 10, "a long cycle")


def test_events_of_a_disk_by_its_thread() -> None:
    """An fsync that replies wait for is one, another is not; what takes no millisecond is none."""
    platform = SlowDisk()
    disk = AofDisk(platform, "/nowhere")
    disk.is_synced = False
    disk._file = object()  # type: ignore[assignment]
    for disk.syncs_always, platform.fsync_ms in ((False, 5), (True, 0), (True, 7)):
        disk.is_synced = False
        disk.todo.append(Sync())
        disk.drain()
    assert list(disk.delays) == [("aof-fsync-always", 7)]


class SlowDisk(Platform):
    """Time passes while it makes something durable, and only then."""

    def __init__(self) -> None:
        super().__init__(1)
        self.fsync_ms = 0
        self.now_ns = 0
        self.clock_ns = lambda: self.now_ns

    def fsync_data(self, file: object) -> None:
        self.now_ns += self.fsync_ms * 1_000_000
