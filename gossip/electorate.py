"""Who votes: the agreed set of voters, its version, and one voter's promises about the set that is to follow.

Rules of this file.  It holds facts; `gossip.voters` says when they change and why that is safe.  Version 0, and every
later version without members, is Redis's rule: the primaries with slots vote.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

VOTERS_MAX = 63
"""Voters at most: each step asks all of them, and a cluster that has more nodes has primaries enough."""


class Round(NamedTuple):
    """One proposer's attempt to lay down what follows a version; the larger one goes first."""

    number: int
    proposer: str


NO_ROUND = Round(0, "")


@dataclass(slots=True)
class Electorate:
    """One node's view.  All of it is in nodes.conf, and is durable before a word of it is told."""

    version: int = 0
    """The latest version that this node knows to be agreed."""
    members: tuple[str, ...] = ()
    """Its voters' ids, sorted; none: Redis's rule."""
    epoch: int = 0
    """No voter of this version votes in an epoch up to this one: voters of earlier versions may have."""
    promised: Round = NO_ROUND
    """No round below this one is answered any more, in the step to the next version."""
    accepted: Round = NO_ROUND
    """The round whose proposal this node has accepted; from then on it votes under this version no more."""
    proposal: tuple[str, ...] = ()
    """What was proposed in that round."""
    base: tuple[str, ...] = ()
    """Under Redis's rule: the owners of all slots, who take the step, as this node saw them when it accepted."""

    @property
    def is_sealed(self) -> bool:
        return self.accepted != NO_ROUND

    def binds(self, node_id: str) -> bool:
        """Whether this node may have promised something that others count on: it is `node_id`."""
        return node_id in self.members or self.promised != NO_ROUND

    def succeed(self, version: int, members: tuple[str, ...], epoch: int) -> None:
        """A later version is agreed: promises about the step to it are over."""
        assert version > self.version, f"version {version} after {self.version}"
        self.version, self.members, self.epoch = version, members, epoch
        self.promised = self.accepted = NO_ROUND
        self.base = self.proposal = ()

    def check(self) -> None:
        """Assert that the parts fit together."""
        assert self.accepted <= self.promised, "what was accepted was promised"
        assert are_voters(self.members) and are_voters(self.base) and are_voters(self.proposal)
        assert not (self.base and self.members), "only Redis's rule needs to fix who takes the step"


def are_voters(ids: tuple[str, ...]) -> bool:
    """Whether these can be a set of voters: sorted, none twice, not too many."""
    return len(ids) <= VOTERS_MAX and all(one < other for one, other in pairwise(ids))
