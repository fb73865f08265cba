"""The reply parser: what `resp.encode` writes comes back, cut anywhere; nothing malformed gets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.replies import DEPTH_MAX, LINE_BYTES_MAX, MalformedReply, ReplyParser
from node.net.resp import (
    NULL_ARRAY,
    BigNumber,
    Failure,
    Members,
    Push,
    Status,
    Truth,
    Verbatim,
    encode,
)
from tests.support import RedisServer

LINES = st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
INTS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\r\n", b"$3\r\n", b"*1\r\n:1\r\n"]),
    INTS,
    st.none(),
    st.floats(allow_nan=False),
    LINES.map(Status),
    LINES.map(Failure),
    st.binary(max_size=20).map(Verbatim),
    st.integers().map(lambda n: BigNumber(b"%d" % n)),
    st.booleans().map(Truth),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    maps = st.dictionaries(st.one_of(st.binary(max_size=5), INTS), inner, max_size=3)
    return st.one_of(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(Members), maps)


REPLIES = st.recursive(SCALARS, nested, max_leaves=12)


def encoded(*replies: Any) -> bytes:
    out = bytearray()
    for reply in replies:
        encode(reply, out, True)
    return bytes(out)


def kinds(value: Any) -> Any:
    """The types too: a `Status` equals a bulk string of the same bytes."""
    if isinstance(value, dict):
        return [(kinds(k), kinds(v)) for k, v in value.items()]
    return (type(value), [kinds(v) for v in value] if isinstance(value, list) else value)


@given(st.lists(REPLIES, min_size=1, max_size=4), st.data())
def test_what_is_encoded_comes_back_cut_anywhere(replies: list[Any], data: st.DataObject) -> None:
    wire = encoded(*replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    parser = ReplyParser()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        parser.feed(wire[start:end])
        found += parser.parse()
    assert [kinds(v) for v in found] == [kinds(v) for v in replies]
    assert parser.is_between_replies


@given(REPLIES)
def test_byte_by_byte(reply: Any) -> None:
    wire = encoded(reply)
    parser = ReplyParser()
    found = []
    for at in range(len(wire)):
        assert found == []
        assert parser.is_between_replies == (at == 0)
        parser.feed(wire[at : at + 1])
        found += parser.parse()
    assert kinds(found[0]) == kinds(reply)


@given(REPLIES, st.integers(0, 200), st.integers(0, 255))
def test_one_wrong_byte_never_crashes(reply: Any, place: int, byte: int) -> None:
    wire = bytearray(encoded(reply))
    wire[place % len(wire)] = byte
    parser = ReplyParser()
    parser.feed(bytes(wire) + b"+END\r\n")
    try:
        while parser.parse():
            pass
    except MalformedReply as error:
        with pytest.raises(MalformedReply, match=r".*"):  # and there it stays
            parser.parse()
        assert str(error)


@given(st.binary(max_size=60))
def test_noise_never_crashes(noise: bytes) -> None:
    parser = ReplyParser()
    parser.feed(noise)
    try:
        while parser.parse():
            pass
    except MalformedReply:
        pass


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"\r\n",
        b":1x\r\n",
        b":\r\n",
        b":+1\r\n",
        b",x\r\n",
        b"#x\r\n",
        b"_x\r\n",
        b"(1.5\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"*-2\r\n",
        b"%-1\r\n",
        b"!-1\r\n",
        b"$3\r\nabcde",
        b"$?\r\n",
        b"=2\r\nab\r\n",
        b"*2\r\n+a\r\n>1\r\n+b\r\n",
        b"%1\r\n*0\r\n+a\r\n",
        b"*1\r\n" * (DEPTH_MAX + 1),
        b"+" + b"x" * (LINE_BYTES_MAX + 1),
    ],
)
def test_malformed(wire: bytes) -> None:
    parser = ReplyParser()
    parser.feed(b"+before\r\n" + wire)
    assert parser.parse() == [b"before"]
    for _ in range(2):
        with pytest.raises(MalformedReply, match=r"."):
            parser.parse()


def test_nulls_pushes_attributes_not_a_number() -> None:
    parser = ReplyParser()
    parser.feed(
        b"$-1\r\n*-1\r\n_\r\n>1\r\n+m\r\n|1\r\n+k\r\n+v\r\n*2\r\n|0\r\n:1\r\n|1\r\n:1\r\n:1\r\n:2\r\n,nan\r\n!2\r\nno\r\n"
    )
    *found, not_a_number, failure = parser.parse()
    assert found == [None, NULL_ARRAY, None, Push([b"m"]), [1, 2]]
    assert not_a_number != not_a_number
    assert kinds(failure) == (Failure, b"no")


@pytest.mark.parametrize("wire", [b"$2000\r\n", b"*9\r\n" + b"$300\r\n" + b"x" * 300 + b"\r\n" + b"$800\r\n"])
def test_a_reply_has_a_bound(wire: bytes) -> None:
    parser = ReplyParser(reply_bytes_max=1000)
    for _ in range(10):
        parser.feed(b"$500\r\n" + b"x" * 500 + b"\r\n")  # the bound is for each reply, not for all
        assert len(parser.parse()) == 1
    parser.feed(wire)
    with pytest.raises(MalformedReply, match="more than 1000 bytes"):
        parser.parse()


def test_nothing_is_reserved_for_what_is_announced() -> None:
    parser = ReplyParser()
    parser.feed(b"*9223372036854775807\r\n%9223372036854775807\r\n:1\r\n")
    assert parser.parse() == []


def test_every_type_of_a_real_server() -> None:
    names = [
        "string",
        "integer",
        "double",
        "null",
        "array",
        "set",
        "map",
        "attrib",
        "verbatim",
        "true",
        "false",
        "bignum",
    ]
    with RedisServer(enable_debug_command="yes") as server, server.wire(protocol=3) as wire:
        for name in names:
            raw = wire.raw("DEBUG", "PROTOCOL", name)
            parser = ReplyParser()
            parser.feed(raw)
            (value,) = parser.parse()
            if name not in ("attrib", "verbatim"):
                assert encoded(value) == raw, name
        big = wire.raw("COMMAND")  # the largest and most nested reply of a fresh server
        parser = ReplyParser()
        parser.feed(big)
        (value,) = parser.parse()
        assert encoded(value) == big
