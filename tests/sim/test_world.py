"""Clusters from nothing: nodes that meet, share out the slots, forget, reset, migrate, fail over by order."""

from __future__ import annotations

from random import Random

import pytest

from gossip.events import (
    AddSlots,
    Failover,
    Forget,
    Meet,
    Replicate,
    Reset,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
)
from gossip.machine import new_state
from gossip.nodesconf import render
from gossip.settings import ClusterSettings
from tests.sim.world import Host, World


def empty_hosts(world: World) -> list[Host]:
    """Replace the finished cluster by as many nodes that know nobody."""
    rng = Random(5)
    world.queue.clear()
    world.ids.clear()
    for host in world.hosts.values():
        state = new_state(rng)
        world.ids[state.myself.id] = host.name
        host.durable = host.written = render(state)
        host.start()
    world.after(0, world.replicate)
    return list(world.hosts.values())


def knows_all(hosts: list[Host]) -> bool:
    ids = {host.up.state.myself.id for host in hosts}
    return all(set(host.up.state.nodes) == ids and all(n.link_up for n in host.up.state.others()) for host in hosts)


def grown() -> tuple[World, list[Host]]:
    world = World(7)
    hosts = empty_hosts(world)
    for host in hosts[1:]:
        hosts[0].handle(Meet(host.ip, 7000, 17000))
    world.run_until(lambda: knows_all(hosts), 8000)
    for number in range(3):
        hosts[number].handle(AddSlots(tuple(range(16384 * number // 3, 16384 * (number + 1) // 3))))
    # All begin with epoch 0: the collisions must make them differ.
    world.run_until(lambda: len({h.up.state.myself.config_epoch for h in hosts[:3]}) == 3, 8000)
    for number in range(3):
        primary_id = hosts[number].up.state.myself.id
        hosts[number + 3].handle(Replicate(primary_id))
    world.run_until(world.agreed, 8000)
    return world, hosts


def test_six_nodes_meet_and_become_a_cluster() -> None:
    _, hosts = grown()
    for host in hosts:
        state = host.up.state
        state.check()
        assert sorted(len(node.replicas) for node in state.nodes.values()) == [0, 0, 0, 1, 1, 1]
        assert len({node.shard_id for node in state.nodes.values()}) == 3
        assert all(node.shard_id == node.source.shard_id for node in state.nodes.values())


def test_a_forgotten_node_is_not_brought_back_by_gossip() -> None:
    world, hosts = grown()
    victim = hosts[5].up.state.myself.id
    hosts[0].handle(Forget(victim))
    world.run(5000)
    # The extension carries the news, so that one FORGET is enough here.
    assert all(victim not in host.up.state.nodes for host in hosts[:5])


def test_a_slot_moves_and_the_last_one_makes_a_replica() -> None:
    world, hosts = grown()
    source, target = hosts[0], hosts[1]
    source_id, target_id = source.up.state.myself.id, target.up.state.myself.id
    for slot in (5, 6):
        target.handle(SetSlotImporting(slot, source_id))
        source.handle(SetSlotMigrating(slot, target_id))
        assert not source.up.state.serving[slot]
        target.handle(SetSlotNode(slot, target_id))
        source.handle(SetSlotNode(slot, target_id))
    world.run_until(lambda: all(h.up.state.owners[6] is h.up.state.nodes[target_id] for h in hosts), 5000)
    for slot in [s for s in range(16384) if source.up.state.owners[s] is source.up.state.myself]:
        source.handle(SetSlotNode(slot, target_id))
        target.handle(SetSlotImporting(slot, source_id)) if slot % 4096 == 0 else None
        target.handle(SetSlotNode(slot, target_id))
    assert source.up.state.myself.primary is source.up.state.nodes[target_id]
    world.run_until(world.agreed, 8000)


def test_an_ordered_failover_loses_nothing() -> None:
    world, hosts = grown()
    primary, replica = hosts[0], hosts[3]
    replica.handle(Failover())
    took_ms = world.run_until(lambda: replica.up.state.myself.is_primary, 5000)
    assert took_ms < 1000
    world.run_until(world.agreed, 5000)
    text = "\n".join(world.trace)
    assert "=> pause writes until" in text and "=> unpause writes" in text
    assert primary.up.state.myself.primary is primary.up.state.nodes[replica.up.state.myself.id]


def test_forced_failovers_and_takeovers() -> None:
    world, hosts = grown()
    hosts[3].handle(Failover("FORCE"))
    world.run_until(lambda: hosts[3].up.state.myself.is_primary, 2000)
    hosts[4].handle(Failover("TAKEOVER"))
    assert hosts[4].up.state.myself.is_primary
    world.run_until(world.agreed, 5000)


def test_a_dead_primary_in_a_takeover_is_replaced_without_votes() -> None:
    world, hosts = grown()
    hosts[0].crash()
    hosts[1].crash()
    world.run(4000)
    assert not hosts[2].up.state.ok  # a minority of primaries is left
    hosts[3].handle(Failover("TAKEOVER"))
    hosts[4].handle(Failover("TAKEOVER"))
    alive = hosts[2:]
    world.run_until(lambda: all(host.up.state.ok for host in alive), 8000)
    hosts[0].start()
    hosts[1].start()
    world.run_until(world.agreed, 8000)
    assert hosts[0].up.state.myself.is_replica and hosts[1].up.state.myself.is_replica


def test_reset_leaves_the_cluster() -> None:
    _, hosts = grown()
    old = hosts[5].up.state.myself.id
    hosts[5].handle(Reset(hard=True))
    state = hosts[5].up.state
    state.check()
    assert list(state.nodes.values()) == [state.myself] and state.myself.id != old and state.current_epoch == 0
    assert state.myself.is_primary and not state.myself.slots


def test_all_restarted_at_once_come_back() -> None:
    world, hosts = grown()
    for host in hosts:
        host.crash()
    world.run(500)
    for host in hosts:
        host.start()
    assert world.run_until(world.agreed, 10_000) < 5000


def test_a_replica_migrates_to_an_orphaned_primary() -> None:
    world = World(11, replicas=2)
    world.run_until(world.agreed, 8000)
    world.hosts["r1"].crash()
    world.run(4000)
    assert world.hosts["p1"].up.state.ok
    world.hosts["s1"].crash()
    primary = world.hosts["p1"].up.state.myself
    world.run_until(lambda: primary.healthy_replicas() == 1, 20_000)
    assert next(replica for replica in primary.replicas if not replica.is_failed).link_up


@pytest.mark.parametrize(("barrier", "allowed"), [(2, True), (1, False)])
def test_no_replica_migrates_beyond_the_barrier_or_where_that_is_forbidden(barrier: int, allowed: bool) -> None:
    world = World(11, replicas=2)
    for host in world.hosts.values():
        host.settings.migration_barrier, host.settings.allow_replica_migration = barrier, allowed
    world.run_until(world.agreed, 8000)
    for name in ("r1", "s1"):
        world.hosts[name].crash()
    world.run(20_000)
    assert not world.hosts["p1"].up.state.myself.healthy_replicas()


def test_an_idle_machine_sleeps() -> None:
    world = World(2, timeout_ms=15000)
    world.run_until(world.agreed, 8000)
    host = world.hosts["p1"]
    wakes = []
    handle = host.wake
    host.wake = lambda at_ms: (wakes.append(at_ms), handle(at_ms))[1]  # type: ignore[method-assign]
    world.run(60_000)
    assert len(set(wakes)) < 2 * 60


def test_settings_change_what_is_told() -> None:
    world, hosts = grown()
    from gossip.events import SettingsChanged

    hosts[0].settings.announce_hostname = "one.example"
    hosts[0].settings.announce_human_nodename = "one"
    hosts[0].settings.replica_no_failover = True
    hosts[0].handle(SettingsChanged())
    mine = hosts[0].up.state.myself.id
    world.run_until(lambda: all(h.up.state.nodes[mine].hostname == "one.example" for h in hosts), 5000)
    assert all(h.up.state.nodes[mine].nodename == "one" for h in hosts)
    assert all(not h.up.state.nodes[mine].may_fail_over for h in hosts)
    assert isinstance(hosts[0].settings, ClusterSettings)
