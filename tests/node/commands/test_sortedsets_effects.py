"""What commands on sorted sets and places leave behind beside their replies: the stream for replicas, the events, the
counts. Against redis-server, as for the string family.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.node.commands.test_strings_keys_effects import (
    END,
    OurEffects,
    TheirEffects,
    alike,
    counts,
    own_counts,
    their_events,
)
from tests.node.commands.traces import Line
from tests.node.commands.zset_traces import algebra_commands, fill, geo_commands, traces, zset_commands
from tests.support import RedisServer
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 25 * PROOF


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(notify_keyspace_events="AEmn", repl_diskless_sync_delay=0) as server:
        yield server


def untimed(words: Line) -> bool:
    """Not a command whose effect has the time in it, nor one that one of the servers refuses."""
    return words[0].upper() not in (b"EXPIRE", b"DEBUG")


def test_random_commands(redis: RedisServer) -> None:
    their_effects = TheirEffects(redis)
    with redis.wire() as theirs, redis.wire() as listener:
        listener("PSUBSCRIBE", "*")
        node = LocalNode()
        ours, client = OurEffects(node), node.client()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(traces(fill, zset_commands, geo_commands, algebra_commands))
        def compare(trace: list[Line]) -> None:
            trace = list(filter(untimed, trace))
            for run in (client.raw, theirs.raw):
                run("FLUSHALL")
            theirs("PUBLISH", "end", END)
            their_effects.until_end()
            their_events(listener)
            ours.effects.clear()
            ours.events.clear()
            before = counts(theirs), own_counts(node)
            for words in trace:
                client.raw(*words)
            theirs.pipeline([*map(tuple, trace), ("PUBLISH", "end", END)])
            effects = their_effects.until_end()
            assert ours.events == their_events(listener)
            after = counts(theirs), own_counts(node)
            moved = [[then - now for now, then in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
            assert moved[0] == moved[1], "hits, misses, changes"
            for mine, other in zip(ours.effects, effects, strict=True):
                assert alike(mine, other), (mine, other)

        compare()
