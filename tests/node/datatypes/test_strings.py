"""Strings, side by side with redis-server where it has a word on the matter."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from node.datatypes.strings import (
    Lcs,
    StringError,
    append,
    encoding,
    getrange,
    lcs,
    lcs_length,
    setrange,
)
from tests.support import RedisServer, ReplyError, Wire

BULK_BYTES_MAX = 512 << 20


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer() as server, server.wire(timeout_s=30) as wire:
        yield wire


def test_the_encoding_is_told_as_redis_tells_it(redis: Wire) -> None:
    values = [b"", b"0", b"-5", b"007", b"9223372036854775807", b"9223372036854775808", b"1.5", b"x" * 44, b"x" * 45]
    for value in values:
        redis("SET", "s", value)
        assert encoding(value) == redis("OBJECT", "ENCODING", "s")
    redis("APPEND", "s", "")
    assert encoding(append(b"1", b"2", BULK_BYTES_MAX)) == b"raw"


def test_ranges_are_cut_as_redis_cuts_them(redis: Wire) -> None:
    for value in (b"", b"a", b"hello"):
        redis("SET", "s", value)
        pairs = [(start, end) for start in range(-8, 9) for end in range(-8, 9)]
        pairs += [(-(1 << 63), (1 << 63) - 1), ((1 << 63) - 1, -(1 << 63)), (0, -(1 << 63))]
        replies = redis.pipeline((b"GETRANGE", b"s", start, end) for start, end in pairs)
        for (start, end), reply in zip(pairs, replies, strict=True):
            assert getrange(value, start, end) == reply, (value, start, end)


def test_ranges_are_overwritten_as_redis_overwrites_them(redis: Wire) -> None:
    for value in (b"", b"hello", b"12345"):
        for offset in (0, 3, 5, 9, 100):
            for patch in (b"", b"x", b"world wide"):
                redis("DEL", "s")
                redis("APPEND", "s", value)
                redis("SETRANGE", "s", offset, patch)
                assert setrange(value, offset, patch, BULK_BYTES_MAX) == redis("GET", "s")


def test_what_is_too_long_is_refused_in_the_words_of_redis(redis: Wire) -> None:
    redis("SET", "s", "hello")
    for offset in (-1, BULK_BYTES_MAX, BULK_BYTES_MAX - 1):
        reply = redis("SETRANGE", "s", offset, "xy")
        assert isinstance(reply, ReplyError)
        with pytest.raises(StringError) as error:
            setrange(b"hello", offset, b"xy", BULK_BYTES_MAX)
        assert "ERR " + str(error.value) == reply.text
    with pytest.raises(StringError, match="proto-max-bulk-len"):
        append(b"hello", b"world", 9)


def test_a_mutable_string_is_changed_in_place_and_bytes_are_not() -> None:
    mutable, constant = bytearray(b"hello"), b"hello"
    assert setrange(mutable, 1, b"a", 100) is mutable
    assert append(mutable, b"!", 100) is mutable
    assert setrange(constant, 1, b"a", 100) == bytearray(b"hallo")
    assert (mutable, constant) == (bytearray(b"hallo!"), b"hello")


def idx_reply(result: Lcs) -> list[Any]:
    matches = [[list(match.first), list(match.second), match.length] for match in result.matches]
    return [b"matches", matches, b"len", len(result.text)]


def random_text(rng: random.Random, alphabet: bytes, length: int) -> bytes:
    return bytes(rng.choice(alphabet) for _ in range(length))


def test_subsequences_are_those_that_redis_finds(redis: Wire) -> None:
    rng = random.Random(3)
    for _ in range(1500):
        alphabet = rng.choice([b"a", b"ab", b"abc", bytes(range(256)), b"abcdefghijkl"])
        first = random_text(rng, alphabet, rng.choice([0, 1, 3, 8, 20, 70]))
        second = random_text(rng, alphabet, rng.choice([0, 1, 3, 8, 20, 70]))
        minimum = rng.randrange(5)
        replies = redis.pipeline(
            [
                (b"MSET", b"a", first, b"b", second),
                (b"LCS", b"a", b"b"),
                (b"LCS", b"a", b"b", b"LEN"),
                (b"LCS", b"a", b"b", b"IDX", b"MINMATCHLEN", minimum, b"WITHMATCHLEN"),
            ]
        )
        result = lcs(first, second, BULK_BYTES_MAX, minimum)
        assert [result.text, lcs_length(first, second, BULK_BYTES_MAX), idx_reply(result)] == replies[1:], (
            first,
            second,
        )


@pytest.mark.parametrize(
    "lengths", [(11_000, 11_000), (30_000, 4_000), (4_000, 30_000), (4_000_000, 20), (20, 4_000_000)]
)
def test_long_subsequences_are_found_in_time_whatever_their_shape(redis: Wire, lengths: tuple[int, int]) -> None:
    rng = random.Random(4)
    first, second = (bytes(rng.choices(b"ACGT", k=length)) for length in lengths)
    redis("MSET", "a", first, "b", second)
    started = time.process_time()
    result = lcs(first, second, BULK_BYTES_MAX)
    assert time.process_time() - started < 3
    assert result.text == redis("LCS", "a", "b")


def test_a_table_beyond_the_limit_is_refused_in_the_words_of_redis(redis: Wire) -> None:
    redis("MSET", "a", b"x" * 20_000, "b", b"x" * 20_000)
    reply = redis("LCS", "a", "b")
    with pytest.raises(StringError) as error:
        lcs(b"x" * 20_000, b"x" * 20_000, BULK_BYTES_MAX)
    assert "ERR " + str(error.value) == reply.text
