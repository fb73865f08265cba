"""Hashes: the commands on fields and values. What is about deadlines of fields stands in `hash_deadlines`.

Fields past their deadlines are nowhere to be seen. A primary removes them as it meets them: some of those that are due
at each access, and each that a writing command names; what is left is hidden from reads until its turn comes. A
replica only hides them, and waits for its primary's word; a primary's own stream, or a file, meets them as they are.
"""

from collections.abc import Iterable

from node.commands.arguments import NOT_A_FLOAT, SYNTAX, integer, signed_count
from node.commands.drawing import drawn
from node.commands.family import command
from node.commands.scan import ScanOptions, parse_cursor
from node.datatypes.hashes import Hash, LivingFields
from node.datatypes.numbers import INT64_MAX, INT64_MIN, format_long_double, parse_int, parse_long_double
from node.keyspace.database import Database
from node.net.resp import OK, Argv, CommandError, Reply
from node.server import Client

READ_ONE = "@1/range:0:1:0/RO+ACCESS"
ASK_ONE = "@1/range:0:1:0/RO"
UPDATE_ONE = "@1/range:0:1:0/RW+UPDATE"
COUNT_ONE = "@1/range:0:1:0/RW+ACCESS+UPDATE"
NO_ORDER = "nondeterministic_output_order"
BY_CHANCE = "nondeterministic_output"

EXPIRED_AT_ONCE = 64
"""How many of the fields that are past their deadlines an access removes beside its own work."""

# --- what is there ----------------------------------------------------------------------------------------------------


def read_hash(client: Client, key: bytes) -> Hash | LivingFields | None:
    """The hash under `key` as a reading command sees it."""
    db = client.db
    value = db.read_kind(key, Hash)
    if value is None or value.soonest_ms > db.keyspace.now_ms:
        return value
    return _living(db, key, value)


def _living(db: Database, key: bytes, value: Hash) -> Hash | LivingFields | None:
    keyspace = db.keyspace
    if keyspace.obeying:
        return value
    if keyspace.removes_expired and not keyspace.paused:
        db.expire_fields(key, EXPIRED_AT_ONCE)
        left = db.peek_kind(key, Hash)
        if left is None:
            return None
        value = left
    view = value.alive(keyspace.now_ms)
    return view if len(view) else None


def open_hash(client: Client, key: bytes, fields: Iterable[bytes]) -> Hash | None:
    """The hash under `key`, about to be changed; those of `fields` that are past their deadlines are gone."""
    db = client.db
    value = db.open_kind(key, Hash)
    keyspace = db.keyspace
    if value is None or value.soonest_ms > keyspace.now_ms or keyspace.obeying or not keyspace.removes_expired:
        return value
    now_ms = keyspace.now_ms
    over = dict.fromkeys(value.expired(now_ms, EXPIRED_AT_ONCE))
    for field in fields:
        if (deadline := value.deadline(field)) is not None and deadline <= now_ms:
            over[field] = None
    db.remove_expired_fields(key, value, list(over))
    return value if len(value) else None


def hash_changed(client: Client, key: bytes, value: Hash, event: str, changes: int = 1) -> None:
    """Report a change of fields, and remove the hash if it was the last of them."""
    db = client.db
    db.changed(key, event, "h", changes)
    if not db.drop_if_empty(key, value) and key in db.hash_deadlines:
        db.watch_fields(key, value)


# --- reading ----------------------------------------------------------------------------------------------------------


@command("hget", 3, "readonly fast", acl="hash", keys=READ_ONE)
def hget(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return None if value is None else value.get(argv[2])


@command("hmget", -3, "readonly fast", acl="hash", keys=READ_ONE)
def hmget(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return [None] * (len(argv) - 2) if value is None else [value.get(field) for field in argv[2:]]


@command("hexists", 3, "readonly fast", acl="hash", keys=ASK_ONE)
def hexists(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return int(value is not None and argv[2] in value)


@command("hstrlen", 3, "readonly fast", acl="hash", keys=ASK_ONE)
def hstrlen(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return 0 if value is None else len(value.get(argv[2]) or b"")


@command("hlen", 2, "readonly fast", acl="hash", keys=ASK_ONE)
def hlen(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return 0 if value is None else len(value)


@command("hgetall", 2, "readonly", acl="hash", keys=READ_ONE, tips=NO_ORDER)
def hgetall(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return {} if value is None else dict(value.items())


@command("hkeys", 2, "readonly", acl="hash", keys=READ_ONE, tips=NO_ORDER)
def hkeys(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return [] if value is None else list(value)


@command("hvals", 2, "readonly", acl="hash", keys=READ_ONE, tips=NO_ORDER)
def hvals(client: Client, argv: Argv) -> Reply:
    value = read_hash(client, argv[1])
    return [] if value is None else list(value.values())


@command("hscan", -3, "readonly", acl="hash", keys=READ_ONE, tips=BY_CHANCE)
def hscan(client: Client, argv: Argv) -> Reply:
    cursor = parse_cursor(argv[2])
    value = read_hash(client, argv[1])
    if value is None:
        return [b"0", []]
    options = ScanOptions(argv[3:], b"NOVALUES")
    cursor, fields = value.scan(cursor, options.count)
    if options.fits is not None:
        fields = list(filter(options.fits, fields))
    return [b"%d" % cursor, _with_values(value, fields) if options.values else fields]


@command("hrandfield", -2, "readonly", acl="hash", keys=READ_ONE, tips=BY_CHANCE)
def hrandfield(client: Client, argv: Argv) -> Reply:
    random = client.host.platform.random
    if len(argv) == 2:
        value = read_hash(client, argv[1])
        return None if value is None else value.draw(random)
    count = signed_count(argv[2])
    with_values = len(argv) > 3
    if with_values:
        if len(argv) > 4 or argv[3].upper() != b"WITHVALUES":
            raise SYNTAX
        if abs(count) > INT64_MAX // 2:
            raise CommandError("ERR value is out of range")
    value = read_hash(client, argv[1])
    if value is None or not count:
        return []
    drawing = value.draw_with_repeats(-count, random) if count < 0 else None
    fields = value.sample(count, random) if drawing is None else drawn(client, drawing, len)
    if not with_values:
        return fields
    if client.resp3:
        return [[field, value.get(field)] for field in fields]
    return _with_values(value, fields)


def _with_values(value: Hash | LivingFields, fields: list[bytes]) -> list[bytes | None]:
    return [word for field in fields for word in (field, value.get(field))]


# --- writing ----------------------------------------------------------------------------------------------------------


@command("hset", -4, "write denyoom fast", acl="hash", keys=UPDATE_ONE)
def hset(client: Client, argv: Argv) -> Reply:
    db = client.db
    keyspace = db.keyspace
    if len(argv) == 4 and not (db.hash_deadlines or keyspace.listening):  # the usual case, in a third less time
        value = db.open_kind(argv[1], Hash)
        if value is not None:
            added = value.set(argv[2], argv[3])
            if value.compact is not False:
                value.settle(argv[2:], client.host.config)
            keyspace.dirty += 1
            return 1 if added else 0
    return _set_pairs(client, argv, "hset")


@command("hmset", -4, "write denyoom fast", acl="hash", keys=UPDATE_ONE)
def hmset(client: Client, argv: Argv) -> Reply:
    _set_pairs(client, argv, "hmset")
    return OK


def _set_pairs(client: Client, argv: Argv, name: str) -> int:
    if len(argv) % 2:
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")
    key, db = argv[1], client.db
    words = argv[2:]
    value = open_hash(client, key, words[::2]) or db.make(key, Hash())
    added = sum(map(value.set, words[::2], words[1::2]))
    value.settle(words, client.host.config)
    hash_changed(client, key, value, "hset", len(words) // 2)
    return added


@command("hsetnx", 4, "write denyoom fast", acl="hash", keys="@1/range:0:1:0/RW+INSERT")
def hsetnx(client: Client, argv: Argv) -> Reply:
    key, field = argv[1], argv[2]
    value = open_hash(client, key, (field,))
    if value is None:
        value = client.db.make(key, Hash())
    elif field in value:
        return 0
    value.set(field, argv[3])
    value.settle(argv[2:], client.host.config)
    hash_changed(client, key, value, "hset")
    return 1


@command("hdel", -3, "write fast", acl="hash", keys="@1/range:0:1:0/RW+DELETE")
def hdel(client: Client, argv: Argv) -> Reply:
    fields = argv[2:]
    value = open_hash(client, argv[1], fields)
    if value is None:
        return 0
    removed = sum([value.remove(field) is not None for field in fields])
    if removed:
        hash_changed(client, argv[1], value, "hdel", removed)
    return removed


@command("hincrby", 4, "write denyoom fast", acl="hash", keys=COUNT_ONE)
def hincrby(client: Client, argv: Argv) -> Reply:
    delta = integer(argv[3])
    key, field = argv[1], argv[2]
    value = open_hash(client, key, (field,))
    old = None if value is None else value.get(field)
    number = 0 if old is None else parse_int(old)
    if number is None:
        raise CommandError("ERR hash value is not an integer")
    number += delta
    if not INT64_MIN <= number <= INT64_MAX:
        raise CommandError("ERR increment or decrement would overflow")
    _put(client, key, value, field, b"%d" % number)
    client.db.changed(key, "hincrby", "h")
    return number


@command("hincrbyfloat", 4, "write denyoom fast", acl="hash", keys=COUNT_ONE)
def hincrbyfloat(client: Client, argv: Argv) -> Reply:
    delta = parse_long_double(argv[3])
    if delta is None:
        raise NOT_A_FLOAT
    if delta.infinite:
        raise CommandError("ERR value is NaN or Infinity")
    key, field, db = argv[1], argv[2], client.db
    value = open_hash(client, key, (field,))
    old = None if value is None else value.get(field)
    number = parse_long_double(b"0" if old is None else old)
    if number is None:
        raise CommandError("ERR hash value is not a float")
    total = number + delta
    if total is None:
        raise CommandError("ERR increment would produce NaN or Infinity")
    text = format_long_double(total)
    effects: list[Argv] = [[b"HSET", key, field, text]]
    deadline = None if value is None else value.deadline(field)
    if deadline is not None:  # HSET drops it
        effects.append([b"HPEXPIREAT", key, b"%d" % deadline, b"FIELDS", b"1", field])
    _put(client, key, value, field, text)
    db.keyspace.journal_instead(*effects, db=db.index)
    db.changed(key, "hincrbyfloat", "h")
    return text


def _put(client: Client, key: bytes, value: Hash | None, field: bytes, text: bytes) -> None:
    """Store a counted value; the field keeps its deadline."""
    if value is None:
        value = client.db.make(key, Hash())
    if field in value:
        value.replace(field, text)
    else:
        value.set(field, text)
    value.settle((field, text), client.host.config)
