"""Slots that are handed over in bad weather: one owner, no confirmed write lost, nobody waits for ever.

Each seed draws its own weather, as in `test_storms`; crashes and stops come between any two effects, the commit's
own steps among them.  What a host confirms while it is cut off from the majority may be lost, as it is with Redis.
"""

from __future__ import annotations

from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import gossip.handover
from gossip.core import Core
from gossip.events import KeepSlots, TakeSlots
from gossip.moving import departure
from gossip.moving.arrival import Arrival
from gossip.moving.departure import Departure
from tests.sim.moving import PAUSE_MS, Coming, MovingWorld
from tests.sim.noticing import notices

STORM_MS = 25_000
HEALED_MS = 40_000
SEEDS_MAX = 60


def storm(seed: int) -> MovingWorld:
    """Run one seed through storm and calm."""
    world = MovingWorld(seed, timeout_ms=1500, primaries=3, replicas=0)
    weather = Random(seed)
    names = list(world.hosts)
    world.run(4000)
    world.delay_ms = weather.choice(((0, 2), (1, 40), (5, 200)))
    world.break_rate = weather.choice((0.0, 0.0, 0.01))
    for host in world.hosts.values():
        host.crash_rate = weather.choice((0.0, 0.0, 0.003, 0.01))
        host.freeze_rate = weather.choice((0.0, 0.3, 0.7))
    end_ms = world.now_ms + STORM_MS
    while world.now_ms < end_ms:
        world.begin_move()
        world.run(weather.randrange(50, 400))
        kind = weather.choice(("isolate", "cut", "crash", "stop", "calm", "calm"))
        host = world.hosts[weather.choice(names)]
        if kind == "isolate":
            world.isolate([host.name])
        elif kind == "cut":
            world.cut(*weather.sample(names, 2))
        elif kind == "crash" and host.machine is not None:
            host.crash()
            world.after(weather.randrange(100, 3000), host.start)
        elif kind == "stop":
            host.stop_maybe()
        world.run(weather.randrange(100, 3000))
        if weather.random() < 0.7:
            world.heal()
    world.heal()
    world.delay_ms, world.break_rate = (0, 2), 0.0
    for host in world.hosts.values():
        host.crash_rate = host.freeze_rate = 0.0
    world.run_until(world.agreed, HEALED_MS)
    world.run(3 * PAUSE_MS)
    world.run_until(world.agreed, HEALED_MS)
    world.check_owners()
    world.check_keys()
    for host in world.hosts.values():
        host.up.state.check()
    return world


def test_in_good_weather_slots_go_round_and_nothing_is_lost() -> None:
    world = MovingWorld(1, timeout_ms=1500, primaries=3, replicas=0)
    world.run(4000)
    for _ in range(20):
        assert world.begin_move()
        world.run(1500)
    world.check_keys()
    assert sum("=> import over: done" in line for line in world.trace) == 20
    assert len(world.confirmed) > 2000


@pytest.mark.parametrize("seed", range(12))
def test_safe_in_the_storm_and_whole_after_it(seed: int) -> None:
    storm(seed)


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(100, 140)),
        *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(140, 400)),
    ],
)
def test_safe_in_many_storms(seed: int) -> None:
    storm(seed)


def _not_asked(self: Departure, now_ms: int) -> list[departure.Effect]:
    return [departure.Keep(self._epoch), *self._end("nobody was asked")]


def _take_anyway(self: Coming, before_ms: int) -> None:
    look_again(self, 1 << 62)


def _never_too_late(self: Arrival) -> int:
    return 1 << 61


look_again = Coming.look_again

BUGS: dict[str, Any] = {
    "the source does not ask before it goes on": lambda: patch.object(Departure, "_resolve", _not_asked),
    "the source goes on in its old epoch": lambda: patch.dict(
        "gossip.machine.HANDLERS", {KeepSlots: lambda _core, _order: None}
    ),
    "the target does not look at the clock again": lambda: patch.object(Coming, "look_again", _take_anyway),
    "the target takes its time": lambda: patch.object(Arrival, "before_ms", property(_never_too_late)),
    "the target's claim is not saved": lambda: patch.dict("gossip.machine.HANDLERS", {TakeSlots: _take_unsaved}),
}


def _take_unsaved(core: Core, order: TakeSlots) -> None:
    gossip.handover.take_slots(core, order)
    core._save = False


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str) -> None:
    with BUGS[bug]():
        notices(storm, SEEDS_MAX, bug)
