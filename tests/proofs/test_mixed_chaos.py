"""Three genuine and three Hexad nodes in one cluster, each primary's replica of the other kind, under chaos and load.

Primaries are killed, cut off and stopped in turn. Both kinds are elected, and in the end every replica has its
primary's data, byte for byte as DEBUG DIGEST sees it.
"""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest

from tests.proofs.fenced import FAULTS, FencedCluster, Writer, await_writes, count_lost, strike, writers
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until

TIMEOUT_MS = 1000
DOWN_S = 4.0
CI_S, PROOF_S = 40.0, 300.0
KINDS: list[type[Server]] = [RedisServer, HexadServer, RedisServer, HexadServer, HexadServer, RedisServer]
"""redis-cli gives the primaries, which come first, their replicas so that each shard has both kinds."""
LOST_SHARE_MAX = 0.3
"""Of the confirmed writes of one slot: what a primary took that was cut off from all others."""


def kind_of(server: Server) -> str:
    return "Hexad" if isinstance(server, HexadServer) else "Redis"


def digest(server: Server) -> bytes:
    with server.wire() as wire:
        found = wire("DEBUG", "DIGEST")
        return found if isinstance(found, bytes) else str(found.text).encode()


def check_digests(cluster: FencedCluster) -> int:
    """Each replica has what its primary has; returns how many pairs there are."""
    seen = cluster.seen_by(cluster.nodes[0])
    ports = {one.id: one.port for one in seen}
    pairs = [(cluster.node(ports[one.primary]), cluster.node(one.port)) for one in seen if not one.is_primary]
    for primary, replica in pairs:
        with primary.wire() as wire:
            wait_until(lambda w=wire: w("WAIT", 1, 1000) == 1, 20, "the replica has everything")
        wait_until(lambda p=primary, r=replica: digest(p) == digest(r), 20, f"{kind_of(primary)} and its replica agree")
    return len(pairs)


def chaos(for_s: float) -> dict[str, int]:
    """So many seconds of it; returns how often each kind was elected, and what was confirmed and lost."""
    found = {"Hexad": 0, "Redis": 0, "confirmed": 0, "lost": 0, "faults": 0}
    with FencedCluster(KINDS, network=5, cluster_node_timeout=TIMEOUT_MS) as cluster:
        load: list[Writer] = writers(cluster)
        faults, places = itertools.cycle(FAULTS.values()), itertools.cycle(range(3))
        with contextlib.ExitStack() as stack:
            for writer in load:
                stack.enter_context(writer)
            end_s = time.monotonic() + for_s
            while time.monotonic() < end_s or not (found["Hexad"] and found["Redis"]):
                await_writes(load)
                before = {node.port: node for node in cluster.primaries()}
                victim = sorted(before.values(), key=cluster.nodes.index)[next(places)]
                strike(cluster, next(faults), victim, DOWN_S)
                found["faults"] += 1
                for node in cluster.primaries():
                    found[kind_of(node)] += node.port not in before
            await_writes(load)
        assert check_digests(cluster) == 3
        lost = count_lost(cluster, load)
        found["confirmed"], found["lost"] = lost.confirmed, len(lost.keys)
    return found


@pytest.mark.long
def test_both_kinds_are_elected_and_agree() -> None:
    found = chaos(CI_S)
    assert found["Hexad"] and found["Redis"]
    assert found["lost"] < LOST_SHARE_MAX * found["confirmed"], found


@pytest.mark.proof
def test_proof_of_mixed_chaos(capsys: pytest.CaptureFixture[str]) -> None:
    found = chaos(PROOF_S)
    with capsys.disabled():
        print(f"\n3 genuine and 3 Hexad nodes, {PROOF_S:.0f} s of kill -9, partition and pause in turn\n")
        print("| faults | Hexad elected | Redis elected | confirmed writes | lost | digests at the end |")
        print("|---|---|---|---|---|---|")
        cells = (found[name] for name in ("faults", "Hexad", "Redis", "confirmed", "lost"))
        print(f"| {' | '.join(map(str, cells))} | equal |")
