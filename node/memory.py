"""What INFO tells of memory, from the counts of the operating system.

Python has no allocator whose counters could be asked cheaply, so `used` is what the process holds resident. It moves
by pages and keeps what freed objects leave behind, so it tells a megabyte, not a key.
"""

from typing import NamedTuple

from node.platform import Platform


class Memory(NamedTuple):
    """Bytes of one process at one moment."""

    resident: int
    peak: int
    startup: int  # resident when the node had started and held nothing
    buffers: int  # of clients, replicas and files, counted
    total: int  # of the machine

    @property
    def overhead(self) -> int:
        return min(self.resident, self.startup + self.buffers)

    @property
    def dataset(self) -> int:
        return self.resident - self.overhead

    @property
    def dataset_percent(self) -> float:
        net = self.resident - self.startup
        return 100 * self.dataset / net if net > 0 else 0.0


def measure(platform: Platform, startup: int, buffers: int) -> Memory:
    """The figures of now; `startup` and `buffers` in bytes."""
    resident = platform.resident_bytes()
    peak = max(resident, platform.peak_resident_bytes())
    return Memory(resident, peak, startup or resident, buffers, platform.total_memory_bytes())


def human(count: int) -> str:
    """A number of bytes as people read it: `1.53M`, as INFO's *_human fields have it."""
    if count < 1024:
        return f"{count}B"
    power = min((count.bit_length() - 1) // 10, 5)
    return f"{count / 1024**power:.2f}{'BKMGTP'[power]}"
