"""The libraries of scripts answer as redis-server's own: values, bytes, errors and the places that they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from node.script import libraries
from tests.node.script.snippets import Ours, by_redis, text
from tests.support.servers import RedisServer
from tests.support.wire import Wire

EXPRESSIONS = Path(__file__).with_name("expressions")
BATCH = 40
ROUNDS = settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
"""Not shrunk: a failure names the expression already."""


@pytest.fixture(scope="module")
def theirs() -> Iterator[Wire]:
    with RedisServer() as server, Wire(server.port) as wire:
        yield wire


@pytest.fixture(scope="module")
def ours() -> Ours:
    return Ours()


def check(theirs: Wire, ours: Ours, expressions: list[bytes]) -> None:
    expected = by_redis(theirs, expressions)
    found = ours.evaluate(expressions)
    assert list(zip(expressions, found, strict=True)) == list(zip(expressions, expected, strict=True))


@pytest.mark.parametrize("name", libraries.NAMES)
def test_what_is_known_to_be_delicate(theirs: Wire, ours: Ours, name: str) -> None:
    check(theirs, ours, EXPRESSIONS.joinpath(f"{name}.txt").read_bytes().splitlines())


@pytest.mark.parametrize("name", libraries.NAMES)
def test_the_same_names(theirs: Wire, ours: Ours, name: str) -> None:
    listing = (
        b"(function() local names = {} for key, value in pairs(%b) do names[#names + 1] = key .. type(value) .. "
        b"(type(value) == 'string' and value or '') end table.sort(names) return table.concat(names, ' ') end)()"
    )
    check(theirs, ours, [listing % name.encode()])


PIECES = st.sampled_from(
    rb"""{ } [ ] : , " \\ / " "a" "b":1 "b": 1 -1 0 01 1.5 1e5 -0 1e 0x1F nan inf -inf +1 true false null tru nul n i
    "\\u00e9" "\\ud83d\\ude00" "\\ud83d" "\\u12" "\\x" \" [] {} [1,2] {"a":1} . - e E + x [[ ]]""".split()
) | st.sampled_from([b" ", b"\n", b"\x00", b"\xff", b"\t"])
NESTED = st.recursive(
    st.sampled_from([b"1", b"-2.5", b'"x"', b"null", b"true", b"[]", b"{}", b"1e3", b'"\\u0041"', b'"\\\\"', b"nan"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: b"[" + b", ".join(items) + b"]")
        | st.lists(inner, max_size=3).map(
            lambda items: b"{" + b",".join(b'"k%d" : %b' % pair for pair in enumerate(items)) + b"}"
        )
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """JSON, of which a byte may be another or missing."""
    whole = draw(NESTED)
    at = draw(st.integers(0, len(whole)))
    return whole[:at] + draw(st.sampled_from([b"", b",", b"}", b"]", b'"', b"1", b"x", b":"])) + whole[at + 1 :]


@ROUNDS
@given(st.lists(st.lists(PIECES, max_size=7).map(b"".join) | NESTED | damaged(), min_size=20, max_size=BATCH))
def test_any_json(theirs: Wire, ours: Ours, texts: list[bytes]) -> None:
    check(theirs, ours, [b"cjson.decode(%b)" % text(json) for json in texts])


NUMBERS = st.integers(-(1 << 53), 1 << 53).map(float) | st.floats(allow_nan=False) | st.integers(-300, 300).map(float)
LITERALS = NUMBERS.map(lambda number: {"inf": "(1/0)", "-inf": "(-1/0)"}.get(repr(number), repr(number)).encode())
SCALARS = LITERALS | st.binary(max_size=8).map(text) | st.sampled_from([b"true", b"false", b"cjson.null"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: b"{" + b",".join(items) + b"}")
        | st.lists(st.tuples(SCALARS.filter(lambda key: key != b"cjson.null"), inner), max_size=1).map(
            lambda pairs: b"{" + b",".join(b"[%b]=%b" % pair for pair in pairs) + b"}"
        )
    ),
    max_leaves=10,
)


@ROUNDS
@given(st.lists(VALUES, min_size=20, max_size=BATCH))
def test_any_value_encoded(theirs: Wire, ours: Ours, values: list[bytes]) -> None:
    check(theirs, ours, [b"cjson.encode(%b)" % value for value in values])
    check(theirs, ours, [b"cmsgpack.pack(%b)" % value for value in values])
    check(theirs, ours, [b"cmsgpack.unpack(cmsgpack.pack(%b))" % value for value in values])


@ROUNDS
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 255), max_size=12).map(bytes), st.integers(0, 4), st.integers(0, 13)),
        min_size=20,
        max_size=BATCH,
    )
)
def test_any_bytes_unpacked(theirs: Wire, ours: Ours, cases: list[tuple[bytes, int, int]]) -> None:
    check(theirs, ours, [b"cmsgpack.unpack(%b)" % text(data) for data, _, _ in cases])
    check(theirs, ours, [b"cmsgpack.unpack_limit(%b, %d, %d)" % (text(data), limit, at) for data, limit, at in cases])


OPTIONS = st.sampled_from(
    "< > ! !2 !4 !8 !16 b B h H l L T i I i1 i2 i3 i5 i8 I7 i12 I9 s c0 c1 c3 c f d x".split()
) | st.just(" ")
FORMATS = st.lists(OPTIONS, max_size=6).map("".join).map(str.encode)


@ROUNDS
@given(
    st.lists(
        st.tuples(FORMATS, st.binary(min_size=8, max_size=40), st.lists(LITERALS | st.just(b"'ab'"), max_size=6)),
        min_size=20,
        max_size=BATCH,
    )
)
def test_any_format(theirs: Wire, ours: Ours, cases: list[tuple[bytes, bytes, list[bytes]]]) -> None:
    in_range = [
        (form, data, [v for v in values if v == b"'ab'" or abs(float(v.strip(b"()").replace(b"1/0", b"inf"))) < 2**63])
        for form, data, values in cases
    ]
    check(theirs, ours, [b"struct.pack(%b)" % b",".join([text(form), *values]) for form, _, values in in_range])
    check(theirs, ours, [b"struct.unpack(%b, %b)" % (text(form), text(data)) for form, data, _ in cases])
    check(theirs, ours, [b"struct.size(%b)" % text(form) for form, _, _ in cases])


OPERATIONS = st.sampled_from("band bor bxor bnot tobit lshift rshift arshift rol ror bswap tohex".split())


@ROUNDS
@given(st.lists(st.tuples(OPERATIONS, st.lists(LITERALS, min_size=1, max_size=3)), min_size=20, max_size=BATCH))
def test_any_bits(theirs: Wire, ours: Ours, cases: list[tuple[str, list[bytes]]]) -> None:
    check(theirs, ours, [b"bit.%b(%b)" % (name.encode(), b",".join(numbers)) for name, numbers in cases])
