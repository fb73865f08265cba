"""Hashes whose fields end, and sets that are popped by chance, on a node and its replica: two real processes."""

from __future__ import annotations

from tests.support import HexadServer, wait_until

WAIT_S = 20
OPTIONS = {"enable_debug_command": "yes", "repl_diskless_sync_delay": "0"}


def test_a_replica_ends_up_with_the_same() -> None:
    with (
        HexadServer(**OPTIONS) as node,
        HexadServer(**OPTIONS) as other,
        node.wire() as primary,
        other.wire() as replica,
    ):

        def same() -> bool:
            return bool(replica("DEBUG", "DIGEST") == primary("DEBUG", "DIGEST"))

        primary("HSET", "h", "a", 1, "b", 2)
        primary("SADD", "s", *range(3000))
        primary("HPEXPIRE", "h", 60_000, "FIELDS", 1, "b")
        replica("REPLICAOF", "127.0.0.1", node.port)
        wait_until(lambda: replica("DBSIZE") == 2 and same(), WAIT_S, "the full synchronisation")
        assert 0 < replica("HPTTL", "h", "FIELDS", 1, "b")[0] <= 60_000
        primary("SPOP", "s", 2400)
        primary("SPOP", "s")
        primary("HSET", "gone", "x", 1)
        primary("HPEXPIRE", "gone", 100, "FIELDS", 1, "x")
        primary("HPEXPIRE", "h", 100, "FIELDS", 1, "a")
        wait_until(lambda: not primary("EXISTS", "gone") and primary("HLEN", "h") == 1, WAIT_S, "the end of fields")
        wait_until(lambda: replica("DBSIZE") == 2 and same(), WAIT_S, "the replica's hearing of it")
        assert replica("HGETALL", "h") == [b"b", b"2"] and replica("SCARD", "s") == 599
        assert replica.info("commandstats")["cmdstat_srem"].startswith("calls=4,"), "no command of thousands of words"
        primary("DEBUG", "RELOAD")
        assert 0 < primary("HPTTL", "h", "FIELDS", 1, "b")[0] <= 60_000
        assert same()
