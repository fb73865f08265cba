"""Clients that vanish in the middle of everything, slow ones, and broken ones: nobody else notices."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest

from tests.proxy.support import ProxyServer
from tests.support.cluster import LocalCluster
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, Wire, encode

VISITORS, CROWD = 300, 150


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(RedisServer, nodes=3, replicas=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy(cluster: LocalCluster) -> Iterator[ProxyServer]:
    with ProxyServer(cluster=cluster.ports[:2]) as proxy:
        yield proxy


def info(wire: Wire) -> dict[str, int]:
    lines = wire("PROXY", "INFO").decode().split()
    return {name: int(value) for name, _, value in (line.partition(":") for line in lines) if value.isdigit()}


BEGINNINGS = [
    [("BLPOP", "never1", 0)],
    [("BLPOP", "never1", "never2", "never3", 0)],
    [("BLMOVE", "never1", "never2", "LEFT", "LEFT", 0)],
    [("BZPOPMIN", "neverz1", "neverz2", 0)],
    [("XREAD", "BLOCK", 0, "STREAMS", "neverx1", "neverx2", "$", "$")],
    [("WATCH", "a", "b", "c"), ("MULTI",), ("SET", "a", "1")],
    [("WATCH", "a"), ("GET", "a")],
    [("SUBSCRIBE", "one", "two"), ("PSUBSCRIBE", "t*")],
    [("SSUBSCRIBE", "three")],
    [("SET", f"big{number}", "x" * 1000) for number in range(500)],
    [("SUNIONSTORE", "u", "s1", "s2", "s3")] * 20,
    [("MGET", *(f"big{number}" for number in range(100)))] * 50,
    [("SCAN", 0)] * 10,
    [("WAIT", 3, 0)],
    [("RENAME", "r1", "r2"), ("RENAME", "r2", "r1")] * 20,
    [("RPOPLPUSH", "never1", "never2")] * 20,
]


def test_clients_that_vanish_leave_nothing_behind(cluster: LocalCluster, proxy: ProxyServer) -> None:
    luck = random.Random(9)
    with proxy.wire() as steady:
        steady("MSET", "a", "1", "r1", "x")
        crowd: list[Wire] = []
        for visit in range(VISITORS):
            visitor = proxy.wire(protocol=luck.choice([2, 2, 3]))
            data = b"".join(encode(*command) for command in luck.choice(BEGINNINGS))
            visitor.send_raw(data[: luck.choice([len(data), len(data), luck.randint(1, len(data))])])
            if luck.random() < 0.3:
                visitor.read_some(0.05) if not visitor.is_silent(0.01) else None
            crowd.append(visitor)
            if len(crowd) > CROWD:
                crowd.pop(luck.randrange(CROWD)).close()
            assert (
                steady.pipeline([("SET", "mine", visit), ("GET", "mine"), ("ECHO", visit)])[1:]
                == [str(visit).encode()] * 2
            )

        for visitor in crowd:
            visitor.close()

        def is_clean() -> bool:
            seen = info(steady)
            return (
                seen["connected_clients"] == 1
                and seen["backend_connections_private"] == 0
                and seen["commands_under_way"] == 0
                and seen["commands_waiting"] == 0
            )

        wait_until(is_clean, 10, "nothing is left of the visitors")
        assert steady("PUBSUB", "CHANNELS") == []
        assert info(steady)["backend_connections"] <= 3 * (2 + 1 + 16)
    for node in cluster.nodes:
        with node.wire() as wire:
            clients = wire("CLIENT", "LIST").splitlines()
            assert len([line for line in clients if b"name=hexad-proxy" in line]) <= 20
            assert not [line for line in clients if b"flags=b" in line]


def test_a_client_that_reads_nothing_is_held_back_alone(proxy: ProxyServer) -> None:
    with proxy.wire() as slow, proxy.wire() as other:
        other("SET", "much", b"x" * 100_000)
        slow.socket.setblocking(False)
        request, sent = encode("GET", "much") * 100, 0
        for _ in range(200):
            try:
                sent += slow.socket.send(request)
            except BlockingIOError:
                break
        for number in range(50):
            assert other("ECHO", number) == str(number).encode()
        rss = int(other.info("memory")["used_memory_rss"])
        assert rss < 400 << 20


def test_a_node_that_stands_still_holds_up_its_own_keys_alone(cluster: LocalCluster, proxy: ProxyServer) -> None:
    still = cluster.nodes[0]
    with still.wire() as wire:
        mine = [f"key:{number}" for number in range(60) if not isinstance(wire("EXISTS", f"key:{number}"), ReplyError)]
    others = [key for key in (f"key:{number}" for number in range(60)) if key not in mine]
    crowd = [proxy.wire() for _ in range(30)]
    with proxy.wire() as steady:
        steady("MSET", *(word for key in others for word in (key, "v")))
        still.signal(signal.SIGSTOP)
        try:
            for number, client in enumerate(crowd):
                client.send("INCR", f"{{{mine[number % len(mine)]}}}:count{number}")
                client.send("MGET", mine[0], others[0])
            for _ in range(3):
                assert steady("MGET", *others) == [b"v"] * len(others)
            assert all(client.is_silent(0) for client in crowd)
        finally:
            still.signal(signal.SIGCONT)
        for client in crowd:
            assert client.read() == 1 and client.read()[1] == b"v"
            client.close()


def test_a_broken_client_costs_only_itself(proxy: ProxyServer) -> None:
    luck = random.Random(5)
    with proxy.wire() as other:
        for _ in range(200):
            with proxy.wire() as broken:
                broken.send_raw(bytes(luck.choices(b"*$\r\n:+-0123GETabc", k=luck.randint(1, 60))))
            assert other("PING") == "PONG"


def test_passwords(cluster: LocalCluster) -> None:
    options = {"requirepass": "front", "user": ["reader", "on", ">word", "~k*", "+@read", "+ping"]}
    with ProxyServer(cluster=cluster.ports[:1], **options) as proxy:
        with Wire(proxy.port) as wire:
            assert wire("GET", "k1").code == "NOAUTH"
            assert wire("AUTH", "wrong").code == "WRONGPASS"
            assert wire("AUTH", "front") == "OK"
            assert wire("SET", "k1", "v") == "OK"
            assert wire("AUTH", "reader", "word") == "OK"
            assert wire("GET", "k1") == b"v"
            assert wire.pipeline([("SET", "k1", "w"), ("GET", "other"), ("MGET", "k1", "k2")])[2] == [b"v", None]
            assert wire("SET", "k1", "w").code == wire("GET", "other").code == "NOPERM"


def test_sigterm_answers_what_is_under_way(cluster: LocalCluster) -> None:
    with ProxyServer(cluster=cluster.ports[:1]) as proxy:
        with proxy.wire() as idle, proxy.wire() as blocked, proxy.wire() as queued:
            blocked.send("BLPOP", "never", 0)
            queued("MULTI")
            queued("SET", "drained", "1")
            assert proxy.process is not None
            proxy.process.terminate()
            assert idle.is_closed(5) and blocked.is_closed(5)
            assert queued("EXEC") == ["OK"]
            assert queued.is_closed(5)
        assert proxy.process.wait(10) == 0


def test_users_of_their_own_at_the_nodes() -> None:
    rules = ["app", "on", ">inside", "~k*", "+@all", "-acl", "&news*", "resetchannels", "&news*"]
    login = ["app", "app", "inside"]
    front = {"requirepass": "front", "user": ["app", "on", ">word", "~*", "&*", "+@all"]}
    with RedisServer(user=["default", "on", ">boss", "~*", "&*", "+@all"]) as node:
        with node.wire(password="boss") as direct:
            assert direct("ACL", "SETUSER", *rules) == "OK"
        with ProxyServer(nodes=[node.port], backend_password="boss", backend_login=login, **front) as proxy:
            with proxy.wire(password="front") as boss, Wire(proxy.port) as app:
                assert app("AUTH", "app", "word") == "OK" and app("ACL", "WHOAMI") == b"app"
                assert boss("SET", "other", "1") == "OK"
                row = [("SET", "k1", "v"), ("GET", "k1"), ("GET", "other"), ("MGET", "k1", "other")]
                replies = app.pipeline(row)
                assert replies[:2] == ["OK", b"v"] and replies[2].code == replies[3].code == "NOPERM"
                assert app.pipeline([("MULTI",), ("SET", "other", "2"), ("EXEC",)])[2].code == "EXECABORT"
                assert app("BLPOP", "other", 0.01).code == "NOPERM" and app("WATCH", "other").code == "NOPERM"
                assert app("SUBSCRIBE", "secret").code == "NOPERM"
                assert app("PUBLISH", "secret", "x").code == "NOPERM"
                assert app.pipeline([("SUBSCRIBE", "news1")])[0][0] == b"subscribe"
                assert boss("PUBLISH", "news1", "hello") == 1
                assert app.read() == [b"message", b"news1", b"hello"]
                with node.wire(password="boss") as direct:
                    assert direct("ACL", "SETUSER", "app", "resetpass", ">other") == "OK"
                    direct("CLIENT", "KILL", "USER", "app")
                with Wire(proxy.port) as late:
                    late("AUTH", "app", "word")
                    assert "does not let us in: AUTH: WRONGPASS" in late("GET", "k1").text
