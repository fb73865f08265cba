"""MIGRATE: move keys to another node. The move itself is told in `node.migration`."""

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.datatypes.numbers import parse_int
from node.migration import Order
from node.net.resp import Argv, CommandError, Reply, Status
from node.server import Client

KEY_AT, DB_AT, TIMEOUT_AT, OPTIONS_AT = 3, 4, 5, 6
TIMEOUT_DEFAULT_MS = 1000
"""Where the client gives none, or one that is no time."""
NO_KEY = Status(b"NOKEY")
KEY_AND_KEYS = CommandError("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")


class _Options:
    __slots__ = ("auth", "copy", "keys_at", "replace")

    def __init__(self, argv: Argv) -> None:
        self.copy = self.replace = False
        self.auth: Argv = []
        self.keys_at = 0  # of KEYS' first key; 0 without KEYS
        at = OPTIONS_AT
        while at < len(argv):
            word = argv[at].upper()
            left = len(argv) - 1 - at
            if word == b"COPY":
                self.copy = True
            elif word == b"REPLACE":
                self.replace = True
            elif word == b"AUTH" and left >= 1:
                self.auth = [b"AUTH", argv[at + 1]]
                at += 1
            elif word == b"AUTH2" and left >= 2:
                self.auth = [b"AUTH", argv[at + 1], argv[at + 2]]
                at += 2
            elif word == b"KEYS":
                if argv[KEY_AT]:
                    raise KEY_AND_KEYS
                self.keys_at = at + 1
                return
            else:
                raise SYNTAX
            at += 1


def key_positions(argv: Argv) -> list[int]:
    """Where MIGRATE's keys stand. Its options are read, since a password may be the word KEYS."""
    try:
        keys_at = _Options(argv).keys_at
    except CommandError as error:
        error.forget()
        return [KEY_AT]
    return list(range(keys_at, len(argv))) if keys_at else [KEY_AT]


@command(
    "migrate",
    -6,
    "write",
    acl="keyspace dangerous",
    keys="@3/range:0:1:0/RW+ACCESS+DELETE KEYS@-2/range:-1:1:0/RW+ACCESS+DELETE+INCOMPLETE",
    tips="nondeterministic_output",
    find_keys=key_positions,
)
def migrate(client: Client, argv: Argv) -> Reply:
    """MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key...]."""
    options = _Options(argv)
    timeout_ms = integer(argv[TIMEOUT_AT])
    db = integer(argv[DB_AT])
    named = argv[options.keys_at :] if options.keys_at else [argv[KEY_AT]]
    keys = [key for key in named if client.db.read(key) is not None]
    if not keys:
        return NO_KEY
    host, port = argv[1].decode("utf-8", "surrogateescape"), parse_int(argv[2]) or 0
    if client.host.cluster is not None:
        host, port = client.host.cluster.address_behind(client, host, port)
    order = Order(
        host,
        port,
        db,
        timeout_ms if timeout_ms > 0 else TIMEOUT_DEFAULT_MS,
        options.copy,
        options.replace,
        options.auth,
        keys,
    )
    return client.host.migration.start(client, order)
