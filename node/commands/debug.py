"""DEBUG, as operators and test suites use it. Closed unless `enable-debug-command` opens it (see node.dispatch).

Each subcommand stands in SUBCOMMANDS with the number of arguments that it takes after its name; anything else is
answered as an unknown one.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from node.commands import help
from node.commands.config import bring_up_to_date
from node.commands.family import command
from node.config.values import memory
from node.datatypes import digest
from node.datatypes.kinds import kind_of
from node.datatypes.numbers import parse_int
from node.keyspace.database import Database, Value
from node.net.resp import (
    OK,
    Argv,
    BigNumber,
    CommandError,
    Encoded,
    Members,
    Push,
    Reply,
    Status,
    Truth,
    Verbatim,
    encode,
    encode_command,
)
from node.persistence.loader import LoadError, load_now
from node.platform import SIGSEGV
from node.rdb.types import encode_value
from node.script.running import Running
from node.server import Client
from node.slots import slot_of

ARGUMENTS_MAX = 2**31 - 1
PACKED_THRESHOLD_MAX = (1 << 32) - (1 << 20)
LRU_CLOCK_MAX = (1 << 24) - 1


class Subcommand(NamedTuple):
    """Its code, and the least and the greatest number of arguments after its name."""

    run: Callable[[Client, Argv], Reply]
    fewest: int
    most: int


@command("debug", -2, "admin noscript loading stale protected")
def debug(client: Client, argv: Argv) -> Reply:
    subcommand = SUBCOMMANDS.get(argv[1].lower())
    if subcommand is None or not subcommand.fewest <= len(argv) - 2 <= subcommand.most:
        raise _unknown(argv)
    return subcommand.run(client, argv[2:])


def _unknown(argv: Argv) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try DEBUG HELP." % argv[1][:128]
    )


def _integer(text: bytes) -> int:
    number = parse_int(text)
    if number is None:
        raise CommandError("ERR value is not an integer or out of range")
    return number


def _positive(text: bytes) -> int:
    number = parse_int(text)
    if number is None or number < 0:
        raise CommandError("ERR value is out of range, must be positive")
    return number


def _c_number(text: bytes) -> float:
    """What C's strtod makes of the text's beginning: 0 if it is no number."""
    for end in range(len(text), 0, -1):
        try:
            return float(text[:end])
        except ValueError:
            continue
    return 0.0


# --- the process ------------------------------------------------------------------------------------------------------


def sleep(client: Client, args: Argv) -> Reply:
    """SLEEP seconds: the whole node stands still."""
    client.host.platform.block(max(0.0, _c_number(args[0][:32])))
    return OK


def log(client: Client, args: Argv) -> Reply:
    client.host.log.warning(f"DEBUG LOG: {args[0].decode('utf-8', 'surrogateescape')}")
    return OK


def error(client: Client, args: Argv) -> Reply:
    """ERROR text: an error reply of just these words."""
    return Encoded(b"-%b\r\n" % args[0].replace(b"\r", b" ").replace(b"\n", b" "))


def panic(client: Client, args: Argv) -> Reply:
    """PANIC, ASSERT: what a bug of ours would do."""
    raise AssertionError("DEBUG was told to end the node by a bug")


def segfault(client: Client, args: Argv) -> Reply:
    """SEGFAULT: what a fault in C code would do."""
    client.host.platform.raise_signal(SIGSEGV)
    return OK


def set_disable_deny_scripts(client: Client, args: Argv) -> Reply:
    """SET-DISABLE-DENY-SCRIPTS 0|1: may scripts call what is closed to them?"""
    client.host.scripts_unbound = _c_number(args[0]) != 0
    return OK


def reply_buffer(client: Client, args: Argv) -> Reply:
    """REPLYBUFFER PEAK-RESET-TIME NEVER|RESET|milliseconds, or RESIZING 0|1: what a client's output takes is always as
    much as it holds, so that there is no size to keep or to fit."""
    what, value = args[0].lower(), args[1]
    if what == b"peak-reset-time":
        if value.lower() not in (b"never", b"reset"):
            _integer(value)
    elif what != b"resizing":
        raise _unknown([b"DEBUG", b"REPLYBUFFER"])
    return OK


def set_active_expire(client: Client, args: Argv) -> Reply:
    client.host.background.expiry.enabled = _c_number(args[0]) != 0
    return OK


def pause_cron(client: Client, args: Argv) -> Reply:
    """PAUSE-CRON 0|1: what Redis does in rounds rests: expiry, and acting on signals that are to end the node."""
    paused = _c_number(args[0]) != 0
    client.host.background.expiry.enabled = not paused
    client.host.shutdown.let_signals_wait(paused)
    return OK


# --- data -------------------------------------------------------------------------------------------------------------


def _raw(db: Database, key: bytes) -> Value | None:
    """The value of `key`, also if its time is over."""
    slot = db.slots[slot_of(key)]
    return None if slot is None else slot.values.get(key)


def _existing(client: Client, key: bytes) -> Value:
    value = _raw(client.db, key)
    if value is None:
        raise CommandError("ERR no such key")
    return value


def object_(client: Client, args: Argv) -> Reply:
    """OBJECT key: how a value is kept."""
    value = _existing(client, args[0])
    idle_s = client.db.idle_seconds(args[0])
    lru = client.host.keyspace.now_ms // 1000 - idle_s & LRU_CLOCK_MAX
    _, data = encode_value(value)
    return Status(
        b"Value at:0x%x refcount:1 encoding:%b serializedlength:%d lru:%d lru_seconds_idle:%d"
        % (id(value), kind_of(value).encoding(value, client.host.config), len(data), lru, idle_s)
    )


def sdslen(client: Client, args: Argv) -> Reply:
    """SDSLEN key: lengths of a key and its string; what is spare is not known here."""
    value = _existing(client, args[0])
    if type(value) is not bytes and type(value) is not bytearray:
        raise CommandError("ERR Not an sds encoded string.")
    return Status(
        b"key_sds_len:%d, key_sds_avail:0, key_zmalloc: %d, val_sds_len:%d, val_sds_avail:0, val_zmalloc: %d"
        % (len(args[0]), args[0].__sizeof__(), len(value), value.__sizeof__())
    )


def quicklist_packed_threshold(client: Client, args: Argv) -> Reply:
    """QUICKLIST-PACKED-THRESHOLD size: elements of all sizes are kept alike here, so nothing comes of it."""
    size = memory(args[0].decode("latin-1"))
    if size is None or size > PACKED_THRESHOLD_MAX:
        raise CommandError("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
    return OK


def digest_(client: Client, args: Argv) -> Reply:
    """DIGEST: a checksum of all data, the same as another server's with the same data."""
    total = digest.ZERO
    for db in client.host.keyspace.databases:
        if db.size:
            entries = (
                (key, value, key in slot.deadlines)
                for slot in db.slots
                if slot is not None
                for key, value in slot.values.items()
            )
            total = digest.add_database(total, db.index, entries)
    return Status(total.hex().encode())


def digest_value(client: Client, args: Argv) -> Reply:
    """DIGEST-VALUE key ...: a checksum of each value; zeros for a key that is not there."""
    return [Status(_digest_of(client.db, key).hex().encode()) for key in args]


def _digest_of(db: Database, key: bytes) -> bytes:
    value = _raw(db, key)
    return digest.ZERO if value is None else digest.digest_value(value, db.deadline(key) is not None)


def populate(client: Client, args: Argv) -> Reply:
    """POPULATE count [prefix [size]]: string keys prefix:0, prefix:1... that no replica hears of."""
    count = _positive(args[0])
    prefix = args[1] if len(args) > 1 else b"key"
    size = _positive(args[2]) if len(args) > 2 else 0
    db = client.db
    for number in range(count):
        key = (b"%b:%d" % (prefix, number))[:127]
        if db.peek(key) is None:
            value = b"value:%d" % number
            db.set(key, value[:size].ljust(size, b"\0") if size else value)
    return OK


def htstats(client: Client, args: Argv) -> Reply:
    """HTSTATS dbid: how the keys of a database lie in its slots."""
    index = _integer(args[0])
    databases = client.host.keyspace.databases
    if not 0 <= index < len(databases):
        raise CommandError("ERR Out of range database")
    slots = [slot for slot in databases[index].slots if slot is not None]
    keys = _table_stats([len(slot.values) for slot in slots])
    deadlines = _table_stats([len(slot.deadlines) for slot in slots if slot.deadlines])
    return Verbatim(f"[Dictionary HT]\n{keys}[Expires HT]\n{deadlines}".encode())


def htstats_key(client: Client, args: Argv) -> Reply:
    """HTSTATS-KEY key: only a container has a table of its own."""
    _existing(client, args[0])
    raise CommandError("ERR The value stored at the specified key is not represented using an hash table")


def _table_stats(counts: list[int]) -> str:
    head = "Hash table 0 stats (main hash table):\n"
    if not counts:
        return head + "No stats available for empty dictionaries\n"
    total = sum(counts)
    return (
        f"{head} table size: 16384\n number of elements: {total}\n different slots: {len(counts)}\n"
        f" max chain length: {max(counts)}\n avg chain length (counted): {total / len(counts):.2f}\n"
        f" avg chain length (computed): {total / len(counts):.2f}\n"
    )


# --- files, replicas, cluster -----------------------------------------------------------------------------------------


RELOAD_OPTIONS = frozenset((b"merge", b"noflush", b"nosave"))


def reload(client: Client, args: Argv) -> Reply:
    """RELOAD [MERGE] [NOFLUSH] [NOSAVE]: save, and load what was saved."""
    options = {word.lower() for word in args}
    if not options <= RELOAD_OPTIONS:
        raise CommandError("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    server = client.host
    if b"nosave" not in options and not server.saver.save():
        raise CommandError("ERR")
    keep = b"noflush" in options
    if not keep:
        for db in server.keyspace.databases:
            db.flush()
        server.keyspace.emptied()
    try:
        loader = load_now(server, keep=keep, merge=keep and b"merge" in options)
    except LoadError as error:
        server.log.warning(str(error))
        raise CommandError("ERR Error trying to load the RDB dump, check server logs") from None
    if loader is not None:
        server.saver.data_set_loaded(loader.keys_loaded, loader.keys_expired)
    server.log.warning("DB reloaded by DEBUG RELOAD")
    return OK


def loadaof(client: Client, args: Argv) -> Reply:
    """LOADAOF: write the append-only file out, and load what is in it."""
    server, keyspace = client.host, client.host.keyspace
    if server.aof.is_on:
        server.aof.writer.flush_now()
    for db in keyspace.databases:
        db.flush()
    keyspace.emptied()
    dirty = keyspace.dirty
    client.parked = Running()  # a long script of the file lets others in, but not what this client sends next
    try:
        loader = server.aof.load_now()
    except LoadError as error:
        server.log.warning(str(error))
        raise CommandError("ERR Error trying to load the AOF files, check server logs") from None
    finally:
        keyspace.dirty = dirty  # the files hold these changes: else this command would be appended to them, to be run
        client.parked = None
        client.touch()
    server.saver.data_set_loaded(loader.keys_loaded, loader.keys_expired)
    server.log.warning("Append Only File loaded by DEBUG LOADAOF")
    return OK


def dict_resizing(client: Client, args: Argv) -> Reply:
    """DICT-RESIZING 0|1: tables here always fit themselves to what they hold, and nobody has to wait for that."""
    return OK


def set_skip_checksum_validation(client: Client, args: Argv) -> Reply:
    """SET-SKIP-CHECKSUM-VALIDATION 0|1: take RDB files and payloads of RESTORE whatever their checksums say."""
    client.host.checksums_matter = _c_number(args[0]) == 0
    return OK


def aof_flush_sleep(client: Client, args: Argv) -> Reply:
    """AOF-FLUSH-SLEEP microseconds: wait so long before each write."""
    client.host.aof.disk.delay_us = int(_c_number(args[0]))
    return OK


def replicate(client: Client, args: Argv) -> Reply:
    """REPLICATE word ...: the replicas get this as a command, and differ from now on."""
    server = client.host
    if server.journal.stream is not None:
        server.journal.append_to_stream(encode_command(args))
    return OK


def change_repl_id(client: Client, args: Argv) -> Reply:
    """CHANGE-REPL-ID: no replica can go on from where it was."""
    server = client.host
    server.log.notice("Changing replication IDs after receiving change-repl-id")
    server.replication.history.renew(server.platform.random_hex())
    return OK


def config_rewrite_force_all(client: Client, args: Argv) -> Reply:
    """CONFIG-REWRITE-FORCE-ALL: CONFIG REWRITE, with every directive in the file."""
    bring_up_to_date(client.host, everything=True)
    return OK


def drop_cluster_packet_filter(client: Client, args: Argv) -> Reply:
    """DROP-CLUSTER-PACKET-FILTER type: be deaf to bus packets of this type; -1 ends it."""
    kind = _integer(args[0])
    if client.host.cluster is not None:
        client.host.cluster.drop_packets(kind)
    return OK


def clusterlink(client: Client, args: Argv) -> Reply:
    """CLUSTERLINK KILL to|from|all node: cut the bus links of a node."""
    cluster = client.host.cluster
    if cluster is None:
        raise CommandError("ERR Debug option only available for cluster mode enabled setup!")
    action, direction, node = args[0].lower(), args[1].lower(), args[2]
    if action != b"kill" or direction not in (b"to", b"from", b"all"):
        raise _unknown([b"debug", b"clusterlink"])
    if not cluster.cut_links(node, outgoing=direction != b"from", incoming=direction != b"to"):
        raise CommandError(b"ERR Unknown node %b" % node)
    return OK


# --- samples of every type of reply -----------------------------------------------------------------------------------


def protocol(client: Client, args: Argv) -> Reply:
    """PROTOCOL type: a reply of that type, for the tests of clients."""
    kind = args[0].lower()
    if kind in PROTOCOL_SAMPLES:
        return PROTOCOL_SAMPLES[kind]
    if kind == b"attrib":
        if client.resp3:
            client.out += ATTRIBUTE
        return b"Some real reply following the attribute"
    if kind == b"push":
        if not client.resp3:
            raise CommandError("ERR RESP2 is not supported by this command")
        encode(Push([b"server-cpu-usage", 42]), client.out, client.resp3)
        return b"Some real reply following the push reply"
    raise CommandError(
        "ERR Wrong protocol type name. Please use one of the following: "
        "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
    )


ATTRIBUTE = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
PROTOCOL_SAMPLES: Mapping[bytes, Reply] = {
    b"string": b"Hello World",
    b"integer": 12345,
    b"double": 3.141,
    b"bignum": BigNumber(b"1234567999999999999999999999999999999"),
    b"null": None,
    b"array": [0, 1, 2],
    b"set": Members([0, 1, 2]),
    b"map": {0: Truth(False), 1: Truth(True), 2: Truth(False)},
    b"verbatim": Verbatim(b"This is a verbatim\nstring"),
    b"true": Truth(True),
    b"false": Truth(False),
}


def help_(client: Client, args: Argv) -> Reply:
    names = {name.decode() for name in SUBCOMMANDS}
    return [Status(line.encode()) for line in help.help_lines("debug", help.describe("debug", names))]


SUBCOMMANDS: Mapping[bytes, Subcommand] = {
    b"aof-flush-sleep": Subcommand(aof_flush_sleep, 1, 1),
    b"assert": Subcommand(panic, 0, 0),
    b"change-repl-id": Subcommand(change_repl_id, 0, 0),
    b"clusterlink": Subcommand(clusterlink, 3, 3),
    b"config-rewrite-force-all": Subcommand(config_rewrite_force_all, 0, 0),
    b"dict-resizing": Subcommand(dict_resizing, 1, 1),
    b"digest": Subcommand(digest_, 0, 0),
    b"digest-value": Subcommand(digest_value, 0, ARGUMENTS_MAX),
    b"drop-cluster-packet-filter": Subcommand(drop_cluster_packet_filter, 1, 1),
    b"error": Subcommand(error, 1, 1),
    b"help": Subcommand(help_, 0, 0),
    b"htstats": Subcommand(htstats, 1, 2),
    b"htstats-key": Subcommand(htstats_key, 1, 2),
    b"loadaof": Subcommand(loadaof, 0, 0),
    b"log": Subcommand(log, 1, 1),
    b"object": Subcommand(object_, 1, 2),
    b"panic": Subcommand(panic, 0, 0),
    b"pause-cron": Subcommand(pause_cron, 1, 1),
    b"populate": Subcommand(populate, 1, 3),
    b"protocol": Subcommand(protocol, 1, 1),
    b"quicklist-packed-threshold": Subcommand(quicklist_packed_threshold, 1, 1),
    b"reload": Subcommand(reload, 0, ARGUMENTS_MAX),
    b"replicate": Subcommand(replicate, 1, ARGUMENTS_MAX),
    b"replybuffer": Subcommand(reply_buffer, 2, 2),
    b"sdslen": Subcommand(sdslen, 1, 1),
    b"segfault": Subcommand(segfault, 0, 0),
    b"set-active-expire": Subcommand(set_active_expire, 1, 1),
    b"set-disable-deny-scripts": Subcommand(set_disable_deny_scripts, 1, 1),
    b"set-skip-checksum-validation": Subcommand(set_skip_checksum_validation, 1, 1),
    b"sleep": Subcommand(sleep, 1, 1),
}
