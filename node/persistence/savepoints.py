"""When the directive `save` asks for a save. Pure.

`save 60 100`: once more than 60 seconds have passed since the last save and there have been 100 changes. A node that
nobody writes to must not tick for that. So the answer to "now?" says what to wait for: a time (a save point is coming
of age), a number of changes (one that is of age lacks them), both, or neither.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

RETRY_MS = 5000
"""After a failure, saves for save points begin at most this often, as in Redis (CONFIG_BGSAVE_RETRY_DELAY)."""

SavePoint = tuple[int, int]
"""(seconds, changes)"""


class Verdict(NamedTuple):
    """What to do: save for `point`, or look again at `wake_ms` or at `changes` changes, whatever comes first."""

    point: SavePoint | None
    wake_ms: float = math.inf
    changes: float = math.inf


def judge(points: Sequence[SavePoint], changes: int, now_ms: float, saved_ms: float, retry_ms: float) -> Verdict:
    """Times are of a clock that never jumps: `saved_ms` of the last good save, `retry_ms` of the earliest next try."""
    wake_ms = needed = math.inf
    for point in points:
        seconds, least = point
        due_ms = max(saved_ms + seconds * 1000 + 1, retry_ms)
        if due_ms > now_ms:
            wake_ms = min(wake_ms, due_ms)
        elif changes < least:
            needed = min(needed, least)
        else:
            return Verdict(point)
    return Verdict(None, wake_ms, needed)
