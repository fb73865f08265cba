"""The packed blocks: what we write a Redis reads, what it writes we read, and damage is told, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.rdb import intset, listpack, ziplist, zipmap
from node.rdb.codec import RdbError, decode_string
from node.rdb.dump import seal, unseal
from tests.support import RedisServer, Wire

ELEMENTS = st.lists(
    st.one_of(
        st.binary(max_size=70),
        st.integers(-(1 << 63), (1 << 63) - 1).map(lambda n: b"%d" % n),
        st.integers(-5000, 5000).map(lambda n: b"%d" % n),
        st.sampled_from([b"", b"-0", b"007", b"x" * 63, b"y" * 64, b"z" * 4095, b"w" * 4096, b"v" * 17000]),
        st.sampled_from([127, 128, -4096, -4097, 4095, 4096, 32767, 32768, -8388608, 8388608, 1 << 31]).map(
            lambda n: b"%d" % n
        ),
    ),
    max_size=20,
)
HASH_LISTPACK, HASH_ZIPLIST, SET_INTSET = 16, 13, 11


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer() as server, server.wire() as wire:
        wire("CONFIG", "SET", "hash-max-listpack-value", 1 << 20)
        wire("CONFIG", "SET", "sanitize-dump-payload", "yes")
        yield wire


def test_listpack_of_known_bytes() -> None:
    data = listpack.encode([b"1", b"ab", b"-1", b"300", b"70000"])
    assert data.hex(" ") == "18 00 00 00 05 00 01 01 82 61 62 03 df ff 02 c1 2c 02 f2 70 11 01 04 ff"
    assert listpack.decode(data) == [b"1", b"ab", b"-1", b"300", b"70000"]


@given(ELEMENTS)
@settings(deadline=None)
def test_listpack_round_trip(elements: list[bytes]) -> None:
    data = listpack.encode(elements)
    assert listpack.decode(data) == elements
    assert listpack.count(data) == len(elements)


INTEGERS = st.one_of(
    st.integers(-(1 << 62), 1 << 62),
    st.integers(-5000, 40_000),
    st.sampled_from([-4097, -4096, -1, 0, 127, 128, 4095, 4096, 32767, 32768]),
)


@given(
    st.lists(
        st.tuples(st.one_of(ELEMENTS.filter(bool).map(lambda few: few[0]), st.binary(max_size=9)), INTEGERS),
        min_size=1,
        max_size=70,
    )
)
@settings(deadline=None)
def test_a_listpack_of_words_with_numbers_is_as_any_other(pairs: list[tuple[bytes, int]]) -> None:
    words, numbers = [word for word, _ in pairs], [number for _, number in pairs]
    flat = [element for word, number in pairs for element in (word, b"%d" % number)]
    assert listpack.encode_numbered(words, numbers) == listpack.encode(flat)


def test_redis_reads_our_listpacks_and_writes_the_same(redis: Wire) -> None:
    @given(ELEMENTS.map(lambda found: [word for n, item in enumerate(found) for word in (b"%d:" % n + item, item)]))
    @settings(deadline=None, max_examples=40)
    def compare(flat: list[bytes]) -> None:
        if not flat:
            return
        data = listpack.encode(flat)
        body = bytes((HASH_LISTPACK,)) + b"\x80" + len(data).to_bytes(4) + data
        assert redis("RESTORE", "h", 0, seal(body), "REPLACE") == "OK"
        assert redis("OBJECT", "ENCODING", "h") == b"listpack"
        assert redis("HGETALL", "h") == flat
        theirs, _ = decode_string(unseal(redis("DUMP", "h")), 1)
        assert theirs == data

    compare()


def test_redis_reads_our_intsets_and_writes_the_same(redis: Wire) -> None:
    integers = st.one_of(
        st.integers(-100, 100), st.integers(-(1 << 15), 1 << 15), st.integers(-(1 << 63), (1 << 63) - 1)
    )

    @given(st.lists(integers, min_size=1, max_size=30, unique=True))
    @settings(deadline=None, max_examples=40)
    def compare(found: list[int]) -> None:
        data = intset.encode(sorted(found))
        assert intset.decode(data) == tuple(sorted(found))
        redis("DEL", "s")
        redis("SADD", "s", *found)
        theirs, _ = decode_string(unseal(redis("DUMP", "s")), 1)
        assert theirs == data

    compare()


def ziplist_of(entries: list[bytes], long_lengths: bool = False) -> bytes:
    """A ziplist as old versions wrote them: strings, and whichever integers say so by a leading byte of their own."""
    parts: list[bytes] = []
    before = 0
    for entry in entries:
        length = b"\xfe" + before.to_bytes(4, "little") if before >= 254 or long_lengths else bytes((before,))
        part = length + entry
        parts.append(part)
        before = len(part)
    size = 10 + sum(map(len, parts)) + 1
    tail = 10 + sum(map(len, parts[:-1]))
    return size.to_bytes(4, "little") + tail.to_bytes(4, "little") + len(parts).to_bytes(2, "little") + b"".join(
        parts
    ) + b"\xff"  # fmt: skip


ZIPLIST_ENTRIES: list[tuple[bytes, bytes]] = [
    (b"\x01a", b"a"),
    (b"\xf1", b"0"),
    (b"\x03abc", b"abc"),
    (b"\xfd", b"12"),
    (b"\x41\x2c" + b"m" * 300, b"m" * 300),
    (b"\xfe\xff", b"-1"),
    (b"\x80\x00\x00\x40\x00" + b"n" * 16384, b"n" * 16384),
    (b"\xc0\x00\x80", b"-32768"),
    (b"\x01b", b"b"),
    (b"\xf0\xff\xff\x7f", b"8388607"),
    (b"\x01c", b"c"),
    (b"\xd0\x00\x00\x00\x80", b"-2147483648"),
    (b"\x01d", b"d"),
    (b"\xe0" + b"\xff" * 7 + b"\x7f", b"9223372036854775807"),
]


@pytest.mark.parametrize("long_lengths", [False, True])
def test_ziplists_as_redis_reads_them(redis: Wire, long_lengths: bool) -> None:
    data = ziplist_of([raw for raw, _ in ZIPLIST_ENTRIES], long_lengths)
    expected = [entry for _, entry in ZIPLIST_ENTRIES]
    assert ziplist.decode(data) == expected
    assert ziplist.count(data) == len(expected)
    body = bytes((HASH_ZIPLIST,)) + b"\x80" + len(data).to_bytes(4) + data
    assert redis("RESTORE", "z", 0, seal(body), "REPLACE") == "OK"
    assert redis("HGETALL", "z") == expected


def test_zipmap() -> None:
    data = b"\x02\x01a\x02\x00xy\x03bcd\x01\x02z..\xff"
    assert zipmap.decode(data) == [b"a", b"xy", b"bcd", b"z"]
    assert zipmap.count(data) == 2
    long = b"\xfe\x01a\xfe\x2c\x01\x00\x00\x00" + b"v" * 300 + b"\xff"
    assert zipmap.decode(long) == [b"a", b"v" * 300]
    assert zipmap.count(long) == 1


LISTPACK = listpack.encode([b"a", b"bc", b"100000", b"-3", b"x" * 200, b"5"])
ZIPLIST = ziplist_of([raw for raw, _ in ZIPLIST_ENTRIES])
ZIPMAP = b"\x02\x01a\x02\x00xy\x03bcd\x01\x02z..\xff"
INTSET = intset.encode([1, 5, 9, 70000])


@pytest.mark.parametrize(
    ("decode", "whole"),
    [
        (listpack.decode, LISTPACK),
        (ziplist.decode, ZIPLIST),
        (zipmap.decode, ZIPMAP),
        (intset.decode, INTSET),
    ],
    ids=["listpack", "ziplist", "zipmap", "intset"],
)
def test_damage_is_told(decode: Callable[[bytes], object], whole: bytes) -> None:
    """Any mangled block is either read or refused by RdbError; a shortened or longer one is refused."""
    for end in range(len(whole)) if len(whole) < 1000 else (0, 1, 5, 10, len(whole) - 1):
        with pytest.raises(RdbError):
            decode(whole[:end])
    with pytest.raises(RdbError):
        decode(whole + b"x")

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    @example(len(whole) - 1, 1)
    @settings(deadline=None, max_examples=300)
    def mangle(place: int, flip: int) -> None:
        mangled = bytearray(whole)
        mangled[place] ^= flip
        with suppress(RdbError):
            decode(bytes(mangled))

    mangle()


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_noise_is_told(noise: bytes) -> None:
    framed = (len(noise) + 7).to_bytes(4, "little") + b"\xff\xff" + noise + b"\xff"
    with suppress(RdbError):
        listpack.decode(framed)
    tail = (len(noise) + 11).to_bytes(4, "little") + b"\x0a\0\0\0\xff\xff" + noise + b"\xff"
    with suppress(RdbError):
        ziplist.decode(tail)
    with suppress(RdbError):
        zipmap.decode(b"\xfe" + noise + b"\xff")
