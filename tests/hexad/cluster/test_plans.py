"""Plans of new clusters, of nodes that come and go, and of restarts; findings; and how all of that is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexad.cluster import membership, restart
from hexad.cluster.findings import findings, summary
from hexad.cluster.layout import AddSlots, Follow, Introduce, Layout, SetEpoch, check_new, decide, make_layout
from hexad.cluster.picture import ClusterError, Node
from hexad.cluster.steps import CopyFunctions, Forget, HandOver, Meet, MoveSlots, Replicate, Reset, Restart, as_json
from hexad.reach import Address, address_of, show
from hexad.sight import SLOT_COUNT
from tests.hexad.cluster.pictures import Model, node_id, picture

RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
A, B, C, D, E, F = map(node_id, "abcdef")


def six() -> list[Model]:
    """Three primaries, and a replica of each."""
    thirds = [set(range(n * SLOT_COUNT // 3, (n + 1) * SLOT_COUNT // 3)) for n in range(3)]
    primaries = [Model(name, slots, epoch=n) for n, (name, slots) in enumerate(zip("abc", thirds, strict=True), 1)]
    return [*primaries, *(Model(name, primary=node_id(of)) for name, of in zip("def", "abc", strict=True))]


# --- layouts ----------------------------------------------------------------------------------------------------------


def addresses(hosts: list[int]) -> list[Address]:
    return [(f"10.0.0.{host}", 7000 + at) for host, count in enumerate(hosts) for at in range(count)]


@RELAXED
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 3))
def test_layouts(hosts: list[int], replicas: int) -> None:
    nodes = addresses(hosts)
    if len(nodes) // (replicas + 1) < 3:
        with pytest.raises(ClusterError, match="needs 3 to vote"):
            make_layout(nodes, replicas)
        return
    layout = make_layout(nodes, replicas)
    assert sorted(layout.addresses) == sorted(nodes)
    slots = [layout.slots_of(primary) for primary in layout.primaries]
    assert [first for first, _ in slots] == [0, *(last + 1 for _, last in slots[:-1])] and slots[-1][
        1
    ] == SLOT_COUNT - 1
    followers = [sum(to == primary for _, to in layout.replicas) for primary in layout.primaries]
    assert min(followers, default=0) >= replicas and max(followers) - min(followers) <= 1


@RELAXED
@given(st.integers(2, 6), st.integers(2, 4), st.integers(1, 2))
def test_replicas_stand_on_other_hosts(hosts: int, each: int, replicas: int) -> None:
    nodes = addresses([each] * hosts)
    if len(nodes) // (replicas + 1) >= 3:
        layout = make_layout(nodes, replicas)
        assert layout.same_host == 0
        spread = [sum(primary[0] == f"10.0.0.{host}" for primary in layout.primaries) for host in range(hosts)]
        assert max(spread) - min(spread) <= 1


def test_one_host_is_all_there_is() -> None:
    assert make_layout(addresses([6]), 1).same_host == 3
    with pytest.raises(ClusterError, match="twice"):
        make_layout([*addresses([6]), ("10.0.0.0", 7000)], 1)


def fresh(address: Address) -> Node:
    model = Model("x", host=address[0], epoch=0)
    (node,) = picture([model], state="fail").nodes
    return Node(address, node.known, {"redis_mode": "cluster"}, "fail")


def test_new_nodes_are_told_in_order() -> None:
    layout = Layout(tuple(addresses([3])), ())
    nodes = [fresh(address) for address in layout.primaries]
    assert decide(layout, nodes) == [AddSlots(address, (layout.slots_of(address),)) for address in layout.primaries]


@pytest.mark.parametrize(
    ("info", "slots", "why"),
    [
        ({"redis_mode": "standalone"}, (), "not in cluster mode"),
        ({"redis_mode": "cluster", "db0": "keys=3,expires=0"}, (), "holds 3 keys"),
        ({"redis_mode": "cluster"}, ((9000, 9001),), "owns slots 9000-9001 already"),
    ],
)
def test_what_is_no_new_node(info: dict[str, str], slots: tuple[tuple[int, int], ...], why: str) -> None:
    layout = Layout(tuple(addresses([3])), ())
    old = fresh(layout.primaries[0])
    me = old.me.__class__(old.id, old.me.host, old.me.port, old.me.flags, "", 0, slots)
    with pytest.raises(ClusterError, match=why):
        check_new(layout, [Node(old.address, (me,), info)])


def test_a_member_of_another_cluster_is_refused() -> None:
    layout = Layout(tuple(addresses([3])), ())
    member = picture(six()).nodes[0]
    with pytest.raises(ClusterError, match=r"in a cluster with .* already"):
        check_new(layout, [member])


def test_acts_name_their_nodes() -> None:
    here, there = addresses([2])
    acts = [AddSlots(here, ((0, 1),)), SetEpoch(here, 1), Introduce(here, there, 0), Follow(here, A, there)]
    assert {act.address for act in acts} == {here}


# --- members ----------------------------------------------------------------------------------------------------------


def test_add() -> None:
    now = picture(six())
    (new,) = picture([Model("n", host="10.0.0.9")]).nodes
    assert membership.add(now, new, None) == [CopyFunctions(A, new.address), Meet(A, new.address)]
    meet, follow = membership.add(now, new, now.by_id[B].name)
    assert (meet, follow) == (Meet(A, new.address), Replicate(new.id, B, new.address))
    with pytest.raises(ClusterError, match=r"is a replica: name its primary, 10.0.0.1:7097"):
        membership.add(now, new, D)
    models = [*six(), Model("n", host="10.0.0.9")]
    member = picture(models)
    assert membership.add(member, member.by_id[node_id("n")], None) == []
    (owner,) = picture([Model("o", {1})]).nodes
    with pytest.raises(ClusterError, match="owns slots"):
        membership.add(now, owner, None)
    (holder,) = picture([Model("o", keys={1: 4})]).nodes
    with pytest.raises(ClusterError, match="holds 4 keys"):
        membership.add(now, holder, None)
    with pytest.raises(ClusterError, match="another cluster"):
        membership.add(now, picture([Model("x"), Model("y")]).nodes[0], None)


def test_a_new_replica_goes_where_fewest_are() -> None:
    models = [model for model in six() if model.name != "e"]
    now = picture(models)
    (new,) = picture([Model("n", host="10.0.0.9")]).nodes
    assert membership.add(now, new, "auto")[-1] == Replicate(new.id, B, new.address)


def test_remove() -> None:
    now = picture(six())
    steps = membership.remove(now, now.by_id[A])
    moved = [slot for step in steps if isinstance(step, MoveSlots) for slot in step.slots]
    assert sorted(moved) == sorted(now.by_id[A].slots)
    rest = [step for step in steps if not isinstance(step, MoveSlots)]
    assert rest == [
        Replicate(D, B, now.by_id[D].address),
        *(Forget(other, A) for other in (B, C, D, E, F)),
        Reset(now.by_id[A].address),
    ]
    assert [type(step) for step in membership.remove(now, now.by_id[D])] == [Forget] * 5 + [Reset]
    models = six()
    models[0].answers = False
    dead = picture(models)
    with pytest.raises(ClusterError, match="owns slots and does not answer"):
        membership.remove(dead, dead.by_id[A])
    models[0].slots = set()
    dead = picture(models)
    assert [type(step) for step in membership.remove(dead, dead.by_id[A])] == [Replicate] + [Forget] * 5


# --- roles ------------------------------------------------------------------------------------------------------------


def test_hand_over() -> None:
    models = [*six(), Model("g", primary=A, offset=9)]
    now = picture(models)
    a, d, g = (now.by_id[node_id(name)] for name in "adg")
    assert restart.hand_over(now, a, None, "") == [HandOver(g.id, A)], "the one that has most"
    assert restart.hand_over(now, a, d, "") == restart.hand_over(now, d, None, "") == [HandOver(D, A)]
    with pytest.raises(ClusterError, match="no replica of"):
        restart.hand_over(now, a, now.by_id[E], "")
    with pytest.raises(ClusterError, match="is a primary itself"):
        restart.hand_over(now, a, now.by_id[B], "")
    with pytest.raises(ClusterError, match="leave out --to"):
        restart.hand_over(now, d, g, "")
    with pytest.raises(ClusterError, match="has no replica"):
        lonely = picture(six()[:3])
        restart.hand_over(lonely, lonely.by_id[A], None, "")
    models[3].synced = False
    now = picture(models)
    with pytest.raises(ClusterError, match="without its primary's data"):
        restart.hand_over(now, now.by_id[D], None, "")
    models[0].answers = False
    dead = picture(models)
    with pytest.raises(ClusterError, match="--force"):
        restart.hand_over(dead, dead.by_id[D], None, "")
    assert restart.hand_over(dead, dead.by_id[D], None, "FORCE") == [HandOver(D, A, "FORCE")]


def do(models: list[Model], step: HandOver | Restart) -> None:
    if isinstance(step, HandOver):
        replica, primary = (next(one for one in models if one.id == id) for id in (step.replica, step.primary))
        assert replica.primary == primary.id and not primary.primary
        replica.slots, primary.slots = primary.slots, set()
        replica.primary, primary.primary = "", replica.id


@settings(RELAXED, max_examples=25)
@given(st.booleans(), st.integers(0, 20))
def test_a_rolling_restart_cut_short_anywhere(back: bool, cut: int) -> None:
    models = six()
    homes = {A, B, C} if back else set()
    done: list[str] = []
    for limit in (cut, 100):
        for step in restart.rolling(picture(models), done=done, homes=homes)[:limit]:
            assert isinstance(step, HandOver | Restart)
            if isinstance(step, Restart):
                node = next(one for one in models if one.id == step.node)
                assert node.primary, "no primary that has a replica is ever restarted"
                done.append(step.node)
            do(models, step)
    assert sorted(done) == [A, B, C, D, E, F]
    assert restart.rolling(picture(models), done=done, homes=homes) == []
    if back:
        assert all(not model.primary for model in models[:3])


def test_primaries_without_replicas_need_a_word() -> None:
    now = picture(six()[:5])
    with pytest.raises(ClusterError, match="--outage"):
        restart.rolling(now)
    steps = restart.rolling(now, outage=True)
    assert Restart(C) in steps and not any(isinstance(step, HandOver) and step.primary == C for step in steps)
    assert restart.rolling(now, only=[D]) == [Restart(D)]


# --- findings ---------------------------------------------------------------------------------------------------------


def kinds(models: list[Model], state: str = "ok") -> set[str]:
    return {found.kind for found in findings(picture(models, state))}


def test_findings() -> None:
    assert kinds(six()) == set()
    assert kinds(six(), "fail") == {"state"}
    assert kinds(six()[:3]) == {"no replica"}
    models = six()
    models[0].slots.discard(5)
    assert kinds(models) == {"uncovered"}
    models[1].slots.add(0)
    assert kinds(models) == {"uncovered", "contested"}
    models = six()
    models[1].importing[0] = A
    models[2].keys[1] = 3
    assert kinds(models) == {"open", "stray keys"}
    models = six()
    models[3].synced = False
    models[4].primary = node_id("z")
    assert kinds(models) == {"replica link", "lost replica", "no replica"}
    models = six()
    models[5].answers = models[2].answers = False
    found = findings(picture(models))
    assert [one.kind for one in found] == ["unreachable"] * 2
    assert "give-up-unreachable" in found[0].next and f"remove 10.0.0.1:7097 {F}" in found[1].next
    models = six()
    models[0].epoch = models[1].epoch = 5
    models[5].host = "10.0.0.2"
    assert kinds(models) == {"epoch", "one host"}


def test_what_others_believe() -> None:
    now = picture(six())
    stale = now.nodes[0].__class__(
        now.nodes[0].address, tuple(known for known in now.nodes[0].known if known.id != C), {}, "ok"
    )
    changed = now.__class__((stale, *now.nodes[1:]))
    assert {found.kind for found in findings(changed)} == {"unknown", "disagreement"}


def test_naming_nodes() -> None:
    now = picture(six())
    assert now.find("10.0.0.1:7097").id == now.find("aaaa").id == now.find(A).id == A
    with pytest.raises(ClusterError, match="no node of this cluster"):
        now.find("10.0.0.1:1")
    with pytest.raises(ClusterError, match="no node of this cluster"):
        now.find("a")
    assert address_of("[::1]:7000") == ("::1", 7000) and show(("::1", 7000)) == "[::1]:7000"
    for text in ("7000", "host:", ":7000", "host:0", "host:70000", "host:x"):
        with pytest.raises(ValueError, match="no HOST:PORT"):
            address_of(text)


def test_rows_and_steps_are_told() -> None:
    now = picture(six())
    rows = summary(now)
    assert [row[0] for row in rows] == [f"10.0.0.1:{7000 + ord(letter)}" for letter in "adbecf"]
    told = as_json(MoveSlots(A, B, (1, 2, 5)), now)
    assert told == {
        "kind": "MoveSlots",
        "source": A,
        "target": B,
        "slots": "1-2 5",
        "text": "move 3 slots 1-2 5 from 10.0.0.1:7097 to 10.0.0.1:7098",
    }
    steps = [HandOver(D, A, "FORCE"), Restart(A), Reset(("h", 1)), Forget(A, B), Meet(A, ("h", 1))]
    assert all(json.dumps(as_json(step, now)) for step in steps)
