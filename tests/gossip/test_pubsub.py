"""Messages in a cluster: over the bus between nodes of both kinds, shard channels in their slots, and if those move."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from node.slots import slot_of
from tests.gossip.test_cluster_live import OPTIONS, id_of, masked
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.servers import Server
from tests.support.wire import Push, ReplyError, Wire

TIMEOUT_S = 20
LOW, HIGH = b"shard{06S}", b"shard{x}"  # in slot 0, and in a slot of the upper half
assert slot_of(LOW) == 0 and slot_of(HIGH) > 8191


class Trio:
    """Two primaries, the first with the lower half of the slots, and a replica of the second."""

    def __init__(self, first: type[Server], second: type[Server], replica: type[Server]) -> None:
        self.stack = contextlib.ExitStack()
        self.servers = [self.stack.enter_context(kind(**OPTIONS)) for kind in (first, second, replica)]
        self.a, self.b, self.c = (self.stack.enter_context(server.wire()) for server in self.servers)
        self.wires = (self.a, self.b, self.c)
        self.subscribers = contextlib.ExitStack()
        assert self.a("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == "OK"
        assert self.b("CLUSTER", "ADDSLOTSRANGE", 8192, 16383) == "OK"
        self.b("CLUSTER", "SET-CONFIG-EPOCH", 5)
        for server in self.servers[1:]:
            self.a("CLUSTER", "MEET", "127.0.0.1", server.port)
        for wire in self.wires:
            wait_until(lambda wire=wire: self.knows_all(wire), TIMEOUT_S, "all know all")
        assert self.c("CLUSTER", "REPLICATE", id_of(self.b)) == "OK"
        for wire in self.wires:
            wait_until(lambda wire=wire: b"slave" in wire("CLUSTER", "NODES"), TIMEOUT_S, "all know the replica")
        wait_until(lambda: self.c("ROLE")[3] == b"connected", TIMEOUT_S, "it follows")

    @staticmethod
    def knows_all(wire: Wire) -> bool:
        nodes = wire("CLUSTER", "NODES")
        info = wire("CLUSTER", "INFO")
        return b"cluster_known_nodes:3" in info and b"cluster_state:ok" in info and b"handshake" not in nodes

    def subscriber(self, at: int, *words: bytes | str) -> Wire:
        """A client that has subscribed, until `hush` at the latest."""
        wire = self.subscribers.enter_context(self.servers[at].wire(protocol=3))
        assert isinstance(wire(*words), Push), words
        return wire

    def hush(self) -> None:
        """Let all subscribers go."""
        self.subscribers.close()
        for wire in self.wires:
            wait_until(lambda wire=wire: wire("CLIENT", "LIST", "TYPE", "pubsub") == b"", TIMEOUT_S, "they are gone")


@contextlib.contextmanager
def trio(*kinds: type[Server]) -> Iterator[Trio]:
    made = Trio(*kinds)
    with made.stack:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Trio]:
    """Ours, genuine, and ours as a replica of the genuine one."""
    with trio(HexadServer, RedisServer, HexadServer) as cluster:
        yield cluster


@pytest.fixture
def mixed(shared: Trio) -> Iterator[Trio]:
    yield shared
    shared.hush()


def deliver(cluster: Trio) -> None:
    """Messages to all nodes, shard messages within their shard."""
    everywhere = [cluster.subscriber(at, "SUBSCRIBE", "news") for at in range(3)]
    matching = [cluster.subscriber(at, "PSUBSCRIBE", "n*") for at in range(3)]
    at_a = cluster.subscriber(0, "SSUBSCRIBE", LOW)
    shard = [cluster.subscriber(at, "SSUBSCRIBE", HIGH) for at in (1, 2)]
    for number, publisher in enumerate(cluster.wires):
        message = b"from %d \xff\r\n" % number
        assert publisher("PUBLISH", "news", message) == 2
        for wire in everywhere:
            assert wire.read() == Push([b"message", b"news", message])
        for wire in matching:
            assert wire.read() == Push([b"pmessage", b"n*", b"news", message])
    for publisher in (cluster.b, cluster.c):
        assert publisher("SPUBLISH", HIGH, "for the shard") == 1
        for wire in shard:
            assert wire.read() == Push([b"smessage", HIGH, b"for the shard"])
    assert cluster.a("SPUBLISH", LOW, "x" * 70_000) == 1
    assert at_a.read() == Push([b"smessage", LOW, b"x" * 70_000])
    assert cluster.a("PUBLISH", HIGH, "another name space") == 0
    assert all(wire.is_silent(0.02) for wire in (*everywhere, *matching, *shard, at_a))


def test_messages_reach_every_node_and_shard_messages_their_shard(mixed: Trio) -> None:
    deliver(mixed)


@pytest.mark.long
@pytest.mark.parametrize("kinds", [(RedisServer, HexadServer, RedisServer), (HexadServer, HexadServer, HexadServer)])
def test_messages_in_other_mixtures(kinds: tuple[type[Server], ...]) -> None:
    with trio(*kinds) as cluster:
        deliver(cluster)


def test_keyspace_events_stay_on_their_node(mixed: Trio) -> None:
    for wire in mixed.wires:
        wire("CONFIG", "SET", "notify-keyspace-events", "KEA")
    listeners = [mixed.subscriber(at, "PSUBSCRIBE", "__keyevent*") for at in range(3)]
    assert mixed.b("SET", HIGH, "v") == "OK"
    for listener in listeners[1:]:  # the replica makes the same change
        assert listener.read().items[2:] == [b"__keyevent@0__:set", HIGH]
    assert listeners[0].is_silent()


def test_redis_py_uses_shard_channels(mixed: Trio) -> None:
    client = redis.RedisCluster(host="127.0.0.1", port=mixed.servers[0].port)
    with contextlib.closing(client), contextlib.closing(client.pubsub()) as pubsub:
        pubsub.ssubscribe(LOW, HIGH)
        for _ in range(2):
            assert wait_until(lambda: pubsub.get_sharded_message(timeout=0.1), TIMEOUT_S, "subscribed")
        for channel in (LOW, HIGH):
            client.spublish(channel, b"hello")
            found = wait_until(lambda: pubsub.get_sharded_message(timeout=0.1), TIMEOUT_S, "a message")
            assert (found["type"], found["channel"], found["data"]) == ("smessage", channel, b"hello")


def move_slot_0(cluster: Trio) -> None:
    """It goes from the first to the second, and whoever listens to it at the first is told."""
    mine = cluster.subscriber(0, "SSUBSCRIBE", LOW)
    assert mine("SSUBSCRIBE", "{06S}other") == Push([b"ssubscribe", b"{06S}other", 2])
    stays = next(b"s%d" % number for number in range(99) if 0 < slot_of(b"s%d" % number) < 8192)
    other = cluster.subscriber(0, "SSUBSCRIBE", stays)
    for wire in (cluster.b, cluster.a):
        assert wire("CLUSTER", "SETSLOT", 0, "NODE", id_of(cluster.b)) == "OK"
    told = [mine.read().items, mine.read().items]
    assert sorted(channel for _, channel, _ in told) == sorted([LOW, b"{06S}other"])
    assert [(word, left) for word, _, left in told] == [(b"sunsubscribe", 1), (b"sunsubscribe", 0)]
    assert cluster.a("PUBSUB", "SHARDCHANNELS") == [stays]
    moved = cluster.a("SPUBLISH", LOW, "m")
    assert isinstance(moved, ReplyError) and moved.code == "MOVED"
    there = cluster.subscriber(1, "SSUBSCRIBE", LOW)
    assert cluster.b("SPUBLISH", LOW, "m") == 1 and there.read() == Push([b"smessage", LOW, b"m"])
    assert cluster.a("SPUBLISH", stays, "m") == 1 and other.read() == Push([b"smessage", stays, b"m"])


def fail_over(cluster: Trio, *how: str) -> None:
    """The replica that takes over has its subscribers still, and so has a node of another shard."""
    at_replica = cluster.subscriber(2, "SSUBSCRIBE", HIGH)
    elsewhere = cluster.subscriber(0, "SUBSCRIBE", "news")
    assert cluster.c("CLUSTER", "FAILOVER", *how) == "OK"
    wait_until(lambda: cluster.c("ROLE")[0] == b"master", TIMEOUT_S, "it has taken over")
    assert cluster.c("SPUBLISH", HIGH, "still") == 1
    assert at_replica.read() == Push([b"smessage", HIGH, b"still"])
    assert cluster.c("PUBLISH", "news", "still") == 0
    assert elsewhere.read() == Push([b"message", b"news", b"still"])


def test_who_listens_to_a_slot_that_moves_away_is_told(mixed: Trio) -> None:
    move_slot_0(mixed)


def test_a_failover_keeps_delivering(mixed: Trio) -> None:
    fail_over(mixed)


@pytest.mark.long
def test_what_redis_does_with_a_slot_that_moves_away() -> None:
    with trio(RedisServer, HexadServer, HexadServer) as cluster:
        move_slot_0(cluster)


@pytest.mark.long
def test_delivery_goes_on_after_a_death() -> None:
    with trio(HexadServer, HexadServer, HexadServer) as cluster:
        cluster.servers[1].kill()
        fail_over(cluster, "TAKEOVER")


REFUSED = [
    "SSUBSCRIBE {06S}x", "SSUBSCRIBE {x}x", "SSUBSCRIBE {06S}x {x}", "SUNSUBSCRIBE {06S}x", "SUNSUBSCRIBE {x}x",
    "SPUBLISH {06S}x m", "SPUBLISH {x}x m", "SSUBSCRIBE", "SPUBLISH {x}x", "SUNSUBSCRIBE", "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB {06S}x {x}x", "PUBLISH {06S}x m",
]  # fmt: skip
IN_TRANSACTIONS = [
    "MULTI", "SPUBLISH {x}x m", "SPUBLISH {06S}x m", "EXEC", "RESET", "MULTI", "SPUBLISH {06S}x m", "EXEC", "RESET",
    "MULTI", "SET {06S}a 1", "SPUBLISH {06S}x 1", "SSUBSCRIBE {06S}x", "EXEC",
]  # fmt: skip


@pytest.mark.long
def test_shard_channels_are_redirected_as_redis_does() -> None:
    told = []
    for kind in (HexadServer, RedisServer):
        with trio(kind, kind, kind) as cluster:
            ids = [id_of(wire) for wire in cluster.wires[:2]]
            answers: list[Any] = []
            for server in cluster.servers:
                for line in REFUSED:
                    with server.wire() as wire:  # one each: who has subscribed may do little else
                        answers.append((line, masked(wire(*line.split()), cluster.servers[:2], ids)))
            for server in cluster.servers[:2]:  # 7.0 redirects such an EXEC on a replica, 7.2 does not
                with server.wire() as wire:
                    for line in IN_TRANSACTIONS:
                        answers.append((line, masked(wire(*line.split()), cluster.servers[:2], ids)))
            told.append(answers)
    for mine, his in zip(*told, strict=True):
        assert mine == his
