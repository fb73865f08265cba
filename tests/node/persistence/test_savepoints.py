"""When the directive `save` asks for a save, as a table."""

from __future__ import annotations

import math

import pytest

from node.persistence.savepoints import Verdict, judge

DEFAULT = [(3600, 1), (300, 100), (60, 10000)]
NEVER = -math.inf
S = 1000


@pytest.mark.parametrize(
    ("points", "changes", "now_s", "saved_s", "retry_s", "expected"),
    [
        ([], 5, 9999, 0, NEVER, Verdict(None)),
        (DEFAULT, 0, 0, 0, NEVER, Verdict(None, 60 * S + 1)),
        (DEFAULT, 9999, 100, 0, NEVER, Verdict(None, 300 * S + 1, 10000)),
        (DEFAULT, 10000, 100, 0, NEVER, Verdict((60, 10000))),
        (DEFAULT, 99, 400, 0, NEVER, Verdict(None, 3600 * S + 1, 100)),
        (DEFAULT, 0, 4000, 0, NEVER, Verdict(None, math.inf, 1)),  # an idle node sleeps
        (DEFAULT, 1, 4000, 0, NEVER, Verdict((3600, 1))),
        ([(60, 1)], 1, 60, 0, NEVER, Verdict(None, 60 * S + 1)),  # more than 60 seconds
        ([(60, 1)], 1, 100, 0, 105, Verdict(None, 105 * S)),  # the last one failed: not yet again
        ([(60, 1)], 1, 105, 0, 105, Verdict((60, 1))),
        ([(0, 1)], 0, 5, 0, NEVER, Verdict(None, math.inf, 1)),
    ],
)
def test_judge(
    points: list[tuple[int, int]], changes: int, now_s: float, saved_s: float, retry_s: float, expected: Verdict
) -> None:
    assert judge(points, changes, now_s * S, saved_s * S, retry_s * S) == expected
