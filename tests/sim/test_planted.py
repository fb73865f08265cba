"""The judge is judged: bugs are planted in the machines, and some storm must notice each."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

import gossip.claims
import gossip.suspicion
from gossip.core import Core
from node.votes import Tally
from tests.sim.noticing import notices
from tests.sim.test_storms import storm

SEEDS_MAX = 80

save = Core.save

BUGS: dict[str, Any] = {
    "one vote is enough": lambda: patch.object(Tally, "has_won", lambda self, voters: len(self.voters) >= 1),
    "nothing is fsynced": lambda: patch.object(Core, "save", lambda self, *, fsync=False: save(self)),
    "a larger epoch wins nothing": lambda: patch.object(
        gossip.claims,
        "_entitled",
        lambda state, sender, epoch, claimed: claimed & ~sender.slots & ~state.owned,
    ),
    "failed once, failed for ever": lambda: patch.object(
        gossip.suspicion, "_acquit_if_harmless", lambda core, node: None
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str) -> None:
    with BUGS[bug]():
        notices(storm, SEEDS_MAX, bug)
