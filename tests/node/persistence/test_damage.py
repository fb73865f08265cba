"""Damaged files and failing disks: an error that says what and where, the old file stays, and service goes on."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from node.persistence.inspection import inspection_of
from node.persistence.loader import LoadError, StreamLoader, load_now
from node.persistence.source import RdbSource
from node.platform import Platform
from node.rdb.codec import RdbError
from tests.node.persistence.support import Node, content

PATIENCE_S = 10
OPERATIONS = ("open", "write", "fsync", "close", "rename", "fsync directory")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def fill(node: Node, elements: int = 3) -> None:
    """A key of each type, small and long ones."""
    numbers = range(elements)
    node(b"SET", b"string", b"value")
    node(b"SET", b"number", b"12345", b"PX", b"100000000")
    node(b"SET", b"compressed", b"ab" * 40)
    node(b"RPUSH", b"list", *[b"element:%d" % number for number in numbers])
    node(b"SADD", b"intset", *[b"%d" % number for number in numbers])
    node(b"SADD", b"set", *[b"member:%d" % number for number in numbers])
    node(b"ZADD", b"zset", *[word for number in numbers for word in (b"%d" % number, b"member:%d" % number)])
    node(b"HSET", b"hash", *[word for number in numbers for word in (b"field:%d" % number, b"v")])
    for number in numbers:
        node(b"XADD", b"stream", b"%d-1" % (number + 1), b"field", b"value")
    node(b"XGROUP", b"CREATE", b"stream", b"group", b"0")
    node(b"XREADGROUP", b"GROUP", b"group", b"one", b"COUNT", b"2", b"STREAMS", b"stream", b">")


def rdb_of(node: Node) -> bytes:
    source = RdbSource(node.server)
    return b"".join(iter(lambda: source.next_chunk(0), None))


def load(data: bytes, node: Node) -> None:
    """As a node does at start. Raises RdbError."""
    loader = StreamLoader(node.server, node.server.keyspace.databases)
    loader.feed(data)
    while loader.step():
        pass
    loader.finish()


def refusals(damaged: Iterator[bytes], node: Node) -> Iterator[RdbError]:
    """What is said of each of these; a load that succeeds, or ends otherwise, fails the test."""
    for data in damaged:
        with pytest.raises(RdbError) as refused:
            load(data, node)
        assert 0 <= refused.value.offset <= len(data), "it says where"
        node(b"FLUSHALL", b"ASYNC")
        inspection = inspection_of(data)
        if inspection is not None:
            _ = inspection.feed(data)
            inspection.finish()
            assert inspection.findings.error is not None
        yield refused.value


def test_each_byte_flipped(node: Node, tmp_path: Path) -> None:
    fill(node)
    whole = rdb_of(node)
    other = Node(tmp_path)
    luck = random.Random(1)
    flipped = (whole[:at] + bytes((whole[at] ^ luck.randrange(1, 256),)) + whole[at + 1 :] for at in range(len(whole)))
    assert len(list(refusals(flipped, other))) == len(whole)
    other.close()


def test_cut_everywhere(node: Node, tmp_path: Path) -> None:
    fill(node)
    whole = rdb_of(node)
    other = Node(tmp_path)
    errors = list(refusals((whole[:size] for size in range(len(whole))), other))
    assert {error.reason for error in errors} == {"Short read, the data ends before the end of the RDB"}
    assert [error.offset for error in errors] == list(range(len(whole)))
    other.close()


def test_a_big_one_damaged_at_random(node: Node, tmp_path: Path) -> None:
    fill(node, 2000)
    whole = rdb_of(node)
    other = Node(tmp_path)
    luck = random.Random(2)

    def damaged() -> Iterator[bytes]:
        for _ in range(25):
            at, length = luck.randrange(len(whole)), luck.choice((1, 1, 8, 500))
            yield whole[:at] + luck.randbytes(length) + whole[at + length :]

    assert len(list(refusals(damaged(), other))) == 25
    other.close()


# --- the disk ---------------------------------------------------------------------------------------------------------


class FailingFile:
    """A file whose operations are the platform's to fail."""

    def __init__(self, file: IO[bytes], platform: FailingPlatform) -> None:
        self._file, self._platform = file, platform

    def write(self, data: Any) -> int:
        self._platform.step("write")
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        self._platform.step("close")

    def fileno(self) -> int:
        return self._file.fileno()


class FailingPlatform(Platform):
    """Fails the operation number `fail_at` that changes files, and (`broken`) all that follow."""

    def __init__(self, fail_at: int = -1, code: int = errno.EIO, broken: bool = False) -> None:
        super().__init__(1)
        self.fail_at, self.code, self.broken = fail_at, code, broken
        self.done: list[str] = []

    def step(self, name: str) -> None:
        at = len(self.done)
        self.done.append(name)
        if at == self.fail_at or (self.broken and at > self.fail_at >= 0):
            raise OSError(self.code, "Input/output error" if self.code == errno.EIO else "No space left on device")

    def open_write(self, path: str) -> Any:
        self.step("open")
        return FailingFile(super().open_write(path), self)

    def fsync(self, file: Any) -> None:
        self.step("fsync")
        super().fsync(file)

    def replace(self, old: str, new: str) -> None:
        self.step("rename")
        super().replace(old, new)

    def fsync_directory(self, path: str) -> None:
        self.step("fsync directory")
        super().fsync_directory(path)


async def save(node: Node, way: bytes) -> bool:
    """SAVE or BGSAVE; did it succeed?"""
    reply = node(way)
    with trio.fail_after(PATIENCE_S):
        while node.saver.background is not None:
            await trio.sleep(0.001)
    return node.saver.last_background_ok if way == b"BGSAVE" else reply == b"+OK\r\n"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("way", [b"SAVE", b"BGSAVE"])
@pytest.mark.parametrize("broken", [False, True], ids=["once", "from then on"])
async def test_each_operation_fails(way: bytes, code: int, broken: bool, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for fail_at, operation in enumerate(OPERATIONS):
            directory = tmp_path / str(fail_at)
            directory.mkdir()
            platform = FailingPlatform()
            node = Node(directory, platform=platform, spawn=nursery.start_soon)
            fill(node)
            assert await save(node, b"SAVE")
            old = (directory / "dump.rdb").read_bytes()
            node(b"SET", b"newer", b"1")
            platform.done, platform.fail_at, platform.code, platform.broken = [], fail_at, code, broken
            assert not await save(node, way), operation
            assert platform.done[fail_at] == operation
            assert f"Write error saving DB on disk ({directory}/dump.rdb): " in node.log
            if operation != "fsync directory":
                assert (directory / "dump.rdb").read_bytes() == old
            assert [path.name for path in directory.iterdir()] == ["dump.rdb"], operation
            assert node(b"GET", b"newer") == b"$1\r\n1\r\n", "service goes on"
            platform.fail_at, platform.broken = -1, False
            assert await save(node, way)
            again = Node(directory)
            load_now(again.server)
            assert again(b"DEBUG", b"DIGEST") == node(b"DEBUG", b"DIGEST")
            for each in (again, node):
                each.close()
        nursery.cancel_scope.cancel()


def test_what_is_said_at_start(node: Node, tmp_path: Path) -> None:
    fill(node)
    assert node(b"SAVE") == b"+OK\r\n"
    data = (tmp_path / "dump.rdb").read_bytes()
    (tmp_path / "dump.rdb").write_bytes(data[:50] + b"\xff" + data[51:])
    other = Node(tmp_path)
    before = content(other.server)
    with pytest.raises(LoadError, match=r"dump\.rdb: .+, at offset \d+ of \d+ bytes\. .*hexad check"):
        load_now(other.server)
    assert before == {}
    other.close()
