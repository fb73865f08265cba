"""What commands on hashes and sets leave behind beside their replies: the stream for replicas, the events, the counts.
Against redis-server, as for the string family.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.test_hashes_sets_differential import hash_commands, set_commands, traces
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
from tests.support import RedisServer
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 20 * PROOF


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(notify_keyspace_events="AEmn", repl_diskless_sync_delay=0) as server:
        yield server


@pytest.mark.parametrize("family", [hash_commands, set_commands], ids=["hashes", "sets"])
def test_random_commands(redis: RedisServer, family: st.SearchStrategy[Line]) -> None:
    their_effects = TheirEffects(redis)
    with redis.wire() as theirs, redis.wire() as listener:
        listener("PSUBSCRIBE", "*")
        node = LocalNode()
        ours, client = OurEffects(node), node.client()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(traces(family))
        def compare(trace: list[Line]) -> None:
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
