"""Every command with arguments that make no sense, here and at a real server: the same replies, errors word by word."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import HexadServer, RedisServer, ReplyError, Wire

QUICK_LINES, LONG_LINES = 2500, 20_000
FRESH_AFTER = 40
"""How many lines both servers run on the same few keys."""

LEFT_OUT = frozenset(
    b"acl auth asking bgrewriteaof bgsave client cluster command config debug exec failover flushall flushdb "
    b"function hello "
    b"hrandfield info keys lastsave latency lolwut memory migrate module monitor multi pfdebug pfselftest "
    b"psubscribe psync "
    b"punsubscribe quit randomkey replconf replicaof reset restore-asking role save scan script select shutdown "
    b"slaveof "
    b"slowlog spop srandmember ssubscribe subscribe sunsubscribe swapdb sync time unsubscribe wait waitaof watch "
    b"zrandmember".split()
)
"""What draws lots, tells of the server itself, changes what the connection is, or needs files and other nodes."""
CONTAINERS = (b"object", b"xinfo", b"xgroup", b"pubsub", b"script")
NOT_ALIKE = frozenset(
    {b"object|encoding", b"script|debug", b"script|help", b"object|help", b"pubsub|help", b"xgroup|help", b"xinfo|help"}
)
WORDS = (
    b"0 1 -1 2 99999999999999999999 9223372036854775807 1.5 inf nan str list set hash zset stream none (1 [a + "
    b"- $ > * NX XX "
    b"GT EX PX COUNT LIMIT WITHSCORES STREAMS GROUP BY GET STORE LEFT RIGHT KEYS MAXLEN ~ 1-1 KEEPTTL ASC ALPHA g c "
    b"FIELDS AGGREGATE MIN WEIGHTS ID CREATE MATCH".split()
)
WORDS = [*WORDS, b"", b"return 1"]
KEYS = [
    ("SET", "str", "12"),
    ("RPUSH", "list", "a", "b", "3"),
    ("SADD", "set", "1", "2", "3"),
    ("HSET", "hash", "f", "1", "g", "x"),
    ("ZADD", "zset", "1", "a", "2", "b"),
    ("XADD", "stream", "1-1", "f", "v"),
    ("XGROUP", "CREATE", "stream", "g", "0"),
    ("XADD", "stream", "2-1", "f", "v"),
]
UNBALANCED = "ERR Unbalanced '%s' list of streams: for each stream key an ID or '%s' must be specified."
CHANGED_IN_7_2 = {
    b"bitcount": ("ERR syntax error", "ERR value is not an integer or out of range"),  # arguments first, the key then
    b"bitpos": ("ERR syntax error", "ERR value is not an integer or out of range"),
    b"zrank": ("ERR syntax error",),  # WITHSCORE came, and with it one more argument
    b"zrevrank": ("ERR syntax error",),
    b"xread": (UNBALANCED % ("xread", "$"),),
    b"xreadgroup": (UNBALANCED % ("xreadgroup", ">"),),
}
IN_ANY_ORDER = frozenset(
    {b"dump", b"hscan", b"sdiff", b"sinter", b"smembers", b"sscan", b"sunion", b"zscan", b"hgetall"}
)

Line = list[bytes]


@pytest.fixture(scope="module")
def wires() -> Iterator[tuple[Wire, Wire]]:
    with RedisServer() as theirs, HexadServer() as ours, theirs.wire() as one, ours.wire() as other:
        yield one, other


def names(theirs: Wire) -> list[bytes]:
    """All commands of the real server that can be compared, with their subcommands."""
    every = theirs("COMMAND", "LIST")
    return sorted(
        name
        for name in every
        if (b"|" in name and name.split(b"|")[0] in CONTAINERS and name not in NOT_ALIKE)
        or (b"|" not in name and name not in LEFT_OUT)
    )


def line(luck: random.Random, name: bytes) -> Line:
    """A command with up to six words; those that would wait do so for a moment."""
    words = luck.choices(WORDS, k=luck.randrange(7))
    if name == b"xadd":  # an id by the clock would differ
        words = [b"3-1" if word == b"*" else word for word in words]
    elif name in (b"bzmpop", b"blmpop"):
        words[:1] = [b"0.01"]
    elif name.startswith(b"b") and not name.startswith(b"bit"):
        words[-1:] = [b"0.01"]
    return [*name.split(b"|"), *words]


def alike(words: Line, theirs: Any, ours: Any) -> bool:
    if theirs == ours:
        return True
    if isinstance(ours, ReplyError):
        return ours.text in CHANGED_IN_7_2.get(words[0], ())
    if words[0][:1] == b"z" and isinstance(theirs, bytes) and isinstance(ours, bytes):
        return float(theirs) == float(ours)  # 7.2 writes scores in their shortest form
    return words[0] in IN_ANY_ORDER and type(theirs) is type(ours) and len(theirs) == len(ours)


def walk(wires: tuple[Wire, Wire], lines: int, seed: int) -> None:
    luck = random.Random(seed)
    commands = names(wires[0])
    assert len(commands) > 170
    for _ in range(lines // FRESH_AFTER):
        batch = [line(luck, luck.choice(commands)) for _ in range(FRESH_AFTER)]
        theirs, ours = (wire.pipeline([("FLUSHALL",), *KEYS, *batch]) for wire in wires)
        for words, expected, got in zip(batch, theirs[len(KEYS) + 1 :], ours[len(KEYS) + 1 :], strict=True):
            assert alike(words, expected, got), (words, expected, got, f"seed={seed}")


def test_odd_arguments(wires: tuple[Wire, Wire]) -> None:
    walk(wires, QUICK_LINES, seed=11)


@pytest.mark.long
def test_many_odd_arguments(wires: tuple[Wire, Wire]) -> None:
    walk(wires, LONG_LINES, seed=12 if os.environ.get("CI") else random.SystemRandom().randrange(1 << 32))
