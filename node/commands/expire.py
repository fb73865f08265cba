"""Deadlines of keys: setting, asking, dropping them."""

from collections.abc import Callable

from node.commands.arguments import any_deadline_ms
from node.commands.family import command
from node.commands.strings import expire_key
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

CONDITIONS = frozenset((b"NX", b"XX", b"GT", b"LT"))


def _conditions(words: Argv) -> set[bytes]:
    found = set()
    for word in words:
        condition = word.upper()
        if condition not in CONDITIONS:
            raise CommandError(b"ERR Unsupported option " + word)
        found.add(condition)
    if b"NX" in found and len(found) > 1:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in found and b"LT" in found:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return found


def _hold(conditions: set[bytes], deadline: int, current: int | None) -> bool:
    """Do all conditions hold? A key without a deadline counts as one that expires after all others."""
    if current is None:
        return b"XX" not in conditions and b"GT" not in conditions
    return not (
        b"NX" in conditions
        or (b"GT" in conditions and deadline <= current)
        or (b"LT" in conditions and deadline >= current)
    )


def _expire(client: Client, argv: Argv, name: str, unit_ms: int, absolute: bool) -> Reply:
    conditions = _conditions(argv[3:])
    key, db = argv[1], client.db
    deadline = any_deadline_ms(argv[2], unit_ms, 0 if absolute else db.keyspace.now_ms, name)
    if db.peek(key) is None:
        return 0
    db.touch(key)
    if conditions and not _hold(conditions, deadline, db.deadline(key)):
        return 0
    expire_key(client, key, deadline, (b"PEXPIREAT", key, b"%d" % deadline, *argv[3:]))
    return 1


def _declare(name: str, unit_ms: int, absolute: bool) -> None:
    def run(client: Client, argv: Argv) -> Reply:
        return _expire(client, argv, name, unit_ms, absolute)

    command(name, -3, "write fast", acl="keyspace", keys="@1/range:0:1:0/RW+UPDATE")(run)


for _name, _unit_ms, _absolute in (
    ("expire", 1000, False),
    ("pexpire", 1, False),
    ("expireat", 1000, True),
    ("pexpireat", 1, True),
):
    _declare(_name, _unit_ms, _absolute)


@command("persist", 2, "write fast", acl="keyspace", keys="@1/range:0:1:0/RW+UPDATE")
def persist(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    if db.peek(key) is None:
        return 0
    db.touch(key)
    if not db.persist(key):
        return 0
    db.changed(key, "persist", "g")
    return 1


# --- asking -----------------------------------------------------------------------------------------------------------

NO_KEY, NO_DEADLINE = -2, -1


def _ask(client: Client, key: bytes, figure: Callable[[int, int], int]) -> Reply:
    db = client.db
    if db.inspect(key) is None:
        return NO_KEY
    deadline = db.deadline(key)
    return NO_DEADLINE if deadline is None else figure(deadline, db.keyspace.now_ms)


def _rounded_seconds(time_ms: int) -> int:
    return (time_ms + 500) // 1000


ASKED = "@1/range:0:1:0/RO+ACCESS"


@command("ttl", 2, "readonly fast", acl="keyspace", keys=ASKED, tips="nondeterministic_output")
def ttl(client: Client, argv: Argv) -> Reply:
    return _ask(client, argv[1], lambda deadline, now: _rounded_seconds(max(0, deadline - now)))


@command("pttl", 2, "readonly fast", acl="keyspace", keys=ASKED, tips="nondeterministic_output")
def pttl(client: Client, argv: Argv) -> Reply:
    return _ask(client, argv[1], lambda deadline, now: max(0, deadline - now))


@command("expiretime", 2, "readonly fast", acl="keyspace", keys=ASKED)
def expiretime(client: Client, argv: Argv) -> Reply:
    return _ask(client, argv[1], lambda deadline, _now: _rounded_seconds(deadline))


@command("pexpiretime", 2, "readonly fast", acl="keyspace", keys=ASKED)
def pexpiretime(client: Client, argv: Argv) -> Reply:
    return _ask(client, argv[1], lambda deadline, _now: deadline)
