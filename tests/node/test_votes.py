"""One vote an epoch, and a count that duplicates cannot fool."""

from __future__ import annotations

import pytest

from node.votes import Ballot, Tally, majority


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_more_than_half(voters: int, needed: int) -> None:
    assert majority(voters) == needed
    tally = Tally(7)
    for voter in range(needed):
        assert not tally.has_won(voters)
        tally.add(str(voter))
        tally.add(str(voter))
    assert tally.has_won(voters)


def test_a_ballot_is_spent_once_an_epoch() -> None:
    ballot = Ballot(3)
    assert ballot.is_spent(3) and ballot.is_spent(2) and not ballot.is_spent(4)
    ballot.cast(4)
    assert ballot.epoch == 4
    with pytest.raises(AssertionError):
        ballot.cast(4)
