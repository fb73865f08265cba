"""The state's views of one fact stay in step, whatever is done in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.packet import MYSELF, PRIMARY, REPLICA, bitmap_from
from gossip.state import ALL_SLOTS, ClusterState, Node, is_name, is_node_id


def cluster(count: int) -> ClusterState:
    state = ClusterState(Node("0" * 40, MYSELF | PRIMARY))
    for number in range(1, count):
        state.add(Node(f"{number:040x}", PRIMARY))
    return state


steps = st.lists(
    st.tuples(
        st.sampled_from(["give", "free", "migrate", "import", "close", "attach", "remove"]),
        st.integers(0, 4),
        st.sets(st.integers(0, 40), min_size=1),
    ),
    max_size=25,
)


@settings(max_examples=25)  # each check walks all slots
@given(steps)
def test_every_view_agrees_after_every_step(script: list[tuple[str, int, set[int]]]) -> None:
    state = cluster(5)
    for what, number, slots in script:
        node = state.nodes.get(f"{number:040x}")
        if node is None:
            continue
        slot = min(slots)
        if what == "give":
            state.give(bitmap_from(slots), node)
        elif what == "free":
            state.give(bitmap_from(slots), None)
        elif what == "migrate":
            state.set_migrating(slot, node)
        elif what == "import":
            state.set_importing(slot, node)
        elif what == "close":
            state.close_all_slots()
        elif node is not state.myself and what == "attach":
            node.flags = node.flags & ~PRIMARY | REPLICA
            state.attach(node, state.myself)
        elif node is not state.myself:
            state.myself.reports[node] = 1
            state.remove(node)
        state.check()


def test_serving_is_true_for_own_slots_without_migration() -> None:
    state = cluster(2)
    other = state.nodes[f"{1:040x}"]
    state.give(ALL_SLOTS, other)
    state.give(0b111, state.myself)
    state.set_migrating(1, other)
    assert list(state.serving[:4]) == [1, 0, 1, 0]
    state.set_migrating(1, None)
    assert list(state.serving[:4]) == [1, 1, 1, 0]
    assert other.slot_count == 16384 - 3
    assert state.size == 2 and state.quorum == 2


def test_a_planted_inconsistency_is_found() -> None:
    state = cluster(2)
    state.give(1, state.myself)
    state.myself.set_slots(3)
    with pytest.raises(AssertionError):
        state.check()


def test_bans_end() -> None:
    state = cluster(1)
    state.ban("a" * 40, 1000, 0)
    assert state.is_banned("a" * 40, 999) and not state.is_banned("a" * 40, 1000)
    state.ban("b" * 40, 3000, 2000)
    assert list(state.blacklist) == ["b" * 40]


def test_ids_and_names() -> None:
    assert is_node_id("a1" * 20) and not is_node_id("A1" * 20) and not is_node_id("a" * 39)
    assert is_name("n-1.example_x") and is_name("") and not is_name("a b") and not is_name("a,b")
