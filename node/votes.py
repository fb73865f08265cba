"""Votes: what any election here needs, whoever holds it.

A voter has one vote an epoch, and a vote is a promise: the caller stores the ballot before the vote
leaves.  A candidate counts voters, not messages, and only those of its own epoch.
"""

from __future__ import annotations


def majority(voters: int) -> int:
    """Return how many of so many voters are a majority."""
    return voters // 2 + 1


class Ballot:
    """One voter's memory: the last epoch in which it voted, 0 for never."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch

    def is_spent(self, epoch: int) -> bool:
        """Whether there is no vote left for this epoch: it, or a later one, has been voted in."""
        return epoch <= self.epoch

    def cast(self, epoch: int) -> None:
        """Spend the vote of this epoch."""
        assert not self.is_spent(epoch), f"second vote in epoch {epoch}"
        self.epoch = epoch

    def pass_over(self, epoch: int) -> None:
        """Vote in no epoch up to this one any more."""
        self.epoch = max(self.epoch, epoch)


class Tally:
    """One candidate's count in one epoch."""

    __slots__ = ("epoch", "voters")

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.voters: set[str] = set()

    def add(self, voter: str) -> None:
        """Count a voter, however often its vote arrives."""
        self.voters.add(voter)

    def has_won(self, voters: int) -> bool:
        """Whether a majority of so many voters has voted for this candidate."""
        return len(self.voters) >= majority(voters)
