"""Sorted sets in RDB's forms, exchanged with redis-server by DUMP and RESTORE: old forms, limits, damage."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.rdb import listpack
from node.rdb.codec import encode_length, encode_string
from node.rdb.dump import seal
from tests.node.rdb.test_packed_codecs import ziplist_of
from tests.support import RedisServer, Wire
from tests.support.local import LocalClient, LocalNode

INFINITE = float("inf")


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer(enable_debug_command="yes") as server, server.wire() as wire:
        yield wire


@pytest.fixture
def ours() -> LocalClient:
    return LocalNode(enable_debug_command="yes").client()


def bulk(reply: bytes) -> bytes:
    """The content of a bulk string as it came."""
    assert reply[:1] == b"$", reply
    return reply.partition(b"\r\n")[2][:-2]


members = st.one_of(st.binary(max_size=70), st.integers(-300, 300).map(lambda n: b"%d" % n))
# such as 7.0 and 7.2 print alike
scores = st.one_of(
    st.integers(-(10**9), 10**9).map(float),
    st.sampled_from([INFINITE, -INFINITE, 0.5, -0.25, 1.75, 0.0, 1e15]),
)
pairs = st.dictionaries(members, scores, min_size=1, max_size=40)
many = st.integers(100, 300).map(lambda size: {b"member:%d" % n: float(n % 13) for n in range(size)})


def words(pairs: dict[bytes, float]) -> list[object]:
    return [word for member, score in pairs.items() for word in (repr(score), member)]


def same_value(redis: Wire, ours: LocalClient) -> None:
    for command in (("DEBUG", "DIGEST-VALUE", "z"), ("OBJECT", "ENCODING", "z"), ("ZCARD", "z")):
        redis.send(*command)
        assert redis.read_raw() == ours.raw(*command)


@settings(max_examples=60, deadline=None)
@given(st.one_of(pairs, pairs, many))
def test_both_read_each_others(redis: Wire, pairs: dict[bytes, float]) -> None:
    ours = LocalNode(enable_debug_command="yes").client()
    redis("DEL", "z")
    ours.raw("ZADD", "z", *words(pairs))
    dumped = bulk(ours.raw("DUMP", "z"))
    redis("RESTORE", "z", 0, dumped)
    same_value(redis, ours)
    ours.raw("DEL", "z")
    theirs = redis("DUMP", "z")
    assert theirs == dumped
    assert ours.raw("RESTORE", "z", 0, theirs) == b"+OK\r\n"
    assert bulk(ours.raw("DUMP", "z")) == theirs  # not yet touched: as it came
    same_value(redis, ours)
    assert ours.raw("ZADD", "z", 3, "one more")[:1] == b":"
    redis("ZADD", "z", 3, "one more")
    same_value(redis, ours)


def text_score(score: float) -> bytes:
    if score in (INFINITE, -INFINITE):
        return b"\xfe" if score > 0 else b"\xff"
    text = b"%.17g" % score
    return bytes((len(text),)) + text


OLD = {b"a": -INFINITE, b"b": 1.0, b"c": 2.5, b"d" * 40: INFINITE}
TYPE_3 = b"\x03\x04" + b"".join(encode_string(member) + text_score(score) for member, score in OLD.items())
TYPE_12 = b"\x0c" + encode_string(
    ziplist_of([b"\x01a", b"\x04-inf", b"\x01b", b"\xf2", b"\x01c", b"\x032.5", b"\x28" + b"d" * 40, b"\x03inf"])
)
TYPE_17 = b"\x11" + encode_string(listpack.encode([b"a", b"-inf", b"b", b"1", b"c", b"2.5", b"d" * 40, b"inf"]))
TYPE_5 = b"\x05\x04" + b"".join(encode_string(member) + struct.pack("<d", score) for member, score in OLD.items())


@pytest.mark.parametrize("payload", [TYPE_3, TYPE_5, TYPE_12, TYPE_17], ids=["text", "binary", "ziplist", "listpack"])
def test_every_form(redis: Wire, ours: LocalClient, payload: bytes) -> None:
    redis("DEL", "z")
    assert redis("RESTORE", "z", 0, seal(payload)) == "OK"
    assert ours.raw("RESTORE", "z", 0, seal(payload)) == b"+OK\r\n"
    same_value(redis, ours)
    assert bulk(ours.raw("DUMP", "z")) == redis("DUMP", "z")
    assert ours.raw("ZRANGE", "z", 0, -1) == b"*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$40\r\n%b\r\n" % (b"d" * 40)
    assert ours.raw("ZINCRBY", "z", "0.5", "b") == b"$3\r\n1.5\r\n"


def block(*elements: bytes) -> bytes:
    return b"\x11" + encode_string(listpack.encode(elements))


DAMAGED = {
    "odd": block(b"a", b"1", b"b"),
    "no number": block(b"a", b"one"),
    "not a number": b"\x05\x01" + encode_string(b"a") + struct.pack("<d", float("nan")),
    "text not a number": b"\x03\x01" + encode_string(b"a") + b"\xfd",
    "twice": block(b"a", b"1", b"a", b"2"),
    "twice in a big one": b"\x05\x02" + (encode_string(b"a") + struct.pack("<d", 1.0)) * 2,
    "too short": b"\x05" + encode_length(3) + encode_string(b"a") + struct.pack("<d", 1.0),
    "empty": b"\x05\x00",
    "empty block": block(),
    "cut": b"\x11" + encode_string(listpack.encode([b"a", b"1"])[:-1]),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_changes_nothing(ours: LocalClient, damage: str) -> None:
    ours.raw("ZADD", "z", 1, "a")
    reply = ours.raw("RESTORE", "z", 0, seal(DAMAGED[damage]), "REPLACE")
    assert reply == b"-ERR Bad data format\r\n"
    assert ours.raw("ZRANGE", "z", 0, -1) == b"*1\r\n$1\r\na\r\n"


def test_encoding_at_other_limits(ours: LocalClient) -> None:
    def encoding() -> bytes:
        return bulk(ours.raw("OBJECT", "ENCODING", "z"))

    ours.raw("CONFIG", "SET", "zset-max-ziplist-entries", 2)
    ours.raw("ZADD", "z", 1, "a", 2, "b")
    assert encoding() == b"listpack"
    ours.raw("ZADD", "z", 3, "c")
    ours.raw("ZREM", "z", "c")
    assert encoding() == b"skiplist"  # no way back
    ours.raw("ZRANGESTORE", "y", "z", 0, -1)
    assert bulk(ours.raw("OBJECT", "ENCODING", "y")) == b"listpack"
    ours.raw("CONFIG", "SET", "zset-max-listpack-value", 3)
    ours.raw("ZADD", "y", 1, "long")
    assert bulk(ours.raw("OBJECT", "ENCODING", "y")) == b"skiplist"
