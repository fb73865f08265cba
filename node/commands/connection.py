"""The connection itself: PING, ECHO, SELECT, and who is at its other end: AUTH, HELLO, RESET, QUIT."""

from node.acl.users import DEFAULT
from node.commands.family import command
from node.datatypes.numbers import parse_int
from node.net.peer import CLOSE_WHEN_SENT
from node.net.resp import OK, PONG, Argv, CommandError, Failure, Reply, Status
from node.net.session import REPLY_ON
from node.server import REDIS_VERSION, Client

WRONG_PASSWORD = Failure(b"WRONGPASS invalid username-password pair or user is disabled.")
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


@command(
    "ping", -1, "fast sentinel brief", acl="connection", tips="request_policy:all_shards response_policy:all_succeeded"
)
def ping(client: Client, argv: Argv) -> Reply:
    if len(argv) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    if client.subscriptions is not None and not client.resp3:  # in the form of a message, which is all it expects
        return [b"pong", argv[1] if len(argv) == 2 else b""]
    return PONG if len(argv) == 1 else argv[1]


@command("echo", 2, "loading stale fast", acl="connection")
def echo(client: Client, argv: Argv) -> Reply:
    return argv[1]


@command("select", 2, "loading stale fast", acl="connection")
def select(client: Client, argv: Argv) -> Reply:
    index = parse_int(argv[1])
    if index is None:
        raise CommandError("ERR value is not an integer or out of range")
    if not INT32_MIN <= index <= INT32_MAX:
        raise CommandError(f"ERR value is out of range, value must between {INT32_MIN} and {INT32_MAX}")
    if client.host.cluster is not None and index != 0:
        raise CommandError("ERR SELECT is not allowed in cluster mode")
    databases = client.host.keyspace.databases
    if not 0 <= index < len(databases):
        raise CommandError("ERR DB index is out of range")
    client.db = databases[index]
    return OK


@command("quit", -1, "allow_busy noscript loading stale fast no_auth", acl="connection")
def quit_(client: Client, argv: Argv) -> Reply:
    client.closing = CLOSE_WHEN_SENT
    return OK


@command("reset", 1, "noscript loading stale fast no_auth allow_busy", acl="connection")
def reset(client: Client, argv: Argv) -> Reply:
    if client.kind in (b"replica", b"master"):
        raise CommandError("ERR can only reset normal connections")
    client.host.monitors.remove(client)
    client.host.tracking.untrack(client)
    client.db = client.host.keyspace.databases[0]
    client.host.pubsub.forget(client)
    client.end_transaction()
    client.set_asking(False)
    client.resp3 = client.readonly = client.no_evict = False
    client.name = b""
    client.set_no_touch(False)
    client.set_reply_mode(REPLY_ON)
    client.host.access.welcome(client)
    return Status(b"RESET")


# --- who is there -----------------------------------------------------------------------------------------------------


@command("auth", -2, "noscript loading stale fast no_auth sentinel allow_busy", acl="connection")
def auth(client: Client, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise CommandError("ERR syntax error")
    access = client.host.access
    if len(argv) == 2 and access.users.default.nopass:
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    user = argv[1] if len(argv) == 3 else DEFAULT
    return OK if access.log_in(client, user, argv[-1], argv) else WRONG_PASSWORD


def valid_name(text: bytes) -> bool:
    """May a client be called that? Nothing but visible ASCII, since names stand in the lines of CLIENT LIST."""
    return all(0x21 <= byte <= 0x7E for byte in text)


BAD_NAME = CommandError("ERR Client names cannot contain spaces, newlines or special characters.")


@command("hello", -1, "noscript loading stale fast no_auth sentinel allow_busy", acl="connection")
def hello(client: Client, argv: Argv) -> Reply:
    version = _protocol(argv[1]) if len(argv) > 1 else 0
    credentials, name = _hello_options(argv)
    if credentials is not None and not client.host.access.log_in(client, *credentials, argv):
        return WRONG_PASSWORD
    if not client.authenticated:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
            "same time"
        )
    if name is not None:
        client.name = name
    if version:
        client.resp3 = version == 3
    return _greeting(client)


def _protocol(word: bytes) -> int:
    version = parse_int(word)
    if version is None:
        raise CommandError("ERR Protocol version is not an integer or out of range")
    if version not in (2, 3):
        raise CommandError("NOPROTO unsupported protocol version")
    return version


def _hello_options(argv: Argv) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    """(user, password) of AUTH and the name of SETNAME, where they are given."""
    credentials, name = None, None
    at = 2
    while at < len(argv):
        option, left = argv[at].lower(), len(argv) - at - 1
        if option == b"auth" and left >= 2:
            credentials = argv[at + 1], argv[at + 2]
            at += 3
        elif option == b"setname" and left:
            name = argv[at + 1]
            if not valid_name(name):
                raise BAD_NAME
            at += 2
        else:
            raise CommandError(b"ERR Syntax error in HELLO option '%b'" % argv[at])
    return credentials, name


def _greeting(client: Client) -> dict[bytes, Reply]:
    host = client.host
    role: dict[bytes, Reply] = {b"role": b"replica" if host.log.role() == "S" else b"master"}
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION.encode(),
        b"proto": 3 if client.resp3 else 2,
        b"id": client.id,
        b"mode": host.mode.encode(),
        **({} if host.sentinel is not None else role),
        b"modules": [],
    }
