"""What redis-server 7.0 does not have, or answers otherwise than 7.2 and we do; and that costs stay flat."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from node.datatypes.sortedsets import SortedSet
from tests.support.local import LocalClient, LocalNode


@pytest.fixture
def ours() -> LocalClient:
    return LocalNode().client()


def test_rank_with_score(ours: LocalClient) -> None:
    ours.raw("ZADD", "z", 1.5, "a", 2, "b")
    assert ours.raw("ZRANK", "z", "b", "withscore") == b"*2\r\n:1\r\n$1\r\n2\r\n"
    assert ours.raw("ZREVRANK", "z", "b", "WITHSCORE") == b"*2\r\n:0\r\n$1\r\n2\r\n"
    assert ours.raw("ZRANK", "z", "c", "WITHSCORE") == b"*-1\r\n"
    assert ours.raw("ZRANK", "nosuch", "c", "WITHSCORE") == b"*-1\r\n"
    assert ours.raw("ZRANK", "z", "b", "WITHSCORES") == b"-ERR syntax error\r\n"
    assert ours.raw("ZRANK", "z", "b", "WITHSCORE", "x") == b"-ERR wrong number of arguments for 'zrank' command\r\n"
    assert ours.raw("ZREVRANK", "z", "b", "x", "x") == b"-ERR wrong number of arguments for 'zrevrank' command\r\n"
    ours.session.resp3 = True
    assert ours.raw("ZRANK", "z", "a", "WITHSCORE") == b"*2\r\n:0\r\n,1.5\r\n"
    assert ours.raw("ZRANK", "z", "c", "WITHSCORE") == b"_\r\n"
    assert ours.raw("ZRANK", "z", "c") == b"_\r\n"


@pytest.mark.parametrize("filler", [0, 200])
def test_ranges_of_members_with_ascending_scores(ours: LocalClient, filler: int) -> None:
    ours.raw("ZADD", "z", 1, "a", 2, "b", 3, "c", 4, "d", *(word for n in range(filler) for word in (9, f"e{n}")))
    assert ours.raw("ZRANGE", "z", "[b", "[c", "BYLEX") == b"*2\r\n$1\r\nb\r\n$1\r\nc\r\n"
    assert ours.raw("ZREVRANGEBYLEX", "z", "(d", "(b") == b"*1\r\n$1\r\nc\r\n"
    assert ours.raw("ZLEXCOUNT", "z", "[b", "+") == b":%d\r\n" % (3 + filler)
    assert ours.raw("ZREMRANGEBYLEX", "z", "-", "[b") == b":2\r\n"
    assert ours.raw("ZRANGE", "z", 0, 0) == b"*1\r\n$1\r\nc\r\n"


@pytest.mark.parametrize(
    ("score", "printed"),
    [
        ("0.1", "0.1"),
        ("3.0", "3"),
        ("1e-7", "1e-7"),
        ("4611686018427387904", "4611686018427387904"),
        ("1e20", "1e+20"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
        ("-inf", "-inf"),
    ],
)
def test_scores_in_their_shortest_form(ours: LocalClient, score: str, printed: str) -> None:
    ours.raw("ZADD", "z", score, "a")
    assert ours.raw("ZSCORE", "z", "a") == b"$%d\r\n%b\r\n" % (len(printed), printed.encode())
    assert ours.raw("ZSCAN", "z", 0).endswith(b"\r\n%b\r\n" % printed.encode())


def test_a_failed_increment_changes_nothing(ours: LocalClient) -> None:
    ours.raw("ZADD", "z", "inf", "a")
    assert ours.raw("ZINCRBY", "z", "-inf", "a") == b"-ERR resulting score is not a number (NaN)\r\n"
    assert ours.raw("ZADD", "z", "INCR", "-inf", "a") == b"-ERR resulting score is not a number (NaN)\r\n"
    assert ours.raw("ZSCORE", "z", "a") == b"$3\r\ninf\r\n"
    assert ours.raw("ZADD", "new", "XX", "1", "a") == b":0\r\n"
    assert ours.raw("EXISTS", "new") == b":0\r\n"


def test_drawn_members_are_there(ours: LocalClient) -> None:
    ours.raw("ZADD", "z", *(word for n in range(300) for word in (n, f"m{n}")))
    distinct = ours.raw("ZRANDMEMBER", "z", 50).split(b"\r\n")[2::2]
    assert len(set(distinct)) == len(distinct) == 50
    repeated = ours.raw("ZRANDMEMBER", "z", -900, "WITHSCORES").split(b"\r\n")[2::2]
    assert len(repeated) == 1800 and len(set(repeated[::2])) > 200
    assert all(member == b"m" + score for member, score in zip(repeated[::2], repeated[1::2], strict=True))


# --- costs ------------------------------------------------------------------------------------------------------------


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python a call runs: a cost without a clock."""
    count = 0

    def trace(_frame: object, event: str, _argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count


COMMANDS: dict[str, tuple[object, ...]] = {
    "ZADD new": ("ZADD", "z", 500.5, "new"),
    "ZADD moved": ("ZADD", "z", 1.5, "m700"),
    "ZINCRBY": ("ZINCRBY", "z", 50, "m300"),
    "ZRANK": ("ZRANK", "z", "m555"),
    "ZSCORE": ("ZSCORE", "z", "m555"),
    "ZRANGE": ("ZRANGE", "z", 400, 409),
    "ZREVRANGE": ("ZREVRANGE", "z", 400, 409),
    "ZRANGEBYSCORE": ("ZRANGEBYSCORE", "z", 100, "+inf", "LIMIT", 300, 10),
    "ZCOUNT": ("ZCOUNT", "z", 10, "+inf"),
    "ZRANDMEMBER": ("ZRANDMEMBER", "z", 5),
    "ZPOPMIN": ("ZPOPMIN", "z"),
    "ZPOPMAX": ("ZPOPMAX", "z", 3),
    "ZREM": ("ZREM", "z", "m600"),
    "ZREMRANGEBYSCORE": ("ZREMRANGEBYSCORE", "z", 200, 205),
    "ZSCAN": ("ZSCAN", "z", 0, "COUNT", 10),
}


@pytest.fixture(scope="module")
def sizes() -> list[LocalClient]:
    """Clients of nodes with a sorted set of a thousand and of a hundred thousand members."""
    clients = []
    for size in (1000, 100_000):
        client = LocalNode().client()
        client.session.db.set(b"z", SortedSet.of(((b"m%d" % n, float(n)) for n in range(size)), packed=False))
        clients.append(client)
    return clients


@pytest.mark.parametrize("name", COMMANDS)
def test_costs_stay_flat(sizes: list[LocalClient], name: str) -> None:
    few, many = (lines_run(lambda client=client: client.raw(*COMMANDS[name])) for client in sizes)  # type: ignore[misc]
    assert many < 2 * few + 200, (few, many)
