"""Saving and loading by real processes, ours beside Debian's redis-server, and killed in the middle."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.wire import ReplyError

Start = Callable[..., HexadServer]
StartRedis = Callable[..., RedisServer]


def fill(wire: Wire, count: int = 500) -> dict[bytes, bytes]:
    """Strings of all the forms that an RDB file has."""
    values = [
        b"",
        b"7",
        b"-12345",
        b"123456789",
        b"99999999999",
        b"plain text",
        b"\0\xff\r\n",
        b"ab" * 500,
        bytes(20000),
    ]
    keys = {b"key:%d" % number: values[number % len(values)] for number in range(count)}
    keys[b"{tag}" + bytes(range(256))] = b"a strange key"
    assert set(map(str, wire.pipeline(("SET", key, value) for key, value in keys.items()))) == {"Simple(text='OK')"}
    return keys


def read_back(wire: Wire, keys: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return dict(zip(keys, wire.pipeline(("GET", key) for key in keys), strict=True))


def test_a_restarted_server_has_its_data(hexad_server: Start) -> None:
    server = hexad_server(save=("3600", "1"))
    with server.wire() as wire:
        keys = fill(wire)
    assert server.stop() == 0
    server.start()
    with server.wire() as wire:
        assert read_back(wire, keys) == keys
    assert re.search(r"Saving the final RDB snapshot before exiting\.(.|\n)*DB saved on disk", server.log())
    assert re.search(rf"Done loading RDB, keys loaded: {len(keys)}, keys expired: 0\.", server.log())
    assert re.search(r"DB loaded from disk: \d+\.\d{3} seconds\n(.|\n)*Ready to accept connections", server.log())


def test_redis_takes_our_file_and_we_take_its(hexad_server: Start, redis_server: StartRedis) -> None:
    ours = hexad_server()
    with ours.wire() as wire:
        keys = fill(wire)
        assert wire("BGSAVE") == "Background saving started"
    ours.wait_for_log("Background saving terminated with success")
    check = subprocess.run(["redis-check-rdb", ours.directory / "dump.rdb"], capture_output=True, text=True, check=True)
    assert "RDB looks OK!" in check.stdout and f"{len(keys)} keys read" in check.stdout
    theirs = redis_server(directory=ours.directory)
    with theirs.wire() as wire:
        assert read_back(wire, keys) == keys
        assert wire("DBSIZE") == len(keys)
        assert wire("SET", "more", "1") == "OK"
        assert wire("SAVE") == "OK"
    theirs.stop()
    ours.stop()
    ours.start()
    with ours.wire() as wire:
        keys[b"more"] = b"1"
        assert read_back(wire, keys) == keys


def test_replies_are_those_of_redis(hexad_server: Start, redis_server: StartRedis) -> None:
    options = {"rdb_key_save_delay": 50_000}
    ours, theirs = hexad_server(**options), redis_server(**options)
    with ours.wire() as mine, theirs.wire() as yours:
        for wire in (mine, yours):
            fill(wire, 100)
        for words in (
            ("BGSAVE", "x"), ("BGSAVE", "SCHEDULE", "x"), ("SAVE", "x"), ("LASTSAVE", "x"),
            ("MULTI",), ("BGSAVE", "SCHEDULE"), ("DISCARD",),
            ("BGSAVE", "schedule"), ("BGSAVE",), ("SAVE",), ("BGSAVE", "SCHEDULE"),
            ("MULTI",), ("BGSAVE",), ("SAVE",), ("EXEC",),
        ):  # fmt: skip
            assert mine.raw(*words) == yours.raw(*words), words
        assert abs(mine("LASTSAVE") - yours("LASTSAVE")) <= 3


def test_writes_are_refused_in_the_words_of_redis(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    with (
        HexadServer(directory=tmp_path / "ours", save=("3600", "1000")) as ours,
        RedisServer(directory=tmp_path / "theirs", save=("3600", "1000")) as theirs,
        ours.wire() as mine,
        theirs.wire() as yours,
    ):
        for server, wire in ((ours, mine), (theirs, yours)):
            shutil.rmtree(server.directory)
            assert wire("SAVE") == ReplyError("ERR")
            assert wire("SET", "a", "1") == "OK"
            assert wire("BGSAVE") == "Background saving started"
            wait_until(lambda wire=wire: isinstance(wire("SET", "a", "1"), ReplyError), 10, "MISCONF")
        for words in (("SET", "a", "3"), ("PING",), ("GET", "a"), ("LASTSAVE", "x")):
            assert mine.raw(*words) == yours.raw(*words), words


def test_killed_while_it_saves(hexad_server: Start) -> None:
    server = hexad_server(rdb_key_save_delay=10_000)
    with server.wire() as wire:
        assert wire("SET", "old", "1") == "OK"
        assert wire("SAVE") == "OK"
        before = (server.directory / "dump.rdb").read_bytes()
        fill(wire)
        assert wire("BGSAVE") == "Background saving started"
        wait_until(lambda: list(server.directory.glob("temp-*.rdb")), 5, "the temporary file")
        assert wire("GET", "old") == b"1", "served meanwhile"
    server.kill()
    assert (server.directory / "dump.rdb").read_bytes() == before
    server.start()
    with server.wire() as wire:
        assert wire("GET", "old") == b"1"
        assert wire("GET", "key:1") is None


def test_shutdown_calls_off_a_running_save(hexad_server: Start) -> None:
    server = hexad_server(rdb_key_save_delay=1_000_000)
    with server.wire() as wire:
        fill(wire)
        assert wire("BGSAVE") == "Background saving started"
        assert server.stop() == 0
    assert "There is a child saving an .rdb. Killing it!" in server.log()
    assert [path.name for path in server.directory.glob("*.rdb")] == []


def test_clients_hear_that_it_is_loading(hexad_server: Start) -> None:
    server = hexad_server(save=("3600", "1"))
    with server.wire() as wire:
        fill(wire)
    server.stop()
    server.options["key-load-delay"] = 5000
    server.start(wait=False)
    loading = ReplyError("LOADING Redis is loading the dataset in memory")

    def refused() -> bool:
        with server.wire(timeout_s=2) as wire:
            return bool(wire("GET", "key:1") == loading)

    wait_until(refused, 10, "-LOADING")
    with server.wire() as wire:
        assert isinstance(wire("LASTSAVE"), int)
        assert wire("SAVE") == loading
    assert server.stop() == 0, "SIGTERM is heard while it loads"
    server.options["key-load-delay"] = 0
    server.start()
    with server.wire() as wire:
        assert wire("GET", "key:1") == b"7"


@pytest.mark.parametrize("size", [0, 5, 30, 300])
def test_a_broken_file_stops_the_start(size: int, tmp_path: Path) -> None:
    with HexadServer(directory=tmp_path) as server, server.wire() as wire:
        fill(wire)
        assert wire("SAVE") == "OK"
    data = (tmp_path / "dump.rdb").read_bytes()
    (tmp_path / "dump.rdb").write_bytes(data[:size])
    server = HexadServer(directory=tmp_path)
    with pytest.raises(
        RuntimeError, match=f"ended with 1:(.|\n)*Fatal error loading the DB .* offset {size} of {size} "
    ):
        server.start()
    assert (tmp_path / "dump.rdb").read_bytes() == data[:size]


def test_save_points_of_a_running_server(hexad_server: Start) -> None:
    server = hexad_server(save=("1", "2"))
    with server.wire() as wire:
        assert wire("SET", "a", "1") == "OK"
        assert wire("SET", "a", "2") == "OK"
    server.wait_for_log(r"2 changes in 1 seconds\. Saving\.\.\.(.|\n)*Background saving terminated with success")


def test_a_short_load_is_waited_for(hexad_server: Start) -> None:
    """Who connects while a node starts is served as soon as it has its data, and need not try again."""
    server = hexad_server(save=("3600", "1"))
    with server.wire() as wire:
        wire("SET", "k", "v")
    server.stop()
    server.options["key-load-delay"] = 100_000
    server.start(wait=False)

    def connected() -> Wire:
        return server.wire()

    with wait_until(connected, 5, "a listener") as wire:
        assert wire("GET", "k") == b"v"
