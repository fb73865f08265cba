"""Timers of one node: callbacks at times of the monotonic clock, in milliseconds.

Sans-IO: a driver sleeps until `next_ms` and then calls `run_due`.

Nothing here ticks: an idle node sleeps until the earliest timer that somebody asked for.
"""

import heapq
import math
from collections.abc import Callable
from itertools import count

DEAD_MIN = 64
"""Cancelled timers stay in the heap until they are due or there are this many, and as many as live ones."""


class Timer:
    """One callback at one time; `cancel` may come at any moment, also afterwards."""

    __slots__ = ("_timers", "call", "vital", "when_ms")

    def __init__(self, timers: "Timers", when_ms: float, call: Callable[[], None], vital: bool) -> None:
        self._timers = timers
        self.when_ms = when_ms
        self.call: Callable[[], None] | None = call
        self.vital = vital

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._timers.cancelled()


class Timers:
    """A heap of timers. `rearm` is called when the earliest time has moved to an earlier one."""

    def __init__(self, monotonic_ms: Callable[[], float]) -> None:
        self.monotonic_ms = monotonic_ms
        self.rearm: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._dead = 0

    @property
    def next_ms(self) -> float:
        """When the earliest timer is due; infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def at(self, when_ms: float, call: Callable[[], None], *, vital: bool = False) -> Timer:
        """Call `call` once, at `when_ms` or soon after; if it is `vital`, also while a long script runs."""
        timer = Timer(self, when_ms, call, vital)
        first = when_ms < self.next_ms
        heapq.heappush(self._heap, (when_ms, next(self._order), timer))
        if first:
            self.rearm()
        return timer

    def after(self, delay_ms: float, call: Callable[[], None], *, vital: bool = False) -> Timer:
        """Call `call` once, `delay_ms` from now."""
        return self.at(self.monotonic_ms() + delay_ms, call, vital=vital)

    def run_due(self) -> None:
        """Call every timer that is due now, in the order of their times."""
        now = self.monotonic_ms()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is None:
                self._dead -= 1
            else:
                call()

    def run_vital(self) -> None:
        """Call the due timers that keep this node's place among the others; the rest wait for `run_due`.

        Called within a script: what is vital changes no key, and speaks to other nodes alone.
        """
        now = self.monotonic_ms()
        kept: list[tuple[float, int, Timer]] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            timer = entry[2]
            if timer.call is not None and not timer.vital:
                kept.append(entry)
                continue
            call, timer.call = timer.call, None
            if call is None:
                self._dead -= 1
            else:
                call()
        for entry in kept:
            heapq.heappush(self._heap, entry)

    def cancelled(self) -> None:
        """A timer was cancelled: sweep once the dead outnumber the living."""
        self._dead += 1
        if self._dead >= DEAD_MIN and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._dead = 0
