"""Ranges of sorted sets: by rank, by score, by member where all scores are the same; read, stored, counted, removed.

However a range is named, it comes down to ranks `start` to `stop`: `_Span.ranks` finds them, and the rest is common.
"""

import math
import re
from typing import Any, NamedTuple

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.commands.sortedsets import DIGITS_SURE, READ_ONE, paired, put_new
from node.datatypes.numbers import DECIMAL, HEXADECIMAL, INFINITY
from node.datatypes.sortedsets import SortedSet
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

RANK, SCORE, LEX = b"RANK", b"SCORE", b"LEX"

NOT_A_FLOAT_RANGE = CommandError("ERR min or max is not a float")
NOT_A_LEX_RANGE = CommandError("ERR min or max not valid string range item")

LEADING_SPACE = re.compile(rb"[ \t\n\v\f\r]*")


class ScoreBound(NamedTuple):
    """One end of a range of scores; `open` leaves the score itself out."""

    score: float
    open: bool


class LexBound(NamedTuple):
    """One end of a range of members; `side` -1 is before all, 1 behind all."""

    member: bytes
    open: bool
    side: int

    def is_below(self, member: bytes) -> bool:
        """Whether a member stands in a range that has this as its low end."""
        if self.side:
            return self.side < 0
        return member > self.member if self.open else member >= self.member

    def is_above(self, member: bytes) -> bool:
        """Whether a member stands in a range that has this as its high end."""
        if self.side:
            return self.side > 0
        return member < self.member if self.open else member <= self.member


def _c_double(text: bytes) -> float:
    """A number as C's strtod reads it: up to a NUL, spaces before it, nothing at all is 0, too large is infinite."""
    if text.isdigit() and len(text) <= DIGITS_SURE:
        return float(text)
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    space = LEADING_SPACE.match(text)
    number = text[space.end() if space else 0 :]
    if DECIMAL.fullmatch(number):
        return float(number)
    if HEXADECIMAL.fullmatch(number):
        try:
            return float.fromhex(number.decode("ascii"))
        except OverflowError:
            return -math.inf if number[:1] == b"-" else math.inf
    match = INFINITY.fullmatch(number)
    if match is None:
        raise NOT_A_FLOAT_RANGE
    return -math.inf if match[1] == b"-" else math.inf


def score_bound(text: bytes) -> ScoreBound:
    """An end of a range of scores: a number, or one behind `(`."""
    if text[:1] == b"(":
        return ScoreBound(_c_double(text[1:]), True)
    return ScoreBound(_c_double(text), False)


def lex_bound(text: bytes) -> LexBound:
    """An end of a range of members: `[member`, `(member`, `-` or `+`."""
    head = text[:1]
    if head in (b"[", b"("):
        return LexBound(text[1:], head == b"(", 0)
    if head in (b"-", b"+") and text[1:2] in (b"", b"\0"):
        return LexBound(b"", False, -1 if head == b"-" else 1)
    raise NOT_A_LEX_RANGE


def score_ranks(found: SortedSet, low: ScoreBound, high: ScoreBound) -> tuple[int, int]:
    """The ranks from and up to which a range of scores goes."""
    start = found.count_below(low.score, inclusive=low.open)
    return start, max(start, found.count_below(high.score, inclusive=not high.open))


def lex_ranks(found: SortedSet, low: LexBound, high: LexBound, reverse: bool = False) -> tuple[int, int]:
    """The ranks from and up to which a range of members goes; `reverse` tells at which end it begins."""
    size = len(found)
    if found.packed and not found.is_of_one_score():
        return _walked_ranks(found.members(0, size, reverse), low, high, reverse)
    start = (0 if low.side < 0 else size) if low.side else found.count_before(low.member, inclusive=low.open)
    stop = (0 if high.side < 0 else size) if high.side else found.count_before(high.member, inclusive=not high.open)
    return start, max(start, stop)


def _walked_ranks(members: list[bytes], low: LexBound, high: LexBound, reverse: bool) -> tuple[int, int]:
    """As `lex_ranks`, where scores differ, so that members are not in the order of their bytes.

    What a range holds then is nowhere promised, yet clients rely on what a listpack gives, which Redis walks: from the
    first member within the near bound to the next one beyond the far bound.
    """
    size = len(members)
    above_low, below_high = [low.is_below(member) for member in members], [high.is_above(member) for member in members]
    lowest, highest = (-1, 0) if reverse else (0, -1)
    if not (above_low[highest] and below_high[lowest]):
        return 0, 0
    near, far = (below_high, above_low) if reverse else (above_low, below_high)
    start = near.index(True)
    stop = next((rank for rank in range(start, size) if not far[rank]), size)
    return (size - stop, size - start) if reverse else (start, stop)


def rank_ranks(size: int, first: int, last: int) -> tuple[int, int]:
    """The ranks from and up to which a range `first` to `last` goes, where -1 is the last one of `size`."""
    start = max(0, first + size if first < 0 else first)
    stop = min(size, (last + size if last < 0 else last) + 1)
    return start, max(start, stop)


class _Span:
    """A range as a command names it."""

    __slots__ = ("_bounds", "_kind", "limit", "offset", "reverse", "with_scores")

    def __init__(self, argv: Argv, at: int, kind: bytes | None, reverse: bool | None, store: bool = False) -> None:
        """Read it from `argv[at]` on; `kind` and `reverse` are None where the options may tell."""
        self.with_scores = False
        self.offset, self.limit = 0, -1
        kind, reverse = self._options(argv[at + 2 :], kind, reverse, store)
        self._kind, self.reverse = kind, reverse
        if self.limit != -1 and kind == RANK:
            raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
        if self.with_scores and kind == LEX:
            raise CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
        low, high = argv[at], argv[at + 1]
        if reverse and kind != RANK:
            low, high = high, low
        self._bounds = _bounds(kind, low, high)

    def _options(self, words: Argv, kind: bytes | None, reverse: bool | None, store: bool) -> tuple[bytes, bool]:
        at = 0
        while at < len(words):
            word = words[at].upper()
            if word == b"WITHSCORES" and not store:
                self.with_scores = True
            elif word == b"LIMIT" and at + 2 < len(words):
                self.offset, self.limit = integer(words[at + 1]), integer(words[at + 2])
                at += 2
            elif word == b"REV" and reverse is None:
                reverse = True
            elif word in (b"BYLEX", b"BYSCORE") and kind is None:
                kind = word[2:]
            else:
                raise SYNTAX
            at += 1
        return kind or RANK, bool(reverse)

    def ranks(self, found: SortedSet) -> tuple[int, int]:
        """The ranks from and up to which the range goes, within what LIMIT leaves."""
        size = len(found)
        if self._kind == RANK:
            start, stop = rank_ranks(size, *self._bounds)
            return (size - stop, size - start) if self.reverse else (start, stop)
        if self._kind == SCORE:
            start, stop = score_ranks(found, *self._bounds)
        else:
            start, stop = lex_ranks(found, *self._bounds, self.reverse)
        if self.offset < 0:
            return start, start
        if self.reverse:
            stop = max(start, stop - self.offset)
            return (start if self.limit < 0 else max(start, stop - self.limit)), stop
        start = min(stop, start + self.offset)
        return start, (stop if self.limit < 0 else min(stop, start + self.limit))


def _bounds(kind: bytes, low: bytes, high: bytes) -> tuple[Any, Any]:
    """The ends of a range, of the type that its kind has."""
    if kind == RANK:
        return integer(low), integer(high)
    if kind == SCORE:
        return score_bound(low), score_bound(high)
    return lex_bound(low), lex_bound(high)


# --- reading ----------------------------------------------------------------------------------------------------------


def _range(client: Client, argv: Argv, kind: bytes | None, reverse: bool | None) -> Reply:
    span = _Span(argv, 2, kind, reverse)
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None:
        return []
    start, stop = span.ranks(found)
    if span.with_scores:
        return paired(client, found.pairs(start, stop, span.reverse))
    return found.members(start, stop, span.reverse)


@command("zrange", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrange(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, None, None)


@command("zrevrange", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrevrange(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, RANK, True)


@command("zrangebyscore", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrangebyscore(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, SCORE, False)


@command("zrevrangebyscore", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrevrangebyscore(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, SCORE, True)


@command("zrangebylex", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrangebylex(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, LEX, False)


@command("zrevrangebylex", -4, "readonly", acl="sortedset", keys=READ_ONE)
def zrevrangebylex(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, LEX, True)


@command(
    "zrangestore",
    -5,
    "write denyoom",
    acl="sortedset",
    keys="@1/range:0:1:0/OW+UPDATE @2/range:0:1:0/RO+ACCESS",
)
def zrangestore(client: Client, argv: Argv) -> Reply:
    span = _Span(argv, 3, None, None, store=True)
    found = client.db.read_kind(argv[2], SortedSet)
    pairs = [] if found is None else list(found.pairs(*span.ranks(found)))
    return put_new(client, argv[1], pairs, "zrangestore")


@command("zcount", 4, "readonly fast", acl="sortedset", keys=READ_ONE)
def zcount(client: Client, argv: Argv) -> Reply:
    low, high = score_bound(argv[2]), score_bound(argv[3])
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None:
        return 0
    start, stop = score_ranks(found, low, high)
    return stop - start


@command("zlexcount", 4, "readonly fast", acl="sortedset", keys=READ_ONE)
def zlexcount(client: Client, argv: Argv) -> Reply:
    low, high = lex_bound(argv[2]), lex_bound(argv[3])
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None:
        return 0
    start, stop = lex_ranks(found, low, high)
    return stop - start


# --- removing ---------------------------------------------------------------------------------------------------------


def _remove_range(client: Client, argv: Argv, kind: bytes, event: str) -> Reply:
    span = _Span(argv, 2, kind, False)
    key, db = argv[1], client.db
    found = db.open_kind(key, SortedSet)
    if found is None:
        return 0
    start, stop = span.ranks(found)
    if start < stop:
        found.remove_ranks(start, stop)
        db.changed(key, event, "z", stop - start)
        db.drop_if_empty(key, found)
    return stop - start


@command("zremrangebyrank", 4, "write", acl="sortedset", keys="@1/range:0:1:0/RW+DELETE")
def zremrangebyrank(client: Client, argv: Argv) -> Reply:
    return _remove_range(client, argv, RANK, "zremrangebyrank")


@command("zremrangebyscore", 4, "write", acl="sortedset", keys="@1/range:0:1:0/RW+DELETE")
def zremrangebyscore(client: Client, argv: Argv) -> Reply:
    return _remove_range(client, argv, SCORE, "zremrangebyscore")


@command("zremrangebylex", 4, "write", acl="sortedset", keys="@1/range:0:1:0/RW+DELETE")
def zremrangebylex(client: Client, argv: Argv) -> Reply:
    return _remove_range(client, argv, LEX, "zremrangebylex")
