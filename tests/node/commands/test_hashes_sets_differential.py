"""Random commands on hashes and sets, to our node and to Debian's redis-server.

Replies are compared byte by byte, unordered ones as multisets, random ones by their shape (what they may hold is tested
in test_hashes.py and test_sets.py). Afterwards both servers have the same digest of each key, and each reads the
other's dump of it. Limits of the small encodings are set low, so that traces cross them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.traces import Line, cased, line, numbers, options, pair, scan_counts
from tests.support import RedisServer, Wire
from tests.support.local import LocalClient, LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 88 * PROOF
COMMANDS_AN_EXAMPLE = 60
COMMANDS_MIN = 5000

KEYS = [b"a", b"b", b"c", b"{t}1", b"k\r\n\0\xff"]
STRING_KEY = b"string"
LIMITS = {
    "hash-max-listpack-entries": b"6",
    "hash-max-listpack-value": b"20",
    "set-max-intset-entries": b"6",
}

keys = st.sampled_from([*KEYS, *KEYS, STRING_KEY])
words = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d", b"", b"1", b"2", b"-3", b"10", b"007", b"x" * 20, b"y" * 21, b"\r\n\0"]),
    st.integers(-9, 9).map(lambda n: b"%d" % n),
    st.binary(max_size=3),
)
# no number far below 0: a server would draw so many times
counts = st.one_of(st.integers(-9, 9).map(lambda n: b"%d" % n), st.sampled_from([b"x", b"1.0", b"9223372036854775808"]))
floats = st.one_of(
    numbers,
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: repr(x).encode()),
    st.sampled_from([b"1e5", b"0.1", b"-1.5e-3", b"nan", b"0x10", b"3.0e3", b".5", b"5.", b"e1"]),
)
values = st.one_of(words, floats)
some_words = st.lists(words, min_size=1, max_size=4)
pairs = st.lists(st.tuples(words, values), min_size=1, max_size=4).map(
    lambda found: [w for both in found for w in both]
)
cursors = st.sampled_from([b"0", b"", b"x", b" 0", b"18446744073709551616"])
patterns = st.sampled_from([b"*", b"?", b"[a-c]", b"1*", b"nothing"])
scan_options = options(pair("COUNT", scan_counts), pair("MATCH", patterns), st.just(b"COUNT"), st.just(b"TYPE"))
some_keys = st.lists(keys, min_size=1, max_size=4)


def counted_keys(found: tuple[list[bytes], int]) -> Line:
    return [b"%d" % (len(found[0]) + found[1]), *found[0]]


general_commands = st.one_of(
    line("DEL", some_keys),
    line("OBJECT", st.just(b"ENCODING"), keys),
    line("TYPE", keys),
    line("COPY", keys, keys, options(cased("REPLACE"))),
    line("RENAME", keys, keys),
    line("SET", st.just(STRING_KEY), values),
    line("EXISTS", keys),
    line("PEXPIREAT", keys, st.just(b"4102444800000")),
    line("GET", keys),
    line("APPEND", keys, words),
)
hash_commands = st.one_of(
    line("HSET", keys, pairs),
    line("HSET", keys, pairs),
    line("HSET", keys, some_words),
    line("HMSET", keys, pairs),
    line("HSETNX", keys, words, values),
    line("HGET", keys, words),
    line("HMGET", keys, some_words),
    line("HDEL", keys, some_words),
    line("HLEN", keys),
    line("HSTRLEN", keys, words),
    line("HEXISTS", keys, words),
    line("HGETALL", keys),
    line("HKEYS", keys),
    line("HVALS", keys),
    line("HINCRBY", keys, words, numbers),
    line("HINCRBYFLOAT", keys, words, floats),
    line("HSCAN", keys, cursors, scan_options),
    line("HRANDFIELD", keys, options(counts, most=1)),
    line("HRANDFIELD", keys, counts, cased("WITHVALUES")),
    line(
        "HRANDFIELD", keys, st.sampled_from([b"4611686018427387904", b"-9223372036854775808", b"x"]), some_words
    ),
)  # fmt: skip
set_commands = st.one_of(
    line("SADD", keys, some_words),
    line("SADD", keys, some_words),
    line("SADD", keys, st.lists(st.integers(-99, 99).map(lambda n: b"%d" % n), min_size=1, max_size=5)),
    line("SREM", keys, some_words),
    line("SCARD", keys),
    line("SISMEMBER", keys, words),
    line("SMISMEMBER", keys, some_words),
    line("SMEMBERS", keys),
    line("SMOVE", keys, keys, words),
    line("SSCAN", keys, cursors, scan_options),
    line("SPOP", keys, st.sampled_from([b"1000", b"0", b"-1", b"x", b"9223372036854775808", b"9223372036854775807"])),
    line("SPOP", keys, numbers, words),
    line("SRANDMEMBER", keys, options(counts, most=2)),
    line("SRANDMEMBER", keys, st.sampled_from([b"-9223372036854775808", b"9223372036854775807", b"x"])),
    line("SINTER", some_keys),
    line("SUNION", some_keys),
    line("SDIFF", some_keys),
    line("SINTERSTORE", keys, some_keys),
    line("SUNIONSTORE", keys, some_keys),
    line("SDIFFSTORE", keys, some_keys),
    line(
        "SINTERCARD",
        st.tuples(some_keys, st.integers(-1, 1)).map(counted_keys),
        options(pair("LIMIT", st.one_of(st.integers(-1, 3).map(lambda n: b"%d" % n), numbers)), words, most=2),
    ),
    line("SINTERCARD", numbers, some_keys),
)


def bent(commands: st.SearchStrategy[Line]) -> st.SearchStrategy[Line]:
    """Commands with a word too many or too few; but none that pops by chance, after which the sets would differ."""
    return st.one_of(
        st.tuples(commands, st.lists(words, max_size=2)).map(lambda found: found[0] + found[1]),
        commands.map(lambda found: found[:-1] if len(found) > 1 else found),
    ).filter(lambda found: found[0].upper() != b"SPOP" or len(found) not in (2, 3))


def traces(family: st.SearchStrategy[Line]) -> st.SearchStrategy[list[Line]]:
    commands = st.one_of(*[family] * 8, general_commands, bent(family))
    return st.lists(commands, min_size=COMMANDS_AN_EXAMPLE, max_size=COMMANDS_AN_EXAMPLE + 20)


UNORDERED = {b"HKEYS", b"HVALS", b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"SPOP"}
SHAPED = {b"HRANDFIELD", b"SRANDMEMBER"}


class Parsed:
    """A reply cut into its parts, just enough to compare unordered ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.value = self._next()

    def _next(self) -> Any:
        end = self._data.index(b"\r\n", self._at)
        mark, text = self._data[self._at : self._at + 1], self._data[self._at + 1 : end]
        self._at = end + 2
        if mark == b"$" and text != b"-1":
            self._at += int(text) + 2
            return self._data[end + 2 : self._at - 2]
        if mark in b"*~":
            return [self._next() for _ in range(int(text))]
        if mark == b"%":
            return [(self._next(), self._next()) for _ in range(int(text))]
        return mark + text


def _sorted_reply(data: bytes, in_pairs: bool) -> Any:
    found = Parsed(data).value
    if isinstance(found, list) and in_pairs and found and isinstance(found[0], bytes):
        found = list(zip(found[::2], found[1::2], strict=True))
    return data[:1], sorted(found) if isinstance(found, list) else found


class Pair:
    """Both servers with the same data."""

    def __init__(self, theirs: Wire, protocol: int) -> None:
        self.theirs = theirs
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000, enable_debug_command="yes")
        self.ours: LocalClient = self.node.client()
        self.ours.session.resp3 = protocol == 3
        for name, value in LIMITS.items():
            theirs("CONFIG", "SET", name, value)
            self.ours.raw("CONFIG", "SET", name, value)

    def run(self, trace: list[Line]) -> None:
        self.theirs("FLUSHALL")
        self.ours.raw("FLUSHALL")
        for words in trace:
            self.theirs.send(*words)
        replies = [self.theirs.read_raw() for _ in trace]
        for words, expected in zip(trace, replies, strict=True):
            got = self.ours.raw(*words)
            assert self._alike(words, expected, got), (words, expected, got)

    def _alike(self, words: Line, expected: bytes, got: bytes) -> bool:
        if expected == got:
            return True
        name = words[0].upper()
        if expected[:1] == b"-" or got[:1] == b"-":
            return False
        if name in UNORDERED:
            return bool(_sorted_reply(expected, False) == _sorted_reply(got, False))
        if name == b"HGETALL":
            return bool(_sorted_reply(expected, True) == _sorted_reply(got, True))
        if name in (b"HSCAN", b"SSCAN"):
            mine, theirs = Parsed(got).value, Parsed(expected).value
            if name == b"SSCAN" and mine[0] == b"0" != theirs[0]:  # a listpack since 7.2: it comes whole
                return set(theirs[1]) <= set(mine[1])
            return bool(mine[0] == theirs[0] and sorted(mine[1]) == sorted(theirs[1]))
        if name in SHAPED:
            mine, theirs = Parsed(got).value, Parsed(expected).value
            return type(mine) is type(theirs) and (not isinstance(mine, list) or len(mine) == len(theirs))
        if name == b"OBJECT":
            return self._encoding_since_7_2(expected, got)
        return False

    @staticmethod
    def _encoding_since_7_2(expected: bytes, got: bytes) -> bool:
        """7.2 keeps small sets of strings in listpacks; a float that is an integer is no text of ours."""
        return (expected, got) in (
            (b"$9\r\nhashtable\r\n", b"$8\r\nlistpack\r\n"),
            (b"$6\r\nembstr\r\n", b"$3\r\nint\r\n"),
        )

    def check(self, exchange: bool) -> None:
        """The same data; with `exchange`, in a form that the other reads."""
        db = self.ours.session.db
        db.check()
        for key in KEYS:
            value = db.peek(key)
            if hasattr(value, "check"):
                value.check()
            digest = self.theirs("DEBUG", "DIGEST-VALUE", key)[0]
            assert self.ours.raw("DEBUG", "DIGEST-VALUE", key) == b"*1\r\n+%b\r\n" % digest.text.encode()
            if exchange and value is not None:
                self._exchange(key)

    def _exchange(self, key: bytes) -> None:
        self.theirs("PERSIST", key)
        self.ours.raw("PERSIST", key)
        digest = self.theirs("DEBUG", "DIGEST-VALUE", key)[0]
        ours = Parsed(self.ours.raw("DUMP", key)).value
        theirs = self.theirs("DUMP", key)
        assert self.theirs("RESTORE", "copy", 0, ours, "REPLACE") == "OK"
        assert self.theirs("DEBUG", "DIGEST-VALUE", "copy")[0] == digest
        assert self.ours.raw("RESTORE", "copy", 0, theirs, "REPLACE") == b"+OK\r\n"
        assert self.ours.raw("DEBUG", "DIGEST-VALUE", "copy") == b"*1\r\n+%b\r\n" % digest.text.encode()
        assert self._encoding_alike("copy")

    def _encoding_alike(self, key: str) -> bool:
        self.theirs.send("OBJECT", "ENCODING", key)
        expected, got = self.theirs.read_raw(), self.ours.raw("OBJECT", "ENCODING", key)
        return expected == got or self._encoding_since_7_2(expected, got)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer("--enable-debug-command", "yes") as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("family", [hash_commands, set_commands], ids=["hashes", "sets"])
def test_random_commands(redis: RedisServer, family: st.SearchStrategy[Line], protocol: int) -> None:
    counted = 0
    with redis.wire(protocol=protocol) as theirs:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a failure names the command; shrinking takes minutes
        )
        @given(traces(family))
        def compare(trace: list[Line]) -> None:
            nonlocal counted
            counted += len(trace)
            both.run(trace)
            both.check(exchange=counted % 3 == 0)

        both = Pair(theirs, protocol)
        run: Callable[[], None] = compare
        run()
    assert counted >= COMMANDS_MIN * PROOF
