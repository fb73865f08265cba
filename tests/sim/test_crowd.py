"""Large clusters under virtual time: they elect and agree again; by proof a thousand nodes, with what that took."""

from __future__ import annotations

import time

import pytest

from gossip import suspicion
from gossip.events import Send, Wakeup
from gossip.packet import PING
from tests.sim.crowd import Crowd, without_collector

TIMEOUT_MS = 10_000
LIMIT_MS = 4 * TIMEOUT_MS
VICTIMS = 3


def elect_and_converge(nodes: int) -> str:
    """Kill primaries of a large cluster at once, and bring them back. Returns a row of figures."""
    started_s = time.process_time()
    with without_collector():
        crowd = Crowd(nodes // 2, timeout_ms=TIMEOUT_MS)
        crowd.run_until(crowd.agreed, LIMIT_MS)
        begun = crowd.messages
        victims, heirs = ([f"{role}{n + 1}" for n in range(VICTIMS)] for role in "pr")
        for name in victims:
            crowd.hosts[name].crash()
        elected_ms = crowd.run_until(lambda: crowd.elected(heirs), LIMIT_MS)
        for name in victims:
            crowd.hosts[name].start()
        whole_ms = crowd.run_until(crowd.agreed, LIMIT_MS)
        crowd.check_owners()
        for host in crowd.hosts.values():
            host.up.state.check()
    assert {crowd.winners[epoch] for epoch in crowd.winners} == set(heirs), "each was elected, and nobody else"
    return (
        f"| {nodes} | {elected_ms / 1000:.1f} s | {whole_ms / 1000:.2f} s | {crowd.messages - begun} | "
        f"{time.process_time() - started_s:.0f} s |"
    )


def test_a_suspicion_is_told_to_some_of_many_voters() -> None:
    """All suspect at the same time: in a thousand nodes that were a quarter of a million pings, and as many answers."""
    with without_collector():
        crowd = Crowd(2 * suspicion.TOLD_MAX, timeout_ms=TIMEOUT_MS)
        crowd.run_until(crowd.agreed, LIMIT_MS)
    machine = crowd.hosts["p1"].up
    silent = next(node for node in machine.state.others() if node.votes)
    silent.ping_sent_ms, silent.data_received_ms = crowd.now_ms - TIMEOUT_MS - 1, 0
    effects = machine.handle(Wakeup(), crowd.now_ms)
    pings = [effect for effect in effects if isinstance(effect, Send) and effect.packet.kind == PING]
    assert silent.is_troubled
    assert suspicion.TOLD_MAX <= sum(len(ping.links) for ping in pings) < 2 * suspicion.TOLD_MAX - 2


@pytest.mark.long
def test_a_hundred_machines_elect_and_agree() -> None:
    elect_and_converge(100)


@pytest.mark.proof
def test_a_thousand_machines_elect_and_agree(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [elect_and_converge(nodes) for nodes in (100, 1000)]
    with capsys.disabled():
        print(f"\n{VICTIMS} primaries die at once, virtual time, node timeout {TIMEOUT_MS // 1000} s\n")
        print("| nodes | all know the new primaries after | all agree, the old ones back | messages | CPU |")
        print("|---|---|---|---|---|")
        print("\n".join(rows))
