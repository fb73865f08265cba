"""What else may stand behind a proxy: single servers, a primary with replicas, Sentinels, nodes with TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.support import ProxyServer
from tests.support.certificates import Authority
from tests.support.cluster import LocalCluster
from tests.support.ports import free_port
from tests.support.sentinels import HexadSentinel, Watched
from tests.support.servers import HexadServer, RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError


def test_a_single_server_with_its_databases() -> None:
    with (
        RedisServer(requirepass="inside") as server,
        ProxyServer(nodes=[server.port], backend_password="inside") as proxy,
    ):
        with proxy.wire() as wire, proxy.wire() as other:
            assert wire("SELECT", 3) == "OK"
            assert wire("MSET", "a", "1", "b", "2") == "OK"
            assert wire("SINTERSTORE", "c", "d", "e") == 0
            assert wire.pipeline([("MULTI",), ("DBSIZE",), ("GET", "b"), ("EXEC",)])[-1] == [2, b"2"]
            assert other("GET", "a") is None and other("DBSIZE") == 0
            assert wire("SCAN", 0)[0] == b"0"
            assert wire("SELECT", 0) == "OK" and wire("GET", "a") is None


@pytest.mark.long
def test_a_replica_that_becomes_the_primary() -> None:
    with HexadServer() as first, HexadServer(replicaof=["127.0.0.1", str(first.port)]) as second:
        with second.wire() as wire:
            wait_until(lambda: wire.info("replication")["master_link_status"] == "up", 20, "the replica has all")
        options = {"read_policy": "prefer-replica", "refresh_period": 200}
        with ProxyServer(nodes=[first.port, second.port], **options) as proxy, proxy.wire(timeout_s=30) as wire:
            assert wire("SET", "a", "1") == "OK"
            wait_until(lambda: wire("GET", "a") == b"1", 10, "the replica has it")
            with first.wire() as one, second.wire() as other:
                assert other("REPLICAOF", "NO", "ONE") == "OK"
                assert one("REPLICAOF", "127.0.0.1", second.port) == "OK"
            assert wire("SET", "a", "2") == "OK", "READONLY is waited out"
            wait_until(lambda: wire("GET", "a") == b"2", 10, "the other one reads")
            with second.wire() as other:
                assert other("GET", "a") == b"2"


@pytest.mark.long
def test_behind_sentinels_a_failover_is_a_delay() -> None:
    with Watched(HexadServer, [HexadSentinel] * 3, replicas=1) as group:
        ports = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in group.sentinels)
        with ProxyServer(sentinel=ports, master_name="mymaster", retry_timeout=30_000) as proxy:
            with proxy.wire(timeout_s=40) as wire:
                assert wire("SET", "a", "1") == "OK" and wire("WAIT", 1, 5000) == 1
                primary = group.servers[0].process
                assert primary is not None
                primary.kill()
                replies = [wire("INCR", "a") for _ in range(3)]
                unknown = [reply for reply in replies if isinstance(reply, ReplyError)]
                assert len(unknown) <= 1 and all("outcome is unknown" in reply.text for reply in unknown)
                assert replies[-1] in (3, 4)


def test_nodes_by_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    options = ca.issue("node").options(ca)
    tls_port = free_port()
    with RedisServer(tls_port=tls_port, **options) as server:
        with ProxyServer(nodes=[tls_port], tls_replication="yes", **options) as proxy, proxy.wire() as wire:
            assert wire("SET", "a", "1") == "OK"
            assert wire.pipeline([("SET", "big", "x" * 1_000_000), ("STRLEN", "big")])[1] == 1_000_000
            with server.wire() as direct:
                assert direct("GET", "a") == b"1"


def test_a_script_that_a_node_has_lost_is_told_again() -> None:
    with LocalCluster(RedisServer, nodes=3, replicas=0) as cluster:
        with ProxyServer(cluster=cluster.ports) as proxy, proxy.wire() as wire:
            sha = wire("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")
            for node in cluster.nodes:
                with node.wire() as direct:
                    assert direct("SCRIPT", "EXISTS", sha) == [1]
                    direct("SCRIPT", "FLUSH")
            keys = [f"k{number}" for number in range(9)]
            assert wire.pipeline([("EVALSHA", sha, 1, key) for key in keys]) == [1] * 9
            for node in cluster.nodes:
                with node.wire() as direct:
                    direct("SCRIPT", "FLUSH")
            assert wire.pipeline([("MULTI",), *(("EVALSHA", sha, 1, key) for key in keys), ("EXEC",)])[-1] == [2] * 9
            assert wire("SCRIPT", "EXISTS", sha, "0" * 40) == [1, 0]
            assert wire("EVALSHA", "0" * 40, 0).code == "NOSCRIPT"
            assert wire("SCRIPT", "FLUSH") == "OK"
            assert wire("EVALSHA", sha, 1, "k1").code == "NOSCRIPT"


def test_strict_transactions_name_keys_and_slots() -> None:
    with LocalCluster(RedisServer, nodes=3, replicas=0) as cluster:
        with ProxyServer(cluster=cluster.ports, cross_slot="strict") as proxy, proxy.wire() as wire:
            row = [("MULTI",), ("SET", "a", "1"), ("SET", "b", "1"), ("EXEC",)]
            said = wire.pipeline(row)[-1].text
            assert said.startswith("EXECABORT CROSSSLOT proxy: these keys of one transaction are in different slots:")
            assert said.endswith("'a' in 15495, 'b' in 3300")
            assert wire("WATCH", "a", "b").code == wire("MSETNX", "a", "1", "b", "1").code == "CROSSSLOT"
            row = [("WATCH", "{t}a"), ("MULTI",), ("SET", "{t}a", "1"), ("INCR", "{t}b"), ("EXEC",)]
            assert wire.pipeline(row)[-1] == ["OK", 1]
            assert wire("EXISTS", "a", "b") == 0
