"""SLOWLOG beside a real server: the same commands leave the same entries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.redaction import REDACTED, redacted
from node.slowlog import ARGUMENTS_MAX, SlowLog
from tests.support import HexadServer, RedisServer, ReplyError, Wire, encode, wait_until
from tests.support.local import LocalNode

Both = tuple[Wire, Wire]
NODE = LocalNode()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, HexadServer]]:
    with RedisServer() as theirs, HexadServer() as ours:
        yield theirs, ours


@pytest.fixture
def both(servers: tuple[RedisServer, HexadServer]) -> Iterator[Both]:
    with servers[0].wire() as theirs, servers[1].wire() as ours:
        for wire in (theirs, ours):
            wire("CONFIG", "SET", "slowlog-log-slower-than", 0, "slowlog-max-len", 128)
            wire("SLOWLOG", "RESET")
        yield theirs, ours


def shown(wire: Wire, *words: str | int) -> list[tuple[list[bytes], bytes]]:
    """The entries' arguments and client names."""
    return [(entry[3], entry[5]) for entry in wire("SLOWLOG", "GET", *words)]


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "key", "value"),
        ("NOSUCH", "x"),
        ("GET",),
        ("LPUSH", "list", *range(31)),
        ("SADD", "set", *range(30)),
        ("SADD", "set", *range(29), "x" * 128, "y" * 129, "z" * 1000),
        ("SET", "k" * 200, "v" * 128),
        ("LPOP", "key"),
        ("AUTH", "secret"),
        ("AUTH", "user", "secret"),
        ("HELLO", "2", "SETNAME", "somebody", "AUTH", "default", "secret"),
        ("CONFIG", "SET", "masterauth", "secret", "timeout", "0", "MASTERUSER", "me"),
        ("CONFIG", "SET", "nosuch", "secret"),
        ("MIGRATE", "127.0.0.1", "1", "none", "0", "5", "COPY", "AUTH", "secret"),
        ("MIGRATE", "127.0.0.1", "1", "", "0", "5", "AUTH2", "user", "secret", "KEYS", "none", "AUTH"),
        ("CLIENT", "SETNAME", "somebody"),
        ("slowlog", "reset"),
    ],
)
def test_what_an_entry_holds(both: Both, words: tuple[str | int, ...]) -> None:
    theirs, ours = both
    for wire in both:
        wire(*words)
    assert shown(ours) == shown(theirs)
    assert len(ours("SLOWLOG", "GET")) == len(theirs("SLOWLOG", "GET"))


@pytest.mark.parametrize(
    "words",
    [
        ("SLOWLOG",),
        ("SLOWLOG", "NOSUCH"),
        ("SLOWLOG", "LEN"),
        ("SLOWLOG", "LEN", "x"),
        ("SLOWLOG", "GET", "-2"),
        ("SLOWLOG", "GET", "x"),
        ("SLOWLOG", "GET", "1", "2"),
        ("SLOWLOG", "RESET", "x"),
    ],
)
def test_replies(both: Both, words: tuple[str, ...]) -> None:
    theirs, ours = both
    assert ours(*words) == theirs(*words)


def test_a_transaction_shows_its_commands(both: Both) -> None:
    for wire in both:
        for words in (("MULTI",), ("SET", "a", "1"), ("INCR", "a"), ("LPOP", "a"), ("EXEC",)):
            wire(*words)
    assert shown(both[1]) == shown(both[0])


def test_who_waits_is_not_slow(both: Both) -> None:
    for wire in both:
        wire("BLPOP", "nothing", "0.02")
        wire("RPUSH", "something", "x")
        wire("BLPOP", "something", "1")
    assert shown(both[1]) == shown(both[0])


def test_a_password_without_its_user_is_no_less_secret(both: Both) -> None:
    both[1]("HELLO", "2", "AUTH", "secret")
    assert shown(both[1])[0][0] == [b"HELLO", b"2", b"AUTH", REDACTED]


def test_entries_are_bounded_and_numbered(both: Both) -> None:
    for wire in both:
        first = wire("SLOWLOG", "GET", "1")[0][0]
        wire("CONFIG", "SET", "slowlog-max-len", "3")
        for number in range(7):
            wire("SET", "key", number)
        assert wire("SLOWLOG", "LEN") == 3
        ids = [entry[0] for entry in wire("SLOWLOG", "GET", "-1")]
        assert ids == [first + 10, first + 9, first + 8]  # GET, CONFIG SET, seven SET and LEN came after it
        assert wire("SLOWLOG", "GET", "0") == []
    assert shown(both[1], -1) == shown(both[0], -1)


def test_none_is_kept_when_it_is_off(both: Both) -> None:
    for wire in both:
        wire("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        wire("SLOWLOG", "RESET")
        wire("SET", "key", "value")
        assert wire("SLOWLOG", "LEN") == 0


def test_at_the_usual_threshold_a_slow_command_is_found_in_a_pipeline() -> None:
    """Brief commands are not timed one by one: the one that took long is found all the same."""
    with HexadServer(slowlog_log_slower_than=3000, enable_debug_command="yes") as ours, ours.wire() as wire:
        big = [encode("SADD", "big", *range(60_000)), encode("DEBUG", "SLEEP", "0.005"), encode("PING")]
        brief = [encode("SADD", "small", number) for number in range(40)]
        wire.send_raw(b"".join([*brief, big[0], *brief, *big[1:]]))
        for _ in range(83):
            assert not isinstance(wire.read(), ReplyError)
        entries = wire("SLOWLOG", "GET", -1)
        found = {tuple(entry[3][:2]) for entry in entries}
        assert {(b"SADD", b"big"), (b"DEBUG", b"SLEEP")} <= found
        assert all(entry[2] >= 3000 for entry in entries)
        sadd = next(entry for entry in entries if entry[3][1] == b"big")
        assert len(sadd[3]) == ARGUMENTS_MAX and sadd[3][-1] == b"... (59971 more arguments)"


@given(st.lists(st.sampled_from([100, 50_000_000]), min_size=1), st.lists(st.integers(0, 4), min_size=2, max_size=40))
def test_a_clock_that_leaps_between_two_looks_harms_nothing(steps_ns: list[int], chosen: list[int]) -> None:
    """The system may have the node wait for longer than is slow, at any place."""
    client = NODE.client()
    steps, now_ns = cycle(steps_ns), [0]

    def clock_ns() -> int:
        now_ns[0] += next(steps)
        return now_ns[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NODE.server, "clock_ns", clock_ns)
        words = [("GET", "k"), ("RPUSH", "l", "x"), ("INFO", "nothing"), ("CLIENT", "ID"), ("NOSUCH",)]
        client.session.receive(b"".join(encode(*words[number]) for number in chosen))
        while client.session.more:
            client.session.proceed()
    assert client.session.out.count(b"$-1") == chosen.count(0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40), st.integers(-1, 30), st.integers(0, 5))
def test_the_log_is_the_latest_slow_ones(calls: list[tuple[int, int]], threshold_us: int, entries_max: int) -> None:
    log = SlowLog(threshold_us, entries_max)
    for at, (duration_us, _) in enumerate(calls):
        log.add(at, duration_us, "get", [b"get", b"%d" % at], "addr", b"")
    slow = [at for at, (duration_us, _) in enumerate(calls) if 0 <= threshold_us <= duration_us]
    kept = slow[::-1][:entries_max]
    assert [entry.time_s for entry in log.latest(-1)] == kept
    assert [entry.id for entry in log.latest(2)] == [len(slow) - 1 - n for n in range(len(kept))][:2]


@given(st.sampled_from(["hello", "migrate", "config|set", "auth", "acl|setuser"]), st.lists(st.binary(max_size=5)))
def test_redaction_takes_any_arguments(name: str, rest: list[bytes]) -> None:
    argv = [b"x", *rest]
    told = redacted(name, argv)
    assert len(told) == len(argv)
    assert all(new in (old, REDACTED) for new, old in zip(told, argv, strict=True))


def test_who_waited_is_logged_when_served(servers: tuple[RedisServer, HexadServer], both: Both) -> None:
    """With the time that the answer took; INFO counts the command then, too."""
    for server, wire in zip(servers, both, strict=True):
        with server.wire() as waiting:
            waiting("CONFIG", "RESETSTAT")
            waiting.send("BLPOP", "queue", 0)
            wait_until(lambda wire=wire: b"blocked_clients:1" in wire("INFO", "clients"), 5, "it waits")
            if wire is both[1]:  # 7.0 counts it now
                assert b"cmdstat_blpop" not in wire("INFO", "commandstats")
            wire("RPUSH", "queue", "x")
            assert waiting.read() == [b"queue", b"x"]
            assert shown(wire)[0][0] == [b"BLPOP", b"queue", b"0"]
            assert b"cmdstat_blpop:calls=1," in wire("INFO", "commandstats")
