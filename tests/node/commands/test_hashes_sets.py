"""Draws by chance, walks of big hashes and sets, and dumps of every form that Redis ever wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from node.datatypes.packed import Packed
from node.persistence.source import RdbSource
from node.rdb import listpack
from node.rdb.codec import encode_length, encode_string
from node.rdb.dump import seal
from node.rdb.reader import Entries, RdbReader
from tests.node.commands.test_hash_deadlines import bulks, ints
from tests.node.commands.test_strings_keys_effects import OurEffects
from tests.support import RedisServer, Wire
from tests.support.local import START_MS, LocalClient, LocalNode

BIG = 3000


@pytest.fixture
def node() -> LocalNode:
    return LocalNode(enable_debug_command="yes")


@pytest.fixture
def client(node: LocalNode) -> LocalClient:
    return node.client()


def test_popped_members_are_named(node: LocalNode, client: LocalClient) -> None:
    members = {b"%d" % n for n in range(20)}
    client.raw("SADD", "s", *members)
    effects = OurEffects(node)
    one = client.raw("SPOP", "s").split(b"\r\n")[1]
    some = bulks(client.raw("SPOP", "s", 5))
    rest = bulks(client.raw("SMEMBERS", "s"))
    assert {one, *some, *rest} == members and len(rest) == 14
    assert effects.effects == [(0, [b"SREM", b"s", one]), (0, [b"SREM", b"s", *some])]
    assert set(bulks(client.raw("SPOP", "s", 14))) == set(rest)
    assert effects.effects[2:] == [(0, [b"DEL", b"s"])]
    assert [event.partition(b":")[2] for event, _ in effects.events] == [b"spop", b"spop", b"spop", b"del"]
    client.raw("SADD", "s", "last")
    client.raw("SPOP", "s")
    assert effects.effects[-1] == (0, [b"SREM", b"s", b"last"])
    assert client.raw("EXISTS", "s") == b":0\r\n"


@pytest.mark.parametrize("size", [30, BIG])
def test_draws(client: LocalClient, size: int) -> None:
    members = [b"%d" % n for n in range(size)]
    client.raw("SADD", "s", *members)
    client.raw("HSET", "h", *(word for member in members for word in (member, b"v" + member)))
    for key, draw in (("s", "SRANDMEMBER"), ("h", "HRANDFIELD")):
        distinct = bulks(client.raw(draw, key, 20))
        assert len(set(distinct)) == 20 and set(distinct) <= set(members)
        assert sorted(bulks(client.raw(draw, key, size + 5))) == sorted(members)
        repeated = bulks(client.raw(draw, key, -5 * size))
        assert len(repeated) == 5 * size and set(repeated) <= set(members) and len(set(repeated)) > size / 2
        assert client.raw(draw, key).split(b"\r\n")[1] in members
        assert client.raw(draw, key, 0) == b"*0\r\n"
    flat = bulks(client.raw("HRANDFIELD", "h", -4, "WITHVALUES"))
    assert [b"v" + field for field in flat[::2]] == flat[1::2] and len(flat) == 8
    client.session.resp3 = True
    assert client.raw("HRANDFIELD", "h", 2, "WITHVALUES").startswith(b"*2\r\n*2\r\n$")


def test_walks_of_big_ones(client: LocalClient) -> None:
    members = {b"%d" % n for n in range(BIG)}
    client.raw("SADD", "s", *members)
    client.raw("HSET", "h", *(word for member in members for word in (member, b"v" + member)))
    for words, each in ((("SSCAN", "s"), 1), (("HSCAN", "h"), 2), (("HSCAN", "h", "NOVALUES"), 1)):
        met: list[bytes | None] = []
        cursor, steps = b"0", 0
        while steps == 0 or cursor != b"0":
            reply = client.raw(words[0], words[1], cursor, "COUNT", 100, *words[2:])
            head, _, found = reply.partition(b"*2\r\n$")[2].partition(b"*")
            cursor = head.split(b"\r\n")[1]
            step = bulks(b"*" + found)
            assert len(step) <= 100 * each
            met += step[::each]
            steps += 1
        assert steps == BIG / 100 and set(met) == members and len(met) == BIG
    matched = client.raw("HSCAN", "h", 0, "COUNT", BIG, "MATCH", "1?", "NOVALUES")
    assert len(bulks(matched[matched.index(b"*", 1) :])) == 10


# --- dumps ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer("--enable-debug-command", "yes") as server, server.wire() as wire:
        yield wire


def payload(code: int, *parts: bytes) -> bytes:
    return seal(bytes((code,)) + b"".join(parts), 12 if code > 21 else 11 if code > 19 else 10)


ZIPMAP = b"\x02\x01a\x02\x00xy\x03bcd\x01\x02z..\xff"
PAIRS = [b"a", b"xy", b"bcd", b"z"]
LATE = START_MS + 5000


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (4, encode_length(2) + b"".join(map(encode_string, PAIRS))),
        (9, encode_string(ZIPMAP)),
        (16, encode_string(listpack.encode(PAIRS))),
        (22, encode_length(2) + encode_length(LATE) + b"\1a\2xy" + b"\0\3bcd\1z"),
        (23, encode_string(listpack.encode([b"a", b"xy", b"%d" % LATE, b"bcd", b"z", b"0"]))),
        (24, LATE.to_bytes(8, "little") + encode_length(2) + b"\1\1a\2xy" + b"\0\3bcd\1z"),
        (
            25,
            LATE.to_bytes(8, "little") + encode_string(listpack.encode([b"a", b"xy", b"%d" % LATE, *PAIRS[2:], b"0"])),
        ),
    ],
)
def test_every_form_of_a_hash(redis: Wire, client: LocalClient, code: int, data: bytes) -> None:
    assert client.raw("RESTORE", "h", 0, payload(code, data)) == b"+OK\r\n"
    assert bulks(client.raw("HGETALL", "h")) == PAIRS
    assert ints(client.raw("HPTTL", "h", "FIELDS", 2, "a", "bcd")) == ([5000, -1] if code > 21 else [-1, -1])
    if code < 20:
        assert redis("RESTORE", "h", 0, payload(code, data), "REPLACE") == "OK"
        digest = redis("DEBUG", "DIGEST-VALUE", "h")[0].text.encode()
        assert client.raw("DEBUG", "DIGEST-VALUE", "h") == b"*1\r\n+%b\r\n" % digest
    for end in range(len(data)):
        assert client.raw("RESTORE", "x", 0, payload(code, data[:end])) == b"-ERR Bad data format\r\n"
    assert client.raw("EXISTS", "x") == b":0\r\n"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (2, encode_length(3) + b"\1a\1b\xc0\x05"),
        (20, encode_string(listpack.encode([b"a", b"b", b"5"]))),
    ],
)
def test_every_form_of_a_set(client: LocalClient, code: int, data: bytes) -> None:
    assert client.raw("RESTORE", "s", 0, payload(code, data)) == b"+OK\r\n"
    assert sorted(bulks(client.raw("SMEMBERS", "s"))) == [b"5", b"a", b"b"]
    assert client.raw("OBJECT", "ENCODING", "s") == b"$8\r\nlistpack\r\n"
    for end in range(len(data)):
        assert client.raw("RESTORE", "x", 0, payload(code, data[:end])) == b"-ERR Bad data format\r\n"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (2, encode_length(2) + b"\1a\1a"),
        (2, encode_length(0)),
        (4, encode_length(2) + b"\1a\1b\1a\1c"),
        (4, encode_length(0)),
        (11, encode_string(b"\x02\0\0\0\x02\0\0\0\x05\0\x04\0")),
        (16, encode_string(listpack.encode([b"a", b"b", b"a", b"c"]))),
        (16, encode_string(listpack.encode([b"a", b"b", b"c"]))),
        (20, encode_string(listpack.encode([b"a", b"a"]))),
        (25, (5).to_bytes(8, "little") + encode_string(listpack.encode([b"a", b"b", b"x"]))),
        (25, (5).to_bytes(8, "little") + encode_string(listpack.encode([b"a", b"b"]))),
    ],
)
def test_what_makes_no_sense_is_refused(client: LocalClient, code: int, data: bytes) -> None:
    assert client.raw("RESTORE", "x", 0, payload(code, data)) == b"-ERR Bad data format\r\n"
    assert client.raw("EXISTS", "x") == b":0\r\n"


# --- snapshots --------------------------------------------------------------------------------------------------------


def rdb_of(source: RdbSource) -> bytes:
    chunks = []
    while (chunk := source.next_chunk(1_000_000_000)) is not None:
        chunks.append(chunk)
    return b"".join(chunks)


def entries_of(rdb: bytes) -> dict[bytes, Any]:
    reader = RdbReader()
    reader.feed(rdb)
    found: dict[bytes, Any] = {}
    for item in reader.items():
        if isinstance(item, Entries):
            found.update((key, value.unpack() if isinstance(value, Packed) else value) for key, value, _ in item.items)
    return found


def test_a_snapshot_keeps_what_changes_and_what_is_unlinked(node: LocalNode, client: LocalClient) -> None:
    members = {b"m%d" % n for n in range(BIG)}
    client.raw("SADD", "changed", *members)
    client.raw("SADD", "unlinked", *members)
    client.raw("HSET", "h", "a", "1", "b", "2")
    source = RdbSource(node.server)
    client.raw("SREM", "changed", "m1", "m2")
    client.raw("SADD", "changed", "new")
    client.raw("UNLINK", "unlinked")
    client.raw("HDEL", "h", "a")
    client.raw("HINCRBY", "h", "b", 5)
    reclaimer = node.server.background.reclaimer
    while reclaimer.slice():
        pass
    rdb = rdb_of(source)
    found = entries_of(rdb)
    assert rdb.startswith(b"REDIS0010")
    assert set(found[b"changed"]) == set(found[b"unlinked"]) == members
    assert dict(found[b"h"].items()) == {b"a": b"1", b"b": b"2"}
    assert client.raw("SCARD", "changed") == b":%d\r\n" % (BIG - 1)
    assert bulks(client.raw("HGETALL", "h")) == [b"b", b"7"]


def test_a_file_with_deadlines_of_fields_says_so(node: LocalNode, client: LocalClient) -> None:
    client.raw("HSET", "h", "a", "1", "b", "2")
    client.raw("HPEXPIRE", "h", 5000, "FIELDS", 1, "a")
    rdb = rdb_of(RdbSource(node.server))
    assert rdb.startswith(b"REDIS0012")
    (value,) = entries_of(rdb).values()
    assert dict(value.deadlines()) == {b"a": START_MS + 5000}
    client.raw("HDEL", "h", "a")
    assert rdb_of(RdbSource(node.server)).startswith(b"REDIS0010")


def test_what_is_loaded_packed_is_unpacked_at_the_first_touch(node: LocalNode, client: LocalClient) -> None:
    client.raw("HSET", "h", "a", "1", "b", "2")
    client.raw("SADD", "s", "1", "2", "3")
    rdb = rdb_of(RdbSource(node.server))
    reader = RdbReader()
    reader.feed(rdb)
    client.raw("FLUSHALL")
    db = node.keyspace.databases[0]
    for item in reader.items():
        if isinstance(item, Entries):
            db.load(item.items)
    assert type(db.peek(b"h")) is type(db.peek(b"s")) is Packed
    assert client.raw("TYPE", "h") == b"+hash\r\n" and client.raw("TYPE", "s") == b"+set\r\n"
    assert client.raw("OBJECT", "ENCODING", "h") == b"$8\r\nlistpack\r\n"
    assert client.raw("OBJECT", "ENCODING", "s") == b"$6\r\nintset\r\n"
    assert client.raw("GET", "h").startswith(b"-WRONGTYPE")
    assert client.raw("SCARD", "h").startswith(b"-WRONGTYPE")
    assert client.raw("COPY", "h", "h2") == b":1\r\n"
    assert len(db.peek(b"h")) == 2 and len(db.peek(b"s")) == 3
    assert rdb_of(RdbSource(node.server))[-200:].count(b"a") >= 2  # written as it came
    source = RdbSource(node.server)
    assert client.raw("HDEL", "h", "a") == b":1\r\n"
    assert client.raw("SADD", "s", "4") == b":1\r\n"
    found = entries_of(rdb_of(source))
    assert dict(found[b"h"].items()) == dict(found[b"h2"].items()) == {b"a": b"1", b"b": b"2"}
    assert set(found[b"s"]) == {b"1", b"2", b"3"}
    assert client.raw("SMEMBERS", "s").startswith(b"*4\r\n")
