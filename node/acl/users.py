"""Users: who they are, how they prove it, and what they may do.

A user has one set of permissions of its own and any number of selectors; it may do what one of them alone allows.
Passwords are kept as the hexadecimal SHA-256 of what was given, and compared in a time that tells nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from node.acl.catalog import Catalog
from node.acl.rules import Permissions, RuleError, has_spaces
from node.acl.touching import CHANNELS, TOUCHING, channels_touched, keys_touched
from node.config.words import UnbalancedQuotes, quote, split_words
from node.net.resp import Argv
from node.table import Command

DEFAULT = b"default"
HASH_DIGITS = 64
BAD_HASH = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
NO_SUCH_PASSWORD = "The password you are trying to remove from the user does not exist"


class Denial(NamedTuple):
    """Why a command is refused: `reason` is "command", "key" or "channel"; `at` the index of the guilty argument."""

    reason: str
    at: int


_RANK = {"command": 0, "key": 1, "channel": 2}


class UnmatchedParenthesis(Exception):
    """A selector has no end; `start` is the argument with which it begins."""

    def __init__(self, start: bytes) -> None:
        super().__init__(start)
        self.start = start


class RefusedRule(Exception):
    """One of several rules was refused: which, and why."""

    def __init__(self, rule: bytes, error: RuleError) -> None:
        super().__init__(rule, error.reason)
        self.rule, self.error = rule, error


def merged(rules: Sequence[bytes]) -> list[bytes]:
    """The rules, with selectors that are spread over several put together. Raises UnmatchedParenthesis."""
    found: list[bytes] = []
    start: bytes | None = None
    for rule in rules:
        if start is not None:
            found[-1] += b" " + rule
        else:
            found.append(rule)
            start = rule if rule[:1] == b"(" else None
        if start is not None and rule[-1:] == b")":
            start = None
    if start is not None:
        raise UnmatchedParenthesis(start)
    return found


def hashed(password: bytes) -> bytes:
    """How a password is kept."""
    return sha256(password).hexdigest().encode()


class User:
    """One user. A new one is off and may nothing; `set_default_channels` is what `acl-pubsub-default` says then."""

    __slots__ = ("_all_channels", "_catalog", "is_on", "name", "nopass", "passwords", "sanitizes", "selectors")

    def __init__(self, name: bytes, catalog: Catalog, all_channels: Callable[[], bool]) -> None:
        self.name = name
        self._catalog = catalog
        self._all_channels = all_channels
        self.is_on = False
        self.nopass = False
        self.passwords: dict[bytes, None] = {}
        self.sanitizes = True  # what RESTORE checks of a payload: noted and shown, since ours checks all of it
        self.selectors = [self._no_permissions()]

    def _no_permissions(self) -> Permissions:
        return Permissions(self._catalog, all_channels=self._all_channels())

    def become(self, other: "User") -> None:
        """Take over all but the name."""
        self.is_on, self.nopass, self.sanitizes = other.is_on, other.nopass, other.sanitizes
        self.passwords = dict(other.passwords)
        self.selectors = [selector.copy() for selector in other.selectors]

    def copy(self) -> "User":
        """The same user, which may go its own way."""
        other = User(self.name, self._catalog, self._all_channels)
        other.become(self)
        return other

    @property
    def is_unlimited(self) -> bool:
        """Is there nothing that it may not do?"""
        return any(selector.is_unlimited for selector in self.selectors)

    @property
    def is_open(self) -> bool:
        """Does anybody get in as this user without a password?"""
        return self.is_on and self.nopass

    # --- rules ----------------------------------------------------------------------------------------------------

    def apply_all(self, rules: Sequence[bytes]) -> None:
        """Apply rules in their order. Raises UnmatchedParenthesis, or RefusedRule after those before it."""
        for rule in merged(rules):
            try:
                self.apply(rule)
            except RuleError as error:
                raise RefusedRule(rule, error) from None

    def apply(self, rule: bytes) -> None:
        """Apply one rule, a selector being one. Raises RuleError, with nothing changed."""
        word = rule.lower()
        whole = _WHOLE.get(word)
        if not rule:
            return
        if whole is not None:
            whole(self)
        elif rule[:1] in (b">", b"#"):
            self._add_password(rule)
        elif rule[:1] in (b"<", b"!"):
            self._remove_password(rule)
        elif rule[:1] == b"(" and rule[-1:] == b")":
            self.selectors.append(self._selector(rule[1:-1]))
        else:
            self.selectors[0].apply(rule)

    def _add_password(self, rule: bytes) -> None:
        self.passwords[_hash_of(rule, b">")] = None
        self.nopass = False

    def _remove_password(self, rule: bytes) -> None:
        digest = _hash_of(rule, b"<")
        if digest not in self.passwords:
            raise RuleError(NO_SUCH_PASSWORD)
        del self.passwords[digest]

    def _selector(self, text: bytes) -> Permissions:
        selector = self._no_permissions()
        try:
            words = split_words(text.decode("utf-8", "surrogateescape"))
        except UnbalancedQuotes:
            words = []  # as Redis: nothing is allowed, and nothing said
        for word in words:
            selector.apply(word.encode("utf-8", "surrogateescape"))
        return selector

    def set_passwords(self, password: bytes | None) -> None:
        """Have this password alone; None: need none."""
        self.passwords = {} if password is None else {hashed(password): None}
        self.nopass = password is None

    def forget_passwords(self) -> None:
        """`resetpass`: nobody gets in until there is one."""
        self.passwords.clear()
        self.nopass = False

    def clear_selectors(self) -> None:
        """Leave only the user's own permissions."""
        del self.selectors[1:]

    def reset(self) -> None:
        """Be as a new user."""
        self.become(User(self.name, self._catalog, self._all_channels))

    # --- who it is ------------------------------------------------------------------------------------------------

    def accepts(self, password: bytes) -> bool:
        """Is that one of its passwords? The time does not depend on which, or on where they differ."""
        digest = hashed(password)
        found = False
        for known in self.passwords:
            found |= compare_digest(digest, known)
        return self.is_on and (found or self.nopass)

    # --- what it may do -------------------------------------------------------------------------------------------

    def denial(self, command: Command, argv: Argv) -> Denial | None:
        """Why it may not run this; None: it may. Of several reasons, the one that came closest to being allowed."""
        denials = []
        for selector in self.selectors:
            denial = _denial(selector, command, argv)
            if denial is None:
                return None
            denials.append(denial)
        return max(denials, key=lambda one: (_RANK[one.reason], one.at))

    def reads_every_key(self, command: Command, argv: Argv) -> bool:
        """May it run this command, and read any key with it: what SORT takes for BY and GET?"""
        return any(
            selector.allows_every_key(1) and _denial(selector, command, argv) is None for selector in self.selectors
        )

    def loses_channels_as(self, other: "User") -> bool:
        """Would this user lose a channel pattern if it were to become `other`?"""
        if any(selector.all_channels for selector in other.selectors):
            return False
        return not all(selector.channels_within(other.selectors) for selector in self.selectors)

    def allows_channel(self, channel: bytes, is_pattern: bool) -> bool:
        """May the channel, or that very pattern, be subscribed to by one of its selectors?"""
        return any(selector.allows_channel(channel, is_pattern) for selector in self.selectors)

    # --- its text -------------------------------------------------------------------------------------------------

    def flags(self) -> list[bytes]:
        """What is true of it, in the words of rules."""
        flags = [b"on" if self.is_on else b"off"]
        if self.nopass:
            flags.append(b"nopass")
        return [*flags, b"sanitize-payload" if self.sanitizes else b"skip-sanitize-payload"]

    def rules(self) -> bytes:
        """The rules that make a new user into this one."""
        own, *others = (selector.describe() for selector in self.selectors)
        passwords = (b"#" + password for password in self.passwords)
        return b" ".join((*self.flags(), *passwords, own, *map(_enclosed, others)))

    def line(self) -> bytes:
        """Its line in an ACL file, without the end."""
        return b"user " + self.name + b" " + self.rules()


def _enclosed(rules: bytes) -> bytes:
    """The rules of a selector as they are read again: quotes mean something there, and a parenthesis ends it."""
    words = (_quoted(word) if b'"' in word or b"'" in word or word[-1:] == b")" else word for word in rules.split(b" "))
    return b"(" + b" ".join(words) + b")"


def _quoted(word: bytes) -> bytes:
    return quote(word.decode("utf-8", "surrogateescape")).encode()


def _hash_of(rule: bytes, plain_sign: bytes) -> bytes:
    """The kept form of the password in a rule that gives it in clear, or that form itself. Raises RuleError."""
    if rule[:1] == plain_sign:
        return hashed(rule[1:])
    digest = rule[1:]
    if len(digest) != HASH_DIGITS or not frozenset(b"0123456789abcdef").issuperset(digest):
        raise RuleError(BAD_HASH)
    return digest


def _denial(selector: Permissions, command: Command, argv: Argv) -> Denial | None:
    if not selector.allows_command(command, argv):
        return Denial("command", 0)
    if not selector.all_keys and command.flags & TOUCHING:
        for at, permission in keys_touched(command, argv):
            if not selector.allows_key(argv[at], permission):
                return Denial("key", at)
    if not selector.all_channels and command.full_name in CHANNELS:
        places, is_pattern = channels_touched(command, argv)
        for at in places:
            if not selector.allows_channel(argv[at], is_pattern):
                return Denial("channel", at)
    return None


def _switch(on: bool) -> Callable[[User], None]:
    def switch(user: User) -> None:
        user.is_on = on

    return switch


def _sanitize(wanted: bool) -> Callable[[User], None]:
    def sanitize(user: User) -> None:
        user.sanitizes = wanted

    return sanitize


_WHOLE: dict[bytes, Callable[[User], None]] = {
    b"on": _switch(True),
    b"off": _switch(False),
    b"nopass": lambda user: user.set_passwords(None),
    b"resetpass": User.forget_passwords,
    b"sanitize-payload": _sanitize(True),
    b"skip-sanitize-payload": _sanitize(False),
    b"clearselectors": User.clear_selectors,
    b"reset": User.reset,
}


class Users:
    """All users of a node by name. The one called "default" is always there, and always the same object."""

    def __init__(self, catalog: Catalog, all_channels: Callable[[], bool]) -> None:
        self.catalog = catalog
        self._all_channels = all_channels
        self.default = self.pristine_default()
        self._by_name = {DEFAULT: self.default}

    def new(self, name: bytes) -> User:
        """A user that is not one of these yet."""
        return User(name, self.catalog, self._all_channels)

    def pristine_default(self) -> User:
        """The user `default` as it is where nothing is said of it: anybody, with every right."""
        user = self.new(DEFAULT)
        for rule in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            user.apply(rule)
        return user

    def get(self, name: bytes) -> User | None:
        """The user of that name."""
        return self._by_name.get(name)

    def sorted(self) -> list[User]:
        """All users by their names' bytes."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def changed(self, name: bytes, rules: Sequence[bytes]) -> User:
        """What the user, or a new one, would become by these rules. Raises UnmatchedParenthesis, RefusedRule."""
        known = self._by_name.get(name)
        user = self.new(name) if known is None else known.copy()
        user.apply_all(rules)
        return user

    def put(self, user: User) -> User:
        """Let the user of that name be like `user`, or take it in; the one that is there now."""
        known = self._by_name.get(user.name)
        if known is None:
            self._by_name[user.name] = user
            return user
        known.become(user)
        return known

    def remove(self, name: bytes) -> User | None:
        """Forget a user, which must not be the default one."""
        assert name != DEFAULT
        return self._by_name.pop(name, None)

    def replace(self, users: Iterable[User]) -> list[User]:
        """Have these users and no others; without a default one among them, the pristine. Returns who is gone."""
        found = {user.name: user for user in users}
        found.setdefault(DEFAULT, self.pristine_default())
        gone = [user for name, user in self._by_name.items() if name not in found]
        for user in gone:
            self.remove(user.name)
        for user in found.values():
            self.put(user)
        return gone


def is_valid_name(name: bytes) -> bool:
    """May a user be called that?"""
    return not has_spaces(name)
