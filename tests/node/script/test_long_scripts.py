"""A script that runs for long: the node lives on, and the script can be ended. On real servers."""

# ruff: noqa: E501 (programs of one line)
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import HexadServer, ReplyError, Wire, wait_until
from tests.support.cluster import LocalCluster

ENDLESS = "while true do end"
BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."


@pytest.fixture(scope="module")
def server() -> Iterator[HexadServer]:
    with HexadServer(lua_time_limit=50, repl_diskless_sync_delay=0) as one:
        yield one


def wait_until_busy(wire: Wire) -> None:
    wait_until(lambda: wire("GET", "any") == ReplyError(BUSY), 10, "others hear BUSY")


@pytest.mark.parametrize(
    "script",
    [
        ENDLESS,
        "while true do pcall(function() while true do end end) end",
        "while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end",
        "while true do redis.pcall('get', 'x') end",
    ],
)
def test_a_kill_ends_it(server: HexadServer, script: str) -> None:
    with server.wire() as runs, server.wire() as other:
        runs.send("EVAL", script, 0)
        runs.send("PING")
        wait_until_busy(other)
        assert other("EVAL", "return 1", 0) == other("SCRIPT", "FLUSH") == other("PING") == ReplyError(BUSY)
        with server.wire() as newcomer:  # who comes only now is served as well
            assert newcomer("HELLO", 3) and newcomer("FUNCTION", "NOSUCH").text != ""
            assert newcomer("SHUTDOWN") == ReplyError(BUSY)
            assert newcomer("SCRIPT", "KILL") == "OK"
        assert runs.read().text.startswith("ERR Script killed by user with SCRIPT KILL...")
        assert runs.read() == "PONG"
        assert other("GET", "any") is None
        assert other("SCRIPT", "KILL") == ReplyError("NOTBUSY No scripts in execution right now.")


def test_what_has_written_is_not_killed(server: HexadServer) -> None:
    script = "redis.call('set','k','half') while redis.call('time')[1] + 0 < tonumber(ARGV[1]) do end redis.call('set','k','whole')"
    with server.wire() as runs, server.wire() as other:
        end_s = int(other("TIME")[0]) + 2
        runs.send("EVAL", script, 0, end_s)
        wait_until_busy(other)
        assert other("SCRIPT", "KILL").code == "UNKILLABLE"
        assert runs.read() is None
        assert other("GET", "k") == b"whole"


def test_within_a_transaction_and_when_its_client_goes(server: HexadServer) -> None:
    with server.wire() as runs, server.wire() as other:
        runs("MULTI")
        runs("INCR", "counted")
        runs("EVAL", ENDLESS, 0)
        runs.send("EXEC")
        wait_until_busy(other)
        assert other("SCRIPT", "KILL") == "OK"
        first, second = runs.read()
        assert first == 1 and second.code == "ERR"
        runs.send("EVAL", ENDLESS, 0)
        wait_until_busy(other)
        runs.close()
        wait_until_busy(other)
        assert other("SCRIPT", "KILL") == "OK"
        wait_until(lambda: other("PING") == "PONG", 10, "it is over")


def test_time_stands_still_for_it_and_keys_with_it(server: HexadServer) -> None:
    script = "redis.call('set','short','x','px',20) local n = 0 while n < 3000000 do n = n + 1 end return redis.call('get','short')"
    with server.wire() as runs:
        assert runs("EVAL", script, 0) == b"x"
        wait_until(lambda: runs("GET", "short") is None, 5, "it expires afterwards")


def test_shutdown_nosave_ends_the_node(server: HexadServer) -> None:
    with HexadServer(lua_time_limit=50) as doomed, doomed.wire() as runs, doomed.wire() as other:
        runs.send("EVAL", "redis.call('set','k','half') while true do end", 0)
        wait_until_busy(other)
        other.send("SHUTDOWN", "NOSAVE")
        assert doomed.process is not None
        assert doomed.process.wait(10) == 0


def test_a_replica_gets_effects_and_waits_for_its_own_scripts(server: HexadServer) -> None:
    """Its stream stands still while a script of the replica's runs, and what its clients read does not change in it."""
    with HexadServer(lua_time_limit=50, replicaof=("127.0.0.1", str(server.port))) as replica:
        with server.wire() as at, replica.wire() as there, replica.wire() as runs:
            wait_until(lambda: there.info("replication")["master_link_status"] == "up", 20, "it follows")
            at(
                "EVAL",
                "for i = 1, 3 do redis.call('rpush','l',i) end redis.call('del','nothing') return redis.call('incr','n')",
                0,
            )
            assert at("WAIT", 1, 5000) == 1
            assert there("LRANGE", "l", 0, -1) == [b"1", b"2", b"3"] and there("GET", "n") == b"1"
            assert runs("EVAL", "return redis.call('set','x','y')", 0).code == "READONLY"
            assert runs("EVAL", "#!lua\nreturn 1", 0).code == "READONLY"
            assert runs("EVAL", "#!lua flags=no-writes\nreturn redis.call('get','n')", 0) == b"1"
            script = "local n = redis.call('get','n') while redis.call('time')[1] + 0 < ARGV[1] + 0 do end return {n, redis.call('get','n')}"
            runs.send("EVAL", script, 0, int(at("TIME")[0]) + 2)
            wait_until_busy(there)
            at("INCR", "n")
            assert runs.read() == [b"1", b"1"]
            wait_until(lambda: there("GET", "n") == b"2", 10, "what waited is applied")


def test_keys_in_a_cluster() -> None:
    with HexadServer(cluster_enabled="yes") as node, node.wire() as wire:
        assert wire("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == "OK"  # "foo" and "b" have other slots: 12182, 3300
        wait_until(lambda: wire("EVAL", "return 1", 0) == 1, 10, "it answers")
        wire("CONFIG", "SET", "cluster-require-full-coverage", "no")
        wait_until(lambda: wire("SET", "b", "1") == "OK", 10, "the cluster is up")
        assert wire("EVAL", "return 1", 1, "foo").code in ("MOVED", "CLUSTERDOWN")
        assert wire("EVAL", "return 1", 2, "b", "c").code == "CROSSSLOT"
        for key in ("foo", "{foo}x"):
            text = wire("EVAL", f"return redis.call('get','{key}')", 0).text
            assert text.startswith("ERR Script attempted to access a non local key in a cluster node")
        two = "redis.call('set','b',1) return redis.call('set','f',2)"
        assert wire("EVAL", two, 0) == "OK"
        text = wire("EVAL", "#!lua\n" + two, 0).text
        assert text.startswith("ERR Script attempted to access keys that do not hash to the same slot")
        assert wire("EVAL", "#!lua flags=allow-cross-slot-keys\n" + two, 0) == "OK"
        assert wire("EVAL", "#!lua flags=no-cluster\nreturn 1", 0).code == "ERR"
        text = wire("EVAL", "return redis.call('mget','b','f')", 0).text
        assert text.startswith("ERR Script attempted to access keys that do not hash to the same slot")


@pytest.mark.long
def test_six_seconds_at_a_node_timeout_of_one() -> None:
    """The bus is served within the script: nobody holds the node for dead, and no replica takes over."""
    with LocalCluster(HexadServer, nodes=6, replicas=1, cluster_node_timeout=1000, lua_time_limit=200) as cluster:
        primary = next(node for node in cluster.nodes if b"myself,master" in _nodes(node))
        epoch = _epoch(primary)
        with primary.wire(timeout_s=30) as runs:
            script = "while redis.call('time')[1] + 0 < ARGV[1] + 0 do end return 'done'"
            assert runs("EVAL", script, 0, int(runs("TIME")[0]) + 6) == b"done"
            assert runs("ROLE")[0] == b"master"
        cluster.wait_until_whole()
        assert _epoch(primary) == epoch
        for node in cluster.nodes:
            assert "FAIL" not in "".join(line for line in node.log().splitlines() if "failing" in line.lower())


def _nodes(node: HexadServer) -> bytes:
    with node.wire() as wire:
        found: bytes = wire("CLUSTER", "NODES")
        return found


def _epoch(node: HexadServer) -> str:
    with node.wire() as wire:
        return next(line for line in wire("CLUSTER", "INFO").decode().splitlines() if "current_epoch" in line)
