"""Runs that are cut short anywhere, and run again: Ctrl-C and kill -9, under a load that must lose nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.gossip.load import Counting
from tests.hexad.cluster.support import (
    KINDS,
    LIMIT_S,
    agrees,
    at,
    bare,
    begin,
    each_once,
    fill,
    run,
    slots_of,
)
from tests.support import wait_until
from tests.support.servers import Server

pytestmark = pytest.mark.long
KEYS = [f"key:{number}" for number in range(600)]
COUNTERS = [f"counter:{number}" for number in range(20)]


@pytest.fixture(scope="module", params=KINDS)
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    with bare(KINDS[request.param], 4, requirepass=(), masterauth=()) as made:
        run("create", "--yes", "--replicas", 0, *map(at, made[:3]))
        fill(made[:3], KEYS)
        yield made


def cut(signal_number: int, watched: Server, *words: object) -> str:
    """Run a command until it has begun to change the slots of a node, and end it then; what it printed."""
    before = slots_of(watched)
    process = begin(*words)
    try:
        wait_until(lambda: slots_of(watched) != before or process.poll() is not None, LIMIT_S, "it has begun")
        time.sleep(0.001 * (before % 40))  # in the middle of whatever it does then
        process.send_signal(signal_number)
        told, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == (1 if signal_number == signal.SIGINT else -signal_number), told
    return told


def test_reshard_rebalance_and_remove(nodes: list[Server]) -> None:
    first, second, third, fourth = nodes
    with Counting([node.port for node in nodes[:3]], COUNTERS) as load:
        slots = ["reshard", at(third), "--to", at(second), "--slots", "0-119", "--yes", "--pause-ms", "2"]
        told = cut(signal.SIGINT, second, *slots)
        assert "cut short. The same words again go on from what is there" in told
        cut(signal.SIGKILL, second, *slots)
        run(*slots)
        assert slots_of(second) == 5462 + 120
        agrees(first)

        run("add", at(first), at(fourth), "--yes")
        weights = [word for node in nodes[:3] for word in ("--weight", f"{at(node)}=50")]
        balance = ["rebalance", at(first), *weights, "--yes", "--pause-ms", "2"]
        cut(signal.SIGKILL, fourth, *balance)
        cut(signal.SIGINT, fourth, *balance)
        run(*balance)
        assert sum(map(slots_of, nodes)) == 16384 and slots_of(fourth) in (108, 109)
        agrees(first)
        each_once(nodes, KEYS)

        remove = ["remove", at(fourth), at(fourth), "--yes", "--pause-ms", "2"]
        cut(signal.SIGINT, fourth, *remove)
        cut(signal.SIGKILL, fourth, *remove)
        assert "Removed." in run(*remove)
        assert load.failure is None
    load.prove()
    agrees(first)
    each_once(nodes[:3], KEYS)
    with fourth.wire() as wire:
        assert b"cluster_known_nodes:1\r\n" in wire("CLUSTER", "INFO")
    assert "is no node of this cluster" in run("remove", at(first), at(fourth), "--yes", code=1)


def test_the_target_dies_in_the_middle(nodes: list[Server]) -> None:
    """The slots that were open on it are settled when it is back."""
    source, target = nodes[0], nodes[1]
    words = ["reshard", at(nodes[2]), "--to", at(target), "--slots", "1000-1149", "--yes", "--pause-ms", "2"]
    before = slots_of(target)
    with begin(*words) as process:
        wait_until(lambda: slots_of(target) > before + 20, LIMIT_S, "it has begun")
        with target.wire() as wire:
            assert wire("SAVE") == "OK"
        target.kill()
        target.start()
        told, _ = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        run(*words)
    assert "looking again" in told or process.returncode
    assert slots_of(target) == before + 150
    agrees(source)
