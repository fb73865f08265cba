"""When, or how often, keys were used: a table of 32 bits for each place that the hash of a key picks.

Under most policies a place holds the time of the last access, in seconds of the node's clock (a
bare array). Under an LFU policy it holds how often: a counter of 8 bits that grows by ever rarer luck and
shrinks with time, as in Redis, and above it the minute in which it was last looked at, counted from 1, so that 0 is a
place where nothing was counted yet.

The database writes the time of every access with one statement, `clocks[place] = clock_s`, whatever the policy. A
`Frequencies` table takes that as one more use: so nothing in the ways of reading and writing knows which of both it is,
and nobody who counts no uses pays for those who do.

Places are shared by keys whose hashes meet. `PLACES_A_KEY` says how rare that is while eviction depends on it.
"""

from array import array
from collections.abc import Callable
from typing import Any, TypeAlias

Clocks: TypeAlias = "array[int] | Frequencies"
"""A table of access times, or of use counters."""

FIRST_CLOCK_S = 1 << 24
"""The clock when a node starts: so a key can have been idle for half a year before (RESTORE and files say so)."""

PLACES_A_KEY = 4
"""Places for each key while keys are evicted by their use: then 8 keys of 10 share with nobody. (With one place a key,
as otherwise, every other key would look as young as a stranger.)"""

FIRST_COUNT = 5
"""What a new key's counter begins with, so that it has a chance to be used before it is evicted."""
COUNT_MAX = 255
COUNT_BITS = 8
SECONDS_A_MINUTE = 60


class UseRules:
    """How uses are counted: shared by the tables of all databases."""

    __slots__ = ("decay_minutes", "log_factor", "luck")

    def __init__(self, luck: Callable[[], float]) -> None:
        self.log_factor = 10  # `lfu-log-factor`: the bigger, the more uses a counter of 255 stands for
        self.decay_minutes = 1  # `lfu-decay-time`: a counter loses one each time so many minutes go by; 0: never
        self.luck = luck  # from 0 up to below 1


class Frequencies(array):  # type: ignore[type-arg]  # a generic one cannot be made by its name
    """A table of use counters. Made with `Frequencies.of`."""

    rules: UseRules

    @classmethod
    def of(cls, places: int, rules: UseRules) -> "Frequencies":
        """An empty table."""
        made = cls("I", bytes(4 * places))
        made.rules = rules
        return made

    def __setitem__(self, place: Any, clock_s: Any) -> None:
        """Count a use at `clock_s`."""
        minute = clock_s // SECONDS_A_MINUTE + 1
        held = self[place]
        if not held:
            array.__setitem__(self, place, minute << COUNT_BITS | FIRST_COUNT)
            return
        count = held & COUNT_MAX
        rules = self.rules
        if held >> COUNT_BITS != minute and rules.decay_minutes:
            count = max(0, count - (minute - (held >> COUNT_BITS)) // rules.decay_minutes)
        if count < COUNT_MAX:
            over = count - FIRST_COUNT
            if over <= 0 or rules.luck() * (over * rules.log_factor + 1) < 1:
                count += 1
        array.__setitem__(self, place, minute << COUNT_BITS | count)

    def count_at(self, place: int, clock_s: int) -> int:
        """The counter as it is by now, without counting this look."""
        held: int = self[place]
        if not held:
            return FIRST_COUNT
        count = held & COUNT_MAX
        decay_minutes = self.rules.decay_minutes
        if decay_minutes:
            count -= (clock_s // SECONDS_A_MINUTE + 1 - (held >> COUNT_BITS)) // decay_minutes
        return max(0, count)

    def put(self, place: int, count: int, clock_s: int) -> None:
        """Let the counter be `count`."""
        array.__setitem__(self, place, (clock_s // SECONDS_A_MINUTE + 1) << COUNT_BITS | count)

    def restore(self, place: int, held: int) -> None:
        """Put back what a place held before; 0: nothing was counted yet."""
        array.__setitem__(self, place, held)
