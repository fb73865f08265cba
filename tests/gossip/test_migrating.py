"""Slots that go to another primary, between whole nodes in this process: what clients and operators see of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.net.client import RespClient
from node.net.resp import Failure
from node.platform import Platform
from node.slots import slot_of
from tests.gossip.migrating import as_dict, key_in
from tests.gossip.shards import Member, Shards, shards

FIRST, LAST = 100, 119
STALL_S = 0.02


@asynccontextmanager
async def moving(directory: Path, **options: Any) -> AsyncIterator[tuple[Shards, Member, Member]]:
    """A cluster, the owner of the slots, and who is to get them."""
    async with shards(directory, **options) as cluster:
        yield cluster, cluster["p1"], cluster["p3"]


async def client_of(member: Member) -> RespClient:
    return await RespClient.connect(Platform(), "127.0.0.1", member.port)


async def until_over(cluster: Shards, member: Member, limit_s: float = 20) -> dict[str, Any]:
    """The member's last task, once it is over and all agree."""
    await cluster.until(lambda: not member.mover.book.active(), "the task is over", limit_s)
    await cluster.until(cluster.agreed, "all agree")
    return as_dict([word for pair in member.ask("CLUSTER", "MIGRATION", "STATUS", "ALL")[-1:] for word in pair])


def import_slots(member: Member, first: int = FIRST, last: int = LAST) -> bytes:
    task = member.ask("CLUSTER", "MIGRATION", "IMPORT", first, last)
    assert isinstance(task, bytes) and len(task) == 40, task
    return task


def fill_types(member: Member) -> list[str]:
    """Keys of every type, short and long."""
    keys = [key_in(FIRST + number % 20, number) for number in range(14)]
    commands: list[list[Any]] = [
        ["SET", "x"], ["SET", 12], ["SET", "y" * 300_000], ["RPUSH", *range(5)], ["RPUSH", *range(3000)],
        ["SADD", *range(9)], ["SADD", *(f"m{n}" for n in range(2000))], ["ZADD", 1.5, "a", 2, "b"],
        ["ZADD", *(word for n in range(1500) for word in (n / 7, f"m{n}"))],
        ["HSET", "f", "v"], ["HSET", *(word for n in range(1500) for word in (f"f{n}", n))],
        ["XADD", "1-1", "f", "v"], ["PFADD", *range(100)], ["SETRANGE", 5, "z"],
    ]  # fmt: skip
    for key, (name, *words) in zip(keys, commands, strict=True):
        member.ask(name, key, *words)
    member.ask("XGROUP", "CREATE", keys[11], "g", 0)
    member.ask("XREADGROUP", "GROUP", "g", "me", "STREAMS", keys[11], ">")
    member.ask("EXPIRE", keys[0], 1000)
    member.ask("EXPIRE", keys[10], 1000)
    return keys


async def test_every_type_arrives_as_it_was(tmp_path: Path) -> None:
    async with moving(tmp_path, replicas=1) as (cluster, source, target):
        keys = fill_types(source)
        before = source.ask("DEBUG", "DIGEST-VALUE", *keys)
        deadlines = [source.ask("PEXPIRETIME", key) for key in keys]
        import_slots(target)
        task = await until_over(cluster, target)
        assert (task["state"], task["operation"], task["last_error"]) == ("completed", "import", "")
        assert target.ask("DEBUG", "DIGEST-VALUE", *keys) == before
        assert [target.ask("PEXPIRETIME", key) for key in keys] == deadlines
        assert source.ask("DBSIZE") == 0 and target.ask("DBSIZE") == len(keys)
        replica = cluster["r3"]
        await cluster.until(lambda: replica.ask("DEBUG", "DIGEST") == target.ask("DEBUG", "DIGEST"), "r3 has the same")
        await cluster.until(lambda: cluster["r1"].ask("DBSIZE") == 0, "r1 has dropped them")
        assert source.ask("GET", keys[0]) == Failure(b"MOVED 100 127.0.0.1:%d" % target.port)


async def test_clients_lose_nothing_and_see_one_moved_and_no_ask(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        keys = [key_in(slot, 1) for slot in range(FIRST, LAST + 1)]
        told: list[bytes] = []
        confirmed = dict.fromkeys(keys, 0)
        async with await client_of(source) as one, await client_of(target) as other, trio.open_nursery() as nursery:

            async def write() -> None:
                at = one
                while True:
                    for key in keys:
                        reply = await at.call("INCR", key)
                        if isinstance(reply, Failure):
                            told.append(bytes(reply))
                            at = other if at is one else one
                            reply = await at.call("INCR", key)
                        assert reply == confirmed[key] + 1, (key, reply, confirmed[key])
                        confirmed[key] = reply
                        await at.call("EVAL", "redis.call('lpush', KEYS[1], 1) redis.call('ltrim', KEYS[1], 0, 9)",
                                      1, key + ":list")  # fmt: skip

            nursery.start_soon(write)
            await trio.sleep(0.2)
            import_slots(target)
            await until_over(cluster, target)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
        assert [word.split(b" ", 1)[0] for word in told] == [b"MOVED"]
        assert cluster.owner(FIRST) is target
        for key in keys:
            assert int(target.ask("GET", key)) in (confirmed[key], confirmed[key] + 1)  # the last one has no reply
            assert target.ask("LLEN", key + ":list") <= 10


async def test_who_waits_or_listens_at_a_slot_that_goes_is_told(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        pushes: list[Any] = []
        async with await client_of(source) as waiting, await client_of(source) as listening:
            await listening.call("HELLO", 3)
            listening.on_push = pushes.append
            listening_to = key_in(FIRST, 5)
            async with trio.open_nursery() as nursery:
                replies: list[Any] = []

                async def wait() -> None:
                    replies.append(await waiting.call("BLPOP", key_in(FIRST, 4), 0, timeout_ms=20_000))

                async def listen() -> None:
                    with trio.move_on_after(20):
                        await listening.call("SSUBSCRIBE", listening_to, timeout_ms=1000)

                nursery.start_soon(wait)
                await cluster.until(lambda: bool(source.up.keyspace.waiters.keys), "somebody waits")
                with trio.move_on_after(0.1):
                    await listen()
                import_slots(target)
                await until_over(cluster, target)
            assert replies == [Failure(b"MOVED 100 127.0.0.1:%d" % target.port)]
            assert not source.up.pubsub.shard_channels


async def test_nobody_sees_what_is_on_its_way(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        keys = fill_types(source)
        seen: list[Any] = []

        def look(point: str) -> None:
            if point in ("target copied", "target settled"):
                assert target.all_keys() >= set(map(str.encode, keys))
                seen.append([
                    target.ask("DBSIZE"), target.ask("KEYS", "*"), target.ask("SCAN", 0), target.ask("RANDOMKEY"),
                    target.ask("CLUSTER", "COUNTKEYSINSLOT", FIRST), target.ask("CLUSTER", "GETKEYSINSLOT", FIRST, 9),
                ])  # fmt: skip
                assert b"keys=" not in target.ask("INFO", "keyspace")
                assert isinstance(target.ask("GET", keys[0]), Failure)

        target.mover.passes = look
        import_slots(target)
        await until_over(cluster, target)
        assert seen == [[0, [], [b"0", []], None, 0, []]] * 2
        assert target.ask("DBSIZE") == len(keys)


@pytest.mark.parametrize("where", ["source", "target"])
async def test_a_flush_ends_it(tmp_path: Path, where: str) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        fill_types(source)
        flushed = source if where == "source" else target

        def flush(point: str) -> None:
            if point == "target copied":
                flushed.ask("FLUSHALL")

        target.mover.passes = flush
        import_slots(target)
        task = await until_over(cluster, target)
        assert task["state"] == "failed" and "flushed" in task["last_error"], task
        assert cluster.owner(FIRST) is source
        await cluster.until(lambda: not target.all_keys(), "nothing is left at the target")
        assert source.ask("DBSIZE") == (0 if where == "source" else 14)


@pytest.mark.parametrize("point", ["target began", "target copying", "target asked"])
async def test_a_canceled_import_leaves_nothing_behind(tmp_path: Path, point: str) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        keys = fill_types(source)

        def cancel(passed: str) -> None:
            if passed == point:
                target.mover.passes = lambda _point: None
                target.up.timers.after(0, lambda: target.ask("CLUSTER", "MIGRATION", "CANCEL", "ALL"))

        target.mover.passes = cancel
        import_slots(target)
        task = await until_over(cluster, target)
        assert task["state"] in ("canceled", "completed")
        if task["state"] == "canceled":
            await cluster.until(lambda: not source.mover.book.active(), "the source knows")
            assert cluster.owner(FIRST) is source and source.ask("DBSIZE") == len(keys)
            await cluster.until(lambda: not target.all_keys(), "nothing is left at the target")
            assert source.ask("SET", keys[0], 1) == "OK" or not source.up.slot_pause.held


async def test_valkeys_words_lead_to_the_same(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        keys = fill_types(source)
        reply = source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", FIRST, 109, 110, LAST, "NODE", target.id)
        assert reply == "OK" or reply == b"OK", reply
        await cluster.until(lambda: cluster.owner(FIRST) is target, "the slots have gone")
        await until_over(cluster, source)
        (job,) = (as_dict(pairs) for pairs in source.ask("CLUSTER", "GETSLOTMIGRATIONS"))
        assert (job["operation"], job["slot_ranges"], job["state"]) == ("EXPORT", f"{FIRST}-{LAST}", "success")
        (theirs,) = (as_dict(pairs) for pairs in target.ask("CLUSTER", "GETSLOTMIGRATIONS"))
        assert (theirs["operation"], theirs["name"], theirs["state"]) == ("IMPORT", job["name"], "success")
        assert target.ask("DBSIZE") == len(keys)


async def test_a_source_calls_off_what_it_has_begun_and_no_more(tmp_path: Path) -> None:
    """What the target was told to get, it tries again to get."""
    async with moving(tmp_path) as (cluster, source, target):
        fill_types(source)
        cancels: list[Any] = []

        def cancel(point: str) -> None:
            if point == "source asked" and not cancels:
                cancels.append(source.up.timers.after(0, lambda: source.ask("CLUSTER", "CANCELSLOTMIGRATIONS")))

        source.mover.passes = cancel
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", FIRST, LAST, "NODE", target.id)
        await cluster.until(lambda: bool(cancels), "the target has come")
        await until_over(cluster, source)
        await until_over(cluster, target)
        assert [member.mover.book.active() for member in (source, target)] == [[], []]
        (job,) = (as_dict(pairs) for pairs in source.ask("CLUSTER", "GETSLOTMIGRATIONS"))
        (theirs,) = (as_dict(pairs) for pairs in target.ask("CLUSTER", "GETSLOTMIGRATIONS"))
        assert (job["state"], theirs["state"]) == ("cancelled", "failed") and cluster.owner(FIRST) is source
        cancels.clear()
        import_slots(target)
        await cluster.until(lambda: bool(cancels), "the target has come")
        task = await until_over(cluster, target)
        assert task["state"] == "completed" and task["retries"] > 0


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        del cluster

        def refused(member: Member, *words: Any) -> str:
            reply = member.ask("CLUSTER", *words)
            assert isinstance(reply, Failure), reply
            return reply.decode()

        assert "already the owner" in refused(source, "MIGRATION", "IMPORT", 1, 2)
        assert "several nodes" in refused(target, "MIGRATION", "IMPORT", 5000, 6000)
        assert "syntax" in refused(target, "MIGRATION", "IMPORT", 5)
        assert "out of range" in refused(target, "MIGRATION", "IMPORT", 5, 16384)
        assert "greater than" in refused(target, "MIGRATION", "IMPORT", 9, 5)
        assert "overlaps" in refused(target, "MIGRATION", "IMPORT", 5, 9, 9, 12)
        assert "syntax" in refused(source, "MIGRATESLOTS", "SLOTSRANGE", 1, 2, "NODES", "x", "y")
        assert "named by 40" in refused(source, "MIGRATESLOTS", "SLOTSRANGE", 1, 2, "NODE", "x")
        assert "not a primary" in refused(source, "MIGRATESLOTS", "SLOTSRANGE", 1, 2, "NODE", "c" * 40)
        assert "this node's" in refused(target, "MIGRATESLOTS", "SLOTSRANGE", 1, 2, "NODE", source.id)
        target.ask("CLUSTER", "SETSLOT", 7, "IMPORTING", source.id)
        assert "key by key" in refused(target, "MIGRATION", "IMPORT", 5, 9)
        target.ask("CLUSTER", "SETSLOT", 7, "STABLE")
        target.cluster.state.nodes[source.id].speaks_hexad = False
        assert "redis-cli --cluster reshard" in refused(target, "MIGRATION", "IMPORT", 5, 9)


async def test_files_and_late_replicas_have_what_came_meanwhile(tmp_path: Path) -> None:
    """The append-only file is written anew, and a replica synchronizes, while half of it is here."""
    async with moving(tmp_path, replicas=1) as (cluster, source, target):
        keys, replica = fill_types(source), cluster["r3"]
        before = source.ask("DEBUG", "DIGEST-VALUE", *keys)
        steps: list[str] = []

        def meanwhile(point: str) -> None:
            if point == "target copied" and not steps:
                steps.append(point)
                target.ask("BGREWRITEAOF")
                target.up.replication.primary.restart_stream()  # its replica has to synchronize anew

        target.mover.passes = meanwhile
        import_slots(target)
        await until_over(cluster, target)
        await cluster.until(lambda: target.up.aof.rewriter.background is None, "the file is written")
        await cluster.until(lambda: replica.ask("DEBUG", "DIGEST") == target.ask("DEBUG", "DIGEST"), "r3 has it all")
        target.kill()
        await cluster.until(lambda: target.server is None, "it ends")
        await cluster.start(target)
        assert target.ask("DEBUG", "DIGEST-VALUE", *keys) == before


async def test_who_gives_all_its_slots_away_becomes_a_replica_of_the_taker(tmp_path: Path) -> None:
    async with moving(tmp_path, appendfsync="always") as (cluster, source, target):
        keys = fill_types(source)
        import_slots(target, 0, 5460)
        await until_over(cluster, target)
        await cluster.until(lambda: source.up.replication.link_is_up, "it follows")
        await cluster.until(lambda: source.ask("DEBUG", "DIGEST") == target.ask("DEBUG", "DIGEST"), "with all data")
        assert target.ask("DBSIZE") == len(keys) and source.cluster.state.myself.is_replica


async def test_a_pause_here_ends_the_attempt_and_the_next_one_comes_through(tmp_path: Path) -> None:
    async with moving(tmp_path) as (cluster, source, target):
        fill_types(source)

        def pause(point: str) -> None:
            if point == "target connected":
                target.mover.passes = lambda _point: None
                target.ask("CLIENT", "PAUSE", 300, "WRITE")

        target.mover.passes = pause
        import_slots(target)
        task = await until_over(cluster, target)
        assert task["state"] == "completed" and task["retries"] > 0
        assert target.ask("DBSIZE") == 14


@pytest.mark.long
async def test_a_big_hash_stalls_nobody(tmp_path: Path) -> None:
    """Both nodes run in this thread: what it takes at a time, of CPU, bounds what either takes."""
    fields = 200_000
    async with moving(tmp_path, appendonly="no", cluster_node_timeout=15_000) as (cluster, source, target):
        key = key_in(FIRST, 1)
        for first in range(0, fields, 5000):
            words = [word for n in range(first, first + 5000) for word in (f"field:{n}", n)]
            assert source.ask("HSET", key, *words) == 5000
            await trio.sleep(0)
        longest_s = 0.0

        async def watch(over: Callable[[], Awaitable[Any]]) -> None:
            nonlocal longest_s
            async with trio.open_nursery() as nursery:

                async def sample() -> None:
                    nonlocal longest_s
                    since = time.thread_time()
                    while True:
                        await trio.lowlevel.checkpoint()
                        now = time.thread_time()
                        longest_s, since = max(longest_s, now - since), now

                nursery.start_soon(sample)
                await over()
                nursery.cancel_scope.cancel()

        import_slots(target)
        await watch(lambda: until_over(cluster, target, 60))
        assert cluster.owner(FIRST) is target and target.ask("HLEN", key) == fields
        assert longest_s < 2 * STALL_S, f"{longest_s * 1000:.0f} ms"
        assert slot_of(key.encode()) == FIRST
