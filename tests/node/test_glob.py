"""Glob patterns beside KEYS of a real server, and bounded against hostile ones."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.glob import compile_glob
from tests.node.config.conftest import Peer

TEXTS = ["", "a", "b", "ab", "abc", "aXc", "a*c", "a?c", "a[c", "a]c", "a\\c", "-", "^", "]", "[", "\\", "*", "a-c",
         "é", "news.art", "news.", "user:1:name", "aaaa", "A", "B", "\n", "a\nb"]  # fmt: skip
PIECES = ["*", "**", "?", "a", "b", "c", "[", "]", "^", "-", "\\", "[a-c]", "[^a]", "[c-a]", "[]", "[^]", "\\*", "."]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    peer = Peer(tmp_path_factory.mktemp("glob"))
    for text in TEXTS:
        peer.ask("SET", text, "x")
    yield peer
    peer.close()


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=7))
def test_as_the_real_server(keys: Peer, pieces: list[str]) -> None:
    pattern = "".join(pieces)
    if pattern == "*":  # KEYS takes this one as a word of its own
        return
    theirs = keys.ask("KEYS", pattern)
    assert isinstance(theirs, list)
    matches = compile_glob(pattern.encode())
    assert sorted(text for text in TEXTS if matches(text.encode())) == sorted(theirs), pattern


@given(pieces=st.lists(st.sampled_from([*PIECES, "A", "[A-z]", "[Z-a]", "\\A", "[\\A]"]), max_size=6))
def test_without_case_as_the_real_server(keys: Peer, pieces: list[str]) -> None:
    pattern = "".join(pieces).replace("c", "m").replace("b", "s")
    if not any(char in pattern for char in "*?["):
        return
    matches = compile_glob(pattern.encode(), nocase=True)
    names = keys.get("*")
    assert {name for name in names if matches(name.encode())} == keys.get(pattern).keys(), pattern


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (b"*", [b"a", b"\n"], [b""]),
        (b"", [b""], [b"a"]),
        (b"user:*", [b"user:", b"user:1"], [b"user", b"xuser:"]),
        (b"*:name", [b":name", b"1:name"], [b"name", b":names"]),
        (b"*mid*", [b"mid", b"amidb"], [b"mdi", b""]),
        (b"a\\*", [b"a*"], [b"ab", b"a\\*"]),
        (b"a*b?d*e", [b"abxde", b"aXbxdYbzde"], [b"abde", b"abxd"]),
        (b"\xff[\x80-\x90]", [b"\xff\x85"], [b"\xff\x91"]),
    ],
)
def test_shapes(pattern: bytes, good: list[bytes], bad: list[bytes]) -> None:
    matches = compile_glob(pattern)
    assert all(map(matches, good))
    assert not any(map(matches, bad))


def test_a_hostile_pattern_costs_one_walk() -> None:
    matches = compile_glob(b"a*" * 50 + b"b")
    begin = time.process_time()
    assert not matches(b"a" * 50_000)
    assert time.process_time() - begin < 1
