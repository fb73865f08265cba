"""The sorted set beside a model: a dict, sorted at each look."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.datatypes.sortedsets import MOVED, NEW, SAME, SMALL_MAX, SortedSet

members = st.integers(0, 150).map(lambda n: b"%d" % n)
scores = st.sampled_from([-float("inf"), -1.5, 0.0, 1.0, 2.0, 3.0, float("inf")])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), members, scores),
        st.tuples(st.just("put"), members, scores),
        st.tuples(st.just("remove"), members, scores),
        st.tuples(st.just("cut"), st.integers(0, 160), st.integers(0, 4)),
    ),
    max_size=120,
)


def ordered(model: dict[bytes, float]) -> list[tuple[bytes, float]]:
    return sorted(model.items(), key=lambda pair: (pair[1], pair[0]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 140), steps)
def test_against_a_model(size: int, steps: list[tuple[str, object, object]]) -> None:
    model = {b"%d" % n: float(n % 7) for n in range(size)}
    made = SortedSet.of(model.items())
    for what, first, second in steps:
        if what == "put":
            assert isinstance(first, bytes) and isinstance(second, float)
            expected = NEW if first not in model else SAME if model[first] == second else MOVED
            assert made.put(first, second) == expected
            model[first] = second
        elif what == "remove":
            assert isinstance(first, bytes)
            assert made.remove(first) == (model.pop(first, None) is not None)
        else:
            assert isinstance(first, int) and isinstance(second, int)
            taken = ordered(model)[first : first + second]
            assert made.remove_ranks(first, first + second) == taken
            for member, _ in taken:
                del model[member]
        made.check()
    pairs = ordered(model)
    assert list(made) == pairs and len(made) == len(pairs)
    assert made.members(0, len(made), reverse=True) == [member for member, _ in reversed(pairs)]
    assert sorted(made.at(place) for place in range(len(made))) == sorted(pairs)
    for rank, (member, score) in enumerate(pairs):
        assert made.rank(member) == rank and made.score(member) == score
        assert made.count_below(score, False) == sum(other < score for _, other in pairs)
        assert made.count_below(score, True) == sum(other <= score for _, other in pairs)
    copy = made.copy()
    while len(made):
        made.shed(10)
    copy.check()
    assert list(copy) == pairs


@pytest.mark.parametrize("size", [5, SMALL_MAX, SMALL_MAX + 1, 1000])
def test_ranges_by_member(size: int) -> None:
    names = sorted(b"%d" % n for n in range(size))
    made = SortedSet.of((name, 0.0) for name in names)
    for name in [*names[:3], b"", b"3", b"99999", b"zz", names[-1]]:
        assert made.count_before(name, False) == sum(other < name for other in names)
        assert made.count_before(name, True) == sum(other <= name for other in names)


def test_a_member_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        SortedSet.of([(b"a", 1.0), (b"a", 2.0)])
    with pytest.raises(ValueError, match="twice"):
        SortedSet.of([(b"%d" % (n % 99), float(n)) for n in range(100)])


def test_a_scan_meets_all_that_stay() -> None:
    random = Random(7)
    made = SortedSet.of(((b"%d" % n, float(n)) for n in range(2000)), packed=False)
    staying = {b"%d" % n for n in range(0, 2000, 2)}
    met: set[bytes] = set()
    cursor, calls = 0, 0
    while True:
        cursor, pairs = made.scan(cursor, 10)
        assert len(pairs) <= 10
        met |= {member for member, _ in pairs}
        calls += 1
        if not cursor:
            break
        for _ in range(3):
            made.remove(b"%d" % (random.randrange(1000) * 2 + 1))
            made.put(b"%d" % (random.randrange(1000) * 2), random.random())  # another score is no absence
            made.put(b"new%d" % random.randrange(1000), 0.5)
    assert staying <= met and calls <= 300
    made.check()


def test_no_negative_zero_in_a_listpack() -> None:
    packed, big = SortedSet(), SortedSet(packed=False)
    packed.put(b"a", -0.0)
    big.put(b"a", -0.0)
    assert str(packed.score(b"a")) == "0.0" and str(big.score(b"a")) == "-0.0"
