"""A set of permissions, built by rules one after another: which commands, keys and channels.

Every user has one, and perhaps more (its selectors). What it allows is the effect of the rules in their order; what is
printed of commands is the rules themselves, but for those that a later rule for the same command or category has
replaced: so does Redis since 7.2.

The rules are Redis's: `+cmd -cmd +cmd|sub -cmd|sub +cmd|arg +@category -@category allcommands nocommands`,
`~pattern %R~pattern %W~pattern %RW~pattern allkeys resetkeys`, `&pattern allchannels resetchannels`.
"""

from collections.abc import Callable

from node.acl.catalog import Catalog
from node.glob import Predicate, compile_glob
from node.net.resp import Argv
from node.table import NO_AUTH, Command

READ, WRITE = 1, 2
"""What a key pattern permits to do with keys."""
ALL = READ | WRITE

SYNTAX = "Syntax error"
UNKNOWN = "Unknown command or category name in ACL"
ARGUMENT_OF_SUBCOMMAND = "Allowing first-arg of a subcommand is not supported"
AFTER_ALL_KEYS = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. "
    "Try 'resetkeys' to start with an empty list of patterns"
)
AFTER_ALL_CHANNELS = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. "
    "Try 'resetchannels' to start with an empty list of channels"
)

SPACES = frozenset(b" \t\n\v\f\r\0")


class RuleError(Exception):
    """A rule was refused; `reason` says why, in Redis's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownName(RuleError):
    """A rule names a command or category that there is not."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN)


def has_spaces(text: bytes) -> bool:
    """Would the text fall apart where words are separated by white space? NUL counts as such."""
    return not SPACES.isdisjoint(text)


class Permissions:
    """Commands, keys and channels that are allowed; at first nothing, or all channels."""

    __slots__ = (
        "_arguments",
        "_catalog",
        "_channels",
        "_commands",
        "_keys",
        "_rules",
        "all_channels",
        "all_commands",
        "all_keys",
        "has_new_commands",
    )

    def __init__(self, catalog: Catalog, *, all_channels: bool) -> None:
        self._catalog = catalog
        self._commands: frozenset[str] = frozenset()
        self._arguments: dict[str, tuple[bytes, ...]] = {}  # first arguments with which a command is allowed after all
        self._rules: tuple[bytes, ...] = ()  # of commands, since the last for all of them
        self._keys: dict[bytes, tuple[int, Predicate]] = {}
        self._channels: dict[bytes, Predicate] = {}
        self.all_commands = False  # no rule has taken one away
        self.has_new_commands = False  # commands nobody knows of yet would be allowed
        self.all_keys = False
        self.all_channels = all_channels

    def copy(self) -> "Permissions":
        """The same permissions, which may go their own way."""
        other = Permissions(self._catalog, all_channels=self.all_channels)
        other._commands, other._rules = self._commands, self._rules
        other._arguments, other._keys, other._channels = dict(self._arguments), dict(self._keys), dict(self._channels)
        other.all_commands, other.has_new_commands = self.all_commands, self.has_new_commands
        other.all_keys = self.all_keys
        return other

    @property
    def is_unlimited(self) -> bool:
        """Is everything allowed?"""
        return self.all_commands and self.all_keys and self.all_channels

    # --- rules ----------------------------------------------------------------------------------------------------

    def apply(self, rule: bytes) -> None:
        """Add the effect of one rule. Raises RuleError, with nothing changed."""
        word = rule.lower()
        whole = _WHOLE.get(word)
        if whole is not None:
            whole(self)
        elif rule[:1] in (b"~", b"%"):
            self._add_keys(rule)
        elif rule[:1] == b"&":
            self._add_channels(rule[1:])
        elif rule[:1] in (b"+", b"-"):
            self._change_commands(rule[:1], rule[1:])
        else:
            raise RuleError(SYNTAX)

    def set_all_commands(self, allowed: bool) -> None:
        """`allcommands` or `nocommands`."""
        self._commands = self._catalog.names if allowed else frozenset()
        self.all_commands = self.has_new_commands = allowed
        self._rules = ()
        self._arguments.clear()

    def set_all_keys(self, allowed: bool) -> None:
        """`allkeys` or `resetkeys`."""
        self.all_keys = allowed
        self._keys.clear()

    def set_all_channels(self, allowed: bool) -> None:
        """`allchannels` or `resetchannels`."""
        self.all_channels = allowed
        self._channels.clear()

    def _add_keys(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(AFTER_ALL_KEYS)
        permission, pattern = (ALL, rule[1:]) if rule[:1] == b"~" else _permission(rule)
        if has_spaces(pattern):
            raise RuleError(SYNTAX)
        before, matches = self._keys.get(pattern) or (0, compile_glob(pattern))
        self._keys[pattern] = before | permission, matches

    def _add_channels(self, pattern: bytes) -> None:
        if self.all_channels:
            raise RuleError(AFTER_ALL_CHANNELS)
        if has_spaces(pattern):
            raise RuleError(SYNTAX)
        self._channels[pattern] = compile_glob(pattern)

    def _change_commands(self, sign: bytes, text: bytes) -> None:
        name = text.lower()
        if name[:1] == b"@":
            members = self._catalog.category(name[1:].decode("latin-1"))
            if members is None:
                raise UnknownName
            self._change(sign, name, members)
            return
        head, bar, last = text.rpartition(b"|")
        if sign == b"-" or not bar:
            self._change(sign, name, self._catalog.family(self._known(name)))
            return
        container = self._known(head.lower())
        if "|" in container:
            raise RuleError(ARGUMENT_OF_SUBCOMMAND)
        if not last:
            raise RuleError(SYNTAX)
        if self._catalog.is_container(container):
            self._change(sign, name, frozenset((self._known(name),)))
        else:
            self._allow_argument(container, last, name)

    def _known(self, name: bytes) -> str:
        text = name.decode("latin-1")
        if text not in self._catalog.names:
            raise UnknownName
        return text

    def _change(self, sign: bytes, text: bytes, names: frozenset[str]) -> None:
        """Allow or forbid commands whole, whatever was said of their arguments."""
        if sign == b"+":
            self._commands |= names
        else:
            self._commands -= names
            self.all_commands = self.all_commands and not names
        for name in names & self._arguments.keys():
            del self._arguments[name]
        self._note_rule(sign, text)

    def _allow_argument(self, name: str, argument: bytes, text: bytes) -> None:
        if has_spaces(argument):
            raise RuleError(SYNTAX)
        lowered = argument.lower()
        known = self._arguments.get(name, ())
        if lowered not in known:
            self._arguments[name] = (*known, lowered)
        self._note_rule(b"+", text)

    def _note_rule(self, sign: bytes, text: bytes) -> None:
        below = text + b"|"
        kept = tuple(rule for rule in self._rules if rule[1:] != text and not rule[1:].startswith(below))
        self._rules = (*kept, sign + text)

    # --- what is allowed ------------------------------------------------------------------------------------------

    def allows_command(self, command: Command, argv: Argv) -> bool:
        """May the command be run, whatever its keys are?"""
        if self.all_commands or command.full_name in self._commands or command.flags & NO_AUTH:
            return True
        arguments = self._arguments.get(command.full_name)
        return arguments is not None and len(argv) > 1 and argv[1].lower() in arguments

    def allows_key(self, key: bytes, permission: int) -> bool:
        """May a key be read or written, as the bits of `permission` say (0: merely named)?"""
        if self.all_keys:
            return True
        for allowed, matches in self._keys.values():
            if permission & ~allowed:
                continue
            if matches(key):
                return True
        return False

    def allows_every_key(self, permission: int) -> bool:
        """May any key be used so: by `allkeys`, or by the pattern `*`?"""
        return self.all_keys or not permission & ~self._keys.get(b"*", (0, None))[0]

    def allows_channel(self, channel: bytes, is_pattern: bool) -> bool:
        """May the channel be used; or, for a pattern of PSUBSCRIBE, is that very pattern allowed?"""
        if self.all_channels:
            return True
        if is_pattern:
            return channel in self._channels
        return any(matches(channel) for matches in self._channels.values())

    def channels_within(self, others: "list[Permissions]") -> bool:
        """Is each channel pattern one of those of `others`, too?"""
        return not self.all_channels and all(any(one in other._channels for other in others) for one in self._channels)

    def argument_rules(self) -> list[bytes]:
        """The rules that allow a command with one first argument: Redis calls them a misuse."""
        return [rule for rule in self._rules if rule[1:].partition(b"|")[0].decode("latin-1") in self._arguments]

    # --- its text -------------------------------------------------------------------------------------------------

    def describe(self) -> bytes:
        """The rules that make these permissions: keys, channels, commands."""
        channels = self.channel_rules()
        if not self.all_channels:
            channels = b"resetchannels " + channels if channels else b"resetchannels"
        return b" ".join(part for part in (self.key_rules(), channels, self.command_rules()) if part)

    def command_rules(self) -> bytes:
        """The rules for commands, from `+@all` or `-@all` on."""
        return b" ".join((b"+@all" if self.has_new_commands else b"-@all", *self._rules))

    def key_rules(self) -> bytes:
        """The rules for keys; empty where none is allowed."""
        if self.all_keys:
            return b"~*"
        return b" ".join(_key_rule(allowed, pattern) for pattern, (allowed, _) in self._keys.items())

    def channel_rules(self) -> bytes:
        """The rules for channels; empty where none is allowed."""
        return b"&*" if self.all_channels else b" ".join(b"&" + pattern for pattern in self._channels)


def _permission(rule: bytes) -> tuple[int, bytes]:
    """The bits and the pattern of `%R~pattern` and the like; without a `~`, the pattern is empty."""
    letters, _, pattern = rule[1:].partition(b"~")
    permission = 0
    for letter in letters.upper():
        bit = {0x52: READ, 0x57: WRITE}.get(letter, 0)
        if not bit or permission & bit:
            raise RuleError(SYNTAX)
        permission |= bit
    if not permission:
        raise RuleError(SYNTAX)
    return permission, pattern


def _key_rule(allowed: int, pattern: bytes) -> bytes:
    """`%RW~*` beside other patterns keeps its letters: `~*` would say that there can be no others (Redis says it)."""
    return b"%RW~*" if allowed == ALL and pattern == b"*" else _SIGNS[allowed] + pattern


_SIGNS = {READ: b"%R~", WRITE: b"%W~", ALL: b"~"}

_WHOLE: dict[bytes, Callable[[Permissions], None]] = {
    b"allkeys": lambda one: one.set_all_keys(True),
    b"~*": lambda one: one.set_all_keys(True),
    b"resetkeys": lambda one: one.set_all_keys(False),
    b"allchannels": lambda one: one.set_all_channels(True),
    b"&*": lambda one: one.set_all_channels(True),
    b"resetchannels": lambda one: one.set_all_channels(False),
    b"allcommands": lambda one: one.set_all_commands(True),
    b"+@all": lambda one: one.set_all_commands(True),
    b"nocommands": lambda one: one.set_all_commands(False),
    b"-@all": lambda one: one.set_all_commands(False),
}
