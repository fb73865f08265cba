"""Random SORTs of lists, sets and sorted sets, to our node and to Debian's redis-server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.test_lists_differential import Pair
from tests.node.commands.traces import Line, cased, line, options, pair
from tests.support import HexadServer, RedisServer, wait_until

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
EXAMPLES = 60 * PROOF

sources = st.sampled_from([b"l", b"l", b"s", b"z", b"nokey", b"string", b"c"])
sequences = st.sampled_from([b"l", b"z", b"c"])
stores = st.sampled_from([b"c", b"c", b"string", b"l"])
members = st.sampled_from([b"1", b"2", b"10", b"-3", b"2.5", b"0x10", b"1e2", b"007"])
# No overflow: 7.0 does not forget that it has met one, and later refuses what is right.
words_ = st.sampled_from([b"1", b"2", b"a", b"b", b"B", b"", b" 3", b"a\0b", b"a\0a", b"inf", b"nan", b"\xff"])
patterns = st.sampled_from([b"w_*", b"h_*->f", b"h_*->", b"w_*x", b"*", b"->*", b"h_*->g"])
gets = st.sampled_from([b"#", b"w_*", b"h_*->f", b"h_*->", b"nostar", b"h_*->*", b"*", b"string->f"])
limits = st.tuples(st.just(b"LIMIT"), *[st.sampled_from([b"0", b"1", b"2", b"-1", b"10", b"x"])] * 2)
order = st.one_of(cased("ASC"), cased("DESC"))
get = pair("GET", gets)
broken = st.sampled_from([b"BY", b"LIMIT", b"STORE", b"GET", b"foo"])

traces = st.lists(
    st.one_of(
        line("RPUSH", st.just(b"l"), st.lists(members, min_size=1, max_size=4)),
        line("RPUSH", st.just(b"l"), st.lists(words_, min_size=1, max_size=2)),
        line("LPOP", st.just(b"l"), st.just(b"4")),
        line("SADD", st.just(b"s"), st.lists(members, min_size=1, max_size=4)),
        line("SADD", st.just(b"s"), words_.filter(lambda word: b"\0" not in word)),  # equal up to it: in any order
        line("DEL", sources),
        line("ZADD", st.just(b"z"), members.map(lambda word: b"1" if word == b"007" else word), members),
        line("SET", st.just(b"string"), members),
        line("SET", words_.map(lambda word: b"w_" + word), words_),
        line("SET", members.map(lambda word: b"w_" + word), members),
        line("HSET", members.map(lambda word: b"h_" + word), st.just(b"f"), members),
        line("SORT", sources, options(order, cased("ALPHA"), limits, get)),
        line("SORT_RO", sources, options(order, cased("ALPHA"), limits, get, broken)),
        line("SORT", sources, options(order, limits, get, pair("BY", patterns), most=4)),
        line("SORT", sources, options(order, limits, get, pair("BY", patterns), most=4), pair("STORE", stores)),
        line("SORT", sources, options(order, limits, get, cased("ALPHA"), most=3), pair("STORE", stores)),
        line("SORT", sequences, pair("BY", st.just(b"nosort")), options(order, limits, get, cased("ALPHA"))),
        line("SORT", sources, pair("BY", st.just(b"nosort")), options(order, limits, get), pair("STORE", stores)),
        line("SORT", sources, pair("BY", patterns), cased("ALPHA"), options(order)),
        line("LRANGE", stores, st.just(b"0"), st.just(b"-1")),
    ),
    min_size=30,
    max_size=45,
)


class SortPair(Pair):
    def alike(self, words: Line, expected: bytes, got: bytes) -> bool:
        """Where the texts that BY leads to are equal, Redis keeps no order."""
        upper = {word.upper() for word in words}
        if not {b"BY", b"ALPHA"} <= upper or {b"STORE", b"LIMIT", b"GET"} & upper:
            return False
        return sorted(expected[:-2].split(b"\r\n$")) == sorted(got[:-2].split(b"\r\n$"))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(enable_debug_command="yes") as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_sorts(redis: RedisServer, protocol: int) -> None:
    with redis.wire(protocol=protocol) as theirs:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(traces)
        def compare(trace: list[Line]) -> None:
            both.run(trace)

        both = SortPair(theirs, protocol)
        compare()


@pytest.mark.parametrize("rest", ["", ", 'DESC'", ", 'LIMIT', 1, 2", ", 'GET', '#', 'DESC'"])
@pytest.mark.parametrize("word", ["SORT", "SORT_RO"])
def test_a_script_gets_sets_in_a_certain_order(redis: RedisServer, word: str, rest: str) -> None:
    """Also where BY says that they need none."""
    script = f"return redis.call('{word}', KEYS[1], 'BY', 'nosort'{rest})"
    with redis.wire() as theirs:
        lines = [[b"SADD", b"s", b"10", b"9", b"1", b"-2"], [b"EVAL", script.encode(), b"1", b"s"]]
        SortPair(theirs, 2).run(lines)


def test_a_stored_result_wakes_who_waits() -> None:
    with HexadServer() as server, server.wire() as waiting, server.wire() as other:
        other("RPUSH", "l", 2, 1)
        waiting.send("BLPOP", "c", 0)
        wait_until(lambda: other.info("clients")["blocked_clients"] == "1", 5, "somebody waits")
        assert other("SET", "c", "no list") == "OK"
        assert other("SORT", "l", "STORE", "c") == 2
        assert waiting.read() == [b"c", b"1"]
        assert other("LRANGE", "c", 0, -1) == [b"2"]


def test_a_script_gets_the_elements_of_a_set_in_one_order(redis: RedisServer) -> None:
    with redis.wire() as theirs, HexadServer() as server, server.wire() as ours:
        for wire in (theirs, ours):
            wire("SADD", "unsorted", *(f"m{number * 7 % 40}" for number in range(40)))
        for order in ("ASC", "DESC"):
            call = f"return redis.call('SORT', KEYS[1], 'BY', 'nosort', '{order}', 'LIMIT', 3, 30, 'GET', '#')"
            assert ours("EVAL", call, 1, "unsorted") == theirs("EVAL", call, 1, "unsorted")
