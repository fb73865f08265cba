"""The command table: what is known of a command before it runs, and how a function becomes one.

A family module declares each command beside its code:

    @command("get", 2, "readonly fast", acl="string", keys="@1/range:0:1:0/RO+ACCESS")
    def get(client: Client, argv: Argv) -> Reply: ...

- arity counts the name; -N means N or more.
- flags are Redis's words (COMMAND INFO shows them).
- acl names the categories that do not follow from the flags.
- keys are Redis 7's key specifications, `BEGIN/FIND/FLAGS` by spaces: BEGIN is `@index` or `WORD@startfrom`,
  FIND is `range:lastkey:step:limit` or `keynum:keynumidx:firstkey:step`, `?/?` where only `find_keys` knows.
- "config|get" is a subcommand; its container is declared with `container`.

Declaring makes a `Spec`, a constant of the program. A node makes its own table of `Command`s from them, which count
its calls and may be renamed: several nodes live in one process.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from node.latency import record

Run = Callable[[Any, list[bytes]], Any]
RunT = TypeVar("RunT", bound=Run)
RunRow = Callable[[Any, list[list[bytes]]], tuple[int, bytes | bytearray]]
RunRowT = TypeVar("RunRowT", bound=RunRow)
FindKeys = Callable[[list[bytes]], list[int]]

_FLAG_NAMES = (
    "write readonly denyoom module admin pubsub noscript blocking loading stale skip_monitor skip_slowlog asking fast "
    "no_auth may_replicate sentinel only_sentinel no_mandatory_keys protected no_async_loading no_multi movablekeys "
    "allow_busy"
).split()
FLAGS = {name: 1 << bit for bit, name in enumerate(_FLAG_NAMES)}
"""Bit of each flag that Redis shows, in the order in which COMMAND INFO shows them."""

WRITE, READ, DENY_OOM = FLAGS["write"], FLAGS["readonly"], FLAGS["denyoom"]
ADMIN, PUBSUB, NO_SCRIPT, BLOCKING = FLAGS["admin"], FLAGS["pubsub"], FLAGS["noscript"], FLAGS["blocking"]
LOADING, STALE, ASKING, FAST, NO_AUTH = (FLAGS[n] for n in ("loading", "stale", "asking", "fast", "no_auth"))
SKIP_MONITOR, MAY_REPLICATE, PROTECTED = FLAGS["skip_monitor"], FLAGS["may_replicate"], FLAGS["protected"]
SKIP_SLOWLOG = FLAGS["skip_slowlog"]
NO_ASYNC_LOADING, NO_MULTI, ALLOW_BUSY = FLAGS["no_async_loading"], FLAGS["no_multi"], FLAGS["allow_busy"]
MOVABLE_KEYS = FLAGS["movablekeys"]

KEYED = 1 << 30
"""The command names keys. With ANY and CONTAINER, an own bit that COMMAND INFO does not show."""
ANY = 1 << 31
CONTAINER = 1 << 32
"""The command is a head over subcommands: the careful way finds the one that is meant."""
BRIEF = 1 << 33
"""A run takes microseconds and never ends or parks its session, so that the session need not look at the clock after
each: fast commands on data, and those declared "brief"."""
SHARDED = 1 << 34
"""The command's arguments are shard channels, each in the slot of its name: the cluster treats them as keys."""
RIGHTS = 1 << 40
"""On every command, as ANY is: a user that may not do everything has a gate of its own."""
IN_TRANSACTION = 1 << 41
"""On every command, as ANY is: a client that has said MULTI has a gate of its own."""
QUEUEABLE = 1 << 42
"""MULTI keeps the command for EXEC."""
NEVER_QUEUED = frozenset({"exec", "discard", "multi", "watch", "quit", "reset"})
"""What takes effect at once, in a transaction too."""
NEVER_IN_TRANSACTION = frozenset({"migrate"})
"""Commands that Redis lets into a transaction and we do not: MIGRATE waits for another node, and nobody waits there."""
OWN_FLAGS = {"brief": BRIEF, "sharded": SHARDED | KEYED}
"""Words of declarations that stand for no flag of Redis's."""


class KeySpec(NamedTuple):
    """Where a command's keys stand (Redis 7 "key specifications")."""

    flags: tuple[str, ...]
    begin: str  # "index", "keyword", "unknown"
    start: int  # the index, or where the search for the keyword starts (negative: from the end, backwards)
    keyword: bytes
    find: str  # "range", "keynum", "unknown"
    numbers: tuple[int, int, int]  # lastkey, step, limit; or keynumidx, firstkey, step

    def positions(self, argv: list[bytes]) -> list[int] | None:
        """Indices of the keys in `argv`; None if the arguments make no sense."""
        first = self._first(argv)
        if first is None:
            return []
        if self.find == "range":
            return _range_positions(len(argv), first, *self.numbers)
        if self.find == "keynum":
            return _keynum_positions(argv, first, *self.numbers)
        return []

    def _first(self, argv: list[bytes]) -> int | None:
        if self.begin == "index":
            return self.start
        if self.begin == "unknown":
            return None
        step = 1 if self.start > 0 else -1
        at = self.start if self.start > 0 else len(argv) + self.start
        while 0 < at < len(argv):
            if argv[at].upper() == self.keyword:
                return at + 1
            at += step
        return None


def _range_positions(count: int, first: int, last: int, step: int, limit: int) -> list[int] | None:
    if last >= 0:
        stop = first + last
    elif limit <= 1:
        stop = count + last
    else:
        stop = first + (count - first) // limit + last
    if first >= count or stop >= count:
        return None
    return list(range(first, stop + 1, step))


def _keynum_positions(argv: list[bytes], first: int, at: int, first_key: int, step: int) -> list[int] | None:
    if first + at >= len(argv):
        return None
    try:
        count = int(argv[first + at])
    except ValueError:
        return None
    begin = first + first_key
    end = begin + (count - 1) * step
    if count < 0 or end >= len(argv):
        return None
    return list(range(begin, end + 1, step))


def _key_spec(text: str) -> KeySpec:
    begin, find, flags = text.split("/")
    words = tuple(flags.split("+"))
    if find == "?":
        return KeySpec(words, "unknown", 0, b"", "unknown", (0, 0, 0))
    keyword, _, start = begin.partition("@")
    kind, *numbers = find.split(":")
    a, b, c = map(int, numbers)
    return KeySpec(words, "keyword" if keyword else "index", int(start), keyword.encode(), kind, (a, b, c))


class Row(NamedTuple):
    """How calls that come one after the other are run at once: see `Registry.row`."""

    size: int  # of each call, with the name
    run: RunRow  # returns how many were run, and their replies in the wire's form


class Spec(NamedTuple):
    """The declaration of a command."""

    name: str  # lower case; "config|get" for a subcommand
    run: Run
    arity: int
    flags: int
    acl: tuple[str, ...]  # every category, without "@"
    keys: tuple[KeySpec, ...]
    tips: tuple[str, ...]
    find_keys: FindKeys | None  # where the specifications are incomplete
    row: Row | None = None


def _acl_categories(words: str, flags: int) -> tuple[str, ...]:
    names = set(words.split())
    if flags & WRITE:
        names.add("write")
    if flags & READ and "scripting" not in names:
        names.add("read")
    if flags & ADMIN:
        names.update(("admin", "dangerous"))
    for flag, name in ((PUBSUB, "pubsub"), (FAST, "fast"), (BLOCKING, "blocking")):
        if flags & flag:
            names.add(name)
    if not flags & FAST:
        names.add("slow")
    return tuple(name for name in ACL_CATEGORIES if name in names)


ACL_CATEGORIES = (
    "keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking "
    "dangerous connection transaction scripting"
).split()


class Registry:
    """The declarations of one program, filled while its family modules are imported."""

    def __init__(self) -> None:
        self.specs: dict[str, Spec] = {}

    def command(
        self,
        name: str,
        arity: int,
        flags: str = "",
        *,
        acl: str = "",
        keys: str = "",
        tips: str = "",
        find_keys: FindKeys | None = None,
    ) -> Callable[[RunT], RunT]:
        """Declare the decorated function as the command `name`."""

        def register(run: RunT) -> RunT:
            self.add(name, run, arity, flags, acl, keys, tips, find_keys)
            return run

        return register

    def row(self, name: str, size: int) -> Callable[[RunRowT], RunRowT]:
        """Declare how calls of the command `name`, each of `size` words, are run at once, in order.

        It is for what pipelines, transactions and the streams of primaries are full of, and called where nobody listens
        to changes or waits for keys. The function may stop before a call that is not as usual; it returns how many it
        has run, and their replies in the wire's form. Each of those that write is one change, and stands in the journal
        as it came.
        """

        def register(run: RunRowT) -> RunRowT:
            self.specs[name] = self.specs[name]._replace(row=Row(size, run))
            return run

        return register

    def container(
        self, name: str, arity: int = -2, flags: str = "", *, acl: str = "", tips: str = "", run: Run | None = None
    ) -> None:
        """Declare the head of a family of subcommands; `run` is what the bare word does, where it does anything."""
        self.add(name, run or never_run, arity, flags, acl, "", tips, None, CONTAINER)

    def add(
        self,
        name: str,
        run: Run,
        arity: int,
        flags: str,
        acl: str,
        keys: str,
        tips: str,
        find_keys: FindKeys | None,
        own: int = 0,
    ) -> None:
        assert name == name.lower() and name not in self.specs, name
        bits = ANY | RIGHTS | IN_TRANSACTION | own
        for word in flags.split():
            bits |= FLAGS.get(word) or OWN_FLAGS[word]
        if bits & FAST and bits & (READ | WRITE) and not bits & BLOCKING:
            bits |= BRIEF
        if not bits & NO_MULTI and name not in NEVER_QUEUED | NEVER_IN_TRANSACTION:
            bits |= QUEUEABLE
        key_specs = tuple(_key_spec(text) for text in keys.split())
        if key_specs and any("NOT_KEY" not in spec.flags for spec in key_specs):
            bits |= KEYED
        if find_keys is not None or any(spec.begin != "index" or spec.find != "range" for spec in key_specs):
            bits |= MOVABLE_KEYS | (KEYED if key_specs else 0)
        assert not (bits & WRITE and bits & READ), f"{name} reads or writes, not both"
        categories = _acl_categories(acl, bits)
        self.specs[name] = Spec(name, run, arity, bits, categories, key_specs, tuple(tips.split()), find_keys)


def never_run(_client: Any, _argv: list[bytes]) -> Any:
    raise AssertionError("a container has no code of its own: the careful way runs its subcommand")


class Command:
    """A command of one node, with its counts (INFO commandstats): times in nanoseconds."""

    __slots__ = (
        "arity", "calls", "failed", "flags", "full_name", "latencies", "name", "only_key", "rejected", "row", "run",
        "spec", "subcommands", "time_ns",
    )  # fmt: skip

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.full_name = spec.name
        self.name = spec.name.partition("|")[2] or spec.name
        self.run = spec.run
        self.row = spec.row
        self.arity = spec.arity
        self.flags = spec.flags
        self.only_key = _only_key(spec)
        """The index of its key, for a command that has one key at a fixed place; else 0."""
        self.subcommands: dict[bytes, Command] = {}  # by lower-case name
        self.latencies: dict[int, int] | None = {}  # see node.latency; None without `latency-tracking`
        self.reset_counts()

    def reset_counts(self) -> None:
        self.calls = self.time_ns = self.rejected = self.failed = 0
        if self.latencies is not None:
            self.latencies = {}

    def count(self, calls: int, time_ns: int) -> None:
        """It was called `calls` times in a row, which took `time_ns` in all."""
        self.calls += calls
        self.time_ns += time_ns
        if self.latencies is not None:
            record(self.latencies, time_ns // calls, calls)

    def takes(self, count: int) -> bool:
        """Is `count` (with the name) a possible number of arguments?"""
        return count == self.arity if self.arity > 0 else count >= -self.arity

    def settled_flags(self, flags: tuple[str, ...], argv: list[bytes]) -> tuple[str, ...]:
        """The flags of one of its key specifications, where that leaves them to the arguments: SET and BITFIELD do."""
        if "VARIABLE_FLAGS" not in flags:
            return tuple(flag for flag in flags if flag != "INCOMPLETE") if "INCOMPLETE" in flags else flags
        if self.name == "set":
            reads = any(word.lower() == b"get" for word in argv[3:])
            return ("RW", "ACCESS", "UPDATE") if reads else ("OW", "UPDATE")
        return ("RO", "ACCESS") if _only_gets(argv) else ("RW", "ACCESS", "UPDATE")

    def key_positions(self, argv: list[bytes]) -> list[int] | None:
        """Indices of the keys in `argv`; None if the arguments make no sense."""
        if self.spec.find_keys is not None:
            return self.spec.find_keys(argv)
        found: list[int] = []
        for spec in self.spec.keys:
            if "NOT_KEY" in spec.flags:
                continue
            positions = spec.positions(argv)
            if positions is None:
                return None
            found += positions
        return found


def _only_gets(argv: list[bytes]) -> bool:
    """Does a BITFIELD do nothing but `GET encoding offset` (and `OVERFLOW kind`, which changes nothing by itself)?"""
    at = 2
    while at < len(argv):
        at += {b"get": 3, b"overflow": 2}.get(argv[at].lower(), len(argv) + 1)
    return at == len(argv)


def _only_key(spec: Spec) -> int:
    if len(spec.keys) != 1 or spec.find_keys is not None:
        return 0
    (key,) = spec.keys
    fixed = key.begin == "index" and key.find == "range" and key.numbers[0] == 0 and "NOT_KEY" not in key.flags
    return key.start if fixed else 0


class UnknownCommand(Exception):
    """There is no command of that name."""


class NameTaken(Exception):
    """Another command has that name."""


class CommandTable:
    """The commands of one node by name. `by_word` is what the session asks first: both usual spellings."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.specs = tuple(specs)
        self.by_word: dict[bytes, Command] = {}
        self.top: dict[str, Command] = {}
        self._originals: dict[bytes, Command] = {}  # what was renamed, by the names it had
        for spec in sorted(self.specs, key=lambda spec: "|" in spec.name):  # containers before their subcommands
            self._add(Command(spec))

    def _add(self, command: Command) -> None:
        head, _, sub = command.full_name.partition("|")
        if sub:
            self.top[head].subcommands[sub.encode()] = command
            return
        self.top[head] = command
        word = head.encode()
        self.by_word[word] = self.by_word[word.upper()] = command

    def rename(self, name: bytes, new_name: bytes) -> None:
        """`rename-command`: clients find the command under the new name alone, or nowhere if that is empty.

        In access rules, COMMAND and counts it keeps the old one. Raises UnknownCommand, NameTaken.
        """
        command = self.find(name)
        if command is None:
            raise UnknownCommand
        self._originals.setdefault(command.full_name.encode(), command)
        for word in (name.lower(), name.upper()):
            self.by_word.pop(word, None)
        if not new_name:
            del self.top[command.full_name]
            return
        if self.find(new_name) is not None:
            raise NameTaken
        self.by_word[new_name.lower()] = self.by_word[new_name.upper()] = command

    def original(self, word: bytes) -> Command | None:
        """The command that was called `word` before it was renamed: what streams of other nodes call it."""
        return self._originals.get(word.lower())

    def find(self, word: bytes) -> Command | None:
        """The command called `word`, in any spelling."""
        return self.by_word.get(word) or self.by_word.get(word.lower())

    def resolve(self, argv: list[bytes]) -> Command | None:
        """The command or subcommand that `argv` means."""
        command = self.find(argv[0])
        if command is not None and command.subcommands and len(argv) > 1:
            return command.subcommands.get(argv[1].lower())
        return command

    def every(self) -> Iterable[Command]:
        """All commands and subcommands."""
        for command in self.top.values():
            yield command
            yield from command.subcommands.values()
