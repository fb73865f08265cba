"""Counts of one node that no other part keeps: what INFO's stats and errorstats tell."""

from collections import deque
from typing import NamedTuple

from node.net.resp import Failure

ERROR_CODES_MAX = 128
"""How many different error codes are counted one by one, as in Redis."""


class Stats:
    """Counters since the start, or since CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.connections_received = 0
        self.connections_rejected = 0
        self.evicted_clients = 0
        self.output_limit_disconnections = 0
        self.input_limit_disconnections = 0
        self.error_replies = 0
        self.unexpected_error_replies = 0
        self.errors: dict[str, int] = {}
        self.counted: Failure | None = None  # a script's error that was counted where it came up
        self.sync_full = self.sync_partial_ok = self.sync_partial_failed = 0
        self.stream_input_bytes = self.stream_output_bytes = 0

    def count_error(self, failure: Failure) -> None:
        """Count an error reply under its code, the first word."""
        if failure is self.counted:
            self.counted = None
            return
        self.error_replies += 1
        code = failure.partition(b" ")[0].decode("utf-8", "replace")
        if code in self.errors or len(self.errors) < ERROR_CODES_MAX:
            self.errors[code] = self.errors.get(code, 0) + 1


class Counts(NamedTuple):
    """Counters at one moment: commands run, and bytes by direction and kind."""

    commands: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    stream_input_bytes: int = 0
    stream_output_bytes: int = 0
    turns: int = 0  # of the reactor
    busy_ns: int = 0  # that the reactor worked


class Rates:
    """How fast counters move: INFO's instantaneous figures, over the last 1.6 seconds as in Redis.

    Samples are taken while there is work, by whoever reads the clock for it; an idle node takes none.
    """

    SAMPLES = 16
    INTERVAL_MS = 100

    def __init__(self) -> None:
        self.next_ms = 0  # no sample is wanted before
        self._samples: deque[tuple[int, Counts]] = deque(maxlen=self.SAMPLES)

    def sample(self, now_ms: int, counts: Counts) -> None:
        """Note where the counters stand."""
        self._samples.append((now_ms, counts))
        self.next_ms = now_ms + self.INTERVAL_MS

    def moved(self, now_ms: int, counts: Counts) -> tuple[Counts, float]:
        """By how much the counters have moved lately, and in how many seconds."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now_ms - self.SAMPLES * self.INTERVAL_MS:
            samples.popleft()
        if not samples or now_ms <= samples[0][0]:
            return Counts(), 1.0
        then_ms, then = samples[0]
        return Counts(*(now - old for now, old in zip(counts, then, strict=True))), (now_ms - then_ms) / 1000

    def forget(self) -> None:
        """Begin anew: the counters were set back."""
        self._samples.clear()
        self.next_ms = 0
