"""Taking members from either end of sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP, and their forms that wait.

Those wait as `node.commands.blocking` tells, and are journalled as the pops that they were in the end.
"""

from functools import partial

from node.commands.arguments import SYNTAX
from node.commands.blocking import Attempt, block, timeout_ms
from node.commands.family import command
from node.commands.sortedsets import paired
from node.datatypes.numbers import format_double, parse_int
from node.datatypes.ranking import Pair
from node.datatypes.sortedsets import SortedSet
from node.keyspace.database import Database
from node.net.resp import NULL_ARRAY, Argv, CommandError, Encoded, Reply
from node.server import Client

MIN, MAX = b"MIN", b"MAX"

POP_ONE = "@1/range:0:1:0/RW+ACCESS+DELETE"
POP_MANY = "@1/range:-2:1:0/RW+ACCESS+DELETE"


def take(db: Database, key: bytes, source: SortedSet, end: bytes, count: int) -> list[Pair]:
    """Take `count` pairs, or all there are, from one end of the set under `key` (opened), and tell."""
    size = len(source)
    count = min(count, size)
    if count == 1:
        pairs = [source.pop(highest=end == MAX)]
    elif end == MIN:
        pairs = source.remove_ranks(0, count)
    else:
        pairs = source.remove_ranks(size - count, size)
        pairs.reverse()
    db.changed(key, "zpopmin" if end == MIN else "zpopmax", "z", count)
    db.drop_if_empty(key, source)
    return pairs


def _take_many(client: Client, end: bytes, count: int, key: bytes) -> Reply | None:
    """ZMPOP's step for one key: its reply, None if there is no set. It is journalled as the pop of this key."""
    db = client.db
    source = db.open_kind(key, SortedSet)
    if source is None:
        return None
    pairs = take(db, key, source, end, count)
    verb = b"ZPOPMIN" if end == MIN else b"ZPOPMAX"
    db.keyspace.journal_instead((verb, key, b"%d" % len(pairs)), db=db.index)
    return [key, [list(pair) for pair in pairs]]


def at_least(text: bytes, least: int, complaint: str) -> int:
    """An integer from `least` on."""
    number = parse_int(text)
    if number is None or number < least:
        raise CommandError(complaint)
    return number


def _pop(client: Client, argv: Argv, end: bytes) -> Reply:
    if len(argv) > 3:
        raise SYNTAX
    count = at_least(argv[2], 0, "ERR value is out of range, must be positive")
    source = client.db.open_kind(argv[1], SortedSet)
    if source is None or not count:
        return []
    return paired(client, take(client.db, argv[1], source, end, count))


def _pop_one(client: Client, key: bytes, end: bytes) -> Reply:
    """What queues do: `take` of one, with the reply made at once."""
    db = client.db
    source = db.open_kind(key, SortedSet)
    if source is None:
        return []
    member, score = source.pop(end == MAX)
    db.keyspace.dirty += 1
    if db.keyspace.listening:
        db.tell(key, "zpopmin" if end == MIN else "zpopmax", "z")
    if not len(source):
        db.drop_if_empty(key, source)
    if client.resp3:
        return [member, score]
    text = format_double(score)
    return Encoded(b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(member), member, len(text), text))


@command("zpopmin", -2, "write fast", acl="sortedset", keys=POP_ONE)
def zpopmin(client: Client, argv: Argv) -> Reply:
    return _pop_one(client, argv[1], MIN) if len(argv) == 2 else _pop(client, argv, MIN)


@command("zpopmax", -2, "write fast", acl="sortedset", keys=POP_ONE)
def zpopmax(client: Client, argv: Argv) -> Reply:
    return _pop_one(client, argv[1], MAX) if len(argv) == 2 else _pop(client, argv, MAX)


class ManyPop:
    """What ZMPOP and BZMPOP are told: keys, an end, a count."""

    __slots__ = ("count", "end", "keys")

    def __init__(self, argv: Argv, at: int) -> None:
        """Read it from the number of keys, `argv[at]`, on."""
        number = at_least(argv[at], 1, "ERR numkeys should be greater than 0")
        behind = at + 1 + number
        if behind >= len(argv):
            raise SYNTAX
        self.keys = argv[at + 1 : behind]
        self.end = argv[behind].upper()
        if self.end not in (MIN, MAX):
            raise SYNTAX
        self.count = 1
        options = argv[behind + 1 :]
        if options:
            if options[0].upper() != b"COUNT" or len(options) < 2:
                raise SYNTAX
            self.count = at_least(options[1], 1, "ERR count should be greater than 0")
            if len(options) > 2:
                raise SYNTAX

    def attempt(self, client: Client) -> Attempt:
        """How one of the keys is tried."""
        return partial(_take_many, client, self.end, self.count)


def _first(keys: list[bytes], attempt: Attempt) -> Reply | None:
    """The reply of the first key that has something."""
    for key in keys:
        reply = attempt(key)
        if reply is not None:
            return reply
    return None


@command("zmpop", -4, "write", acl="sortedset", keys="@1/keynum:0:1:1/RW+ACCESS+DELETE")
def zmpop(client: Client, argv: Argv) -> Reply:
    wanted = ManyPop(argv, 1)
    return _first(wanted.keys, wanted.attempt(client)) or NULL_ARRAY


# --- waiting ----------------------------------------------------------------------------------------------------------


def _first_or_wait(client: Client, keys: list[bytes], wait_ms: int, attempt: Attempt) -> Reply:
    return _first(keys, attempt) or block(client, keys, b"zset", wait_ms, attempt)


@command("bzmpop", -5, "write blocking", acl="sortedset", keys="@2/keynum:0:1:1/RW+ACCESS+DELETE")
def bzmpop(client: Client, argv: Argv) -> Reply:
    wanted = ManyPop(argv, 2)
    return _first_or_wait(client, wanted.keys, timeout_ms(client, argv[1]), wanted.attempt(client))


def _take_one(client: Client, end: bytes, key: bytes) -> Reply | None:
    """BZPOPMIN's step for one key."""
    db = client.db
    source = db.open_kind(key, SortedSet)
    if source is None:
        return None
    ((member, score),) = take(db, key, source, end, 1)
    db.keyspace.journal_instead((b"ZPOPMIN" if end == MIN else b"ZPOPMAX", key), db=db.index)
    return [key, member, score]


@command("bzpopmin", -3, "write fast blocking", acl="sortedset", keys=POP_MANY)
def bzpopmin(client: Client, argv: Argv) -> Reply:
    return _first_or_wait(client, argv[1:-1], timeout_ms(client, argv[-1]), partial(_take_one, client, MIN))


@command("bzpopmax", -3, "write fast blocking", acl="sortedset", keys=POP_MANY)
def bzpopmax(client: Client, argv: Argv) -> Reply:
    return _first_or_wait(client, argv[1:-1], timeout_ms(client, argv[-1]), partial(_take_one, client, MAX))
