"""What operators do with redis-cli, run against Hexad and read as they would read it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import HexadServer, ReplyError, Wire, encode

BOUND_S = 20.0
PIPED = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[HexadServer]:
    with HexadServer(repl_diskless_sync_delay=0) as ours:
        with ours.wire() as wire:
            fill(wire)
        yield ours


def fill(wire: Wire) -> None:
    """Keys of every type, the biggest of each known."""
    wire.pipeline(("SET", f"string:{number:04}", "x" * (number % 50)) for number in range(1000))
    wire("SET", "string:big", "x" * 5000)
    wire("RPUSH", "list:small", 1)
    wire("RPUSH", "list:big", *range(700))
    wire("SADD", "set:big", *range(600))
    wire("HSET", "hash:big", *range(1000))
    wire("ZADD", "zset:big", *(word for number in range(300) for word in (number, f"member {number}")))
    for number in range(20):
        wire("XADD", "stream:big", f"1-{number + 1}", "field", "value")


def cli(server: HexadServer, *words: str, stdin: bytes = b"", code: int = 0) -> str:
    """What redis-cli prints; it ends with this code."""
    command = ["redis-cli", "-p", str(server.port), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=BOUND_S)
    assert done.returncode == code, done
    return done.stdout.decode()


def first_output(server: HexadServer, pattern: str, *words: str) -> str:
    """What a tool that never ends has printed on a terminal once it matches `pattern`."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(["redis-cli", "-p", str(server.port), *words], stdin=end, stdout=end, stderr=end)
    os.close(end)
    printed = ""
    deadline = time.monotonic() + BOUND_S
    try:
        while not re.search(pattern, printed):
            assert select.select([terminal], [], [], deadline - time.monotonic())[0], printed
            printed += os.read(terminal, 1 << 16).decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return printed


def test_bigkeys(server: HexadServer) -> None:
    told = cli(server, "--bigkeys")
    for line in (
        "Sampled 1007 keys in the keyspace!",
        "Biggest   list found '\"list:big\"' has 700 items",
        "Biggest    set found '\"set:big\"' has 600 members",
        "Biggest   hash found '\"hash:big\"' has 500 fields",
        "Biggest   zset found '\"zset:big\"' has 300 members",
        "Biggest stream found '\"stream:big\"' has 20 entries",
        "Biggest string found '\"string:big\"' has 5000 bytes",
        "1001 strings with",
    ):
        assert line in told, told


def test_memkeys(server: HexadServer) -> None:
    with server.wire() as wire:
        if isinstance(wire("MEMORY", "USAGE", "string:big"), ReplyError):
            pytest.skip("this node has no MEMORY USAGE")
    told = cli(server, "--memkeys")
    assert "Biggest string found '\"string:big\"'" in told and "Sampled 1007 keys" in told


def test_scan(server: HexadServer) -> None:
    keys = cli(server, "--scan", "--pattern", "string:00?[05]").split()
    assert sorted(keys) == sorted(f"string:00{ten}{one}" for ten in range(10) for one in (0, 5))
    assert len(cli(server, "--scan").split()) == 1007


def test_pipe() -> None:
    with HexadServer() as empty:
        commands = b"".join(encode("SET", f"key:{number}", number) for number in range(PIPED))
        told = cli(empty, "--pipe", stdin=commands)
        assert f"errors: 0, replies: {PIPED}" in told
        told = cli(empty, "--pipe", stdin=encode("LPUSH", "key:1", "x") + encode("INCR", "key:1"), code=1)
        assert "errors: 1, replies: 2" in told
        assert cli(empty, "DBSIZE").strip() == str(PIPED)


def test_rdb(server: HexadServer, tmp_path: Path) -> None:
    path = tmp_path / "copy.rdb"
    cli(server, "--rdb", str(path))
    checked = subprocess.run(["redis-check-rdb", str(path)], capture_output=True, text=True, timeout=BOUND_S)
    assert checked.returncode == 0 and "1007 keys read" in checked.stdout


def test_latency(server: HexadServer) -> None:
    least, most, average, samples = map(float, cli(server, "--latency", "--raw", "-i", "0.3").split())
    assert 0 <= least <= average <= most < BOUND_S * 1000 and samples > 5


def test_latency_history(server: HexadServer) -> None:
    told = first_output(server, r"(?s)seconds range.*seconds range", "--latency-history", "-i", "0.2")
    assert re.search(r"min: \d+, max: \d+, avg: \d+\.\d+ \(\d+ samples\) -- 0\.2\d seconds range", told)


def test_latency_of_the_machine_needs_no_server(server: HexadServer) -> None:
    assert "total runs" in cli(server, "--intrinsic-latency", "1")


def test_stat(server: HexadServer) -> None:
    told = first_output(server, r"(?m)(^1007 .*\n){3}", "--stat", "-i", "0.05")
    assert re.search(r"^1007 +\d+\.\d+M +\d+ +0 +\d+ \(\+\d+\) +\d+", told, re.MULTILINE), told


def test_lru_simulation() -> None:
    with HexadServer() as other:
        told = first_output(other, r"Gets/sec", "--lru-test", "1000")
    assert re.search(r"\d+ Gets/sec \| Hits: \d+ \(\d+\.\d+%\) \| Misses: \d+", told)


def test_input_and_output_forms(server: HexadServer) -> None:
    assert cli(server, "-x", "SET", "piped", stdin=b"from a file") == "OK\n"
    assert cli(server, "-X", "here", "APPEND", "piped", "here", stdin=b"!") == "12\n"
    assert cli(server, "--csv", "LRANGE", "list:big", "0", "2") == '"0","1","2"\n'
    assert json.loads(cli(server, "--json", "HMGET", "hash:big", "0", "none")) == ["1", None]
    assert json.loads(cli(server, "--json", "CONFIG", "GET", "hz")) == {"hz": "10"}
    assert cli(server, "--no-raw", "GET", "piped") == '"from a file!"\n'
    assert cli(server, "-n", "3", "DBSIZE") == "0\n"
    assert cli(server, "-r", "3", "-i", "0.01", "INCR", "counter") == "1\n2\n3\n"
    cli(server, "DEL", "piped", "counter")


def test_scripts_from_a_file(server: HexadServer, tmp_path: Path) -> None:
    with server.wire() as wire:
        if isinstance(wire("EVAL", "return 1", 0), ReplyError):
            pytest.skip("this node runs no scripts")
    script = tmp_path / "script.lua"
    script.write_text("return {KEYS[1], ARGV[1], redis.call('strlen', KEYS[1])}")
    assert cli(server, "--eval", str(script), "string:big", ",", "x").split() == ["string:big", "x", "5000"]
