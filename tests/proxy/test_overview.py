"""INFO through the proxy: a single Redis's fields, with the figures of all nodes where they are about the data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy import overview
from tests.proxy.support import ProxyServer
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.wire import Wire

NODES = 3
KEYS = 300


@pytest.fixture(scope="module", params=[RedisServer, HexadServer])
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    kind: type[Server] = request.param
    with LocalCluster(kind, nodes=NODES, replicas=0) as cluster:
        yield cluster


def info(wire: Wire, *sections: str) -> overview.Report:
    return overview.parse(wire("INFO", *sections))


def summed(cluster: LocalCluster, section: str, field: str) -> int:
    total = 0
    for node in cluster.nodes:
        with node.wire() as wire:
            total += int(info(wire)[section][field])
    return total


def test_it_has_every_field_of_a_single_redis(cluster: LocalCluster) -> None:
    with RedisServer() as redis, redis.wire() as single, ProxyServer(cluster=cluster.ports) as proxy:
        expected = info(single)
        with proxy.wire() as wire:
            found = info(wire)
    for title, fields in expected.items():
        assert not fields.keys() - found[title].keys(), title


def test_what_is_about_the_data_is_told_of_all_nodes(cluster: LocalCluster) -> None:
    with ProxyServer(cluster=cluster.ports) as proxy, proxy.wire() as wire:
        before = info(wire)
        for number in range(KEYS):
            wire("SET", f"key:{number}", "x")
            wire("GET", f"key:{number}")
            wire("GET", f"none:{number}")
        report = info(wire)
        stats = {name: int(report["stats"][name]) - int(before["stats"][name]) for name in overview.KEY_EVENTS}
        assert stats == {"expired_keys": 0, "evicted_keys": 0, "keyspace_hits": KEYS, "keyspace_misses": KEYS}
        changes = "rdb_changes_since_last_save"
        assert int(report["persistence"][changes]) == summed(cluster, "persistence", changes) >= KEYS
        assert report["keyspace"]["db0"].startswith(f"keys={KEYS},expires=0,")
        startup = "used_memory_startup"
        assert int(report["memory"][startup]) == summed(cluster, "memory", startup)
        assert int(report["memory"]["used_memory"]) > NODES * 300_000
        assert info(wire, "persistence").keys() == {"persistence"}
        assert info(wire, "server").keys() == {"server"}
        wire("FLUSHALL")


def report(**sections: dict[str, str]) -> overview.Report:
    return sections


def test_each_figure_is_told_as_one_redis_would() -> None:
    one = report(
        memory={"used_memory": "3072", "used_memory_human": "3.00K", "used_memory_peak": "4096"}
        | {"used_memory_peak_perc": "75.00%", "maxmemory": "1000", "maxmemory_human": "1000B", "only_here": "1"},
        persistence={"rdb_last_save_time": "70", "rdb_last_bgsave_status": "ok", "rdb_saves": "2", "loading": "0"}
        | {"aof_enabled": "1", "aof_current_size": "10"},
        replication={"connected_slaves": "2"},
        keyspace={"db10": "keys=1,expires=0,avg_ttl=0", "db2": "keys=5,expires=1,avg_ttl=7"},
    )
    other = report(
        memory={"used_memory": "1024", "used_memory_human": "1.00K", "used_memory_peak": "4096"}
        | {"used_memory_peak_perc": "25.00%", "maxmemory": "2000", "maxmemory_human": "1.95K"},
        persistence={"rdb_last_save_time": "60", "rdb_last_bgsave_status": "err", "rdb_saves": "1", "loading": "1"}
        | {"aof_enabled": "0", "aof_current_size": "20"},
        replication={"connected_slaves": "1"},
        keyspace={"db2": "keys=2,expires=2,avg_ttl=9"},
    )
    assert overview.memory([one, other]) == {
        "used_memory": 4096,
        "used_memory_human": "4.00K",
        "used_memory_peak": 8192,
        "used_memory_peak_perc": "50.00%",
        "maxmemory": 3000,
        "maxmemory_human": "2.93K",
    }
    assert overview.persistence([one, other]) == {
        "rdb_last_save_time": 60,
        "rdb_last_bgsave_status": "err",
        "rdb_saves": 3,
        "loading": 1,
        "aof_enabled": 0,
        "aof_current_size": 30,
    }
    assert overview.replicas([one, other]) == {"connected_slaves": 1}
    found = overview.keyspace([one, other])
    assert list(found.items()) == [("db2", "keys=7,expires=3,avg_ttl=9"), ("db10", "keys=1,expires=0,avg_ttl=0")]


def test_one_node_without_a_limit_leaves_all_without() -> None:
    limits = [report(memory={"maxmemory": limit}) for limit in ("0", "1000")]
    assert overview.memory(limits) == {"maxmemory": 0}
