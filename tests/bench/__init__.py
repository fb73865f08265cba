"""Measurements beside redis-server on the same machine, in the same run: `make bench`.

These machines are noisy, so what counts are ratios: each measurement is made with both servers in turns, several times,
and the median of the pairwise ratios is shown. `make bench ARGS="speed --rounds 5"` runs one of them.
"""
