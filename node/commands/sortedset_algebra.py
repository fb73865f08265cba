"""Unions, intersections and differences of sorted sets; plain sets take part with scores of 1.

Sources are added up from the smallest to the biggest, as Redis does it: sums of doubles depend on their order.
"""

from collections.abc import Callable, Iterable
from typing import Any

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.commands.sortedsets import paired, put_new
from node.datatypes.numbers import parse_float, parse_int
from node.datatypes.packed import Packed
from node.datatypes.ranking import Pair
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

READ_MANY = "@1/keynum:0:1:1/RO+ACCESS"
STORE_MANY = "@1/range:0:1:0/OW+UPDATE @2/keynum:0:1:1/RO+ACCESS"

UNION, INTER, DIFF = "union", "inter", "diff"


def _sum(first: float, second: float) -> float:
    total = first + second
    return total if total == total else 0.0  # of two infinities, or one without weight


def _least(first: float, second: float) -> float:
    return second if second < first else first


def _greatest(first: float, second: float) -> float:
    return second if second > first else first


_AGGREGATES: dict[bytes, Callable[[float, float], float]] = {b"SUM": _sum, b"MIN": _least, b"MAX": _greatest}


class _Source:
    """One of the sets: its pairs with their weighted scores."""

    __slots__ = ("_found", "weight")

    def __init__(self, found: SortedSet | Set | None) -> None:
        self._found = found
        self.weight = 1.0

    def __len__(self) -> int:
        return 0 if self._found is None else len(self._found)

    def __contains__(self, member: bytes) -> bool:
        return self.score(member) is not None

    def _weighted(self, score: float) -> float:
        score *= self.weight
        return score if score == score else 0.0  # no weight of an infinity

    def score(self, member: bytes) -> float | None:
        """The weighted score of a member, None if it is none.

        Not a number where an infinity has no weight: what it is added to is nothing then, and the least and greatest
        pass over it, as Redis has it for all but the first set of an intersection.
        """
        found = self._found
        if type(found) is SortedSet:
            score = found.score(member)
            return None if score is None else score * self.weight
        return self.weight if type(found) is Set and member in found else None

    def pairs(self) -> Iterable[Pair]:
        """All pairs; an infinity without weight is 0."""
        found = self._found
        if type(found) is SortedSet:
            return ((member, self._weighted(score)) for member, score in found)
        return ((member, self._weighted(1.0)) for member in found) if type(found) is Set else ()


class _Request:
    """What the client wants to have combined: sources and options."""

    __slots__ = ("aggregate", "limit", "sources", "with_scores")

    def __init__(self, client: Client, argv: Argv, at: int, name: str, allowed: str) -> None:
        """Read it from the number of keys, `argv[at]`, on; `allowed` names the options that there are."""
        count = integer(argv[at])
        if count < 1:
            raise CommandError(f"ERR at least 1 input key is needed for '{name}' command")
        if count > len(argv) - at - 1:
            raise SYNTAX
        self.aggregate: Callable[[float, float], float] = _sum
        self.limit = 0
        self.with_scores = False
        self.sources = [_source(client, key) for key in argv[at + 1 : at + 1 + count]]
        self._options(argv[at + 1 + count :], allowed.split())

    def _options(self, words: Argv, allowed: list[str]) -> None:
        at = 0
        while at < len(words):
            word = words[at].upper().decode("latin-1")
            left = len(words) - at - 1
            if word not in allowed:
                raise SYNTAX
            if word == "WEIGHTS" and left >= len(self.sources):
                for source, text in zip(self.sources, words[at + 1 :], strict=False):
                    source.weight = _weight(text)
                at += len(self.sources)
            elif word == "AGGREGATE" and left and words[at + 1].upper() in _AGGREGATES:
                self.aggregate = _AGGREGATES[words[at + 1].upper()]
                at += 1
            elif word == "WITHSCORES":
                self.with_scores = True
            elif word == "LIMIT" and left:
                self.limit = _limit(words[at + 1])
                at += 1
            else:
                raise SYNTAX
            at += 1


def _source(client: Client, key: bytes) -> _Source:
    db = client.db
    value: Any = db.read(key)
    if value is None:
        return _Source(None)
    held = value.form.container if type(value) is Packed else type(value)
    return _Source(db.peek_kind(key, Set) if held is Set else db.peek_kind(key, SortedSet))


def _weight(text: bytes) -> float:
    weight = parse_float(text)
    if weight is None:
        raise CommandError("ERR weight value is not a float")
    return weight


def _limit(text: bytes) -> int:
    limit = parse_int(text)
    if limit is None or limit < 0:
        raise CommandError("ERR LIMIT can't be negative")
    return limit


def _united(request: _Request) -> list[Pair]:
    scores: dict[bytes, float] = {}
    aggregate = request.aggregate
    for source in sorted(request.sources, key=len):
        for member, score in source.pairs():
            old = scores.get(member)
            scores[member] = score if old is None else aggregate(old, score)
    return list(scores.items())


def _common(request: _Request) -> list[Pair]:
    first, *others = sorted(request.sources, key=len)
    aggregate = request.aggregate
    pairs = []
    for member, total in first.pairs():
        for other in others:
            score = other.score(member)
            if score is None:
                break
            total = aggregate(total, score)
        else:
            pairs.append((member, total))
    return pairs


def _left_over(request: _Request) -> list[Pair]:
    first, *others = request.sources
    return [pair for pair in first.pairs() if not any(pair[0] in other for other in others)]


_OPERATIONS: dict[str, Callable[[_Request], list[Pair]]] = {UNION: _united, INTER: _common, DIFF: _left_over}


def _answer(client: Client, argv: Argv, operation: str) -> Reply:
    options = "WITHSCORES" if operation == DIFF else "WITHSCORES WEIGHTS AGGREGATE"
    request = _Request(client, argv, 1, f"z{operation}", options)
    result = SortedSet.of(_OPERATIONS[operation](request), packed=False)
    return paired(client, result) if request.with_scores else result.members(0, len(result))


def _store(client: Client, argv: Argv, operation: str) -> Reply:
    options = "" if operation == DIFF else "WEIGHTS AGGREGATE"
    request = _Request(client, argv, 2, f"z{operation}store", options)
    return put_new(client, argv[1], _OPERATIONS[operation](request), f"z{operation}store")


@command("zunion", -3, "readonly", acl="sortedset", keys=READ_MANY)
def zunion(client: Client, argv: Argv) -> Reply:
    return _answer(client, argv, UNION)


@command("zinter", -3, "readonly", acl="sortedset", keys=READ_MANY)
def zinter(client: Client, argv: Argv) -> Reply:
    return _answer(client, argv, INTER)


@command("zdiff", -3, "readonly", acl="sortedset", keys=READ_MANY)
def zdiff(client: Client, argv: Argv) -> Reply:
    return _answer(client, argv, DIFF)


@command("zunionstore", -4, "write denyoom", acl="sortedset", keys=STORE_MANY)
def zunionstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv, UNION)


@command("zinterstore", -4, "write denyoom", acl="sortedset", keys=STORE_MANY)
def zinterstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv, INTER)


@command("zdiffstore", -4, "write denyoom", acl="sortedset", keys=STORE_MANY)
def zdiffstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv, DIFF)


@command("zintercard", -3, "readonly", acl="sortedset", keys=READ_MANY)
def zintercard(client: Client, argv: Argv) -> Reply:
    request = _Request(client, argv, 1, "zintercard", "LIMIT")
    first, *others = sorted(request.sources, key=len)
    count = 0
    for member, _ in first.pairs():
        if all(member in other for other in others):
            count += 1
            if count == request.limit:
                break
    return count
