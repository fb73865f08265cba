"""Sentinels in bad weather: safety while it storms, liveness after.

Each seed draws its own weather: who crashes and how often, how slow the wires are, who is cut off from whom and when,
whose clock jumps, who sleeps, whose disk is full. While it storms the judge watches: one vote an epoch, saved before
it is told; one leader an epoch; every state consistent. Afterwards all must agree on one primary that the others
follow.
"""

from __future__ import annotations

from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import sentinel.election
import sentinel.observation
from sentinel.core import Core
from sentinel.state import Primary
from tests.sentinel.world import World

SEEDS = range(4)
STORM_MS = 60_000
HEALED_MS = 120_000
"""Long enough for a TILT to pass, a failed election, its retry, and the repairs."""


def bad_turn(world: World, weather: Random) -> None:
    """Let one thing go wrong."""
    names, watchers = list(world.hosts), list(world.watchers.values())
    kind = weather.choice(("split", "isolate", "cut", "crash", "crash", "primary", "pause", "clock", "disk", "calm"))
    host = world.hosts[weather.choice(names)]
    if kind == "split":
        world.isolate([name for name in names if weather.random() < 0.5])
    elif kind == "isolate":
        world.isolate([host.name])
    elif kind == "cut":
        world.cut(*weather.sample(names, 2))
    elif kind == "pause":
        host.is_paused = True
        world.after(weather.randrange(100, 8000), lambda: setattr(host, "is_paused", False))
    elif kind == "clock":
        weather.choice(watchers).skew_ms += weather.choice((-90_000, -500, 1500, 90_000))
    elif kind == "disk":
        watcher = weather.choice(watchers)
        watcher.disk_is_broken = True
        world.after(weather.randrange(100, 15_000), lambda: setattr(watcher, "disk_is_broken", False))
    elif kind == "primary":
        host = next((node for node in world.nodes.values() if node.is_up and not node.follows), host)
    if kind in ("crash", "primary") and host.is_up:
        host.crash()
        world.after(weather.randrange(100, 12_000), lambda: host.is_up or host.start())


def storm(seed: int, **shape: int) -> World:
    """Run one seed through storm and calm."""
    world = World(seed, **shape)
    weather = Random(seed)
    world.run(5000)
    world.delay_ms = weather.choice(((0, 2), (1, 40), (20, 300)))
    for watcher in world.watchers.values():
        watcher.crash_rate = weather.choice((0.0, 0.0, 0.0005, 0.003))
    end_ms = world.now_ms + STORM_MS
    while world.now_ms < end_ms:
        bad_turn(world, weather)
        world.run(weather.randrange(500, 6000))
        if weather.random() < 0.6:
            world.heal()
    world.heal()
    world.delay_ms = (0, 2)
    for watcher in world.watchers.values():
        watcher.crash_rate, watcher.disk_is_broken = 0.0, False
    world.run_until(world.agreed, HEALED_MS)
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_safe_in_the_storm_and_one_primary_after_it(seed: int) -> None:
    storm(seed)


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1000, 1020)),
        *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(1020, 1060)),
    ],
)
def test_safe_in_many_storms(seed: int) -> None:
    storm(seed, sentinels=5 if seed % 3 == 0 else 3, replicas=3 if seed % 2 else 2, quorum=2)


def test_a_seed_repeats_itself() -> None:
    one, other = storm(3), storm(3)
    assert one.trace == other.trace and one.events == other.events


# ---- the judge is judged ---------------------------------------------------------------------------------------------


def _forgetful_vote(core: Core, primary: Primary, epoch: int, candidate: str) -> tuple[str, int]:
    """Votes for whoever asks last."""
    if epoch > core.state.current_epoch:
        sentinel.election.adopt_epoch(core, primary, epoch)
    if primary.leader_epoch <= epoch:
        primary.leader, primary.leader_epoch = candidate, epoch
        core.save()
    return primary.leader, primary.leader_epoch


def _eager(core: Core, primary: Primary) -> str:
    """One vote is enough: one's own."""
    return sentinel.election.vote(core, primary, primary.failover_epoch, core.state.my_id)[0]


BUGS: dict[str, Any] = {
    "one vote is enough": lambda: patch.object(sentinel.election, "leader", _eager),
    "a vote is given again": lambda: patch.object(sentinel.election, "vote", _forgetful_vote),
    "votes are not saved": lambda: patch.object(Core, "save", lambda self: None),
    "old primaries stay primaries": lambda: patch.object(
        sentinel.observation, "_replica_is_primary", lambda core, replica: None
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str) -> None:
    with BUGS[bug]():
        for seed in range(20):
            try:
                storm(seed)
            except (AssertionError, StopIteration):
                return
    pytest.fail(f"20 storms did not notice that {bug}")
