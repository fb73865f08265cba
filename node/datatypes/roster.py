"""The names of a big container in an order of places: for walks that pause (SCAN) and for random draws.

A list beside the container. A name that is removed stays in its place as `gone`, since nobody knows that place; where a
draw has found the place, the last name moves into the hole instead. Once half of the names are gone the list is closed
up. Names only ever move towards the low end, so a walk from the high end down meets each name that was there
throughout; one may be met twice.

The list is made when it is first needed (8 bytes a name), and kept.
"""

from random import Random
from typing import Final

SMALL_MAX: Final = 512
"""A container of up to so many elements needs no roster: it is walked whole, and a draw counts its way."""
GONE_MIN: Final = 64
"""The list is not closed up for fewer names."""


class Roster:
    """The names that a container has, each once."""

    __slots__ = ("gone", "names")

    def __init__(self, names: list[bytes]) -> None:
        self.names = names
        self.gone: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.names) - len(self.gone)

    def add(self, name: bytes) -> None:
        """Note a name that is new to the container."""
        if self.gone and name in self.gone:
            self.gone.remove(name)
        else:
            self.names.append(name)

    def remove(self, name: bytes) -> None:
        """Forget a name that was there."""
        gone = self.gone
        gone.add(name)
        if len(gone) > GONE_MIN and 2 * len(gone) > len(self.names):
            self.names = [name for name in self.names if name not in gone]
            gone.clear()

    def draw(self, random: Random) -> bytes:
        """A name, each as likely as any other; there is one."""
        return self.names[self._place(random)]

    def take(self, random: Random) -> bytes:
        """Draw a name and forget it."""
        names, gone = self.names, self.gone
        while gone and names[-1] in gone:
            gone.remove(names.pop())
        place = self._place(random)
        name = names[place]
        last = names.pop()
        if place < len(names):
            names[place] = last
        return name

    def _place(self, random: Random) -> int:
        names, gone = self.names, self.gone
        place = int(random.random() * len(names))
        while gone and names[place] in gone:
            place = int(random.random() * len(names))
        return place

    def walk(self, place: int, count: int) -> tuple[list[bytes], int]:
        """The names of the `count` places below `place` (0: from the high end), and the next `place`; 0 at the end."""
        top = min(place, len(self.names)) if place else len(self.names)
        below = max(0, top - count)
        names = self.names[below:top]
        if self.gone:
            names = [name for name in names if name not in self.gone]
        return names, below

    def copy(self) -> "Roster":
        twin = Roster(self.names.copy())
        twin.gone = self.gone.copy()
        return twin

    def shed(self, count: int) -> None:
        """Let go of up to `count` names that nobody will ask for any more."""
        del self.names[-count:]
        self.gone = set()

    def check(self, names: "set[bytes] | dict[bytes, bytes]") -> None:
        """Assert that this is the roster of `names` (for tests)."""
        assert len(set(self.names)) == len(self.names)
        assert self.gone <= set(self.names)
        assert set(self.names) - self.gone == set(names)
        assert len(self.gone) <= max(GONE_MIN, len(self.names) / 2)
