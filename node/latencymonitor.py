"""The latency monitor: what took at least `latency-monitor-threshold` milliseconds, by the kind of work. Sans-IO.

An event is a kind of work under the name that Redis gives it: `command`, `fast-command`, `expire-cycle`, `eviction-…`,
`aof-…` (which a thread does here: `aof-write` delays nobody unless replies or writers wait for it), and
`rdb-unlink-temp-file`. Of each the last samples are kept, at most one a second (the worst of it), and the worst of all
times.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

SAMPLES_MAX = 160
"""How many samples are kept of an event, as in Redis."""
EVENTS_MAX = 64
"""How many events are told apart: their names are constants of the program, some twenty."""


class Sample(NamedTuple):
    """A delay: when it was over, in seconds since 1970, and how long it was."""

    time_s: int
    ms: int


class Event:
    """The delays by one kind of work, the oldest first."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)
        self.max_ms = 0  # of all times

    def add(self, time_s: int, ms: int) -> None:
        """Note a delay: a second has one sample, its worst."""
        self.max_ms = max(self.max_ms, ms)
        if self.samples and self.samples[-1].time_s == time_s:
            self.samples[-1] = Sample(time_s, max(ms, self.samples[-1].ms))
        else:
            self.samples.append(Sample(time_s, ms))


class LatencyMonitor:
    """The events of one node. `threshold_ms` is the least delay that is noted; 0: none is."""

    def __init__(self, now_s: Callable[[], int]) -> None:
        self.threshold_ms = 0
        self.events: dict[str, Event] = {}
        self._now_s = now_s

    def add(self, name: str, ms: int) -> None:
        """Work of this kind took `ms` whole milliseconds."""
        if not self.threshold_ms or ms < self.threshold_ms:
            return
        event = self.events.get(name)
        if event is None:
            assert len(self.events) < EVENTS_MAX, name
            event = self.events[name] = Event()
        event.add(self._now_s(), ms)

    def reset(self, names: Iterable[str] = ()) -> int:
        """Forget these events, or all without a name; how many there were."""
        found = [name for name in dict.fromkeys(names or self.events) if name in self.events]
        for name in found:
            del self.events[name]
        return len(found)


# --- in words ---------------------------------------------------------------------------------------------------------

QUIET = "No delay has been noted"
OFF = (
    "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on: it then notes all "
    "work that takes at least as long.\n"
)
_ADVICE: dict[str, str] = {
    "command": "SLOWLOG GET shows which commands take long: look for those that go through whole keys or the whole "
    "key space (KEYS, SMEMBERS, LRANGE 0 -1, SORT), and take their elements in portions.",
    "fast-command": "Commands that cost little by themselves were slow, so the process did not get the processor: look "
    "for other programs on this machine, for swapping and for a virtual machine without its share.",
    "eviction": "Keys had to go to make room: raise maxmemory, or lower maxmemory-eviction-tenacity. Big values take "
    "long to free: lazyfree-lazy-eviction yes lets that be done in slices.",
    "aof": "The disk was slow to take the append-only file: look for other programs that write, for a save or a "
    "rewrite at the same time (no-appendfsync-on-rewrite yes), and whether appendfsync everysec is enough.",
    "rdb": "Removing a file took long: so it is with big files on some file systems.",
    "expire-cycle": "Many keys expire at the same time: spread their deadlines by some random seconds.",
}


def diagnosis(monitor: LatencyMonitor) -> str:
    """What LATENCY DOCTOR says: each event with its figures, then what can be done."""
    if not monitor.threshold_ms and not monitor.events:
        return OFF
    if not monitor.events:
        return f"{QUIET}: nothing has taken {monitor.threshold_ms} ms or longer.\n"
    lines = [f"{at}. {name}: {_figures(event)}" for at, (name, event) in enumerate(monitor.events.items(), 1)]
    advice = dict.fromkeys(filter(None, map(_advice, monitor.events)))
    return "\n".join(["Delays have been noted.", "", *lines, "", *(f"- {text}" for text in advice)]) + "\n"


def _figures(event: Event) -> str:
    times = [sample.ms for sample in event.samples]
    average = sum(times) / len(times)
    deviation = sum(abs(ms - average) for ms in times) / len(times)
    period_s = (event.samples[-1].time_s - event.samples[0].time_s) / len(times)
    return (
        f"{len(times)} latency spikes (average {average:.0f}ms, mean deviation {deviation:.0f}ms, "
        f"period {period_s:.2f} sec). Worst all time event {event.max_ms}ms."
    )


def _advice(name: str) -> str | None:
    return _ADVICE.get(name) or _ADVICE.get(name.partition("-")[0])
