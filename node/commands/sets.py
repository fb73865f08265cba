"""Sets: the commands on distinct, unordered members."""

from node.commands.arguments import SYNTAX, positive, signed_count
from node.commands.drawing import drawn
from node.commands.family import command
from node.commands.scan import ScanOptions, parse_cursor
from node.datatypes.numbers import INT64_MAX, parse_int
from node.datatypes.sets import HASHTABLE, Set, difference, intersection, union
from node.keyspace.database import Database
from node.net.resp import Argv, CommandError, Members, Reply
from node.server import Client

READ_ONE = "@1/range:0:1:0/RO+ACCESS"
ASK_ONE = "@1/range:0:1:0/RO"
READ_ALL = "@1/range:-1:1:0/RO+ACCESS"
STORE = "@1/range:0:1:0/OW+UPDATE @2/range:-1:1:0/RO+ACCESS"
NO_ORDER = "nondeterministic_output_order"
BY_CHANCE = "nondeterministic_output"
POPPED_A_PIECE = 1024
"""So many members that SPOP has removed are journalled in one SREM, as in Redis 7.2."""

# --- members ----------------------------------------------------------------------------------------------------------


@command("sadd", -3, "write denyoom fast", acl="set", keys="@1/range:0:1:0/RW+INSERT")
def sadd(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    value = db.open_kind(key, Set)
    if value is None:
        value = db.make(key, Set(argv[2:]))
        added = len(value)
    elif len(argv) == 3:
        added = 1 if value.add(argv[2]) else 0
    else:
        added = sum(map(value.add, argv[2:]))
    if value.form is not HASHTABLE:
        value.settle(argv[2:], client.host.config)
    if added:
        db.changed(key, "sadd", "s", added)
    return added


@command("srem", -3, "write fast", acl="set", keys="@1/range:0:1:0/RW+DELETE")
def srem(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    value = db.open_kind(key, Set)
    if value is None:
        return 0
    removed = sum(map(value.remove, argv[2:]))
    if removed:
        db.changed(key, "srem", "s", removed)
        db.drop_if_empty(key, value)
    return removed


@command(
    "smove", 4, "write fast", acl="set", keys="@1/range:0:1:0/RW+ACCESS+DELETE @2/range:0:1:0/RW+INSERT"
)  # fmt: skip
def smove(client: Client, argv: Argv) -> Reply:
    _, source_key, target_key, member = argv
    db = client.db
    if db.peek(source_key) is None:
        return 0
    source, target = db.peek_kind(source_key, Set), db.peek_kind(target_key, Set)
    assert source is not None
    if member not in source or source_key == target_key:
        return int(member in source)
    source = db.open_kind(source_key, Set)
    assert source is not None
    source.remove(member)
    db.changed(source_key, "srem", "s")
    db.drop_if_empty(source_key, source)
    target = db.open_kind(target_key, Set) if target is not None else db.make(target_key, Set(form=None))
    assert target is not None
    added = target.add(member)
    target.settle([member], client.host.config)
    if added:
        db.changed(target_key, "sadd", "s")
    return 1


@command("sismember", 3, "readonly fast", acl="set", keys=ASK_ONE)
def sismember(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], Set)
    return int(value is not None and argv[2] in value)


@command("smismember", -3, "readonly fast", acl="set", keys=READ_ONE)
def smismember(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], Set)
    return [int(value is not None and member in value) for member in argv[2:]]


@command("scard", 2, "readonly fast", acl="set", keys=ASK_ONE)
def scard(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], Set)
    return 0 if value is None else len(value)


@command("smembers", 2, "readonly", acl="set", keys=READ_ONE, tips=NO_ORDER)
def smembers(client: Client, argv: Argv) -> Reply:
    value = client.db.read_kind(argv[1], Set)
    return Members(value or ())


@command("sscan", -3, "readonly", acl="set", keys=READ_ONE, tips=BY_CHANCE)
def sscan(client: Client, argv: Argv) -> Reply:
    cursor = parse_cursor(argv[2])
    value = client.db.read_kind(argv[1], Set)
    if value is None:
        return [b"0", []]
    options = ScanOptions(argv[3:])
    cursor, members = value.scan(cursor, options.count)
    if options.fits is not None:
        members = list(filter(options.fits, members))
    return [b"%d" % cursor, members]


# --- by chance --------------------------------------------------------------------------------------------------------


@command("spop", -2, "write fast", acl="set", keys="@1/range:0:1:0/RW+ACCESS+DELETE", tips=BY_CHANCE)
def spop(client: Client, argv: Argv) -> Reply:
    if len(argv) > 2:
        return _pop_many(client, argv)
    key, db = argv[1], client.db
    value = db.open_kind(key, Set)
    if value is None:
        return None
    member = value.pop(client.host.platform.random)
    keyspace = db.keyspace
    if not keyspace.journal.unheard:
        keyspace.journal_instead((b"SREM", key, member), db=db.index)
    keyspace.dirty += 1
    if keyspace.listening:
        db.tell(key, "spop", "s")
    if not len(value):
        db.drop_if_empty(key, value)
    return member


def _pop_many(client: Client, argv: Argv) -> Members:
    """SPOP with a count."""
    if len(argv) > 3:
        raise SYNTAX
    key, db, count = argv[1], client.db, positive(argv[2])
    value = db.open_kind(key, Set)
    if value is None:
        return Members()
    if count >= len(value):
        return _pop_all(client, key)
    random = client.host.platform.random
    members = Members(value.pop(random) for _ in range(count))
    if members:
        pieces = (members[at : at + POPPED_A_PIECE] for at in range(0, len(members), POPPED_A_PIECE))
        db.keyspace.journal_instead(*[(b"SREM", key, *piece) for piece in pieces], db=db.index)
        db.changed(key, "spop", "s", count)
    return members


def _pop_all(client: Client, key: bytes) -> Members:
    """SPOP with a count that is not below the set's size: the key goes."""
    db = client.db
    db.read(key)  # counts as one: Redis answers this by way of SUNION
    value = db.remove(key)
    members = Members(value or ())
    lazily = client.host.config.lazyfree_lazy_server_del
    if lazily:
        db.discard(value)
    db.keyspace.journal_instead((b"UNLINK" if lazily else b"DEL", key), db=db.index)
    db.changed(key, "spop", "s", len(members))
    db.tell(key, "del", "g")
    return members


@command("srandmember", -2, "readonly", acl="set", keys=READ_ONE, tips=BY_CHANCE)
def srandmember(client: Client, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise SYNTAX
    count = None if len(argv) == 2 else signed_count(argv[2])
    value = client.db.read_kind(argv[1], Set)
    random = client.host.platform.random
    if value is None:
        return None if count is None else []
    if count is None:
        return value.draw(random)
    if count < 0:
        return drawn(client, value.draw_with_repeats(-count, random), len)
    return value.sample(count, random)


# --- algebra ----------------------------------------------------------------------------------------------------------


def _sources(db: Database, keys: Argv) -> list[Set | None]:
    return [db.read_kind(key, Set) for key in keys]


@command("sinter", -2, "readonly", acl="set", keys=READ_ALL, tips=NO_ORDER)
def sinter(client: Client, argv: Argv) -> Reply:
    return Members(intersection(_sources(client.db, argv[1:])))


@command("sunion", -2, "readonly", acl="set", keys=READ_ALL, tips=NO_ORDER)
def sunion(client: Client, argv: Argv) -> Reply:
    return Members(union(_sources(client.db, argv[1:])))


@command("sdiff", -2, "readonly", acl="set", keys=READ_ALL, tips=NO_ORDER)
def sdiff(client: Client, argv: Argv) -> Reply:
    return Members(difference(_sources(client.db, argv[1:])))


def _store(client: Client, key: bytes, members: set[bytes], event: str) -> Reply:
    """Put the result of an operation in the place of whatever is under `key`; an empty one is no key."""
    db = client.db
    if members:
        value = Set(members)
        value.settle((), client.host.config)
        old = db.peek(key)
        db.set(key, value)
        if client.host.config.lazyfree_lazy_server_del:
            db.discard(old)
        db.changed(key, event, "s")
    elif db.peek(key) is not None:
        db.remove(key)
        db.changed(key, "del", "g")
    return len(members)


@command("sinterstore", -3, "write denyoom", acl="set", keys=STORE)
def sinterstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv[1], intersection(_sources(client.db, argv[2:])), "sinterstore")


@command("sunionstore", -3, "write denyoom", acl="set", keys=STORE)
def sunionstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv[1], union(_sources(client.db, argv[2:])), "sunionstore")


@command("sdiffstore", -3, "write denyoom", acl="set", keys=STORE)
def sdiffstore(client: Client, argv: Argv) -> Reply:
    return _store(client, argv[1], difference(_sources(client.db, argv[2:])), "sdiffstore")


@command("sintercard", -3, "readonly", acl="set", keys="@1/keynum:0:1:1/RO+ACCESS")
def sintercard(client: Client, argv: Argv) -> Reply:
    count = parse_int(argv[1])
    if count is None or not 1 <= count <= INT64_MAX:
        raise CommandError("ERR numkeys should be greater than 0")
    if count > len(argv) - 2:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    limit, words = 0, argv[2 + count :]
    for at in range(0, len(words), 2):
        if words[at].upper() != b"LIMIT" or at + 1 == len(words):
            raise SYNTAX
        found = parse_int(words[at + 1])
        if found is None or found < 0:
            raise CommandError("ERR LIMIT can't be negative")
        limit = found
    found_count = len(intersection(_sources(client.db, argv[2 : 2 + count]), limit))
    return min(found_count, limit) if limit else found_count
