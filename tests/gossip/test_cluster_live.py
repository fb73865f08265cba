"""Live nodes: what clients are told while slots move, while the cluster is down, on replicas; failover on an order.

The same talks are held with genuine nodes where both can be asked.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from tests.gossip.load import Counting
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.cluster import LocalCluster
from tests.support.servers import Server
from tests.support.wire import ReplyError, Wire

LINKS_BYTES = re.compile(rb"mem_cluster_links:(\d+)")
KINDS: tuple[type[Server], ...] = (HexadServer, RedisServer)
TIMEOUT_MS = 2000
OPTIONS: dict[str, Any] = {
    "cluster_enabled": "yes", "cluster_node_timeout": TIMEOUT_MS, "repl_diskless_sync_delay": 0,
}  # fmt: skip


@contextlib.contextmanager
def pair(kind: type[Server], **options: Any) -> Iterator[tuple[Wire, Wire, list[Server]]]:
    """Two primaries: the first has slots 0-8191, the second the others."""
    with kind(**{**OPTIONS, **options}) as a, kind(**{**OPTIONS, **options}) as b, a.wire() as at_a, b.wire() as at_b:
        assert at_a("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == "OK"
        assert at_b("CLUSTER", "ADDSLOTSRANGE", 8192, 16383) == "OK"
        at_b("CLUSTER", "SET-CONFIG-EPOCH", 5)
        at_a("CLUSTER", "MEET", "127.0.0.1", b.port)
        for wire in (at_a, at_b):
            wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 15, "ok")
        yield at_a, at_b, [a, b]


def id_of(wire: Wire) -> str:
    return wire("CLUSTER", "MYID").decode()


def masked(reply: Any, servers: list[Server], ids: list[str]) -> Any:
    """A reply without ports and ids."""
    if isinstance(reply, ReplyError):
        text = reply.text
        for name, server, node_id in zip("ab", servers, ids, strict=True):
            text = text.replace(f":{server.port}", f":{name}").replace(node_id, f"id-{name}")
        return ReplyError(text)
    return reply


MOVING = [
    ("a", "CLUSTER COUNTKEYSINSLOT 5474"),  # {x}: slot 16287 is b's, {foo}... see KEYS
    ("a", "GET {06S}1"), ("a", "GET {06S}gone"), ("a", "SET {06S}gone 1"), ("a", "MGET {06S}1 {06S}gone"),
    ("a", "MGET {06S}none {06S}gone"), ("a", "MGET {06S}1 other"), ("a", "DEL {06S}1 {06S}gone"),
    ("b", "GET {06S}1"), ("b", "SET {06S}1 x"),
    ("b", "ASKING"), ("b", "SET {06S}new 1"), ("b", "GET {06S}new"),
    ("b", "ASKING"), ("b", "PING"), ("b", "GET {06S}new"),
    ("b", "ASKING"), ("b", "NONSENSE"), ("b", "GET {06S}new"),
    ("b", "ASKING"), ("b", "MGET {06S}new {06S}none"), ("b", "ASKING"), ("b", "MGET {06S}new {06S}new"),
    ("b", "ASKING"), ("b", "MULTI"), ("b", "GET {06S}new"), ("b", "EXEC"),
    ("a", "MULTI"), ("a", "GET {06S}1"), ("a", "GET other"), ("a", "EXEC"),
    ("a", "MULTI"), ("a", "GET {06S}gone"), ("a", "EXEC"),
    ("a", "SPUBLISH {06S}ch m"), ("a", "SSUBSCRIBE {06S}ch"), ("a", "SUNSUBSCRIBE {06S}ch"),
    ("b", "SPUBLISH {06S}ch m"), ("b", "SSUBSCRIBE {06S}ch"), ("b", "ASKING"), ("b", "SPUBLISH {06S}ch m"),
    ("b", "ASKING"), ("b", "SSUBSCRIBE {06S}ch"),
    ("a", "MIGRATE 127.0.0.1 1 {06S}none 0 100"),
    ("a", "CLUSTER SETSLOT 0 NODE id-b"), ("a", "CLUSTER SETSLOT 0 STABLE"), ("a", "GET {06S}gone"),
    ("b", "CLUSTER SETSLOT 0 STABLE"), ("b", "ASKING"), ("b", "GET {06S}new"),
]  # fmt: skip


def test_a_slot_that_moves_is_told_as_redis_tells_it() -> None:
    told = []
    for kind in KINDS:
        with pair(kind) as (at_a, at_b, servers):
            ids = [id_of(at_a), id_of(at_b)]
            wires = {"a": at_a, "b": at_b}
            at_a("SET", "{06S}1", "v")
            assert at_b("CLUSTER", "SETSLOT", 0, "IMPORTING", ids[0]) == "OK"
            assert at_a("CLUSTER", "SETSLOT", 0, "MIGRATING", ids[1]) == "OK"
            replies = []
            for who, line in MOVING:
                words = [word.replace("id-b", ids[1]) for word in line.split()]
                replies.append((who, line, masked(wires[who](*words), servers, ids)))
            told.append(replies)
    for mine, his in zip(*told, strict=True):
        assert mine == his


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_takes_too_little_is_cut(kind: type[Server]) -> None:
    with pair(kind, cluster_node_timeout=60_000, cluster_link_sendbuf_limit=100_000) as (at_a, _, servers):
        servers[1].signal(signal.SIGSTOP)
        try:

            def is_cut() -> bool:
                at_a("PUBLISH", "news", b"x" * 500_000)
                return b"total_cluster_links_buffer_limit_exceeded:0" not in at_a("CLUSTER", "INFO")

            wait_until(is_cut, 30, "the link is cut")
        finally:
            servers[1].signal(signal.SIGCONT)
        wait_until(lambda: len(at_a("CLUSTER", "LINKS")) == 2, 30, "the links stand again")
        assert all(dict(zip(x[::2], x[1::2], strict=True))[b"send-buffer-used"] == 0 for x in at_a("CLUSTER", "LINKS"))


ERRORS = [
    "CLUSTER", "CLUSTER NONSENSE", "CLUSTER MEET", "CLUSTER MEET 127.0.0.1 x", "CLUSTER MEET 127.0.0.1 70000",
    "CLUSTER MEET nohost 7000", "CLUSTER MEET 127.0.0.1 7000 x", "CLUSTER ADDSLOTS", "CLUSTER ADDSLOTS x",
    "CLUSTER ADDSLOTS 16384", "CLUSTER ADDSLOTS -1", "CLUSTER ADDSLOTS 1", "CLUSTER DELSLOTS 1 1",
    "CLUSTER ADDSLOTSRANGE 1", "CLUSTER ADDSLOTSRANGE 5 3", "CLUSTER ADDSLOTSRANGE 1 2 3",
    "CLUSTER DELSLOTSRANGE 16000 17000", "CLUSTER FLUSHSLOTS x", "CLUSTER SETSLOT 1", "CLUSTER SETSLOT 1 STABLE x",
    "CLUSTER SETSLOT x STABLE", "CLUSTER SETSLOT 1 NONSENSE x", "CLUSTER SETSLOT 1 MIGRATING nobody",
    "CLUSTER SETSLOT 1 IMPORTING nobody", "CLUSTER SETSLOT 9000 MIGRATING nobody", "CLUSTER SETSLOT 1 NODE nobody",
    "CLUSTER SETSLOT 1 MIGRATING", "CLUSTER KEYSLOT", "CLUSTER KEYSLOT a b", "CLUSTER KEYSLOT {a}b",
    "CLUSTER COUNTKEYSINSLOT x", "CLUSTER COUNTKEYSINSLOT 20000", "CLUSTER GETKEYSINSLOT 0 -1",
    "CLUSTER GETKEYSINSLOT 0 x", "CLUSTER GETKEYSINSLOT 20000 1", "CLUSTER REPLICATE nobody",
    "CLUSTER REPLICATE id-a", "CLUSTER REPLICAS nobody", "CLUSTER REPLICAS id-b", "CLUSTER SLAVES id-a",
    "CLUSTER FORGET nobody", "CLUSTER FORGET id-a", "CLUSTER FAILOVER", "CLUSTER FAILOVER FORCE",
    "CLUSTER FAILOVER NONSENSE", "CLUSTER FAILOVER FORCE x", "CLUSTER RESET NONSENSE", "CLUSTER RESET HARD x",
    "CLUSTER RESET", "CLUSTER SET-CONFIG-EPOCH x", "CLUSTER SET-CONFIG-EPOCH -1", "CLUSTER SET-CONFIG-EPOCH 9",
    "CLUSTER COUNT-FAILURE-REPORTS nobody", "CLUSTER COUNT-FAILURE-REPORTS id-b", "CLUSTER SAVECONFIG",
    "CLUSTER SAVECONFIG x", "CLUSTER MYID x", "CLUSTER NODES x", "CLUSTER SLOTS x", "CLUSTER LINKS x",
    "CLUSTER SHARDS x", "CLUSTER INFO x", "CLUSTER BUMPEPOCH x", "SELECT 1", "SELECT 0", "SWAPDB 0 1", "MOVE k 1",
    "COPY {06S} {06S}x DB 1", "REPLICAOF 127.0.0.1 1", "SLAVEOF NO ONE", "READONLY", "READWRITE", "READONLY x",
    "ASKING x", "CONFIG GET databases",
]  # fmt: skip


def test_orders_and_their_errors_are_redis_s() -> None:
    told = []
    for kind in KINDS:
        with pair(kind) as (at_a, at_b, servers):
            ids = [id_of(at_a), id_of(at_b)]
            at_a("SET", "{06S}", "here")
            replies = []
            for line in ERRORS:
                words = [word.replace("id-a", ids[0]).replace("id-b", ids[1]) for word in line.split()]
                reply = masked(at_a(*words), servers, ids)
                if isinstance(reply, ReplyError):  # 7.0 still says what 7.2 does not: that ports are TCP's
                    reply = ReplyError(reply.text.replace("Invalid TCP ", "Invalid "))
                replies.append((line, reply))
            told.append(replies)
    differ = [(mine, his) for mine, his in zip(*told, strict=True) if mine != his]
    assert not differ, "\n".join(f"{mine}\n{his}" for mine, his in differ)


def shape(value: Any) -> Any:
    """Types and names, without values."""
    if isinstance(value, list):
        names = [part if isinstance(part, bytes) and part.isalpha() else shape(part) for part in value]
        return names[:6]
    if hasattr(value, "pairs"):
        return [(name, shape(part)) for name, part in value.pairs]
    return type(value).__name__


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("question", ["SLOTS", "SHARDS", "LINKS", "NODES", "INFO"])
def test_answers_have_redis_s_shapes(shaped: list[list[Server]], protocol: int, question: str) -> None:
    told = []
    for servers in shaped:
        with servers[0].wire(protocol=protocol) as wire:
            told.append(shape(wire("CLUSTER", question)))
    assert told[0] == told[1]


@pytest.fixture(scope="module")
def shaped() -> Iterator[list[list[Server]]]:
    with pair(HexadServer) as (_, _, ours), pair(RedisServer) as (_, _, theirs):
        yield [ours, theirs]


def test_what_waits_for_other_nodes_takes_memory(shaped: list[list[Server]]) -> None:
    with shaped[0][0].wire() as wire:
        info = ("INFO", "memory")
        wire.pipeline([("MULTI",), info, ("PUBLISH", "news", b"x" * 100_000), info])
        before, _, after = (LINKS_BYTES.findall(reply) if isinstance(reply, bytes) else [] for reply in wire("EXEC"))
        assert int(after[0]) - int(before[0]) >= 100_000 and int(before[0]) > 0


LIBRARY = """#!lua name=lib
redis.register_function('changes', function(keys) return redis.call('DEL', keys[1]) end)
redis.register_function{function_name='reads', callback=function(keys) return redis.call('GET', keys[1]) end,
                        flags={'no-writes'}}
"""
SCRIPTS = [
    ("EVAL", "return redis.call('GET', KEYS[1])", 1, "{06S}"),
    ("EVAL", "#!lua\nreturn redis.call('DEL', KEYS[1])", 1, "{06S}"),
    ("EVAL", "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])", 1, "{06S}"),
    ("EVALSHA", sha1(b"#!lua\nreturn redis.call('DEL', KEYS[1])").hexdigest(), 1, "{06S}"),
    ("EVAL", "#!lua flags=nonsense\n", 1, "{06S}"), ("EVALSHA", "none", 1, "{06S}"),
    ("FUNCTION", "LOAD", LIBRARY), ("FCALL", "changes", 1, "{06S}"), ("FCALL", "reads", 1, "{06S}"),
    ("FCALL", "none", 1, "{06S}"), ("FCALL_RO", "reads", 1, "{06S}"),
]  # fmt: skip
"""What they say of themselves tells whether they are reads, which go on where writes do not."""


def test_a_cluster_that_is_down_and_what_settings_let_through() -> None:
    told = []
    for kind in KINDS:
        with pair(kind) as (at_a, _, servers):
            replies = []
            at_a("SET", "{06S}", "v")

            def tries(note: str, wire: Wire = at_a, into: list[Any] = replies) -> None:
                into.append((note, wire("GET", "{06S}"), wire("SET", "{06S}", "v"), wire("PING")))

            assert at_a("CLUSTER", "DELSLOTS", 8191) == "OK"
            wait_until(lambda wire=at_a: b"cluster_state:fail" in wire("CLUSTER", "INFO"), 5, "down")
            tries("down")
            replies.append(at_a("CONFIG", "SET", "cluster-allow-reads-when-down", "yes"))
            tries("reads")
            replies += (at_a(*words) for words in SCRIPTS)
            at_a("MULTI")
            replies += [at_a(*SCRIPTS[1]), at_a("EXEC")]
            at_a("CONFIG", "SET", "cluster-allow-reads-when-down", "no")
            at_a("CONFIG", "SET", "cluster-require-full-coverage", "no")
            wait_until(lambda wire=at_a: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 10, "half a cluster is enough")
            tries("half")
            servers[1].signal(19)  # SIGSTOP: no majority is left
            wait_until(lambda wire=at_a: b"cluster_state:fail" in wire("CLUSTER", "INFO"), 10, "no majority")
            tries("minority")
            servers[1].signal(18)
            wait_until(lambda wire=at_a: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 15, "back")
            tries("back")
            told.append(replies)
    assert told[0] == told[1]


def test_settings_reach_the_cluster_while_it_runs() -> None:
    with pair(HexadServer) as (at_a, at_b, _):
        a = id_of(at_a)
        for name, value, shown in (
            ("cluster-announce-port", "7777", b"127.0.0.1:7777@"),
            ("cluster-announce-bus-port", "17777", b"@17777"),
            ("cluster-announce-hostname", "a.example", b",a.example "),
            ("cluster-announce-ip", "127.0.0.9", b"127.0.0.9:"),
            ("cluster-replica-no-failover", "yes", b"nofailover"),
        ):
            assert at_a("CONFIG", "SET", name, value) == "OK"
            line = next(line for line in at_a("CLUSTER", "NODES").splitlines() if line.startswith(a.encode()))
            assert shown in line, name
        at_a("CONFIG", "SET", "cluster-announce-bus-port", "0", "cluster-announce-ip", "127.0.0.1")
        wait_until(lambda: b",a.example " in at_b("CLUSTER", "NODES"), 10, "the other node hears of it")
        at_a("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
        assert at_a("CLUSTER", "SLOTS")[0][2][0] == b"a.example"


# ---- three primaries with replicas ----------------------------------------------------------------------------------


def test_a_replica_that_loads_is_not_offered_to_clients() -> None:
    with HexadServer(**OPTIONS, enable_debug_command="yes") as a, HexadServer(**OPTIONS) as b:
        primary, replica = a.wire(), b.wire()
        assert primary("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
        assert replica("CLUSTER", "MEET", "127.0.0.1", a.port) == "OK"
        wait_until(lambda: replica("CLUSTER", "REPLICATE", id_of(primary)) == "OK", 10, "they know each other")

        def is_offered() -> bool:
            return len(primary("CLUSTER", "SLOTS")[0]) == 4

        wait_until(lambda: primary("SET", "k", "v") == "OK", 10, "it is up")
        assert primary("DEBUG", "POPULATE", 400) == "OK"
        wait_until(lambda: primary("WAIT", 1, 100) == 1 and is_offered(), 10, "it has the data")
        assert replica("CONFIG", "SET", "key-load-delay", 10_000) == "OK"
        assert primary("DEBUG", "CHANGE-REPL-ID") == "OK"  # so that it must take all of the data again
        assert primary("CLIENT", "KILL", "TYPE", "replica") == 1
        wait_until(lambda: not is_offered(), 10, "it loads")
        assert b"loading" in primary("CLUSTER", "SHARDS")[0][3][1]
        assert replica("CONFIG", "SET", "key-load-delay", 0) == "OK"
        wait_until(is_offered, 10, "it has loaded")


@pytest.fixture(scope="module")
def six() -> Iterator[LocalCluster]:
    with LocalCluster(HexadServer, cluster_node_timeout=TIMEOUT_MS) as cluster:
        yield cluster


def replica_and_primary(cluster: LocalCluster) -> tuple[Server, Server]:
    wait_until(
        lambda: all(sum(not seen.is_primary for seen in cluster.seen_by(node)) == 3 for node in cluster.nodes),
        20,
        "all know the replicas",
    )
    seen = cluster.seen_by(cluster.nodes[0])
    replica = next(entry for entry in seen if not entry.is_primary)
    primary = next(entry for entry in seen if entry.id == replica.primary)
    return cluster.node(replica.port), cluster.node(primary.port)


def a_key_of(wire: Wire) -> str:
    """A key that a primary serves."""
    return next(key for key in (f"k{n}" for n in range(10_000)) if not isinstance(wire("GET", key), ReplyError))


@pytest.mark.long
def test_a_replica_reads_for_who_says_readonly(six: LocalCluster) -> None:
    replica, primary = replica_and_primary(six)
    with replica.wire() as at, primary.wire() as there:
        key = a_key_of(there)
        there("SET", key, "v")
        assert there("WAIT", 1, 5000) == 1
        assert at("GET", key).code == "MOVED"
        assert at("READONLY") == "OK"
        assert at("GET", key) == b"v" and at("SET", key, "x").code == "MOVED"
        assert at("MULTI") == "OK" and at("GET", key) == "QUEUED" and at("EXEC") == [b"v"]
        assert at("READWRITE") == "OK" and at("GET", key).code == "MOVED"


@pytest.mark.long
@pytest.mark.parametrize("mode", ["", "FORCE", "TAKEOVER"])
def test_failover_on_an_order_under_load(six: LocalCluster, mode: str) -> None:
    """Without FORCE and TAKEOVER no confirmed write may be lost; with them the cluster must be whole again."""
    replica, primary = replica_and_primary(six)
    with replica.wire() as at:
        wait_until(lambda: at.info("replication")["master_link_status"] == "up", 20, "it follows")
        if mode:
            assert at("CLUSTER", "FAILOVER", mode) == "OK"
            wait_until(lambda: at("ROLE")[0] == b"master", 10, "it is the primary")
        else:
            loads = [Counting(six.ports, [f"c{worker}:{n}" for n in range(60)], pause_s=0) for worker in range(2)]
            with loads[0], loads[1]:
                wait_until(lambda: all(load.total > 300 or load.failure for load in loads), 20, "the load runs")
                assert at("CLUSTER", "FAILOVER") == "OK"
                wait_until(lambda: at("ROLE")[0] == b"master", 10, "it is the primary")
                before = [load.total for load in loads]
                wait_until(
                    lambda: all(n + 300 < load.total or load.failure for n, load in zip(before, loads, strict=True)),
                    20,
                    "the load goes on",
                )
            six.wait_until_whole()
            for load in loads:
                load.prove()
                assert load.longest_s < 3
    six.wait_until_whole()
    with primary.wire() as wire:
        assert wire("ROLE")[0] == b"slave"


@pytest.mark.long
def test_reset_forget_and_replicate(six: LocalCluster) -> None:
    replica, primary = replica_and_primary(six)
    with replica.wire() as at, primary.wire() as there:
        old_id, primary_id = id_of(at), id_of(there)
        there("SET", a_key_of(there), "v")
        assert there("CLUSTER", "RESET").text.startswith("ERR CLUSTER RESET can't be called with master nodes")
        assert at("CLUSTER", "RESET", "HARD") == "OK"
        assert at("DBSIZE") == 0 and id_of(at) != old_id and at("ROLE")[0] == b"master"
        for node in six.nodes:
            if node is not replica:
                with node.wire() as wire:
                    assert wire("CLUSTER", "FORGET", old_id) == "OK"
        at("CLUSTER", "MEET", "127.0.0.1", primary.port)
        wait_until(lambda: primary_id.encode() in at("CLUSTER", "NODES"), 10, "it knows the primary")
        wait_until(lambda: at("CLUSTER", "REPLICATE", primary_id) == "OK", 10, "it may follow")
        wait_until(lambda: at.info("replication")["master_link_status"] == "up", 20, "it follows")
        assert at("DBSIZE") == there("DBSIZE") > 0
    six.wait_until_whole()
    assert all(old_id not in {entry.id for entry in six.seen_by(node)} for node in six.nodes)


def test_replaced_files_are_closed_and_what_was_confirmed_outlives_a_kill() -> None:
    with pair(HexadServer) as (at_a, at_b, (a, _)):
        target = id_of(at_b)
        held = [slot for slot in range(40) if at_a("CLUSTER", "SETSLOT", slot, "MIGRATING", target) == "OK"]
        assert len(held) == 40

        def left_open() -> int:
            links = [os.readlink(path) for path in Path(f"/proc/{a.pid}/fd").iterdir() if path.is_symlink()]
            return sum("nodes.conf" in link and link.endswith("(deleted)") for link in links)

        wait_until(lambda: left_open() == 0, 5, "no replaced file is open")
        at_a("CLUSTER", "SETSLOT", 40, "MIGRATING", target)
        a.signal(signal.SIGKILL)
        conf = (a.directory / "nodes.conf").read_text()
        assert all(f"[{slot}->-{target}]" in conf for slot in range(41))
