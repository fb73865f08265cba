"""ACL: users and their rights, seen and changed, and what they were refused."""

from node.access import denial_text
from node.acl.file import FileRefused
from node.acl.log import Entry
from node.acl.rules import Permissions
from node.acl.users import DEFAULT, RefusedRule, UnmatchedParenthesis, User, is_valid_name
from node.commands.arguments import integer
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.dispatch import SHOWN_BYTES_MAX
from node.net.resp import OK, Argv, CommandError, Members, Reply, Status
from node.server import Client
from node.table import ACL_CATEGORIES

FOR_ALL = "noscript loading stale sentinel"
FOR_ADMINS = "admin " + FOR_ALL
ALL_NODES = "request_policy:all_nodes response_policy:all_succeeded"

LOG_LENGTH = 10
"""How many entries ACL LOG shows unless it is told."""
PASSWORD_BITS, PASSWORD_BITS_MAX = 256, 4096

NO_FILE = CommandError(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store "
    "users in the Redis configuration."
)

container("acl", -2, "sentinel")


@command("acl|help", 2, "loading stale sentinel")
def help_(client: Client, argv: Argv) -> Reply:
    known = {name.decode() for name in client.host.commands.top["acl"].subcommands}
    return [Status(line.encode()) for line in help_lines("acl", describe("acl", known))]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _misused(argv: Argv) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try ACL HELP." % argv[1][:SHOWN_BYTES_MAX]
    )


# --- users ------------------------------------------------------------------------------------------------------------


@command("acl|whoami", 2, FOR_ALL)
def whoami(client: Client, argv: Argv) -> Reply:
    return client.user


@command("acl|users", 2, FOR_ADMINS)
def users(client: Client, argv: Argv) -> Reply:
    return [user.name for user in client.host.access.users.sorted()]


@command("acl|list", 2, FOR_ADMINS)
def list_(client: Client, argv: Argv) -> Reply:
    return [user.line() for user in client.host.access.users.sorted()]


@command("acl|setuser", -3, FOR_ADMINS, tips=ALL_NODES)
def setuser(client: Client, argv: Argv) -> Reply:
    """ACL SETUSER name rule ...: all of the rules take effect, or none."""
    _, _, name, *rules = argv
    if not is_valid_name(name):
        raise CommandError("ERR Usernames can't contain spaces or null characters")
    try:
        client.host.access.set_user(name, rules, client)
    except UnmatchedParenthesis as error:
        raise CommandError(b"ERR Unmatched parenthesis in acl selector starting at '%b'." % error.start) from None
    except RefusedRule as error:
        reason = error.error.reason.encode()
        raise CommandError(b"ERR Error in ACL SETUSER modifier '%b': %b" % (error.rule, reason)) from None
    return OK


@command("acl|deluser", -3, FOR_ADMINS, tips=ALL_NODES)
def deluser(client: Client, argv: Argv) -> Reply:
    names = argv[2:]
    if DEFAULT in names:
        raise CommandError("ERR The 'default' user cannot be removed")
    return client.host.access.delete_users(names, client)


@command("acl|getuser", 3, FOR_ADMINS)
def getuser(client: Client, argv: Argv) -> Reply:
    user = client.host.access.users.get(argv[2])
    if user is None:
        return None
    own, *others = user.selectors
    return {
        b"flags": Members(user.flags()),
        b"passwords": list(user.passwords),
        **_permissions(own),
        b"selectors": [_permissions(other) for other in others],
    }


def _permissions(selector: Permissions) -> dict[bytes, Reply]:
    return {
        b"commands": selector.command_rules(),
        b"keys": selector.key_rules(),
        b"channels": selector.channel_rules(),
    }


@command("acl|dryrun", -4, FOR_ADMINS)
def dryrun(client: Client, argv: Argv) -> Reply:
    """ACL DRYRUN name command ...: would the user be allowed to?"""
    _, _, name, *words = argv
    user = _user(client, name)
    found = client.host.commands.resolve(words)
    if found is None:
        raise CommandError(b"ERR Command '%b' not found" % words[0])
    if not found.takes(len(words)):
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % found.full_name.encode())
    denial = user.denial(found, words)
    return OK if denial is None else denial_text(user.name, denial, found, words, names_it=True)


def _user(client: Client, name: bytes) -> User:
    user = client.host.access.users.get(name)
    if user is None:
        raise CommandError(b"ERR User '%b' not found" % name)
    return user


# --- rules and passwords ----------------------------------------------------------------------------------------------


@command("acl|cat", -2, FOR_ALL)
def cat(client: Client, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise _misused(argv)
    if len(argv) == 2:
        return [name.encode() for name in ACL_CATEGORIES]
    listed = client.host.access.users.catalog.listed(argv[2].lower().decode("latin-1"))
    if listed is None:
        raise CommandError(b"ERR Unknown category '%b'" % argv[2])
    return [name.encode() for name in listed]


@command("acl|genpass", -2, FOR_ALL)
def genpass(client: Client, argv: Argv) -> Reply:
    """ACL GENPASS [bits]: a password that nobody can guess, four bits a digit."""
    if len(argv) > 3:
        raise _misused(argv)
    bits = integer(argv[2]) if len(argv) == 3 else PASSWORD_BITS
    if not 0 < bits <= PASSWORD_BITS_MAX:
        raise CommandError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, "
            f"a positive number up to {PASSWORD_BITS_MAX}"
        )
    return client.host.platform.random_hex(-(-bits // 4)).encode()


# --- the file ---------------------------------------------------------------------------------------------------------


@command("acl|load", 2, FOR_ADMINS)
def load(client: Client, argv: Argv) -> Reply:
    if not client.host.config["aclfile"]:
        raise NO_FILE
    try:
        client.host.access.load_file(client)
    except FileRefused as error:
        raise CommandError(_bytes(f"ERR {error}")) from None
    return OK


@command("acl|save", 2, FOR_ADMINS, tips=ALL_NODES)
def save(client: Client, argv: Argv) -> Reply:
    server = client.host
    if not server.config["aclfile"]:
        raise NO_FILE
    try:
        server.access.save_file()
    except OSError as error:
        server.log.warning(f"Saving the ACL file '{server.config['aclfile']}' failed: {error.strerror}")
        raise CommandError(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        ) from None
    return OK


# --- what was refused -------------------------------------------------------------------------------------------------


@command("acl|log", -2, FOR_ADMINS)
def log(client: Client, argv: Argv) -> Reply:
    """ACL LOG [count | RESET]"""
    if len(argv) > 3:
        raise _misused(argv)
    denials = client.host.access.log
    if len(argv) == 3 and argv[2].lower() == b"reset":
        denials.clear()
        return OK
    count = max(0, integer(argv[2])) if len(argv) == 3 else LOG_LENGTH
    now_ms = client.host.keyspace.now_ms
    return [_described(entry, now_ms) for entry in denials.entries[:count]]


def _described(entry: Entry, now_ms: int) -> Reply:
    what = entry.what
    return {
        b"count": entry.count,
        b"reason": what.reason.encode(),
        b"context": what.context.encode(),
        b"object": what.target,
        b"username": what.username,
        b"age-seconds": (now_ms - entry.updated_ms) / 1000,
        b"client-info": entry.client_info,
        b"entry-id": entry.number,
        b"timestamp-created": entry.created_ms,
        b"timestamp-last-updated": entry.updated_ms,
    }
