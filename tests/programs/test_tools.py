"""redis-benchmark's tests, redis-cli's mass insertion and deep pipelines, as people run them on a new server."""

from __future__ import annotations

import csv
import io
import subprocess

import pytest

from tests.support import Server, encode

pytestmark = pytest.mark.long

TIMEOUT_S = 120
REQUESTS = 2000
KEYS = 30_000
DEPTH, CLIENTS = 500, 8


def benchmark(server: Server, *words: str) -> dict[str, float]:
    """Requests a second, by test. AssertionError where one fails."""
    run = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-n", str(REQUESTS), "--csv", *words],
        capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert run.returncode == 0 and "Error" not in run.stdout + run.stderr, run.stdout + run.stderr
    return {
        row[0]: float(row[1]) for row in csv.reader(io.StringIO(run.stdout)) if row[1:2] != ["rps"] and len(row) > 2
    }


@pytest.mark.parametrize("words", [(), ("-P", "16"), ("-3",), ("-c", "200")], ids=str)
def test_all_tests_of_redis_benchmark(server: Server, words: tuple[str, ...]) -> None:
    measured = benchmark(server, *words)
    assert {"PING_INLINE", "SET", "GET", "LPUSH", "ZPOPMIN", "SPOP", "XADD"} & measured.keys() >= {"SET", "GET", "SPOP"}
    assert len(measured) >= 19 and min(measured.values()) > 0, measured


def test_redis_benchmark_runs_a_script_and_random_keys(server: Server) -> None:
    benchmark(server, "-r", "100", "eval", "return redis.call('incr', KEYS[1])", "1", "c:__rand_int__")
    with server.wire() as wire:
        keys = wire("KEYS", "c:*")
        assert 1 < len(keys) <= 100
        assert sum(map(int, wire("MGET", *keys))) == REQUESTS


def test_mass_insertion_by_redis_cli(server: Server) -> None:
    lines = b"".join(encode("SET", f"key:{number}", number) for number in range(KEYS))
    wrong = encode("INCR", "key:0") + encode("LPUSH", "key:1", "x")
    run = subprocess.run(
        ["redis-cli", "-p", str(server.port), "--pipe"], input=lines + wrong, capture_output=True, timeout=TIMEOUT_S
    )
    assert f"errors: 1, replies: {KEYS + 2}".encode() in run.stdout, run.stdout + run.stderr
    with server.wire() as wire:
        assert wire("DBSIZE") == KEYS and wire("GET", "key:0") == b"1"
        assert wire("GET", f"key:{KEYS - 1}") == str(KEYS - 1).encode()


def test_deep_pipelines_of_many_clients_get_their_own_replies_in_order(server: Server) -> None:
    wires = [server.wire() for _ in range(CLIENTS)]
    for turn in range(5):
        for number, wire in enumerate(wires):
            lines = [
                encode("SETEX", f"{number}:{at}", 100, f"{turn}") + encode("GET", f"{number}:{at}")
                for at in range(DEPTH)
            ]
            wire.send_raw(b"".join(lines) + encode("INCR", "all") + encode("ECHO", f"{number}"))
        for number, wire in enumerate(wires):
            replies = [wire.read() for _ in range(2 * DEPTH + 2)]
            assert replies[: 2 * DEPTH : 2] == ["OK"] * DEPTH
            assert replies[1 : 2 * DEPTH : 2] == [str(turn).encode()] * DEPTH
            assert replies[-1] == str(number).encode()
    assert wires[0]("GET", "all") == str(5 * CLIENTS).encode()
    for wire in wires:
        wire.close()
