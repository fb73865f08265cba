"""The names of a big container in an order of places: for walks that pause (SCAN) and for random draws.

A list beside the container. A name that is removed stays in its place as `gone`, since nobody knows that place; where a
draw has found the place, the last name moves into the hole instead. Once half of the places hold no name any more, the
list is closed up, a few places at each removal: never all at once, which would take a tenth of a second with a million.
Names only ever move towards the low end, so a walk from the high end down meets each name that was there throughout;
one may be met twice.

The list is made when it is first needed (8 bytes a name), and kept; beyond `KEPT_MIN` names it is kept from the start.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

SMALL_MAX: Final = 512
"""A container of up to so many elements needs no roster: it is walked whole, and a draw counts its way."""
KEPT_MIN: Final = 16384
"""A container that has grown beyond so many makes its roster then: later, it would take a millisecond and more."""
DEAD_MIN: Final = 64
"""The list is not closed up for fewer places without a name."""
CLOSING_EVERY: Final = 16
"""The list is closed up a step further at each so many removals..."""
CLOSING_STEP: Final = 4 * CLOSING_EVERY
"""...by so many places: done before half of the names that were left are removed too, so that at least every fourth
place holds a name and a draw needs four attempts on average, at worst."""
AT_REST: Final = -1


class Roster:
    """The names that a container has, each once. A place without a name holds None."""

    __slots__ = ("_due", "_filled", "_read", "_views", "gone", "holes", "names")

    def __init__(self, names: Iterable[bytes]) -> None:
        self.names: list[bytes | None] = list(names)
        self.gone: set[bytes] = set()
        self.holes = 0  # places that hold None
        self._due = 0  # removals since the last step, or since it was last looked whether one is due
        self._read = AT_REST  # while the list is closed up: the next place to look at...
        self._filled = 0  # ...and below this one all is closed up; between the two is nothing
        self._views: tuple[Places, ...] = ()  # they want to know of what changes

    def __len__(self) -> int:
        return len(self.names) - len(self.gone) - self.holes

    def add(self, name: bytes) -> None:
        """Note a name that is new to the container."""
        if self.gone and name in self.gone:
            self.gone.remove(name)
            self._came(name)
        else:
            if self._views:
                self._keep(len(self.names))
            self.names.append(name)

    def remove(self, name: bytes) -> None:
        """Forget a name that was there."""
        self.gone.add(name)
        if self._views:
            for view in self._views:
                view.left(name)
        self._due += 1
        if self._due == CLOSING_EVERY:
            self._close_up()

    def draw(self, random: Random) -> bytes:
        """A name, each as likely as any other; there is one."""
        return self._drawn(random)[1]

    def take(self, random: Random) -> bytes:
        """Draw a name and forget it."""
        names, gone = self.names, self.gone
        place = int(random.random() * len(names))
        name = names[place]
        if name is None or (gone and name in gone):
            place, name = self._drawn(random)
        if self._views:
            self._keep(place)
            self._keep(len(names) - 1)
            for view in self._views:
                view.left(name)
        last = names.pop()
        if place < len(names):
            if last is not None and gone and last in gone:
                gone.remove(last)
                self._came(last)
                self.holes += 1
                last = None
            names[place] = last
        self._due += 1
        if self._due == CLOSING_EVERY:
            self._close_up()
        return name

    def _drawn(self, random: Random) -> tuple[int, bytes]:
        names, gone = self.names, self.gone
        while True:
            place = int(random.random() * len(names))
            name = names[place]
            if name is not None and not (gone and name in gone):
                return place, name

    def walk(self, place: int, count: int) -> tuple[list[bytes], int]:
        """The names of the `count` places below `place` (0: from the high end), and the next `place`; 0 at the end."""
        top = min(place, len(self.names)) if place else len(self.names)
        below = max(0, top - count)
        gone = self.gone
        return [name for name in self.names[below:top] if name is not None and name not in gone], below

    def _close_up(self) -> None:
        """Some names were removed: go on with closing up the list, or begin, if it is time."""
        self._due = 0
        names, gone, read = self.names, self.gone, self._read
        if read == AT_REST:
            dead = len(gone) + self.holes
            if dead <= DEAD_MIN or 2 * dead <= len(names):
                return
            read = self._filled = 0
        filled = self._filled
        stop = min(read + CLOSING_STEP, len(names))
        if self._views:
            for at in (*range(filled, min(filled + CLOSING_STEP, read)), *range(read, stop)):
                self._keep(at)
        for at in range(read, stop):
            name = names[at]
            if name is None:
                continue
            if name in gone:
                gone.remove(name)
                self._came(name)
                names[at] = None
                self.holes += 1
                continue
            if filled < at:
                names[filled], names[at] = name, None
            filled += 1
        self._read, self._filled = stop, filled
        if stop >= len(names):
            self.holes -= max(0, len(names) - filled)
            del names[filled:]
            self._read = AT_REST

    # --- views ----------------------------------------------------------------------------------------------------

    def show(self, view: "Places") -> None:
        """Tell a view of what changes from now on."""
        self._views += (view,)

    def forget(self, view: "Places") -> None:
        """Tell it no more. May be called again."""
        self._views = tuple(other for other in self._views if other is not view)

    def _keep(self, place: int) -> None:
        """What stands in a place is about to change."""
        name = self.names[place] if place < len(self.names) else None
        for view in self._views:
            view.keep(place, name)

    def _came(self, name: bytes) -> None:
        """The name is gone no more: it is there again, or forgotten for good."""
        for view in self._views:
            view.came(name)

    def copy(self) -> "Roster":
        twin = Roster(())
        twin.names, twin.gone, twin.holes = self.names.copy(), self.gone.copy(), self.holes
        twin._read, twin._filled = self._read, self._filled
        return twin

    def shed(self, count: int) -> None:
        """Let go of up to `count` names that nobody will ask for any more."""
        del self.names[-count:]
        self.gone = set()

    def check(self, names: Iterable[bytes]) -> None:
        """Assert that this is the roster of `names` (for tests)."""
        placed = [name for name in self.names if name is not None]
        assert len(set(placed)) == len(placed) == len(self.names) - self.holes
        assert self.gone <= set(placed)
        assert set(placed) - self.gone == set(names)
        if self._read != AT_REST:
            assert self._filled <= self._read <= len(self.names)
            assert all(name is None for name in self.names[self._filled : self._read])
        assert len(self) >= (len(self.names) - DEAD_MIN) // 4 - CLOSING_STEP


class Places:
    """The names as they are when it is made, taken from the high places down while the roster goes on changing.

    It copies nothing: to copy a million names is to touch each of them, which takes ten milliseconds and more. Once it
    is held, the roster tells what stood in a place before that changes, and who comes and goes.
    """

    __slots__ = ("_came", "_held", "_kept", "_left", "_roster", "_top")

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._top = len(roster.names)  # places still to come
        self._held = False
        self._kept: dict[int, bytes | None] = {}  # what stood in some of them
        self._left: set[bytes] = set()  # names that were there, and have left since
        self._came: set[bytes] = set()  # names that were gone, whatever became of them

    def take(self, limit: int) -> list[bytes]:
        """The next names, up to `limit`; none at the end."""
        found: list[bytes] = []
        while not found and self._top:
            below = max(0, self._top - limit)
            found = self._names(below, self._top)
            self._top = below
        return found

    def _names(self, below: int, top: int) -> list[bytes]:
        roster, kept, left, came = self._roster, self._kept, self._left, self._came
        names = roster.names[below:top]
        if kept:
            names += [None] * (top - below - len(names))
            names = [kept.pop(place) if place in kept else name for place, name in enumerate(names, below)]
        gone = roster.gone
        if not gone and not left and not came and None not in names:
            return names  # type: ignore[return-value] # as was just seen
        return [name for name in names if name is not None and (name in left or not (name in came or name in gone))]

    def hold(self) -> None:
        """The roster is about to change. May be called again."""
        if not self._held:
            self._held = True
            self._roster.show(self)

    def close(self) -> None:
        self._roster.forget(self)

    # --- told by the roster ---------------------------------------------------------------------------------------

    def keep(self, place: int, name: bytes | None) -> None:
        """This stands in a place that is about to change."""
        if place < self._top and place not in self._kept:
            self._kept[place] = name

    def left(self, name: bytes) -> None:
        """A name is removed."""
        if name not in self._came:
            self._left.add(name)

    def came(self, name: bytes) -> None:
        """A name is gone no more."""
        if name not in self._left:
            self._came.add(name)
