"""A sorted set: members with scores, in the order of (score, member). Pure: no keys, no clients, no clock.

Two forms. Up to `SMALL_MAX` members stand in two rows side by side, in order: 16 bytes a member beside the member
itself, and a search that looks at each is as fast as a hash there. Beyond that there are

- `entries`: (score, member) at a place, in no order, so that one can be drawn at random and a scan can go by places;
- `places`: member -> place;
- `order`: the same entries sorted, where a rank, a bound or a position costs O(log n).

Removal moves the last entry into the hole, so a scan that goes from the high places down meets all that stay. A big set
stays big while it lives. Scores are doubles, never not-a-number; ranks count from 0 at the lowest.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from math import nextafter
from operator import itemgetter
from typing import Any, Final

from sortedcontainers import SortedList

from node.datatypes.reading import COUNT_BYTES_MIN, LONG_ELEMENTS, Reading, are_long

SMALL_MAX: Final = 64
"""The most members of the small form."""

SAME, NEW, MOVED = range(3)
"""What `put` did: nothing, it added the member, it gave it another score."""

Pair = tuple[bytes, float]
"""(member, score)"""
Entry = tuple[float, bytes]

INFINITE: Final = float("inf")


class SortedSet:
    """Members by score. `packed` tells whether Redis would still keep this one as a listpack: there is no way back."""

    __slots__ = ("_entries", "_members", "_order", "_places", "_readers", "_scores", "packed")

    def __init__(self, packed: bool = True) -> None:
        self.packed = packed
        self._members: list[bytes] = []
        self._scores = array("d")
        self._places: dict[bytes, int] | None = None  # None: the small form
        self._entries: list[Entry] = []
        self._order: Any = None
        self._readers: tuple[SortedSetReading, ...] | None = None  # told of what comes and goes in the big form

    @classmethod
    def of(cls, pairs: Iterable[Pair], packed: bool = True) -> "SortedSet":
        """A sorted set of these pairs, in any order. Raises ValueError where a member comes twice."""
        made = cls(packed)
        entries = [(score, member) for member, score in pairs]
        if packed:
            entries = [(score + 0.0, member) for score, member in entries]
        if len(entries) > SMALL_MAX:
            made._become_big(entries)
            distinct = len(made._places or ())
        else:
            entries.sort()
            made._members = [member for _, member in entries]
            made._scores = array("d", [score for score, _ in entries])
            distinct = len(set(made._members))
        if distinct != len(entries):
            raise ValueError("a member comes twice")
        return made

    def _become_big(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._places = {entry[1]: place for place, entry in enumerate(entries)}
        self._order = SortedList(entries)
        self._members = []
        self._scores = array("d")

    def __len__(self) -> int:
        return len(self._members) or len(self._entries)

    def __iter__(self) -> Iterator[Pair]:
        """All pairs in order."""
        return self.pairs(0, len(self))

    # --- members --------------------------------------------------------------------------------------------------

    def score(self, member: bytes) -> float | None:
        """The score of a member, None if it is none."""
        places = self._places
        if places is not None:
            place = places.get(member)
            return None if place is None else self._entries[place][0]
        members = self._members
        return self._scores[members.index(member)] if member in members else None

    def rank(self, member: bytes) -> int | None:
        """How many members stand before this one; None if it is none."""
        places = self._places
        if places is None:
            members = self._members
            return members.index(member) if member in members else None
        place = places.get(member)
        return None if place is None else int(self._order.bisect_left(self._entries[place]))

    def put(self, member: bytes, score: float) -> int:
        """Give a member this score, whether it is there or not: SAME, NEW or MOVED."""
        if self.packed:
            score += 0.0  # a listpack holds it as an integer, and those have no negative zero
        places = self._places
        if places is None:
            return self._put_small(member, score)
        entry = (score, member)
        place = places.get(member)
        if place is None:
            if self._readers is not None:
                self._tell(None, entry)
            places[member] = len(self._entries)
            self._entries.append(entry)
            self._order.add(entry)
            return NEW
        old = self._entries[place]
        if old[0] == score:
            return SAME
        if self._readers is not None:
            self._tell(old, entry)
        self._entries[place] = entry
        self._order.remove(old)
        self._order.add(entry)
        return MOVED

    def _put_small(self, member: bytes, score: float) -> int:
        members, scores = self._members, self._scores
        done = NEW
        if member in members:
            done = MOVED
            place = members.index(member)
            if scores[place] == score:
                return SAME
            del members[place], scores[place]
        elif len(members) >= SMALL_MAX:
            entries = list(zip(scores, members, strict=True))
            entries.append((score, member))
            self._become_big(entries)
            return NEW
        place = bisect_left(scores, score)
        if place < len(scores) and scores[place] == score:
            place = bisect_left(members, member, place, bisect_right(scores, score, place))
        members.insert(place, member)
        scores.insert(place, score)
        return done

    def remove(self, member: bytes) -> bool:
        """Remove a member; False if it is none."""
        places = self._places
        if places is None:
            if member not in self._members:
                return False
            place = self._members.index(member)
            del self._members[place], self._scores[place]
            return True
        if member not in places:
            return False
        self._order.remove(self._vacate(member))
        return True

    def _vacate(self, member: bytes) -> Entry:
        """Take a member of the big form out of its place: the last one moves there."""
        places, entries = self._places, self._entries
        assert places is not None
        place = places.pop(member)
        entry = entries[place]
        if self._readers is not None:
            self._tell(entry, None)
        last = entries.pop()
        if place < len(entries):
            entries[place] = last
            places[last[1]] = place
        return entry

    # --- ranks ----------------------------------------------------------------------------------------------------

    def count_below(self, score: float, inclusive: bool) -> int:
        """How many members have a score below this one, or (`inclusive`) not above it: the rank of what comes next."""
        if self._places is None:
            return bisect_right(self._scores, score) if inclusive else bisect_left(self._scores, score)
        if inclusive:
            if score == INFINITE:
                return len(self._entries)
            score = nextafter(score, INFINITE)
        return int(self._order.bisect_left((score,)))  # shorter than the entries of that score, so before them

    def is_of_one_score(self) -> bool:
        """Whether all members have the same score, so that they stand in the order of their bytes."""
        if self._places is None:
            return not self._scores or self._scores[0] == self._scores[-1]
        return not self._order or self._order[0][0] == self._order[-1][0]

    def count_before(self, member: bytes, inclusive: bool) -> int:
        """How many stand before this member (or a place where it would stand), where all scores are the same.

        Where they are not, it is looked for as if they were: right where members and scores ascend together.
        """
        if inclusive:
            member += b"\0"  # the next one in the order of bytes
        if self._places is None:
            return bisect_left(self._members, member)
        order = self._order
        if order[0][0] == order[-1][0]:
            return int(order.bisect_left((order[0][0], member)))
        return bisect_left(order, member, key=itemgetter(1))

    def pairs(self, start: int, stop: int, reverse: bool = False) -> Iterator[Pair]:
        """The pairs of the ranks from `start` up to, not with, `stop`; the highest first if `reverse`."""
        if self._places is None:
            members, scores = self._members[start:stop], self._scores[start:stop]
            if reverse:
                return zip(reversed(members), reversed(scores), strict=True)
            return zip(members, scores, strict=True)
        entries: list[Entry] = self._order[start:stop]
        if reverse:
            entries.reverse()
        return ((member, score) for score, member in entries)

    def members(self, start: int, stop: int, reverse: bool = False) -> list[bytes]:
        """As `pairs`, without the scores."""
        if self._places is None:
            members = self._members[start:stop]
        else:
            members = [member for _, member in self._order[start:stop]]
        if reverse:
            members.reverse()
        return members

    def remove_ranks(self, start: int, stop: int) -> list[Pair]:
        """Remove the members of the ranks from `start` up to, not with, `stop`; returns them in order."""
        taken = list(self.pairs(start, stop))
        if self._places is None:
            del self._members[start:stop], self._scores[start:stop]
            return taken
        for member, _ in taken:
            self._vacate(member)
        del self._order[start:stop]
        return taken

    def pop(self, highest: bool) -> Pair:
        """Remove the lowest pair, or the highest, and return it: `remove_ranks` for what queues do."""
        if self._places is None:
            at = -1 if highest else 0
            return self._members.pop(at), self._scores.pop(at)
        score, member = self._order.pop(-1 if highest else 0)
        places, entries = self._places, self._entries  # `_vacate`, without the call
        place = places.pop(member)
        if self._readers is not None:
            self._tell((score, member), None)
        last = entries.pop()
        if place < len(entries):
            entries[place] = last
            places[last[1]] = place
        return member, score

    # --- places ---------------------------------------------------------------------------------------------------

    def at(self, place: int) -> Pair:
        """The pair at a place, 0 to the length - 1: each member has one, in no order that means anything. O(1)."""
        if self._places is None:
            return self._members[place], self._scores[place]
        score, member = self._entries[place]
        return member, score

    def scan(self, cursor: int, count: int) -> tuple[int, list[Pair]]:
        """The next `count` pairs from `cursor` (0: the first), and the cursor to go on from; 0 at the end.

        A small set comes whole, and one that Redis keeps in a listpack.
        """
        if self._places is None or self.packed:
            return 0, list(self)
        entries = self._entries
        top = min(cursor, len(entries)) if cursor else len(entries)
        below = max(0, top - count)
        return below, [(member, score) for score, member in entries[below:top]]

    # --- as a whole -----------------------------------------------------------------------------------------------

    def bound(self, entries_max: int, member_bytes_max: int, member: bytes) -> None:
        """`member` is about to be put: if it is new and beyond these limits, Redis gives the listpack up before.

        (Before, not after: so a score of -0 keeps its sign, which a listpack would drop.)
        """
        if (len(member) > member_bytes_max or len(self) >= entries_max) and self.score(member) is None:
            self.packed = False

    def reading(self) -> "SortedSetReading | None":
        """A reading of it, if it is long."""
        count = len(self)
        if count > LONG_ELEMENTS or (count >= COUNT_BYTES_MIN and not self.packed and are_long(self.members(0, count))):
            return SortedSetReading(self)
        return None

    def entries(self, start: int, stop: int) -> list[Entry]:
        """The entries of the ranks from `start` up to, not with, `stop`."""
        if self._places is None:
            return list(zip(self._scores[start:stop], self._members[start:stop], strict=True))
        entries: list[Entry] = self._order[start:stop]
        return entries

    @property
    def is_big(self) -> bool:
        return self._places is not None

    def add_reader(self, reader: "SortedSetReading") -> None:
        """Tell a reader of each entry that goes and comes."""
        self._readers = (*(self._readers or ()), reader)

    def remove_reader(self, reader: "SortedSetReading") -> None:
        """Tell it no more. May be called again."""
        self._readers = tuple(other for other in self._readers or () if other is not reader) or None

    def _tell(self, goes: Entry | None, comes: Entry | None) -> None:
        for reader in self._readers or ():
            reader.note(goes, comes)

    def copy(self) -> "SortedSet":
        """An equal set that may be changed by itself."""
        made = SortedSet(self.packed)
        if self._places is None:
            made._members = self._members.copy()
            made._scores = self._scores[:]
        else:
            made._entries = self._entries.copy()
            made._places = self._places.copy()
            made._order = self._order.copy()
        return made

    def shed(self, count: int) -> None:
        """Let go of `count` members, or of all if there are fewer; nobody will ask for anything else any more."""
        self._order = None  # some thousand lists at the most: the entries themselves go with their places
        if self._places is None:
            del self._members[-count:], self._scores[-count:]
            return
        for _, member in islice(reversed(self._entries), count):
            del self._places[member]
        del self._entries[-count:]

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        pairs = list(self)
        assert pairs == sorted(pairs, key=lambda pair: (pair[1], pair[0]))
        assert len({member for member, _ in pairs}) == len(pairs) == len(self)
        assert all(score == score for _, score in pairs)
        if self._places is None:
            assert len(self._members) == len(self._scores) <= SMALL_MAX and not self._entries
        else:
            assert not self._members and len(self._order) == len(self._entries) == len(self._places)
            assert sorted(self._entries) == list(self._order)
            assert all(self._entries[place][1] == member for member, place in self._places.items())


class SortedSetReading(Reading):
    """A long sorted set: pieces of its pairs, the highest first (but those that left before their turn come last).

    Once a big one is held, nothing is noted down but what changes among the entries still to come: all below `_bound`.
    """

    __slots__ = ("_bound", "_came", "_held", "_left", "_lost")

    def __init__(self, value: SortedSet) -> None:
        super().__init__(value)
        self._left = len(value)  # ranks still to come, while nothing is held
        self._held = False
        self._bound: Entry | None = None  # None: all are still to come
        self._lost: list[Entry] = []  # entries that have left before their turn
        self._came: set[Entry] = set()  # entries that are younger than the reading

    def take(self, limit: int) -> list[Pair]:
        """The next pairs."""
        while self._left:
            start = max(0, self._left - limit)
            entries = self.value.entries(start, self._left)
            self._left = start
            self._bound = entries[0]
            if self._came:
                entries = [entry for entry in entries if entry not in self._came]
            if entries:
                return [(member, score) for score, member in reversed(entries)]
        taken = self._lost[: -limit - 1 : -1]
        del self._lost[-limit:]
        return [(member, score) for score, member in taken]

    def hold(self) -> None:
        if self._held:
            return
        self._held = True
        if self.value.is_big:
            self.value.add_reader(self)
        else:
            self._lost, self._left = self.value.entries(0, self._left), 0

    def note(self, goes: Entry | None, comes: Entry | None) -> None:
        """One of these entries is about to leave, the other to come."""
        bound = self._bound
        if goes is not None and (bound is None or goes < bound):
            self._left -= 1
            if goes in self._came:
                self._came.remove(goes)
            else:
                self._lost.append(goes)
        if comes is not None and (bound is None or comes < bound):
            self._left += 1
            self._came.add(comes)

    def close(self) -> None:
        self.value.remove_reader(self)
