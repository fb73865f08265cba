"""Mutated packets by the hundred thousand: the machine raises nothing and believes nobody more than it must."""

from __future__ import annotations

from unittest.mock import patch

import pytest

import gossip.claims
from gossip.core import Core
from gossip.machine import PACKETS, _update
from gossip.packet import PUBLISH, UPDATE, Packet
from gossip.state import Node
from tests.gossip.fuzzing import fire

PACKETS_IN_CI = 100_000
PACKETS_BY_PROOF = 5_000_000
SEEDS_BY_PROOF = 20


@pytest.mark.long
def test_mutated_packets() -> None:
    good = fire(1, PACKETS_IN_CI)
    assert PACKETS_IN_CI // 3 < good < PACKETS_IN_CI, "most are understood, and some are not"


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100, 100 + SEEDS_BY_PROOF))
def test_millions_of_mutated_packets(seed: int) -> None:
    fire(seed, PACKETS_BY_PROOF // SEEDS_BY_PROOF)


def _believe(core: Core, sender: Node, link: int, packet: Packet) -> None:
    """A message moves a slot that may move none."""
    core.state.give(1, sender)


def test_the_judge_notices() -> None:
    with patch.dict(PACKETS, {PUBLISH: _believe}), pytest.raises(AssertionError, match="gained slots"):
        fire(2, 5000)
    with (
        patch.object(gossip.claims, "_entitled", lambda state, sender, epoch, claimed: claimed & ~sender.slots),
        patch.object(gossip.claims, "hear_update", _accept_old_update),
        patch.dict(PACKETS, {UPDATE: _update}),
        pytest.raises(AssertionError, match="old update"),
    ):
        fire(3, 20_000)


def _accept_old_update(core: Core, body: gossip.claims.Update) -> None:
    node = core.state.nodes.get(body.node_id)
    if node is not None and node is not core.myself:
        core.state.give(gossip.claims.bitmap_of(body.slots) & ~core.myself.slots, node)
