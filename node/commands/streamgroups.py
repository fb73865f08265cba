"""Readers of streams: XREAD and XREADGROUP, which may wait, and what groups of consumers need beside.

A delivery is journalled as an XCLAIM that names everything, and what a group has read as XGROUP SETID: so a replica
and a file get effects and not requests. A reader that waits asks again whenever one of its keys has changed, and
answers if there is something; one of a group also if the group or its key is gone.
"""

from collections.abc import Sequence
from itertools import islice

from node.commands.arguments import SYNTAX, integer
from node.commands.blocking import is_refused, serve, whole_timeout_ms
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.commands.streamids import parse_any_id, parse_end, parse_id, parse_start
from node.commands.streams import (
    DELETE,
    UPDATE,
    encode_entries,
    encode_entry,
    no_such_group,
    wrong_subcommand,
)
from node.datatypes.numbers import INT64_MAX, parse_int
from node.datatypes.streams import ID_MAX, UNKNOWN, Consumer, Delivery, Group, Stream, id_text
from node.keyspace.database import Database
from node.net.resp import NULL_ARRAY, OK, Argv, CommandError, Encoded, Reply, Status
from node.net.session import Waiting
from node.server import Client

# --- what all of them need --------------------------------------------------------------------------------------------


def _claim_effect(key: bytes, group: Group, number: int, delivery: Delivery) -> tuple[bytes, ...]:
    """The delivery as a command that makes it anywhere."""
    return (
        b"XCLAIM", key, group.name, delivery.consumer.name, b"0", id_text(number), b"TIME", b"%d" % delivery.time_ms,
        b"RETRYCOUNT", b"%d" % delivery.count, b"FORCE", b"JUSTID", b"LASTID", id_text(group.last_id),
    )  # fmt: skip


def _position_effect(key: bytes, group: Group) -> tuple[bytes, ...]:
    """What the group has read, as a command that sets it anywhere."""
    return (b"XGROUP", b"SETID", key, group.name, id_text(group.last_id), b"ENTRIESREAD", b"%d" % group.entries_read)


def _consumer(db: Database, key: bytes, group: Group, name: bytes, *, is_implied: bool = False) -> Consumer:
    """The consumer of that name, made if it is not there, seen now.

    is_implied -- the effects that follow name it, and so make it wherever they run.
    """
    now_ms = db.keyspace.now_ms
    consumer = group.consumers.get(name)
    if consumer is None:
        consumer = group.consumers[name] = Consumer(name, now_ms)
        if not is_implied:
            db.keyspace.journal_instead((b"XGROUP", b"CREATECONSUMER", key, group.name, name), db=db.index)
        db.kept_apart(key, "xgroup-createconsumer", "t")
    consumer.seen_ms = now_ms
    return consumer


def _effect(db: Database, *commands: tuple[bytes, ...]) -> None:
    """Something changed that no event tells of."""
    db.keyspace.journal_instead(*commands, db=db.index)
    db.keyspace.dirty += len(commands)


def _group_to_change(db: Database, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """A group with its stream, about to be changed. Raises NOGROUP."""
    stream = db.open_kind(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise CommandError(b"NOGROUP No such key '%b' or consumer group '%b'" % (key, name))
    return stream, group


# --- XREAD and XREADGROUP ---------------------------------------------------------------------------------------------

NEWEST = b"$"
UNREAD = b">"


class _Request:
    """What an XREAD or XREADGROUP asks for."""

    __slots__ = ("argv", "block_ms", "consumer", "count", "group", "ids", "keys", "name", "no_ack")

    def __init__(self, client: Client, name: str, argv: Argv) -> None:
        self.name = name
        self.argv = argv
        self.block_ms: int | None = None  # 0: for ever
        self.count = 0  # 0: all
        self.group: bytes | None = None
        self.consumer = b""
        self.no_ack = False
        self.keys: list[bytes] = []
        self.ids: list[bytes] = []
        at, last = 1, len(argv) - 1
        while at <= last and not self.keys:
            at = self._option(client, argv, at, last)
        if not self.keys:
            raise SYNTAX
        if name == "xreadgroup" and self.group is None:
            raise CommandError("ERR Missing GROUP option for XREADGROUP")

    def _option(self, client: Client, argv: Argv, at: int, last: int) -> int:
        """Read the option at a place, and return the place behind it."""
        word = argv[at].upper()
        if word == b"BLOCK" and at < last:
            self.block_ms = whole_timeout_ms(client, argv[at + 1])
            return at + 2
        if word == b"COUNT" and at < last:
            self.count = max(integer(argv[at + 1]), 0)
            return at + 2
        if word == b"STREAMS" and at < last:
            self._streams(argv[at + 1 :])
            return last
        if word == b"GROUP" and at + 1 < last:
            self._only_in_groups("GROUP")
            self.group, self.consumer = argv[at + 1], argv[at + 2]
            return at + 3
        if word == b"NOACK":
            self._only_in_groups("NOACK")
            self.no_ack = True
            return at + 1
        raise SYNTAX

    def _only_in_groups(self, option: str) -> None:
        if self.name != "xreadgroup":
            raise CommandError(f"ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")

    def _streams(self, words: Argv) -> None:
        if len(words) % 2:
            symbol = ">" if self.name == "xreadgroup" else "$"
            raise CommandError(
                f"ERR Unbalanced '{self.name}' list of streams: for each stream key an ID or '{symbol}' must be "
                "specified."
            )
        half = len(words) // 2
        self.keys, self.ids = words[:half], words[half:]


def _streams_reply(client: Client, parts: Sequence[tuple[bytes, bytes]]) -> Reply:
    """(key, encoded entries) of each stream that has some: a map, or an array of pairs; None without any."""
    if not parts:
        return None
    head = b"%%%d\r\n" if client.resp3 else b"*%d\r\n"
    pair = b"" if client.resp3 else b"*2\r\n"
    return Encoded(
        head % len(parts) + b"".join([b"%b$%d\r\n%b\r\n%b" % (pair, len(key), key, data) for key, data in parts])
    )


class _Reader(Waiting):
    """A client that waits for entries: the same question is asked again when one of its keys has changed."""

    __slots__ = ("client", "db", "keys", "request")
    hears_of_loss = True

    def __init__(self, client: Client, request: _Request) -> None:
        self.client = client
        self.request = request
        self.db = client.db.index
        self.keys = request.keys

    def ask(self) -> Reply:
        """The reply, or None if there is nothing yet."""
        raise NotImplementedError

    def try_key(self, _key: bytes) -> bool:
        if is_refused(self.client):
            return True
        return serve(self.client, self.db, self.request.argv, self.ask)

    def cancelled(self, session: Client) -> None:
        session.host.keyspace.waiters.remove(self)

    def timeout_reply(self) -> Reply:
        return NULL_ARRAY

    def answer(self) -> Reply:
        """Ask now, and wait if that is wanted and there is nothing."""
        reply = self.ask()
        if reply is not None:
            return reply
        if self.request.block_ms is None or not self.client.may_block:
            return NULL_ARRAY
        self.client.host.keyspace.waiters.add(self)
        return self.client.park(self, self.request.block_ms)


class _PlainReader(_Reader):
    """XREAD: `after` are the ids behind which the client wants to go on."""

    __slots__ = ("after",)

    def __init__(self, client: Client, request: _Request) -> None:
        super().__init__(client, request)
        self.after: list[int] = []
        for key, text in zip(request.keys, request.ids, strict=True):
            stream = client.db.read_kind(key, Stream)
            if text == NEWEST:
                self.after.append(0 if stream is None else stream.last_id)
            elif text == UNREAD:
                raise CommandError(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> "
                    "option."
                )
            else:
                self.after.append(parse_id(text))

    def ask(self) -> Reply:
        parts = []
        db = self.client.host.keyspace.databases[self.db]
        for key, after in zip(self.keys, self.after, strict=True):
            stream = db.peek(key)
            if type(stream) is Stream and len(stream) and stream.final_id > after:
                entries = islice(stream.range(after + 1, ID_MAX), self.request.count or None)
                parts.append((key, encode_entries(entries)))
        return _streams_reply(self.client, parts)


@command("xread", -4, "blocking readonly", acl="stream", keys="STREAMS@1/range:-1:1:2/RO+ACCESS")
def xread(client: Client, argv: Argv) -> Reply:
    return _PlainReader(client, _Request(client, "xread", argv)).answer()


class _GroupReader(_Reader):
    """XREADGROUP: `after` are the ids behind which the client wants its own history, None for what nobody has read."""

    __slots__ = ("after",)

    def __init__(self, client: Client, request: _Request) -> None:
        super().__init__(client, request)
        self.after: list[int | None] = []
        for key, text in zip(request.keys, request.ids, strict=True):
            self._group(client.db, key)
            if text == UNREAD:
                self.after.append(None)
            elif text == NEWEST:
                raise CommandError(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
                    "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just "
                    "return an empty result set."
                )
            else:
                number = parse_id(text)
                self.after.append(None if number == ID_MAX else number)

    def _group(self, db: Database, key: bytes) -> tuple[Stream, Group]:
        name = self.request.group
        assert name is not None
        stream = db.read_kind(key, Stream)
        if stream is None or name not in stream.groups:
            raise CommandError(
                b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option" % (key, name)
            )
        return stream, stream.groups[name]

    def ask(self) -> Reply:
        parts = []
        db = self.client.host.keyspace.databases[self.db]
        for key in self.keys:
            self._group(db, key)
        for key, after in zip(self.keys, self.after, strict=True):
            stream = db.open_kind(key, Stream)
            assert stream is not None and self.request.group is not None
            group = stream.groups[self.request.group]
            has_news = after is None and len(stream) > 0 and stream.final_id > group.last_id
            consumer = _consumer(db, key, group, self.request.consumer, is_implied=has_news and not self.request.no_ack)
            if after is not None:
                parts.append((key, self._history(db, stream, group, consumer, after)))
            elif has_news:
                parts.append((key, self._deliver(db, key, stream, group, consumer)))
        return _streams_reply(self.client, parts)

    def _history(self, db: Database, stream: Stream, group: Group, consumer: Consumer, after: int) -> bytes:
        """What the consumer has and did not acknowledge. Reading it again counts as a delivery."""
        parts = []
        for number in list(islice(consumer.pending.irange(after + 1), self.request.count or None)):
            pairs = stream.get(number)
            if pairs is None:
                name = id_text(number)
                parts.append(
                    b"*2\r\n$%d\r\n%b\r\n%b" % (len(name), name, b"_\r\n" if self.client.resp3 else b"*-1\r\n")
                )
                continue
            group.deliver(number, consumer, db.keyspace.now_ms, consumer.pending[number].count + 1)
            parts.append(encode_entry(number, pairs))
        return b"*%d\r\n" % len(parts) + b"".join(parts)

    def _deliver(self, db: Database, key: bytes, stream: Stream, group: Group, consumer: Consumer) -> bytes:
        """Give the consumer what nobody in the group has had."""
        now_ms = db.keyspace.now_ms
        entries = list(islice(stream.range(group.last_id + 1, ID_MAX), self.request.count or None))
        given = []
        for number, _ in entries:
            stream.advance(group, number)
            if not self.request.no_ack:
                given.append((number, group.deliver(number, consumer, now_ms, 1)))
                consumer.active_ms = now_ms
        effects = [_claim_effect(key, group, number, delivery) for number, delivery in given]
        _effect(db, *effects, _position_effect(key, group))
        return encode_entries(entries)


@command("xreadgroup", -7, "blocking write", acl="stream", keys="STREAMS@4/range:-1:1:2/RO+ACCESS")
def xreadgroup(client: Client, argv: Argv) -> Reply:
    return _GroupReader(client, _Request(client, "xreadgroup", argv)).answer()


# --- deliveries -------------------------------------------------------------------------------------------------------


@command("xack", -4, "write fast", acl="stream", keys=UPDATE)
def xack(client: Client, argv: Argv) -> Reply:
    _, key, name, *texts = argv
    db = client.db
    stream = db.read_kind(key, Stream)
    if stream is None or name not in stream.groups:
        return 0
    numbers = [parse_id(text) for text in texts]
    stream = db.open_kind(key, Stream)
    assert stream is not None
    group = stream.groups[name]
    acknowledged = sum([group.acknowledge(number) for number in numbers])
    db.keyspace.dirty += acknowledged
    return acknowledged


@command("xpending", -3, "readonly", acl="stream", keys="@1/range:0:1:0/RO+ACCESS", tips="nondeterministic_output")
def xpending(client: Client, argv: Argv) -> Reply:
    key, name = argv[1], argv[2]
    if len(argv) == 3:
        return _pending_summary(_group_to_read(client, key, name))
    if not 6 <= len(argv) <= 9:
        raise SYNTAX
    at, idle_ms_min = 3, 0
    if argv[3].upper() == b"IDLE":
        idle_ms_min = integer(argv[4])
        if len(argv) < 8:
            raise SYNTAX
        at = 5
    count = max(integer(argv[at + 2]), 0)
    start, end = parse_start(argv[at]), parse_end(argv[at + 1])
    group = _group_to_read(client, key, name)
    pending = group.pending
    if at + 3 < len(argv):
        consumer = group.consumers.get(argv[at + 3])
        if consumer is None:
            return []
        pending = consumer.pending
    now_ms = client.db.keyspace.now_ms
    found = (
        [id_text(number), delivery.consumer.name, max(0, now_ms - delivery.time_ms), delivery.count]
        for number, delivery in ((number, pending[number]) for number in pending.irange(start, end))
        if not idle_ms_min or now_ms - delivery.time_ms >= idle_ms_min
    )
    return list(islice(found, count))


def _group_to_read(client: Client, key: bytes, name: bytes) -> Group:
    stream = client.db.read_kind(key, Stream)
    if stream is None or name not in stream.groups:
        raise CommandError(b"NOGROUP No such key '%b' or consumer group '%b'" % (key, name))
    return stream.groups[name]


def _pending_summary(group: Group) -> Reply:
    if not group.pending:
        return [0, None, None, NULL_ARRAY]
    first, _ = group.pending.peekitem(0)
    last, _ = group.pending.peekitem(-1)
    busy = [[consumer.name, b"%d" % len(consumer.pending)] for consumer in group.sorted_consumers() if consumer.pending]
    return [len(group.pending), id_text(first), id_text(last), busy]


class _Claim:
    """What XCLAIM is told behind the ids."""

    __slots__ = ("force", "just_id", "last_id", "retry_count", "time_ms")

    def __init__(self, words: Argv, now_ms: int) -> None:
        self.force = self.just_id = False
        self.last_id = 0
        self.retry_count = -1
        time_ms = -1
        at = 0
        while at < len(words):
            word = words[at].upper()
            if word == b"FORCE":
                self.force = True
            elif word == b"JUSTID":
                self.just_id = True
            elif word in (b"IDLE", b"TIME", b"RETRYCOUNT", b"LASTID") and at + 1 < len(words):
                at += 1
                if word == b"LASTID":
                    self.last_id = parse_id(words[at])
                elif word == b"RETRYCOUNT":
                    self.retry_count = _claim_number(word, words[at])
                else:
                    number = _claim_number(word, words[at])
                    time_ms = number if word == b"TIME" else now_ms - number
            else:
                raise CommandError(b"ERR Unrecognized XCLAIM option '%b'" % words[at])
            at += 1
        self.time_ms = time_ms if 0 <= time_ms <= now_ms else now_ms


def _claim_number(word: bytes, text: bytes) -> int:
    number = parse_int(text)
    if number is None:
        raise CommandError(b"ERR Invalid %b option argument for XCLAIM" % word)
    return number


def _min_idle_ms(text: bytes, name: str) -> int:
    number = parse_int(text)
    if number is None:
        raise CommandError(f"ERR Invalid min-idle-time argument for {name}")
    return max(number, 0)


def _ids_at_front(words: Argv) -> list[int]:
    numbers = []
    for text in words:
        try:
            numbers.append(parse_id(text))
        except CommandError as error:
            error.forget()
            break
    return numbers


def _take(group: Group, number: int, consumer: Consumer, time_ms: int, count: int, now_ms: int) -> Delivery:
    """The consumer has this entry from now on."""
    consumer.active_ms = now_ms
    return group.deliver(number, consumer, time_ms, count)


def _forget(db: Database, key: bytes, group: Group, number: int) -> None:
    """The entry is no longer there: drop its delivery, here and, as claiming does that, anywhere."""
    _effect(db, _claim_effect(key, group, number, group.pending[number]))
    group.acknowledge(number)


@command("xclaim", -6, "write fast", acl="stream", keys=UPDATE, tips="nondeterministic_output")
def xclaim(client: Client, argv: Argv) -> Reply:
    _, key, name, consumer_name, idle_text, *words = argv
    db = client.db
    now_ms = db.keyspace.now_ms
    db.read(key)
    stream, group = _group_to_change(db, key, name)
    idle_ms_min = _min_idle_ms(idle_text, "XCLAIM")
    numbers = _ids_at_front(words)
    claim = _Claim(words[len(numbers) :], now_ms)
    moved = claim.last_id > group.last_id
    group.last_id = max(group.last_id, claim.last_id)
    consumer = _consumer(db, key, group, consumer_name)
    replies = []
    for number in numbers:
        delivery = group.pending.get(number)
        pairs = stream.get(number)
        if pairs is None:
            if delivery is not None:
                _forget(db, key, group, number)
                moved = False
            continue
        if delivery is None and not claim.force:
            continue
        if delivery is not None and idle_ms_min and now_ms - delivery.time_ms < idle_ms_min:
            continue
        count = 1 if delivery is None else delivery.count
        count = claim.retry_count if claim.retry_count >= 0 else count if claim.just_id else count + 1
        delivery = _take(group, number, consumer, claim.time_ms, count, now_ms)
        _effect(db, _claim_effect(key, group, number, delivery))
        moved = False
        replies.append(id_text(number) if claim.just_id else Encoded(encode_entry(number, pairs)))
    if moved:
        _effect(db, _position_effect(key, group))
    return replies


CLAIM_COUNT = 100
CLAIM_COUNT_MAX = INT64_MAX // 16
CLAIM_ROOM_MAX = 1 << 43
"""Redis reserves 16 bytes for each of COUNT, and refuses what no address space holds."""
CLAIM_LOOKS = 10
"""How many deliveries XAUTOCLAIM looks at for each that it may return."""


def _parse_autoclaim(words: Argv) -> tuple[int, bool]:
    """COUNT, and whether only ids are wanted."""
    count, just_id = CLAIM_COUNT, False
    at = 0
    while at < len(words):
        word = words[at].upper()
        if word == b"COUNT" and at + 1 < len(words):
            at += 1
            number = parse_int(words[at])
            if number is None or not 1 <= number <= CLAIM_COUNT_MAX:
                raise CommandError("ERR COUNT must be > 0")
            count = number
        elif word == b"JUSTID":
            just_id = True
        else:
            raise SYNTAX
        at += 1
    return count, just_id


@command("xautoclaim", -6, "write fast", acl="stream", keys=DELETE, tips="nondeterministic_output")
def xautoclaim(client: Client, argv: Argv) -> Reply:
    _, key, name, consumer_name, idle_text, start_text, *words = argv
    db = client.db
    now_ms = db.keyspace.now_ms
    db.read(key)
    idle_ms_min = _min_idle_ms(idle_text, "XAUTOCLAIM")
    start = parse_start(start_text)
    count, just_id = _parse_autoclaim(words)
    stream, group = _group_to_change(db, key, name)
    if count > CLAIM_ROOM_MAX:
        raise CommandError("ERR Insufficient memory, failed allocating transient memory, COUNT too high.")
    consumer = _consumer(db, key, group, consumer_name)
    looked_at = list(islice(group.pending.irange(start), _looks(count, len(group.pending)) + 1))
    claimed: list[Reply] = []
    deleted: list[Reply] = []
    cursor = 0
    for place, number in enumerate(looked_at):
        if len(claimed) + len(deleted) == count or place == count * CLAIM_LOOKS:
            cursor = number
            break
        pairs = stream.get(number)
        if pairs is None:
            _forget(db, key, group, number)
            deleted.append(id_text(number))
            continue
        delivery = group.pending[number]
        if idle_ms_min and now_ms - delivery.time_ms < idle_ms_min:
            continue
        delivery = _take(group, number, consumer, now_ms, delivery.count + (not just_id), now_ms)
        _effect(db, _claim_effect(key, group, number, delivery))
        claimed.append(id_text(number) if just_id else Encoded(encode_entry(number, pairs)))
    return [id_text(cursor), claimed, deleted]


def _looks(count: int, pending: int) -> int:
    return min(count * CLAIM_LOOKS, pending)


# --- XGROUP -----------------------------------------------------------------------------------------------------------

GROUP_UPDATE = "@2/range:0:1:0/RW+UPDATE"
GROUP_INSERT = "@2/range:0:1:0/RW+INSERT"
GROUP_DELETE = "@2/range:0:1:0/RW+DELETE"
NO_STREAM = CommandError(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option "
    "to create an empty stream automatically."
)

container("xgroup")


@command("xgroup|help", 2, "loading stale", acl="stream")
def xgroup_help(_client: Client, _argv: Argv) -> Reply:
    return [Status(text.encode()) for text in help_lines("xgroup", describe("xgroup"))]


def _group_options(argv: Argv, may_make: bool) -> tuple[bool, int]:
    """MKSTREAM, and how many entries the group has read."""
    make, entries_read = False, UNKNOWN
    at = 5
    while at < len(argv):
        word = argv[at].upper()
        if may_make and word == b"MKSTREAM":
            make = True
            at += 1
        elif word == b"ENTRIESREAD" and at + 1 < len(argv):
            entries_read = integer(argv[at + 1])
            if entries_read < 0 and entries_read != UNKNOWN:
                raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise wrong_subcommand(argv)
    return make, entries_read


@command("xgroup|create", -5, "write denyoom", acl="stream", keys=GROUP_INSERT)
def xgroup_create(client: Client, argv: Argv) -> Reply:
    _, _, key, name, text, *_ = argv
    db = client.db
    make, entries_read = _group_options(argv, may_make=True)
    stream = db.open_kind(key, Stream)
    if stream is None and not make:
        raise NO_STREAM
    if len(argv) > 8:
        raise wrong_subcommand(argv)
    last_id = (0 if stream is None else stream.last_id) if text == NEWEST else parse_id(text)
    if stream is not None and name in stream.groups:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    report = db.kept_apart
    if stream is None:
        stream = db.make(key, Stream())
        report = db.changed
    stream.groups[name] = Group(name, last_id, entries_read)
    report(key, "xgroup-create", "t")
    return OK


def _group_of(db: Database, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """The group that a subcommand wants to change, with its stream."""
    stream = db.open_kind(key, Stream)
    if stream is None:
        raise NO_STREAM
    if name not in stream.groups:
        raise no_such_group(key, name)
    return stream, stream.groups[name]


@command("xgroup|setid", -5, "write", acl="stream", keys=GROUP_UPDATE)
def xgroup_setid(client: Client, argv: Argv) -> Reply:
    _, _, key, name, text, *_ = argv
    db = client.db
    _, entries_read = _group_options(argv, may_make=False)
    stream, group = _group_of(db, key, name)
    if len(argv) not in (5, 7):
        raise wrong_subcommand(argv)
    group.last_id = stream.last_id if text == NEWEST else parse_any_id(text)
    group.entries_read = entries_read
    db.kept_apart(key, "xgroup-setid", "t")
    return OK


@command("xgroup|destroy", 4, "write", acl="stream", keys=GROUP_DELETE)
def xgroup_destroy(client: Client, argv: Argv) -> Reply:
    _, _, key, name = argv
    db = client.db
    stream = db.open_kind(key, Stream)
    if stream is None:
        raise NO_STREAM
    if stream.groups.pop(name, None) is None:
        return 0
    db.kept_apart(key, "xgroup-destroy", "t")
    if db.keyspace.awaited:
        db.keyspace.appeared(db, key)  # its readers get an error
    return 1


@command("xgroup|createconsumer", 5, "write denyoom", acl="stream", keys=GROUP_INSERT)
def xgroup_createconsumer(client: Client, argv: Argv) -> Reply:
    _, _, key, name, consumer_name = argv
    db = client.db
    _, group = _group_of(db, key, name)
    if consumer_name in group.consumers:
        return 0
    _consumer(db, key, group, consumer_name)
    return 1


@command("xgroup|delconsumer", 5, "write", acl="stream", keys=GROUP_DELETE)
def xgroup_delconsumer(client: Client, argv: Argv) -> Reply:
    _, _, key, name, consumer_name = argv
    db = client.db
    _, group = _group_of(db, key, name)
    if consumer_name not in group.consumers:
        return 0
    pending = group.remove_consumer(consumer_name)
    db.kept_apart(key, "xgroup-delconsumer", "t")
    return pending
