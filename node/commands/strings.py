"""Strings: bytes under a key. A value that is changed in place (APPEND, SETRANGE) becomes a bytearray.

GET, SET, INCR and MSET are what a Redis is measured by: their plain forms come first in their functions and look at
nothing that they do not need.
"""

from node.commands.arguments import (
    NOT_A_FLOAT,
    NOT_AN_INTEGER,
    SYNTAX,
    already_over,
    deadline_ms,
    integer,
)
from node.commands.family import command, row
from node.datatypes import strings
from node.datatypes.numbers import (
    INT64_MAX,
    INT64_MIN,
    SHARED,
    SHARED_MAX,
    format_long_double,
    parse_int,
    parse_long_double,
)
from node.keyspace.database import WRONG_TYPE, Database, Value
from node.net.resp import OK, SMALL_INTEGERS, Argv, CommandError, Encoded, Reply, bulks, each_bulk, encode
from node.server import Client

READ_ONE = "@1/range:0:1:0/RO+ACCESS"
UPDATE_ONE = "@1/range:0:1:0/RW+ACCESS+UPDATE"
OVERWRITE_ONE = "@1/range:0:1:0/OW+UPDATE"

ONE, ZERO = Encoded(b":1\r\n"), Encoded(b":0\r\n")

# --- GET and SET ------------------------------------------------------------------------------------------------------


@command("get", 2, "readonly fast", acl="string", keys=READ_ONE)
def get(client: Client, argv: Argv) -> Reply:
    value = client.db.read(argv[1])
    if type(value) is bytes or value is None:
        return value
    if type(value) is bytearray:
        return bytes(value)  # a reply may wait (EXEC) while the value goes on changing
    raise WRONG_TYPE


@row("get", 2)
def get_row(client: Client, calls: list[Argv]) -> tuple[int, bytes | bytearray]:
    values = client.db.read_all([key for _, key in calls])
    if set(map(type, values)) == {bytes}:
        return len(calls), each_bulk(values)
    out, nothing = bytearray(), b"_\r\n" if client.resp3 else b"$-1\r\n"
    for value in values:
        if value is None:
            out += nothing
            continue
        if type(value) is not bytes and type(value) is not bytearray:
            value = WRONG_TYPE.reply
            assert client.last_command is not None
            client.host.command_failed(client.last_command, value)
        encode(value, out, client.resp3)
    return len(calls), out


@command("set", -3, "write denyoom brief", acl="string", keys="@1/range:0:1:0/RW+ACCESS+UPDATE+VARIABLE_FLAGS")
def set_(client: Client, argv: Argv) -> Reply:
    if len(argv) == 3:
        _, key, value = argv
        db = client.db
        db.set(key, value)
        keyspace = db.keyspace
        if keyspace.listening:
            db.changed(key, "set", "$")
        else:
            keyspace.dirty += 1
        return OK
    return _set_with_options(client, argv)


@row("set", 3)
def set_row(client: Client, calls: list[Argv]) -> tuple[int, bytes | bytearray]:
    _, keys, values = zip(*calls, strict=True)
    client.db.set_all(zip(keys, values, strict=True))
    client.db.keyspace.dirty += len(calls)
    return len(calls), len(calls) * OK


class _Options:
    """What SET and GETEX may be told beside key and value."""

    __slots__ = ("absolute", "get", "keep_ttl", "persist", "time", "unit_ms", "unless")

    def __init__(self) -> None:
        self.unless = b""  # NX or XX
        self.get = self.keep_ttl = self.persist = False
        self.time: bytes | None = None
        self.unit_ms = 0
        self.absolute = False


_TIMES = {b"EX": (1000, False), b"PX": (1, False), b"EXAT": (1000, True), b"PXAT": (1, True)}


def _options(argv: Argv, at: int, for_set: bool) -> _Options:
    options = _Options()
    kind = b""  # which of EX, PX, EXAT, PXAT came: the same one may come again
    end = len(argv)
    while at < end:
        word = argv[at].upper()
        at += 1
        if word in (b"NX", b"XX") and for_set and options.unless in (b"", word):
            options.unless = word
        elif word == b"GET" and for_set:
            options.get = True
        elif word == b"KEEPTTL" and for_set and not kind:
            options.keep_ttl = True
        elif word == b"PERSIST" and not for_set and not kind:
            options.persist = True
        elif word in _TIMES and at < end and kind in (b"", word) and not options.keep_ttl and not options.persist:
            kind = word
            options.time = argv[at]
            options.unit_ms, options.absolute = _TIMES[word]
            at += 1
        else:
            raise SYNTAX
    return options


def _set_with_options(client: Client, argv: Argv) -> Reply:
    key, value = argv[1], argv[2]
    options = _options(argv, 3, for_set=True)
    db = client.db
    deadline = None
    if options.time is not None:
        base_ms = 0 if options.absolute else db.keyspace.now_ms
        deadline = deadline_ms(options.time, options.unit_ms, base_ms, "set")
    old = _string_reply(db, key) if options.get else None
    if options.unless and (db.peek(key) is not None) == (options.unless == b"NX"):
        return old
    _put(client, key, value, deadline, options.keep_ttl)
    if options.get and deadline is None:
        words = [word for word in argv[3:] if word.upper() != b"GET"]
        db.keyspace.journal_instead((b"SET", key, value, *words), db=db.index)
    return old if options.get else OK


def _string_reply(db: Database, key: bytes) -> bytes | None:
    value = db.read_string(key)
    return bytes(value) if value is not None else None  # no copy but of a bytearray


def _put(client: Client, key: bytes, value: bytes, deadline: int | None, keep_deadline: bool = False) -> None:
    """Set, tell, and journal a deadline as the moment that it is."""
    db = client.db
    if keep_deadline and db.peek(key) is not None:
        db.replace(key, value)
    else:
        db.set(key, value)
    if deadline is not None:
        db.set_deadline(key, deadline)
        db.keyspace.journal_instead((b"SET", key, value, b"PXAT", b"%d" % deadline), db=db.index)
    db.changed(key, "set", "$")
    if deadline is not None:
        db.tell(key, "expire", "g")


@command("setnx", 3, "write denyoom fast", acl="string", keys="@1/range:0:1:0/OW+INSERT")
def setnx(client: Client, argv: Argv) -> Reply:
    if client.db.peek(argv[1]) is not None:
        return 0
    _put(client, argv[1], argv[2], None)
    return 1


@command("setex", 4, "write denyoom", acl="string", keys=OVERWRITE_ONE)
def setex(client: Client, argv: Argv) -> Reply:
    _put(client, argv[1], argv[3], deadline_ms(argv[2], 1000, client.db.keyspace.now_ms, "setex"))
    return OK


@command("psetex", 4, "write denyoom", acl="string", keys=OVERWRITE_ONE)
def psetex(client: Client, argv: Argv) -> Reply:
    _put(client, argv[1], argv[3], deadline_ms(argv[2], 1, client.db.keyspace.now_ms, "psetex"))
    return OK


@command("getset", 3, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def getset(client: Client, argv: Argv) -> Reply:
    _, key, value = argv
    old = _string_reply(client.db, key)
    _put(client, key, value, None)
    client.db.keyspace.journal_instead((b"SET", key, value), db=client.db.index)
    return old


@command("getdel", 2, "write fast", acl="string", keys="@1/range:0:1:0/RW+ACCESS+DELETE")
def getdel(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    old = _string_reply(db, key)
    if old is not None:
        db.remove(key)
        db.keyspace.journal_instead((b"DEL", key), db=db.index)
        db.changed(key, "del", "g")
    return old


@command("getex", -2, "write fast", acl="string", keys=UPDATE_ONE)
def getex(client: Client, argv: Argv) -> Reply:
    options = _options(argv, 2, for_set=False)
    key, db = argv[1], client.db
    value = _string_reply(db, key)
    if value is None:
        return None
    if options.time is not None:
        base_ms = 0 if options.absolute else db.keyspace.now_ms
        deadline = deadline_ms(options.time, options.unit_ms, base_ms, "getex")
        expire_key(client, key, deadline, (b"PEXPIREAT", key, b"%d" % deadline))
    elif options.persist and db.persist(key):
        db.keyspace.journal_instead((b"PERSIST", key), db=db.index)
        db.changed(key, "persist", "g")
    return value


def expire_key(client: Client, key: bytes, deadline: int, effect: tuple[bytes, ...]) -> None:
    """Give a key that is there a deadline, with `effect` for the journal; one in the past removes it."""
    db = client.db
    keyspace = db.keyspace
    if not already_over(client, deadline):
        db.set_deadline(key, deadline)
        keyspace.journal_instead(effect, db=db.index)
        db.changed(key, "expire", "g")
        return
    value = db.remove(key)
    db.discard(value)
    lazily = client.host.config.lazyfree_lazy_expire
    keyspace.journal_instead((b"UNLINK" if lazily else b"DEL", key), db=db.index)
    db.changed(key, "del", "g")


# --- several keys -----------------------------------------------------------------------------------------------------


@command("mget", -2, "readonly fast", acl="string", keys="@1/range:-1:1:0/RO+ACCESS", tips="request_policy:multi_shard")
def mget(client: Client, argv: Argv) -> Reply:
    values = client.db.read_all(argv[1:])
    if set(map(type, values)) == {bytes}:
        return bulks(values)
    return [value if type(value) is bytes else bytes(value) if type(value) is bytearray else None for value in values]


@command(
    "mset",
    -3,
    "write denyoom",
    acl="string",
    keys="@1/range:-1:2:0/OW+UPDATE",
    tips="request_policy:multi_shard response_policy:all_succeeded",
)
def mset(client: Client, argv: Argv) -> Reply:
    if len(argv) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'mset' command")
    _set_pairs(client.db, argv)
    return OK


def _set_pairs(db: Database, argv: Argv) -> None:
    keyspace = db.keyspace
    words = iter(argv)
    next(words)
    pairs = zip(words, words, strict=True)
    if not keyspace.listening:
        db.set_all(pairs)
        keyspace.dirty += len(argv) // 2
        return
    for key, value in pairs:
        db.set(key, value)
        db.changed(key, "set", "$")


@command("msetnx", -3, "write denyoom", acl="string", keys="@1/range:-1:2:0/OW+INSERT")
def msetnx(client: Client, argv: Argv) -> Reply:
    if len(argv) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'msetnx' command")
    if any(client.db.peek(key) is not None for key in argv[1::2]):
        return 0
    _set_pairs(client.db, argv)
    return 1


# --- numbers ----------------------------------------------------------------------------------------------------------


DIGITS_SURE = 18
"""A text of so many digits is a 64-bit integer, whatever they are."""


@command("incr", 2, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def incr(client: Client, argv: Argv, delta: int = 1) -> Reply:
    """INCR, and with another `delta` its three relatives: counting is too common for one call more."""
    db, key = client.db, argv[1]
    slot = db.locate(key)
    if slot is None:
        number = delta
        db.set(key, b"%d" % number)
    else:
        value = slot.values[key]
        if type(value) is bytes and value.isdigit() and len(value) <= DIGITS_SURE and value[0] != 48:
            number = int(value) + delta
        else:
            number = _number(value) + delta
        if 0 <= number < SHARED_MAX:
            db.store(slot, key, SHARED[number])
        elif INT64_MIN <= number <= INT64_MAX:
            db.store(slot, key, b"%d" % number)
        else:
            raise CommandError("ERR increment or decrement would overflow")
    keyspace = db.keyspace
    if keyspace.listening:
        db.changed(key, "incrby", "$")
    else:
        keyspace.dirty += 1
    return number


@row("incr", 2)
def incr_row(client: Client, calls: list[Argv]) -> tuple[int, bytes | bytearray]:
    """As far as the counters are new, or plain positive numbers."""
    db, done, out = client.db, 0, bytearray()
    for _, key in calls:
        slot = db.locate(key)
        if slot is None:
            number = 1
            db.set(key, SHARED[1])
        else:
            value = slot.values[key]
            if type(value) is not bytes or not value.isdigit() or len(value) > DIGITS_SURE or value[0] == 48:
                break
            number = int(value) + 1
            db.store(slot, key, SHARED[number] if number < SHARED_MAX else b"%d" % number)
        out += SMALL_INTEGERS[number] if number < 1024 else b":%d\r\n" % number
        done += 1
    db.keyspace.dirty += done
    return done, out


def _number(value: Value) -> int:
    if type(value) is not bytes and type(value) is not bytearray:
        raise WRONG_TYPE
    number = parse_int(value)
    if number is None:
        raise NOT_AN_INTEGER
    return number


@command("decr", 2, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def decr(client: Client, argv: Argv) -> Reply:
    return incr(client, argv, -1)


@command("incrby", 3, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def incrby(client: Client, argv: Argv) -> Reply:
    return incr(client, argv, integer(argv[2]))


@command("decrby", 3, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def decrby(client: Client, argv: Argv) -> Reply:
    delta = integer(argv[2])
    if delta == INT64_MIN:  # its negative is no 64-bit integer
        raise CommandError("ERR decrement would overflow")
    return incr(client, argv, -delta)


@command("incrbyfloat", 3, "write denyoom fast", acl="string", keys=UPDATE_ONE)
def incrbyfloat(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    old = db.peek_string(key)
    number = parse_long_double(b"0" if old is None else old)
    delta = parse_long_double(argv[2])
    if number is None or delta is None:
        raise NOT_A_FLOAT
    total = number + delta
    if total is None:
        raise CommandError("ERR increment would produce NaN or Infinity")
    text = format_long_double(total)
    if old is None:
        db.set(key, text)
    else:
        db.replace(key, text)
    db.keyspace.journal_instead((b"SET", key, text, b"KEEPTTL"), db=db.index)
    db.changed(key, "incrbyfloat", "$")
    return text


# --- parts ------------------------------------------------------------------------------------------------------------


def _checked_length(client: Client, length: int) -> None:
    """Raise if a string would grow beyond `proto-max-bulk-len`; what a primary did is not doubted."""
    if not client.host.keyspace.obeying and length > client.host.config.proto_max_bulk_len:
        raise CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@command("append", 3, "write denyoom fast", acl="string", keys="@1/range:0:1:0/RW+INSERT")
def append(client: Client, argv: Argv) -> Reply:
    _, key, tail = argv
    db = client.db
    old = db.peek_string(key)
    if old is None:
        db.set(key, tail)
        length = len(tail)
    else:
        length = len(old) + len(tail)
        _checked_length(client, length)
        opened = db.open(key)
        if type(opened) is bytearray:
            opened += tail
        else:
            grown = bytearray(old)
            grown += tail
            db.replace(key, grown)
    db.changed(key, "append", "$")
    return length


@command("setrange", 4, "write denyoom", acl="string", keys="@1/range:0:1:0/RW+UPDATE")
def setrange(client: Client, argv: Argv) -> Reply:
    _, key, offset_text, patch = argv
    offset = integer(offset_text)
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    db = client.db
    old = db.peek_string(key)
    if not patch:
        return 0 if old is None else len(old)
    length = offset + len(patch)
    _checked_length(client, length)
    opened: strings.StringValue = b"" if old is None else db.open(key) or b""
    value = strings.setrange(opened, offset, patch, length)
    if old is None:
        db.set(key, value)
    elif value is not opened:
        db.replace(key, value)
    db.changed(key, "setrange", "$")
    return len(value)


def _getrange(client: Client, argv: Argv) -> Reply:
    start, end = integer(argv[2]), integer(argv[3])
    value = client.db.read_string(argv[1])
    return b"" if value is None else strings.getrange(value, start, end)


command("getrange", 4, "readonly", acl="string", keys=READ_ONE)(_getrange)
command("substr", 4, "readonly", acl="string", keys=READ_ONE)(_getrange)


@command("strlen", 2, "readonly fast", acl="string", keys="@1/range:0:1:0/RO")
def strlen(client: Client, argv: Argv) -> Reply:
    value = client.db.read_string(argv[1])
    return 0 if value is None else len(value)


# --- LCS --------------------------------------------------------------------------------------------------------------


class _LcsOptions:
    __slots__ = ("index", "length", "min_match_length", "with_match_length")

    def __init__(self, words: Argv) -> None:
        self.index = self.length = self.with_match_length = False
        self.min_match_length = 0
        at = 0
        while at < len(words):
            word = words[at].upper()
            at += 1
            if word == b"IDX":
                self.index = True
            elif word == b"LEN":
                self.length = True
            elif word == b"WITHMATCHLEN":
                self.with_match_length = True
            elif word == b"MINMATCHLEN" and at < len(words):
                self.min_match_length = max(0, integer(words[at]))
                at += 1
            else:
                raise SYNTAX
        if self.index and self.length:
            raise CommandError("ERR If you want both the length and indexes, please just use IDX.")


@command("lcs", -3, "readonly", acl="string", keys="@1/range:1:1:0/RO+ACCESS")
def lcs(client: Client, argv: Argv) -> Reply:
    first, second = client.db.read(argv[1]), client.db.read(argv[2])
    for value in (first, second):
        if value is not None and type(value) is not bytes and type(value) is not bytearray:
            raise CommandError("ERR The specified keys must contain string values")
    options = _LcsOptions(argv[3:])
    bytes_max = client.host.config.proto_max_bulk_len
    try:
        if options.length:
            return strings.lcs_length(first or b"", second or b"", bytes_max)
        found = strings.lcs(first or b"", second or b"", bytes_max, options.min_match_length)
    except strings.StringError as error:
        raise CommandError(f"ERR {error}") from None
    if not options.index:
        return found.text
    matches = [
        [list(match.first), list(match.second), *([match.length] if options.with_match_length else [])]
        for match in found.matches
    ]
    return {b"matches": matches, b"len": len(found.text)}
