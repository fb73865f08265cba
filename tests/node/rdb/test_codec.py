"""Atoms, checksum and DUMP payloads, in both directions beside redis-server."""

import random
import string
import struct
from collections.abc import Iterator

import pylzf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rdb.checksum import crc64
from node.rdb.codec import (
    RdbError,
    Truncated,
    decode_length,
    decode_string,
    encode_length,
    encode_lzf,
    encode_string,
)
from node.rdb.dump import SealError, dump, restore, seal, unseal
from node.rdb.types import module_name
from tests.support import RedisServer, ReplyError, Wire

INTEGERS = [
    sign * (1 << bits) + step for bits in (6, 7, 8, 14, 15, 16, 31, 32, 63) for sign in (1, -1) for step in (-1, 0, 1)
]


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer() as server, server.wire() as wire:
        yield wire


def random_value(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    length = rng.choice([0, 1, 3, 10, 11, 12, 20, 21, 22, 30, 63, 64, 65, 200, 1000, 16383, 16384, 20000])
    if kind == 0:
        return b"%d" % rng.choice([rng.randrange(-300, 300), rng.randrange(-(1 << 33), 1 << 33), rng.choice(INTEGERS)])
    if kind == 1:
        return rng.choice([b"-0", b"00", b"+1", b" 1", b"1.0", b"-", b"", b"1e3", b"99999999999", b"-2147483649"])
    if kind == 2:
        return rng.randbytes(length)
    if kind == 3:
        return "".join(rng.choices(string.ascii_lowercase[: rng.randrange(1, 26)], k=length)).encode()
    if kind == 4:
        return (rng.randbytes(rng.randrange(1, 40)) * length)[:length]
    return rng.randbytes(length // 2) + b"x" * (length // 2)


def test_redis_restores_what_we_dump_and_we_restore_what_redis_dumps(redis: Wire) -> None:
    rng = random.Random(1)
    values = [random_value(rng) for _ in range(2500)] + [b"%d" % number for number in INTEGERS]
    for value in values:
        replies = redis.pipeline(
            [
                (b"RESTORE", b"ours", 0, dump(value), b"REPLACE"),
                (b"GET", b"ours"),
                (b"SET", b"theirs", value),
                (b"DUMP", b"theirs"),
            ]
        )
        assert replies[:2] == ["OK", value]
        assert restore(replies[3]) == value
        if len(value) < 200:  # longer ones may be compressed in other words
            assert dump(value) == replies[3]


def test_a_mutable_string_is_dumped_as_its_bytes() -> None:
    assert dump(bytearray(b"12")) == dump(b"12")
    assert dump(bytearray(b"a" * 100)) == dump(b"a" * 100)


def test_damage_under_a_good_seal_is_refused_as_bad_data(redis: Wire) -> None:
    for body in (
        b"",
        b"\x63\x03abc",
        b"\x00\xc7abc",
        b"\x00\xc3\x05\x20aaaaa",
        b"\x00\x81" + b"\xff" * 8,
        b"\x12\x01\x01\x00",
    ):
        with pytest.raises(RdbError) as error:
            restore(seal(body))
        assert not isinstance(error.value, SealError)
        assert redis("RESTORE", "bad", 0, seal(body)) == ReplyError("ERR Bad data format")


def test_a_wrong_seal_is_told_from_bad_data(redis: Wire) -> None:
    payload = dump(b"hello")
    zero = payload[:-8] + bytes(8)
    for wrong in (b"", b"abc", payload[:-1], b"\x01" + payload[1:], zero, seal(b"\x00\x01a", 99)):
        with pytest.raises(SealError):
            restore(wrong)
        assert redis("RESTORE", "bad", 0, wrong) == ReplyError("ERR DUMP payload version or checksum are wrong")
    assert restore(seal(b"\x00\x01a", 12)) == b"a"
    assert unseal(seal(b"anything")) == b"anything"


@given(st.binary(max_size=40))
def test_random_payloads_raise_nothing_but_rdb_errors(body: bytes) -> None:
    for payload in (body, seal(body), seal(b"\x00" + body), seal(b"\x00\xc3" + body), seal(b"\x07" + body)):
        try:
            assert isinstance(restore(payload), bytes)
        except RdbError as error:
            assert 0 <= error.offset <= len(payload)
            assert error.reason


def test_the_checksum_is_the_jones_variant_and_goes_on_piece_by_piece() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
    assert crc64(memoryview(b"6789"), crc64(bytearray(b"12345"))) == crc64(b"123456789")
    assert crc64(b"", 7) == 7


@given(st.integers(0, (1 << 64) - 1))
def test_lengths_come_back(length: int) -> None:
    data = encode_length(length)
    assert decode_length(data + b"x", 0) == (length, len(data))
    for cut in range(len(data)):
        with pytest.raises((Truncated, IndexError)):
            decode_length(data[:cut], 0)


@given(st.one_of(st.binary(max_size=100), st.integers().map(lambda number: b"%d" % number)), st.booleans())
def test_strings_come_back_and_are_missed_when_cut(value: bytes, compress: bool) -> None:
    data = encode_string(value, compress)
    assert decode_string(b"?" + data + b"?", 1) == (value, 1 + len(data))
    for cut in range(len(data)):
        with pytest.raises((Truncated, IndexError)):
            decode_string(data[:cut], 0)


@given(st.lists(st.sampled_from([b"abcd", b"aaaa", b"xyzw", b"q"]) | st.binary(max_size=12), max_size=12).map(b"".join))
def test_what_redis_has_no_room_to_compress_stays_as_it_is(value: bytes) -> None:
    """Its compressor gets four bytes less than the string has, and stops a little before it has filled them."""
    try:
        packed = pylzf.compress(value, len(value) - 4) if len(value) > 20 else None
    except ValueError:
        packed = None
    block = encode_lzf(value)
    assert (block is None) == (packed is None)
    assert block is None or block.endswith(packed)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" + b"\x7f" * 8,
        b"\xc3\x05" + b"\x81" + b"\x00\x00\x00\x02" + bytes(4),  # 8 GiB out of five bytes
        b"\xc3\x05\x41\xb9aaaaa",  # one more than five bytes can hold
        b"\xc3\x03\x05\xff\xff\xff",
        b"\xc3\x00\x00",
        b"\xc3\x02\x06\x00a",
        b"\xc4",
        b"\xff",
        b"\x82",
        b"\xbf",
    ],
)
def test_a_damaged_string_is_an_error_before_anything_is_reserved(data: bytes) -> None:
    with pytest.raises(RdbError):
        decode_string(data, 0)


def test_a_module_value_is_refused_by_its_name() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    module_id = 0
    for letter in "ReJSON-RL":
        module_id = module_id << 6 | letters.index(letter)
    assert module_name(module_id << 10 | 3) == "ReJSON-RL"
    with pytest.raises(RdbError, match="ReJSON-RL"):
        restore(seal(b"\x07\x81" + struct.pack(">Q", module_id << 10 | 3) + b"\x00"))
