"""Loading RDB files: real ones, cut at every byte, damaged, expired, with functions and foreign things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.datatypes.digest import add_database
from node.persistence.loader import LoadError, Loading, StreamLoader, load_at_start, load_now
from node.persistence.source import RdbSource
from node.rdb.codec import RdbError
from node.rdb.writer import RdbWriter
from tests.node.persistence.support import Node, content
from tests.support import RedisServer

FAR_MS = 4_000_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def fill(node: Node) -> None:
    """Strings of all forms in several databases, some with deadlines."""
    for number in range(200):
        node(b"SET", b"key:%d" % number, b"value %d " % number + b"x" * number)
    node(b"SET", b"number", b"-12345")
    node(b"SET", b"", b"\0\xff\r\n")
    node(b"SET", b"long", bytes(range(256)) * 300)
    other = node.server.keyspace.databases[5]
    other.set(b"{t}1", bytearray(b"changed in place"))
    other.set(b"{t}2", b"mortal")
    other.set_deadline(b"{t}2", FAR_MS)


def rdb_of(node: Node) -> bytes:
    source = RdbSource(node.server)
    return b"".join(iter(lambda: source.next_chunk(1 << 40), None))


def load(node: Node, data: bytes, piece_bytes: int = 1 << 20, drop_expired_ms: int | None = 0) -> StreamLoader:
    loader = StreamLoader(node.server, node.server.keyspace.databases, drop_expired_ms=drop_expired_ms)
    for at in range(0, len(data), piece_bytes):
        loader.feed(data[at : at + piece_bytes])
        while loader.step(0):
            pass
    loader.finish()
    return loader


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096, 1 << 20])
async def test_what_was_written_comes_back(node: Node, tmp_path: Path, piece_bytes: int) -> None:
    fill(node)
    again = Node(tmp_path)
    loader = load(again, rdb_of(node) + b"rest", piece_bytes)
    assert content(again.server) == content(node.server)
    assert (loader.finished, loader.rest, loader.keys_loaded) == (True, b"rest", 205)
    again.server.keyspace.databases[0].check()
    again.close()


async def test_a_file_cut_at_any_byte_is_refused(node: Node, tmp_path: Path) -> None:
    for number in range(3):
        node(b"SET", b"k%d" % number, b"v" * 30 * number)
    node.server.keyspace.databases[0].set_deadline(b"k1", FAR_MS)
    data = rdb_of(node)
    for size in range(len(data)):
        again = Node(tmp_path)
        with pytest.raises(RdbError, match=r"offset \d+"):
            load(again, data[:size])
        again.close()


async def test_a_damaged_byte_is_noticed(node: Node, tmp_path: Path) -> None:
    fill(node)
    data = rdb_of(node)
    for at in range(0, len(data), 997):
        again = Node(tmp_path)
        with pytest.raises(RdbError):
            load(again, data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :])
        again.close()


async def test_expired_keys_are_left_out_on_a_primary_and_kept_on_a_replica(node: Node, tmp_path: Path) -> None:
    writer = RdbWriter()
    writer.header()
    writer.select_db(0, 3, 2)
    writer.entries([(b"gone", b"1", 99), (b"here", b"2", FAR_MS), (b"always", b"3", None)])
    writer.footer()
    data = writer.take()
    loader = load(node, data, drop_expired_ms=100)
    assert (loader.keys_loaded, loader.keys_expired) == (2, 1)
    assert set(content(node.server)[0]) == {b"here", b"always"}
    replica = Node(tmp_path)
    assert load(replica, data, drop_expired_ms=None).keys_loaded == 3
    replica.close()


async def test_what_a_file_may_not_hold(node: Node) -> None:
    writer = RdbWriter()
    writer.header()
    writer.select_db(16, 1, 0)
    with pytest.raises(RdbError, match="configured to handle more than 16 databases"):
        load(node, writer.take() + b"\xff" + bytes(8))
    writer = RdbWriter()
    writer.header()
    writer.select_db(0, 2, 0)
    writer.entries([(b"twice", b"1", None), (b"twice", b"2", None)])
    with pytest.raises(RdbError, match="duplicated key in DB 0"):
        load(node, writer.take() + b"\xff" + bytes(8))


async def test_where_the_writer_stood_in_replication(node: Node, tmp_path: Path) -> None:
    source = RdbSource(node.server, replication=(3, "a" * 40, 777), functions=[b"#!lua name=f\n"])
    loader = load(Node(tmp_path), source.next_chunk(1 << 40) or b"")
    assert loader.replication == (3, b"a" * 40, 777)
    assert loader.functions == [b"#!lua name=f\n"]
    assert load(Node(tmp_path), rdb_of(node)).replication is None


def digest_of(node: Node) -> str:
    """What DEBUG DIGEST shows."""
    digest = bytes(20)
    for index, keys in content(node.server).items():
        digest = add_database(digest, index, ((key, value, ms is not None) for key, (value, ms) in keys.items()))
    return digest.hex()


async def test_a_file_of_redis(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(enable_debug_command="yes")
    with server.wire() as wire:
        wire("DEBUG", "POPULATE", 1000, "key", 100)
        wire("SET", "a", "x", "PXAT", FAR_MS)
        wire("SET", "n", 17)
        wire("SELECT", 3)
        wire("SET", "{t}b", b"\0" * 10000)
        wire("SAVE")
        digest = wire("DEBUG", "DIGEST").text
    node = Node(server.directory)
    assert load_now(node.server) is not None
    keys = content(node.server)
    assert len(keys[0]) == 1002
    assert keys[0][b"a"] == (b"x", FAR_MS)
    assert keys[0][b"n"] == (b"17", None)
    assert keys[0][b"key:7"] == (b"value:7" + b"\0" * 93, None)
    assert keys[3] == {b"{t}b": (b"\0" * 10000, None)}
    assert digest_of(node) == digest
    assert node(b"SAVE") == b"+OK\r\n"
    server.restart()
    with server.wire() as wire:
        assert wire("DEBUG", "DIGEST") == digest
    for phrase in (
        r"Loading RDB produced by version 7.0.15",
        "RDB age ",
        "RDB memory usage when created ",
        "Done loading RDB, keys loaded: 1003, keys expired: 0.",
        "DB loaded from disk: ",
    ):
        assert phrase in node.log
    node.close()


async def test_aux_fields_that_make_no_sense(node: Node) -> None:
    writer = RdbWriter()
    writer.header([(b"ctime", b"soon"), (b"used-mem", b"9" * 5000), (b"repl-stream-db", b"x"), (b"repl-id", b"y")])
    writer.footer()
    (Path(node.server.config.dir) / "dump.rdb").write_bytes(writer.take())
    loader = load_now(node.server)
    assert loader is not None and loader.replication is None
    assert "RDB memory usage when created 0.00 Mb" in node.log


async def test_load_at_start(node: Node, tmp_path: Path) -> None:
    assert await load_at_start(node.server) is None
    fill(node)
    node(b"SAVE")
    again = Node(tmp_path)
    loader = await load_at_start(again.server)
    assert loader is not None and loader.keys_loaded == 205
    assert again.server.loading is None
    assert content(again.server) == content(node.server)
    again.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Short read, the data ends before the end of the RDB, at offset 0 of 0 bytes"),
        (b"REDIS0010\xfa", "at offset 10 of 10 bytes"),
        (b"garbage, no RDB at all", "Wrong signature trying to load DB from file, at offset 0"),
        (b"REDIS0099xxxxxxxxxxx", "Can't handle RDB format version 0099, at offset 5"),
    ],
)
async def test_a_broken_file_says_where_and_what_to_do(node: Node, tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "dump.rdb").write_bytes(data)
    with pytest.raises(LoadError, match=r"Fatal error loading the DB .*/dump.rdb: .*redis-check-rdb") as caught:
        await load_at_start(node.server)
    assert reason in str(caught.value)
    assert node(b"GET", b"a").startswith(b"-LOADING"), "a part of the data set is nobody's to read"


async def test_a_file_that_cannot_be_read(node: Node, tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").mkdir()
    with pytest.raises(LoadError, match="Is a directory"):
        await load_at_start(node.server)


async def test_load_now_over_what_is_there(node: Node) -> None:
    fill(node)
    before = content(node.server)
    assert node.saver.save()
    node(b"SET", b"new", b"1")
    node(b"SET", b"key:1", b"changed")
    with pytest.raises(LoadError, match="duplicated key in DB 0"):
        load_now(node.server)
    assert load_now(node.server, merge=True) is not None
    before[0][b"new"] = (b"1", None)
    assert content(node.server) == before


def test_containers_without_elements_are_told_and_are_no_keys(node: Node) -> None:
    """Old servers have written such; one that is lost is to be noticed."""
    empty = b"".join(b"\x02\x02s%c\x00\x04\x02h%c\x00" % (letter, letter) for letter in b"abcdefgh")
    loader = load(node, b"REDIS0010\xfe\x00" + empty + b"\x00\x01k\x01v\xff" + bytes(8))
    assert loader.summary == "Done loading RDB, keys loaded: 1, keys expired: 0, empty keys skipped: 16."
    assert "skipping empty key: sa\n" in node.log and node.log.count("skipping empty key") == 10


def test_why_a_payload_is_refused_is_logged(node: Node) -> None:
    node.server.log.set_level("verbose")
    node(b"ZADD", b"z", b"1", b"a")
    node(b"XADD", b"x", b"1-1", b"f", b"v")
    node(b"DEBUG", b"SET-SKIP-CHECKSUM-VALIDATION", b"1")
    for key, what in ((b"z", "Zset listpack"), (b"x", "Stream listpack")):
        payload = node(b"DUMP", key).partition(b"\r\n")[2][:-2]
        at = payload[:-10].rindex(b"\xff")  # the end of its block
        damaged = payload[: at - 1] + b"\x7f" + payload[at:]
        assert node(b"RESTORE", b"new", b"0", damaged) == b"-ERR Bad data format\r\n"
        assert f"{what} integrity check failed: Listpack element with a wrong length behind it" in node.log


def test_progress() -> None:
    progress = Loading(100, 1000)
    assert progress.info(101)["loading_eta_seconds"] == 1
    progress.loaded_bytes = 250
    assert progress.info(110) == {
        "loading_start_time": 100,
        "loading_total_bytes": 1000,
        "loading_rdb_used_mem": 0,
        "loading_loaded_bytes": 250,
        "loading_loaded_perc": "25.00",
        "loading_eta_seconds": 30,
    }


GOOD = b"#!lua name=good\nredis.register_function('f', function() return 'f' end)"


def with_libraries(node: Node, *codes: bytes) -> bytes:
    source = RdbSource(node.server, functions=codes)
    return b"".join(iter(lambda: source.next_chunk(1 << 40), None))


def test_libraries_of_a_file_take_the_place_of_those_that_were_there(node: Node, tmp_path: Path) -> None:
    node(b"FUNCTION", b"LOAD", b"#!lua name=old\nredis.register_function('F', function() return 'old' end)")
    (tmp_path / "dump.rdb").write_bytes(with_libraries(node, GOOD))
    assert load_now(node.server) is not None
    assert node(b"FCALL", b"f", b"0") == b"$1\r\nf\r\n"
    assert list(node.server.functions.libraries) == [b"good"]


@pytest.mark.parametrize(
    "code, why",
    [
        (b"return 1", "Missing library metadata"),
        (b"#!lua name=bad\nnonsense", "Error compiling function: user_function:2: '=' expected near '<eof>'"),
        (b"#!lua name=bad\nredis.register_function('F', function() end)", "Function f already exists"),
    ],
)
def test_a_file_with_a_library_that_is_no_good(node: Node, tmp_path: Path, code: bytes, why: str) -> None:
    """It is refused as a whole, and what was loaded before is still there."""
    node(b"FUNCTION", b"LOAD", GOOD)
    (tmp_path / "dump.rdb").write_bytes(with_libraries(node, code, GOOD))
    with pytest.raises(LoadError, match=re.escape(f"Failed creating the library from RDB: {why}")):
        load_now(node.server)
    assert node(b"FCALL", b"f", b"0") == b"$1\r\nf\r\n"
