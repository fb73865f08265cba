"""Finding keys: SCAN, KEYS, RANDOMKEY."""

import re
from collections.abc import Callable

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.datatypes.kinds import kind_of
from node.glob import compile_glob
from node.keyspace import scan as walk
from node.keyspace.database import Database
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

CURSOR = re.compile(rb"([+-]?)(\d+)")
CURSOR_MAX = 2**64 - 1
COUNT_USUAL = 10

RANDOM_TIPS = "request_policy:all_shards response_policy:special nondeterministic_output"


def parse_cursor(text: bytes) -> int:
    """A cursor as Redis reads it: by C's strtoul, so that nothing is 0 and -1 the highest number."""
    if not text:
        return 0
    match = CURSOR.fullmatch(text)
    if match is None or len(match[2]) > 20 or int(match[2]) > CURSOR_MAX:
        raise CommandError("ERR invalid cursor")
    number = int(match[2])
    return -number & CURSOR_MAX if match[1] == b"-" else number


class ScanOptions:
    """MATCH, COUNT; for SCAN itself, TYPE; and for HSCAN, NOVALUES."""

    __slots__ = ("count", "fits", "type_name", "values")

    def __init__(self, words: Argv, *more: bytes) -> None:
        self.count = COUNT_USUAL
        self.fits: Callable[[bytes], bool] | None = None
        self.type_name: bytes | None = None
        self.values = True
        at = 0
        while at < len(words):
            name = words[at].upper()
            if name == b"NOVALUES" and name in more:
                self.values = False
                at += 1
                continue
            if at + 1 == len(words):
                raise SYNTAX
            self._read(name, words[at + 1], more)
            at += 2

    def _read(self, name: bytes, value: bytes, more: tuple[bytes, ...]) -> None:
        if name == b"COUNT":
            self.count = integer(value)
            if self.count < 1:
                raise SYNTAX
        elif name == b"MATCH":
            self.fits = None if value == b"*" else compile_glob(value)
        elif name == b"TYPE" and name in more:
            self.type_name = value.lower()
        else:
            raise SYNTAX


@command(
    "scan",
    -2,
    "readonly",
    acl="keyspace",
    tips="nondeterministic_output request_policy:special response_policy:special",
)
def scan(client: Client, argv: Argv) -> Reply:
    cursor = parse_cursor(argv[1])
    options = ScanOptions(argv[2:], b"TYPE")
    cursor, keys = walk.scan(client.db, cursor, options.count)
    return [b"%d" % cursor, _chosen(client.db, keys, options)]


def _chosen(db: Database, keys: list[bytes], options: ScanOptions) -> list[bytes]:
    """Those that are asked for. Whose type is asked for is looked at as by a reader: a hit, or a miss."""
    if options.fits is not None:
        keys = list(filter(options.fits, keys))
    if options.type_name is not None:
        name = options.type_name
        return [key for key in keys if (value := db.inspect(key)) is not None and kind_of(value).name == name]
    if db.deadline_count:
        return [key for key in keys if db.peek(key) is not None]
    return keys


@command(
    "keys",
    2,
    "readonly",
    acl="keyspace dangerous",
    tips="request_policy:all_shards nondeterministic_output_order",
)
def keys(client: Client, argv: Argv) -> Reply:
    return walk.fitting(client.db, argv[1], compile_glob(argv[1]))


@command("randomkey", 1, "readonly", acl="keyspace", tips=RANDOM_TIPS)
def randomkey(client: Client, argv: Argv) -> Reply:
    return walk.draw_alive(client.db, client.host.platform.random)
