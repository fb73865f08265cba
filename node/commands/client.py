"""CLIENT: what a client may know and decide of itself and of the others."""

from collections.abc import Callable, Iterable

from node.acl.users import Users
from node.clients import Clients
from node.commands.connection import BAD_NAME, valid_name
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.datatypes.numbers import parse_int
from node.net.peer import CLOSE_WHEN_SENT
from node.net.resp import NO_REPLY, OK, Argv, CommandError, Failure, Reply, Status, Verbatim
from node.net.session import REPLY_OFF, REPLY_ON, REPLY_SKIP_NEXT
from node.server import Client

SYNTAX = CommandError("ERR syntax error")
KINDS = {b"normal": b"normal", b"slave": b"replica", b"replica": b"replica", b"pubsub": b"pubsub", b"master": b"master"}
USUAL = "noscript loading stale sentinel"

container("client", -2, "sentinel")


@command("client|help", 2, "loading stale sentinel", acl="connection")
def help_(client: Client, argv: Argv) -> Reply:
    known = {name.decode() for name in client.host.commands.top["client"].subcommands}
    return [Status(line.encode()) for line in help_lines("client", describe("client", known))]


# --- of itself --------------------------------------------------------------------------------------------------------


@command("client|id", 2, USUAL, acl="connection")
def id_(client: Client, argv: Argv) -> Reply:
    return client.id


@command("client|info", 2, USUAL, acl="connection", tips="nondeterministic_output")
def info(client: Client, argv: Argv) -> Reply:
    return Verbatim(client.host.clients.describe(client, argv) + b"\n")


@command("client|getname", 2, USUAL, acl="connection")
def getname(client: Client, argv: Argv) -> Reply:
    return client.name or None


@command("client|setname", 3, USUAL, acl="connection", tips="request_policy:all_nodes response_policy:all_succeeded")
def setname(client: Client, argv: Argv) -> Reply:
    if not valid_name(argv[2]):
        raise BAD_NAME
    client.name = argv[2]
    return OK


@command("client|setinfo", 4, USUAL, acl="connection", tips="request_policy:all_nodes response_policy:all_succeeded")
def setinfo(client: Client, argv: Argv) -> Reply:
    _, _, option, value = argv
    name = option.lower()
    if name not in (b"lib-name", b"lib-ver"):
        raise CommandError(b"ERR Unrecognized option '%b'" % option)
    if not valid_name(value):
        raise CommandError(b"ERR %b cannot contain spaces, newlines or special characters." % option)
    if name == b"lib-name":
        client.lib_name = value
    else:
        client.lib_ver = value
    return OK


@command("client|reply", 3, USUAL, acl="connection")
def reply(client: Client, argv: Argv) -> Reply:
    mode = argv[2].lower()
    if mode == b"on":
        client.set_reply_mode(REPLY_ON)
        return OK
    if mode == b"off":
        client.set_reply_mode(REPLY_OFF)
    elif mode != b"skip":
        raise SYNTAX
    elif client.reply_mode != REPLY_OFF:
        client.set_reply_mode(REPLY_SKIP_NEXT)
    return NO_REPLY


@command("client|no-evict", 3, "admin " + USUAL, acl="connection")
def no_evict(client: Client, argv: Argv) -> Reply:
    client.no_evict = _is_on(argv[2])
    return OK


@command("client|no-touch", 3, "noscript loading stale", acl="connection")
def no_touch(client: Client, argv: Argv) -> Reply:
    client.set_no_touch(_is_on(argv[2]))
    return OK


def _is_on(word: bytes) -> bool:
    mode = word.lower()
    if mode not in (b"on", b"off"):
        raise SYNTAX
    return mode == b"on"


# --- of the others ----------------------------------------------------------------------------------------------------


@command("client|list", -2, "admin " + USUAL, acl="connection", tips="nondeterministic_output")
def list_(client: Client, argv: Argv) -> Reply:
    clients = client.host.clients
    shown = _listed(clients, argv)
    lines = (clients.describe(one, argv if one is client else None) for one in shown)
    return Verbatim(b"".join(line + b"\n" for line in lines))


def _listed(clients: Clients, argv: Argv) -> Iterable[Client]:
    option = argv[2].lower() if len(argv) > 2 else b""
    if len(argv) == 2:
        return clients.present()
    if option == b"type" and len(argv) == 4:
        kind = _kind(argv[3])
        return (one for one in clients.present() if one.kind == kind)
    if option == b"id" and len(argv) > 3:
        numbers = [parse_int(word) for word in argv[3:]]
        if None in numbers:
            raise CommandError("ERR Invalid client ID")
        present = {one.id: one for one in clients.present()}
        return [present[number] for number in numbers if number in present]
    raise SYNTAX


def _kind(word: bytes) -> bytes:
    kind = KINDS.get(word.lower())
    if kind is None:
        raise CommandError(b"ERR Unknown client type '%b'" % word)
    return kind


@command("client|kill", -3, "admin " + USUAL, acl="connection")
def kill(client: Client, argv: Argv) -> Reply:
    """CLIENT KILL addr, or CLIENT KILL filter value [filter value ...]."""
    plain = len(argv) == 3
    if plain:
        address = argv[2].decode("latin-1")
        tests: list[Callable[[Client], bool]] = [lambda one: one.addr == address]
        spare_me = False
    else:
        tests, spare_me = _filters(argv, client.host.access.users)
    me = not spare_me and all(test(client) for test in tests)
    killed = me + client.host.clients.kill(lambda one: one is not client and all(test(one) for test in tests))
    if me:
        client.closing = CLOSE_WHEN_SENT  # but for this reply
    if not plain:
        return killed
    return OK if killed else Failure(b"ERR No such client")


def _filters(argv: Argv, users: Users) -> tuple[list[Callable[[Client], bool]], bool]:
    """What a client must be to be meant, and whether the one that asks is spared. The last of a kind counts."""
    chosen: dict[bytes, Callable[[Client], bool]] = {}
    spare_me = True
    for at in range(2, len(argv), 2):
        if at + 1 >= len(argv):
            raise SYNTAX
        option, value = argv[at].lower(), argv[at + 1]
        if option == b"skipme":
            if value.lower() not in (b"yes", b"no"):
                raise SYNTAX
            spare_me = value.lower() == b"yes"
        else:
            chosen[option] = _filter(option, value, users)
    return list(chosen.values()), spare_me


def _filter(option: bytes, value: bytes, users: Users) -> Callable[[Client], bool]:
    text = value.decode("latin-1")
    if option == b"id":
        number = parse_int(value)
        if number is None or number < 1:
            raise CommandError("ERR client-id should be greater than 0")
        return lambda one: one.id == number
    if option == b"type":
        kind = _kind(value)
        return lambda one: one.kind == kind
    if option == b"addr":
        return lambda one: one.addr == text
    if option == b"laddr":
        return lambda one: one.laddr == text
    if option == b"user":
        if users.get(value) is None:
            raise CommandError(b"ERR No such user '%b'" % value)
        return lambda one: one.user == value
    raise SYNTAX


@command("client|pause", -3, "admin " + USUAL, acl="connection")
def pause(client: Client, argv: Argv) -> Reply:
    if len(argv) > 4:
        raise _misused(argv)
    mode = argv[3].lower() if len(argv) == 4 else b"all"
    if mode not in (b"write", b"all"):
        raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    timeout_ms = parse_int(argv[2])
    if timeout_ms is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise CommandError("ERR timeout is negative")
    client.host.clients.pause("client", mode == b"write", timeout_ms)
    return OK


@command("client|unpause", 2, "admin " + USUAL, acl="connection")
def unpause(client: Client, argv: Argv) -> Reply:
    client.host.clients.unpause("client")
    return OK


@command("client|unblock", -3, "admin " + USUAL, acl="connection")
def unblock(client: Client, argv: Argv) -> Reply:
    if len(argv) > 4:
        raise _misused(argv)
    reason = argv[3].lower() if len(argv) == 4 else b"timeout"
    if reason not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    number = parse_int(argv[2])
    if number is None:
        raise CommandError("ERR value is not an integer or out of range")
    other = client.host.sessions.get(number)
    if other is None or other.parked is None or other.parked.postponed:
        return 0
    if reason == b"error":
        other.unblock(Failure(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    else:
        other.time_is_over()
    return 1


def _misused(argv: Argv) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try CLIENT HELP." % argv[1][:128]
    )
