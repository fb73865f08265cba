"""`hexad check` on whole and damaged files, ours and Redis's, and the tail that it cuts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hexad.check import DAMAGED, GOOD, UNUSABLE, main
from node.platform import Platform
from tests.node.persistence.support import Node
from tests.node.persistence.test_damage import fill, rdb_of
from tests.support import RedisServer


class Told(Platform):
    """Notes what is said, and answers every question alike."""

    def __init__(self, answer: str = "") -> None:
        super().__init__(1)
        self.answer = answer
        self.out = self.err = ""

    def write_out(self, text: str) -> None:
        self.out += text

    def write_error(self, text: str) -> None:
        self.err += text

    def read_line(self) -> str:
        return self.answer


def check(*words: object, answer: str = "") -> tuple[int, Told]:
    told = Told(answer)
    return main([str(word) for word in words], told), told


def encoded(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


@pytest.fixture
def rdb(tmp_path: Path) -> Path:
    node = Node(tmp_path)
    fill(node, 2000)
    path = tmp_path / "dump.rdb"
    path.write_bytes(rdb_of(node))
    node.close()
    return path


def test_a_whole_file(rdb: Path) -> None:
    code, told = check(rdb)
    assert code == GOOD and not told.err
    assert f"{rdb}: RDB of version 10, {rdb.stat().st_size} bytes\n" in told.out
    assert "keys          9, 1 of them expire: " in told.out and "set 2" in told.out and "stream 1" in told.out
    assert "all of it is good. Its checksum is right." in told.out
    code, told = check("--json", rdb)
    (found,) = json.loads(told.out)
    assert (code, found["good"], found["keys"], found["good_bytes"]) == (GOOD, True, 9, found["size_bytes"])
    assert sum(each["keys"] for each in found["slot_ranges"]) == 9
    sizes = [each["bytes"] for each in found["biggest"]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 9 and sizes[0] > 10_000


def test_a_damaged_file(rdb: Path) -> None:
    data = rdb.read_bytes()
    rdb.write_bytes(data[: len(data) // 2])
    code, told = check(rdb)
    assert code == DAMAGED
    assert f"DAMAGED at offset {len(data) // 2}: Short read" in told.out and "next: put a backup" in told.out
    code, told = check("--fix", "--json", rdb)
    (found,) = json.loads(told.out)
    assert code == DAMAGED and 0 < found["good_bytes"] < len(data) // 2 and found["keys"] < 9
    assert "only the commands of an append-only file can be cut" in told.err
    assert rdb.read_bytes() == data[: len(data) // 2]


def test_files_of_a_redis(tmp_path: Path) -> None:
    with RedisServer(directory=tmp_path, appendonly="yes") as server, server.wire() as wire:
        wire("SET", "a", "1")
        for number in range(2000):
            wire("RPUSH", "list", f"element:{number}")
        wire("BGREWRITEAOF")
        server.wait_for_log("Background AOF rewrite finished successfully")
        wire("SET", "b", "2")
        wire("SAVE")
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    code, told = check("--json", tmp_path / "dump.rdb", manifest)
    dump, base, increment = json.loads(told.out)
    assert code == GOOD, told.out
    assert (dump["keys"], base["keys"], dump["types"]) == (3, 2, {"string": 2, "list": 1})
    assert increment["kind"] == "AOF" and increment["commands"]["SET"] == 1


@pytest.mark.parametrize("preamble", [False, True])
def test_the_tail_of_an_append_only_file(preamble: bool, rdb: Path, tmp_path: Path) -> None:
    head = rdb.read_bytes() if preamble else b""
    good = head + encoded(b"SELECT", b"0") + b"#TS:1700000000\r\n" + encoded(b"SET", b"k", b"v" * 5000)
    path = tmp_path / "appendonly.aof"
    for tail in (
        encoded(b"SET", b"k", b"v")[:-3],
        encoded(b"MULTI") + encoded(b"INCR", b"n"),
        b"*x\r\n",
        b"garbage",
        encoded(b"SET", b"k", b"v").replace(b"v\r\n", b"vv\n"),
    ):
        path.write_bytes(good + tail)
        code, told = check(path)
        assert code == DAMAGED and f"the first {len(good)} of {len(good + tail)} bytes are good" in told.out, tail
        assert check("--fix", path, answer="n\n")[0] == DAMAGED
        assert path.read_bytes() == good + tail
        assert check("--fix", path, answer="y\n")[0] == GOOD
        assert path.read_bytes() == good
        assert check(path)[0] == GOOD


def test_an_increment_that_nothing_has_been_written_to(tmp_path: Path) -> None:
    """Each rewrite begins an empty one: it is as good as any, and the first command in it may come at any time."""
    (tmp_path / "appendonly.aof.1.incr.aof").write_bytes(b"")
    manifest = tmp_path / "appendonly.aof.manifest"
    manifest.write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    code, told = check(manifest)
    assert code == GOOD and "appendonly.aof.1.incr.aof: AOF, 0 bytes" in told.out and "DAMAGED" not in told.out


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    code, told = check(tmp_path / "missing")
    assert code == UNUSABLE and "No such file" in told.err
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"hello")
    assert check(tmp_path / "empty")[0] == check(tmp_path / "text")[0] == DAMAGED
    assert check()[0] == UNUSABLE
