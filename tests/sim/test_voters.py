"""Small clusters whose replicas vote: they elect where Redis's rule cannot, and never twice, whatever the weather."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import gossip.voters
from gossip.core import Core
from gossip.electorate import NO_ROUND, Electorate
from gossip.events import ClusterError, Failover, Forget, Meet, Replicate, Reset, SettingsChanged
from gossip.membership import FORGET_MS
from gossip.steps import Step
from tests.sim.test_storms import HEALED_MS
from tests.sim.world import Host, World

SETTLED_MS = 15_000


def names(world: World) -> list[str]:
    """Return the agreed voters as all hosts that are up know them."""
    views = {host.up.state.electorate.members for host in world.hosts.values() if host.machine is not None}
    assert len(views) == 1, world.describe()
    return sorted(world.ids.get(one, one[:6]) for one in views.pop())


def settled(primaries: int, replicas: int, seed: int = 7) -> World:
    world = World(seed, primaries=primaries, replicas=replicas, replica_votes=True)
    world.run_until(lambda: world.agreed() and all_have(world, odd(len(world.hosts))), SETTLED_MS)
    return world


def odd(count: int) -> int:
    """The largest odd number of voters among so many nodes."""
    return count - 1 + count % 2


def all_have(world: World, count: int) -> bool:
    return all(len(host.up.state.electorate.members) == count for host in world.hosts.values() if host.machine)


def primary_of(world: World, host: Host) -> str:
    """Name of the primary of a host's shard, or of itself, as it sees that."""
    return world.ids[host.up.state.myself.source.id]


def test_one_shard_with_two_replicas_elects() -> None:
    world = settled(1, 2)
    assert names(world) == ["p1", "r1", "s1"]
    for _ in range(2):
        (primary,) = (host for host in world.hosts.values() if host.up.state.myself.is_primary)
        primary.crash()
        alive = [host for host in world.hosts.values() if host.machine is not None]
        took_ms = world.run_until(lambda alive=alive: any(h.up.state.myself.is_primary for h in alive), 8000)
        assert took_ms < 6000
        world.run_until(lambda alive=alive: all(h.up.state.ok for h in alive), 8000)
        primary.start()
        world.run_until(lambda: world.agreed() and all_have(world, 3), SETTLED_MS)


def test_by_the_rule_of_redis_one_shard_elects_nobody() -> None:
    world = World(7, primaries=1, replicas=2)
    world.run_until(world.agreed, 8000)
    world.hosts["p1"].crash()
    world.run(30_000)
    assert all(host.up.state.myself.is_replica for host in world.hosts.values() if host.machine is not None)


@pytest.mark.parametrize("replicas", [1, 2])
def test_two_shards_elect(replicas: int) -> None:
    world = settled(2, replicas)
    assert names(world)[:2] == ["p1", "p2"]
    world.hosts["p1"].crash()
    alive = [host for host in world.hosts.values() if host.machine is not None]
    replica = world.hosts["r1"]
    world.run_until(lambda: primary_of(world, replica) != "p1" and all(h.up.state.ok for h in alive), 12_000)


def test_the_lone_primary_of_a_partition_stops_and_the_majority_goes_on() -> None:
    world = settled(1, 2)
    world.isolate(["p1"])
    two = [world.hosts["r1"], world.hosts["s1"]]
    world.run_until(lambda: all(host.up.state.ok and host.up.state.myself.source.slots for host in two), 12_000)
    world.run_until(lambda: any(host.up.state.myself.is_primary for host in two), 12_000)
    assert world.hosts["p1"].up.state.myself.is_primary and not world.hosts["p1"].up.state.ok
    world.heal()
    world.run_until(world.agreed, SETTLED_MS)
    assert world.hosts["p1"].up.state.myself.is_replica


def test_an_ordered_failover_of_one_shard_is_voted_for_by_its_replicas() -> None:
    world = settled(1, 2)
    world.hosts["s1"].handle(Failover())
    took_ms = world.run_until(lambda: world.hosts["s1"].up.state.myself.is_primary, 3000)
    assert took_ms < 1000
    world.run_until(world.agreed, 5000)
    world.run(5000)  # so long there is no second vote about one primary
    world.hosts["r1"].handle(Failover("FORCE"))
    world.run_until(lambda: world.hosts["r1"].up.state.myself.is_primary and world.agreed(), 5000)


def test_two_nodes_keep_the_rule_of_redis() -> None:
    world = World(3, primaries=1, replicas=1, replica_votes=True)
    world.run(SETTLED_MS)
    assert world.agreed() and names(world) == []
    assert world.hosts["p1"].up.core.proposal.why_not == "fewer than 3 nodes are known"


def test_a_forgotten_voter_leaves_and_one_that_is_met_joins() -> None:
    world = settled(1, 4)
    assert len(names(world)) == 5
    gone = world.hosts["u1"]
    for host in world.hosts.values():
        if host is not gone:
            host.handle(Forget(gone.up.state.myself.id))
    gone.handle(Reset())
    world.ids[gone.up.state.myself.id] = "u1"
    assert gone.up.state.myself.id != f"{0xA5:02x}" * 20, "a reset voter is another node"
    rest = [host for host in world.hosts.values() if host is not gone]
    world.run_until(lambda: all(len(host.up.state.electorate.members) == 3 for host in rest), 30_000)
    world.hosts["p1"].handle(Meet(gone.ip, 7000, 17000))
    world.run_until(lambda: len(gone.up.state.nodes) == 5, 30_000)
    gone.handle(Replicate(world.hosts["p1"].up.state.myself.id))
    world.run_until(lambda: all_have(world, 5) and world.agreed(), 30_000)


def test_a_failed_voter_makes_way_for_one_that_lives() -> None:
    world = settled(2, 1)
    assert names(world) == ["p1", "p2", "r1"]
    world.hosts["p1"].crash()
    world.run_until(lambda: "r2" in names(world) and "p1" not in names(world), 60_000)
    assert len(names(world)) == 3


def test_switched_off_anywhere_the_primaries_vote_again() -> None:
    world = settled(1, 2)
    replica = world.hosts["s1"]
    replica.settings.replica_votes = False
    replica.handle(SettingsChanged())
    world.run_until(lambda: all_have(world, 0), 8000)
    version = replica.up.state.electorate.version
    assert world.hosts["p1"].up.core.proposal.why_not == f"node {replica.up.state.myself.id} has it off"
    world.run(5000)
    assert replica.up.state.electorate.version == version
    replica.settings.replica_votes = True
    replica.handle(SettingsChanged())
    world.run_until(lambda: all_have(world, 3) and world.agreed(), SETTLED_MS)


def test_a_genuine_node_keeps_or_brings_back_the_rule_of_redis() -> None:
    world = World(5, primaries=3, replicas=1, replica_votes=True)
    stranger = world.hosts["r3"]
    stranger.genuine = True
    world.run(SETTLED_MS)
    assert world.agreed() and names(world) == []
    why = f"node {stranger.up.state.myself.id} is no Hexad node"
    assert world.hosts["p1"].up.core.proposal.why_not == why
    world.hosts["p3"].crash()  # and the genuine one is elected by it
    world.run_until(lambda: stranger.up.state.myself.is_primary, 12_000)
    world.hosts["p3"].start()
    stranger.crash()
    stranger.genuine = False
    stranger.start()
    world.run_until(lambda: world.agreed() and all_have(world, 5), SETTLED_MS * 2)
    stranger.crash()
    stranger.genuine = True
    stranger.start()
    stranger.up.state.electorate.succeed(99, (), 0)  # whatever it remembers, it tells nothing of it
    others = [host for host in world.hosts.values() if host is not stranger]
    world.run_until(lambda: all(not host.up.state.electorate.members for host in others), SETTLED_MS)


def test_a_step_that_was_begun_is_ended_by_another() -> None:
    """The proposer dies when half of the voters have accepted: those vote no more, so the others must see to it."""
    world = settled(1, 4)
    for seed in range(4):
        proposer = min(world.hosts.values(), key=lambda host: host.up.state.myself.id)
        version = proposer.up.state.electorate.version
        replica = world.hosts["u1"]
        replica.settings.replica_votes = not replica.settings.replica_votes
        world.delay_ms = (5, 60)
        replica.handle(SettingsChanged())
        at = Random(seed).randrange(1, 7)
        sealed = lambda: sum(host.up.state.electorate.is_sealed for host in world.hosts.values())  # noqa: E731
        for _ in range(4000):
            if sealed() >= min(at, 3) or proposer.up.state.electorate.version > version:
                break
            world.run(1)
        proposer.crash()
        rest = [host for host in world.hosts.values() if host is not proposer]
        world.run_until(lambda rest=rest: not any(host.up.state.electorate.is_sealed for host in rest), 12_000)
        world.delay_ms = (0, 2)
        proposer.start()
        world.run_until(world.agreed, HEALED_MS)
        world.run(2000)


# ---- storms ----------------------------------------------------------------------------------------------------------


def storm(seed: int) -> World:
    """One seed's weather: partitions, crashes, settings that flip, replicas that are forgotten and met again."""
    weather = Random(seed)
    primaries, replicas = weather.choice(((1, 2), (1, 2), (1, 4), (2, 1), (2, 2), (3, 1)))
    world = World(seed, timeout_ms=1000, primaries=primaries, replicas=replicas, replica_votes=True)
    hosts = list(world.hosts.values())
    world.run(weather.choice((500, 3000)))
    world.delay_ms = weather.choice(((0, 2), (1, 40), (5, 300)))
    world.break_rate = weather.choice((0.0, 0.0, 0.01))
    for host in hosts:
        host.crash_rate = weather.choice((0.0, 0.0, 0.002, 0.01))
    end_ms = world.now_ms + 25_000
    while world.now_ms < end_ms:
        kind = weather.choice(("split", "isolate", "one way out", "crash", "flip", "flip", "forget", "calm"))
        if kind == "split":
            world.isolate([host.name for host in hosts if weather.random() < 0.5])
        elif kind == "isolate":
            world.isolate([weather.choice(hosts).name])
        elif kind == "one way out":
            world.cut(*weather.sample(list(world.hosts), 2))
        elif kind == "flip":
            allow(weather.choice(hosts), weather.random() < 0.7)
        elif kind == "forget":
            forget(weather.choice(hosts), hosts)
        elif kind == "crash":
            host = weather.choice(hosts)
            if host.machine is not None:
                host.crash()
                world.after(weather.randrange(100, 6000), host.start)
        world.run(weather.randrange(500, 4000))
        if weather.random() < 0.6:
            world.heal()
    calm(world)
    return world


def allow(host: Host, allowed: bool) -> None:
    host.settings.replica_votes = allowed
    if host.machine is not None:
        host.handle(SettingsChanged())


def forget(gone: Host, hosts: list[Host]) -> None:
    """All forget a replica, which does not know that and goes on."""
    if gone.machine is None or gone.up.state.myself.is_primary:
        return
    for host in hosts:
        if host is not gone and host.machine is not None:
            with suppress(ClusterError):  # it does not know it, or replicates it
                host.handle(Forget(gone.up.state.myself.id))


def calm(world: World) -> None:
    """The weather is fine, all allow it and meet who was forgotten: in the end an odd number of voters is agreed on."""
    hosts = list(world.hosts.values())
    world.heal()
    world.delay_ms, world.break_rate = (0, 2), 0.0
    for host in hosts:
        host.crash_rate = 0.0
        allow(host, True)
    world.run(7000)  # whoever crashed is back
    if any(host.up.state.blacklist for host in hosts):
        world.run(FORGET_MS)  # and who was forgotten may be met again
    for host in hosts:
        for other in hosts:
            if other.up.state.myself.id not in host.up.state.nodes:
                host.handle(Meet(other.ip, 7000, 17000))

    def whole() -> bool:
        sets = {host.up.state.electorate.members for host in hosts}
        return world.agreed() and len(sets) == 1 and len(next(iter(sets))) == odd(len(hosts))

    world.run_until(whole, HEALED_MS * 2)
    world.check_owners()
    for host in hosts:
        host.up.state.check()


@pytest.mark.parametrize("seed", range(3))
def test_safe_in_the_storm_and_whole_after_it(seed: int) -> None:
    storm(seed)


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1000, 1008)),
        *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(1008, 1200)),
    ],
)
def test_safe_in_many_storms(seed: int) -> None:
    storm(seed)


def contest(seed: int) -> World:
    """All voters propose all the time, each what it likes, over slow and brittle wires, while primaries die."""
    weather = Random(seed)
    primaries, replicas = weather.choice(((1, 2), (1, 4), (2, 1), (2, 2)))
    with patch.multiple(gossip.voters, TURN_MS=0, PATIENCE_MS=0, OPENING_MS=0, ANSWER_MS=150, _wanted=wish):
        world = World(seed, timeout_ms=1000, primaries=primaries, replicas=replicas, replica_votes=True)
        world.run(1000)
        world.delay_ms = weather.choice(((0, 10), (1, 40), (5, 150)))
        world.break_rate = weather.choice((0.0, 0.002, 0.01))
        for host in world.hosts.values():
            host.crash_rate = weather.choice((0.0, 0.0005, 0.002))
        for _ in range(12):
            host = weather.choice(list(world.hosts.values()))
            if host.machine is not None and weather.random() < 0.5:
                host.crash()
                world.after(weather.randrange(100, 4000), host.start)
            if weather.random() < 0.3:
                world.isolate([host.name for host in world.hosts.values() if weather.random() < 0.4])
            world.run(weather.randrange(200, 3000))
            world.heal()
    calm(world)
    return world


def wish(core: Core) -> tuple[str, ...] | None:
    """Some lawful change of the voters, as luck has it."""
    members, rng = core.state.electorate.members, core.rng
    if not members:
        return gossip.voters.owners(core) or None
    if rng.random() < 0.1:
        return ()
    node_id = rng.choice(sorted(core.state.nodes))
    changed = set(members) ^ {node_id}
    return tuple(sorted(changed)) if changed else None


@pytest.mark.parametrize(
    "seed",
    [
        *range(2),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1000, 1005)),
        *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(1005, 1105)),
    ],
)
def test_whoever_proposes_whatever_there_is_one_version_of_each(seed: int) -> None:
    contest(seed)


SEEDS_MAX = 30
FIRST_SEED = {"what was accepted before is not asked for": 7}
"""Where the search begins: the seeds before notice nothing of it, and take their time."""
BUGS: dict[str, Any] = {
    "one acceptor is enough": lambda: patch.object(gossip.voters, "majority", lambda count: 1),
    "what was accepted before is not asked for": lambda: patch.object(gossip.voters, "_count_promise", forgetful_count),
    "promises are not kept": lambda: patch.object(
        Electorate, "promised", property(lambda self: NO_ROUND, lambda self, value: None)
    ),
}


count_promise = gossip.voters._count_promise


def forgetful_count(core: Core, sender_id: str, step: Step) -> None:
    count_promise(core, sender_id, replace(step, accepted=NO_ROUND))


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str) -> None:
    with BUGS[bug]():
        for seed in range(FIRST_SEED.get(bug, 0), SEEDS_MAX):
            try:
                contest(seed)
            except AssertionError:
                return
    pytest.fail(f"{SEEDS_MAX} runs did not notice that {bug}")
