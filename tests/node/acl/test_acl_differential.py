"""Users beside a real server: random rules and commands; what is answered, allowed, denied and logged agrees.

A 7.0 prints a minimal form of the rules for commands where 7.2 prints them as they were given, and words refusals
differently. So texts of rules are compared by what they mean to either server, and refusals by a translation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.app import every_spec
from node.config.words import split_words
from tests.support import RedisServer, Wire
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
THERE = {spec.name for spec in every_spec()}

LINES = """
get a1; get b1; set a1 v; set b1 v get; mget a1 b1; mset a1 v b1 v; del a1 b1; getdel a2; append b1 v; incr a1; get
bitfield a1 get u8 0; bitfield a1 set u8 0 1; bitfield_ro a1 get u8 0; lpush l1 v; lmove l1 a1 left left; llen a1
lmpop 2 l1 a1 left; lmpop 9 l1 left; sort a1; sort a1 store b1; sort a1 by x* get y*; sort_ro a1 get #; strlen a1
zadd a1 1 m; zunion 2 a1 b1; zunionstore b1 2 a1 a2; zrangestore b1 a1 0 -1; zrange a1 0 -1; zunionstore b1 9 a1
sinterstore b1 a1 a2; smove a1 b1 m; sinter a1 b1; copy a1 b1; rename a1 b1; exists a1; exists b1; type a1; touch b1
xadd a1 * f v; xread streams a1 b1 0 0; xread streams a1; xreadgroup group g c streams a1 >; xinfo stream a1
georadius a1 0 0 1 km; georadius a1 0 0 1 km store b1; georadius a1 0 0 1 km store; expire a1 9; ttl a1; persist b1
config get maxmemory; config resetstat; client id; client getname; client kill 1:1; acl whoami; acl cat; acl users
select 0; select 1; ping; echo a; auth x; dbsize; keys *; scan 0; command count; info server; flushall; time; lastsave
hset a1 f v; hgetall b1; pfadd a1 v; pfcount a1 b1; pfmerge b1 a1; setrange a1 0 v; dump a1; object help; xinfo help
publish a1 m; publish c1 m; spublish c1 m; eval x 1 a1; eval x 2 a1 b1; eval x 9 a1; evalsha x 0; watch a1; multi
subscribe c1; subscribe c1 a1; psubscribe a*; psubscribe a1; ssubscribe a1; unsubscribe x; punsubscribe; pubsub numpat
config; config get; config nope; nope a1; lcs a1 b1; getex a1; getex a1 ex 9; blpop a1 b1 0.01; brpoplpush a1 b1 0.01
object encoding a1; object encoding b1; migrate h 1 a1 0 9; migrate h 1 "" 0 9 keys b1; exec; discard; unwatch; xlen b1
"""
COMMANDS = [split_words(line) for line in LINES.replace("\n", ";").split(";") if line.strip()]
KNOWN = [words for words in COMMANDS if words[0] in THERE or words[0] == "nope"]
LEFT_ALONE = "multi exec discard auth client flushall config migrate publish spublish blpop brpoplpush eval".split()
RUN = [words for words in KNOWN if words[0] not in LEFT_ALONE and "subscribe" not in words[0]]
PLAIN = "get set mget lmpop sort object config client acl select xread zunionstore info ping".split()
INNER = "config|get client|id acl|cat object|encoding config|nope config".split()
CATEGORIES = "all read write string list sortedset stream dangerous admin slow fast connection keyspace nope".split()

RULES = st.one_of(
    st.sampled_from([sign + name for sign in "+-" for name in PLAIN]),
    st.sampled_from([sign + name for sign in "+-" for name in INNER]),
    st.sampled_from([f"{sign}@{name}" for sign in "+-" for name in CATEGORIES]),
    st.sampled_from("+select|0 +select|1 +get|a1 -select|0 +config|get|x +config| +get| +nope -nope + - +GET".split()),
    st.sampled_from("allcommands nocommands +@READ allkeys resetkeys ALLKEYS clearselectors reset".split()),
    st.sampled_from("~* ~a* ~b1 %R~a* %W~a* %RW~b* %W~b* %R~* %WR~l* % %X~a %RR~a ~ %R ~a\tb ~[ab]1".split(" ")),
    st.sampled_from("&* &a* &c1 & allchannels resetchannels foo".split()),
    st.sampled_from("on off nopass resetpass >p >q <p <q #00 !00 ON".split()),
    st.sampled_from(["(+get ~a*)", "(+@all %W~b*)", "(allkeys +@read)", "()", "(foo)", "(+select|0 ~x)", "(+get"]),
    st.sampled_from(["", "~c*)", "(~a* &c1 allcommands)", '(+get "~a1")', "(on)", "skip-sanitize-payload"]),
)  # fmt: skip


class Both:
    """A real server and a node of ours, each with an administrator who speaks to both."""

    def __init__(self, server: RedisServer) -> None:
        self.node = LocalNode()
        self.server = server
        self.theirs, self.ours = server.wire(), self.node.client()

    def ask(self, *words: str) -> str:
        """The same to both; what both answer, in 7.2's words."""
        return same(words, self.theirs.raw(*words), self.ours.raw(*words), words[2])

    def begin(self) -> None:
        """Only the default user, and nothing logged."""
        for words in (("ACL", "DELUSER", "u", "v"), ("ACL", "LOG", "RESET")):
            self.theirs(*words), self.ours.raw(*words)

    def line(self) -> tuple[str, str]:
        """Their line and ours of the user `u`, from its first rule on."""
        texts = [told(self.ours.raw("ACL", "LIST")), *(line.decode() for line in self.theirs("ACL", "LIST"))]
        ours, theirs = (
            re.search(r"^user u (.*?)\r?$", "\n".join(part), re.MULTILINE) for part in (texts[:1], texts[1:])
        )
        assert theirs and ours
        return theirs[1], ours[1]


def told(raw: bytes) -> str:
    """The text of a reply, whichever its kind, with a sign of the kind in front."""
    text = raw.decode()
    return "$" + text.split("\r\n", 1)[1].removesuffix("\r\n") if text.startswith("$") else text.removesuffix("\r\n")


def same(words: object, theirs: bytes, ours: bytes, user: str) -> str:
    """Both say the same: then that, in 7.2's words."""
    expected, got = told(theirs), told(ours)
    expected = re.sub(
        r"\b[Tt]his user has no permissions to (run|access) the '",
        rf"User {user} has no permissions to \1 the '",
        expected,
    )
    expected = re.sub(
        r"this user .* one of the (key|channel)s used as arguments", r"No permissions to access a \1", expected
    )
    assert expected == got, (words, expected, got)
    return got


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with RedisServer() as server:
        yield Both(server)


def without_commands(line: str) -> str:
    """A line of ACL LIST with nothing of what 7.2 prints otherwise."""
    return re.sub(r"[+-]@all[^()]*", "*", re.sub(r"(?<!skip-)sanitize-payload ", "", line))


def of_commands_that_both_have(line: str) -> str:
    """The line without rules for commands that only they know."""

    def kept(rule: re.Match[str]) -> str:
        name = rule[1].partition("|")[0] if rule[1].startswith(("select|", "get|")) else rule[1]
        return rule[0] if name in THERE else ""

    return re.sub(r" [+-]([a-z][^ )]*)", kept, line)


@settings(max_examples=150 * PROOF, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.lists(RULES, max_size=4), min_size=1, max_size=3),
    asked=st.lists(st.sampled_from(KNOWN), min_size=5, max_size=12),
)
def test_rules_and_what_they_allow(both: Both, steps: list[list[str]], asked: list[list[str]]) -> None:
    both.begin()
    for rules in [["on"], *steps]:
        both.ask("ACL", "SETUSER", "u", *rules)
    answers = [both.ask("ACL", "DRYRUN", "u", *words) for words in asked]
    theirs, ours = both.line()
    assert without_commands(theirs) == without_commands(ours)
    for line in (of_commands_that_both_have(theirs), ours):  # our text means the same to them, and theirs to us
        assert both.ask("ACL", "SETUSER", "v", "reset", *line.split(" ")) == "+OK", line
        again = [both.ask("ACL", "DRYRUN", "v", *words) for words in asked]
        assert [answer.replace("$User v ", "$User u ") for answer in again] == answers, line


@settings(max_examples=80 * PROOF, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(RULES.filter(lambda rule: not rule.startswith("&")), min_size=1, max_size=6),
    run=st.lists(st.sampled_from(RUN), min_size=4, max_size=12),
    queued=st.booleans(),
)
def test_what_is_run_refused_and_logged(both: Both, rules: list[str], run: list[list[str]], queued: bool) -> None:
    both.begin()
    both.ask("ACL", "SETUSER", "u", "on", "nopass")
    ours = both.node.client()
    with both.server.wire() as theirs:
        assert theirs.raw("AUTH", "u", "") == ours.raw("AUTH", "u", "")
        both.ask("ACL", "SETUSER", "u", *rules)
        for words in [["multi"], *run, ["exec"]] if queued else run:
            expected, got = theirs.raw(*words), ours.raw(*words)
            if is_refusal(expected) or is_refusal(got):
                same(words, expected, got, "u")
    assert their_log(both.theirs) == our_log(both.node)


def is_refusal(reply: bytes) -> bool:
    return reply.startswith((b"-NOPERM", b"-NOAUTH", b"-EXECABORT")) or b"insufficient ACL" in reply


def their_log(wire: Wire) -> list[list[object]]:
    names = (b"count", b"reason", b"context", b"object", b"username")
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in wire("ACL", "LOG", 100)]
    return [[entry[name] for name in names] for entry in entries]


def our_log(node: LocalNode) -> list[list[object]]:
    found = []
    for entry in node.server.access.log.entries:
        reason, context, target, username = entry.what
        found.append([entry.count, reason.encode(), context.encode(), target, username])
    return found


def test_categories(both: Both) -> None:
    theirs = [name.decode() for name in both.theirs("ACL", "CAT")]
    assert told(both.ours.raw("ACL", "CAT")).split("\r\n")[2::2] == theirs
    for category in theirs:
        listed = {name.decode() for name in both.theirs("ACL", "CAT", category)} & THERE
        mine = set(told(both.ours.raw("ACL", "CAT", category)).split("\r\n")[2::2])
        changed = {"wait"}  # since 7.2 it blocks, to 7.2's mind
        everywhere = {name.decode() for name in both.theirs("COMMAND", "LIST")}
        assert (mine & everywhere) - changed == listed - changed, category
