"""Keys of any type: removing, renaming, copying, serializing, asking about them."""

from collections.abc import Callable

from node.commands.arguments import (
    DB_OUT_OF_RANGE,
    SAME_OBJECT,
    SYNTAX,
    already_over,
    integer,
    integer32,
)
from node.commands.family import command, container
from node.commands.hash_deadlines import need_knowing_replicas
from node.commands.help import describe, help_lines
from node.datatypes.hashes import NEVER_MS, Hash
from node.datatypes.kinds import kind_of
from node.datatypes.numbers import parse_int
from node.keyspace.database import Database, Value
from node.keyspace.eviction import goes_by_use
from node.net.resp import OK, Argv, CommandError, Reply, Status
from node.rdb.codec import RdbError
from node.rdb.dump import SealError, dump, restore
from node.server import Client, Server

MANY_TIPS = "request_policy:multi_shard response_policy:agg_sum"
ONE_READ = "@1/range:0:1:0/RO+ACCESS"

# --- removing ---------------------------------------------------------------------------------------------------------


def _remove_all(client: Client, keys: Argv) -> int:
    """What is big is freed in slices, by DEL as by UNLINK: nobody can tell, but for those who need not wait."""
    db = client.db
    discard = db.discard
    count = 0
    for key in keys:
        if db.peek(key) is not None:
            value = db.remove(key)
            if type(value) is not bytes:
                discard(value)
            db.changed(key, "del", "g")
            count += 1
    return count


@command("del", -2, "write", acl="keyspace", keys="@1/range:-1:1:0/RM+DELETE", tips=MANY_TIPS)
def del_(client: Client, argv: Argv) -> Reply:
    return _remove_all(client, argv[1:])


@command("unlink", -2, "write fast", acl="keyspace", keys="@1/range:-1:1:0/RM+DELETE", tips=MANY_TIPS)
def unlink(client: Client, argv: Argv) -> Reply:
    return _remove_all(client, argv[1:])


# --- asking -----------------------------------------------------------------------------------------------------------


@command("exists", -2, "readonly fast", acl="keyspace", keys="@1/range:-1:1:0/RO", tips=MANY_TIPS)
def exists(client: Client, argv: Argv) -> Reply:
    inspect = client.db.inspect
    return sum([inspect(key) is not None for key in argv[1:]])


@command("touch", -2, "readonly fast", acl="keyspace", keys="@1/range:-1:1:0/RO", tips=MANY_TIPS)
def touch(client: Client, argv: Argv) -> Reply:
    read = client.db.read
    return sum([read(key) is not None for key in argv[1:]])


@command("type", 2, "readonly fast", acl="keyspace", keys="@1/range:0:1:0/RO")
def type_(client: Client, argv: Argv) -> Reply:
    value = client.db.inspect(argv[1])
    return Status(b"none" if value is None else kind_of(value).name)


# --- renaming, moving, copying ----------------------------------------------------------------------------------------


def _take_place(db: Database, key: bytes) -> None:
    """Remove what stands where another value is to come."""
    db.discard(db.remove(key))


def _rename(client: Client, argv: Argv, replace: bool) -> bool:
    _, source, target = argv
    db = client.db
    if db.peek(source) is None:
        raise CommandError("ERR no such key")
    if source == target:
        return replace
    if db.peek(target) is not None:
        if not replace:
            return False
        _take_place(db, target)
    deadline = db.deadline(source)
    db.touch(source)
    use = db.use_of(source)
    value = db.remove(source)
    db.set(target, value)
    db.restore_use(target, use)
    if deadline is not None:
        db.set_deadline(target, deadline)
    db.tell(source, "rename_from", "g")
    db.changed(target, "rename_to", "g")
    return True


@command(
    "rename",
    3,
    "write",
    acl="keyspace",
    keys="@1/range:0:1:0/RW+ACCESS+DELETE @2/range:0:1:0/OW+UPDATE",
)
def rename(client: Client, argv: Argv) -> Reply:
    _rename(client, argv, replace=True)
    return OK


@command(
    "renamenx",
    3,
    "write fast",
    acl="keyspace",
    keys="@1/range:0:1:0/RW+ACCESS+DELETE @2/range:0:1:0/OW+INSERT",
)
def renamenx(client: Client, argv: Argv) -> Reply:
    return int(_rename(client, argv, replace=False))


def _database(client: Client, text: bytes) -> Database:
    databases = client.host.keyspace.databases
    number = integer32(text)
    if not 0 <= number < len(databases):
        raise DB_OUT_OF_RANGE
    return databases[number]


@command("move", 3, "write fast", acl="keyspace", keys="@1/range:0:1:0/RW+ACCESS+UPDATE")
def move(client: Client, argv: Argv) -> Reply:
    if client.host.config.cluster_enabled:
        raise CommandError("ERR MOVE is not allowed in cluster mode")
    key, source = argv[1], client.db
    target = _database(client, argv[2])
    if target is source:
        raise SAME_OBJECT
    if source.peek(key) is None or target.peek(key) is not None:
        return 0
    deadline = source.deadline(key)
    source.touch(key)
    use = source.use_of(key)
    value = source.remove(key)
    source.let_go(value)
    target.set(key, value)
    target.restore_use(key, use)
    if deadline is not None:
        target.set_deadline(key, deadline)
    source.tell(key, "move_from", "g")
    target.changed(key, "move_to", "g")
    return 1


@command(
    "copy",
    -3,
    "write denyoom",
    acl="keyspace",
    keys="@1/range:0:1:0/RO+ACCESS @2/range:0:1:0/OW+UPDATE",
)
def copy(client: Client, argv: Argv) -> Reply:
    source_key, target_key, source = argv[1], argv[2], client.db
    target, replace = _copy_options(client, argv)
    if client.host.config.cluster_enabled and (source.index or target.index):
        raise CommandError("ERR Copying to another database is not allowed in cluster mode")
    if target is source and target_key == source_key:
        raise SAME_OBJECT
    value = source.read(source_key)
    if value is None:
        return 0
    if target.peek(target_key) is not None:
        if not replace:
            return 0
        _take_place(target, target_key)
    target.set(target_key, kind_of(value).copy(value))
    deadline = source.deadline(source_key)
    if deadline is not None:
        target.set_deadline(target_key, deadline)
    target.changed(target_key, "copy_to", "g")
    return 1


def _copy_options(client: Client, argv: Argv) -> tuple[Database, bool]:
    target, replace = client.db, False
    at = 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and at + 1 < len(argv):
            at += 1
            target = _database(client, argv[at])
        else:
            raise SYNTAX
        at += 1
    return target, replace


# --- DUMP and RESTORE -------------------------------------------------------------------------------------------------


@command("dump", 2, "readonly", acl="keyspace", keys=ONE_READ, tips="nondeterministic_output")
def dump_(client: Client, argv: Argv) -> Reply:
    value = client.db.read(argv[1])
    return None if value is None else dump(value, client.host.config.rdbcompression)


class _RestoreOptions:
    __slots__ = ("absolute", "frequency", "idle_s", "replace")

    def __init__(self, words: Argv) -> None:
        self.replace = self.absolute = False
        self.idle_s: int | None = None
        self.frequency: int | None = None
        at = 0
        while at < len(words):
            word = words[at].upper()
            at += 1
            if word == b"REPLACE":
                self.replace = True
            elif word == b"ABSTTL":
                self.absolute = True
            elif word == b"IDLETIME" and at < len(words) and self.frequency is None:
                self.idle_s = integer(words[at])
                if self.idle_s < 0:
                    raise CommandError("ERR Invalid IDLETIME value, must be >= 0")
                at += 1
            elif word == b"FREQ" and at < len(words) and self.idle_s is None:
                self.frequency = integer(words[at])
                if not 0 <= self.frequency <= 255:
                    raise CommandError("ERR Invalid FREQ value, must be >= 0 and <= 255")
                at += 1
            else:
                raise SYNTAX


NO_OPTIONS = _RestoreOptions([])


def _restore(client: Client, argv: Argv) -> Reply:
    _, key, ttl_text, payload = argv[:4]
    options = _RestoreOptions(argv[4:]) if len(argv) > 4 else NO_OPTIONS
    db = client.db
    there = db.peek(key) is not None
    if there and not options.replace:
        raise CommandError("BUSYKEY Target key name already exists.")
    ttl_ms = 0 if ttl_text == b"0" else integer(ttl_text)
    if ttl_ms < 0:
        raise CommandError("ERR Invalid TTL value, must be >= 0")
    value = _restored(client.host, payload)
    if isinstance(value, Hash) and value.soonest_ms != NEVER_MS:
        need_knowing_replicas(client, "restore")
    deadline = ttl_ms if options.absolute or not ttl_ms else ttl_ms + db.keyspace.now_ms
    if there:
        _take_place(db, key)
    if deadline and already_over(client, deadline):
        if there:
            verb = b"UNLINK" if client.host.config.lazyfree_lazy_server_del else b"DEL"
            db.keyspace.journal_instead((verb, key), db=db.index)
            db.changed(key, "del", "g")
        return OK
    db.set(key, value)
    if options.idle_s is not None:
        db.set_idle_seconds(key, options.idle_s)
    if options.frequency is not None:
        db.set_use_count(key, options.frequency)
    if deadline:
        db.set_deadline(key, deadline)
        if not options.absolute:
            effect = (b"RESTORE", key, b"%d" % deadline, *argv[3:], b"ABSTTL")
            db.keyspace.journal_instead(effect, db=db.index)
    db.changed(key, "restore", "g")
    return OK


def _restored(server: Server, payload: bytes) -> object:
    try:
        return restore(payload, server.checksums_matter)
    except SealError:
        raise CommandError("ERR DUMP payload version or checksum are wrong") from None
    except RdbError as error:
        server.log.verbose(f"Internal error in RDB reading offset {error.offset} of a payload -> {error.reason}")
        raise CommandError("ERR Bad data format") from None


RESTORE_KEYS = "@1/range:0:1:0/OW+UPDATE"
command("restore", -4, "write denyoom", acl="keyspace dangerous", keys=RESTORE_KEYS)(_restore)
command("restore-asking", -4, "write denyoom asking", acl="keyspace dangerous", keys=RESTORE_KEYS)(_restore)


# --- OBJECT -----------------------------------------------------------------------------------------------------------

container("object")

SHARED_INTEGERS = 10_000
SHARED_REFCOUNT = 2**31 - 1
"""What OBJECT REFCOUNT says of a small integer, which all keys of a Redis share."""
_IN_TIME = "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
NO_FREQUENCY = CommandError(f"ERR An LFU maxmemory policy is not selected, access frequency not tracked. {_IN_TIME}")
NO_IDLE_TIME = CommandError(f"ERR An LFU maxmemory policy is selected, idle time not tracked. {_IN_TIME}")


def _object(name: str) -> Callable[[Callable[[Client, Argv], Reply]], Callable[[Client, Argv], Reply]]:
    return command(
        f"object|{name}",
        3,
        "readonly",
        acl="keyspace",
        keys="@2/range:0:1:0/RO",
        tips="nondeterministic_output",
    )


def _looked_up(client: Client, key: bytes) -> Value | None:
    """A look that counts as a hit or miss, but is neither an access nor a keymiss event."""
    db = client.db
    value = db.peek(key)
    if value is None:
        db.misses += 1
    else:
        db.hits += 1
    return value


@_object("encoding")
def object_encoding(client: Client, argv: Argv) -> Reply:
    value = _looked_up(client, argv[2])
    return None if value is None else kind_of(value).encoding(value, client.host.config)


@_object("refcount")
def object_refcount(client: Client, argv: Argv) -> Reply:
    value = _looked_up(client, argv[2])
    if value is None:
        return None
    if type(value) is not bytes:
        return 1
    number, config = parse_int(value), client.host.config
    by_use = config.maxmemory and goes_by_use(config.maxmemory_policy)  # then each key's use is its own to be told
    return 1 if number is None or not 0 <= number < SHARED_INTEGERS or by_use else SHARED_REFCOUNT


@_object("idletime")
def object_idletime(client: Client, argv: Argv) -> Reply:
    if _looked_up(client, argv[2]) is None:
        return None
    if client.host.keyspace.counts_uses:
        raise NO_IDLE_TIME
    return client.db.idle_seconds(argv[2])


@_object("freq")
def object_freq(client: Client, argv: Argv) -> Reply:
    if _looked_up(client, argv[2]) is None:
        return None
    count = client.db.use_count(argv[2])
    if count is None:
        raise NO_FREQUENCY
    return count


@command("object|help", 2, "loading stale", acl="keyspace")
def object_help(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("object", describe("object"))]
