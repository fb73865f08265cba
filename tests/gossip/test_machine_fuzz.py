"""Anything may arrive from anybody at any time: the machine raises nothing, and its views stay consistent."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import report
from gossip.events import (
    AddSlots,
    Broadcast,
    BumpEpoch,
    ClusterError,
    DataLoaded,
    DelSlots,
    Dial,
    DialFailed,
    Event,
    Failover,
    FlushSlots,
    Forget,
    LinkDown,
    LinkUp,
    Meet,
    PacketReceived,
    Replicate,
    Reset,
    SaveConfig,
    SaveNow,
    Send,
    SetConfigEpoch,
    SetSlotImporting,
    SetSlotMigrating,
    SetSlotNode,
    SetSlotStable,
    SettingsChanged,
    WakeAt,
    Wakeup,
)
from gossip.machine import ClusterMachine
from gossip.nodesconf import parse, render
from gossip.packet import (
    FAIL,
    FAILED,
    FORCE_ACK,
    HANDSHAKE,
    MEET,
    MODULE,
    NOADDR,
    NOFAILOVER,
    PAUSED,
    PFAIL,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    PUBLISH_SHARD,
    REPLICA,
    UPDATE,
    Body,
    Extensions,
    Failed,
    Gossip,
    GossipEntry,
    Module,
    Packet,
    PacketError,
    Publish,
    Update,
    bitmap_bytes,
    encode,
)
from gossip.settings import ClusterSettings
from tests.gossip.facts import PlainFacts
from tests.sim.world import EPOCH_MS, World

KNOWN = [f"{n:02x}" * 20 for n in range(0xA1, 0xA7)]
ids = st.sampled_from([*KNOWN, "f1" * 20, "f2" * 20, "XX" * 20, ""])
slot_numbers = st.sampled_from([0, 1, 5461, 16383])
epochs = st.sampled_from([0, 1, 2, 3, 4, 9, 2**62])
flags = st.sampled_from([0, PRIMARY, REPLICA, PRIMARY | FAILED, REPLICA | PFAIL, HANDSHAKE, NOADDR, NOFAILOVER | 0xFFF])
bitmaps = st.sampled_from([0, 1, 3, (1 << 5461) - 1, (1 << 16384) - 1, 1 << 16383]).map(bitmap_bytes)
ips = st.sampled_from(["", "10.0.0.2", "10.9.9.9", "::1", "no address", "\xff"])
ports = st.sampled_from([0, 7000, 17000])
entries = st.builds(GossipEntry, ids, st.just(0), st.integers(0, 2**32 - 1), ips, ports, ports, flags, ports)
extensions = st.builds(
    Extensions,
    st.sampled_from(["", "a.b", "bad name", "\n"]),
    st.sampled_from(["", "n", "a,b"]),
    st.lists(st.tuples(ids, st.sampled_from([0, 1, 60, 2**64 - 1])), max_size=1).map(tuple),
    st.none() | ids,
    st.sampled_from([None, 0, 1, 3, 5, 255]),
    st.sampled_from(["", "x", "0" * 40, f"{EPOCH_MS:012x}" + "a" * 28]),
    st.sampled_from(["", "out 10.0.0.2 7000 0", "out\n", "\xff"]),
    st.just(b"") | bitmaps,
    st.sampled_from([(), (9,)]),
)
gossips = st.builds(Gossip, st.lists(entries, max_size=3).map(tuple), extensions)


def body_of(kind: int) -> st.SearchStrategy[Body]:
    if kind in (PING, PONG, MEET):
        return gossips
    if kind == FAIL:
        return st.builds(Failed, ids)
    if kind in (PUBLISH, PUBLISH_SHARD):
        return st.just(Publish(b"c", b"m"))
    if kind == UPDATE:
        return st.builds(Update, epochs, ids, bitmaps)
    return st.just(Module(bytes(8), 0, b"")) if kind == MODULE else st.none()


packets = st.integers(0, 10).flatmap(
    lambda kind: st.builds(
        Packet, st.just(kind), ids, ports, ports, flags, epochs, epochs, epochs, bitmaps, ids | st.just(""), ips, ports,
        st.booleans(), st.sampled_from([0, PAUSED, FORCE_ACK, 7]), body_of(kind),
    )
)  # fmt: skip
links = st.integers(-3, 9)
errors = st.builds(lambda closes: PacketError("bad", closes=closes), st.booleans())
some_slots = st.lists(st.integers(-1, 16384) | slot_numbers, max_size=3).map(tuple)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(PacketReceived, links, packets, ips, ips),
    st.builds(PacketReceived, links, packets, ips, ips),
    st.builds(PacketReceived, links, errors, ips, ips),
    st.builds(LinkUp, links),
    st.builds(LinkDown, links),
    st.builds(DialFailed, links),
    st.just(Wakeup()),
    st.just(SettingsChanged()),
    st.builds(DataLoaded, st.lists(slot_numbers, max_size=2).map(tuple)),
    st.builds(Meet, ips, ports, ports),
    st.builds(Forget, ids),
    st.builds(AddSlots, some_slots),
    st.builds(DelSlots, some_slots),
    st.just(FlushSlots()),
    st.builds(SetSlotMigrating, slot_numbers, ids),
    st.builds(SetSlotImporting, slot_numbers, ids),
    st.builds(SetSlotStable, slot_numbers),
    st.builds(SetSlotNode, slot_numbers, ids),
    st.builds(Replicate, ids),
    st.builds(Failover, st.sampled_from(["", "FORCE", "TAKEOVER"])),
    st.builds(Reset, st.booleans()),
    st.builds(SetConfigEpoch, epochs),
    st.just(BumpEpoch()),
    st.just(SaveNow()),
    st.builds(Broadcast, st.just(b"c"), st.just(b"m"), st.booleans()),
)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["p1", "r1"]),
    st.sampled_from([0, 3]),
    st.lists(st.tuples(events, st.sampled_from([0, 1, 300, 3000, 40_000])), min_size=1, max_size=25),
)
def test_nothing_that_arrives_breaks_the_machine(me: str, keys: int, script: list[tuple[Event, int]]) -> None:
    machine = ClusterMachine(
        parse(World(1).hosts[me].durable),
        ClusterSettings(7000, 0, 17000, node_timeout_ms=1000),
        PlainFacts(keys, data_offset=5),
        Random(1),
    )
    now_ms, wake_ms = EPOCH_MS, EPOCH_MS
    for event in [Wakeup(), *[LinkUp(n) for n in range(1, 5)], *[event for event, _ in script]]:
        before = render(machine.state)
        try:
            effects = machine.handle(event, now_ms)
        except ClusterError as error:
            assert str(error).startswith("ERR ") and render(machine.state) == before, f"{event} failed half way"
            continue
        saves = [n for n, effect in enumerate(effects) if type(effect) is SaveConfig]
        assert saves in ([], [0]), "saved once, and first"
        for effect in effects:
            if type(effect) is Send:
                encode(effect.packet)
            elif type(effect) is Dial:
                assert effect.link > 0 and effect.cport
            elif type(effect) is WakeAt:
                wake_ms = effect.at_ms
        if type(event) is not Wakeup and script:
            now_ms += script[len(script) // 2][1]
        if any(type(effect) is SaveConfig for effect in effects):
            text = render(machine.state)
            assert render(parse(text)).count("\n") == text.count("\n")
    assert wake_ms
    machine.state.check()
    core = machine.core
    for text in (report.nodes(core), report.info(core)):
        text.encode("ascii")
    report.slots(core)
    report.shards(core)
