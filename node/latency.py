"""How long calls took, kept so that percentiles can be told: counts by time, to seven significant bits (1.6 %).

A histogram is a dict from the least time of a bucket in ns to how many calls fell into it: some dozens of entries.
"""

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
