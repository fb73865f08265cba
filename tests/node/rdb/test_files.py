"""RDB files: those of redis-server read by us, ours by it; in any pieces, cut anywhere, and with any damage."""

import random
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.datatypes.digest import ZERO, add_database
from node.rdb.checksum import crc64
from node.rdb.codec import RdbError, encode_length, encode_string
from node.rdb.reader import Aux, End, Entries, Function, Item, RdbReader, ResizeDb, SelectDb
from node.rdb.types import Entry
from node.rdb.writer import RdbWriter, aux_fields, use_note
from tests.node.rdb.test_codec import random_value
from tests.support import RedisServer, Wire

LIBRARY = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)\n"
FAR_MS = 4_000_000_000_000
AUX = aux_fields(redis_version=b"7.2.6", created_s=1_700_000_000, used_memory_bytes=1 << 20)

Databases = dict[int, list[Entry]]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(enable_debug_command="yes", dbfilename="dump.rdb") as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Wire]:
    with server.wire() as wire:
        wire("FLUSHALL")
        wire("FUNCTION", "FLUSH")
        yield wire


def random_databases(seed: int, keys: int) -> Databases:
    rng = random.Random(seed)
    databases: Databases = {}
    for db in (0, 5):
        entries = {random_value(rng)[:300]: random_value(rng) for _ in range(keys)}
        databases[db] = [
            (key, value, FAR_MS + number if number % 3 == 0 else None)
            for number, (key, value) in enumerate(entries.items())
        ]
    return databases


def write(databases: Databases, functions: tuple[bytes, ...] = (), **switches: bool) -> bytes:
    writer = RdbWriter(**switches)
    writer.header(AUX)
    pieces = []
    for code in functions:
        writer.function(code)
    for db, entries in databases.items():
        writer.select_db(db, len(entries), sum(expire_ms is not None for _, _, expire_ms in entries))
        for start in range(0, len(entries), 100):
            writer.entries(entries[start : start + 100])
            size = writer.size
            pieces.append(writer.take())
            assert len(pieces[-1]) == size
    writer.footer()
    return b"".join((*pieces, writer.take()))


def pump(reader: RdbReader, items: list[Item], limit: int) -> None:
    while (item := reader.next_batch(limit)) is not None:
        items.append(item)


def read(data: bytes, cuts: list[int] | None = None, limit: int = 1000) -> list[Item]:
    """Feed `data` in the pieces between `cuts`, tell the end, and return all items."""
    reader = RdbReader()
    items: list[Item] = []
    places = [0, *sorted(cuts or []), len(data)]
    for start, end in pairwise(places):
        reader.feed(data[start:end])
        pump(reader, items, limit)
    reader.finish()
    return items


def databases_of(items: list[Item]) -> Databases:
    databases: Databases = {}
    db = -1
    for item in items:
        if isinstance(item, SelectDb):
            db = item.db
            databases[db] = []
        elif isinstance(item, Entries):
            databases[db] += item.items
    return databases


def digest(databases: Databases) -> str:
    total = ZERO
    for db, entries in sorted(databases.items()):
        total = add_database(total, db, ((key, value, expire_ms is not None) for key, value, expire_ms in entries))
    return total.hex()


def test_a_file_of_redis_is_read(server: RedisServer, redis: Wire) -> None:
    databases = random_databases(1, 1500)
    redis("FUNCTION", "LOAD", LIBRARY)
    for db, entries in databases.items():
        redis("SELECT", db)
        redis.pipeline((b"SET", key, value, *((b"PXAT", at) if at else ())) for key, value, at in entries)
    assert redis("SAVE") == "OK"
    items = read((server.directory / "dump.rdb").read_bytes())
    found = databases_of(items)
    assert {db: sorted(entries, key=repr) for db, entries in found.items()} == {
        db: sorted(entries, key=repr) for db, entries in databases.items()
    }
    assert digest(found) == redis("DEBUG", "DIGEST")
    aux = {item.name: item.value for item in items if isinstance(item, Aux)}
    assert aux[b"redis-ver"].startswith(b"7.0.")
    assert list(aux) == [name for name, _ in AUX]
    assert [item.code for item in items if isinstance(item, Function)] == [LIBRARY]
    keys = len(databases[0])
    assert next(item for item in items if isinstance(item, ResizeDb)) == ResizeDb(keys, (keys + 2) // 3)
    assert items[-1] == End(True)


@pytest.mark.parametrize("hint", ["allkeys-lru", "allkeys-lfu"])
def test_hints_of_use_are_read_beside_their_keys(server: RedisServer, redis: Wire, hint: str) -> None:
    redis("CONFIG", "SET", "maxmemory-policy", hint)
    redis.pipeline((b"SET", b"k%d" % number, b"v", *((b"EX", 1000) if number % 2 else ())) for number in range(10))
    redis("SAVE")
    redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    (batch,) = [item for item in read((server.directory / "dump.rdb").read_bytes()) if isinstance(item, Entries)]
    assert len(batch.items) == 10
    hints = batch.freq if hint == "allkeys-lfu" else batch.idle_s
    assert set(hints) == {key for key, _, _ in batch.items}


@pytest.mark.parametrize("switches", [{}, {"compress": False}, {"checksum": False}])
def test_redis_loads_our_file_and_has_the_same_data(
    server: RedisServer, redis: Wire, switches: dict[str, bool]
) -> None:
    databases = random_databases(2, 1500)
    data = write(databases, (LIBRARY,), **switches)
    path = server.directory / "dump.rdb"
    path.write_bytes(data)
    checked = subprocess.run(["redis-check-rdb", str(path)], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stdout
    assert redis("DEBUG", "RELOAD", "NOSAVE") == "OK"
    assert redis("DEBUG", "DIGEST") == digest(databases)
    assert redis("FCALL", "f", 0) == 1
    assert databases_of(read(data)) == databases


def test_hints_of_use_that_we_write_are_understood(server: RedisServer, redis: Wire) -> None:
    writer = RdbWriter()
    writer.header(AUX)
    writer.select_db(0, 2, 1)
    writer.entries([(b"idle", b"v", FAR_MS), (b"often", b"v", None)], [use_note(5000, None), use_note(None, 77)])
    writer.footer()
    data = writer.take()
    (batch,) = [item for item in read(data) if isinstance(item, Entries)]
    assert batch == Entries([(b"idle", b"v", FAR_MS), (b"often", b"v", None)], {b"idle": 5000}, {b"often": 77})
    (server.directory / "dump.rdb").write_bytes(data)
    redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert redis("DEBUG", "RELOAD", "NOSAVE") == "OK"
    assert redis("OBJECT", "IDLETIME", "idle") >= 5000
    redis("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_the_fields_of_replication_stand_where_redis_has_them() -> None:
    fields = aux_fields(
        redis_version=b"7.2.6", created_s=1, used_memory_bytes=2, replication=(3, b"a" * 40, 4), aof_base=True
    )
    assert [name for name, _ in fields[3:]] == [b"used-mem", b"repl-stream-db", b"repl-id", b"repl-offset", b"aof-base"]
    assert fields[-1] == (b"aof-base", b"1")


DATABASES = st.dictionaries(
    st.integers(0, 100),
    st.lists(
        st.tuples(
            st.binary(max_size=80),
            st.one_of(st.binary(max_size=300), st.integers().map(lambda number: b"%d" % number), st.just(b"ab" * 5000)),
            st.one_of(st.none(), st.integers(0, (1 << 63) - 1)),
        ),
        min_size=1,
        max_size=8,
    ),
    max_size=3,
)


@given(DATABASES, st.data(), st.booleans())
def test_what_is_written_is_read_in_any_pieces(databases: Databases, draw: st.DataObject, compress: bool) -> None:
    data = write(databases, (LIBRARY,), compress=compress)
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=12))
    limit = draw.draw(st.integers(1, 5))
    items = read(data, cuts, limit)
    assert databases_of(items) == databases
    assert all(len(item.items) <= limit for item in items if isinstance(item, Entries))


SMALL: Databases = {
    0: [
        (b"key", b"value", None),
        (b"n", b"1234", FAR_MS),
        (b"long", b"x" * 300, None),
        (b"r" * 100, bytes(range(90)), None),
    ]
}


def test_byte_by_byte_gives_the_same_and_the_rest_is_kept() -> None:
    data = write(SMALL, (LIBRARY,))
    whole = read(data)
    reader = RdbReader()
    items: list[Item] = []
    for byte in data + b"*1\r\n$4\r\nPING\r\n":
        reader.feed(bytes((byte,)))
        pump(reader, items, 1000)
    assert databases_of(items) == databases_of(whole) == SMALL
    assert reader.rest == b"*1\r\n$4\r\nPING\r\n"
    assert reader.offset == len(data)
    reader.feed(b"more")
    assert reader.next_batch() is None
    assert reader.rest.endswith(b"PING\r\nmore")


def test_a_file_cut_at_any_byte_is_told_and_what_came_before_is_there() -> None:
    data = write(SMALL, (LIBRARY,))
    for cut in range(len(data)):
        reader = RdbReader()
        items: list[Item] = []
        reader.feed(data[:cut])
        pump(reader, items, 2)
        found = databases_of(items).get(0, [])
        assert found == SMALL[0][: len(found)]
        with pytest.raises(RdbError, match="Short read") as error:
            reader.finish()
        assert error.value.offset == cut


def test_any_changed_byte_is_noticed() -> None:
    data = write(SMALL)
    for place in range(len(data) - 8):
        for change in (1, 0x40, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= change
            with pytest.raises(RdbError):
                read(bytes(damaged))


@given(st.data())
def test_random_damage_raises_nothing_but_rdb_errors(draw: st.DataObject) -> None:
    """With checksums off, so that the damage reaches every branch and may even make a file of other data."""
    damaged = bytearray(write(SMALL, (LIBRARY,), checksum=False))
    for place, byte in draw.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=6)
    ):
        damaged[place] = byte
    try:
        read(bytes(damaged), draw.draw(st.lists(st.integers(0, len(damaged)), max_size=3)))
    except RdbError as error:
        assert 0 <= error.offset <= len(damaged)


@given(st.binary(max_size=200), st.integers(1, 12))
def test_random_bytes_after_a_header_raise_nothing_but_rdb_errors(body: bytes, version: int) -> None:
    try:
        read(b"REDIS%04d" % version + body)
    except RdbError as error:
        assert error.reason


def sealed(body: bytes, version: int = 12) -> bytes:
    data = b"REDIS%04d" % version + body + b"\xff"
    return data + struct.pack("<Q", crc64(data))


@pytest.mark.parametrize("version", range(1, 13))
def test_every_version_is_read(version: int) -> None:
    body = b"\xfe\x01\xfd" + struct.pack("<i", 4_000_000) + b"\x00\x01k\x01v"
    data = sealed(body, version)
    if version < 5:
        data = data[:-8]
    items = read(data)
    assert databases_of(items) == {1: [(b"k", b"v", 4_000_000_000)]}
    assert items[-1] == End(version >= 5)


def test_what_only_tunes_a_server_is_skipped() -> None:
    slot_info = b"\xf4" + encode_length(16383) + encode_length(1) + encode_length(0)
    values = b"\x01\x05\x02\x41\x00\x03abcd\x04abcdefgh\x05\x03xyz\x00"
    module_aux = b"\xf7\x81" + b"\x12" * 8 + b"\x02\x01" + values
    data = sealed(module_aux + b"\xfe\x00" + slot_info + b"\x00\x01k\x01v" + module_aux)
    for cut in range(len(data)):
        items = read(data, [cut])
        assert databases_of(items) == {0: [(b"k", b"v", None)]}
        assert [type(item) for item in items] == [SelectDb, Entries, End]


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"RADIS0010", 0, "Wrong signature"),
        (b"*1\r\n$4\r\nPING\r\n", 0, "Wrong signature"),
        (b"REDIS0013", 5, "Can't handle RDB format version 0013"),
        (b"REDIS0000", 5, "Can't handle RDB format version"),
        (b"REDIS00x1", 5, "Can't handle RDB format version"),
        (sealed(b"\xf6\x01x"), 9, "Pre-release function format not supported."),
        (sealed(b"\x63\x01k\x01v"), 12, "Unknown RDB encoding type 99, key b'k'"),
        (sealed(b"\xfc" + bytes(8) + b"\xfe\x00"), 18, "Opcode 254"),
        (sealed(b"\xfc" + bytes(8) + b"\xff"), 18, "Opcode 255"),
        (sealed(b"\xf7\x01\x09"), 11, "Unknown opcode 9 in module data"),
        (sealed(b"")[:-1] + b"!", 10, "Wrong RDB checksum"),
    ],
)
def test_errors_name_the_place_and_the_reason(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(RdbError) as error:
        read(data)
    assert error.value.offset == offset
    assert reason in error.value.reason


def test_keys_before_a_damage_come_out_before_the_error() -> None:
    reader = RdbReader()
    reader.feed(sealed(b"\x00\x01a\x01b\x00\x01c\xc9"))
    assert reader.next_batch() == Entries([(b"a", b"b", None)])
    for _ in range(2):
        with pytest.raises(RdbError) as error:
            reader.next_batch()
        assert error.value.offset == 17


def test_long_strings_wait_unjoined_and_end_a_batch() -> None:
    long = random.Random(1).randbytes(3 << 20)
    data = write({0: [(b"a", long, None), (b"b", b"x" * (2 << 20), None), (b"c", b"1", None)]})
    reader = RdbReader()
    items: list[Item] = []
    for start in range(0, len(data), 1000):
        reader.feed(data[start : start + 1000])
        pump(reader, items, 1000)
    reader.finish()
    assert [len(item.items) for item in items if isinstance(item, Entries)] == [1, 1, 1]
    assert databases_of(items)[0][0][1] == long


def test_compression_is_given_up_only_while_it_looks_hopeless() -> None:
    rng = random.Random(5)
    hopeless = [(b"r%d" % number, rng.randbytes(40), None) for number in range(500)]
    worthwhile = [(b"w%d" % number, b"x" * 40, None) for number in range(500)]
    plain, packed = (write({0: [*hopeless, *worthwhile]}, compress=compress) for compress in (False, True))
    saved = sum(len(encode_string(value, False)) - len(encode_string(value)) for _, value, _ in worthwhile)
    assert len(plain) - len(packed) >= saved * 0.96


def test_compression_that_saves_little_is_given_up_too() -> None:
    rng = random.Random(6)
    little = [(b"k%d" % number, b"x" * 20 + rng.randbytes(60), None) for number in range(600)]
    plain, packed = (write({0: little}, compress=compress) for compress in (False, True))
    saved = sum(len(encode_string(value, False)) - len(encode_string(value)) for _, value, _ in little)
    assert saved > 3 * len(little) and 0 < len(plain) - len(packed) < saved / 4


WORDS = st.one_of(
    st.binary(max_size=30),
    st.integers(-(1 << 40), 1 << 40).map(b"%d".__mod__),
    st.binary(max_size=3).map(lambda word: b"-" + word),
    st.sampled_from([20, 21, 63, 64, 255, 256, 16383, 16384]).map(lambda size: b"x" * size),
)


@given(st.lists(st.tuples(WORDS, WORDS | WORDS.map(bytearray), st.none() | st.integers(0, FAR_MS)), min_size=1))
def test_keys_of_a_batch_are_written_as_each_by_itself(entries: list[Any]) -> None:
    def written(*batches: list[Any]) -> bytes:
        writer = RdbWriter(compress=False)
        for batch in batches:
            writer.entries(batch)
        return writer.take()

    assert written(entries) == written(*[[entry] for entry in entries])
    assert written(entries) == b"".join(
        (b"" if at is None else b"\xfc" + at.to_bytes(8, "little"))
        + b"\0"
        + encode_string(key, False)
        + encode_string(value, False)
        for key, value, at in entries
    )


def test_a_type_without_a_form_is_our_own_mistake(tmp_path: Path) -> None:
    writer = RdbWriter()
    with pytest.raises(TypeError, match="float"):
        writer.entries([(b"k", 1.5, None)])
