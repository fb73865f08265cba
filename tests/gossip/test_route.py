"""Redirects, beside a real pair of nodes: the same state, read from the node's own view, must give the same reply."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from gossip.core import Core
from gossip.nodesconf import parse
from gossip.route import DOWN, DOWN_READS_ONLY, NOT_SERVED, Request, redirect
from gossip.settings import ClusterSettings
from gossip.state import ALL_SLOTS
from node.slots import slot_of
from tests.gossip.facts import PlainFacts
from tests.support import RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError

HERE = b"{06S}"  # slot 0
AWAY = b"{0p}"
KEYS = [HERE + b"a", HERE + b"b", HERE + b"gone", AWAY + b"a", AWAY + b"b", AWAY + b"gone"]
PRESENT = {HERE + b"a", HERE + b"b", AWAY + b"a"}


def core_of(nodes: str, ok: bool = True, **settings: Any) -> Core:
    """The state that a node's CLUSTER NODES tells."""
    text = "".join(line.split(" ", 1)[0] + " " + line.split(" ", 1)[1] + "\n" for line in nodes.splitlines() if line)
    core = Core(
        parse(text + "vars currentEpoch 9 lastVoteEpoch 0\n"), ClusterSettings(**settings), PlainFacts(), Random(1)
    )
    core.state.ok = ok
    return core


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """Two real primaries that share the slots, and a replica of the first."""
    with contextlib.ExitStack() as stack:
        one, two, three = (
            stack.enter_context(
                RedisServer(cluster_enabled="yes", cluster_node_timeout=1000, repl_diskless_sync_delay=0)
            )
            for _ in range(3)
        )
        with one.wire() as a, two.wire() as b, three.wire() as c:
            half = slot_of(AWAY)
            first, second = (0, half - 1), (half, 16383)
            a("CLUSTER", "ADDSLOTSRANGE", *first)
            b("CLUSTER", "ADDSLOTSRANGE", *second)
            a("CLUSTER", "MEET", "127.0.0.1", two.port)
            a("CLUSTER", "MEET", "127.0.0.1", three.port)
            wait_until(lambda: all(len(w("CLUSTER", "SLOTS")) == 2 for w in (a, b, c)), 10, "all know all")
            c("CLUSTER", "REPLICATE", a("CLUSTER", "MYID").decode())
            for wire in (a, b, c):
                wait_until(lambda w=wire: b"cluster_state:ok" in w("CLUSTER", "INFO"), 10, "ok")
            for key in sorted(PRESENT):
                (a if slot_of(key) < half else b)("SET", key, "x")
            wait_until(lambda: b"master_link_status:up" in c("INFO", "replication"), 10, "replica")
        yield one, two, three


def compare(server: RedisServer, keys: list[bytes], *, asking: bool, readonly: bool, writes: bool) -> None:
    with server.wire() as wire:
        core = core_of(wire("CLUSTER", "NODES").decode())
        mine = core.myself if core.myself.is_primary else core.myself.primary
        present = PRESENT if mine is not None else set()
        held = {key for key in present if core.state.owners[slot_of(key)] is mine}
        if readonly:
            wire("READONLY")
        if asking:
            wire("ASKING")
        reply = wire("DEL" if writes else "EXISTS", *keys) if not (writes and held & set(keys)) else None
        if reply is None:
            return  # it would change what the next case looks at
    ours = redirect(
        core,
        Request(keys, [slot_of(key) for key in keys], writes=writes, asking=asking, readonly=readonly),
        held.__contains__,
    )
    theirs = reply.text if isinstance(reply, ReplyError) and not reply.text.startswith("READONLY") else None
    assert ours == theirs, (keys, asking, readonly, writes)


CASES = [[k] for k in KEYS] + [[j, k] for j in KEYS for k in KEYS]


@pytest.mark.parametrize("moving", ["stable", "migrating", "importing"])
def test_redirects_are_those_of_a_real_node(pair: tuple[RedisServer, RedisServer, RedisServer], moving: str) -> None:
    one, two, three = pair
    with one.wire() as a, two.wire() as b:
        other = b("CLUSTER", "MYID").decode()
        if moving == "migrating":
            assert a("CLUSTER", "SETSLOT", slot_of(HERE), "MIGRATING", other) == "OK"
        elif moving == "importing":
            assert a("CLUSTER", "SETSLOT", slot_of(AWAY), "IMPORTING", other) == "OK"
        for keys in CASES:
            for asking in (False, True):
                compare(one, keys, asking=asking, readonly=False, writes=False)
        for slot in (slot_of(HERE), slot_of(AWAY)):
            assert a("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
    for keys in CASES[:6]:
        for readonly in (False, True):
            for writes in (False, True):
                compare(three, keys, asking=False, readonly=readonly, writes=writes)


NODES = (
    f"{'a' * 40} 127.0.0.1:1@11,one.example myself,master - 0 0 1 connected 0-99\n"
    f"{'b' * 40} 127.0.0.1:2@12,two.example master - 0 0 2 connected 100-199\n"
)


def ask(core: Core, slot: int, **about: Any) -> str | None:
    return redirect(core, Request([b"k"], [slot], **about), lambda key: True)


def test_a_cluster_that_is_down() -> None:
    down = core_of(NODES, ok=False)
    assert ask(down, 5) == DOWN and ask(down, 300) == NOT_SERVED
    reads = core_of(NODES, ok=False, allow_reads_when_down=True)
    assert ask(reads, 5) is None and ask(reads, 5, writes=True) == DOWN_READS_ONLY
    assert ask(reads, 100) == "MOVED 100 127.0.0.1:2"
    assert ask(down, 5, sharded=True) is None
    assert ask(core_of(NODES, ok=False, allow_pubsubshard_when_down=False), 5, sharded=True) == DOWN
    assert redirect(down, Request([], []), lambda key: True) is None


@pytest.mark.parametrize(
    ("kind", "endpoint"), [("ip", "127.0.0.1"), ("hostname", "two.example"), ("unknown-endpoint", "")]
)
def test_the_endpoint_that_clients_are_told(kind: str, endpoint: str) -> None:
    assert ask(core_of(NODES, preferred_endpoint_type=kind), 100) == f"MOVED 100 {endpoint}:2"


def test_the_short_way_agrees_with_the_long_one() -> None:
    core = core_of(NODES)
    other = core.state.nodes["b" * 40]
    core.state.set_migrating(7, other)
    core.state.set_importing(150, other)
    for slot in range(250):
        if core.state.serving[slot]:
            assert ask(core, slot) is None
        else:
            assert slot == 7 or ask(core, slot) is not None
    assert sum(core.state.serving) == 99 and core.state.owned != ALL_SLOTS


def test_migrate_works_on_what_is_here() -> None:
    core = core_of(NODES)
    core.state.set_migrating(7, core.state.nodes["b" * 40])
    absent = Request([b"k"], [7], migrates=True)
    assert redirect(core, absent, lambda key: False) is None
