"""A primary is killed, slots move: clients of the proxy notice a delay at most, but for what is unknown."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tests.proxy.support import ProxyServer, move_slot
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import Push, ReplyError, Wire

KEYS = [f"key:{number}" for number in range(40)]


@pytest.mark.long
def test_a_primary_dies() -> None:
    with LocalCluster(HexadServer, nodes=6, replicas=1, cluster_node_timeout=1000) as cluster:
        with ProxyServer(cluster=[cluster.ports[0]]) as proxy, proxy.wire(timeout_s=30) as wire:
            victim = cluster.primaries()[0]
            listener = proxy.wire(timeout_s=30)
            listener("SUBSCRIBE", "news")
            for channel in range(8):
                listener("SSUBSCRIBE", f"shard{channel}")
            popper = proxy.wire(timeout_s=30)
            popper.send("BLPOP", "work1", "work2", "work3", "work4", 0)
            counts = dict.fromkeys(KEYS, 0)
            for key in KEYS:
                counts[key] = wire("INCR", key)
            assert wire("WAIT", 1, 5000) == 1
            keeper = proxy.wire(protocol=3, timeout_s=30)
            assert keeper("CLIENT", "TRACKING", "ON") == "OK" and keeper("MGET", *KEYS) is not None
            assert victim.process is not None
            victim.process.kill()
            assert keeper.read() == Push([b"invalidate", None]), "no copy is good any more"
            unknown = 0
            for _ in range(3):
                for key in KEYS:
                    reply = wire("INCR", key)
                    if isinstance(reply, ReplyError):
                        assert "its outcome is unknown" in reply.text
                        unknown += 1
                        continue
                    assert reply > counts[key]
                    counts[key] = reply
            assert unknown <= 2
            assert wire("MGET", *KEYS) == [str(counts[key]).encode() for key in KEYS]
            assert wire("RPUSH", "work4", "job") == 1
            assert popper.read() == [b"work4", b"job"]
            _hears(wire, listener)
            for key in KEYS[:10]:
                wait_until(partial(_is_told, wire, keeper, key), 10, f"{key} is told again")
            keeper.close()
            listener.close()
            popper.close()


def _hears(wire: Wire, listener: Wire) -> None:
    """The subscriptions are there again, each message once they are."""
    wait_until(lambda: wire("PUBLISH", "news", "x") == 1 and not listener.is_silent(0.1), 10, "news arrive")
    for channel in range(8):
        name = f"shard{channel}"
        wait_until(lambda name=name: wire("SPUBLISH", name, "x") == 1, 10, f"{name} is listened to")


def _is_told(wire: Wire, keeper: Wire, key: str) -> bool:
    """Is who has read a key told that it has changed?"""
    keeper.send("GET", key)
    while isinstance(keeper.read(), Push):
        pass
    assert isinstance(wire("INCR", key), int)
    while not keeper.is_silent(0.2):
        if keeper.read() == Push([b"invalidate", [key.encode()]]):
            return True
    return False


def test_slots_move_under_load() -> None:
    with LocalCluster(RedisServer, nodes=3, replicas=0) as cluster:
        with ProxyServer(cluster=[cluster.ports[0]]) as proxy, proxy.wire(timeout_s=30) as wire:
            names = [f"{{tag}}{number}" for number in range(200)]
            wire("MSET", *(word for name in names for word in (name, "0")))
            slot = cluster.nodes[0].wire()("CLUSTER", "KEYSLOT", "{tag}")
            over = threading.Event()
            failures: list[str] = []
            rounds = [0]

            def work() -> None:
                with proxy.wire(timeout_s=30) as mine:
                    while not over.is_set():
                        replies = mine.pipeline([("INCR", name) for name in names])
                        replies += mine.pipeline([("MULTI",), ("INCRBY", names[0], 0), ("EXEC",)])[2]
                        failures.extend(repr(reply) for reply in replies if not isinstance(reply, int))
                        cursor, found = b"0", set[bytes]()
                        while True:
                            cursor, some = mine("SCAN", cursor, "COUNT", 10_000)
                            found.update(some)
                            if cursor == b"0":
                                break
                        failures.extend(f"SCAN lost {name}" for name in names if name.encode() not in found)
                        rounds[0] += 1

            keeper = proxy.wire(protocol=3, timeout_s=30)
            assert keeper("CLIENT", "TRACKING", "ON", "NOLOOP") == "OK"
            worker = threading.Thread(target=work)
            worker.start()
            for number in range(4):
                seen = rounds[0]
                move_slot(cluster, slot, cluster.nodes[number % 3])
                wait_until(lambda seen=seen: rounds[0] > seen or failures, 20, "the work goes on")
                assert _is_told(wire, keeper, "{tag}own"), "wherever a key is, its changes are told"
            keeper.close()
            over.set()
            worker.join(60)
            assert not failures, failures[:5]
            assert rounds[0] > 1
            assert wire("MGET", *names[1:]) == [str(rounds[0]).encode()] * (len(names) - 1)
