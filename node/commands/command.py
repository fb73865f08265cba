"""COMMAND: what a client can ask about the commands themselves."""

from collections.abc import Iterable

from node.commands import docs
from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.glob import compile_glob
from node.net.resp import Argv, CommandError, Members, Reply, Status
from node.server import Client
from node.table import FLAGS, Command, KeySpec

USUAL = "loading stale sentinel"
SYNTAX = CommandError("ERR syntax error")

HIDDEN = FLAGS["may_replicate"] | FLAGS["sentinel"] | FLAGS["only_sentinel"]
"""Flags that Redis keeps to itself."""
KEY_FLAGS = "RO RW OW RM access update insert delete not_key incomplete variable_flags".split()
"""What a key specification says of its keys, in Redis's spelling and order."""


def every(client: Client, argv: Argv) -> Reply:
    """COMMAND without a word after it."""
    return [_description(one) for one in client.host.commands.top.values()]


container("command", -1, USUAL, acl="connection", tips="nondeterministic_output_order", run=every)


@command("command|help", 2, USUAL, acl="connection")
def help_(client: Client, argv: Argv) -> Reply:
    known = {name.decode() for name in client.host.commands.top["command"].subcommands}
    return [Status(line.encode()) for line in help_lines("command", describe("command", known))]


@command("command|count", 2, USUAL, acl="connection")
def count(client: Client, argv: Argv) -> Reply:
    return len(client.host.commands.top)


def _find(client: Client, word: bytes) -> Command | None:
    """The command called `word`; "config|get" is a subcommand."""
    head, bar, sub = word.lower().partition(b"|")
    found = client.host.commands.find(head)
    return found.subcommands.get(sub) if bar and found is not None else found


# --- LIST -------------------------------------------------------------------------------------------------------------


@command("command|list", -2, USUAL, acl="connection", tips="nondeterministic_output_order")
def list_(client: Client, argv: Argv) -> Reply:
    names = _filtered(client.host.commands.every(), argv)
    return [name.encode() for name in names]


def _filtered(commands: Iterable[Command], argv: Argv) -> Iterable[str]:
    if len(argv) == 2:
        return (one.full_name for one in commands)
    if len(argv) != 5 or argv[2].lower() != b"filterby":
        raise SYNTAX
    kind, value = argv[3].lower(), argv[4]
    if kind == b"aclcat":
        category = value.decode("latin-1").lower()
        return (one.full_name for one in commands if category in one.spec.acl)
    if kind == b"pattern":
        matches = compile_glob(value, True)
        return (one.full_name for one in commands if matches(one.full_name.encode()))
    if kind == b"module":  # there are none
        return ()
    raise SYNTAX


# --- INFO -------------------------------------------------------------------------------------------------------------


@command("command|info", -2, USUAL, acl="connection", tips="nondeterministic_output_order")
def info(client: Client, argv: Argv) -> Reply:
    if len(argv) == 2:
        return every(client, argv)
    found = [_find(client, word) for word in argv[2:]]
    return [None if one is None else _description(one) for one in found]


def _description(one: Command) -> Reply:
    first, last, step = key_range(one.spec.keys)
    return [
        one.full_name.encode(),
        one.arity,
        Members(Status(name.encode()) for name, bit in FLAGS.items() if one.flags & bit & ~HIDDEN),
        first,
        last,
        step,
        Members(Status(b"@" + name.encode()) for name in one.spec.acl),
        Members(tip.encode() for tip in one.spec.tips),
        Members(_key_spec(spec) for spec in one.spec.keys),
        [_description(inner) for inner in one.subcommands.values()] or Members(),
    ]


def key_range(specs: tuple[KeySpec, ...]) -> tuple[int, int, int]:
    """First key, last key (negative: from the end) and step, as clients older than Redis 7 understand them.

    Zeros where there are no keys that can be told so: of several specifications, those that adjoin count.
    """
    if len(specs) == 1 and specs[0].begin == "index" and specs[0].find == "range":
        [spec] = specs
        last, step, _ = spec.numbers
        return spec.start, last + spec.start if last >= 0 else last, step
    first, end = 0, 0
    for spec in specs:
        last, step, _ = spec.numbers
        plain = spec.begin == "index" and spec.find == "range" and step == 1
        if not plain or (end and end != spec.start - 1):
            continue
        first = min(first, spec.start) if first else spec.start
        last = last + spec.start if last >= 0 else last
        end = last if last < 0 or end < 0 else max(end, last)
    return (first, end, 1) if first else (0, 0, 0)


def _key_flags(names: Iterable[str]) -> Members:
    wanted = {name.lower() for name in names}
    return Members(Status(name.encode()) for name in KEY_FLAGS if name.lower() in wanted)


def _key_spec(spec: KeySpec) -> dict[bytes, Reply]:
    begin: dict[bytes, Reply] = {}
    find: dict[bytes, Reply] = {}
    if spec.begin == "index":
        begin = {b"index": spec.start}
    elif spec.begin == "keyword":
        begin = {b"keyword": spec.keyword, b"startfrom": spec.start}
    if spec.find == "range":
        find = dict(zip((b"lastkey", b"keystep", b"limit"), spec.numbers, strict=True))
    elif spec.find == "keynum":
        find = dict(zip((b"keynumidx", b"firstkey", b"keystep"), spec.numbers, strict=True))
    return {
        b"flags": _key_flags(spec.flags),
        b"begin_search": {b"type": spec.begin.encode(), b"spec": begin},
        b"find_keys": {b"type": spec.find.encode(), b"spec": find},
    }


# --- DOCS -------------------------------------------------------------------------------------------------------------


@command("command|docs", -2, USUAL, acl="connection", tips="nondeterministic_output_order")
def docs_(client: Client, argv: Argv) -> Reply:
    available = [one.full_name for one in client.host.commands.every()]
    found = [_find(client, word) for word in argv[2:]]
    asked = [one.full_name for one in found if one is not None] if found else None
    return _as_reply(docs.docs_reply(available, asked))


def _as_reply(value: docs.Reply) -> Reply:
    """The replies of `docs` in the session's types: simple strings are `str` there, sets are tuples."""
    if isinstance(value, str):
        return Status(value.encode())
    if isinstance(value, tuple):
        return Members(map(_as_reply, value))
    if isinstance(value, list):
        return [_as_reply(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_reply(item) for name, item in value.items()}
    return value


# --- GETKEYS ----------------------------------------------------------------------------------------------------------


@command("command|getkeys", -3, USUAL, acl="connection")
def getkeys(client: Client, argv: Argv) -> Reply:
    _, positions = _keys_of(client, argv[2:])
    return [argv[2 + at] for at in positions]


@command("command|getkeysandflags", -3, USUAL, acl="connection")
def getkeysandflags(client: Client, argv: Argv) -> Reply:
    found, positions = _keys_of(client, argv[2:])
    flags = _flags_by_position(found, argv[2:])
    return [[argv[2 + at], flags.get(at, Members())] for at in positions]


def _keys_of(client: Client, argv: Argv) -> tuple[Command, list[int]]:
    found = client.host.commands.resolve(argv)
    if found is None:
        raise CommandError("ERR Invalid command specified")
    if found.spec.find_keys is None and all("NOT_KEY" in spec.flags for spec in found.spec.keys):
        raise CommandError("ERR The command has no key arguments")
    if not found.takes(len(argv)):
        raise CommandError("ERR Invalid number of arguments specified for command")
    counted = [spec for spec in found.spec.keys if spec.find == "keynum"]
    positions = found.key_positions(argv) if all(spec.positions(argv) for spec in counted) else []  # as Redis: or none
    if not positions and not found.flags & FLAGS["no_mandatory_keys"]:
        raise CommandError("ERR Invalid arguments specified for command")
    return found, positions or []


def _flags_by_position(found: Command, argv: Argv) -> dict[int, Members]:
    """What the command does to each key; the specification of unknown ones speaks for those only `find_keys` finds."""
    flags: dict[int, Members] = {}
    unknown = Members()
    for spec in found.spec.keys:
        names = found.settled_flags(spec.flags, argv)
        if spec.begin == "unknown":
            unknown = _key_flags(names)
        for at in spec.positions(argv) or ():
            flags.setdefault(at, _key_flags(names))
    for at in found.key_positions(argv) or ():
        flags.setdefault(at, unknown)
    return flags
