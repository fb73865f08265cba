"""Random commands over keys in many slots: the proxy in front of a cluster beside one single redis-server.

The same commands, one by one and in pipelines, in RESP2 and RESP3, must have the same replies. Replies without an order
are compared as sets, what is drawn at random is not drawn.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from node.slots import slot_of
from tests.proxy.support import ProxyServer, move_slot
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, RespMap, RespSet, Wire

COMMANDS_PER_SEED = 400
PIPELINE_MAX = 12

Command = tuple[Any, ...]


@pytest.fixture(scope="module")
def proxy() -> Iterator[ProxyServer]:
    with LocalCluster(HexadServer, nodes=3, replicas=0) as cluster, ProxyServer(cluster=cluster.ports[:1]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Luck:
    """Draws commands. Kinds of values have keys of their own; now and then a key of another kind is meant."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)

    def key(self, kind: str) -> str:
        if self.luck.random() < 0.03:
            kind = self.luck.choice("slhzt")
        tag = "{t}" if self.luck.random() < 0.2 else ""
        return f"{tag}{kind}{self.luck.randrange(6)}"

    def keys(self, kind: str, most: int = 4) -> list[str]:
        return [self.key(kind) for _ in range(self.luck.randint(1, most))]

    def word(self) -> str:
        return self.luck.choice(["a", "b", "c", "d", "e", "10", "-3"])

    def words(self) -> list[str]:
        return [self.word() for _ in range(self.luck.randint(1, 4))]

    def end(self) -> str:
        return self.luck.choice(["LEFT", "RIGHT"])

    def command(self) -> Command:
        return self.luck.choice(COMMANDS)(self)


def _zadd(luck: Luck) -> Command:
    pairs = [word for _ in range(3) for word in (luck.luck.randint(-5, 5), luck.word())]
    return ("ZADD", luck.key("z"), *pairs)


def _algebra(name: str) -> Callable[[Luck], Command]:
    def make(luck: Luck) -> Command:
        keys = luck.keys(luck.luck.choice("zt"), 3)
        weights = ["WEIGHTS", *(luck.luck.randint(0, 3) for _ in keys)] if luck.luck.random() < 0.4 else []
        rest = weights + (["AGGREGATE", "MAX"] if luck.luck.random() < 0.3 else [])
        if name.endswith("STORE"):
            return (name, luck.key("z"), len(keys), *keys, *rest)
        return (name, len(keys), *keys, *rest, "WITHSCORES")

    return make


def _sort(luck: Luck) -> Command:
    store = ["STORE", luck.key("l")] if luck.luck.random() < 0.5 else []
    return ("SORT", luck.key("l"), "ALPHA", *store)


COMMANDS: list[Callable[[Luck], Command]] = [
    lambda d: ("SET", d.key("s"), d.word()),
    lambda d: ("GET", d.key("s")),
    lambda d: ("INCR", d.key("s")),
    lambda d: ("APPEND", d.key("s"), d.word()),
    lambda d: ("MSET", *(word for key in d.keys("s") for word in (key, d.word()))),
    lambda d: ("MSET", d.key("s"), "1", d.key("s")),
    lambda d: ("MSETNX", *(word for key in d.keys("s", 2) for word in (key, d.word()))),
    lambda d: ("MGET", *d.keys("s"), *d.keys("l", 1)),
    lambda d: ("DEL", *d.keys(d.luck.choice("slhzt"))),
    lambda d: ("UNLINK", *d.keys(d.luck.choice("slhzt"))),
    lambda d: ("EXISTS", *d.keys("s"), *d.keys("l")),
    lambda d: ("TOUCH", *d.keys("s"), *d.keys("z")),
    lambda d: ("TYPE", d.key(d.luck.choice("slhzt"))),
    lambda d: ("RENAME", d.key("s"), d.key("s")),
    lambda d: ("RENAME", d.key("l"), d.key("l")),
    lambda d: ("RENAMENX", d.key("t"), d.key("t")),
    lambda d: ("COPY", d.key("z"), d.key("z"), *d.luck.choice([[], ["REPLACE"], ["DB", 0], ["NONSENSE"]])),
    lambda d: ("EXPIRE", d.key("s"), 1000),
    lambda d: ("EXPIRETIME", d.key("h")),
    lambda d: ("PERSIST", d.key("s")),
    lambda d: ("BITOP", d.luck.choice(["AND", "OR", "XOR"]), d.key("s"), *d.keys("s")),
    lambda d: ("LCS", d.key("s"), d.key("s")),
    lambda d: ("PFADD", "hll" + str(d.luck.randrange(4)), *d.words()),
    lambda d: ("PFCOUNT", *("hll" + str(d.luck.randrange(4)) for _ in range(3))),
    lambda d: ("PFMERGE", "hll" + str(d.luck.randrange(4)), *("hll" + str(d.luck.randrange(4)) for _ in range(2))),
    lambda d: ("RPUSH", d.key("l"), *d.words()),
    lambda d: ("LPUSH", d.key("l"), *d.words()),
    lambda d: ("LRANGE", d.key("l"), 0, -1),
    lambda d: ("LPOP", d.key("l")),
    lambda d: ("LMOVE", d.key("l"), d.key("l"), d.end(), d.end()),
    lambda d: ("RPOPLPUSH", d.key("l"), d.key("l")),
    lambda d: ("LMPOP", 2, d.key("l"), d.key("l"), d.end(), "COUNT", 2),
    lambda d: ("BLPOP", *d.keys("l", 3), 0.01),
    lambda d: ("BLMOVE", d.key("l"), d.key("l"), d.end(), d.end(), 0.01),
    lambda d: ("BLMPOP", 0.01, 2, d.key("l"), d.key("l"), d.end()),
    _sort,
    lambda d: ("SADD", d.key("t"), *d.words()),
    lambda d: ("SREM", d.key("t"), d.word()),
    lambda d: ("SMEMBERS", d.key("t")),
    lambda d: ("SMOVE", d.key("t"), d.key("t"), d.word()),
    lambda d: ("SINTER", *d.keys("t")),
    lambda d: ("SUNION", *d.keys("t")),
    lambda d: ("SDIFF", *d.keys("t")),
    lambda d: ("SINTERSTORE", d.key("t"), *d.keys("t")),
    lambda d: ("SUNIONSTORE", d.key("t"), *d.keys("t")),
    lambda d: ("SDIFFSTORE", d.key("t"), *d.keys("t")),
    lambda d: ("SINTERCARD", 2, d.key("t"), d.key("t"), "LIMIT", 1),
    _zadd,
    _zadd,
    lambda d: ("ZRANGE", d.key("z"), 0, -1, "WITHSCORES"),
    lambda d: ("ZPOPMIN", d.key("z")),
    lambda d: ("ZMPOP", 2, d.key("z"), d.key("z"), "MAX"),
    lambda d: ("BZPOPMAX", *d.keys("z", 3), 0.01),
    lambda d: ("ZRANGESTORE", d.key("z"), d.key("z"), 0, 1),
    *(_algebra(name) for name in ("ZUNION", "ZINTER", "ZUNIONSTORE", "ZINTERSTORE")),
    lambda d: ("ZDIFF", 2, d.key("z"), d.key("z"), "WITHSCORES"),
    lambda d: ("ZINTERCARD", 2, d.key("z"), d.key("z")),
    lambda d: ("HSET", d.key("h"), d.word(), d.word()),
    lambda d: ("HGETALL", d.key("h")),
    lambda d: ("HINCRBY", d.key("h"), d.word(), 2),
    lambda d: ("XADD", "x" + str(d.luck.randrange(4)), f"{d.luck.randint(1, 10**9)}-1", "f", d.word()),
    lambda d: ("XREAD", "COUNT", 2, "STREAMS", "x0", "x1", "x2", 0, 5, 0),
    lambda d: ("XREAD", "BLOCK", 5, "STREAMS", "x0", "x3", "$", "$"),
    lambda d: ("XREAD", "COUNT", 2, "BLOCK", 5, "STREAMS", "x0", "x1", "x2", "0", "0", d.luck.choice(["0", "$"])),
    lambda d: ("XLEN", "x" + str(d.luck.randrange(4))),
    lambda d: ("DBSIZE",),
    lambda d: ("KEYS", "*" + d.luck.choice("slz") + "*"),
    lambda d: ("PING", d.word()),
    lambda d: ("ECHO", d.word()),
    lambda d: ("PUBLISH", d.word(), d.word()),
    lambda d: ("NONSENSE", d.word()),
    lambda d: ("GET",),
    lambda d: ("SELECT", 0),
    lambda d: ("EVAL", "return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, d.key("s"), 2),
    lambda d: ("EVAL", "return {1, ARGV[1], {ok='fine'}}", 0, d.word()),
    lambda d: ("OBJECT", "FREQ", d.key("l")),
    lambda d: ("CLIENT", "SETNAME", d.word()),
    lambda d: ("CLIENT", "GETNAME"),
]
UNORDERED = {"SMEMBERS", "SINTER", "SUNION", "SDIFF", "KEYS", "HGETALL"}


def comparable(command: Command, reply: Any) -> Any:
    """What is compared of a reply."""
    if isinstance(reply, RespSet):
        return {"set": sorted(map(repr, reply.members))}
    if isinstance(reply, RespMap):
        return {"map": sorted(map(repr, reply.pairs))}
    if command[0] in UNORDERED and isinstance(reply, list):
        return sorted(map(repr, reply))
    return reply


def same(command: Command, ours: Any, theirs: Any) -> bool:
    return bool(comparable(command, ours) == comparable(command, theirs))


def run_beside(ours: Wire, theirs: Wire, seed: int, count: int, *, moving: bool = False) -> None:
    """`count` commands to both. While keys are `moving` they are not counted: one on its way is at both ends."""
    luck = Luck(seed)
    done = 0
    while done < count:
        row = [luck.command() for _ in range(luck.luck.choice([1, 1, luck.luck.randint(2, PIPELINE_MAX)]))]
        if luck.luck.random() < 0.15:
            simple = [command for command in row if command[0] in IN_TRANSACTIONS]
            row = [("MULTI",), *simple, ("EXEC",)]
        if moving:
            row = [command for command in row if command != ("DBSIZE",)]
        replies = list(zip(row, ours.pipeline(row), theirs.pipeline(row), strict=True))
        for command, mine, their in replies:
            assert same(command, mine, their), f"seed {seed}: {command}: {mine!r}, a single Redis: {their!r}\n{row}"
        done += len(row)


IN_TRANSACTIONS = {
    "SET", "GET", "INCR", "APPEND", "MGET", "DEL", "EXISTS", "TYPE", "RPUSH", "LPUSH", "LRANGE", "SADD", "HSET", "ZADD",
    "PING", "ECHO", "MSET", "EVAL", "LPOP", "PUBLISH", "UNLINK", "HINCRBY",
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_replies_as_a_single_redis(proxy: ProxyServer, single: RedisServer, seed: int, protocol: int) -> None:
    with proxy.wire(protocol=protocol) as ours, single.wire(protocol=protocol) as theirs:
        for wire in (ours, theirs):
            wire("FLUSHALL")
        run_beside(ours, theirs, seed * 10 + protocol, COMMANDS_PER_SEED)


def test_scan_finds_each_key_once(proxy: ProxyServer) -> None:
    with proxy.wire() as wire:
        wire("FLUSHALL")
        names = [f"key:{number}" for number in range(1000)] + [f"{{one}}{number}" for number in range(50)]
        wire("MSET", *(word for name in names for word in (name, "v")))
        wire("SADD", "a set", "x")
        for options, wanted in (([], {*names, "a set"}), (["MATCH", "key:1*"], {n for n in names if n[:5] == "key:1"})):
            cursor, found = b"0", list[str]()
            while True:
                cursor, some = wire("SCAN", cursor, *options, "COUNT", 50)
                found += [key.decode() for key in some]
                if cursor == b"0":
                    break
            assert sorted(found) == sorted(wanted)
        assert wire("SCAN", 0, "COUNT", 100_000, "TYPE", "set") == [b"0", [b"a set"]]


def test_errors_name_the_keys(proxy: ProxyServer) -> None:
    with proxy.wire() as wire:
        reply = wire("EVAL", "return 1", 2, "a", "b")
        assert reply.text == "CROSSSLOT proxy: these keys of a script are in different slots: 'a' in 15495, 'b' in 3300"
        for words in (("BGSAVE",), ("MIGRATE", "127.0.0.1", 1, "a", 0, 100)):
            assert wire(*words).text == f"ERR proxy: {words[0]} is for one node: ask that node itself"


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_group_is_given_what_all_its_streams_have(proxy: ProxyServer, single: RedisServer, protocol: int) -> None:
    names = ["one", "two", "three"]
    read = ["XREADGROUP", "GROUP", "g", "me", "COUNT", 1]
    with proxy.wire(protocol=protocol) as ours, single.wire(protocol=protocol) as theirs:
        replies = []
        for wire in (ours, theirs):
            wire("FLUSHALL")
            told = []
            for name in names:
                wire("XGROUP", "CREATE", name, "g", 0, "MKSTREAM")
            for name in ("one", "one", "three"):
                wire("XADD", name, f"{len(told) + 1}-1", "f", "v")
                told.append(wire("XLEN", name))
            for block in (["BLOCK", 5], [], ["BLOCK", 5]):
                told.append(wire(*read, *block, "STREAMS", *names, ">", ">", ">"))
            wire("XADD", "two", "9-1", "f", "v")
            told.append(wire(*read, "BLOCK", 5, "STREAMS", "two", "none", ">", ">"))
            replies.append(told)
        assert replies[0][:-1] == replies[1][:-1]
        assert str(replies[0][-1]).count("9-1") == 1, "given before the other stream's error was met"


def test_what_one_redis_would_tell_of_itself(proxy: ProxyServer, single: RedisServer) -> None:
    with proxy.wire() as ours, single.wire() as theirs:
        assert ours("MODULE", "LIST") == theirs("MODULE", "LIST") == []
        assert abs(int(ours("LASTSAVE")) - time.time()) < 600


@pytest.mark.parametrize(
    "kind", [pytest.param(HexadServer, marks=pytest.mark.long), pytest.param(RedisServer, marks=pytest.mark.proof)]
)
def test_the_same_replies_while_slots_move_and_primaries_change(kind: type[Server], single: RedisServer) -> None:
    with LocalCluster(kind, nodes=6, replicas=1) as cluster, ProxyServer(cluster=cluster.ports) as proxy:
        over, moved = threading.Event(), Counter[str]()
        worker = threading.Thread(target=_move_things, args=(cluster, over, moved))
        worker.start()
        try:
            with proxy.wire(timeout_s=60) as ours, single.wire() as theirs:
                for wire in (ours, theirs):
                    wire("FLUSHALL")
                for seed in itertools.count(100):
                    run_beside(ours, theirs, seed, COMMANDS_PER_SEED, moving=True)
                    if moved["slot"] >= MOVES and moved["primary"] >= 2:
                        break
                    assert worker.is_alive()
        finally:
            over.set()
            worker.join(60)


MOVES = 12


def _has_taken_over(cluster: LocalCluster, replica: Server) -> bool:
    """Is it a primary? Else it is asked to become one, again: a failover is given up after five seconds."""
    with replica.wire() as wire:
        return isinstance(wire("CLUSTER", "FAILOVER"), ReplyError) and replica in cluster.primaries()


def _move_things(cluster: LocalCluster, over: threading.Event, moved: Counter[str]) -> None:
    """Slots with keys go to other primaries, and now and then a replica takes its primary's place."""
    luck = random.Random(1)
    names = ["{t}", *(f"{kind}{number}" for kind in "slhzt" for number in range(6))]
    while not over.is_set():
        for _ in range(4):
            cluster.wait_until_whole()
            move_slot(cluster, slot_of(luck.choice(names).strip("{}").encode()), luck.choice(cluster.primaries()))
            moved["slot"] += 1
        cluster.wait_until_whole()
        primaries = cluster.primaries()
        replica = next(node for node in cluster.nodes if node not in primaries)
        wait_until(partial(_has_taken_over, cluster, replica), 60, "the replica is the primary")
        moved["primary"] += 1
