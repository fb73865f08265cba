"""The leader of a failover is cut off, killed or put to sleep at every step of it.

One leader an epoch all the time, a replacement even while the leader is away, and one primary in the end.
"""

from __future__ import annotations

import pytest

from tests.sentinel.world import Watcher, World

STEPS = (
    "+try-failover",
    "+elected-leader",
    "+selected-slave",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+promoted-slave",
    "+slave-reconf-sent",
    "+failover-end",
)
REPLACED_MS = 40_000
"""A second failover begins after two failover timeouts, each of 5 s here; a third one is seldom needed."""
HEALED_MS = 90_000


def leader_at(world: World, step: str) -> Watcher:
    """Let the failover get as far as this step; who takes it."""

    def lines() -> list[str]:
        return [line for line in world.trace if f": {step} " in line]

    while not lines():
        world.run(1)
        assert world.trace and world.events < 200_000
    return world.watchers[lines()[0].split()[1].rstrip(":")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "fault", ["cut off", pytest.param("killed", marks=pytest.mark.long), pytest.param("asleep", marks=pytest.mark.long)]
)
def test_the_leader_is_lost(step: str, fault: str) -> None:
    world = World(STEPS.index(step))
    world.run(5000)
    world.nodes["n1"].crash()
    leader = leader_at(world, step)
    if fault == "cut off":
        world.isolate([leader.name])
    elif fault == "killed":
        leader.crash()
    else:
        leader.is_paused = True
    others = [watcher for watcher in world.watchers.values() if watcher is not leader]

    def is_replaced() -> bool:
        places = {watcher.primary.current_address.ip for watcher in others}
        node = world.node_at(places.pop())
        return not places and node is not None and node.is_up and not node.follows

    world.run_until(is_replaced, REPLACED_MS)
    world.heal()
    leader.is_paused = False
    if not leader.is_up:
        leader.start()
    world.nodes["n1"].start()
    world.run_until(world.agreed, HEALED_MS)
