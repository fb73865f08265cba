"""Members in the order of (score, member): the order of a big sorted set. Pure.

The order is cut into chunks. Each has its scores in one row of doubles and its members in another beside it, so that a
search compares numbers that lie side by side: a pair as an object of its own, found through the tree of a skip list or
a list of tuples, costs a cache miss at each comparison, and with 100 000 pairs those are most of the time of a ZADD.
Members are looked at only where scores are the same.

A rank is the sum of the chunks before it, kept as a tree of partial sums (P. Fenwick, "A New Data Structure for
Cumulative Frequency Tables", 1994): made when a rank is first asked, kept up to date, and dropped when chunks come or
go. So a set whose ranks nobody asks for pays nothing for them.

Costs: O(log n) a search and a rank; a change moves up to `CHUNK_MAX` doubles and pointers besides.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from operator import itemgetter
from typing import Final

CHUNK_MAX: Final = 512
"""A chunk of more pairs is cut in two."""
CHUNK_FILLED: Final = 384
"""The most pairs of a chunk when a ranking is made of many: some more fit in."""
CHUNK_MIN: Final = 64
"""A chunk of fewer pairs goes into its neighbour."""

Pair = tuple[bytes, float]
"""(member, score)"""
Entry = tuple[float, bytes]
"""(score, member)"""

LAST: Final = itemgetter(-1)


class Ranking:
    """Pairs in order. The caller knows which are there: none is added twice, and none removed that is not there."""

    __slots__ = ("_highest", "_members", "_scores", "_size", "_sums")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """A ranking of these, which come in order."""
        ordered = list(entries)
        self._size = size = len(ordered)
        self._scores: list[array[float]] = []
        self._members: list[list[bytes]] = []
        chunks = -(-size // CHUNK_FILLED)
        for chunk in range(chunks):
            scores, members = zip(*ordered[size * chunk // chunks : size * (chunk + 1) // chunks], strict=True)
            self._scores.append(array("d", scores))
            self._members.append(list(members))
        self._highest = array("d", map(LAST, self._scores))  # the highest score of each chunk
        self._sums: list[int] | None = None

    def __len__(self) -> int:
        return self._size

    # --- changing -------------------------------------------------------------------------------------------------

    def add(self, score: float, member: bytes) -> None:
        """Add a pair that is not there."""
        self._size += 1
        if not self._scores:
            self._scores.append(array("d", (score,)))
            self._members.append([member])
            self._highest.append(score)
            return
        chunk, place = self._find(score, member)
        scores = self._scores[chunk]
        if place == len(scores):
            self._highest[chunk] = score
        scores.insert(place, score)
        self._members[chunk].insert(place, member)
        if len(scores) > CHUNK_MAX:
            self._cut(chunk)
        elif self._sums is not None:
            self._count(self._sums, chunk, 1)

    def remove(self, score: float, member: bytes) -> bytes:
        """Remove a pair that is there. Returns its member: the same bytes, but the object that has been held here."""
        chunk, place = self._find(score, member)
        del self._scores[chunk][place]
        member = self._members[chunk].pop(place)
        self._shrunk(chunk)
        return member

    def pop(self, highest: bool) -> Pair:
        """Remove the lowest pair, or the highest; there is one."""
        at = -1 if highest else 0
        scores = self._scores[at]
        score, member = scores.pop(at), self._members[at].pop(at)
        if highest or self._sums is not None or len(scores) < CHUNK_MIN:
            self._shrunk(len(self._scores) - 1 if highest else 0)
        else:
            self._size -= 1  # and nothing else changes
        return member, score

    def _shrunk(self, chunk: int) -> None:
        """A pair has left this chunk."""
        self._size -= 1
        if self._sums is not None:
            self._count(self._sums, chunk, -1)
        self._settle(chunk)

    def _settle(self, chunk: int) -> None:
        """Pairs have left this chunk, maybe all."""
        scores = self._scores[chunk]
        if len(scores) < CHUNK_MIN:
            self._join(chunk)
        else:
            self._highest[chunk] = scores[-1]

    def remove_ranks(self, start: int, stop: int) -> None:
        """Remove the pairs of these ranks; `stop` is beyond the last one."""
        if start >= stop:
            return
        (first, head), (last, tail) = self._locate(start), self._locate(stop - 1)
        tail += 1
        self._size -= stop - start
        self._sums = None
        if first == last:
            del self._scores[first][head:tail], self._members[first][head:tail]
        else:
            del self._scores[first][head:], self._members[first][head:]
            del self._scores[last][:tail], self._members[last][:tail]
            emptied = slice(first + 1, last + (not self._scores[last]))
            del self._scores[emptied], self._members[emptied], self._highest[emptied]
        for chunk in (first + 1, first):
            if chunk < len(self._scores):
                self._settle(chunk)

    def _cut(self, chunk: int) -> None:
        """Make two chunks of one that is too long."""
        scores, members = self._scores[chunk], self._members[chunk]
        middle = len(scores) // 2
        self._scores.insert(chunk + 1, scores[middle:])
        self._members.insert(chunk + 1, members[middle:])
        del scores[middle:], members[middle:]
        self._highest.insert(chunk, scores[-1])
        self._sums = None

    def _join(self, chunk: int) -> None:
        """A chunk has become short: it goes into the one before it, or the first one into the second."""
        self._sums = None
        if len(self._scores) == 1:
            if not self._scores[0]:
                self._scores, self._members, self._highest = [], [], array("d")
            else:
                self._highest[0] = self._scores[0][-1]
            return
        left = max(0, chunk - 1)
        scores, members = self._scores[left], self._members[left]
        scores += self._scores.pop(left + 1)
        members += self._members.pop(left + 1)
        del self._highest[left]
        self._highest[left] = scores[-1]
        if len(scores) > CHUNK_MAX:
            self._cut(left)

    # --- asking ---------------------------------------------------------------------------------------------------

    def rank(self, score: float, member: bytes) -> int:
        """How many pairs stand before this one, which is there."""
        chunk, place = self._find(score, member)
        return self._before(chunk) + place

    def count_below(self, score: float, inclusive: bool) -> int:
        """How many pairs have a score below this one, or (`inclusive`) not above it."""
        bisect = bisect_right if inclusive else bisect_left
        chunk = bisect(self._highest, score)
        if chunk == len(self._highest):
            return self._size
        return self._before(chunk) + bisect(self._scores[chunk], score)

    def is_of_one_score(self) -> bool:
        """Whether all scores are the same."""
        return not self._size or self._scores[0][0] == self._highest[-1]

    def count_before(self, member: bytes) -> int:
        """How many members are below this one in the order of bytes, where they ascend through the whole ranking."""
        chunk = bisect_left(self._members, member, key=LAST)
        if chunk == len(self._members):
            return self._size
        return self._before(chunk) + bisect_left(self._members[chunk], member)

    def at(self, rank: int) -> Pair:
        """The pair of a rank, 0 to the length - 1."""
        chunk, place = self._locate(rank)
        return self._members[chunk][place], self._scores[chunk][place]

    def between(self, start: int, stop: int) -> tuple[list[bytes], "array[float]"]:
        """Members and scores of the ranks from `start` up to, not with, `stop`, in order."""
        members, scores = [], array("d")
        left = min(stop, self._size) - start
        if left > 0:
            chunk, place = self._locate(start)
            members, scores = self._members[chunk][place : place + left], self._scores[chunk][place : place + left]
        while len(members) < left:
            chunk += 1
            rest = left - len(members)
            members += self._members[chunk][:rest]
            scores += self._scores[chunk][:rest]
        return members, scores

    def _find(self, score: float, member: bytes) -> tuple[int, int]:
        """The chunk and the place in it where this pair is, or where it would be; there is a chunk."""
        highest = self._highest
        chunk = bisect_left(highest, score)
        if chunk < len(highest) and highest[chunk] == score:  # as of other chunks, maybe
            chunk = bisect_left(self._members, member, chunk, bisect_right(highest, score, chunk), key=LAST)
        if chunk == len(highest):
            return chunk - 1, len(self._scores[-1])
        scores = self._scores[chunk]
        place = bisect_left(scores, score)
        if place < len(scores) and scores[place] == score:
            members = self._members[chunk]
            if members[place] < member:
                place = bisect_left(members, member, place + 1, bisect_right(scores, score, place + 1))
        return chunk, place

    # --- ranks of chunks ------------------------------------------------------------------------------------------

    def _before(self, chunk: int) -> int:
        """How many pairs stand in the chunks before this one."""
        if not chunk:
            return 0
        sums = self._sums or self._summed()
        total = 0
        while chunk:
            total += sums[chunk]
            chunk &= chunk - 1
        return total

    def _locate(self, rank: int) -> tuple[int, int]:
        """The chunk and the place in it of a rank, 0 to the length - 1."""
        if rank < len(self._scores[0]):
            return 0, rank
        chunks = len(self._scores)
        last = self._size - len(self._scores[-1])
        if rank >= last:
            return chunks - 1, rank - last
        sums = self._sums or self._summed()
        chunk, step = 0, 1 << chunks.bit_length()
        while step := step >> 1:
            if chunk + step <= chunks and sums[chunk + step] <= rank:
                chunk += step
                rank -= sums[chunk]
        return chunk, rank

    def _summed(self) -> list[int]:
        """The tree, made anew: place `n` has the pairs of the chunks before the `n`th, without those that the place
        `n & (n - 1)` stands for."""
        before = [0, *accumulate(map(len, self._scores))]
        self._sums = [before[n] - before[n & (n - 1)] for n in range(len(before))]
        return self._sums

    @staticmethod
    def _count(sums: list[int], chunk: int, change: int) -> None:
        """The pairs of a chunk have become more or fewer."""
        place = chunk + 1
        while place < len(sums):
            sums[place] += change
            place += place & -place

    # --- as a whole -----------------------------------------------------------------------------------------------

    def copy(self) -> "Ranking":
        """An equal ranking that may be changed by itself."""
        made = Ranking()
        made._size = self._size
        made._scores = [scores[:] for scores in self._scores]
        made._members = [members.copy() for members in self._members]
        made._highest = self._highest[:]
        return made

    def shed(self, count: int) -> None:
        """Let go of about `count` pairs; nobody will ask for anything else any more."""
        while count > 0 and self._members:
            count -= len(self._members.pop())

    def check(self) -> None:
        """Assert every invariant (for tests)."""
        members, scores = self.between(0, self._size)
        entries = list(zip(scores, members, strict=True))
        assert entries == sorted(entries) and len(entries) == self._size == sum(map(len, self._scores))
        assert len(self._scores) == len(self._members) == len(self._highest)
        assert list(self._highest) == [scores[-1] for scores in self._scores]
        assert all(CHUNK_MIN <= len(scores) <= CHUNK_MAX for scores in self._scores) or len(self._scores) == 1
        if self._sums is not None:
            kept = self._sums
            assert kept == self._summed()
