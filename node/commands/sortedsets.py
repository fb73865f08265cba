"""Sorted sets: members with scores. Ranges, pops and the operations on several sets have modules of their own.

Scores go out as doubles; what is stored is what ZADD made of them. Every command that writes here is deterministic,
so that it is journalled as it came.
"""

from collections.abc import Iterable

from node.commands.arguments import NOT_A_FLOAT, SYNTAX, integer
from node.commands.drawing import drawn
from node.commands.family import command
from node.commands.scan import ScanOptions, parse_cursor
from node.datatypes.numbers import INT64_MAX, format_double, parse_float
from node.datatypes.ranking import Pair
from node.datatypes.sortedsets import MOVED, NEW, SAME, SortedSet
from node.net.resp import NULL_ARRAY, Argv, CommandError, Reply
from node.server import Client

READ_ONE = "@1/range:0:1:0/RO+ACCESS"
UPDATE_ONE = "@1/range:0:1:0/RW+ACCESS+UPDATE"

DIGITS_SURE = 15
"""A text of so many digits is a double, whatever they are."""
WORST_DRAW = INT64_MAX // 2
"""The highest count of ZRANDMEMBER that may come WITHSCORES, either way."""


def parse_score(text: bytes) -> float:
    """A score as a client writes it."""
    score = parse_float(text)
    if score is None:
        raise NOT_A_FLOAT
    return score


def paired(client: Client, pairs: Iterable[Pair]) -> list[Reply]:
    """Members with their scores: one flat array in RESP2, an array of pairs in RESP3."""
    if client.resp3:
        return [list(pair) for pair in pairs]
    return [part for pair in pairs for part in pair]


def put_new(client: Client, key: bytes, pairs: list[Pair], event: str, each: bool = False) -> int:
    """Put a set of these pairs, whatever was under `key`; without any, remove what was there. How many they are.

    `each` of them counts as a change for the save points, as some commands of Redis have it.
    """
    db = client.db
    if not pairs:
        db.delete(key)
        return 0
    config = client.host.config
    longest = max([len(member) for member, _ in pairs])
    packed = len(pairs) <= config.zset_max_listpack_entries and longest <= config.zset_max_listpack_value
    db.set(key, SortedSet.of(pairs, packed))
    db.changed(key, event, "z", len(pairs) if each else 1)
    return len(pairs)


# --- adding -----------------------------------------------------------------------------------------------------------


ADD_OPTIONS = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"})


@command("zadd", -4, "write denyoom fast", acl="sortedset", keys="@1/range:0:1:0/RW+UPDATE")
def zadd(client: Client, argv: Argv) -> Reply:
    if len(argv) == 4:
        text = argv[2]
        score = float(text) if text.isdigit() and len(text) <= DIGITS_SURE else parse_float(text)
        if score is not None:
            return _add_one(client, argv[1], argv[3], score)
    at = 2
    flags = set()
    while at < len(argv) and (word := argv[at].upper()) in ADD_OPTIONS:
        flags.add(word)
        at += 1
    count = len(argv) - at
    if count % 2 or not count:
        raise SYNTAX
    if flags:
        _check_flags(flags, count)
    scores = [parse_score(text) for text in argv[at::2]]
    return add(client, argv[1], zip(argv[at + 1 :: 2], scores, strict=True), flags)


def _add_one(client: Client, key: bytes, member: bytes, score: float) -> int:
    """What most ZADDs are: one pair, no options. As `add`, in short."""
    db = client.db
    found = db.open_kind(key, SortedSet)
    target = SortedSet() if found is None else found
    if target.packed:
        config = client.host.config
        target.bound(config.zset_max_listpack_entries, config.zset_max_listpack_value, member)
    done = target.put(member, score)
    if done == SAME:
        return 0
    if found is None:
        db.set(key, target)
    keyspace = db.keyspace
    if keyspace.listening:
        db.changed(key, "zadd", "z")
    else:
        keyspace.dirty += 1
    return 1 if done == NEW else 0


def _check_flags(flags: set[bytes], count: int) -> None:
    if {b"NX", b"XX"} <= flags:
        raise CommandError("ERR XX and NX options at the same time are not compatible")
    if len(flags & {b"GT", b"LT", b"NX"}) > 1:
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if b"INCR" in flags and count > 2:
        raise CommandError("ERR INCR option supports a single increment-element pair")


@command("zincrby", 4, "write denyoom fast", acl="sortedset", keys=UPDATE_ONE)
def zincrby(client: Client, argv: Argv) -> Reply:
    if argv[2].upper() in ADD_OPTIONS:  # in the place of the increment: then there is none
        raise SYNTAX
    return add(client, argv[1], [(argv[3], parse_score(argv[2]))], {b"INCR"})


def add(client: Client, key: bytes, pairs: Iterable[Pair], flags: set[bytes]) -> Reply:
    """What ZADD does, with its options as words in `flags`."""
    db = client.db
    found = db.open_kind(key, SortedSet)
    if found is None and b"XX" in flags:
        return None if b"INCR" in flags else 0
    target = SortedSet() if found is None else found
    config = client.host.config
    entries_max, member_bytes_max = config.zset_max_listpack_entries, config.zset_max_listpack_value
    added = changed = 0
    result: float | None = None
    for member, score in pairs:
        if flags:
            result = _wanted(target.score(member), score, flags)
            if result is None:
                continue
            score = result
        if target.packed:
            target.bound(entries_max, member_bytes_max, member)
        done = target.put(member, score)
        if done == NEW:
            added += 1
        elif done == MOVED:
            changed += 1
    if added or changed:
        if found is None:
            db.make(key, target)
        db.changed(key, "zincr" if b"INCR" in flags else "zadd", "z", added + changed)
    if b"INCR" in flags:
        return result
    return added + changed if b"CH" in flags else added


def _wanted(old: float | None, score: float, flags: set[bytes]) -> float | None:
    """The score that a member with the score `old` is to get; None where the options forbid any."""
    if old is None:
        return None if b"XX" in flags else score
    if b"NX" in flags:
        return None
    if b"INCR" in flags:
        score += old
        if score != score:
            raise CommandError("ERR resulting score is not a number (NaN)")
    if (b"LT" in flags and score >= old) or (b"GT" in flags and score <= old):
        return None
    return score


@command("zrem", -3, "write fast", acl="sortedset", keys="@1/range:0:1:0/RW+DELETE")
def zrem(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    target = db.open_kind(key, SortedSet)
    if target is None:
        return 0
    removed = sum([target.remove(member) for member in argv[2:]])
    if removed:
        db.changed(key, "zrem", "z", removed)
        db.drop_if_empty(key, target)
    return removed


# --- asking -----------------------------------------------------------------------------------------------------------


@command("zcard", 2, "readonly fast", acl="sortedset", keys="@1/range:0:1:0/RO")
def zcard(client: Client, argv: Argv) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    return 0 if found is None else len(found)


@command("zscore", 3, "readonly fast", acl="sortedset", keys=READ_ONE)
def zscore(client: Client, argv: Argv) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    return None if found is None else found.score(argv[2])


@command("zmscore", -3, "readonly fast", acl="sortedset", keys=READ_ONE)
def zmscore(client: Client, argv: Argv) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    return [None if found is None else found.score(member) for member in argv[2:]]


def _rank(client: Client, argv: Argv, name: str, reverse: bool) -> Reply:
    if len(argv) > 4:
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")
    with_score = len(argv) == 4
    if with_score and argv[3].upper() != b"WITHSCORE":
        raise SYNTAX
    found = client.db.read_kind(argv[1], SortedSet)
    rank = None if found is None else found.rank(argv[2])
    if found is None or rank is None:
        return NULL_ARRAY if with_score else None
    if reverse:
        rank = len(found) - 1 - rank
    return [rank, found.score(argv[2])] if with_score else rank


@command("zrank", -3, "readonly fast", acl="sortedset", keys=READ_ONE)
def zrank(client: Client, argv: Argv) -> Reply:
    return _rank(client, argv, "zrank", reverse=False)


@command("zrevrank", -3, "readonly fast", acl="sortedset", keys=READ_ONE)
def zrevrank(client: Client, argv: Argv) -> Reply:
    return _rank(client, argv, "zrevrank", reverse=True)


# --- drawing and scanning ---------------------------------------------------------------------------------------------


@command("zrandmember", -2, "readonly", acl="sortedset", keys=READ_ONE, tips="nondeterministic_output")
def zrandmember(client: Client, argv: Argv) -> Reply:
    if len(argv) == 2:
        found = client.db.read_kind(argv[1], SortedSet)
        return None if found is None else found.at(client.host.platform.random.randrange(len(found)))[0]
    count = integer(argv[2])
    if count < -INT64_MAX:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    with_scores = len(argv) == 4 and argv[3].upper() == b"WITHSCORES"
    if len(argv) > 3 and not with_scores:
        raise SYNTAX
    if with_scores and not -WORST_DRAW <= count <= WORST_DRAW:
        raise CommandError("ERR value is out of range")
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None or not count:
        return []
    drawn = _draw(client, found, count)
    return paired(client, drawn) if with_scores else [member for member, _ in drawn]


def _draw(client: Client, source: SortedSet, count: int) -> Iterable[Pair]:
    """`count` different pairs, all if there are fewer; with a negative count that many, any of them again and again."""
    size = len(source)
    random = client.host.platform.random
    if count < 0:
        pairs = (source.at(random.randrange(size)) for _ in range(-count))
        return drawn(client, pairs, lambda pair: len(pair[0]))
    if count >= size:
        return iter(source)
    return map(source.at, random.sample(range(size), count))


@command("zscan", -3, "readonly", acl="sortedset", keys=READ_ONE, tips="nondeterministic_output")
def zscan(client: Client, argv: Argv) -> Reply:
    cursor = parse_cursor(argv[2])
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None:
        return [b"0", []]
    options = ScanOptions(argv[3:])
    cursor, pairs = found.scan(cursor, options.count)
    # Redis prints what it finds in a listpack, and the score of a skiplist in the manner of long doubles.
    text = format_double if found.packed else _seventeen_digits
    fits = options.fits
    words = [part for member, score in pairs if fits is None or fits(member) for part in (member, text(score))]
    return [b"%d" % cursor, words]


def _seventeen_digits(score: float) -> bytes:
    return b"%.17g" % score
