"""The order of a big sorted set beside a model: a list, sorted after each step. Chunks are short here, so that they
are cut and joined all the time; once they have the length they have in service."""

from bisect import bisect_left, insort
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.datatypes import ranking
from node.datatypes.ranking import Entry, Ranking

SHORT = {"CHUNK_MAX": 8, "CHUNK_FILLED": 6, "CHUNK_MIN": 3}
SCORES = [-float("inf"), -1.5, -0.0, 0.0, 1.0, 2.0, 2.5, 1e300, float("inf")]

entries = st.tuples(st.sampled_from(SCORES), st.integers(0, 120).map(lambda n: b"%d" % n))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.lists(entries, min_size=1, max_size=30)),
        st.tuples(st.just("pop"), st.booleans()),
        st.tuples(st.just("cut"), st.tuples(st.integers(0, 130), st.integers(0, 40))),
        st.tuples(st.just("ask"), entries),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(st.sets(entries, max_size=130), steps)
def test_against_a_model(first: set[Entry], steps: list[tuple[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(ranking, name, value)
        model = sorted(first)
        made = Ranking(model)
        for what, how in steps:
            step(made, model, what, how)
            made.check()
            assert len(made) == len(model)
        twin = made.copy()
        assert contents(twin) == contents(made) == model
        while len(made):
            made.pop(highest=True)
        twin.check()
        assert contents(twin) == model


def step(made: Ranking, model: list[Entry], what: str, how: object) -> None:
    """One step on both; what they answer is the same."""
    if what == "turn":  # what is there goes, what is not comes
        assert isinstance(how, list)
        for entry in how:
            if entry in model:
                model.remove(entry)
                assert made.remove(*entry) == entry[1]
            else:
                insort(model, entry)
                made.add(*entry)
    elif what == "pop":
        if model:
            score, member = model.pop(-1 if how else 0)
            assert made.pop(highest=bool(how)) == (member, score)
    elif what == "cut":
        assert isinstance(how, tuple)
        start, count = min(how[0], len(model)), how[1]
        stop = min(start + count, len(model))
        members, scores = made.between(start, stop)
        assert list(zip(scores, members, strict=True)) == model[start:stop]
        made.remove_ranks(start, stop)
        del model[start:stop]
    else:
        assert isinstance(how, tuple)
        score, member = how
        for inclusive in (False, True):
            below = [entry for entry in model if entry[0] < score or (inclusive and entry[0] == score)]
            assert made.count_below(score, inclusive) == len(below)
        assert made.is_of_one_score() == (len({entry[0] for entry in model}) <= 1)
        for rank, entry in enumerate(model):
            assert made.rank(*entry) == rank and made.at(rank) == (entry[1], entry[0])


def contents(made: Ranking) -> list[Entry]:
    members, scores = made.between(0, len(made))
    return list(zip(scores, members, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.binary(max_size=3), max_size=200), st.binary(max_size=3))
def test_members_of_one_score(names: set[bytes], wanted: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(ranking, name, value)
        made = Ranking()
        for name in names:
            made.add(1.0, name)
        made.check()
        ordered = sorted(names)
        assert made.count_before(wanted) == bisect_left(ordered, wanted)
        assert [made.rank(1.0, name) for name in ordered] == list(range(len(ordered)))
        for name in names:
            made.remove(1.0, name)
            made.check()


def test_chunks_of_their_length() -> None:
    random = Random(5)
    model = sorted((float(random.randrange(3000)), b"%d" % n) for n in range(5000))
    made = Ranking(model)
    made.check()
    for round_number in range(4):
        assert made.rank(*model[1234]) == 1234  # from here on ranks are kept up to date
        for n in range(3000):
            entry = (float(random.randrange(3000)), b"%d:%d" % (round_number, n))
            insort(model, entry)
            made.add(*entry)
        assert made.at(4321) == model[4321][::-1]
        for _ in range(4500 if round_number else 1000):
            made.remove(*model.pop(random.randrange(len(model))))
        made.check()
        assert contents(made) == model
