"""Random data sets go from our file to a redis-server and from its file back: the digests are equal everywhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.persistence.loader import load_now
from tests.node.persistence.support import Node
from tests.support import RedisServer
from tests.support.wire import Wire

Words = tuple[bytes, ...]

words = st.one_of(
    st.binary(max_size=30),
    st.integers(-(1 << 63), (1 << 63) - 1).map(b"%d".__mod__),
    st.integers(-200, 200).map(b"%d".__mod__),
    st.builds(lambda word, times: word * times, st.binary(min_size=1, max_size=4), st.integers(1, 400)),
)
keys = st.builds(lambda tag, name: tag + name, st.sampled_from([b"", b"{t}"]), st.binary(min_size=1, max_size=12))
some = st.lists(words, min_size=1, max_size=12)
many = st.builds(lambda word, count: [b"%b:%d" % (word, number) for number in range(count)], words, st.integers(1, 900))
elements = st.one_of(some, some, some, many)
scores = st.one_of(st.integers(-(1 << 40), 1 << 40).map(lambda score: b"%r" % (score / 4)), st.just(b"inf"))


def flat(pairs: list[tuple[bytes, bytes]]) -> Words:
    return tuple(word for pair in pairs for word in pair)


@st.composite
def commands(draw: st.DrawFn) -> list[Words]:
    """What makes one key."""
    key = draw(keys)
    kind = draw(st.sampled_from(["string", "list", "set", "zset", "hash", "stream"]))
    made: list[Words] = [(b"DEL", key)]
    if kind == "string":
        made.append((b"SET", key, draw(words)))
    elif kind == "list":
        made.append((b"RPUSH", key, *draw(elements)))
    elif kind == "set":
        made.append((b"SADD", key, *draw(elements)))
    elif kind == "zset":
        made.append((b"ZADD", key, *flat([(draw(scores), member) for member in draw(some)])))
        made.append((b"ZADD", key, *flat([(b"%d" % at, member) for at, member in enumerate(draw(elements))])))
    elif kind == "hash":
        made.append((b"HSET", key, *flat([(field, draw(words)) for field in draw(some)])))
        made.append((b"HSET", key, *flat([(field, field[::-1]) for field in draw(elements)])))
    else:
        for number in range(1, draw(st.integers(2, 40))):
            made.append((b"XADD", key, b"%d-%d" % (number, number % 3), b"f", draw(words)))
        made.append((b"XDEL", key, b"1-1"))
        made.append((b"XGROUP", b"CREATE", key, b"g", b"0"))
        made.append((b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"9", b"STREAMS", key, b">"))
    if draw(st.booleans()):
        made.append((b"PEXPIREAT", key, b"%d" % draw(st.integers(1 << 41, 1 << 42))))
    return made


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Wire]]:
    directory = tmp_path_factory.mktemp("exchange")
    with RedisServer(directory=directory, enable_debug_command="yes") as server, server.wire() as wire:
        yield directory, wire


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([b"0", b"0", b"7"]), commands()), min_size=1, max_size=10))
def test_there_and_back(theirs: tuple[Path, Wire], data: list[tuple[bytes, list[Words]]]) -> None:
    directory, wire = theirs
    ours = Node(directory)
    for db, made in data:
        ours(b"SELECT", db)
        for command in made:
            assert not ours(*command).startswith(b"-"), command
    digest = ours(b"DEBUG", b"DIGEST")
    assert ours(b"SAVE") == b"+OK\r\n"
    checked = subprocess.run(["redis-check-rdb", directory / "dump.rdb"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "RDB looks OK!" in checked.stdout, checked.stdout
    assert wire("DEBUG", "RELOAD", "NOSAVE") == "OK"
    assert wire.raw("DEBUG", "DIGEST") == digest
    assert wire("SAVE") == "OK"
    again = Node(directory)
    load_now(again.server)
    assert again(b"DEBUG", b"DIGEST") == digest
    for node in (ours, again):
        node.close()
