"""Replies cut by their lengths: at every cut of the stream, and never other than the parser reads them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.replies import MalformedReply, ReplyParser
from proxy.cutter import Cutter, elements

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":17\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"$0\r\n\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n",
    b"%1\r\n+a\r\n*1\r\n$2\r\nbb\r\n",
    b"~2\r\n:1\r\n:2\r\n",
    b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
    b"=7\r\ntxt:abc\r\n",
    b",1.5\r\n",
    b"#t\r\n",
    b"$4\r\n\r\n\r\n\r\n",
    b"$3\r\na\nb\r\n",
    b"$1\r\n\n\r\n",
    b"+a\nb\r\n",
    *(b"$%d\r\n%b\r\n" % (size, b"\r\n$1\r\n" * (size // 6) + b"x" * (size % 6)) for size in (9, 10, 99, 100, 999)),
    b"$007\r\nwith 0s\r\n",
    b"$1000\r\n" + b"x" * 1000 + b"\r\n",
    b"$2000\r\n" + b"x" * 2000 + b"\r\n",
]


@pytest.mark.parametrize("raw", REPLIES, ids=repr)
def test_every_reply_whole_byte_by_byte_and_followed(raw: bytes) -> None:
    assert Cutter().cut(raw) == [raw]
    assert Cutter().cut(raw + b"+next\r\n+ha") == [raw, b"+next\r\n"]
    cutter, found = Cutter(), []
    for at in range(len(raw)):
        found += cutter.cut(raw[at : at + 1])
    assert found == [raw]


@given(st.lists(st.sampled_from(REPLIES), max_size=12), st.lists(st.integers(1, 40), max_size=40))
def test_any_stream_in_any_pieces(replies: list[bytes], sizes: list[int]) -> None:
    stream, cutter, found, at = b"".join(replies), Cutter(), [], 0
    for size in [*sizes, len(stream)]:
        found += cutter.cut(stream[at : at + size]) if at < len(stream) else []
        at += size
    assert found == replies


@pytest.mark.parametrize(
    "raw",
    [b"hello\r\n", b"$-2\r\n", b"$x\r\n", b"*-7\r\n", b"$1\r\nabc\r\n", b"=-1\r\n", b"\r\n", b"$3\r\nabcd\n+\r\n",
     b"$3\r\nab\rc\n\r\n"],
)  # fmt: skip
def test_what_is_no_reply(raw: bytes) -> None:
    with pytest.raises(MalformedReply):
        Cutter().cut(raw)


def test_a_line_without_end_is_bounded() -> None:
    cutter = Cutter()
    with pytest.raises(MalformedReply):
        for _ in range(100):
            cutter.cut(b"+" * 1000)


def test_garbage_is_cut_or_refused_and_nothing_else() -> None:
    luck = random.Random(4)
    alphabet = [b"$", b"*", b":", b"+", b"-", b"%", b"|", b"1", b"2", b"0", b"\r\n", b"\r\n", b"a"]
    for _ in range(3000):
        stream = b"".join(luck.choices(alphabet, k=luck.randint(1, 30)))
        cutter, parser = Cutter(), ReplyParser()
        try:
            raw = cutter.cut(stream)
        except MalformedReply:
            continue
        for reply in raw:
            parser.feed(reply)
            try:
                assert len(parser.parse()) <= 1
            except MalformedReply:
                break


def test_the_elements_of_an_array() -> None:
    assert elements(b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n") == [b"$1\r\na\r\n", b"*1\r\n:1\r\n", b"$-1\r\n"]
    assert elements(b"*0\r\n") == []


@pytest.mark.parametrize("size", [1, 3000], ids=["short", "long"])
def test_an_error_or_a_push_among_replies_is_told_of(size: int) -> None:
    value = b"$%d\r\n%b\r\n" % (size, b"x" * size)
    cutter = Cutter()
    for good in (value, value + b":1\r\n$-1\r\n" + value):
        cutter.cut(good)
        assert cutter.all_good
    for unusual in (b"-ERR no\r\n", b">1\r\n:1\r\n"):
        for stream in (unusual, value + unusual, value + unusual + value):
            cutter.cut(stream)
            assert not cutter.all_good
            cutter.cut(value)
            assert cutter.all_good
    cutter.cut(value + b"-ERR")
    cutter.cut(b" no\r\n")
    assert not cutter.all_good
