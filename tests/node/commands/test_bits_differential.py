"""Random commands of the bitmap and HyperLogLog families beside Debian's redis-server, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.node.commands.beside import Beside, compare
from tests.node.commands.traces import Line, cased, line, numbers, options, pair
from tests.support import RedisServer

EXAMPLES = 90
COMMANDS_MIN = 5000

keys = st.sampled_from([b"a", b"b", b"c", b"d", b"k\r\n\0\xff"])
small = st.integers(0, 80).map(lambda n: b"%d" % n)
offsets = st.one_of(small, small, st.integers(0, 3000).map(lambda n: b"%d" % n), numbers, st.just(b"4294967296"))
field_offsets = st.one_of(small, small.map(lambda n: b"#" + n), numbers, st.sampled_from([b"#-1", b"#", b"#x"]))
widths = st.one_of(
    st.tuples(st.sampled_from(["i", "u"]), st.integers(1, 64)).map(lambda t: f"{t[0]}{t[1]}".encode()),
    st.sampled_from([b"u64", b"i65", b"i0", b"U8", b"x", b"", b"i", b"i8", b"u8", b"u1", b"i01"]),
)
amounts = st.one_of(numbers, st.integers(-(1 << 63), (1 << 63) - 1).map(lambda n: b"%d" % n), small)
texts = st.one_of(
    st.binary(max_size=24),
    st.sampled_from([b"", b"\0" * 30, b"\xff" * 30, b"123", b"foobar", b"\0" * 9 + b"\x10", b"\xff" * 9 + b"\xef"]),
)
bit = st.one_of(st.sampled_from([b"0", b"1"]), st.sampled_from([b"0", b"1"]), numbers)
unit = st.one_of(cased("BIT"), cased("BYTE"), st.just(b"x"))
bit_range = st.one_of(
    st.tuples(), st.tuples(numbers), st.tuples(numbers, numbers), st.tuples(small, numbers, unit),
    st.tuples(numbers, numbers, unit), st.tuples(numbers, numbers, unit, numbers),
)  # fmt: skip
reading = pair("GET", st.tuples(widths, field_offsets).map(list)).map(lambda t: [t[0], *t[1]])
writing = st.tuples(st.one_of(cased("SET"), cased("INCRBY")), widths, field_offsets, amounts)
overflow = pair("OVERFLOW", st.one_of(cased("WRAP"), cased("SAT"), cased("FAIL"), st.just(b"x")))

bit_commands = st.one_of(
    line("SET", keys, texts),
    line("SETBIT", keys, offsets, bit),
    line("SETBIT", keys, small, st.sampled_from([b"0", b"1"])),
    line("GETBIT", keys, offsets),
    line("BITCOUNT", keys, bit_range),
    line("BITPOS", keys, bit, bit_range),
    line("BITOP", st.one_of(cased("AND"), cased("OR"), cased("XOR"), cased("NOT"), st.just(b"x")), keys,
         st.lists(keys, min_size=1, max_size=4)),
    line("BITFIELD", keys, options(reading, writing, writing, overflow, most=5)),
    line("BITFIELD_RO", keys, options(reading, reading, reading, writing, overflow, most=3)),
    line("APPEND", keys, texts),
    line("GETRANGE", keys, st.just(b"0"), st.just(b"3000")),  # not GET: half a gigabyte, again and again, is too much
    line("OBJECT", st.just(b"ENCODING"), keys),
)  # fmt: skip

elements = st.one_of(st.binary(max_size=20), st.integers(0, 400).map(lambda n: b"%d" % n))
many = st.tuples(st.integers(0, 10**6), st.sampled_from([10, 10, 40, 40, 40, 100, 100, 100, 500, 2500])).map(
    lambda t: [b"%d" % n for n in range(t[0], t[0] + t[1])]
)
damaged = st.sampled_from(
    [  # none that ends within an opcode of two bytes: Redis takes for its second one whatever follows in memory
        b"HYLL\1\0\0\0" + b"\0" * 8 + b"\x7f\xff",
        b"HYLL\1\0\0\0" + b"\0" * 7 + b"\x80" + b"\x7f\xff",
        b"HYLL\1\0\0\0" + b"\0" * 7 + b"\x80" + b"\x40\x05",
        b"HYLL\0\0\0\0" + b"\0" * 8,
        b"HYLL\2\0\0\0" + b"\0" * 8 + b"\x7f\xff",
        b"HYLL\0\0\0\0" + b"\0" * 7 + b"\x80" + bytes(range(256)) * 48,
        b"HYLL",
    ]
)
hll_commands = st.one_of(
    line("PFADD", keys, st.lists(elements, max_size=6)),
    line("PFADD", keys, st.lists(elements, max_size=20)),
    line("PFADD", keys, many),
    line("PFCOUNT", keys),
    line("PFADD", keys, st.lists(elements, max_size=6)),
    line("PFCOUNT", st.lists(keys, min_size=2, max_size=4)),
    line("PFMERGE", keys, st.lists(keys, max_size=3)),
    line("PFDEBUG", st.one_of(cased("ENCODING"), cased("DECODE")), keys),
    line("PFDEBUG", st.sampled_from([b"TODENSE", b"nosuch", b"ENCODING"]), keys),
    line("GET", keys),
    line("DEL", keys),
)
rare = st.one_of(
    line("SET", keys, st.one_of(damaged, texts)),
    line("DEL", keys),
    line("PFDEBUG", cased("GETREG"), keys),
    st.one_of(bit_commands, hll_commands).map(lambda words: words[:-1] if len(words) > 1 else words),
)


def traces(commands: st.SearchStrategy[Line], size: int) -> st.SearchStrategy[list[Line]]:
    return st.lists(st.one_of(*[commands] * 12, rare), min_size=size, max_size=size + 20)


def alike(words: Line, expected: bytes, got: bytes) -> bool:
    """7.2 looks at all arguments of BITCOUNT and BITPOS before it looks for the key, 7.0 afterwards."""
    return words[0].upper() in (b"BITCOUNT", b"BITPOS") and expected in (b":0\r\n", b":-1\r\n") and got[:1] == b"-"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_bitmap_commands(redis: RedisServer, protocol: int) -> None:
    with redis.wire(protocol=protocol) as theirs:
        both = Beside(theirs, protocol, alike)
        compare(both, traces(bit_commands, 60), EXAMPLES)
    assert both.compared >= COMMANDS_MIN


def test_random_hyperloglog_commands(redis: RedisServer) -> None:
    with redis.wire() as theirs:
        both = Beside(theirs, 2, alike)
        compare(both, traces(hll_commands, 50), EXAMPLES * 2)
    assert both.compared >= COMMANDS_MIN
