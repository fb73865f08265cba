"""What writers notice of an operator's work: manual failovers and resharding, beside a genuine cluster in turns."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from node.slots import SLOTS, slot_of
from tests.proofs.fenced import Writer, await_writes
from tests.support.cluster import LocalCluster
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import TookTooLong, wait_until
from tests.support.wire import ReplyError

TIMEOUT_MS = 2000
ROUNDS = 20
RESHARDS = 5
MOVED_SLOTS = 200
GAP_S_MAX = 0.2
ROUNDS_IN_CI, GAP_S_MAX_IN_CI = 6, 2.0
"""The machine of CI has other work, too."""
GIVES_UP_S = 6.0
"""A replica that was told to take over tries for five seconds."""
STEP_S = 60.0


@dataclass
class Seen:
    """The longest time without a confirmed write in each round, and what was lost."""

    gaps_s: list[float] = field(default_factory=list)
    orders: int = 0
    confirmed: int = 0
    lost: int = 0


@contextlib.contextmanager
def watched(cluster: LocalCluster, seen: Seen) -> Iterator[None]:
    """Writers in each third of the slots, while something is done; looked at afterwards."""
    ports = {port: port for port in cluster.ports}
    tags = [next(t for t in map(str, range(1000)) if slot_of(t.encode()) * 3 // SLOTS == n) for n in range(3)]
    with contextlib.ExitStack() as stack:
        load = [stack.enter_context(Writer(tag, ports, f"{tag}:{len(seen.gaps_s)}")) for tag in tags]
        await_writes(load)
        yield
        await_writes(load)
    seen.gaps_s.append(max(writer.longest_gap_s() for writer in load))
    seen.confirmed += sum(len(writer.confirmed) for writer in load)
    for writer in load:
        for node in cluster.primaries():
            with node.wire() as wire:
                if not isinstance(wire("GET", writer.key(0)), ReplyError):
                    seen.lost += len(writer.missing(node.port))


def fail_over(cluster: LocalCluster, seen: Seen) -> None:
    """CLUSTER FAILOVER at the first replica."""
    replica = next(cluster.node(one.port) for one in cluster.seen_by(cluster.nodes[0]) if not one.is_primary)
    if isinstance(replica, RedisServer):
        time.sleep(2 * TIMEOUT_MS / 1000)  # its voters refuse to vote about the same primary again for so long
    with watched(cluster, seen), replica.wire() as wire:
        while wire("ROLE")[0] != b"master":  # a genuine replica gives up where a voter has not answered in time
            assert wire("CLUSTER", "FAILOVER") == "OK"
            with contextlib.suppress(TookTooLong):
                wait_until(lambda: wire("ROLE")[0] == b"master", GIVES_UP_S, "it is the primary")
            seen.orders += 1
            assert seen.orders < 2 * ROUNDS
    cluster.wait_until_agreed()


def reshard(cluster: LocalCluster, seen: Seen) -> None:
    """Slots of one primary to the next, the lowest first."""
    source, target = cluster.primaries()[:2]
    ids = []
    for node in (source, target):
        with node.wire() as wire:
            ids.append(wire("CLUSTER", "MYID").decode())
    command = ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-yes"]
    command += ["--cluster-slots", str(MOVED_SLOTS), "--cluster-from", ids[0], "--cluster-to", ids[1]]
    with watched(cluster, seen):
        subprocess.run(command, check=True, capture_output=True, timeout=10 * STEP_S)
    cluster.wait_until_agreed()


def measure(kind: type[Server]) -> dict[str, Seen]:
    found = {"CLUSTER FAILOVER": Seen(), f"reshard of {MOVED_SLOTS} slots": Seen()}
    with LocalCluster(kind, cluster_node_timeout=TIMEOUT_MS) as cluster:
        for (_, seen), work, rounds in zip(found.items(), (fail_over, reshard), (ROUNDS, RESHARDS), strict=True):
            for _ in range(rounds):
                work(cluster, seen)
    return found


@pytest.mark.long
def test_one_order_is_enough_however_soon_the_next_one_comes() -> None:
    seen = Seen()
    with LocalCluster(HexadServer, cluster_node_timeout=TIMEOUT_MS) as cluster:
        for _ in range(ROUNDS_IN_CI):
            fail_over(cluster, seen)
    assert seen.orders == ROUNDS_IN_CI and not seen.lost
    assert max(seen.gaps_s) < GAP_S_MAX_IN_CI


@pytest.mark.proof
def test_proof_of_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    found = [measure(kind) for kind in (HexadServer, RedisServer)]
    with capsys.disabled():
        print("\n| by order, under load | rounds | no write, median (max) Hexad | lost | Redis | lost |")
        print("|---|---|---|---|---|---|")
        for name in found[0]:
            cells = [
                f"{statistics.median(one[name].gaps_s):.3f} s ({max(one[name].gaps_s):.3f} s) | {one[name].lost}"
                for one in found
            ]
            print(f"| {name} | {len(found[0][name].gaps_s)} | {' | '.join(cells)} |")
    assert found[0]["CLUSTER FAILOVER"].orders == ROUNDS, "one order is enough"
    for seen in found[0].values():
        assert seen.lost == 0 and max(seen.gaps_s) <= GAP_S_MAX, seen.gaps_s
