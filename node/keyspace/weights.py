"""How many keys each slot holds, as prefix sums: a random slot in proportion to its keys in O(log n).

The sums are brought up to date when somebody draws, not when a key comes or goes: the database only marks the slot as
stale, so that a node which never draws pays nothing, and one that does pays for each changed slot once.
"""

from array import array
from collections.abc import Callable

from node.slots import SLOTS


class SlotWeights:
    """A Fenwick tree over the slots. `stale` holds 1 for each slot whose count is to be taken anew."""

    def __init__(self) -> None:
        self.stale = bytearray(b"\1") * SLOTS
        self.total = 0
        self._counts = array("q", bytes(8 * SLOTS))
        self._tree = array("q", bytes(8 * (SLOTS + 1)))

    def update(self, count_of: Callable[[int], int]) -> None:
        """Take the counts of the stale slots from `count_of`."""
        stale, counts, tree = self.stale, self._counts, self._tree
        number = stale.find(1)
        while number >= 0:
            stale[number] = 0
            delta = count_of(number) - counts[number]
            if delta:
                counts[number] += delta
                self.total += delta
                at = number + 1
                while at <= SLOTS:
                    tree[at] += delta
                    at += at & -at
            number = stale.find(1, number + 1)

    def find(self, rank: int) -> tuple[int, int]:
        """(slot, place within it) of the key with this rank, 0 to `total` - 1, when all are counted slot by slot."""
        assert 0 <= rank < self.total
        tree = self._tree
        at, step = 0, SLOTS
        while step:
            if at + step <= SLOTS and tree[at + step] <= rank:
                at += step
                rank -= tree[at]
            step >>= 1
        return at, rank
