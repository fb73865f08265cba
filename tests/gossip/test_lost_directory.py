"""A primary that lost its directory comes back empty at its old address: its replica must not copy that."""

from __future__ import annotations

from collections.abc import Callable

from tests.support import HexadServer, Wire, wait_until

WAIT_S = 15.0
KEYS = 100


def have_replica(primary: Wire, replica: Wire, primary_port: int) -> None:
    """Make a cluster of the two."""
    assert primary("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
    assert replica("CLUSTER", "MEET", "127.0.0.1", primary_port) == "OK"
    name = primary("CLUSTER", "MYID").decode()
    wait_until(lambda: replica("CLUSTER", "REPLICATE", name) == "OK", WAIT_S, "the replica knows its primary")
    wait_until(lambda: replica.info("replication")["master_link_status"] == "up", WAIT_S, "the link is up")
    wait_until(lambda: b"cluster_state:ok" in primary("CLUSTER", "INFO"), WAIT_S, "the primary serves")


def test_a_replica_keeps_the_only_copy(hexad_server: Callable[..., HexadServer]) -> None:
    settings = {"cluster_enabled": "yes", "repl_diskless_sync_delay": 0}
    first, second = hexad_server(**settings), hexad_server(**settings)
    with first.wire() as primary, second.wire() as replica:
        have_replica(primary, replica, first.port)
        assert primary.pipeline([("SET", f"key:{n}", n) for n in range(KEYS)]) == ["OK"] * KEYS
        assert primary("WAIT", 1, 1000) == 1
        first.kill()
        (first.directory / "nodes.conf").unlink()
        first.start()
        second.wait_for_log("not taking data", WAIT_S)
        assert replica("DBSIZE") == KEYS
        assert replica("CLUSTER", "FAILOVER", "TAKEOVER") == "OK"
        wait_until(lambda: replica("GET", "key:1") == b"1", WAIT_S, "the replica serves its data")


def test_a_primary_that_comes_back_is_followed_again(hexad_server: Callable[..., HexadServer]) -> None:
    """Without its data, but under its own id: where no replica is to take its place, what it has counts."""
    settings = {"cluster_enabled": "yes", "repl_diskless_sync_delay": 0, "cluster_hand_over_when_behind": "no"}
    first, second = hexad_server(**settings), hexad_server(**settings)
    with first.wire() as primary, second.wire() as replica:
        have_replica(primary, replica, first.port)
        assert primary("SET", "key", "value") == "OK" and primary("WAIT", 1, 1000) == 1
        first.kill()
        first.start()
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up", WAIT_S, "the link is up")
        wait_until(lambda: replica("DBSIZE") == 0, WAIT_S, "the replica follows")
