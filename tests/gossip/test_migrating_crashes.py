"""Either node of a migration dies at each of its named points, whole nodes with files: rolled back, or completed.

Afterwards each slot has one owner in everybody's eyes, epochs have not gone back, every key is with the owner once,
and nobody holds writes back.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from gossip.moving.mover import POINTS
from node.slots import slot_of
from tests.gossip.migrating import key_in
from tests.gossip.shards import Member, Shards, shards

FIRST, LAST = 100, 139
KEYS = {key_in(slot, number).encode(): b"%d" % slot for slot in range(FIRST, LAST + 1) for number in range(3)}
BIG = key_in(FIRST, 99).encode()
"""A hash that goes in pieces."""
FIELDS = 2000


def fill(member: Member) -> None:
    for key, value in KEYS.items():
        member.ask("SET", key, value)
    member.ask("HSET", BIG, *[word for number in range(FIELDS) for word in (f"field:{number}", number)])


def epochs(cluster: Shards) -> dict[str, int]:
    return {name: member.cluster.state.myself.config_epoch for name, member in cluster.members.items() if member.server}


async def check(cluster: Shards) -> None:
    """Everything about the moved slots is as it must be."""
    owner = cluster.owner(FIRST)
    assert all(cluster.owner(slot) is owner for slot in range(FIRST, LAST + 1))
    wanted = {*KEYS, BIG}
    mine = {key for key in owner.all_keys() if FIRST <= slot_of(key) <= LAST}
    assert mine == wanted, (owner.name, len(mine), len(wanted))
    assert all(owner.ask("GET", key) == value for key, value in KEYS.items())
    assert owner.ask("HLEN", BIG) == FIELDS
    for member in cluster.members.values():
        node = member.cluster.state.myself
        if node.source.id != owner.id:
            await cluster.until(
                lambda member=member: not wanted & member.all_keys(), f"{member.name} has dropped its keys"
            )
        assert not member.up.slot_pause.held and not member.up.keyspace.arriving
        await cluster.until(lambda member=member: not member.cluster.state.leftover, f"{member.name}: nothing is left")
        member.cluster.state.check()
        for db in member.up.keyspace.databases:
            db.check()


async def crash_at(directory: Path, point: str, who: str) -> None:
    async with shards(directory) as cluster:
        source, target = cluster["p1"], cluster["p3"]
        fill(source)
        before = epochs(cluster)
        dying = source if who == "source" else target
        dying.deadly = point
        task = target.ask("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
        assert isinstance(task, bytes) and len(task) == 40
        await cluster.until(lambda: dying.server is None, f"{who} dies at {point}")
        await trio.sleep(0.2)
        await cluster.start(dying)
        await cluster.until(cluster.agreed, "all agree again")
        mover = target.mover if who == "source" else source.mover
        await cluster.until(lambda: not mover.book.active() and not source.mover.book.active(), "the task is over")
        await cluster.until(cluster.agreed, "all agree again")
        await check(cluster)
        after = epochs(cluster)
        assert all(after[name] >= before[name] for name in before)


CASES = [(point, point.partition(" ")[0]) for point in POINTS if point != "dropping"]
CASES += [("dropping", "source")]


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] in ("target saved", "source held")])
async def test_death_around_the_commit(tmp_path: Path, point: str, who: str) -> None:
    await crash_at(tmp_path, point, who)


@pytest.mark.long
@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] not in ("target saved", "source held")])
async def test_death_at_each_point(tmp_path: Path, point: str, who: str) -> None:
    await crash_at(tmp_path, point, who)


async def test_a_migration_in_peace(tmp_path: Path) -> None:
    async with shards(tmp_path) as cluster:
        source, target = cluster["p1"], cluster["p3"]
        fill(source)
        target.ask("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
        await cluster.until(lambda: not target.mover.book.active(), "the task is over")
        await cluster.until(cluster.agreed, "all agree")
        assert cluster.owner(FIRST) is target
        await check(cluster)


async def fails_over(cluster: Shards, dying: Member, heir: Member) -> None:
    """The one that dies stays away until its replica has taken its place; then it comes back as a replica."""
    await cluster.until(lambda: dying.server is None, f"{dying.name} dies")
    await cluster.until(lambda: heir.cluster.state.myself.is_primary, f"{heir.name} takes its place")
    await cluster.start(dying)
    await cluster.until(cluster.agreed, "all agree again")


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("target copied", marks=pytest.mark.long),
        *(pytest.param(point, marks=pytest.mark.proof) for point in ("target copying", "target settled")),
    ],
)
async def test_a_replica_of_the_target_drops_what_was_half_there(tmp_path: Path, point: str) -> None:
    async with shards(tmp_path, replicas=1) as cluster:
        source, target, heir = cluster["p1"], cluster["p3"], cluster["r3"]
        fill(source)
        target.deadly = point
        target.ask("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
        await fails_over(cluster, target, heir)
        await cluster.until(lambda: not source.mover.book.active(), "the source knows that it is over")
        assert cluster.owner(FIRST) is source
        await check(cluster)


@pytest.mark.long
async def test_a_replica_of_the_target_has_what_was_taken(tmp_path: Path) -> None:
    async with shards(tmp_path, replicas=1) as cluster:
        source, target, heir = cluster["p1"], cluster["p3"], cluster["r3"]
        fill(source)
        target.ask("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
        heard = source.cluster.state.owners
        await cluster.until(lambda: heard[FIRST] is not None and heard[FIRST].id == target.id, "the source has heard")
        target.kill()
        await fails_over(cluster, target, heir)
        assert cluster.owner(FIRST) is heir
        await check(cluster)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("source held", marks=pytest.mark.long),
        *(pytest.param(point, marks=pytest.mark.proof) for point in ("source copied", "source ready")),
    ],
)
async def test_an_import_goes_on_with_the_heir_of_the_source(tmp_path: Path, point: str) -> None:
    async with shards(tmp_path, replicas=1) as cluster:
        source, target, heir = cluster["p1"], cluster["p3"], cluster["r1"]
        fill(source)
        await cluster.until(lambda: {*KEYS, BIG} <= heir.all_keys(), "the replica has everything")
        source.deadly = point
        task = target.ask("CLUSTER", "MIGRATION", "IMPORT", FIRST, LAST)
        await fails_over(cluster, source, heir)
        await cluster.until(lambda: not target.mover.book.active(), "the task is over")
        assert target.mover.book.tasks[task.decode()].state == "completed"
        await cluster.until(cluster.agreed, "all agree")
        assert cluster.owner(FIRST) is target
        await check(cluster)
