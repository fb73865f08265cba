"""Sets: distinct byte strings, in no order.

A Python set; a `Roster` beside a big one, at the latest when it is walked or drawn from. `form` is what Redis would
keep it in: integers in an intset, a few short strings in a listpack, else a hashtable. It only ever goes that way, as
members are added (`settle`); it is None for a set that has come from elsewhere and was not looked at yet.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

from node.config.settings import Settings
from node.datatypes.numbers import parse_int
from node.datatypes.reading import COUNT_BYTES_MIN, LONG_ELEMENTS, Column, Reading, are_long
from node.datatypes.roster import KEPT_MIN, SMALL_MAX, Places, Roster

INTSET: Final = b"intset"
LISTPACK: Final = b"listpack"
HASHTABLE: Final = b"hashtable"
BULKY_FORMS: Final = (HASHTABLE, None)
"""Few members of these forms may be many bytes."""


class Set:
    """A set of bytes."""

    __slots__ = ("_members", "_roster", "form")

    def __init__(self, members: Iterable[bytes] = (), form: bytes | None = None) -> None:
        self._members = set(members)
        self._roster = Roster(self._members) if len(self._members) > KEPT_MIN else None
        self.form = form

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: bytes) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._members)

    # --- changing -------------------------------------------------------------------------------------------------

    def add(self, member: bytes) -> bool:
        """Add a member; False if it was there."""
        members = self._members
        count = len(members)
        members.add(member)
        if len(members) == count:
            return False
        if self._roster is not None:
            self._roster.add(member)
        elif len(members) > KEPT_MIN:
            self._roster = Roster(members)
        return True

    def remove(self, member: bytes) -> bool:
        """Remove a member; False if it was not there."""
        members = self._members
        if member not in members:
            return False
        members.remove(member)
        if self._roster is not None:
            self._roster.remove(member)
        return True

    def pop(self, random: Random) -> bytes:
        """Remove a random member and return it; the set is not empty."""
        roster = self._roster
        if roster is None:
            roster = self._walkable()
        member = self._draw_small(random) if roster is None else roster.take(random)
        self._members.remove(member)
        return member

    # --- asking ---------------------------------------------------------------------------------------------------

    def draw(self, random: Random) -> bytes:
        """A random member, each as likely as any other; the set is not empty."""
        roster = self._walkable()
        return self._draw_small(random) if roster is None else roster.draw(random)

    def draw_with_repeats(self, count: int, random: Random) -> Iterator[bytes]:
        """Draw `count` times. The set must not change meanwhile."""
        roster = self._walkable()
        if roster is not None:
            return (roster.draw(random) for _ in range(count))
        members = list(self._members)
        size = len(members)
        return (members[int(random.random() * size)] for _ in range(count))

    def sample(self, count: int, random: Random) -> list[bytes]:
        """`count` distinct members (all, if there are fewer), each choice as likely as any other."""
        if count >= len(self._members):
            return list(self._members)
        roster = self._walkable()
        if roster is None or 3 * count > len(self._members):
            return random.sample(list(self._members), count)
        found: dict[bytes, None] = {}  # in the order of the draws: what a caller does in order is repeatable
        while len(found) < count:
            found[roster.draw(random)] = None
        return list(found)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """The next members of a walk, about `count` of them (all of a small set), and its cursor; 0 at both ends."""
        roster = self._walkable()
        if roster is None:
            return 0, list(self._members)
        members, cursor = roster.walk(cursor, count)
        return cursor, members

    def _walkable(self) -> Roster | None:
        """The roster, made now if the set is big; None for a small set without one."""
        if self._roster is None and len(self._members) > SMALL_MAX:
            self._roster = Roster(self._members)
        return self._roster

    def _draw_small(self, random: Random) -> bytes:
        members = self._members
        return next(islice(members, int(random.random() * len(members)), None))

    # --- form -----------------------------------------------------------------------------------------------------

    def settle(self, added: Sequence[bytes], settings: Settings) -> None:
        """Members have been added: see what form the set has now. `added` may hold some that were there before."""
        if self.form is HASHTABLE:
            return
        if self.form is None:
            added = list(self._members)
            self.form = INTSET
        integers = self.form == INTSET and all(map(_is_integer, added))
        if integers and len(self) <= settings.set_max_intset_entries and (
            len(added) <= settings.set_max_intset_entries
        ):  # fmt: skip
            return
        self.form = HASHTABLE
        value_bytes_max = settings.set_max_listpack_value
        if (
            not integers
            and max(len(self), len(added)) <= settings.set_max_listpack_entries
            and all(len(member) <= value_bytes_max for member in added)
            and (value_bytes_max >= 20 or all(len(member) <= value_bytes_max for member in self._members))
        ):
            self.form = LISTPACK

    def encoding(self, settings: Settings) -> bytes:
        """What OBJECT ENCODING says."""
        if self.form is None:
            self.settle((), settings)
        assert self.form is not None
        return self.form

    # --- housekeeping ---------------------------------------------------------------------------------------------

    def reading(self) -> "SetReading | None":
        """A reading of it, if it is long."""
        members = self._members
        count = len(members)
        if count > LONG_ELEMENTS or (count >= COUNT_BYTES_MIN and self.form in BULKY_FORMS and are_long(members)):
            return SetReading(self)
        return None

    def column(self) -> Column | Places:
        """All members, to be taken in steps: in the order in which they lie in memory, where that is known. (Else each
        costs a cache miss.)"""
        return Column(iter(self._members)) if self._roster is None else Places(self._roster)

    def copy(self) -> "Set":
        twin = Set((), self.form)
        twin._members = self._members.copy()
        if self._roster is not None:
            twin._roster = self._roster.copy()
        return twin

    def shed(self, count: int) -> None:
        """Let go of up to `count` members; the set is of no more use."""
        if self._roster is not None:
            self._roster.shed(count)
        pop = self._members.pop
        for _ in range(min(count, len(self._members))):
            pop()

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        assert self.form in (INTSET, LISTPACK, HASHTABLE, None)
        assert self.form != INTSET or all(map(_is_integer, self._members))
        if self._roster is not None:
            self._roster.check(self._members)


class SetReading(Reading):
    """A long set: pieces of its members."""

    __slots__ = ("_members",)

    def __init__(self, value: Set) -> None:
        super().__init__(value)
        self._members = value.column()

    def take(self, limit: int) -> list[bytes]:
        """The next members."""
        return self._members.take(limit)

    def hold(self) -> None:
        self._members.hold()

    def close(self) -> None:
        self._members.close()


def _is_integer(member: bytes) -> bool:
    return parse_int(member) is not None


# --- algebra: missing sets are empty ones -----------------------------------------------------------------------------


def intersection(sets: Sequence[Set | None], limit: int = 0) -> set[bytes]:
    """What all of the sets have; with a `limit` the search ends when so much has been found."""
    known = sorted((one for one in sets if one is not None), key=len)
    if len(known) < len(sets):
        return set()
    first, *others = (one._members for one in known)
    if not limit:
        return first.intersection(*others)
    return set(islice((member for member in first if all(member in other for other in others)), limit))


def union(sets: Sequence[Set | None]) -> set[bytes]:
    """What any of the sets has."""
    return set().union(*(one._members for one in sets if one is not None))


def difference(sets: Sequence[Set | None]) -> set[bytes]:
    """What the first of the sets has and no other."""
    first, *others = sets
    if first is None:
        return set()
    return first._members.difference(*(one._members for one in others if one is not None))
