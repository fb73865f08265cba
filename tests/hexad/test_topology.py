"""Plans and decisions: tables of what can be asked for, a model cluster that must converge from half-made states."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexad.sight import SLOT_COUNT, Known, Sight, ranges_of, slots_in
from hexad.topology import (
    CLUSTER,
    REPLICATION,
    SENTINEL,
    STANDALONE,
    AddSlots,
    BadPlan,
    Do,
    Done,
    Forget,
    Meet,
    Plan,
    Refuse,
    Replicate,
    SetEpoch,
    Step,
    TakeOver,
    Wait,
    decide,
    make_plan,
    replace_lost,
    stop_order,
)

# --- plans ------------------------------------------------------------------------------------------------------------


def test_six_nodes() -> None:
    plan = make_plan()
    assert plan.ports == [7000, 7001, 7002, 7003, 7004, 7005]
    assert plan.listening_ports[6:] == [17000, 17001, 17002, 17003, 17004, 17005]
    assert [plan.slots_of(port) for port in plan.ports] == [(0, 5460), (5461, 10922), (10923, 16383), *[None] * 3]
    assert [plan.primary_of(port) for port in plan.ports] == [None] * 3 + [7000, 7001, 7002]


@pytest.mark.parametrize(
    ("topology", "nodes", "replicas", "primaries", "count"),
    [
        (CLUSTER, None, None, 3, 6),
        (CLUSTER, None, 0, 3, 3),
        (CLUSTER, None, 2, 3, 9),
        (CLUSTER, 7, None, 3, 7),
        (CLUSTER, 8, 1, 4, 8),
        (STANDALONE, None, None, 1, 1),
        (REPLICATION, None, None, 1, 3),
        (REPLICATION, 2, None, 1, 2),
        (REPLICATION, None, 4, 1, 5),
        (SENTINEL, None, None, 1, 6),
        (SENTINEL, 5, None, 1, 5),
        (SENTINEL, None, 4, 1, 8),
    ],
)
def test_sizes(topology: str, nodes: int | None, replicas: int | None, primaries: int, count: int) -> None:
    plan = make_plan(topology, nodes=nodes, replicas=replicas)
    assert (plan.primaries, plan.nodes) == (primaries, count)


@given(st.integers(3, 40), st.integers(0, 3))
def test_slots_are_shared_out_evenly(primaries: int, replicas: int) -> None:
    plan = make_plan(nodes=primaries * (replicas + 1), replicas=replicas)
    shares = [share for port in plan.ports if (share := plan.slots_of(port))]
    assert [first for first, _ in shares] == [0, *(last + 1 for _, last in shares[:-1])]
    assert shares[-1][1] == SLOT_COUNT - 1
    sizes = {last - first + 1 for first, last in shares}
    assert max(sizes) - min(sizes) <= 1
    followed = [primary for port in plan.ports if (primary := plan.primary_of(port))]
    assert all(followed.count(port) == replicas for port in plan.ports[:primaries])


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"nodes": 5}, "5 nodes with 1 replica.* make 2 primaries; a cluster needs 3 to vote: --nodes 6"),
        ({"nodes": 0}, "--nodes 0"),
        ({"nodes": 501}, "--nodes 501"),
        ({"replicas": -1}, "cannot be negative"),
        ({"port": 55531}, "--port 55531: 6 nodes need ports from 1 to 55530"),
        ({"port": 0}, "--port 0"),
        ({"host": "0.0.0.0"}, "the one address"),
        ({"host": "192.168.0.1"}, "--requirepass"),
        ({"options": ["maxclients", "5"]}, "options for each node"),
        ({"options": ["--maxclients", "5", "--PORT", "5"]}, "--port is set for each node"),
        ({"options": ["--port 5"]}, "--port is set for each node"),
        ({"topology": STANDALONE, "nodes": 2}, "standalone is one node"),
        ({"topology": STANDALONE, "replicas": 1}, "standalone is one node"),
        ({"topology": REPLICATION, "nodes": 2, "replicas": 2}, "--nodes 3 goes with --replicas 2"),
    ],
)
def test_what_cannot_be(wanted: dict[str, object], why: str) -> None:
    with pytest.raises(BadPlan, match=why):
        make_plan(**wanted)  # type: ignore[arg-type]


def test_the_last_port_that_fits() -> None:
    assert make_plan(port=55530).listening_ports[-1] == 65535
    assert make_plan(STANDALONE, port=65535).ports == [65535]


def test_options_of_a_node() -> None:
    plan = make_plan(port=8000, node_timeout_ms=2000, options=["--requirepass", "secret"])
    words = " ".join(plan.node_options(8001))
    assert words == (
        "--port 8001 --bind 127.0.0.1 --dir . --cluster-enabled yes --cluster-config-file nodes.conf "
        "--cluster-node-timeout 2000 --repl-diskless-sync-delay 0 --requirepass secret --masterauth secret"
    )
    follower = make_plan(REPLICATION).node_options(7002)
    assert " ".join(follower).count("--replicaof 127.0.0.1 7000 ") == 1
    assert "--replicaof" not in make_plan(REPLICATION).node_options(7000)
    assert make_plan(host="192.168.0.1", options=["--protected-mode", "no"]).host == "192.168.0.1"


def test_replicas_stop_first() -> None:
    assert list(stop_order([(1, False), (2, True), (3, False), (4, True)])) == [[2, 4], [1, 3]]
    assert list(stop_order([(1, False)])) == [[1]]


# --- decisions --------------------------------------------------------------------------------------------------------


@dataclass
class ModelNode:
    """As much of a cluster node as joining needs: what it owns, whom it knows, what it refuses."""

    id: str
    port: int
    epoch: int = 0
    slots: set[int] = field(default_factory=set)
    primary: str = ""
    keys: int = 0
    knows: set[str] = field(default_factory=set)
    arriving: set[int] = field(default_factory=set)


class Model:
    """A cluster that gossips a little in each round, and complains about steps that a real node would refuse."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.plan = plan
        self.luck = random.Random(seed)
        self.nodes = {port: ModelNode(f"id-{port}", port) for port in plan.ports}

    @property
    def by_id(self) -> dict[str, ModelNode]:
        return {node.id: node for node in self.nodes.values()}

    def sights(self) -> list[Sight]:
        seen = {node.id: self.known(node) for node in self.nodes.values()}
        return [self.sight(node, seen) for node in self.nodes.values()]

    def sight(self, node: ModelNode, seen: dict[str, Known]) -> Sight:
        others = [self.by_id[id] for id in sorted(node.knows)]
        known = [replace(seen[node.id], flags=frozenset({"myself", *seen[node.id].flags}))]
        known += [seen[other.id] for other in others]
        known += [Known(f"?{p}", "127.0.0.1", p, frozenset({"handshake"}), "", 0, ()) for p in sorted(node.arriving)]
        owned = set().union(node.slots, *(other.slots for other in others))
        return Sight(node.port, tuple(known), len(owned) == SLOT_COUNT, node.keys, True)

    def known(self, node: ModelNode) -> Known:
        role = "slave" if node.primary else "master"
        return Known(
            node.id, "127.0.0.1", node.port, frozenset({role}), node.primary, node.epoch, ranges_of(node.slots)
        )

    def take(self, step: Step) -> None:
        node = self.nodes[step.port]
        match step:
            case AddSlots(_, ranges):
                seen = [node, *(self.by_id[id] for id in node.knows)]
                assert not node.primary and slots_in(ranges) and not any(slots_in(ranges) & n.slots for n in seen)
                node.slots |= slots_in(ranges)
            case SetEpoch(_, epoch):
                assert not node.knows and not node.epoch and all(n.epoch != epoch for n in self.nodes.values())
                node.epoch = epoch
            case Meet(_, other_port):
                assert self.nodes[other_port].id not in node.knows or node.id not in self.nodes[other_port].knows
                node.arriving.add(other_port)
            case Replicate(_, primary_id):
                assert primary_id in node.knows and not node.slots and not self.by_id[primary_id].primary
                node.primary = primary_id
            case Forget(_, id):
                assert id != node.primary
                node.knows.discard(id)

    def gossip(self) -> None:
        """Some handshakes end, perhaps on one side only; some nodes hear of others from those they know."""
        for node in self.nodes.values():
            for port in [port for port in sorted(node.arriving) if self.luck.random() < 0.5]:
                node.arriving.discard(port)
                node.knows.add(self.nodes[port].id)
                if self.luck.random() < 0.7:
                    self.nodes[port].knows.add(node.id)
            for friend in [self.by_id[id] for id in sorted(node.knows)]:
                if node.id in friend.knows and self.luck.random() < 0.3:
                    node.knows |= friend.knows - {node.id}

    def settle(self) -> int:
        """Take what is decided until all is done; how many steps that took."""
        steps = 0
        for _ in range(500):
            match decide(self.plan, self.sights()):
                case Done():
                    return steps
                case Do(todo):
                    assert todo, "a decision to do nothing"
                    steps += len(todo)
                    for step in todo:
                        self.take(step)
                case Refuse(why):
                    raise AssertionError(why)
            self.gossip()
        raise AssertionError(f"still at {decide(self.plan, self.sights())}")

    def check(self) -> None:
        owners = [slot for node in self.nodes.values() for slot in node.slots]
        assert sorted(owners) == list(range(SLOT_COUNT))
        followed = [node.primary for node in self.nodes.values() if node.primary]
        primaries = [node for node in self.nodes.values() if not node.primary]
        assert len(primaries) >= self.plan.primaries and all(node.slots for node in primaries)
        if len(primaries) == self.plan.primaries:
            counts = [followed.count(node.id) for node in primaries]
            assert min(counts) >= self.plan.replicas and max(counts) - min(counts) <= 1
        assert all(len(node.knows) == len(self.nodes) - 1 for node in self.nodes.values())


@given(st.integers(0, 2**32), st.integers(3, 5), st.integers(0, 2), st.integers(0, 4))
@settings(max_examples=12, deadline=None)
def test_new_nodes_become_the_planned_cluster(seed: int, primaries: int, replicas: int, more: int) -> None:
    nodes = primaries * (replicas + 1) + min(more, replicas)
    model = Model(make_plan(nodes=nodes, replicas=replicas), seed)
    assert model.settle() > 0
    model.check()
    for port, node in model.nodes.items():
        share = model.plan.slots_of(port)
        assert node.slots == (slots_in([share]) if share else set())
        assert node.primary == (f"id-{primary}" if (primary := model.plan.primary_of(port)) else "")
    assert decide(model.plan, model.sights()) == Done()  # and a second start finds nothing to do


@given(st.integers(0, 2**32), st.integers(0, 12))
@settings(max_examples=12, deadline=None)
def test_a_start_that_was_cut_short_is_completed(seed: int, rounds: int) -> None:
    model = Model(make_plan(), seed)
    luck = random.Random(seed)
    for _ in range(rounds):
        decision = decide(model.plan, model.sights())
        for step in decision.steps if isinstance(decision, Do) else ():
            if luck.random() < 0.5:
                model.take(step)
        model.gossip()
    for node in model.nodes.values():
        node.arriving.clear()  # a handshake does not survive a restart
    model.settle()
    model.check()


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_has_failed_over_stays_so(seed: int) -> None:
    model = Model(make_plan(), seed)
    model.settle()
    old, new = model.nodes[7000], model.nodes[7003]
    new.slots, old.slots, new.primary, old.primary, new.epoch = old.slots, set(), "", new.id, 99
    assert model.settle() == 0


def test_a_lost_directory_comes_back_as_a_replica() -> None:
    model = Model(make_plan())
    model.settle()
    new = model.nodes[7003]
    new.slots, new.primary = model.nodes[7000].slots, ""
    model.nodes[7000] = ModelNode("id-fresh", 7000)  # the others still know the one that is gone
    gone = Known("id-7000", "", 0, frozenset({"master", "fail", "noaddr"}), "", 1, ())

    def sights() -> list[Sight]:
        return [s if s.me.id == "id-fresh" else replace(s, known=(*s.known, gone)) for s in model.sights()]

    for node in model.nodes.values():
        node.knows.discard("id-7000")
    for _ in range(50):
        decision = decide(model.plan, sights())
        if isinstance(decision, Do) and isinstance(decision.steps[0], Forget):
            break
        for step in decision.steps if isinstance(decision, Do) else ():
            model.take(step)
        model.gossip()
    assert isinstance(decision, Do)
    assert decision.steps == tuple(Forget(port, "id-7000") for port in range(7001, 7006))
    assert model.nodes[7000].primary == new.id


def test_a_lost_primary_is_replaced_by_the_replica_that_has_most() -> None:
    model = joined()
    del model.nodes[7000]
    model.nodes[7004].primary = "id-7000"
    sights = survivors(model)
    assert replace_lost(sights) == Do((TakeOver(7003),))
    ahead = [replace(sight, offset=9) if sight.port == 7004 else sight for sight in sights]
    assert replace_lost(ahead) == Do((TakeOver(7004),))
    new = model.nodes[7003]
    new.slots, new.primary, model.nodes[7004].primary = set(range(5461)), "", new.id
    assert replace_lost(survivors(model)) == Wait("all nodes to hear who took over from a lost one")
    assert replace_lost(survivors(model, owns=())) == Done()


def test_slots_of_a_lost_primary_without_replica_are_named() -> None:
    model = joined()
    del model.nodes[7000], model.nodes[7003]
    decision = replace_lost(survivors(model))
    assert isinstance(decision, Refuse) and "data of slots 0-5460 is lost" in decision.why


def survivors(model: Model, owns: tuple[tuple[int, int], ...] = ((0, 5460),)) -> list[Sight]:
    """What is seen without the node at port 7000, which the others still know."""
    gone = Known("id-7000", "127.0.0.1", 7000, frozenset({"master", "fail"}), "", 1, owns)
    for node in model.nodes.values():
        node.knows &= set(model.by_id)
    return [replace(sight, known=(*sight.known, gone)) for sight in model.sights()]


def joined() -> Model:
    model = Model(make_plan())
    model.settle()
    return model


def with_stranger(model: Model) -> list[Sight]:
    stranger = Known("other", "127.0.0.1", 9000, frozenset({"master"}), "", 1, ())
    first, *rest = model.sights()
    return [replace(first, known=(*first.known, stranger)), *rest]


def with_loose_data(model: Model) -> list[Sight]:
    model.nodes[7002] = ModelNode("loose", 7002, keys=5)
    for node in model.nodes.values():
        node.knows.discard("id-7002")
    return model.sights()


def with_two_clusters(_: Model) -> list[Sight]:
    model = Model(make_plan())
    for group in ((7000, 7001, 7002), (7003, 7004, 7005)):
        for port in group:
            model.nodes[port].knows = {f"id-{other}" for other in group if other != port}
        model.nodes[group[0]].slots = set(range(100, 201))
    return model.sights()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (with_stranger, "port 7000 belongs to a cluster with 127.0.0.1:9000"),
        (with_loose_data, "port 7002 holds 5 keys but was in no cluster"),
        (with_two_clusters, "ports 7000 and 7003 are of two clusters: both own slots 100-200"),
    ],
)
def test_what_would_mix_data_is_refused(spoil: object, why: str) -> None:
    decision = decide(make_plan(), spoil(joined()))  # type: ignore[operator]
    assert isinstance(decision, Refuse) and why in decision.why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"serves": False}, "cluster_state:ok on 5 of 6 nodes"),
        ({"synced": False}, "2 of 3 replicas have their primary's data"),
    ],
)
def test_health_is_waited_for(change: dict[str, bool], why: str) -> None:
    *sights, last = joined().sights()
    assert decide(make_plan(), [*sights, replace(last, **change)]) == Wait(why)


def test_suspicion_is_waited_for() -> None:
    *sights, last = joined().sights()
    known = [replace(n, flags=n.flags | {"fail?"}) if n.port == 7001 else n for n in last.known]
    decision = decide(make_plan(), [*sights, replace(last, known=tuple(known))])
    assert decision == Wait("the node at port 7005 does not reach the one at port 7001")


def test_sentinels_stand_behind_the_nodes_that_they_watch() -> None:
    plan = make_plan(SENTINEL, node_timeout_ms=2000, options=["--requirepass", "a secret"])
    assert plan.data_ports == [7000, 7001, 7002] and plan.sentinel_ports == [7003, 7004, 7005]
    assert [plan.primary_of(port) for port in plan.ports] == [None, 7000, 7000, None, None, None]
    assert plan.first_file(7000) == ("node.conf", "") and plan.node_options(7000)[:3] == ["node.conf", "--port", "7000"]
    assert plan.first_file(7002) == ("node.conf", "replicaof 127.0.0.1 7000\n")
    assert plan.node_options(7005) == ["sentinel.conf", "--sentinel"]
    name, text = plan.first_file(7005) or ("", "")
    assert name == "sentinel.conf" and text.splitlines() == [
        "port 7005",
        "bind 127.0.0.1",
        "sentinel monitor mymaster 127.0.0.1 7000 2",
        "sentinel down-after-milliseconds mymaster 2000",
        "sentinel failover-timeout mymaster 8000",
        'requirepass "a secret"',
        'sentinel auth-pass mymaster "a secret"',
    ]
    assert make_plan().first_file(7000) is None


@pytest.mark.parametrize(("nodes", "replicas"), [(4, None), (None, 0), (6, 1)])
def test_too_few_for_sentinels(nodes: int | None, replicas: int | None) -> None:
    with pytest.raises(BadPlan, match="one primary, its replicas and 3 Sentinels"):
        make_plan(SENTINEL, nodes=nodes, replicas=replicas)
