"""Saving: in both ways, called off, failing, when asked for, and when nobody asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from node.persistence.loader import load_now
from node.persistence.source import CHUNK_BYTES, RdbSource
from tests.node.persistence.support import FaultyPlatform, Node, content

PATIENCE_S = 10


class Nursery:
    """Starts nodes whose tasks end with the test."""

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        self.nursery = nursery
        self.directory = directory
        self.nodes: list[Node] = []

    def node(self, **options: object) -> Node:
        platform = options.pop("platform", None) or FaultyPlatform()
        assert isinstance(platform, FaultyPlatform)
        node = Node(self.directory, platform=platform, spawn=self.nursery.start_soon, **options)
        self.nodes.append(node)
        node.saver.start()
        return node


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nursery]:
    async with trio.open_nursery() as nursery:
        started = Nursery(nursery, tmp_path)
        yield started
        nursery.cancel_scope.cancel()
    for node in started.nodes:
        node.close()


def saved(node: Node) -> object:
    """What the file holds."""
    again = Node(Path(node.server.config.dir))
    load_now(again.server)
    again.close()
    return content(again.server)


def populate(node: Node, keys: int = 20_000) -> None:
    db = node.server.keyspace.databases[0]
    for number in range(keys):
        db.set(b"key:%d" % number, b"value")


async def until_done(node: Node) -> None:
    with trio.fail_after(PATIENCE_S):
        while node.saver.background is not None:
            await trio.sleep(0.001)


async def until_saves(node: Node, saves: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while node.saver.saves < saves:
            await trio.sleep(0.001)
    await until_done(node)


async def test_save(nodes: Nursery) -> None:
    platform = FaultyPlatform()
    node = nodes.node(platform=platform)
    node(b"SET", b"a", b"1")
    assert node.saver.changes == 1
    assert node(b"SAVE") == b"+OK\r\n"
    assert saved(node) == content(node.server)
    assert platform.done == ["open", "fsync", "rename", "fsync directory"]
    assert [path.name for path in nodes.directory.iterdir()] == ["dump.rdb"]
    assert (node.saver.changes, node.saver.saves) == (0, 1)
    assert "DB saved on disk" in node.log
    now_s = node.server.platform.now_ms() // 1000
    assert now_s - 5 <= int(node(b"LASTSAVE")[1:-2]) <= now_s


async def test_background_save_is_of_the_moment_it_began(nodes: Nursery) -> None:
    node = nodes.node()
    populate(node)
    node(b"SET", b"counted", b"1")
    before = content(node.server)
    assert node(b"BGSAVE") == b"+Background saving started\r\n"
    rounds = 0
    while node.saver.background is not None:
        for number in range(rounds * 100, rounds * 100 + 100):
            node(b"SET", b"key:%d" % (20_000 - number), b"changed")
        rounds += 1
        await trio.sleep(0)
    assert rounds > 5, "the loop was not held"
    assert saved(node) == before
    assert node.saver.changes == rounds * 100
    assert re.search(r"Background saving started by pid \d+\n.*DB saved on disk", node.log)
    assert "Background saving terminated with success" in node.log
    assert [path.name for path in nodes.directory.iterdir()] == ["dump.rdb"]
    info = node.saver.info()
    assert (info["rdb_bgsave_in_progress"], info["rdb_last_bgsave_status"], info["rdb_saves"]) == (0, "ok", 1)
    assert 0 <= info["rdb_last_bgsave_time_sec"] < PATIENCE_S


async def test_in_a_transaction_it_is_scheduled(nodes: Nursery) -> None:
    node = nodes.node()
    node(b"MULTI")
    node(b"BGSAVE")
    node(b"SET", b"a", b"1")
    assert node(b"EXEC") == b"*2\r\n+Background saving scheduled\r\n+OK\r\n"
    assert node.saver.background is None
    node.server.timers.run_due()
    await until_saves(node, 1)
    assert saved(node) == content(node.server), "the whole transaction"


async def test_one_at_a_time(nodes: Nursery) -> None:
    node = nodes.node(rdb_key_save_delay=100_000)
    populate(node, 100)
    assert node(b"BGSAVE", b"SCHEDULE") == b"+Background saving started\r\n"
    busy = b"-ERR Background save already in progress\r\n"
    assert node(b"BGSAVE") == node(b"bgsave", b"schedule") == node(b"SAVE") == busy
    assert node(b"BGSAVE", b"what") == b"-ERR syntax error\r\n"
    assert node(b"BGSAVE", b"SCHEDULE", b"x") == b"-ERR syntax error\r\n"
    await trio.sleep(0)
    info = node.saver.info()
    assert (info["rdb_bgsave_in_progress"], info["current_save_keys_total"]) == (1, 100)
    assert (info["rdb_current_bgsave_time_sec"], info["rdb_last_bgsave_time_sec"]) == (0, -1)
    node.server.config.put("rdb-key-save-delay", 0)
    await until_done(node)
    assert node(b"BGSAVE") == b"+Background saving started\r\n"
    await until_done(node)


async def test_progress_is_told(nodes: Nursery) -> None:
    node = nodes.node(rdb_key_save_delay=1000)
    populate(node, 1000)
    node(b"BGSAVE")
    with trio.fail_after(PATIENCE_S):
        while not 0 < int(node.saver.info()["current_save_keys_processed"]) < 1000:
            await trio.sleep(0.001)
    assert 0 < float(node.saver.info()["current_fork_perc"]) < 100


async def test_a_save_that_is_called_off_changes_nothing(nodes: Nursery) -> None:
    node = nodes.node()
    node(b"SET", b"old", b"1")
    node(b"SAVE")
    old = saved(node)
    populate(node)
    for rounds in (0, 1, 2, 5, 20):
        node(b"BGSAVE")
        for _ in range(rounds):
            await trio.sleep(0)
        node.saver.cancel_background()
        node.saver.cancel_background()
        assert node.saver.background is None
        with trio.fail_after(PATIENCE_S):
            while len(list(nodes.directory.iterdir())) > 1:
                await trio.sleep(0.001)
        assert saved(node) == old
    assert not node.server.keyspace.databases[0].preservers
    assert node.saver.last_background_ok


async def test_flushall_rewrites_the_file(nodes: Nursery) -> None:
    node = nodes.node(save=[(3600, 1)])
    populate(node)
    node(b"SAVE")
    node(b"BGSAVE")
    node.server.keyspace.databases[0].flush()
    node.saver.flushed()
    assert saved(node) == {}
    for _ in range(100):
        await trio.sleep(0)
    assert saved(node) == {}
    node(b"SET", b"k", b"1")
    node(b"FLUSHALL")
    assert node.saver.changes == 0, "the file is as empty as the data set"
    quiet = nodes.node()
    populate(quiet, 10)
    quiet.saver.flushed()
    assert quiet.saver.saves == 0, "without save points FLUSHALL leaves the file alone"


@pytest.mark.parametrize("room", [0, 8, 100_000])
async def test_full_disk(nodes: Nursery, room: int) -> None:
    platform = FaultyPlatform()
    node = nodes.node(platform=platform, save=[(3600, 100)])
    node(b"SET", b"a", b"1")
    node(b"SAVE")
    old = saved(node)
    populate(node)
    platform.room = room
    assert node(b"SAVE") == b"-ERR\r\n"
    assert node(b"SET", b"a", b"2") == b"+OK\r\n", "a SAVE that fails does not stop writes"
    assert node(b"BGSAVE") == b"+Background saving started\r\n"
    await until_done(node)
    assert saved(node) == old
    assert [path.name for path in nodes.directory.iterdir()] == ["dump.rdb"]
    assert re.search(r"# Write error saving DB on disk \(.*/dump.rdb\): No space left on device", node.log)
    assert "# Background saving error" in node.log
    assert node.saver.info()["rdb_last_bgsave_status"] == "err"
    refusal = b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
    assert node(b"SET", b"a", b"3").startswith(refusal)
    assert node(b"PING").startswith(refusal)
    assert node(b"GET", b"a") == b"$1\r\n2\r\n"
    node.server.config.set([("stop-writes-on-bgsave-error", "no")])
    assert node(b"SET", b"a", b"4") == b"+OK\r\n"
    node.server.config.set([("stop-writes-on-bgsave-error", "yes")])
    assert node(b"SET", b"a", b"5").startswith(refusal)
    platform.room = 1 << 40
    node(b"BGSAVE")
    await until_done(node)
    assert node(b"SET", b"a", b"6") == b"+OK\r\n"


async def test_a_directory_that_is_gone(nodes: Nursery) -> None:
    node = nodes.node(dir=str(nodes.directory / "gone"))
    assert node(b"SAVE") == b"-ERR\r\n"
    node(b"BGSAVE")
    await until_done(node)
    assert not node.saver.last_background_ok
    assert "No such file or directory" in node.log


async def test_save_points(nodes: Nursery, mock_clock: trio.testing.MockClock) -> None:
    mock_clock.rate = 0

    async def pass_s(seconds: float) -> None:
        mock_clock.jump(seconds)
        node.server.timers.run_due()
        await until_done_by_hand()

    async def until_done_by_hand() -> None:
        while node.saver.background is not None:
            await trio.testing.wait_all_tasks_blocked()

    node = nodes.node(save=[(3600, 1), (300, 3)])
    node(b"SET", b"a", b"1")
    await pass_s(301)
    assert node.saver.saves == 0
    node(b"SET", b"a", b"2")
    await pass_s(0)
    assert node.saver.saves == 0
    node(b"SET", b"a", b"3")
    await pass_s(0)
    assert node.saver.saves == 1, "the third change, 300 seconds are over"
    assert "3 changes in 300 seconds. Saving..." in node.log
    node(b"SET", b"a", b"4")
    await pass_s(3600)
    assert node.saver.saves == 1
    await pass_s(1)
    assert node.saver.saves == 2
    await pass_s(7200)
    assert node.saver.saves == 2
    assert node.server.timers.next_ms == float("inf"), "an idle node sleeps"
    node(b"SET", b"a", b"5")
    await pass_s(0)
    assert node.saver.saves == 3


async def test_after_a_failure_the_next_try_waits(nodes: Nursery, mock_clock: trio.testing.MockClock) -> None:
    mock_clock.rate = 0
    node = nodes.node(save=[(1, 1)], dir=str(nodes.directory / "gone"))
    node(b"SET", b"a", b"1")
    tries = []
    for second in range(1, 20):
        mock_clock.jump(1)
        node.server.timers.run_due()
        while node.saver.background is not None:
            await trio.testing.wait_all_tasks_blocked()
        if node.saver.saves > len(tries):
            tries.append(second)
    assert tries == [2, 7, 12, 17]


async def test_a_scheduled_save_begins_after_the_command(nodes: Nursery) -> None:
    node = nodes.node()
    node.saver.schedule()
    assert node.saver.background is None
    node.server.timers.run_due()
    assert node.saver.background is not None
    node.saver.schedule()
    await until_done(node)
    node.server.timers.run_due()
    await until_saves(node, 2)


async def test_chunks_are_bounded_and_never_empty(nodes: Nursery) -> None:
    node = nodes.node()
    populate(node, 50_000)
    source = RdbSource(node.server)
    chunks = list(iter(lambda: source.next_chunk(1_000_000), None))
    assert len(chunks) > 10
    assert all(0 < len(chunk) < CHUNK_BYTES + 10_000 for chunk in chunks)
    assert source.keys_done == source.keys_total == 50_000
    assert source.next_chunk(1) is None
    closed = RdbSource(node.server)
    closed.next_chunk(1)
    closed.close()
    assert closed.next_chunk(1) is None
    assert not node.server.keyspace.databases[0].preservers


async def test_incremental_fsync(nodes: Nursery) -> None:
    platform = FaultyPlatform()
    node = nodes.node(platform=platform, rdbcompression=False)
    for number in range(10):
        node(b"SET", b"%d" % number, b"x" * 1_000_000)
    node(b"SAVE")
    assert platform.done.count("fsync") == 3
    node.server.config.put("rdb-save-incremental-fsync", False)
    platform.done.clear()
    node(b"SAVE")
    assert platform.done.count("fsync") == 1


async def test_config_set_save_takes_effect_at_once(nodes: Nursery, mock_clock: trio.testing.MockClock) -> None:
    mock_clock.rate = 0
    node = nodes.node()
    node(b"SET", b"a", b"1")
    mock_clock.jump(100)
    node.server.config.set([("save", "60 1")])
    assert node.saver.background is not None
    while node.saver.background is not None:
        await trio.testing.wait_all_tasks_blocked()
