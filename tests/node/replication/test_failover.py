"""FAILOVER: a primary hands over to its replica, ours and genuine ones on either side."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.node.replication.support import (
    PAIRS,
    TIMEOUT_S,
    Proxy,
    follow,
    full_syncs,
    node,
    wait_connected,
    wait_same_offset,
)
from tests.support import ReplyError, Server, Wire, wait_until

ORDERS = ["-".join(pair) for pair in PAIRS]


def state(wire: Wire) -> str:
    return wire.info("replication")["master_failover_state"]


def wait_online(up: Wire) -> None:
    wait_until(lambda: "state=online" in up.info("replication").get("slave0", ""), TIMEOUT_S, "the replica is online")


@contextmanager
def followed(primary: str = "hexad", replica: str = "hexad") -> Iterator[tuple[Server, Server, Wire, Wire]]:
    """(primary, replica, their wires), in sync."""
    with node(primary) as first, node(replica) as second:
        up, down = first.wire(), second.wire()
        follow(down, first.port)
        wait_connected(down)
        wait_online(up)
        yield first, second, up, down


@pytest.mark.parametrize("kinds", PAIRS, ids=ORDERS)
def test_the_parts_are_changed_under_load_and_nothing_is_lost(kinds: tuple[str, str]) -> None:
    with followed(*kinds) as (first, second, up, down):
        confirmed: list[int] = []
        refused: list[ReplyError] = []

        def write() -> None:
            with first.wire() as wire:
                while not refused:
                    reply = wire("SET", f"key:{len(confirmed)}", len(confirmed))
                    if reply == "OK":
                        confirmed.append(len(confirmed))
                    else:
                        refused.append(reply)

        writer = threading.Thread(target=write)
        writer.start()
        wait_until(lambda: len(confirmed) > 200, TIMEOUT_S, "some writes")
        assert up("FAILOVER", "TO", "127.0.0.1", second.port, "TIMEOUT", 10_000) == "OK"
        writer.join()
        assert refused[0].code == "READONLY"  # it was held back until ours was a replica
        wait_until(lambda: down("ROLE")[0] == b"master", TIMEOUT_S, "the replica has taken over")
        wait_connected(up)
        wait_same_offset(down, up)
        for wire in (up, down):
            values = wire.pipeline([("GET", f"key:{number}") for number in confirmed])
            assert values == [str(number).encode() for number in confirmed]
        assert up("DBSIZE") == down("DBSIZE") == len(confirmed)
        assert state(up) == state(down) == "no-failover"
        assert up("CONFIG", "GET", "replicaof")[1] == f"127.0.0.1 {second.port}".encode()
        assert down("CONFIG", "GET", "replicaof")[1] == b""
        assert (full_syncs(first), full_syncs(second)) == (0, 1)


def held_until(first: Server, end: Callable[[], object]) -> None:
    """A write waits until `end` has the failover end, and is run then."""
    with first.wire() as writer:
        writer.send("SET", "held", "1")
        assert writer.is_silent()
        end()
        assert writer.read() == "OK"


def test_ends_that_leave_the_old_primary_in_its_part() -> None:
    with followed() as (first, second, up, _):
        second.signal(signal.SIGSTOP)
        assert up("SET", "a", "1") == "OK"
        # it never catches up
        assert up("FAILOVER", "TIMEOUT", 300) == "OK"
        assert state(up) == "waiting-for-sync" and up("GET", "a") == b"1"
        held_until(first, lambda: None)
        first.wait_for_log("FAILOVER to any replica aborted: Replica never caught up before timeout")
        assert state(up) == "no-failover" and up("ROLE")[0] == b"master"
        # it is aborted
        assert up("FAILOVER") == "OK"
        assert up("FAILOVER") == ReplyError("ERR FAILOVER already in progress.")
        assert up("REPLICAOF", "NO", "ONE") == ReplyError("ERR REPLICAOF not allowed while failing over.")
        assert up("REPLICAOF", "h", "x") == ReplyError("ERR REPLICAOF not allowed while failing over.")
        assert up("SYNC") == ReplyError("NOMASTERLINK Can't SYNC while failing over")
        held_until(first, lambda: up("FAILOVER", "ABORT"))
        assert state(up) == "no-failover"
        # it is forced, asks again and again who does not answer, and is aborted
        assert up("FAILOVER", "TO", "127.0.0.1", second.port, "FORCE", "TIMEOUT", 50) == "OK"
        wait_until(lambda: state(up) == "failover-in-progress", TIMEOUT_S, "it is forced")
        assert up("ROLE")[:3] == [b"slave", b"127.0.0.1", second.port]
        assert up("SET", "b", "1").code == "READONLY"
        assert up("FAILOVER", "ABORT") == "OK"
        assert up("ROLE")[0] == b"master" and state(up) == "no-failover"
        assert up("GET", "a") == b"1" and up("CONFIG", "GET", "replicaof")[1] == b""
        second.kill()


@pytest.mark.parametrize("kinds", PAIRS, ids=ORDERS)
def test_by_force_a_replica_that_lacks_something_takes_over(kinds: tuple[str, str]) -> None:
    with node(kinds[0]) as first, node(kinds[1]) as second, Proxy(first.port) as proxy:
        up, down = first.wire(), second.wire()
        follow(down, proxy.port)
        wait_connected(down)
        wait_online(up)
        wait_same_offset(up, down)
        proxy.stop_after_bytes = proxy.passed_bytes
        assert up("SET", "lost", "1") == "OK"
        assert up("FAILOVER", "TO", "127.0.0.1", second.port, "FORCE", "TIMEOUT", 50) == "OK"
        wait_until(lambda: down("ROLE")[0] == b"master", TIMEOUT_S, "the replica has taken over")
        wait_until(lambda: full_syncs(first) == 1, TIMEOUT_S, "the old one takes its data")
        wait_connected(up)
        assert up("GET", "lost") is None and state(up) == "no-failover"


def test_a_target_that_refuses_leaves_the_old_primary_in_its_part() -> None:
    """A replica that was promoted meanwhile, before its link was lost to us."""
    with followed() as (first, second, up, down), Proxy(second.port) as proxy:
        assert down("CONFIG", "SET", "replica-announce-port", str(proxy.port)) == "OK"
        assert up("CLIENT", "KILL", "TYPE", "replica") == 1
        wait_until(lambda: f"port={proxy.port}," in up.info("replication").get("slave0", ""), TIMEOUT_S, "it is back")
        wait_online(up)
        proxy.is_open = False  # the target cannot be reached
        assert up("FAILOVER", "TO", "127.0.0.1", proxy.port) == "OK"
        wait_until(lambda: state(up) == "failover-in-progress", TIMEOUT_S, "it is synced")
        assert down("REPLICAOF", "NO", "ONE") == "OK"
        proxy.is_open = True
        first.wait_for_log("aborted: Failover target rejected psync request")
        wait_until(lambda: up("ROLE")[0] == b"master", TIMEOUT_S, "a primary again")
        assert up("SET", "a", "1") == "OK" and state(up) == "no-failover"


WORDS = """
FAILOVER|FAILOVER ABORT|FAILOVER TO|FAILOVER TO h|FAILOVER TO h x|FAILOVER TO h 1|FAILOVER TIMEOUT|FAILOVER TIMEOUT x|
FAILOVER TIMEOUT 0|FAILOVER TIMEOUT -1|FAILOVER FORCE|FAILOVER ABORT ABORT|FAILOVER ABORT TO h 1|FAILOVER FORCE FORCE|
FAILOVER TIMEOUT 5 TIMEOUT 6|FAILOVER x|FAILOVER TO h 1 TO h 2|FAILOVER TO h 99999999|failover to h 1 force timeout 5
""".replace("\n", "").split("|")
WORDS_WITH_REPLICA = """
FAILOVER ABORT|FAILOVER TO h 1|FAILOVER FORCE|FAILOVER FORCE TIMEOUT 5|FAILOVER TO h 1 FORCE|FAILOVER TO h x
""".replace("\n", "").split("|")


def test_words_are_those_of_redis(redis_server: Callable[..., Server], hexad_server: Callable[..., Server]) -> None:
    with redis_server().wire() as theirs, hexad_server().wire() as ours:
        for words in WORDS:
            assert (words, ours(*words.split())) == (words, theirs(*words.split()))


def test_words_with_a_replica_are_those_of_redis() -> None:
    with followed("redis") as (_, _, theirs, _), followed() as (_, _, ours, replica):
        for words in WORDS_WITH_REPLICA:
            assert (words, ours(*words.split())) == (words, theirs(*words.split()))
        assert replica("FAILOVER") == ReplyError("ERR FAILOVER is not valid when server is a replica.")
