"""Users, their rules and their texts, without a server."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.acl.catalog import Catalog
from node.acl.file import FileRefused, read_users, write_users
from node.acl.log import SCANNED_MAX, TARGET_BYTES_MAX, DenialLog, What
from node.acl.rules import RuleError
from node.acl.users import RefusedRule, UnmatchedParenthesis, User, Users, hashed, merged
from node.app import every_spec
from node.table import CommandTable

TABLE = CommandTable(every_spec())
CATALOG = Catalog(TABLE.specs)


def new_users(*, all_channels: bool = False) -> Users:
    return Users(CATALOG, lambda: all_channels)


def made(*rules: str) -> User:
    user = new_users().new(b"u")
    user.apply_all([rule.encode() for rule in rules])
    return user


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ("", "-@all"),
        ("+@all", "+@all"),
        ("+get +set +get", "-@all +set +get"),  # a later rule stands where it was said
        ("+get -get", "-@all -get"),
        ("+@READ +GET -@read", "-@all +get -@read"),
        ("+config|get +config|set -config|get", "-@all +config|set -config|get"),
        ("+config|get +object|help -config", "-@all +object|help -config"),  # swallows those of its subcommands
        ("+select|0 +select|1 +select", "-@all +select"),
        ("+@all -config +config|get", "+@all -config +config|get"),
        ("-set +@all -get", "+@all -get"),  # nothing from before a rule for everything
        ("+get allcommands nocommands", "-@all"),
        ("+SELECT|A", "-@all +select|a"),
    ],
)
def test_rules_for_commands_are_printed_as_7_2_does(rules: str, text: str) -> None:
    assert made(*rules.split()).selectors[0].command_rules().decode() == text


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ("", "user u off sanitize-payload resetchannels -@all"),
        ("on nopass ~* &* +@all", "user u on nopass sanitize-payload ~* &* +@all"),
        ("~a %R~b %W~c %R~c &d", "user u off sanitize-payload ~a %R~b ~c resetchannels &d -@all"),
        (
            "skip-sanitize-payload >a (~x +get) (allkeys)",
            f"user u off skip-sanitize-payload #{hashed(b'a').decode()} resetchannels -@all "
            "(~x resetchannels -@all +get) (~* resetchannels -@all)",
        ),
    ],
)
def test_lines(rules: str, line: str) -> None:
    assert made(*rules.replace("(~x +get)", "(~x +get )").split()).line().decode() == line


def test_a_selector_with_quotes_in_a_pattern_can_be_read_again() -> None:
    user = made('("~a\\"b" +get &it\'s)', '("~a\\"b" +get)')
    assert [selector.key_rules() for selector in user.selectors] == [b"", b"", b'~a"b']  # unbalanced: nothing allowed
    again = new_users().new(b"u")
    again.apply_all(user.rules().split(b" "))
    assert again.line() == user.line()


def test_channels_by_default() -> None:
    users = new_users(all_channels=True)
    assert users.new(b"n").line() == b"user n off sanitize-payload &* -@all"
    user = users.new(b"n")
    user.apply_all([b"resetchannels", b"(+get)", b"reset"])
    assert user.line() == b"user n off sanitize-payload &* -@all"


def test_a_user_is_changed_whole_or_not_at_all() -> None:
    users = new_users()
    users.put(users.changed(b"u", [b"on", b"~a", b"+get"]))
    before = users.sorted()[1].line()
    with pytest.raises(RefusedRule) as caught:
        users.changed(b"u", [b"off", b"allkeys", b"+nope"])
    assert caught.value.rule == b"+nope"
    with pytest.raises(UnmatchedParenthesis):
        users.changed(b"u", [b"off", b"(+get", b"~x"])
    assert users.sorted()[1].line() == before


def test_passwords_are_not_kept_in_clear_and_any_of_them_is_right() -> None:
    user = made("on", ">one", "#" + hashed(b"two").decode())
    assert user.accepts(b"one") and user.accepts(b"two") and not user.accepts(b"three")
    assert b"one" not in user.line()
    user.apply(b"off")
    assert not user.accepts(b"one")
    user.apply_all([b"on", b"<one"])
    assert not user.accepts(b"one") and user.accepts(b"two")
    user.apply(b"nopass")
    assert user.accepts(b"whatever") and not user.passwords


def test_what_is_unlimited() -> None:
    assert made("allkeys", "allchannels", "allcommands").is_unlimited
    assert made("(allkeys allchannels allcommands)").is_unlimited
    for missing in ("-get", "-@read", "resetkeys", "resetchannels"):
        assert not made("allkeys", "allchannels", "allcommands", missing).is_unlimited
    assert not made("%RW~*", "allchannels", "allcommands").is_unlimited


def test_channels() -> None:
    user = made("&news.*", "&one", "(&two)")
    for channel, is_pattern, allowed in (
        (b"news.art", False, True),
        (b"news.*", True, True),
        (b"news.a*", True, False),
        (b"two", False, True),
        (b"two", True, True),
        (b"three", False, False),
    ):
        assert user.allows_channel(channel, is_pattern) is allowed, channel
    assert made("&a", "&b").loses_channels_as(made("&a"))
    assert not made("&a").loses_channels_as(made("&a", "&b"))
    assert not made("&a").loses_channels_as(made("(&a)"))
    assert made("allchannels").loses_channels_as(made("&a"))
    assert not made("&a").loses_channels_as(made("allchannels"))


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_written_is_a_file_read() -> None:
    users = new_users()
    users.put(users.changed(b"ann", [b"on", b">p", b"~a*", b"&c", b"+@read", b"-get", b"(+set %W~w*)"]))
    text = write_users(users)
    other = new_users()
    other.replace(read_users(text, "f", other))
    assert write_users(other) == text


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("usr ann on\nuser\n", "f:1 should start with user keyword followed by the username. "
         "f:2 should start with user keyword followed by the username."),
        ("user a +x foo bar +no", "f:1: Error in applying operation '+x': Unknown command or category name in ACL. "
         "f:1: Syntax error. f:1: Error in applying operation '+no': Unknown command or category name in ACL."),
        ("user a on\n\n  \nuser a on", "WARNING: Duplicate user 'a' found on line 4."),
        ("user a\tb on", "'f:1: username 'a\tb' contains invalid characters."),
        ("user a (+get ~x", "f:1: Unmatched parenthesis in selector definition."),
    ],
)  # fmt: skip
def test_bad_files(text: str, errors: str) -> None:
    users = new_users()
    with pytest.raises(FileRefused) as caught:
        read_users(text.encode(), "f", users)
    ending = " WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    assert str(caught.value) == errors + ending


def test_a_file_without_the_default_user_brings_back_the_pristine_one() -> None:
    users = new_users()
    default = users.default
    default.apply(b"off")
    users.replace(read_users(b"user ann on", "f", users))
    assert users.default is default and default.is_open and default.is_unlimited
    assert [user.name for user in users.sorted()] == [b"ann", b"default"]


# --- the log ----------------------------------------------------------------------------------------------------------


def test_what_happens_again_within_a_minute_is_one_entry() -> None:
    log = DenialLog()
    what = What("key", "toplevel", b"k", b"u")
    log.add(what, b"first", 1000, 128)
    log.add(what._replace(target=b"other"), b"x", 2000, 128)
    log.add(what, b"second", 61_000, 128)
    assert [(entry.what.target, entry.count, entry.number) for entry in log.entries] == [(b"k", 2, 0), (b"other", 1, 1)]
    assert (log.entries[0].client_info, log.entries[0].created_ms, log.entries[0].updated_ms) == (
        b"second",
        1000,
        61_000,
    )
    log.add(what, b"third", 121_001, 128)
    assert [entry.count for entry in log.entries] == [1, 2, 1]
    assert log.counts["key"] == 4


def test_the_log_is_bounded_and_so_is_the_search() -> None:
    log = DenialLog()
    for number in range(SCANNED_MAX + 1):
        log.add(What("key", "toplevel", b"%d" % number, b"u"), b"", 0, 128)
    log.add(What("key", "toplevel", b"0", b"u"), b"", 0, 128)
    assert len(log.entries) == SCANNED_MAX + 2  # the first was too far down
    log.add(What("key", "toplevel", b"x", b"u"), b"", 0, 3)
    assert len(log.entries) == 3
    log.add(What("key", "toplevel", b"y", b"u"), b"", 0, 0)
    assert not log.entries and log.counts["key"] == SCANNED_MAX + 4
    log.add(What("key", "toplevel", b"k" * 1_000_000, b"u" * 1_000_000), b"", 0, 128)
    assert len(log.entries[0].what.target) == len(log.entries[0].what.username) == TARGET_BYTES_MAX


# --- anything at all --------------------------------------------------------------------------------------------------

QUICK_ROUNDS, PROOF_ROUNDS = 10_000, 2_000_000


def fuzz(rounds: int, seed: int) -> None:
    """Rules, and whole files, made of their own pieces and of noise: refused by an error of ours, or taken."""
    luck = random.Random(seed)
    users = new_users()
    for _ in range(rounds):
        rules = [b"".join(luck.choices(PIECES, k=luck.randrange(7))) for _ in range(luck.randrange(4))]
        user = users.new(b"u")
        with suppress(RefusedRule, UnmatchedParenthesis):
            user.apply_all(rules)
        again = users.new(b"u")
        again.apply_all(user.rules().split(b" "))
        assert again.line() == user.line(), rules
        with suppress(FileRefused):
            read_users(b"user u " + b" ".join(rules), "f", users)


def test_fuzzed_rules() -> None:
    fuzz(QUICK_ROUNDS, seed=5)


@pytest.mark.proof
def test_millions_of_fuzzed_rules() -> None:
    fuzz(PROOF_ROUNDS, seed=random.SystemRandom().randrange(1 << 32))


WORDS = [b"get", b"config", b"all", b"read", b'("~a\\"b', b'"', b"'", b" ", b"\n", b"\0", b"\xff"]
PIECES = [*WORDS, *(bytes((byte,)) for byte in b"+-@~%RW&()|*[\\><#!")]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join) | st.binary(max_size=8), max_size=6))
def test_any_rules_are_taken_or_refused_and_what_was_taken_can_be_said_again(rules: list[bytes]) -> None:
    users = new_users()
    user = users.new(b"u")
    try:
        parts = merged(rules)
    except UnmatchedParenthesis:
        return
    for rule in parts:
        before = user.line()
        try:
            user.apply(rule)
        except RuleError:
            assert user.line() == before
    again = users.new(b"u")
    again.apply_all(user.rules().split(b" "))
    assert again.line() == user.line()
    for command in TABLE.every():
        argv = [b"x"] * max(4, abs(command.arity))
        assert user.denial(command, argv) == again.denial(command, argv)
