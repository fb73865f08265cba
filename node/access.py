"""Who may do what on a node: its users, the sessions that act for them, and what they were refused.

A session acts for a user, at first for the one called "default". One that may do everything costs nothing; a session of
any other has a gate of its own, and `node.dispatch` asks here before each command. Whoever changes users does it by
the methods of `Access`, so that sessions follow.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from node.acl.catalog import Catalog
from node.acl.file import FileRefused, read_users, write_users
from node.acl.log import DenialLog, What
from node.acl.users import Denial, RefusedRule, UnmatchedParenthesis, User, Users, is_valid_name
from node.config.config import Config
from node.config.words import quote
from node.keyspace.keyspace import Keyspace
from node.log import Log
from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT
from node.net.resp import Argv
from node.net.session import Session
from node.platform import Platform
from node.table import Command, CommandTable

Client: TypeAlias = Session[Any]

NOBODY = b"(superuser)"
"""What CLIENT LIST calls the user of a session that acts for none: our primary's."""


class UsersRefused(Exception):
    """The users of the configuration are wrong; the text is the last line for the log, the others are there."""


class Describe(Protocol):
    """How a client is told of: a line of CLIENT LIST, with the command that it runs."""

    def __call__(self, client: Client, running: Argv) -> bytes: ...


class AccessHost(Protocol):
    """What the users need of their node."""

    platform: Platform
    config: Config
    log: Log
    keyspace: Keyspace
    commands: CommandTable

    @property
    def sessions(self) -> "dict[int, Client]": ...


class Access:
    """The users of one node, and the only ways to change them."""

    def __init__(self, host: AccessHost, describe: Describe) -> None:
        config = host.config
        self._host = host
        self._describe = describe
        self.users = Users(Catalog(host.commands.specs), lambda: config["acl-pubsub-default"] == "allchannels")
        self.log = DenialLog()
        self._apply_password(config["requirepass"])
        config.on_change("requirepass", self._password_changed)
        config.describe_users = self.config_lines

    # --- at the start ---------------------------------------------------------------------------------------------

    def load_configured(self) -> None:
        """Take the users of the configuration or of the ACL file that it names. Raises UsersRefused."""
        config = self._host.config
        if config["aclfile"] and config.user_lines:
            raise UsersRefused(
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is "
                "invalid. This setup is very likely to lead to configuration errors and security holes, please "
                "define either an ACL file or declare users directly in your redis.conf, but not both."
            )
        if config["aclfile"]:
            try:
                self.users.replace(self._read_file())
            except FileRefused as error:
                raise UsersRefused(f"Aborting Redis startup because of ACL errors: {error}") from None
        for words in config.user_lines:
            self._take_line([word.encode("utf-8", "surrogateescape") for word in words])

    def _take_line(self, words: list[bytes]) -> None:
        name, *rules = words
        log = self._host.log
        shown = _text(name)
        if not is_valid_name(name):
            log.warning("Spaces not allowed in ACL usernames")
            raise UsersRefused("Critical error while loading ACLs. Exiting.")
        user = self.users.new(name)
        try:
            user.apply_all(rules)
        except UnmatchedParenthesis as error:
            log.warning(f"Unmatched parenthesis in selector '{_text(error.start)}' of the user named '{shown}'")
            raise UsersRefused("Critical error while loading ACLs. Exiting.") from None
        except RefusedRule as error:
            log.warning(
                f"Error loading ACL rule '{_text(error.rule)}' for the user named '{shown}': {error.error.reason}"
            )
            raise UsersRefused("Critical error while loading ACLs. Exiting.") from None
        if not user.is_on:
            log.notice(
                f"The user '{shown}' is disabled (there is no 'on' modifier in the user description). "
                "Make sure this is not a configuration error."
            )
        self.users.put(user)

    # --- sessions -------------------------------------------------------------------------------------------------

    def welcome(self, client: Client) -> None:
        """A client has just come, or begins anew: it is the default user, if that one needs no password."""
        default = self.users.default
        client.identified = default.is_open
        self._act_for(client, default)
        client.set_authenticated(client.identified)

    def log_in(self, client: Client, name: bytes, password: bytes, argv: Argv) -> bool:
        """Let `client` act for that user from now on, if the password is right; else note that it is not.

        `argv` is the command by which it asks.
        """
        user = self.users.get(name)
        if not (user or self.users.new(name)).accepts(password) or user is None:  # no less work for unknown names
            self._note("auth", argv[0], name, client, argv)
            return False
        client.identified = True
        self._act_for(client, user)
        client.set_authenticated(True)
        return True

    def _act_for(self, client: Client, user: User) -> None:
        client.account, client.user = user, user.name
        client.set_restricted(not user.is_unlimited)

    def _rights_changed(self, users: Sequence[User]) -> None:
        """Let the sessions of these users know, and all of them whether one still has to show a password."""
        is_open = self.users.default.is_open
        for client in self._host.sessions.values():
            if client.account is None:
                continue
            if client.account in users:
                client.set_restricted(not client.account.is_unlimited)
            client.set_authenticated(client.identified or is_open)

    def _cut_off(self, users: Sequence[User], asking: Client) -> None:
        """Close the sessions of users that are no more; the one that asks may still read its reply."""
        for client in list(self._host.sessions.values()):
            if client.account in users:
                self._act_for(client, self.users.default)
                client.identified = False
                client.set_authenticated(False)
                _close(client, asking)

    # --- changes --------------------------------------------------------------------------------------------------

    def set_user(self, name: bytes, rules: Sequence[bytes], asking: Client) -> None:
        """Make or change a user: by all of the rules or none. Raises UnmatchedParenthesis, RefusedRule."""
        known = self.users.get(name)
        user = self.users.changed(name, rules)
        self._warn_of_arguments(user, known)
        lost = known is not None and known.loses_channels_as(user)
        there = self.users.put(user)
        self._rights_changed((there,))
        if lost:
            self._cut_off_subscribers(there, asking)

    def _warn_of_arguments(self, user: User, known: User | None) -> None:
        before = {rule for selector in (known.selectors if known else ()) for rule in selector.argument_rules()}
        for selector in user.selectors:
            for rule in selector.argument_rules():
                if rule not in before:
                    self._host.log.warning(
                        "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL "
                        f"and may get disabled in the future (offender: {_text(rule)})"
                    )

    def _cut_off_subscribers(self, user: User, asking: Client) -> None:
        """Close the sessions of a user that listen to what it may not hear any more."""
        for client in list(self._host.sessions.values()):
            if client.account is user and not all(user.allows_channel(*one) for one in _heard_by(client)):
                _close(client, asking)

    def delete_users(self, names: Iterable[bytes], asking: Client) -> int:
        """Forget users and close their sessions; how many there were. The default one must not be among them."""
        gone = [user for name in names if (user := self.users.remove(name)) is not None]
        self._cut_off(gone, asking)
        return len(gone)

    def _password_changed(self, password: str) -> None:
        self._apply_password(password)
        self._rights_changed((self.users.default,))

    def _apply_password(self, password: str) -> None:
        """`requirepass` is the one password of the default user; without it, it needs none."""
        self.users.default.set_passwords(password.encode("utf-8", "surrogateescape") if password else None)

    # --- the file -------------------------------------------------------------------------------------------------

    def load_file(self, asking: Client) -> None:
        """Have the users of the ACL file and no others. Raises FileRefused, with nothing changed.

        Sessions end whose user is gone, or may no longer hear what they listen to.
        """
        found = self._read_file()
        known = [(there, user) for user in found if (there := self.users.get(user.name)) is not None]
        losing = [there for there, user in known if there.loses_channels_as(user)]
        self._cut_off(self.users.replace(found), asking)
        self._rights_changed(self.users.sorted())
        for user in losing:
            self._cut_off_subscribers(user, asking)

    def save_file(self) -> None:
        """Write all users over the ACL file. Raises OSError, with the old file left as it was."""
        self._host.platform.replace_file(self._path(), write_users(self.users))

    def _path(self) -> str:
        config = self._host.config
        return self._host.platform.join_path(config["dir"], config["aclfile"])

    def _read_file(self) -> list[User]:
        name = self._host.config["aclfile"]
        try:
            text = self._host.platform.read_file(self._path())
        except OSError as error:
            raise FileRefused(f"Error loading ACLs, opening file '{name}': {error.strerror}") from None
        return read_users(text, name, self.users)

    def config_lines(self) -> list[str]:
        """The lines `user NAME RULE ...` that CONFIG REWRITE writes where there is no ACL file."""
        lines = []
        for user in self.users.sorted():
            words = [user.name, *user.rules().split(b" ")]
            lines.append(" ".join(["user", *map(_config_word, words)]))
        return lines

    # --- refusals -------------------------------------------------------------------------------------------------

    def denial(self, client: Client, command: Command, argv: Argv) -> Denial | None:
        """Why the user of `client` may not run this; None: it may. Nothing is noted: `redis.acl_check_cmd` asks so."""
        return None if client.account is None else client.account.denial(command, argv)

    def reads_every_key(self, client: Client, command: Command, argv: Argv) -> bool:
        """May the user of `client` read any key at all with this command?"""
        return client.account is None or client.account.reads_every_key(command, argv)

    def note_denial(
        self, client: Client, denial: Denial, command: Command, argv: Argv, *, in_script: bool = False
    ) -> None:
        """Write down in ACL LOG what was refused."""
        target = command.full_name.encode() if denial.reason == "command" else argv[denial.at]
        self._note(denial.reason, target, client.user, client, argv, "lua" if in_script else "")

    def _note(self, reason: str, target: bytes, username: bytes, client: Client, argv: Argv, context: str = "") -> None:
        context = context or ("toplevel" if client.transaction is None else "multi")
        what = What(reason, context, target, username)
        config, now_ms = self._host.config, self._host.keyspace.now_ms
        self.log.add(what, self._describe(client, argv), now_ms, config["acllog-max-len"])


def _close(client: Client, asking: Client) -> None:
    if client is asking:
        client.closing = CLOSE_WHEN_SENT
    else:
        client.close(CLOSE_NOW)


def _heard_by(client: Client) -> Iterator[tuple[bytes, bool]]:
    """What a client has subscribed to, and whether each is a pattern."""
    channels, patterns, shard_channels = client.subscriptions or ((), (), ())
    yield from ((channel, False) for channel in (*channels, *shard_channels))
    yield from ((pattern, True) for pattern in patterns)


def _config_word(word: bytes) -> str:
    """A word as a line of the configuration gives it: in quotes if it would be read as something else."""
    text = _text(word)
    is_plain = word and all(0x20 < byte < 0x7F and byte not in b"\"'" for byte in word)
    return text if is_plain else quote(text)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def denial_text(user: bytes, denial: Denial, command: Command, argv: Argv, *, names_it: bool = False) -> bytes:
    """A refusal in Redis's words, without the error's code; `names_it` tells which key or channel it was."""
    if denial.reason == "command":
        return b"User %b has no permissions to run the '%b' command" % (user, command.full_name.encode())
    what = denial.reason.encode()
    if names_it:
        return b"User %b has no permissions to access the '%b' %b" % (user, argv[denial.at], what)
    return b"No permissions to access a " + what
