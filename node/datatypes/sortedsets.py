"""A sorted set: members with scores, in the order of (score, member). Pure: no keys, no clients, no clock.

Two forms. Up to `SMALL_MAX` members stand in two rows side by side, in order: 16 bytes a member beside the member
itself, and a search that looks at each is as fast as a hash there. Beyond that there are

- `by_member`: member -> score;
- `ranking`: the pairs in order, where a rank, a bound or a position costs O(log n);
- a `Roster` of the members for scans that pause, as big sets and hashes have it.

A big set stays big while it lives. Scores are doubles, never not-a-number; ranks count from 0 at the lowest.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from node.datatypes.ranking import Entry, Pair, Ranking
from node.datatypes.reading import COUNT_BYTES_MIN, LONG_ELEMENTS, Reading, are_long
from node.datatypes.roster import KEPT_MIN, Roster

SMALL_MAX: Final = 64
"""The most members of the small form."""

SAME, NEW, MOVED = range(3)
"""What `put` did: nothing, it added the member, it gave it another score."""


class SortedSet:
    """Members by score. `packed` tells whether Redis would still keep this one as a listpack: there is no way back."""

    __slots__ = ("_by_member", "_members", "_ranking", "_readers", "_roster", "_scores", "packed")

    def __init__(self, packed: bool = True) -> None:
        self.packed = packed
        self._members: list[bytes] = []
        self._scores = array("d")
        self._ranking: Ranking | None = None  # None: the small form
        self._by_member: dict[bytes, float] = {}
        self._roster: Roster | None = None
        self._readers: tuple[SortedSetReading, ...] | None = None  # told of what comes and goes in the big form

    @classmethod
    def of(cls, pairs: Iterable[Pair], packed: bool = True) -> "SortedSet":
        """A sorted set of these pairs, in any order. Raises ValueError where a member comes twice."""
        made = cls(packed)
        entries = [(score, member) for member, score in pairs]
        if packed:
            entries = [(score + 0.0, member) for score, member in entries]
        entries.sort()
        if len(entries) > SMALL_MAX:
            made._become_big(entries)
            distinct = len(made._by_member)
        else:
            made._members = [member for _, member in entries]
            made._scores = array("d", [score for score, _ in entries])
            distinct = len(set(made._members))
        if distinct != len(entries):
            raise ValueError("a member comes twice")
        return made

    def _become_big(self, entries: list[Entry]) -> None:
        """Take these entries, which are in order."""
        self._ranking = Ranking(entries)
        self._by_member = {member: score for score, member in entries}
        if len(entries) > KEPT_MIN:
            self._roster = Roster(self._by_member)
        self._members = []
        self._scores = array("d")

    def __len__(self) -> int:
        return len(self._members) or len(self._by_member)

    def __iter__(self) -> Iterator[Pair]:
        """All pairs in order."""
        return self.pairs(0, len(self))

    # --- members --------------------------------------------------------------------------------------------------

    def score(self, member: bytes) -> float | None:
        """The score of a member, None if it is none."""
        if self._ranking is not None:
            return self._by_member.get(member)
        members = self._members
        return self._scores[members.index(member)] if member in members else None

    def rank(self, member: bytes) -> int | None:
        """How many members stand before this one; None if it is none."""
        if self._ranking is None:
            members = self._members
            return members.index(member) if member in members else None
        score = self._by_member.get(member)
        return None if score is None else self._ranking.rank(score, member)

    def put(self, member: bytes, score: float) -> int:
        """Give a member this score, whether it is there or not: SAME, NEW or MOVED."""
        if self.packed:
            score += 0.0  # a listpack holds it as an integer, and those have no negative zero
        ranking = self._ranking
        if ranking is None:
            return self._put_small(member, score)
        by_member = self._by_member
        old = by_member.get(member)
        if old == score:
            return SAME
        if self._readers is not None:
            self._tell(None if old is None else (old, member), (score, member))
        by_member[member] = score
        if old is not None:
            ranking.add(score, ranking.remove(old, member))
            return MOVED
        ranking.add(score, member)
        if self._roster is not None:
            self._roster.add(member)
        elif len(by_member) > KEPT_MIN:
            self._roster = Roster(by_member)
        return NEW

    def _put_small(self, member: bytes, score: float) -> int:
        members, scores = self._members, self._scores
        done = NEW
        if member in members:
            done = MOVED
            place = members.index(member)
            if scores[place] == score:
                return SAME
            del members[place], scores[place]
        place = bisect_left(scores, score)
        if place < len(scores) and scores[place] == score:
            place = bisect_left(members, member, place, bisect_right(scores, score, place))
        members.insert(place, member)
        scores.insert(place, score)
        if len(members) > SMALL_MAX:
            self._become_big(list(zip(scores, members, strict=True)))
        return done

    def remove(self, member: bytes) -> bool:
        """Remove a member; False if it is none."""
        ranking = self._ranking
        if ranking is None:
            if member not in self._members:
                return False
            place = self._members.index(member)
            del self._members[place], self._scores[place]
            return True
        score = self._by_member.get(member)
        if score is None:
            return False
        self._forget(member, score)
        ranking.remove(score, member)
        return True

    def _forget(self, member: bytes, score: float) -> None:
        """A member of the big form goes: from all but the ranking."""
        if self._readers is not None:
            self._tell((score, member), None)
        del self._by_member[member]
        if self._roster is not None:
            self._roster.remove(member)

    # --- ranks ----------------------------------------------------------------------------------------------------

    def count_below(self, score: float, inclusive: bool) -> int:
        """How many members have a score below this one, or (`inclusive`) not above it: the rank of what comes next."""
        if self._ranking is not None:
            return self._ranking.count_below(score, inclusive)
        return bisect_right(self._scores, score) if inclusive else bisect_left(self._scores, score)

    def is_of_one_score(self) -> bool:
        """Whether all members have the same score, so that they stand in the order of their bytes."""
        if self._ranking is not None:
            return self._ranking.is_of_one_score()
        return not self._scores or self._scores[0] == self._scores[-1]

    def count_before(self, member: bytes, inclusive: bool) -> int:
        """How many stand before this member (or a place where it would stand), where all scores are the same.

        Where they are not, it is looked for as if they were: right where members and scores ascend together.
        """
        if inclusive:
            member += b"\0"  # the next one in the order of bytes
        if self._ranking is not None:
            return self._ranking.count_before(member)
        return bisect_left(self._members, member)

    def columns(self, start: int, stop: int) -> "tuple[list[bytes], array[float]]":
        """Members and scores of the ranks from `start` up to, not with, `stop`, in order."""
        if self._ranking is None:
            return self._members[start:stop], self._scores[start:stop]
        return self._ranking.between(start, stop)

    def pairs(self, start: int, stop: int, reverse: bool = False) -> Iterator[Pair]:
        """The pairs of the ranks from `start` up to, not with, `stop`; the highest first if `reverse`."""
        members, scores = self.columns(start, stop)
        if reverse:
            return zip(reversed(members), reversed(scores), strict=True)
        return zip(members, scores, strict=True)

    def members(self, start: int, stop: int, reverse: bool = False) -> list[bytes]:
        """As `pairs`, without the scores."""
        members, _ = self.columns(start, stop)
        if reverse:
            members.reverse()
        return members

    def remove_ranks(self, start: int, stop: int) -> list[Pair]:
        """Remove the members of the ranks from `start` up to, not with, `stop`; returns them in order."""
        taken = list(self.pairs(start, stop))
        if self._ranking is None:
            del self._members[start:stop], self._scores[start:stop]
            return taken
        for member, score in taken:
            self._forget(member, score)
        self._ranking.remove_ranks(start, start + len(taken))
        return taken

    def pop(self, highest: bool) -> Pair:
        """Remove the lowest pair, or the highest, and return it: `remove_ranks` for what queues do."""
        if self._ranking is None:
            at = -1 if highest else 0
            return self._members.pop(at), self._scores.pop(at)
        member, score = pair = self._ranking.pop(highest)
        if self._readers is not None:  # as `_forget`, but for the call: what every pop of a queue pays
            self._tell((score, member), None)
        del self._by_member[member]
        if self._roster is not None:
            self._roster.remove(member)
        return pair

    # --- drawing and walking --------------------------------------------------------------------------------------

    def at(self, rank: int) -> Pair:
        """The pair of a rank, 0 to the length - 1."""
        if self._ranking is None:
            return self._members[rank], self._scores[rank]
        return self._ranking.at(rank)

    def scan(self, cursor: int, count: int) -> tuple[int, list[Pair]]:
        """About `count` pairs from `cursor` (0: the first), and the cursor to go on from; 0 at the end.

        A small set comes whole, and one that Redis keeps in a listpack.
        """
        if self._ranking is None or self.packed:
            return 0, list(self)
        if self._roster is None:
            self._roster = Roster(self._by_member)
        members, cursor = self._roster.walk(cursor, count)
        by_member = self._by_member
        return cursor, [(member, by_member[member]) for member in members]

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
        return [(score, member) for member, score in self.pairs(start, stop)]

    @property
    def is_big(self) -> bool:
        return self._ranking is not None

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
        if self._ranking is None:
            made._members = self._members.copy()
            made._scores = self._scores[:]
            return made
        made._ranking = self._ranking.copy()
        made._by_member = self._by_member.copy()
        if self._roster is not None:
            made._roster = self._roster.copy()
        return made

    def shed(self, count: int) -> None:
        """Let go of `count` members, or of all if there are fewer; nobody will ask for anything else any more."""
        if self._ranking is None:
            del self._members[-count:], self._scores[-count:]
            return
        self._ranking.shed(count)
        if self._roster is not None:
            self._roster.shed(count)
        pop = self._by_member.popitem
        for _ in range(min(count, len(self._by_member))):
            pop()

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        pairs = list(self)
        assert pairs == sorted(pairs, key=lambda pair: (pair[1], pair[0]))
        assert len({member for member, _ in pairs}) == len(pairs) == len(self)
        assert all(score == score for _, score in pairs)
        if self._ranking is None:
            assert len(self._members) == len(self._scores) <= SMALL_MAX and not self._by_member
            return
        self._ranking.check()
        assert not self._members and self._by_member == dict(pairs)
        assert self._roster is not None or len(pairs) <= KEPT_MIN
        if self._roster is not None:
            self._roster.check(self._by_member)


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
