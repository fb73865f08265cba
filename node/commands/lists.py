"""Lists: elements in order under a key, pushed and popped at both ends. A list that becomes empty is removed.

Blocking pops (`node.commands.blocking`) are journalled as the plain commands that say what they took: LPOP, RPOP,
LMOVE, RPOPLPUSH.
"""

from functools import partial

from node.commands.arguments import SYNTAX, integer
from node.commands.blocking import block, timeout_ms
from node.commands.family import command
from node.datatypes.lists import LONG, LOOK_ALWAYS, List
from node.datatypes.numbers import INT64_MAX, INT64_MIN, parse_int
from node.keyspace.database import Database
from node.net.resp import EMPTY, NULL_ARRAY, OK, Argv, CommandError, Reply, bulks
from node.server import Client

READ_ONE = "@1/range:0:1:0/RO+ACCESS"
INSERT_ONE = "@1/range:0:1:0/RW+INSERT"
DELETE_ONE = "@1/range:0:1:0/RW+ACCESS+DELETE"
DELETE_MANY = "@1/range:-2:1:0/RW+ACCESS+DELETE"
MOVE_TWO = "@1/range:0:1:0/RW+ACCESS+DELETE @2/range:0:1:0/RW+INSERT"

NO_SUCH_KEY = CommandError("ERR no such key")
INDEX_OUT_OF_RANGE = CommandError("ERR index out of range")
NOT_POSITIVE = CommandError("ERR value is out of range, must be positive")

# --- pushing ----------------------------------------------------------------------------------------------------------


def _push(client: Client, argv: Argv, left: bool, make: bool) -> Reply:
    key, db = argv[1], client.db
    value = db.open_kind(key, List)
    if value is None:
        if not make:
            return 0
        value = db.make(key, List())
    if len(argv) == 3 and value.size == LONG:  # what queues do: `_push_onto` without its calls
        element = argv[2]
        changes, count = 1, value.push_left(element) if left else value.push_right(element)
    else:
        elements = argv[2:]
        changes, count = len(elements), _push_onto(client, value, elements, left)
    keyspace = db.keyspace
    keyspace.dirty += changes
    if keyspace.listening:
        db.tell(key, "lpush" if left else "rpush", "l")
    return count


def _push_onto(client: Client, value: List, elements: Argv, left: bool) -> int:
    """Push elements one by one; how many there are now."""
    value.about_to_take(elements, client.host.config.list_max_listpack_size)
    push = value.push_left if left else value.push_right
    for element in elements:
        push(element)
    return value.count


@command("lpush", -3, "write denyoom fast", acl="list", keys=INSERT_ONE)
def lpush(client: Client, argv: Argv) -> Reply:
    return _push(client, argv, True, True)


@command("rpush", -3, "write denyoom fast", acl="list", keys=INSERT_ONE)
def rpush(client: Client, argv: Argv) -> Reply:
    return _push(client, argv, False, True)


@command("lpushx", -3, "write denyoom fast", acl="list", keys=INSERT_ONE)
def lpushx(client: Client, argv: Argv) -> Reply:
    return _push(client, argv, True, False)


@command("rpushx", -3, "write denyoom fast", acl="list", keys=INSERT_ONE)
def rpushx(client: Client, argv: Argv) -> Reply:
    return _push(client, argv, False, False)


@command("linsert", 5, "write denyoom", acl="list", keys=INSERT_ONE)
def linsert(client: Client, argv: Argv) -> Reply:
    _, key, where, pivot, element = argv
    place = where.upper()
    if place not in (b"BEFORE", b"AFTER"):
        raise SYNTAX
    db = client.db
    value = db.open_kind(key, List)
    if value is None:
        return 0
    value.about_to_take((element,), client.host.config.list_max_listpack_size)
    if not value.insert(pivot, element, behind=place == b"AFTER"):
        return -1
    db.changed(key, "linsert", "l")
    return len(value)


@command("lset", 4, "write denyoom", acl="list", keys="@1/range:0:1:0/RW+UPDATE")
def lset(client: Client, argv: Argv) -> Reply:
    _, key, place, element = argv
    db = client.db
    value = db.open_kind(key, List)
    if value is None:
        raise NO_SUCH_KEY
    index = integer(place)
    if index < 0:
        index += len(value)
    if not 0 <= index < len(value):
        raise INDEX_OUT_OF_RANGE
    fill = client.host.config.list_max_listpack_size
    value.about_to_take((element,), fill)
    value.set(index, element)
    value.has_shrunk(fill)
    db.changed(key, "lset", "l")
    return OK


# --- reading ----------------------------------------------------------------------------------------------------------


@command("llen", 2, "readonly fast", acl="list", keys="@1/range:0:1:0/RO")
def llen(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], List)
    return 0 if value is None else len(value)


@command("lindex", 3, "readonly", acl="list", keys=READ_ONE)
def lindex(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], List)
    return None if value is None else value.get(integer(argv[2]))


@command("lrange", 4, "readonly", acl="list", keys=READ_ONE)
def lrange(client: Client, argv: Argv) -> Reply:
    first, last = integer(argv[2]), integer(argv[3])
    value = client.db.read_kind(argv[1], List)
    return EMPTY if value is None else bulks(value.range(*_range(first, last, len(value))))


def _range(first: int, last: int, count: int) -> tuple[int, int]:
    """From where to (not including) where an inclusive range reaches that may count from the end."""
    start = max(0, first + count if first < 0 else first)
    stop = min(count, (last + count if last < 0 else last) + 1)
    return (start, stop) if start < stop else (0, 0)


@command("lpos", -3, "readonly", acl="list", keys=READ_ONE)
def lpos(client: Client, argv: Argv) -> Reply:
    rank, count, looks_max = _lpos_options(argv)
    value = client.db.read_kind(argv[1], List)
    found: list[int] = []
    if value is not None:
        wanted = 1 if count is None else count or len(value)
        skipped = abs(rank) - 1
        for index in value.positions(argv[2], rank < 0, looks_max or len(value)):
            if skipped:
                skipped -= 1
                continue
            found.append(index)
            if len(found) == wanted:
                break
    if count is None:
        return found[0] if found else None
    return found


def _lpos_options(argv: Argv) -> tuple[int, int | None, int]:
    rank, count, looks_max = 1, None, 0
    for at in range(3, len(argv), 2):
        word = argv[at].upper()
        if at + 1 >= len(argv) or word not in (b"RANK", b"COUNT", b"MAXLEN"):
            raise SYNTAX
        if word == b"RANK":
            rank = _not_lowest(argv[at + 1])
            if not rank:
                raise CommandError(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    "or use negative to start from the end of the list"
                )
        elif word == b"COUNT":
            count = _at_least(argv[at + 1], 0, "ERR COUNT can't be negative")
        else:
            looks_max = _at_least(argv[at + 1], 0, "ERR MAXLEN can't be negative")
    return rank, count, looks_max


def _at_least(text: bytes, lowest: int, complaint: str) -> int:
    number = parse_int(text)
    if number is None or number < lowest:
        raise CommandError(complaint)
    return number


def _not_lowest(text: bytes) -> int:
    """A number whose sign can be turned."""
    number = integer(text)
    if number == INT64_MIN:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    return number


# --- popping ----------------------------------------------------------------------------------------------------------


def _popped(client: Client, db: Database, key: bytes, value: List, left: bool, count: int) -> None:
    """Elements have been taken from an end: tell, and drop the list if nothing is left."""
    value.has_shrunk(client.host.config.list_max_listpack_size)
    keyspace = db.keyspace
    keyspace.dirty += count
    if keyspace.listening:
        db.tell(key, "lpop" if left else "rpop", "l")
    if not len(value):
        db.drop_if_empty(key, value)


def _pop_one(client: Client, key: bytes, value: List, left: bool) -> bytes:
    element = value.pop_left() if left else value.pop_right()
    _popped(client, client.db, key, value, left, 1)
    return element


def _pop_many(client: Client, key: bytes, value: List, left: bool, count: int) -> list[bytes]:
    """Take up to `count` elements, in the order in which they come."""
    size = len(value)
    count = min(count, size)
    if left:
        elements = value.range(0, count)
        value.drop_left(count)
    else:
        elements = value.range(size - count, size)[::-1]
        value.drop_right(count)
    _popped(client, client.db, key, value, left, count)
    return elements


def _pop(client: Client, argv: Argv, left: bool) -> Reply:
    key = argv[1]
    if len(argv) == 2:  # what queues do: `_pop_one` without its calls
        db = client.db
        value = db.open_kind(key, List)
        if value is None:
            return None
        element = value.pop_left() if left else value.pop_right()
        keyspace, size = db.keyspace, value.count
        if size <= LOOK_ALWAYS or size <= value.look_at or keyspace.listening:
            _popped(client, db, key, value, left, 1)
        else:
            keyspace.dirty += 1
        return element
    if len(argv) > 3:
        raise CommandError(f"ERR wrong number of arguments for '{'lpop' if left else 'rpop'}' command")
    count = parse_int(argv[2])
    if count is None or count < 0:
        raise NOT_POSITIVE
    value = client.db.open_kind(key, List)
    if value is None:
        return NULL_ARRAY
    return bulks(_pop_many(client, key, value, left, count)) if count else EMPTY


@command("lpop", -2, "write fast", acl="list", keys=DELETE_ONE)
def lpop(client: Client, argv: Argv) -> Reply:
    return _pop(client, argv, True)


@command("rpop", -2, "write fast", acl="list", keys=DELETE_ONE)
def rpop(client: Client, argv: Argv) -> Reply:
    return _pop(client, argv, False)


@command("ltrim", 4, "write", acl="list", keys="@1/range:0:1:0/RW+DELETE")
def ltrim(client: Client, argv: Argv) -> Reply:
    _, key, first, last = argv
    wanted = integer(first), integer(last)
    db = client.db
    value = db.open_kind(key, List)
    if value is None:
        return OK
    size = len(value)
    start, stop = _range(*wanted, size)
    value.drop_right(size - stop)
    value.drop_left(start)
    value.has_shrunk(client.host.config.list_max_listpack_size)
    db.tell(key, "ltrim", "l")
    db.keyspace.dirty += size - len(value)
    db.drop_if_empty(key, value)
    return OK


@command("lrem", 4, "write", acl="list", keys="@1/range:0:1:0/RW+DELETE")
def lrem(client: Client, argv: Argv) -> Reply:
    _, key, many, element = argv
    count = _not_lowest(many)
    db = client.db
    value = db.open_kind(key, List)
    if value is None:
        return 0
    gone = value.remove(element, count)
    if gone:
        value.has_shrunk(client.host.config.list_max_listpack_size)
        db.changed(key, "lrem", "l")
        db.keyspace.dirty += gone - 1
        db.drop_if_empty(key, value)
    return gone


# --- from list to list ------------------------------------------------------------------------------------------------


def _is_left(word: bytes) -> bool:
    end = word.upper()
    if end not in (b"LEFT", b"RIGHT"):
        raise SYNTAX
    return end == b"LEFT"


def _move(client: Client, source: bytes, target: bytes, from_left: bool, to_left: bool) -> bytes | None:
    """Take an element from one end of a list to one end of another, or of the same; None if there is no source."""
    db = client.db
    value = db.open_kind(source, List)
    if value is None:
        return None
    other = db.open_kind(target, List)
    element = value.pop_left() if from_left else value.pop_right()
    if other is None:
        other = db.make(target, List())
    _push_onto(client, other, [element], to_left)
    db.tell(target, "lpush" if to_left else "rpush", "l")
    _popped(client, db, source, value, from_left, 1)
    return element


@command("lmove", 5, "write denyoom", acl="list", keys=MOVE_TWO)
def lmove(client: Client, argv: Argv) -> Reply:
    return _move(client, argv[1], argv[2], _is_left(argv[3]), _is_left(argv[4]))


@command("rpoplpush", 3, "write denyoom", acl="list", keys=MOVE_TWO)
def rpoplpush(client: Client, argv: Argv) -> Reply:
    return _move(client, argv[1], argv[2], from_left=False, to_left=True)


# --- the first of several lists ---------------------------------------------------------------------------------------


def _take_some(client: Client, left: bool, count: int, key: bytes) -> Reply | None:
    """LMPOP's step for one key; journalled as the plain pop that it is."""
    value = client.db.open_kind(key, List)
    if value is None:
        return None
    elements = _pop_many(client, key, value, left, count)
    effect = (b"LPOP" if left else b"RPOP", key, b"%d" % len(elements))
    client.db.keyspace.journal_instead(effect, db=client.db.index)
    return [key, elements]


class _Several:
    """`numkeys key [key ...] LEFT|RIGHT [COUNT count]`, from place `at` on."""

    __slots__ = ("count", "keys", "left")

    def __init__(self, argv: Argv, at: int) -> None:
        many = _at_least(argv[at], 1, "ERR numkeys should be greater than 0")
        where = at + 1 + many
        if where >= len(argv):
            raise SYNTAX
        self.keys = argv[at + 1 : where]
        self.left = _is_left(argv[where])
        self.count = 1
        rest = argv[where + 1 :]
        if rest:
            if len(rest) == 1 or rest[0].upper() != b"COUNT":
                raise SYNTAX
            self.count = _at_least(rest[1], 1, "ERR count should be greater than 0")
            if len(rest) > 2:
                raise SYNTAX


@command("lmpop", -4, "write", acl="list", keys="@1/keynum:0:1:1/RW+ACCESS+DELETE")
def lmpop(client: Client, argv: Argv) -> Reply:
    several = _Several(argv, 1)
    for key in several.keys:
        found = _take_some(client, several.left, several.count, key)
        if found is not None:
            return found
    return NULL_ARRAY


@command("blmpop", -5, "write blocking", acl="list", keys="@2/keynum:0:1:1/RW+ACCESS+DELETE")
def blmpop(client: Client, argv: Argv) -> Reply:
    several = _Several(argv, 2)
    wait_ms = timeout_ms(client, argv[1])
    attempt = partial(_take_some, client, several.left, several.count)
    for key in several.keys:
        found = attempt(key)
        if found is not None:
            return found
    return block(client, several.keys, b"list", wait_ms, attempt)


# --- waiting ----------------------------------------------------------------------------------------------------------


def _take_one(client: Client, left: bool, key: bytes) -> Reply | None:
    """BLPOP's step for one key."""
    value = client.db.open_kind(key, List)
    if value is None:
        return None
    element = _pop_one(client, key, value, left)
    client.db.keyspace.journal_instead((b"LPOP" if left else b"RPOP", key), db=client.db.index)
    return [key, element]


def _blocking_pop(client: Client, argv: Argv, left: bool) -> Reply:
    keys = argv[1:-1]
    wait_ms = timeout_ms(client, argv[-1])
    attempt = partial(_take_one, client, left)
    for key in keys:
        found = attempt(key)
        if found is not None:
            return found
    return block(client, keys, b"list", wait_ms, attempt)


@command("blpop", -3, "write blocking", acl="list", keys=DELETE_MANY)
def blpop(client: Client, argv: Argv) -> Reply:
    return _blocking_pop(client, argv, True)


@command("brpop", -3, "write blocking", acl="list", keys=DELETE_MANY)
def brpop(client: Client, argv: Argv) -> Reply:
    return _blocking_pop(client, argv, False)


def _blocking_move(client: Client, argv: Argv, from_left: bool, to_left: bool, effect: Argv) -> Reply:
    target = argv[2]
    wait_ms = timeout_ms(client, argv[-1])

    def attempt(key: bytes) -> Reply | None:
        element = _move(client, key, target, from_left, to_left)
        if element is not None:
            client.db.keyspace.journal_instead(effect, db=client.db.index)
        return element

    found = attempt(argv[1])
    if found is not None:
        return found
    return block(client, [argv[1]], b"list", wait_ms, attempt) if client.may_block else None


@command("blmove", 6, "write denyoom blocking", acl="list", keys=MOVE_TWO)
def blmove(client: Client, argv: Argv) -> Reply:
    return _blocking_move(client, argv, _is_left(argv[3]), _is_left(argv[4]), [b"LMOVE", *argv[1:5]])


@command("brpoplpush", 4, "write denyoom blocking", acl="list", keys=MOVE_TWO)
def brpoplpush(client: Client, argv: Argv) -> Reply:
    return _blocking_move(client, argv, False, True, [b"RPOPLPUSH", *argv[1:3]])
