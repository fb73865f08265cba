"""Numbers: side by side with redis-server for all that it reads and prints, and with exact fractions for the rest."""

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.datatypes.numbers import (
    format_double,
    format_long_double,
    parse_float,
    parse_int,
    parse_long_double,
    round_long_double,
)
from tests.support import RedisServer, ReplyError, Wire

# fmt: off
ODD_TEXTS = [
    "0", "-0", "+0", "1", "+5", "-7", ".5", "5.", ".", "-", "+", "5.e3", ".e1", "0x10", "0X1P-2", "0x.8",
    "0x", "0x.", "0xp1", "0x1p", "0x1p+", "0x1.fffffffffffffp1023", "0x1p1024", "0x1p-1074", "0x1p-1075",
    "0x1.8p-1075", "0x1p16383", "0x1p16384", "0x1p-16445", "0x1p-16446", "0x1.8p-16446",
    "0x1p99999999999999999999", "1e", "1e+", "1e-", "1e5", "1E5", "inf", "-inf", "+INF", "infinity",
    "Infinit", "nan", "NAN", "nan(1)", "1e308", "1e309", "-1e309", "1.7976931348623158e308",
    "1.7976931348623159e308", "1e-323", "1e-324", "4e-324", "2e-324", "0e999999999999999999999", "0e-99999",
    "1e999999999999999999999", "1e-999999999999999999999", "1e400", "1e-400", "1e4932", "-1e4932", "1.2e4932",
    "1e4933", "3e4932", "1e-4940", "1e-4950", "1e-4951", "1e-4952", "1_0", "1__0", "--1", "1,5", "1d", "1f",
    "0b1", "0x1_0", "1e1_0", "18446744073709551615", "18446744073709551617", "9007199254740993",
    "36893488147419103233", "0.1", "1.1", "3.0e3", "123456789012345678901234567890",
    "0.99999999999999999999999999999999999",
]
# fmt: on
ODD_TEXTS += [" 1", "1 ", "\t1", "1\n", "", "1\x002", "1\x00", "٣", "1" * 300, "1" * 400, "0" * 5000 + "1", "1" * 4932]
ODD_TEXTS += [
    "1" * 5119,
    "1" * 5120,
    "0" * 5119,
    "0" * 5120,
    "0." + "0" * 4000 + "1",
    "0x" + "f" * 4000,
    "0x" + "0" * 5100,
]


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer() as server, server.wire() as wire:
        yield wire


def incrbyfloat(first: bytes, second: bytes) -> bytes | str:
    """What SET of `first` and INCRBYFLOAT by `second` answer."""
    value, increment = parse_long_double(first), parse_long_double(second)
    if value is None or increment is None:
        return "ERR value is not a valid float"
    total = value + increment
    return "ERR increment would produce NaN or Infinity" if total is None else format_long_double(total)


def theirs(redis: Wire, pairs: list[tuple[bytes, bytes]]) -> list[bytes | str]:
    replies = redis.pipeline(
        command for first, second in pairs for command in ((b"SET", b"f", first), (b"INCRBYFLOAT", b"f", second))
    )[1::2]
    return [reply.text if isinstance(reply, ReplyError) else reply for reply in replies]


def check_sums(redis: Wire, pairs: list[tuple[bytes, bytes]]) -> None:
    for pair, reply in zip(pairs, theirs(redis, pairs), strict=True):
        assert incrbyfloat(*pair) == reply, pair


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_mean_to_incrbyfloat_what_they_mean_to_redis(redis: Wire, text: str) -> None:
    check_sums(redis, [(b"0", text.encode()), (text.encode(), b"1")])


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_mean_as_a_score_what_they_mean_to_redis(redis: Wire, text: str) -> None:
    redis("DEL", "z")
    reply = redis("ZADD", "z", text.encode(), "m")
    ours = parse_float(text.encode())
    if isinstance(reply, ReplyError):
        assert ours is None
    else:
        assert ours is not None
        assert ours == float(redis("ZSCORE", "z", "m"))  # a packed sorted set drops the sign of zero


def random_number(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return b"%d" % rng.randrange(-(10**6), 10**6)
    if kind == 1:
        return f"{rng.uniform(-1000, 1000):.{rng.randrange(20)}f}".encode()
    if kind == 2:
        return f"{rng.choice('+- ').strip()}{rng.randrange(10**21)}.{rng.randrange(10**21)}".encode()
    if kind == 3:
        return f"{rng.uniform(-10, 10)!r}e{rng.randrange(-40, 40)}".replace("e-05e", "e").encode()
    if kind == 4:
        sign, whole, fraction = rng.choice(["", "-"]), rng.randrange(1 << 90), rng.randrange(1 << 20)
        return f"{sign}0x{whole:x}.{fraction:x}p{rng.randrange(-120, 60)}".encode()
    return f"{rng.randrange(1, 10**25)}e{rng.randrange(-4990, 4950)}".encode()


def test_random_sums_equal_those_of_redis(redis: Wire) -> None:
    rng = random.Random(7)
    check_sums(redis, [(random_number(rng), random_number(rng)) for _ in range(6000)])


def test_sums_at_the_edges_of_a_mantissa_equal_those_of_redis(redis: Wire) -> None:
    """Ties, carries into a 65th bit, and cancellation: the neighbours of powers of two."""
    rng = random.Random(8)
    pairs = []
    for _ in range(3000):
        near = (1 << rng.randrange(58, 70)) + rng.randrange(-3, 4)
        other = rng.choice(
            [Fraction(1, 2), Fraction(3, 2), Fraction(1, 4), Fraction(-1, 2), Fraction(-near + 1), Fraction(1)]
        )
        pairs.append((b"%d" % near, str(float(other) if abs(other) < 2 else int(other)).encode()))
    check_sums(redis, pairs)


@given(st.integers(), st.integers(min_value=1), st.integers(-100, 100))
def test_rounding_is_to_the_nearest(numerator: int, denominator: int, exponent: int) -> None:
    rounded = round_long_double(numerator, denominator, exponent)
    assert abs(rounded.mantissa).bit_length() <= 64
    exact = Fraction(numerator, denominator) * Fraction(2) ** exponent
    error = abs(rounded.mantissa * Fraction(2) ** rounded.exponent - exact)
    assert error <= Fraction(2) ** rounded.exponent / 2


def test_random_texts_are_scores_as_redis_reads_them(redis: Wire) -> None:
    rng = random.Random(9)
    texts = [random_number(rng) for _ in range(2000)]
    replies = redis.pipeline(
        command for text in texts for command in ((b"DEL", b"z"), (b"ZADD", b"z", text, b"m"), (b"ZSCORE", b"z", b"m"))
    )
    for text, score in zip(texts, replies[2::3], strict=True):
        ours = parse_float(text)
        assert (ours is None) == (score is None), text
        assert ours is None or ours == float(score), text


@given(st.one_of(st.integers(-(1 << 64), 1 << 64).map(lambda number: b"%d" % number), st.binary(max_size=22)))
def test_only_the_canonical_text_of_an_int64_is_one(text: bytes) -> None:
    try:
        number = int(text)
        canonical = b"%d" % number == text and -(1 << 63) <= number < 1 << 63
    except ValueError:
        canonical = False
    assert parse_int(text) == (number if canonical else None)


def test_texts_that_python_would_take_are_no_integers_to_redis(redis: Wire) -> None:
    for text in (
        b"",
        b"-",
        b"-0",
        b"00",
        b"01",
        b"+1",
        b" 1",
        b"1 ",
        b"1_0",
        b"0x1",
        b"9223372036854775808",
        b"-9223372036854775809",
    ):
        assert parse_int(text) is None
        redis("SET", "n", text)
        assert isinstance(redis("INCRBY", "n", "0"), ReplyError)
    for text in (b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"):
        redis("SET", "n", text)
        assert parse_int(text) == redis("INCRBY", "n", "0")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, b"0"),
        (-0.0, b"-0"),
        (3.0, b"3"),
        (-17.0, b"-17"),
        (0.1, b"0.1"),
        (-2.5, b"-2.5"),
        (1.1, b"1.1"),
        (math.pi, b"3.141592653589793"),
        (0.001, b"0.001"),
        (0.000001, b"0.000001"),
        (1e-7, b"1e-7"),
        (1.5e-7, b"1.5e-7"),
        (1.2345e-10, b"1.2345e-10"),
        (float(1 << 62), b"4611686018427387904"),
        (float(-(1 << 62)), b"-4611686018427387904"),
        (1e19, b"1e+19"),
        (1e20, b"1e+20"),
        (1.5e300, b"1.5e+300"),
        (12345678901234567890.0, b"12345678901234567000"),
        (5e-324, b"5e-324"),
        (1.7976931348623157e308, b"1.7976931348623157e+308"),
        (math.inf, b"inf"),
        (-math.inf, b"-inf"),
        (math.nan, b"nan"),
    ],
)
def test_doubles_print_in_their_shortest_form(number: float, text: bytes) -> None:
    assert format_double(number) == text


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(1e-4, 1e5)).filter(lambda d: d % 1 != 0))
def test_fractions_follow_the_rule_of_their_digits(number: float) -> None:
    sign, digit_tuple, k = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(k, int)
    digits = "".join(map(str, digit_tuple))
    n, point = len(digits), len(digits) + k
    text = format_double(number).decode().lstrip("-")
    if k > -7 or abs(point - 1) < 4:
        assert text == f"{Decimal(repr(abs(number))):f}"
    else:
        assert text == f"{digits[0]}{'.' if n > 1 else ''}{digits[1:]}e{point - 1:+d}"
    assert (format_double(number)[:1] == b"-") == bool(sign)


@given(st.floats(allow_nan=False))
def test_a_printed_double_reads_back(number: float) -> None:
    assert repr(parse_float(format_double(number))) == repr(number)
