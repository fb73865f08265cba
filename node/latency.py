"""How long calls took, kept so that percentiles can be told: counts by time, to seven significant bits (1.6 %).

A histogram is a dict from the least time of a bucket in ns to how many calls fell into it: some dozens of entries.
"""

from collections.abc import Iterator

BITS = 7


def record(histogram: dict[int, int], each_ns: int, calls: int) -> None:
    """Note `calls` calls of `each_ns` each."""
    shift = each_ns.bit_length() - BITS
    bucket = each_ns >> shift << shift if shift > 0 else each_ns
    histogram[bucket] = histogram.get(bucket, 0) + calls


def percentile_ns(histogram: dict[int, int], percent: float) -> int:
    """The time within which `percent` of the calls were done: the greatest of its bucket."""
    wanted = max(1, round(sum(histogram.values()) * percent / 100))
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            return bucket + (1 << max(0, bucket.bit_length() - BITS)) - 1
    return 0


FIRST_BOUND_NS = 1024
"""The first bound of LATENCY HISTOGRAM, from which on each is twice the one before: Redis's."""


def cumulative(histogram: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(us, how many calls took up to so long) at each bound where there are more of them than at the one before.

    A bound is named by the greatest time of its bucket of 1/128, as in Redis: 1, 2, 4, 8, 16, 33, 66, 132...
    """
    bound, seen = FIRST_BOUND_NS, 0
    told = 0
    for bucket in sorted(histogram):
        while bucket > bound:
            if seen > told:
                told = seen
                yield _named(bound), seen
            bound *= 2
        seen += histogram[bucket]
    if seen > told:
        yield _named(bound), seen


def _named(bound_ns: int) -> int:
    return (bound_ns + bound_ns // 128 - 1) // 1000
