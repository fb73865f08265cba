"""Percentiles told from counts: within 1.6 percent of those of the times themselves."""

from hypothesis import given
from hypothesis import strategies as st

from node.latency import percentile_ns, record


@given(st.lists(st.integers(0, 10**10), min_size=1), st.sampled_from([0.0, 12.5, 50.0, 99.0, 99.9, 100.0]))
def test_percentiles(times: list[int], percent: float) -> None:
    histogram: dict[int, int] = {}
    for time_ns in times:
        record(histogram, time_ns, 1)
    exact = sorted(times)[max(1, round(len(times) * percent / 100)) - 1]
    told = percentile_ns(histogram, percent)
    assert exact <= told <= exact * (1 + 1 / 64)


def test_nothing_recorded() -> None:
    assert percentile_ns({}, 50.0) == 0
