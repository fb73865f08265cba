"""What arrives is what was written: all databases, deadlines, and what only a replica does differently."""

from __future__ import annotations

import random
import time

import pytest

from tests.node.replication.support import (
    PAIRS,
    TIMEOUT_S,
    follow,
    full_syncs,
    node,
    offset_of,
    partial_syncs,
    wait_connected,
    wait_same_offset,
)
from tests.support import Server, Wire, wait_until

IDS = ["-".join(pair) for pair in PAIRS]
pairs = pytest.mark.parametrize("kinds", PAIRS, ids=IDS)


def load(wire: Wire, luck: random.Random, count: int) -> None:
    """A random load over three databases; errors are part of it."""

    def key() -> str:
        return f"k{luck.randrange(60)}"

    def far() -> int:
        return int(time.time()) + 1000

    makers = [
        lambda: ("SET", key(), luck.randbytes(luck.choice([1, 30, 3000]))),
        lambda: ("SET", key(), luck.randrange(1000), "EX", 1000),
        lambda: ("SET", key(), "1", "PX", luck.randrange(1, 20)),
        lambda: ("INCRBY", key(), luck.randrange(100)),
        lambda: ("INCRBYFLOAT", key(), 0.1),
        lambda: ("APPEND", key(), "more"),
        lambda: ("SETRANGE", key(), luck.randrange(20), "xyz"),
        lambda: ("DEL", key(), key()),
        lambda: ("UNLINK", key()),
        lambda: ("EXPIRE", key(), luck.randrange(500, 2000)),
        lambda: ("EXPIREAT", key(), far()),
        lambda: ("PEXPIRE", key(), luck.randrange(1, 30)),
        lambda: ("EXPIRE", key(), -1),
        lambda: ("PERSIST", key()),
        lambda: ("GETEX", key(), "EX", 1000),
        lambda: ("GETDEL", key()),
        lambda: ("RENAME", key(), key()),
        lambda: ("COPY", key(), key(), "REPLACE"),
        lambda: ("MOVE", key(), luck.randrange(3)),
        lambda: ("MSET", key(), "1", key(), "2"),
        lambda: ("SELECT", luck.randrange(3)),
        lambda: ("SWAPDB", luck.randrange(3), luck.randrange(3)),
    ]
    rare = [lambda: ("FLUSHDB",), lambda: ("FLUSHALL", "ASYNC")]
    wire.pipeline([luck.choice(rare if luck.random() < 0.003 else makers)() for _ in range(count)])


def contents(wire: Wire) -> dict[tuple[int, bytes], tuple[bytes, int]]:
    """All keys with their values and deadlines."""
    found = {}
    for db in range(3):
        wire("SELECT", db)
        for key in wire("KEYS", "*"):
            found[db, key] = (wire("GET", key), wire("PEXPIRETIME", key))
    return found


@pairs
def test_a_random_load_arrives_whole(kinds: tuple[str, str]) -> None:
    luck = random.Random(repr(kinds))
    with node(kinds[0], enable_debug_command="yes") as primary, node(kinds[1], enable_debug_command="yes") as replica:
        up, down = primary.wire(), replica.wire()
        load(up, luck, 1500)
        follow(down, primary.port)
        wait_connected(down)
        for _ in range(4):
            load(up, luck, 1500)
        up("SET", "end", "1")
        time.sleep(0.1)  # the last short deadlines pass
        wait_same_offset(up, down)
        wait_until(lambda: contents(up) == contents(down), TIMEOUT_S, "the same keys")
        wait_same_offset(up, down)
        assert up("DEBUG", "DIGEST") == down("DEBUG", "DIGEST")


def test_transactions_of_a_real_primary() -> None:
    with node("redis") as primary, node("hexad") as replica:
        up, down = primary.wire(), replica.wire()
        follow(down, primary.port)
        wait_connected(down)
        for words in [("SELECT", 2), ("MULTI",), ("SET", "a", "1"), ("INCR", "n"), ("INCR", "a"), ("EXEC",)]:
            up(*words)
        script = "redis.call('set', KEYS[1], 'x') redis.call('append', KEYS[1], 'y') return 1"
        assert up("EVAL", script, 1, "s") == 1
        wait_same_offset(up, down)
        down("SELECT", 2)
        assert [down("GET", key) for key in ("a", "n", "s")] == [b"2", b"1", b"xy"]


@pairs
def test_who_waits_at_a_replica_sees_a_transaction_whole(kinds: tuple[str, str]) -> None:
    with node(kinds[0]) as primary, node(kinds[1]) as replica:
        up, down = primary.wire(), replica.wire()
        follow(down, primary.port)
        wait_connected(down)
        reader = replica.wire()
        reader.send("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
        wait_until(lambda: down.info("clients")["blocked_clients"] == "1", TIMEOUT_S, "it waits")
        assert up.pipeline([("MULTI",), ("XADD", "s", "1-1", "a", "1"), ("XADD", "s", "2-1", "a", "2"), ("EXEC",)])
        assert reader.read() == [[b"s", [[b"1-1", [b"a", b"1"]], [b"2-1", [b"a", b"2"]]]]]


@pairs
def test_the_selected_database_outlives_a_cut(kinds: tuple[str, str]) -> None:
    with node(kinds[0]) as primary, node(kinds[1]) as replica:
        up, down = primary.wire(), replica.wire()
        follow(down, primary.port)
        wait_connected(down)
        up("SELECT", 7)
        up("SET", "before", "1")
        wait_same_offset(up, down)
        assert up("CLIENT", "KILL", "TYPE", "replica") == 1
        wait_until(lambda: partial_syncs(replica) == 1, TIMEOUT_S, "the link is back")
        wait_connected(down)
        up("SET", "after", "1")
        wait_same_offset(up, down)
        down("SELECT", 7)
        assert down("GET", "after") == b"1"


@pytest.mark.parametrize("kinds", [("redis", "hexad", "redis"), ("hexad", "hexad", "hexad")])
def test_a_replica_of_a_replica_begins_in_the_selected_database(kinds: tuple[str, str, str]) -> None:
    with node(kinds[0]) as top, node(kinds[1]) as middle, node(kinds[2]) as leaf:
        first, second, third = top.wire(), middle.wire(), leaf.wire()
        follow(second, top.port)
        wait_connected(second)
        first("SELECT", 7)
        first("SET", "before", "1")
        wait_same_offset(first, second)
        follow(third, middle.port)
        wait_connected(third)
        first("SET", "after", "1")
        wait_same_offset(first, second, third)
        third("SELECT", 7)
        assert [third("GET", key) for key in ("before", "after")] == [b"1", b"1"]


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_a_replica_hides_what_has_expired_and_waits_for_the_word() -> None:
    with node("redis", enable_debug_command="yes") as primary, node("hexad") as replica:
        up, down = primary.wire(), replica.wire()
        up("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        follow(down, primary.port)
        wait_connected(down)
        up("SET", "k", "v", "PX", 1)
        wait_same_offset(up, down)
        wait_until(lambda: down("GET", "k") is None, TIMEOUT_S, "it has expired")
        assert down("DBSIZE") == 1 and down("EXISTS", "k") == 0 and down("TTL", "k") == -2
        wait_until(lambda: up("GET", "k") is None, TIMEOUT_S, "the primary notices, and says so")
        wait_until(lambda: down("DBSIZE") == 0, TIMEOUT_S, "the primary's word")


def test_a_promoted_replica_removes_what_has_expired() -> None:
    with node("hexad", enable_debug_command="yes") as primary, node("hexad") as replica:
        up, down = primary.wire(), replica.wire()
        up("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        follow(down, primary.port)
        wait_connected(down)
        for number in range(20):
            up("SET", f"k{number}", "v", "PX", 1)
        wait_same_offset(up, down)
        wait_until(lambda: down("GET", "k0") is None, TIMEOUT_S, "it has expired")
        assert down("DBSIZE") == 20
        assert down("REPLICAOF", "NO", "ONE") == "OK"
        wait_until(lambda: down("DBSIZE") == 0, TIMEOUT_S, "the rounds of expiry have removed them")


# --- writes at a replica ----------------------------------------------------------------------------------------------


def test_writes_at_a_writable_replica_stay_there() -> None:
    with node("redis") as primary, node("hexad") as replica, node("redis") as leaf:
        up, down, below = primary.wire(), replica.wire(), leaf.wire()
        follow(down, primary.port)
        wait_connected(down)
        follow(below, replica.port)
        wait_connected(below)
        assert down("CONFIG", "SET", "replica-read-only", "no") == "OK"
        before = offset_of(down)
        assert down("SET", "mine", "1") == "OK"
        assert down("SET", "mine2", "1", "PX", 1) == "OK"
        up("SET", "ours", "1")
        wait_same_offset(up, down, below)
        assert offset_of(down) > before
        assert [below("GET", key) for key in ("mine", "ours")] == [None, b"1"]
        assert down("CONFIG", "SET", "replica-read-only", "yes") == "OK"
        assert down("SET", "mine", "2").code == "READONLY"


# --- what is shown ----------------------------------------------------------------------------------------------------


def replication_fields(server: Server) -> list[str]:
    with server.wire() as wire:
        return list(wire.info("replication"))


def test_info_has_the_fields_of_a_real_server() -> None:
    with node("redis") as theirs, node("hexad") as ours, node("redis") as third:
        wires = theirs.wire(), ours.wire(), third.wire()
        assert replication_fields(ours) == replication_fields(theirs)
        follow(wires[1], theirs.port)
        follow(wires[2], theirs.port)
        wait_connected(wires[1], wires[2])
        assert replication_fields(ours) == replication_fields(third)
        theirs.kill()
        wait_until(lambda: wires[1]("ROLE")[3] != b"connected", TIMEOUT_S, "ours notices")
        wait_until(lambda: wires[2]("ROLE")[3] != b"connected", TIMEOUT_S, "theirs notices")
        assert replication_fields(ours) == replication_fields(third)
        assert 0 <= int(wires[1].info("replication")["master_link_down_since_seconds"]) < 10


def test_a_link_that_never_was_up_says_so() -> None:
    with node("redis") as theirs, node("hexad") as ours:
        shown = []
        for server in (theirs, ours):
            wire = server.wire()
            follow(wire, 1)
            fields = wire.info("replication")
            shown.append({name: fields[name] for name in fields if name.startswith("master_l")})
        assert shown[0] == shown[1]


@pairs
def test_info_of_both_sides(kinds: tuple[str, str]) -> None:
    with node(kinds[0]) as primary, node(kinds[1]) as replica:
        up, down = primary.wire(), replica.wire()
        follow(down, primary.port)
        wait_connected(down)
        up("SET", "a", "1")
        wait_same_offset(up, down)
        wait_until(lambda: up.info("replication")["slave0"].split(",")[2] == "state=online", TIMEOUT_S, "it is online")
        above, below = up.info("replication"), down.info("replication")
        assert above["master_replid"] == below["master_replid"]
        assert above["slave0"].startswith(f"ip=127.0.0.1,port={replica.port},state=online,offset=")
        assert (below["role"], below["master_link_status"], below["slave_read_only"]) == ("slave", "up", "1")
        assert up.info("stats")["sync_full"] == "1"
        assert up("CONFIG", "GET", "replicaof") == [b"replicaof", b""]
        assert down("CONFIG", "GET", "replicaof") == [b"replicaof", f"127.0.0.1 {primary.port}".encode()]
        assert " flags=S " in str(up("CLIENT", "LIST", "TYPE", "replica"))
        assert " flags=M " in str(down("CLIENT", "LIST", "TYPE", "master"))
        assert down("CLIENT", "KILL", "TYPE", "master") == 1
        wait_until(lambda: partial_syncs(replica) == 1, TIMEOUT_S, "the link is back")
        assert full_syncs(replica) == 1 and up.info("stats")["sync_partial_ok"] == "1"
