"""CLIENT TRACKING through the proxy: told as by one single redis-server, and nothing old is kept after a loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from node.slots import SLOTS, slot_of
from proxy.session import OUT_BYTES_MAX
from tests.proxy.fake_node import Caller, FakeNode
from tests.proxy.inside import LocalProxy
from tests.proxy.support import ProxyServer
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until
from tests.support.wire import Push, ReplyError, Wire, encode

ROUNDS = 12
THIRDS = 3


@pytest.fixture(scope="module", params=[RedisServer, pytest.param(HexadServer, marks=pytest.mark.long)])
def proxy(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    with LocalCluster(request.param, nodes=3, replicas=0) as cluster, ProxyServer(cluster=cluster.ports[:1]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def last_words() -> list[str]:
    """A key at each of three nodes: what each tells of them comes after all that it told before."""
    found: dict[int, str] = {}
    for number in range(100):
        found.setdefault(slot_of(b"end%d" % number) * THIRDS // SLOTS, f"end{number}")
    return list(found.values())


ENDS = last_words()


class Reader:
    """A client that keeps copies: its replies, and apart from them what it is told."""

    def __init__(self, server: Server, *options: Any, redirected: bool = False) -> None:
        self.wire = server.wire(protocol=2 if redirected else 3)
        self.ear = server.wire() if redirected else self.wire
        self.is_optin = "OPTIN" in options
        self.told: list[Any] = []
        words: tuple[Any, ...] = options
        if redirected:
            number = self.ear("CLIENT", "ID")
            self.ear("SUBSCRIBE", "__redis__:invalidate")
            words = (*options, "REDIRECT", number)
        assert self.wire("CLIENT", "TRACKING", "ON", *words) == "OK"

    def __call__(self, *command: Any) -> Any:
        self.wire.send(*command)
        while isinstance(reply := self.wire.read(), Push):
            self.told.append(reply.items[1])
        return reply

    def look(self, *command: Any) -> Any:
        """A command whose answer is kept."""
        if self.is_optin:
            assert self("CLIENT", "CACHING", "YES") == "OK"
        return self(*command)

    def news(self, writer: Wire) -> set[bytes]:
        """All it has been told, once everything has arrived."""
        for key in ENDS:
            self.look("GET", key)
        assert writer("MSET", *(word for key in ENDS for word in (key, "x"))) == "OK"
        missing = {key.encode() for key in ENDS}
        while missing:
            message = self.ear.read()
            keys = message.items[1] if isinstance(message, Push) else message[2]
            self.told.append(keys)
            missing.difference_update(keys)
        told, self.told = self.told, []
        return {key for keys in told for key in keys} - {key.encode() for key in ENDS}

    def close(self) -> None:
        self.wire.close()
        self.ear.close()


def key(luck: random.Random, kind: str = "k") -> str:
    return f"{kind}{luck.randrange(8)}"


READS: list[Any] = [
    lambda luck: ("GET", key(luck)),
    lambda luck: ("MGET", key(luck), key(luck), key(luck)),
    lambda luck: ("EXISTS", key(luck), key(luck)),
    lambda luck: ("HGETALL", key(luck, "h")),
    lambda luck: ("TTL", key(luck)),
    lambda luck: ("STRLEN", key(luck)),
    lambda luck: ("SUNION", key(luck, "t"), key(luck, "t")),
    lambda luck: ("EVAL", "return redis.call('GET', KEYS[1])", 1, key(luck)),
]
WRITES: list[Any] = [
    lambda luck: ("SET", key(luck), luck.random()),
    lambda luck: ("MSET", key(luck), "1", key(luck), "2"),
    lambda luck: ("DEL", key(luck), key(luck, "h")),
    lambda luck: ("HSET", key(luck, "h"), "f", luck.random()),
    lambda luck: ("SADD", key(luck, "t"), luck.random()),
    lambda luck: ("EXPIRE", key(luck), 100),
    lambda luck: ("SET", key(luck), "1", "XX"),
    lambda luck: ("GET", key(luck)),
]

MODES: list[tuple[Any, ...]] = [(), ("OPTIN",), ("OPTOUT",), ("BCAST",), ("BCAST", "PREFIX", "k", "PREFIX", "end")]


def work(server: Server, seed: int, options: tuple[Any, ...], *, redirected: bool) -> list[Any]:
    """What a client in this mode is told, round by round."""
    luck = random.Random(seed)
    found: list[Any] = []
    with server.wire() as writer:
        assert writer("FLUSHALL") == "OK"
        reader = Reader(server, *options, redirected=redirected)
        for _ in range(ROUNDS):
            for _ in range(4):
                command = luck.choice(READS)(luck)
                kept = luck.random() < 0.7
                if kept:
                    reader.look(*command)
                elif "OPTOUT" in options:
                    assert reader("CLIENT", "CACHING", "NO") == "OK"
                    reader(*command)
                else:
                    reader(*command)
            if luck.random() < 0.4:
                reader.look("MULTI")
                for command in (("GET", key(luck)), ("STRLEN", key(luck))):
                    reader(*command)
                reader("EXEC")
            if luck.random() < 0.3 and "NOLOOP" in options:
                own = key(luck)
                reader("SET", own, "mine")
                reader.look("GET", own)
            for _ in range(3):
                assert not isinstance(writer(*luck.choice(WRITES)(luck)), ReplyError)
            found.append(reader.news(writer))
        reader.close()
    return found


@pytest.mark.parametrize("redirected", [False, True], ids=["push", "redirect"])
@pytest.mark.parametrize("mode", [*MODES, ("NOLOOP",), ("BCAST", "NOLOOP")], ids="-".join)
def test_told_as_by_a_single_redis(
    proxy: ProxyServer, single: RedisServer, mode: tuple[Any, ...], redirected: bool
) -> None:
    ours = work(proxy, 5, mode, redirected=redirected)
    theirs = work(single, 5, mode, redirected=redirected)
    assert any(theirs)
    for number, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
        assert mine == their, f"round {number}"


def test_what_may_have_changed_unheard_is_told_as_changed(single: RedisServer) -> None:
    with ProxyServer(nodes=[single.port]) as proxy, proxy.wire() as writer, single.wire() as node:
        for options in ((), ("NOLOOP",)):
            reader = Reader(proxy, *options)
            reader("GET", "k")
            for line in node("CLIENT", "LIST").decode().splitlines():
                words = dict(word.partition("=")[::2] for word in line.split())
                if words["resp"] == "3" and words["name"] == "hexad-proxy":
                    node("CLIENT", "KILL", "ID", words["id"])
            for _ in ("nobody listens", "somebody does again"):
                assert reader.wire.read() == Push([b"invalidate", None])
            reader("GET", "k")
            assert reader.news(writer) == set()
            reader("GET", "k")
            writer("SET", "k", "x")
            assert reader.news(writer) == {b"k"}
            reader.close()
        wait_until(lambda: "tracking" not in _flags(node), 5, "nobody tracks, so nobody listens")


def _flags(node: Wire) -> str:
    """Says whether a connection of a proxy is tracked at a node."""
    lines = node("CLIENT", "LIST").decode().splitlines()
    return "tracking" if any("t" in line.split(" flags=")[1].split()[0] for line in lines) else ""


def test_news_do_not_overtake_the_older_answer() -> None:
    """Else the client would be told that its copy is old, and then be given just that copy, to keep it."""

    def answer(caller: Caller, command: list[bytes]) -> bytes | None:
        if command[0] == b"GET":
            node.news.send(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")
            asked.append(caller)
            return b""
        if command[:2] == [b"CLIENT", b"TRACKING"]:
            node.news = caller
        return None

    asked: list[Caller] = []
    with FakeNode(answer) as node, ProxyServer(nodes=[node.port]) as proxy:
        with proxy.wire(protocol=3) as reader, proxy.wire() as other:
            assert reader("CLIENT", "TRACKING", "ON") == "OK"
            reader.send("GET", "k")
            wait_until(lambda: bool(asked), 5, "the node is asked")
            wait_until(lambda: other.info("stats")["tracking_total_keys"] == "0", 5, "the proxy has the news")
            assert reader.is_silent(0.02)
            asked[0].send(b"$3\r\nold\r\n")
            assert reader.read() == b"old"
            assert reader.read() == Push([b"invalidate", [b"k"]])


def test_who_reads_slowly_is_told_nevertheless() -> None:
    home = LocalProxy()
    reader, writer = home.client(), home.client()
    reader.raw("HELLO", "3")
    assert reader.raw("CLIENT", "TRACKING", "ON") == b"+OK\r\n"
    assert reader.raw("GET", "k") == b"_\r\n"
    writer.raw("SET", "much", "x" * OUT_BYTES_MAX)
    for _ in range(2):
        reader.send(encode("GET", "much"))
    assert reader.session.parked is not None
    writer.raw("SET", "k", "1")
    assert reader.take().endswith(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")


def test_the_clients_own_words_about_tracking(proxy: ProxyServer) -> None:
    with proxy.wire(protocol=3) as wire:
        assert wire("CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT").code == "ERR"
        assert wire("CLIENT", "GETREDIR") == -1
        assert wire("CLIENT", "TRACKING", "ON", "NOLOOP", "OPTIN") == "OK"
        assert wire("CLIENT", "CACHING", "NO").code == "ERR"
        assert sorted(wire("CLIENT", "TRACKINGINFO")[b"flags"].members) == [b"noloop", b"on", b"optin"]
        assert wire.info("clients")["tracking_clients"] == "1"
        assert wire("CLIENT", "TRACKING", "ON", "OPTIN") == "OK"
        assert sorted(wire("CLIENT", "TRACKINGINFO")[b"flags"].members) == [b"on", b"optin"]
        assert wire("CLIENT", "TRACKING", "ON", "NOLOOP") == "OK"
        assert wire("CLIENT", "TRACKING", "OFF") == "OK"
        assert wire.info("clients")["tracking_clients"] == "0"
        row = [("MULTI",), ("CLIENT", "TRACKING", "ON"), ("GET", "k"), ("EXEC",)]
        assert "not allowed in a transaction" in wire.pipeline(row)[-1][0].text


def test_the_cache_of_redis_py(proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "7.2.0")
    with (
        redis.Redis(port=proxy.port, protocol=3, cache_config=CacheConfig()) as reader,
        redis.Redis(port=proxy.port) as writer,
    ):
        for number in range(20):
            key = f"k{number}"
            writer.set(key, number)
            assert reader.get(key) == str(number).encode()
            cache = reader.get_cache()
            assert cache is not None and cache.size == number + 1
            assert reader.get(key) == str(number).encode()
        for number in range(20):
            writer.incr(f"k{number}")
            wait_until(lambda n=number: reader.get(f"k{n}") == str(n + 1).encode(), 5, "the copy is dropped")
