"""Orders beside a real node: the same sequence of CLUSTER commands gives the same replies."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from gossip.events import (
    AddSlots,
    BumpEpoch,
    ClusterError,
    DelSlots,
    EmptyData,
    Event,
    Failover,
    FlushSlots,
    Forget,
    Meet,
    Replicate,
    Reply,
    Reset,
    SaveConfig,
    SaveNow,
    SetConfigEpoch,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
    SetSlotStable,
)
from gossip.machine import ClusterMachine
from gossip.nodesconf import parse
from gossip.report import failure_reports, nodes, replicas
from gossip.settings import ClusterSettings
from tests.gossip.facts import PlainFacts
from tests.gossip.machines import IDS, Alone
from tests.support import RedisServer
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, Simple, Wire


class Facts(PlainFacts):
    """Keys as the real node has them."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def key_count(self) -> int:
        return int(self.wire("DBSIZE"))

    def keys_in_slot(self, slot: int) -> int:
        return int(self.wire("CLUSTER", "COUNTKEYSINSLOT", slot))


Orders = list[tuple[tuple[Any, ...], Event]]


def orders(me: str, other: str) -> Orders:
    """What is asked of both, in this order: ("CLUSTER" words, our event)."""
    nobody = "0" * 40
    return [
        (("SET-CONFIG-EPOCH", 5), SetConfigEpoch(5)),
        (("ADDSLOTS", 1, 2, 3), AddSlots((1, 2, 3))),
        (("ADDSLOTS", 4, 4), AddSlots((4, 4))),
        (("ADDSLOTS", 3, 4), AddSlots((3, 4))),
        (("ADDSLOTS", 16384), AddSlots((16384,))),
        (("DELSLOTS", 4), DelSlots((4,))),
        (("DELSLOTS", 3, 3), DelSlots((3, 3))),
        (("DELSLOTS", 3), DelSlots((3,))),
        (("SETSLOT", 9, "MIGRATING", other), SetSlotMigrating(9, other)),
        (("SETSLOT", 1, "MIGRATING", nobody), SetSlotMigrating(1, nobody)),
        (("SETSLOT", 1, "IMPORTING", other), SetSlotImporting(1, other)),
        (("SETSLOT", 9, "IMPORTING", nobody), SetSlotImporting(9, nobody)),
        (("SETSLOT", 9, "NODE", nobody), SetSlotNode(9, nobody)),
        (("SETSLOT", 1, "MIGRATING", other), SetSlotMigrating(1, other)),
        (("SETSLOT", 9, "IMPORTING", other), SetSlotImporting(9, other)),
        (("SETSLOT", 1, "STABLE"), SetSlotStable(1)),
        (("SETSLOT", 1, "MIGRATING", other), SetSlotMigrating(1, other)),
        (("SETSLOT", 1, "NODE", other), SetSlotNode(1, other)),
        (("SETSLOT", 9, "NODE", me), SetSlotNode(9, me)),
        (("FORGET", nobody), Forget(nobody)),
        (("FORGET", me), Forget(me)),
        (("REPLICATE", nobody), Replicate(nobody)),
        (("REPLICATE", me), Replicate(me)),
        (("REPLICATE", other), Replicate(other)),
        (("FAILOVER",), Failover()),
        (("SET-CONFIG-EPOCH", 5), SetConfigEpoch(5)),
        (("SET-CONFIG-EPOCH", -5), SetConfigEpoch(-5)),
        (("BUMPEPOCH",), BumpEpoch()),
        (("BUMPEPOCH",), BumpEpoch()),
        (("SAVECONFIG",), SaveNow()),
        (("MEET", "no.address", 7000), Meet("no.address", 7000, 17000)),
        (("FLUSHSLOTS",), FlushSlots()),
        (("REPLICATE", other), Replicate(other)),
        (("SETSLOT", 1, "STABLE"), SetSlotStable(1)),
        (("FORGET", other), Forget(other)),
        (("RESET", "SOFT"), Reset()),
        (("SET-CONFIG-EPOCH", 7), SetConfigEpoch(7)),
        (("RESET", "HARD"), Reset(hard=True)),
        (("SET-CONFIG-EPOCH", 7), SetConfigEpoch(7)),
        (("SET-CONFIG-EPOCH", 7), SetConfigEpoch(7)),
    ]


def epochs(wire: Wire) -> list[str]:
    return sorted(line.split(" ")[6] for line in wire("CLUSTER", "NODES").decode().splitlines())


def answer(machine: ClusterMachine, event: Event, now_ms: int) -> Any:
    try:
        effects = machine.handle(event, now_ms)
    except ClusterError as error:
        return ReplyError(str(error))
    replies = [effect.text for effect in effects if isinstance(effect, Reply)]
    return Simple(replies[0] if replies else "OK")


def test_replies_are_those_of_a_real_node() -> None:
    # A long timeout: the nodes gossip little, so the real one's state is what the orders made it.
    options: dict[str, Any] = {"cluster_enabled": "yes", "cluster_node_timeout": 60000}
    with RedisServer(**options) as one, RedisServer(**options) as two, one.wire() as wire, two.wire() as far:
        wire("CLUSTER", "MEET", "127.0.0.1", two.port)
        me, other = wire("CLUSTER", "MYID").decode(), far("CLUSTER", "MYID").decode()
        wait_until(lambda: other in wire("CLUSTER", "NODES").decode(), 5, "they met")
        # Both began with epoch 0: after their collision the one with the smaller id has 1, and all is quiet.
        for node in (wire, far):
            wait_until(lambda node=node: epochs(node) == ["0", "1"], 5, "the collision is over")
        text = wire("CLUSTER", "NODES").decode() + "vars currentEpoch 1 lastVoteEpoch 0\n"
        settings = ClusterSettings(one.port, 0, one.port + 10000, node_timeout_ms=60000)
        machine = ClusterMachine(parse(text), settings, Facts(wire), Random(1))
        for words, event in orders(me, other):
            theirs = wire("CLUSTER", *words)
            ours = answer(machine, event, 1_700_000_000_000)
            assert ours == theirs, (words, machine.state.nodes)
            machine.state.check()


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ClusterError) as caught:
        act()
    return str(caught.value)


def test_a_replica_is_refused_what_only_primaries_may() -> None:
    alone = Alone("r1")
    for order in (SetSlotStable(1), SetSlotMigrating(1, IDS["p2"]), SetSlotNode(1, IDS["p2"])):
        assert refused(lambda order=order: alone.handle(order)) == "ERR Please use SETSLOT only with masters."
    assert refused(lambda: alone.handle(Forget(IDS["p1"]))) == "ERR Can't forget my master!"
    assert refused(lambda: alone.handle(Replicate(IDS["r2"]))) == "ERR I can only replicate a master, not a replica."
    alone.convict("p1", by="p2")
    words = "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"
    assert refused(lambda: alone.handle(Failover())) == words


def test_keys_stand_in_the_way() -> None:
    alone = Alone("p1", keys=1)
    assert "while I still hold keys" in refused(lambda: alone.handle(SetSlotNode(1, IDS["p2"])))
    assert refused(lambda: alone.handle(FlushSlots())) == "ERR DB must be empty to perform CLUSTER FLUSHSLOTS."
    assert "master nodes containing keys" in refused(lambda: alone.handle(Reset()))
    assert "must be empty" in refused(lambda: alone.handle(Replicate(IDS["p2"])))


def test_a_slot_that_its_new_owner_was_faster_to_tell_of_is_not_saved_again() -> None:
    alone = Alone("p1")
    slot = next(slot for slot, owner in enumerate(alone.machine.state.owners) if owner is alone.node("p2"))

    def saves(order: Event) -> bool:
        return any(isinstance(effect, SaveConfig) for effect in alone.handle(order))

    alone.machine.state.unclaimed |= 1 << slot
    assert not saves(SetSlotNode(slot, IDS["p2"]))
    assert not alone.machine.state.unclaimed, "an operator has said whose it is"
    assert saves(SetSlotNode(slot, IDS["p3"])) and alone.machine.state.owners[slot] is alone.node("p3")
    assert saves(SetSlotImporting(slot, IDS["p3"])) and saves(SetSlotNode(slot, IDS["p3"]))


def test_reset_of_a_replica_empties_it() -> None:
    alone = Alone("r1", keys=5)
    assert EmptyData() in alone.handle(Reset())
    assert nodes(alone.machine.core).count("\n") == 1


def test_replicas_and_reports() -> None:
    alone = Alone("p1")
    core = alone.machine.core
    (line,) = replicas(core, IDS["p1"])
    assert line.startswith(IDS["r1"].encode() + b" 10.0.0.4:7000@17000 slave " + IDS["p1"].encode())
    assert refused(lambda: replicas(core, IDS["r1"])) == "ERR The specified node is not a master"
    assert refused(lambda: failure_reports(core, "x", alone.now_ms)) == "ERR Unknown node x"
    assert failure_reports(core, IDS["p2"], alone.now_ms) == 0
