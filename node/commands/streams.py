"""Streams: adding, trimming, deleting, ranges, descriptions. Groups and waiting readers stand in `streamgroups`."""

from collections.abc import Iterable
from itertools import islice

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.commands.streamids import GivenId, parse_end, parse_given, parse_id, parse_start
from node.datatypes.numbers import SHARED, SHARED_MAX
from node.datatypes.streams import (
    ID_MAX,
    NEVER,
    NODE_BYTES_MAX,
    SEQUENCE_BITS,
    SEQUENCE_MAX,
    UNKNOWN,
    Group,
    Pairs,
    Stream,
    id_text,
)
from node.keyspace.database import Database
from node.net.resp import EMPTY, NULL_ARRAY, OK, Argv, CommandError, Encoded, Reply, Status
from node.server import Client

UPDATE = "@1/range:0:1:0/RW+UPDATE"
DELETE = "@1/range:0:1:0/RW+DELETE"
READ = "@1/range:0:1:0/RO+ACCESS"

NOWHERE = (0, True)
"""0-0, given: no entry has that id."""
NOT_GREATER = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
NO_SUCH_KEY = CommandError("ERR no such key")

LIMIT_USUAL = 10_000
LIMIT_MAX = 1_000_000
"""How many entries an approximate trim removes at most: a hundred nodes, this without a limit for nodes, and never
more than that."""
LIMIT_NODES = 100

# --- replies ----------------------------------------------------------------------------------------------------------


def encode_entry(number: int, pairs: Pairs) -> bytes:
    """An entry as it goes over the wire: its id, and its fields and values."""
    name = id_text(number)
    return b"*2\r\n$%d\r\n%b\r\n*%d\r\n" % (len(name), name, len(pairs)) + b"".join(
        [b"$%d\r\n%b\r\n" % (len(text), text) for text in pairs]
    )


def encode_entries(entries: Iterable[tuple[int, Pairs]]) -> Encoded:
    """An array of entries."""
    parts = [encode_entry(number, pairs) for number, pairs in entries]
    return Encoded(b"*%d\r\n" % len(parts) + b"".join(parts))


# --- adding and trimming ----------------------------------------------------------------------------------------------


class _Trimming:
    """What XADD and XTRIM are told of trimming, and where the id stands for XADD."""

    __slots__ = ("approximately", "given", "id_at", "limit", "make", "maximum", "minimum", "strategy")

    def __init__(self) -> None:
        self.strategy = b""  # MAXLEN or MINID
        self.approximately = False
        self.maximum = 0
        self.minimum = 0
        self.limit: int | None = None
        self.make = True  # False with NOMKSTREAM
        self.given: GivenId | None = None  # None: the id comes by itself
        self.id_at = 0

    def trim(self, stream: Stream) -> int:
        """Remove what has to go, and return how many entries that were."""
        limit = self.limit or 0
        if self.strategy == b"MAXLEN":
            return stream.trim_to_length(self.maximum, self.approximately, limit)
        if self.strategy == b"MINID":
            return stream.trim_below(self.minimum, self.approximately, limit)
        return 0

    def exactly(self, stream: Stream) -> Argv:
        """Words that trim another copy of the stream as this one has been."""
        if not self.strategy:
            return []
        if self.strategy == b"MAXLEN":
            bound = b"%d" % (len(stream) if self.approximately else self.maximum)
        else:
            bound = id_text(stream.first_id if self.approximately else self.minimum)
        return [self.strategy, b"=", bound]


def _parse_trimming(client: Client, argv: Argv, adding: bool) -> _Trimming:
    """The options of XADD (`adding`) or XTRIM, up to the id that XADD has."""
    options = _Trimming()
    at, last = 2, len(argv) - 1
    while at <= last:
        word = argv[at].upper()
        if adding and word == b"*":
            break
        if word in (b"MAXLEN", b"MINID") and at < last:
            at = _parse_bound(options, word, argv, at + 1)
        elif word == b"LIMIT" and at < last:
            options.limit = integer(argv[at + 1])
            if options.limit < 0:
                raise CommandError("ERR The LIMIT argument must be >= 0.")
            at += 1
        elif adding and word == b"NOMKSTREAM":
            options.make = False
        elif adding:
            options.given = parse_given(argv[at], with_star=True)
            break
        else:
            raise SYNTAX
        at += 1
    options.id_at = at
    _check_limit(client, options, adding)
    return options


def _parse_bound(options: _Trimming, word: bytes, argv: Argv, at: int) -> int:
    """Read the bound behind MAXLEN or MINID; where it stands."""
    if options.strategy:
        raise CommandError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
    mark = argv[at]
    if (mark == b"~" or mark == b"=") and at + 1 < len(argv):
        options.approximately = mark == b"~"
        at += 1
    if word == b"MAXLEN":
        options.maximum = integer(argv[at])
        if options.maximum < 0:
            raise CommandError("ERR The MAXLEN argument must be >= 0.")
    else:
        options.minimum = parse_id(argv[at])
    options.strategy = word
    return at


def _check_limit(client: Client, options: _Trimming, adding: bool) -> None:
    if options.limit and not options.strategy:
        raise CommandError("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
    if not adding and not options.strategy:
        raise CommandError("ERR syntax error, XTRIM must be called with a trimming strategy")
    if client.host.keyspace.obeying:
        options.limit = 0
    elif options.limit is not None:
        if not options.approximately:
            raise CommandError("ERR syntax error, LIMIT cannot be used without the special ~ option")
    elif options.approximately:
        nodes_limit = LIMIT_NODES * client.host.config.stream_node_max_entries
        options.limit = min(nodes_limit if nodes_limit > 0 else LIMIT_USUAL, LIMIT_MAX)


def _new_id(stream: Stream | None, given: GivenId | None, now_ms: int) -> int:
    """The id of the entry that is to be added."""
    last_id = 0 if stream is None else stream.last_id
    if last_id == ID_MAX:
        raise CommandError("ERR The stream has exhausted the last possible ID, unable to add more items")
    if given is None:
        number = now_ms << SEQUENCE_BITS
        return number if number > last_id else last_id + 1
    number, complete = given
    if not complete and number >> SEQUENCE_BITS == last_id >> SEQUENCE_BITS:
        number = last_id + 1 if last_id & SEQUENCE_MAX != SEQUENCE_MAX else 0
    if number <= last_id:
        raise CommandError(NOT_GREATER)
    return number


@command("xadd", -5, "write denyoom fast", acl="stream", keys=UPDATE, tips="nondeterministic_output")
def xadd(client: Client, argv: Argv) -> Reply:
    if argv[2] != b"*" or not len(argv) % 2:
        return _add_as_told(client, argv)
    key, pairs, db = argv[1], argv[3:], client.db  # what producers do: no options, and an id that comes by itself
    keyspace, config = db.keyspace, client.host.config
    now_ms = keyspace.now_ms
    stream = db.open_kind(key, Stream)
    size = len(pairs[0]) + len(pairs[1]) if len(pairs) == 2 else sum(map(len, pairs))
    start = number = now_ms << SEQUENCE_BITS
    if stream is None or (last_id := stream.last_id) == ID_MAX or size > NODE_BYTES_MAX:
        stream, number = _begin(db, key, stream, None, size)
    elif number <= last_id:
        number = last_id + 1
    stream.append(number, pairs, size, config.stream_node_max_bytes, config.stream_node_max_entries)
    sequence = number - start
    name = stream.name_head + SHARED[sequence] if sequence < SHARED_MAX and stream.named_ms == now_ms else stream.name()
    if not keyspace.journal.unheard:
        keyspace.journal_instead((b"XADD", key, name, *pairs), db=db.index)
    keyspace.dirty += 1
    if keyspace.listening:
        db.tell(key, "xadd", "t")
    if keyspace.awaited:
        keyspace.appeared(db, key)
    return name


def _add_as_told(client: Client, argv: Argv) -> Reply:
    """XADD with options, or with an id."""
    key, db = argv[1], client.db
    keyspace, config = db.keyspace, client.host.config
    options = _parse_trimming(client, argv, adding=True)
    given = options.given
    pairs = argv[options.id_at + 1 :]
    if len(pairs) < 2 or len(pairs) % 2:
        raise CommandError("ERR wrong number of arguments for 'xadd' command")
    if given == NOWHERE:
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    stream = db.open_kind(key, Stream)
    if stream is None and not options.make:
        return None
    size = sum(map(len, pairs))
    stream, number = _begin(db, key, stream, given, size)
    stream.append(number, pairs, size, config.stream_node_max_bytes, config.stream_node_max_entries)
    trimmed = options.trim(stream) if options.strategy else 0
    name = id_text(number)
    if not keyspace.journal.unheard and (given is None or not given[1] or options.approximately):
        words = [] if options.make else [b"NOMKSTREAM"]
        keyspace.journal_instead((b"XADD", key, *words, *options.exactly(stream), name, *pairs), db=db.index)
    db.changed(key, "xadd", "t")
    if trimmed:
        db.tell(key, "xtrim", "t")
    if keyspace.awaited:
        keyspace.appeared(db, key)
    return name


def _begin(db: Database, key: bytes, stream: Stream | None, given: GivenId | None, size: int) -> tuple[Stream, int]:
    """The stream to add an entry of `size` bytes to, made if it is not there, and the id for it."""
    number = _new_id(stream, given, db.keyspace.now_ms)
    if size > NODE_BYTES_MAX:
        raise CommandError("ERR Elements are too large to be stored")
    return db.make(key, Stream()) if stream is None else stream, number


@command("xtrim", -4, "write", acl="stream", keys=DELETE, tips="nondeterministic_output")
def xtrim(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    options = _parse_trimming(client, argv, adding=False)
    stream = db.open_kind(key, Stream)
    if stream is None:
        return 0
    removed = options.trim(stream)
    if removed:
        if options.approximately and not db.keyspace.journal.unheard:
            db.keyspace.journal_instead((b"XTRIM", key, *options.exactly(stream)), db=db.index)
        db.changed(key, "xtrim", "t", removed)
    return removed


@command("xdel", -3, "write fast", acl="stream", keys=DELETE)
def xdel(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    if db.peek_kind(key, Stream) is None:
        return 0
    numbers = [parse_id(text) for text in argv[2:]]
    stream = db.open_kind(key, Stream)
    assert stream is not None
    removed = sum([stream.delete(number) for number in numbers])
    if removed:
        db.changed(key, "xdel", "t", removed)
    return removed


@command("xsetid", -3, "write denyoom fast", acl="stream", keys=UPDATE)
def xsetid(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    number = parse_id(argv[2])
    entries_added, max_deleted_id = _parse_xsetid(argv, number)
    stream = db.open_kind(key, Stream)
    if stream is None:
        raise NO_SUCH_KEY
    if number < stream.max_deleted_id:
        raise CommandError("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if len(stream):
        if number < stream.final_id:
            raise CommandError("ERR The ID specified in XSETID is smaller than the target stream top item")
        if entries_added is not None and len(stream) > entries_added:
            raise CommandError("ERR The entries_added specified in XSETID is smaller than the target stream length")
    stream.last_id = number
    if entries_added is not None:
        stream.entries_added = entries_added
    stream.max_deleted_id = max_deleted_id or stream.max_deleted_id
    db.changed(key, "xsetid", "t")
    return OK


def _parse_xsetid(argv: Argv, number: int) -> tuple[int | None, int]:
    """ENTRIESADDED, None where it is not given, and MAXDELETEDID, 0 where it is not."""
    entries_added = None
    max_deleted_id = 0
    at = 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"ENTRIESADDED" and at + 1 < len(argv):
            entries_added = integer(argv[at + 1])
            if entries_added < 0:
                raise CommandError("ERR entries_added must be positive")
        elif word == b"MAXDELETEDID" and at + 1 < len(argv):
            max_deleted_id = parse_id(argv[at + 1])
            if number < max_deleted_id:
                raise CommandError("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
        else:
            raise SYNTAX
        at += 2
    return entries_added, max_deleted_id


# --- reading ----------------------------------------------------------------------------------------------------------


@command("xlen", 2, "readonly fast", acl="stream", keys="@1/range:0:1:0/RO")
def xlen(client: Client, argv: Argv) -> Reply:
    stream = client.db.read_kind(argv[1], Stream)
    return 0 if stream is None else len(stream)


def _range(client: Client, argv: Argv, first: bytes, last: bytes, backwards: bool) -> Reply:
    start, end = parse_start(first), parse_end(last)
    count = -1
    at = 4
    while at < len(argv):
        if argv[at].upper() != b"COUNT" or at + 1 >= len(argv):
            raise SYNTAX
        count = max(integer(argv[at + 1]), 0)
        at += 2
    stream = client.db.read_kind(argv[1], Stream)
    if stream is None:
        return EMPTY
    if not count:
        return NULL_ARRAY
    entries = stream.reversed_range(start, end) if backwards else stream.range(start, end)
    return encode_entries(islice(entries, None if count < 0 else count))


@command("xrange", -4, "readonly", acl="stream", keys=READ)
def xrange_(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, argv[2], argv[3], backwards=False)


@command("xrevrange", -4, "readonly", acl="stream", keys=READ)
def xrevrange(client: Client, argv: Argv) -> Reply:
    return _range(client, argv, argv[3], argv[2], backwards=True)


# --- describing -------------------------------------------------------------------------------------------------------

FULL_COUNT = 10
"""How many entries of each kind XINFO STREAM FULL shows unless told otherwise."""

container("xinfo")


def wrong_subcommand(argv: Argv) -> CommandError:
    """The arguments of a subcommand do not fit."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (argv[1][:128], argv[0].upper())
    )


def _described(client: Client, key: bytes) -> Stream:
    stream = client.db.read_kind(key, Stream)
    if stream is None:
        raise NO_SUCH_KEY
    return stream


def no_such_group(key: bytes, name: bytes) -> CommandError:
    return CommandError(b"NOGROUP No such consumer group '%b' for key name '%b'" % (name, key))


@command("xinfo|help", 2, "loading stale", acl="stream")
def xinfo_help(client: Client, _argv: Argv) -> Reply:
    return [Status(text.encode()) for text in help_lines("xinfo", describe("xinfo"))]


@command("xinfo|stream", -3, "readonly", acl="stream", keys="@2/range:0:1:0/RO+ACCESS")
def xinfo_stream(client: Client, argv: Argv) -> Reply:
    stream = _described(client, argv[2])
    count = _parse_full(argv)
    about: dict[bytes, Reply] = {
        b"length": len(stream),
        b"radix-tree-keys": len(stream.nodes()),
        b"radix-tree-nodes": stream.radix_tree_nodes(),
        b"last-generated-id": id_text(stream.last_id),
        b"max-deleted-entry-id": id_text(stream.max_deleted_id),
        b"entries-added": stream.entries_added,
        b"recorded-first-entry-id": id_text(stream.first_id),
    }
    if count is None:
        about[b"groups"] = len(stream.groups)
        about[b"first-entry"] = _only_entry(stream, stream.first_id)
        about[b"last-entry"] = _only_entry(stream, stream.final_id)
    else:
        stop = count or None
        about[b"entries"] = encode_entries(islice(stream.range(0, ID_MAX), stop))
        about[b"groups"] = [_full_group(stream, group, stop) for group in stream.sorted_groups()]
    return about


def _parse_full(argv: Argv) -> int | None:
    """The COUNT of FULL, 0 for all; None without FULL."""
    if len(argv) == 3:
        return None
    if len(argv) not in (4, 6) or argv[3].upper() != b"FULL" or (len(argv) == 6 and argv[4].upper() != b"COUNT"):
        raise wrong_subcommand(argv)
    count = integer(argv[5]) if len(argv) == 6 else FULL_COUNT
    return count if count >= 0 else FULL_COUNT


def _only_entry(stream: Stream, number: int) -> Reply:
    pairs = stream.get(number) if len(stream) else None
    return None if pairs is None else Encoded(encode_entry(number, pairs))


def _entries_read(group: Group) -> Reply:
    return None if group.entries_read == UNKNOWN else group.entries_read


def _full_group(stream: Stream, group: Group, stop: int | None) -> Reply:
    return {
        b"name": group.name,
        b"last-delivered-id": id_text(group.last_id),
        b"entries-read": _entries_read(group),
        b"lag": stream.lag(group),
        b"pel-count": len(group.pending),
        b"pending": [
            [id_text(number), delivery.consumer.name, delivery.time_ms, delivery.count]
            for number, delivery in islice(group.pending.items(), stop)
        ],
        b"consumers": [
            {
                b"name": consumer.name,
                b"seen-time": consumer.seen_ms,
                b"active-time": consumer.active_ms,
                b"pel-count": len(consumer.pending),
                b"pending": [
                    [id_text(number), delivery.time_ms, delivery.count]
                    for number, delivery in islice(consumer.pending.items(), stop)
                ],
            }
            for consumer in group.sorted_consumers()
        ],
    }


@command("xinfo|groups", 3, "readonly", acl="stream", keys="@2/range:0:1:0/RO+ACCESS")
def xinfo_groups(client: Client, argv: Argv) -> Reply:
    stream = _described(client, argv[2])
    return [
        {
            b"name": group.name,
            b"consumers": len(group.consumers),
            b"pending": len(group.pending),
            b"last-delivered-id": id_text(group.last_id),
            b"entries-read": _entries_read(group),
            b"lag": stream.lag(group),
        }
        for group in stream.sorted_groups()
    ]


@command(
    "xinfo|consumers", 4, "readonly", acl="stream", keys="@2/range:0:1:0/RO+ACCESS", tips="nondeterministic_output"
)
def xinfo_consumers(client: Client, argv: Argv) -> Reply:
    _, _, key, name = argv
    group = _described(client, key).groups.get(name)
    if group is None:
        raise no_such_group(key, name)
    now_ms = client.db.keyspace.now_ms
    return [
        {
            b"name": consumer.name,
            b"pending": len(consumer.pending),
            b"idle": max(0, now_ms - consumer.seen_ms),
            b"inactive": NEVER if consumer.active_ms == NEVER else max(0, now_ms - consumer.active_ms),
        }
        for consumer in group.sorted_consumers()
    ]
