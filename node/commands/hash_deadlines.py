"""Deadlines of the fields of hashes: the commands of 7.4, and HGETDEL, HGETEX and HSETEX of 8.0.

What goes into the journal names fields and absolute times: HPEXPIREAT for those that got a deadline, HPERSIST for those
that lost it, HDEL for those whose deadline was in the past.
"""

from collections.abc import Callable
from typing import Final

from node.commands.arguments import INT32_MAX, already_over, integer, invalid_expire_time
from node.commands.family import command
from node.commands.hashes import hash_changed, open_hash, read_hash
from node.datatypes.hashes import Hash
from node.datatypes.numbers import parse_int
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

WRITE_ONE: Final = "@1/range:0:1:0/RW+UPDATE"
READ_ONE: Final = "@1/range:0:1:0/RO+ACCESS"
BY_CHANCE: Final = "nondeterministic_output"

NO_FIELD, NOT_MET, SET, REMOVED = -2, 0, 1, 2
"""What HEXPIRE answers for a field."""
NO_DEADLINE = -1

TIMES: Final = frozenset((b"EX", b"PX", b"EXAT", b"PXAT"))
FIELD_DEADLINE_MAX_MS: Final = ((1 << 48) - 1) >> 2
"""Beyond this 7.4 refuses a deadline."""

FIELDS_MISSING = CommandError("ERR Mandatory argument FIELDS is missing or not at the right position")
WRONG_COUNT = CommandError("ERR The `numfields` parameter must match the number of arguments")
EXPIRE_COUNT = CommandError("ERR Parameter `numFields` should be greater than 0")
STORE_COUNT = CommandError("ERR invalid number of fields")
STORE_ARITY = CommandError("ERR wrong number of arguments for 'hsetex' command")
NO_TIME = CommandError("ERR missing expire time")
ONE_TIME = CommandError("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")
ONE_CONDITION = CommandError("ERR Only one of FXX or FNX arguments can be specified")
USUAL_COUNT = CommandError("ERR Number of fields must be a positive integer")

# --- arguments --------------------------------------------------------------------------------------------------------


def _fields(argv: Argv, at: int, complaint: CommandError = USUAL_COUNT) -> Argv:
    """The fields that stand behind FIELDS and their count, which are at `at`."""
    if at >= len(argv) or argv[at].upper() != b"FIELDS":
        raise FIELDS_MISSING
    count = parse_int(argv[at + 1]) if at + 1 < len(argv) else None
    if count is None or count < 1:
        raise complaint
    if count != len(argv) - at - 2:
        raise WRONG_COUNT
    return argv[at + 2 :]


def need_knowing_replicas(client: Client, name: str) -> None:
    """A field is about to get a deadline: every replica has to know what that is. Raises CommandError."""
    host = client.host
    if host.keyspace.obeying:
        return
    primary = host.replication.primary
    if (elder := primary.elder) is not None:
        raise CommandError(
            f"ERR '{name}' needs replicas that know deadlines of fields: {elder.name} may be a Redis before 7.4"
        )
    primary.gives_field_deadline()


def _deadline(client: Client, text: bytes, unit_ms: int, base_ms: int, name: str) -> int:
    need_knowing_replicas(client, name)
    time = integer(text)
    if time < 0:
        raise CommandError("ERR invalid expire time, must be >= 0")
    if time * unit_ms + base_ms > FIELD_DEADLINE_MAX_MS:
        raise invalid_expire_time(name)
    return time * unit_ms + base_ms


class _Effects:
    """What a command did to the fields of a hash, told and journalled in the end."""

    __slots__ = ("persisted", "removed", "set")

    def __init__(self) -> None:
        self.set: dict[int, list[bytes]] = {}  # by deadline
        self.persisted: list[bytes] = []
        self.removed: list[bytes] = []

    def give_deadline(self, client: Client, value: Hash, field: bytes, deadline: int) -> int:
        """Let a field that is there expire; SET, or REMOVED where the time is over."""
        if already_over(client, deadline):
            value.remove(field)
            self.removed.append(field)
            return REMOVED
        value.set_deadline(field, deadline)
        self.set.setdefault(deadline, []).append(field)
        return SET

    def finish(self, client: Client, key: bytes, value: Hash, before: Argv | None = None) -> None:
        """Report what was done; `before` is a command to go before all in the journal."""
        db = client.db
        effects: list[Argv] = [] if before is None else [before]
        events = []
        for deadline, fields in self.set.items():
            effects.append([b"HPEXPIREAT", key, b"%d" % deadline, b"FIELDS", b"%d" % len(fields), *fields])
        if self.set:
            events.append("hexpire")
        if self.persisted:
            effects.append([b"HPERSIST", key, b"FIELDS", b"%d" % len(self.persisted), *self.persisted])
            events.append("hpersist")
        if self.removed:
            effects.append([b"HDEL", key, *self.removed])
            events.append("hdel")
        if not events:
            return
        db.keyspace.journal_instead(*effects, db=db.index)
        for event in events[:-1]:
            db.tell(key, event, "h")
        changes = len(self.persisted) + len(self.removed) + sum(map(len, self.set.values()))
        hash_changed(client, key, value, events[-1], changes)
        if self.set and len(value):
            db.watch_fields(key, value)


# --- HEXPIRE and its like ---------------------------------------------------------------------------------------------

Allows = Callable[[int | None, int], bool]
"""(deadline so far, new one): may the field get it?"""

CONDITIONS: Final[tuple[tuple[bytes, Allows], ...]] = (
    (b"NX", lambda old, _new: old is None),
    (b"XX", lambda old, _new: old is not None),
    (b"GT", lambda old, new: old is not None and new > old),
    (b"LT", lambda old, new: old is None or new < old),
)


def _expire(client: Client, argv: Argv, name: str, unit_ms: int, absolute: bool) -> Reply:
    key = argv[1]
    client.db.peek_kind(key, Hash)  # a wrong type is told first
    base_ms = 0 if absolute else client.db.keyspace.now_ms
    deadline = _deadline(client, argv[2], unit_ms, base_ms, name)
    allows = next((allows for word, allows in CONDITIONS if word == argv[3].upper()), None)
    fields = _fields(argv, 3 if allows is None else 4, EXPIRE_COUNT)
    value = open_hash(client, key, fields)
    if value is None:
        return [NO_FIELD] * len(fields)
    effects = _Effects()
    reply = []
    for field in fields:
        if field not in value:
            reply.append(NO_FIELD)
        elif allows is not None and not allows(value.deadline(field), deadline):
            reply.append(NOT_MET)
        else:
            reply.append(effects.give_deadline(client, value, field, deadline))
    effects.finish(client, key, value)
    return reply


@command("hexpire", -6, "write denyoom fast", acl="hash", keys=WRITE_ONE)
def hexpire(client: Client, argv: Argv) -> Reply:
    return _expire(client, argv, "hexpire", 1000, absolute=False)


@command("hpexpire", -6, "write denyoom fast", acl="hash", keys=WRITE_ONE)
def hpexpire(client: Client, argv: Argv) -> Reply:
    return _expire(client, argv, "hpexpire", 1, absolute=False)


@command("hexpireat", -6, "write denyoom fast", acl="hash", keys=WRITE_ONE)
def hexpireat(client: Client, argv: Argv) -> Reply:
    return _expire(client, argv, "hexpireat", 1000, absolute=True)


@command("hpexpireat", -6, "write denyoom fast", acl="hash", keys=WRITE_ONE)
def hpexpireat(client: Client, argv: Argv) -> Reply:
    return _expire(client, argv, "hpexpireat", 1, absolute=True)


@command("hpersist", -5, "write fast", acl="hash", keys=WRITE_ONE)
def hpersist(client: Client, argv: Argv) -> Reply:
    key = argv[1]
    client.db.peek_kind(key, Hash)
    fields = _fields(argv, 2)
    value = open_hash(client, key, fields)
    if value is None:
        return [NO_FIELD] * len(fields)
    effects = _Effects()
    reply = []
    for field in fields:
        if field not in value:
            reply.append(NO_FIELD)
        elif value.persist(field):
            effects.persisted.append(field)
            reply.append(SET)
        else:
            reply.append(NO_DEADLINE)
    effects.finish(client, key, value)
    return reply


# --- asking -----------------------------------------------------------------------------------------------------------


def _times(client: Client, argv: Argv, unit_ms: int, base_ms: int) -> Reply:
    """The deadlines of fields, counted from `base_ms`; a part of a unit counts as one."""
    value = read_hash(client, argv[1])
    fields = _fields(argv, 2)
    if value is None:
        return [NO_FIELD] * len(fields)
    reply = []
    for field in fields:
        deadline = value.deadline(field)
        if field not in value:
            reply.append(NO_FIELD)
        elif deadline is None:
            reply.append(NO_DEADLINE)
        else:
            reply.append(-((base_ms - deadline) // unit_ms))
    return reply


@command("httl", -5, "readonly fast", acl="hash", keys=READ_ONE, tips=BY_CHANCE)
def httl(client: Client, argv: Argv) -> Reply:
    return _times(client, argv, 1000, client.db.keyspace.now_ms)


@command("hpttl", -5, "readonly fast", acl="hash", keys=READ_ONE, tips=BY_CHANCE)
def hpttl(client: Client, argv: Argv) -> Reply:
    return _times(client, argv, 1, client.db.keyspace.now_ms)


@command("hexpiretime", -5, "readonly fast", acl="hash", keys=READ_ONE)
def hexpiretime(client: Client, argv: Argv) -> Reply:
    return _times(client, argv, 1000, 0)


@command("hpexpiretime", -5, "readonly fast", acl="hash", keys=READ_ONE)
def hpexpiretime(client: Client, argv: Argv) -> Reply:
    return _times(client, argv, 1, 0)


# --- reading and writing at once --------------------------------------------------------------------------------------


@command("hgetdel", -5, "write fast", acl="hash", keys="@1/range:0:1:0/RW+ACCESS+DELETE")
def hgetdel(client: Client, argv: Argv) -> Reply:
    key = argv[1]
    client.db.peek_kind(key, Hash)
    fields = _fields(argv, 2)
    value = open_hash(client, key, fields)
    if value is None:
        return [None] * len(fields)
    effects = _Effects()
    reply = []
    for field in fields:
        content = value.remove(field)
        if content is not None:
            effects.removed.append(field)
        reply.append(content)
    effects.finish(client, key, value)
    return reply


def _named_deadline(client: Client, word: bytes, text: bytes, name: str) -> int:
    """What EX, PX, EXAT or PXAT says."""
    base_ms = 0 if word.endswith(b"AT") else client.db.keyspace.now_ms
    return _deadline(client, text, 1000 if word.startswith(b"E") else 1, base_ms, name)


class _StoreOptions:
    """The words before FIELDS of HSETEX, in any order: at most one of those about time, and one condition."""

    __slots__ = ("condition", "deadline", "keeps", "pairs")

    def __init__(self, client: Client, argv: Argv) -> None:
        self.deadline: int | None = None
        self.keeps = False
        self.condition = b""
        at = 2
        while (word := argv[at].upper()) != b"FIELDS":
            if word in TIMES or word == b"KEEPTTL":
                if self.keeps or self.deadline is not None:
                    raise ONE_TIME
                if word == b"KEEPTTL":
                    self.keeps = True
                elif at + 1 < len(argv):
                    at += 1
                    self.deadline = _named_deadline(client, word, argv[at], "hsetex")
                else:
                    raise NO_TIME
            elif word in (b"FNX", b"FXX"):
                if self.condition:
                    raise ONE_CONDITION
                self.condition = word
            else:
                raise CommandError(b"ERR unknown argument: %b" % argv[at])
            at += 1
            if at == len(argv):
                raise FIELDS_MISSING
        self.pairs = argv[at + 2 :]
        """Fields and values in turn."""
        if len(self.pairs) < 2:
            raise STORE_ARITY
        count = parse_int(argv[at + 1])
        if count is None or not 1 <= count <= INT32_MAX:
            raise STORE_COUNT
        if 2 * count != len(self.pairs):
            raise STORE_ARITY


@command("hgetex", -5, "write denyoom fast", acl="hash", keys="@1/range:0:1:0/RW+ACCESS+UPDATE")
def hgetex(client: Client, argv: Argv) -> Reply:
    key = argv[1]
    client.db.peek_kind(key, Hash)
    word, deadline, fields_at = argv[2].upper(), None, 2
    if word in TIMES:
        deadline, fields_at = _named_deadline(client, word, argv[3], "hgetex"), 4
    elif word == b"PERSIST":
        fields_at = 3
    fields = _fields(argv, fields_at)
    value = open_hash(client, key, fields)
    if value is None:
        return [None] * len(fields)
    effects = _Effects()
    reply = [value.get(field) for field in fields]
    for field in dict.fromkeys(fields):
        if field not in value:
            continue
        if deadline is not None:
            effects.give_deadline(client, value, field, deadline)
        elif word == b"PERSIST" and value.persist(field):
            effects.persisted.append(field)
    effects.finish(client, key, value)
    return reply


@command("hsetex", -6, "write denyoom fast", acl="hash", keys=WRITE_ONE)
def hsetex(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    options = _StoreOptions(client, argv)
    words, fields = options.pairs, options.pairs[::2]
    db.peek_kind(key, Hash)
    value = open_hash(client, key, fields)
    there = [value is not None and field in value for field in fields]
    if (options.condition == b"FNX" and any(there)) or (options.condition == b"FXX" and not all(there)):
        return 0
    if value is None:
        value = db.make(key, Hash())
    _store_with_deadlines(client, key, value, words, options)
    return 1


def _store_with_deadlines(client: Client, key: bytes, value: Hash, words: Argv, options: _StoreOptions) -> None:
    """HSETEX's work. HSET drops deadlines: those that are kept go into the journal behind it."""
    kept = {field: value.deadline(field) for field in words[::2]} if options.keeps else {}
    for field, content in zip(words[::2], words[1::2], strict=True):
        value.set(field, content)
    value.settle(words, client.host.config)
    effects = _Effects()
    for field in dict.fromkeys(words[::2]):
        deadline = options.deadline or kept.get(field)
        if deadline is not None:
            effects.give_deadline(client, value, field, deadline)
    db = client.db
    before = [b"HSET", key, *words]
    if effects.set or effects.removed:
        db.tell(key, "hset", "h")
        effects.finish(client, key, value, before)
    else:
        db.keyspace.journal_instead(before, db=db.index)
        hash_changed(client, key, value, "hset", len(words) // 2)
