"""The append-only file by real processes, beside Debian's redis-server: exchanged, turned on and off, waited for."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import HexadServer, RedisServer, Server, Wire, wait_until
from tests.support.wire import ReplyError, encode

Start = Callable[..., HexadServer]
StartRedis = Callable[..., RedisServer]
FILES = "appendonlydir"
MANIFEST = f"{FILES}/appendonly.aof.manifest"
DEBUG = {"enable_debug_command": "yes"}
TIMEOUT_S = 10


def info(wire: Wire) -> dict[str, str]:
    text = bytes(wire("INFO", "persistence")).decode()  # type: ignore[arg-type]
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def rewrite(wire: Wire) -> None:
    assert "started" in str(wire("BGREWRITEAOF"))
    wait_for_rewrite(wire)


def wait_for_rewrite(wire: Wire) -> None:
    def is_over() -> bool:
        fields = info(wire)
        return fields["aof_rewrite_in_progress"] == fields["aof_rewrite_scheduled"] == "0"

    wait_until(is_over, TIMEOUT_S, "the rewrite is over")
    assert info(wire)["aof_last_bgrewrite_status"] == "ok"


def files(server: Server) -> list[str]:
    return sorted(path.name for path in (server.directory / FILES).iterdir())


def check(server: Server) -> None:
    """redis-check-aof finds nothing wrong."""
    run = subprocess.run(["redis-check-aof", str(server.directory / MANIFEST)], capture_output=True, text=True)
    assert run.returncode == 0 and "All AOF files and manifest are valid" in run.stdout, run.stdout


# --- exchange ---------------------------------------------------------------------------------------------------------

keys = st.sampled_from([b"a", b"b", b"{c}1", b"{c}2", b"d\r\n*1\0"])
words = st.binary(max_size=12) | st.sampled_from([b"1", b"-7", b"123456789012", b"x" * 300, b"\r\n$3\r\n"])
scores = st.integers(-(2**40), 2**40).map(lambda number: repr(number / 4).encode()) | st.sampled_from([b"inf", b"-inf"])
"""Such as 7.0 writes as 7.2 does, since DEBUG DIGEST goes by the text."""
fields = st.lists(st.tuples(words, words), min_size=1, max_size=80).map(
    lambda pairs: [w for pair in pairs for w in pair]
)


def line(name: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[bytes]]:
    def flat(found: tuple[Any, ...]) -> list[bytes]:
        return [name.encode(), *(word for part in found for word in (part if isinstance(part, list) else [part]))]

    return st.tuples(*parts).map(flat)


some = st.lists(words, min_size=1, max_size=80)
commands = st.one_of(
    line("SET", keys, words),
    line("SET", keys, words, st.just([b"EX", b"5000"])),
    line("APPEND", keys, words),
    line("INCR", keys),
    line("INCRBYFLOAT", keys, st.just(b"0.5")),
    line("RPUSH", keys, some),
    line("LPOP", keys),
    line("SADD", keys, some),
    line("SPOP", keys),
    line("HSET", keys, fields),
    line("HDEL", keys, words),
    line("HINCRBYFLOAT", keys, words, st.just(b"1.5")),
    line(
        "ZADD",
        keys,
        st.lists(st.tuples(scores, words), min_size=1, max_size=70).map(lambda p: [w for q in p for w in q]),
    ),
    line("ZPOPMIN", keys),
    line("XADD", keys, st.sampled_from([[b"*"], [b"MAXLEN", b"2", b"*"]]), st.tuples(words, words).map(list)),
    line("XGROUP", st.just(b"CREATE"), keys, st.just([b"g", b"0", b"MKSTREAM"])),
    line("XREADGROUP", st.just([b"GROUP", b"g", b"c", b"STREAMS"]), keys, st.just(b">")),
    line("XTRIM", keys, st.just([b"MAXLEN", b"0"])),
    line("EXPIRE", keys, st.sampled_from([b"5000", b"-1"])),
    line("PERSIST", keys),
    line("DEL", keys),
    line("RENAME", keys, keys),
    line("PFADD", keys, some),
    line("SETBIT", keys, st.just([b"100", b"1"])),
    line("GEOADD", keys, st.just([b"13.36", b"38.11", b"here"])),
    line("SELECT", st.sampled_from([b"0", b"3"])),
    line("MULTI"),
    line("EXEC"),
    line("EVAL", st.just([b"redis.call('INCR', 'n') return redis.call('RPUSH', KEYS[1], 'x')", b"1"]), keys),
)


class Pair:
    """A server of each kind on directories that are copied from one to the other."""

    def __init__(self, stack: ExitStack) -> None:
        self.ours = stack.enter_context(HexadServer(appendonly="yes", **DEBUG))
        self.theirs = stack.enter_context(RedisServer(appendonly="yes", **DEBUG))

    def exchange(self, writer: Server, reader: Server, trace: list[list[bytes]], between: list[list[bytes]]) -> None:
        """One writes, has its file written anew and writes more; the other starts from that and holds the same."""
        with writer.wire() as wire:
            wire("FLUSHALL")
            rewrite(wire)
            for commands_ in (trace, between):
                wire.pipeline(commands_)
                wire("EXEC")
                if commands_ is trace:
                    rewrite(wire)
            expected = wire("DEBUG", "DIGEST")
            writer.stop()
        check(writer)
        reader.stop()
        shutil.rmtree(reader.directory / FILES, ignore_errors=True)
        shutil.copytree(writer.directory / FILES, reader.directory / FILES)
        for server in (reader, writer):
            server.start()
            with server.wire() as wire:
                assert wire("DEBUG", "DIGEST") == expected, server.log()[-2000:]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def exchanges(pair: Pair, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(st.lists(commands, max_size=60), st.lists(commands, max_size=30), st.booleans(), st.booleans())
    def run(trace: list[list[bytes]], between: list[list[bytes]], from_us: bool, preamble: bool) -> None:
        one, other = (pair.ours, pair.theirs) if from_us else (pair.theirs, pair.ours)
        for server in (one, other):
            if server.process is None or server.process.poll() is not None:
                server.start()  # an example has failed before
        with one.wire() as wire:
            wire("CONFIG", "SET", "aof-use-rdb-preamble", "yes" if preamble else "no", "aof-timestamp-enabled", "yes")
        pair.exchange(one, other, trace, between)

    run()


def test_either_server_starts_from_the_others_files(pair: Pair) -> None:
    exchanges(pair, 2)


@pytest.mark.long
def test_either_server_starts_from_the_others_files_many_times(pair: Pair) -> None:
    exchanges(pair, 25)


# --- turned on and off ------------------------------------------------------------------------------------------------


def test_life_beside_redis(hexad_server: Start, redis_server: StartRedis) -> None:
    """Replies, names of files, manifest and INFO at each stage are those of a real server."""
    seen: list[list[Any]] = []
    for start in (hexad_server, redis_server):
        server = start(appendonly="yes", **DEBUG)
        mine: list[Any] = []
        with server.wire() as wire:

            def look(*replies: Any, server: Server = server, wire: Wire = wire, mine: list[Any] = mine) -> None:
                fields = {name: value for name, value in info(wire).items() if name.startswith("aof_")}
                for name in ("aof_last_cow_size", "aof_current_size", "aof_base_size", "aof_last_rewrite_time_sec"):
                    fields[name] = str(name in fields)
                fields.pop("aof_buffer_length", None)
                fields.pop("aof_pending_bio_fsync", None)
                mine.append((replies, fields, files(server), (server.directory / MANIFEST).read_text()))

            look(wire("SET", "a", "1"))
            rewrite(wire)
            look(wire("SET", "b", "1"))
            look(wire("CONFIG", "SET", "appendonly", "no"), wire("SET", "c", "1"), wire("CONFIG", "GET", "appendonly"))
            rewrite(wire)
            look()
            reply = wire("CONFIG", "SET", "appendonly", "yes")
            wait_for_rewrite(wire)
            look(reply, wire("SET", "d", "1"))
            replies = [wire("MULTI"), wire("BGREWRITEAOF"), wire("SET", "e", "1"), wire("EXEC")]
            wait_for_rewrite(wire)
            look(*replies)
            look(wire("DEBUG", "LOADAOF"), wire("DEBUG", "LOADAOF"), wire("DEBUG", "DIGEST"), wire("BGREWRITEAOF", "x"))
            digest = wire("DEBUG", "DIGEST")
            wait_until(lambda wire=wire: info(wire)["aof_buffer_length"] == "0", TIMEOUT_S, "all is written")
        server.kill()
        server.start()
        with server.wire() as wire:
            assert wire("DEBUG", "DIGEST") == digest
        seen.append(mine)
    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs


def test_what_is_loaded_again_is_not_appended(hexad_server: Start) -> None:
    server = hexad_server(appendonly="yes", appendfsync="always", **DEBUG)
    with server.wire() as wire:
        wire("SET", "a", "1")
        before = files(server)
        assert [wire("DEBUG", "LOADAOF") for _ in range(2)] == ["OK", "OK"]
        assert wire("GET", "a") == b"1" and files(server) == before


def test_an_old_single_file_becomes_the_base(hexad_server: Start, tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    )
    server = hexad_server(appendonly="yes", directory=tmp_path)
    with server.wire() as wire:
        assert wire("GET", "a") == b"1"
        wire("SET", "b", "2")
    server.restart()
    with server.wire() as wire:
        assert wire("MGET", "a", "b") == [b"1", b"2"]
    assert (
        "Successfully migrated an old-style AOF configuration (appendonly.aof) into the AOF directory" in server.log()
    )
    check(server)
    assert not (tmp_path / "appendonly.aof").exists()


def test_an_rdb_file_is_where_a_new_append_only_file_begins(hexad_server: Start) -> None:
    server = hexad_server(save=("3600", "1"))
    with server.wire() as wire:
        wire("SET", "a", "1")
        wire("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 7 end)")
    server.stop()
    server.options["appendonly"] = "yes"
    server.start()
    assert "appendonly is on and there is no append-only file, but an RDB file" in server.log()
    with server.wire() as wire:
        assert wire("GET", "a") == b"1" and wire("FCALL", "f", 0) == 7
        wire("SET", "a", "2")
        wire("FUNCTION", "LOAD", "#!lua name=m\nredis.register_function('g', function() return 8 end)")
        assert wire("WAITAOF", 1, 0, 5000) == [1, 0]
    server.kill()
    server.start()
    with server.wire() as wire:
        assert wire("GET", "a") == b"2" and wire("FCALL", "f", 0) == 7 and wire("FCALL", "g", 0) == 8
        wire("CONFIG", "SET", "aof-use-rdb-preamble", "no")
        rewrite(wire)
    server.kill()
    server.start()
    with server.wire() as wire:
        assert wire("GET", "a") == b"2" and wire("FCALL", "f", 0) == 7 and wire("FCALL", "g", 0) == 8
    check(server)


def test_a_broken_file_stops_the_start(hexad_server: Start) -> None:
    server = hexad_server(appendonly="yes")
    with server.wire() as wire:
        wire("SET", "a", "1")
        wire("CONFIG", "SET", "appendfsync", "always")
        wire("SET", "a", "2")
    server.stop()
    path = server.directory / FILES / "appendonly.aof.1.incr.aof"
    path.write_bytes(path.read_bytes() + b"nonsense\r\n")
    server.start(wait=False)
    assert server.process is not None and server.process.wait(TIMEOUT_S) == 1
    assert re.search(
        r"Bad file format reading the append only file appendonly.aof.1.incr.aof: make a backup", server.log()
    )


def test_it_is_rewritten_by_itself_when_it_has_grown(hexad_server: Start) -> None:
    server = hexad_server(appendonly="yes", auto_aof_rewrite_min_size="10kb")
    with server.wire() as wire:
        for number in range(300):
            wire("SET", "a", b"%0100d" % number)
    server.wait_for_log(r"Starting automatic rewriting of AOF on \d+% growth(.|\n)*finished successfully")


def test_renamed_commands_are_understood_by_their_old_names(hexad_server: Start) -> None:
    server = hexad_server(appendonly="yes")
    with server.wire() as wire:
        wire("SET", "a", "1")
    server.stop()
    server.options["rename_command"] = ["SET", "PUT"]
    server.start()
    with server.wire() as wire:
        assert wire("GET", "a") == b"1" and wire("PUT", "b", "2") == "OK"
    server.restart()
    with server.wire() as wire:
        assert wire("MGET", "a", "b") == [b"1", b"2"]


def test_a_long_script_of_a_file_that_is_loaded_anew_lets_others_in(hexad_server: Start) -> None:
    """And who has it loaded gets the answer, and then what else was sent."""
    server = hexad_server(appendonly="yes", busy_reply_threshold=1, **DEBUG)
    server.stop()
    loop = "for i = 1, 100000 do redis.call('PING') end redis.call('SET', KEYS[1], 'v')"
    (server.directory / FILES / "appendonly.aof.1.incr.aof").write_bytes(encode("EVAL", loop, "1", "k"))
    server.start()
    with server.wire() as wire, server.wire() as other:
        wire.send("DEBUG", "LOADAOF")
        wire.send("GET", "k")
        wait_until(lambda: other("PING") != "PONG", TIMEOUT_S, "-LOADING")
        assert wire.read() == "OK" and wire.read() == b"v"


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waitaof_here_and_at_a_replica(hexad_server: Start) -> None:
    primary = hexad_server(appendonly="yes", repl_diskless_sync_delay=0)
    replica = hexad_server(appendonly="yes", replicaof=["127.0.0.1", str(primary.port)])
    with primary.wire() as wire, replica.wire() as theirs:
        wait_until(lambda: b"master_link_status:up" in bytes(theirs("INFO", "replication")), TIMEOUT_S, "link")  # type: ignore[arg-type]
        wait_for_rewrite(theirs)
        wire("SET", "a", "1")
        assert wire("WAITAOF", 1, 1, 5000) == [1, 1]
        wire("MULTI")
        wire("INCR", "n")
        wire("INCR", "n")
        wire("EXEC")
        assert wire("WAITAOF", 0, 1, 5000)[1] == 1  # type: ignore[index]
        assert wire("WAITAOF", 0, 2, 10)[1] == 1  # type: ignore[index]
        for words_, error in [
            ((2, 0, 0), "value is out of range, value must between 0 and 1"),
            ((0, -1, 0), "value is out of range, must be positive"),
            ((0, "x", 0), "value is not an integer or out of range"),
            ((0, 0, -1), "timeout is negative"),
        ]:
            assert wire("WAITAOF", *words_) == ReplyError(f"ERR {error}")
        assert "WAITAOF cannot be used with replica instances." in str(theirs("WAITAOF", 0, 0, 0))
        wire("CONFIG", "SET", "appendonly", "no")
        no_file = "WAITAOF cannot be used when numlocal is set but appendonly is disabled."
        assert no_file in str(wire("WAITAOF", 1, 0, 0))
    replica.kill()
    replica.options.pop("replicaof")
    replica.start()
    with replica.wire() as wire:
        assert wire("MGET", "a", "n") == [b"1", b"2"]
    data = (replica.directory / FILES / files(replica)[1]).read_bytes()
    assert data.count(b"MULTI") == data.count(b"EXEC") == 1


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def killed_rounds(rounds: int) -> None:
    """Killed under load with `always`, and now and then while it is rewritten: what was answered is there."""
    with HexadServer(appendonly="yes", appendfsync="always") as server:
        promised = 0
        for number in range(rounds):
            over = threading.Timer(0.2 + number % 7 / 20, server.kill)
            with server.wire() as wire:
                over.start()
                try:
                    while True:
                        wire.send("MULTI")
                        wire.send("INCR", "n")
                        wire.send("RPUSH", "l", promised + 1)
                        wire.send("EXEC")
                        for _ in range(3):
                            wire.read()
                        reply = wire.read()
                        assert isinstance(reply, list)
                        promised = int(reply[0])
                        if promised % 40 == 0:
                            wire("BGREWRITEAOF")
                except (OSError, EOFError):
                    pass
            over.join()
            server.start()
            with server.wire() as wire:
                there, length, last = int(wire("GET", "n") or 0), wire("LLEN", "l"), wire("LINDEX", "l", -1)  # type: ignore[arg-type]
                assert promised <= there <= promised + 1 and length == there and int(last or 0) == there, number  # type: ignore[arg-type]
                promised = there
        check(server)


@pytest.mark.long
def test_killed_ten_times() -> None:
    killed_rounds(10)


@pytest.mark.proof
def test_killed_two_hundred_times() -> None:
    killed_rounds(200)


def test_killed_once() -> None:
    killed_rounds(1)
