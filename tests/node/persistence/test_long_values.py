"""Long values are written in pieces: what comes out is the moment of the snapshot, whatever commands do meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.datatypes.hashes import Hash
from node.persistence.aofsource import CommandSource
from node.persistence.loader import StreamLoader
from node.persistence.source import RdbSource
from tests.node.persistence.support import Node

ELEMENTS = 5000


class Ticking:
    """A clock that goes on by a millisecond at each look, so that every slice is as short as can be."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def words(name: bytes, count: int = ELEMENTS) -> list[bytes]:
    return [b"%b:%d" % (name, number) for number in range(count)]


def pairs(name: bytes, count: int = ELEMENTS) -> list[bytes]:
    return [word for number in range(count) for word in (b"%b:%d" % (name, number), b"value %d" % number)]


def fill_hash(node: Node, key: bytes) -> None:
    node(b"HSET", key, *pairs(b"f"))


def fill_hash_that_expires(node: Node, key: bytes) -> None:
    node(b"HSET", key, *pairs(b"f"))
    node(b"HPEXPIREAT", key, b"1999999999999", b"FIELDS", b"900", *words(b"f", 900))


def fill_set(node: Node, key: bytes) -> None:
    node(b"SADD", key, *words(b"m"))


def fill_sorted_set(node: Node, key: bytes) -> None:
    node(b"ZADD", key, *[word for number in range(ELEMENTS) for word in (b"%d" % (number * 7 % 911), b"m:%d" % number)])


def fill_list(node: Node, key: bytes) -> None:
    node(b"RPUSH", key, *words(b"e"))


def fill_stream(node: Node, key: bytes) -> None:
    for number in range(1, 2000):
        node(b"XADD", key, b"%d-1" % number, b"field", b"value %d" % number)
    node(b"XGROUP", b"CREATE", key, b"g", b"0")
    for consumer in (b"one", b"two"):
        node(b"XREADGROUP", b"GROUP", b"g", consumer, b"COUNT", b"700", b"STREAMS", key, b">")


def fill_string(node: Node, key: bytes) -> None:
    node(b"SETRANGE", key, b"1000000", b"end")


FILLS = [fill_hash, fill_hash_that_expires, fill_set, fill_sorted_set, fill_list, fill_stream, fill_string]
CHANGES: dict[Callable[[Node, bytes], None], list[tuple[bytes, ...]]] = {
    fill_hash: [(b"HSET", b"%k", b"f:%d", b"new"), (b"HDEL", b"%k", b"f:%d"), (b"HSET", b"%k", b"new:%d", b"x")],
    fill_hash_that_expires: [
        (b"HSET", b"%k", b"f:%d", b"new"),
        (b"HPERSIST", b"%k", b"FIELDS", b"1", b"f:%d"),
        (b"HEXPIRE", b"%k", b"100", b"FIELDS", b"1", b"f:%d"),
        (b"HDEL", b"%k", b"f:%d"),
    ],
    fill_set: [(b"SADD", b"%k", b"new:%d"), (b"SREM", b"%k", b"m:%d"), (b"SPOP", b"%k")],
    fill_sorted_set: [(b"ZADD", b"%k", b"5", b"new:%d"), (b"ZREM", b"%k", b"m:%d"), (b"ZINCRBY", b"%k", b"2", b"m:%d")],
    fill_list: [
        (b"LPUSH", b"%k", b"%d"),
        (b"RPOP", b"%k"),
        (b"LSET", b"%k", b"%d", b"x"),
        (b"LREM", b"%k", b"1", b"e:%d"),
    ],
    fill_stream: [
        (b"XADD", b"%k", b"*", b"f", b"%d"),
        (b"XDEL", b"%k", b"%d-1"),
        (b"XACK", b"%k", b"g", b"%d-1"),
        (b"XCLAIM", b"%k", b"g", b"two", b"0", b"%d-1"),
        (b"XREADGROUP", b"GROUP", b"g", b"one", b"COUNT", b"1", b"STREAMS", b"%k", b">"),
    ],
    fill_string: [(b"SETRANGE", b"%k", b"%d", b"x"), (b"APPEND", b"%k", b"%d"), (b"SETBIT", b"%k", b"%d", b"1")],
}  # fmt: skip
GENERAL = [(b"RENAME", b"%k", b"other"), (b"DEL", b"%k"), (b"PEXPIRE", b"%k", b"100000"), (b"MOVE", b"%k", b"1")]


def digest(node: Node, *keys: bytes) -> list[bytes]:
    digests = [node(b"DEBUG", b"DIGEST-VALUE", key) for key in keys]
    assert not any(digest.startswith(b"-") for digest in digests)
    return digests


def written(node: Node) -> bytes:
    """All that the node holds, as an RDB."""
    source = RdbSource(node.server)
    return b"".join(iter(lambda: source.next_chunk(0), None))


def loaded(data: bytes, directory: Path, piece: int) -> Node:
    """A node with what these bytes hold."""
    node = Node(directory)
    loader = StreamLoader(node.server, node.server.keyspace.databases)
    for at in range(0, len(data), piece):
        loader.feed(data[at : at + piece])
        while loader.step(0, 3):
            pass
    loader.finish()
    return node


def changed_meanwhile(
    node: Node, fill: Callable[[Node, bytes], None], source: Any, keys: list[bytes], seed: int
) -> bytes:
    """What comes out of `source` while commands change what is being read."""
    rng = random.Random(seed)
    chunks = []
    while (chunk := source.next_chunk(0)) is not None:
        chunks.append(chunk)
        if rng.random() < 0.3:
            change = rng.choice(CHANGES[fill] if rng.random() < 0.98 else GENERAL)
            here = rng.choice([*keys, b"other"])
            node(*(word.replace(b"%k", here).replace(b"%d", b"%d" % rng.randrange(1, 2000)) for word in change))
    assert len(chunks) > 10 or fill is fill_string, "it came in pieces"
    return b"".join(chunks)


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.__name__)
def test_each_type_as_commands(fill: Callable[[Node, bytes], None], node: Node, tmp_path: Path) -> None:
    keys = [b"{t}a", b"{t}b"]
    for key in keys:
        fill(node, key)
    before = digest(node, *keys)
    node.server.clock_ns = Ticking()
    data = changed_meanwhile(node, fill, CommandSource(node.server), keys, 1)
    again = Node(tmp_path)
    again.server.clock_ns = lambda: 0  # no turn ends before all is done
    again.client.receive(data)
    assert b"-" not in {line[:1] for line in bytes(again.client.out).split(b"\r\n")}
    again.client.out.clear()
    assert digest(again, *keys) == before
    again.close()


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_each_type_between_changes(fill: Callable[[Node, bytes], None], seed: int, node: Node, tmp_path: Path) -> None:
    keys = [b"{t}a", b"{t}b", b"c"]
    for key in keys:
        fill(node, key)
    before = digest(node, *keys)
    node.server.clock_ns = Ticking()
    data = changed_meanwhile(node, fill, RdbSource(node.server), keys, seed)
    assert not any(db.preservers for db in node.server.keyspace.databases)
    for key in keys:
        value = node.server.keyspace.databases[0].peek(key)
        assert type(value) is not Hash or value._readers is None
    again = loaded(data, tmp_path, 997)
    assert digest(again, *keys) == before
    for db in (*again.server.keyspace.databases, *node.server.keyspace.databases):
        for slot in db.slots:
            for value in slot.values.values() if slot else ():
                if not isinstance(value, bytes | bytearray):
                    (value.unpack() if hasattr(value, "unpack") else value).check()
    again.close()


def test_a_list_that_was_never_touched_is_written_node_by_node(node: Node, tmp_path: Path) -> None:
    fill_list(node, b"list")
    dumped = node(b"DUMP", b"list").partition(b"\r\n")[2][:-2]
    assert node(b"RESTORE", b"list", b"0", dumped, b"REPLACE") == b"+OK\r\n"
    before = digest(node, b"list")
    first = written(node)
    once = loaded(first, tmp_path, 1 << 20)
    twice = loaded(written(once), tmp_path, 4096)
    assert digest(once, b"list") == digest(twice, b"list") == before
    once.close()
    twice.close()


def test_elements_that_are_long_themselves(node: Node, tmp_path: Path) -> None:
    long = random.Random(1).randbytes(700_000)
    node(b"SET", b"string", long)
    node(b"HSET", b"hash", *pairs(b"f", 20), b"long", long, long, b"short")
    node(b"SADD", b"set", *words(b"m", 20), long)
    node(b"ZADD", b"zset", b"1", long, *[word for number in range(20) for word in (b"%d" % number, b"m:%d" % number)])
    node(b"RPUSH", b"list", b"a", long, *words(b"e", 600), long)
    keys = [b"string", b"hash", b"set", b"zset", b"list"]
    again = loaded(written(node), tmp_path, 100_000)
    assert digest(again, *keys) == digest(node, *keys)
    again.close()


def test_a_closed_source_lets_go_of_a_value_that_is_under_way(node: Node) -> None:
    fill_hash(node, b"hash")
    source = RdbSource(node.server)
    assert source.next_chunk(0) is not None
    source.close()
    source.close()
    assert source.next_chunk(0) is None
    assert not node.server.keyspace.databases[0].preservers
    assert node(b"HSET", b"hash", b"f:1", b"x") == b":0\r\n"
