"""How much memory a node uses: asked of the allocators now and then, and estimated between two such readings.

Three other ways were weighed. Resident pages (RSS) do not shrink when data goes, since the allocators keep what was
freed for the next one: eviction that went by them would never end. A count kept by every command costs something each
time, and Python's containers do not say when they grow. A mean of sampled keys is blind to the one list that holds
half of all. The allocators know exactly (`node.allocators`), but an answer costs from 20 us on; so a reading may take
`READ_SHARE` of the time, and in between these move the estimate:

- what commands bring (`charge`): of so many bytes of arguments, as large a share has stayed lately as readings have
  shown (overwritten values stay not at all, small elements weigh more in memory than on the wire);
- what eviction frees (`discharge`), by the footprint of each value.

`used` leaves out what the interpreter and the modules took before there was any data (20 MB and more, where Redis takes
one), so that a `maxmemory` written for Redis means the same: it is what the process has grown by, plus BASE_BYTES.
"""

from collections.abc import Callable
from typing import NamedTuple

from node.allocators import Allocated

BASE_BYTES = 1 << 20
"""What an empty node counts, as an empty Redis does."""
READ_SHARE = 50
"""A reading is followed by so many times its own time without one..."""
READ_SHARE_IN_HASTE = 10
"""...or so many times, where what came and went since is more than HASTE_SHARE of what is used."""
HASTE_SHARE = 32
READ_PAUSE_NS = 1_000_000
"""And by this at the least."""
COST_GROWTH_MAX = 2
"""A reading that took longer than so many times the one before was interrupted: the machine was busy."""
CHEAP_READ_NS = 1_000_000
"""While a reading takes less, the peak is followed by readings of its own..."""
PEAK_PAUSE_NS = 1_000_000_000
"""...so often."""
STAYED_MAX = 8.0
"""The largest share of the arguments that is believed to stay: a byte of a small element takes some."""
LEARNT_FROM_BYTES = 1 << 16
"""Of so many bytes brought, a reading's share is believed by half; of fewer, by less."""


class MemoryAccount:
    """One process's memory: `used`, in bytes, is the estimate of now."""

    def __init__(self, allocated: Callable[[], Allocated], clock_ns: Callable[[], int]) -> None:
        self._allocated = allocated
        self._clock_ns = clock_ns
        self.interpreter = 0  # what was in use when the node had been built
        self.latest = Allocated(0, 0)  # the latest reading
        self.peak = 0
        self.charged = 0  # since that reading: bytes of arguments...
        self.discharged = 0  # ...and bytes freed
        self.stayed = 1.0  # how much of what is charged stays
        self.readings = 0
        self._cost_ns = 0
        self._read_ns = 0

    def begin(self) -> None:
        """The node is built and holds nothing yet."""
        self.interpreter = self._allocated().used
        self.stayed = 1.0
        self.read()
        self.peak = self.used

    @property
    def used(self) -> int:
        return self._used_at_reading + int(self.stayed * self.charged) - self.discharged

    @property
    def _used_at_reading(self) -> int:
        return max(BASE_BYTES, self.latest.used - self.interpreter + BASE_BYTES)

    def discharge(self, size: int) -> None:
        """So many bytes have been freed."""
        self.discharged += size

    def read(self) -> int:
        """Ask the allocators; what is used, exactly."""
        before = self._used_at_reading
        began_ns = self._clock_ns()
        self.latest = self._allocated()
        self._read_ns = self._clock_ns()
        cost_ns = self._read_ns - began_ns
        self._cost_ns = min(cost_ns, COST_GROWTH_MAX * self._cost_ns or cost_ns)
        self.readings += 1
        self._learn(self._used_at_reading - before + self.discharged)
        self.charged = self.discharged = 0
        used = self._used_at_reading
        self.peak = max(self.peak, used)
        return used

    def _learn(self, grown: int) -> None:
        """It has grown so much by what was charged."""
        if self.charged:
            seen = min(max(grown / self.charged, 0.0), STAYED_MAX)
            weight = min(1.0, self.charged / LEARNT_FROM_BYTES) / 2
            self.stayed += (seen - self.stayed) * weight

    def refresh(self) -> bool:
        """Read if it is time to; True if it was."""
        moved = self.charged + self.discharged
        share = READ_SHARE if moved * HASTE_SHARE < self.latest.used else READ_SHARE_IN_HASTE
        if self._clock_ns() < self._read_ns + max(READ_PAUSE_NS, share * self._cost_ns):
            return False
        self.read()
        return True

    def follow_peak(self) -> None:
        """Call now and then while there is work: keeps the peak, where that is cheap."""
        if self._cost_ns < CHEAP_READ_NS and self._clock_ns() >= self._read_ns + PEAK_PAUSE_NS:
            self.read()

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        self.peak = self.read()


class Memory(NamedTuple):
    """Bytes of one process at one moment, for INFO and MEMORY STATS."""

    used: int
    peak: int
    allocated: int  # in use, the interpreter's too
    held: int  # what the allocators hold for that
    resident: int
    startup: int  # of `used`, what an empty node uses
    overhead: int  # of `used`, what is no data: the start, buffers, tables
    total: int  # of the machine

    @property
    def dataset(self) -> int:
        return self.used - min(self.used, self.overhead)

    @property
    def dataset_percent(self) -> float:
        net = self.used - self.startup
        return min(100.0, 100 * self.dataset / net) if net > 0 else 0.0

    @property
    def peak_percent(self) -> float:
        return 100 * self.used / self.peak if self.peak else 0.0

    @property
    def fragmentation(self) -> float:
        """What the process holds of each byte in use; the interpreter counts on both sides."""
        return self.resident / max(1, self.allocated)


def human(count: int) -> str:
    """A number of bytes as people read it: `1.53M`, as INFO's *_human fields have it."""
    if count < 1024:
        return f"{count}B"
    power = min((count.bit_length() - 1) // 10, 5)
    return f"{count / 1024**power:.2f}{'BKMGTP'[power]}"
