"""Work of one node that no client waits for, driven by its timers: expiring keys, freeing what was removed, dropping
slots that went elsewhere.

None has a tick: each asks for the time at which it has something to do again.
"""

from node.config.config import Config
from node.keyspace.expiry import Expiry
from node.keyspace.keyspace import NEVER_MS, Keyspace
from node.keyspace.reclaim import Reclaimer
from node.keyspace.trimming import Trimmer
from node.latencymonitor import LatencyMonitor
from node.platform import Platform
from node.timers import Timer, Timers

RECLAIM_PAUSE_MS = 1
"""Between two slices of freeing or dropping: half of the time stays for the clients."""


class Background:
    """The drivers of a node's `expiry`, `reclaimer` and `trimmer`."""

    def __init__(
        self, keyspace: Keyspace, timers: Timers, platform: Platform, config: Config, latency: LatencyMonitor
    ) -> None:
        self.expiry = Expiry(keyspace, platform.clock_ns)
        self.reclaimer = Reclaimer(platform.clock_ns)
        self.trimmer = Trimmer(keyspace, self.reclaimer, platform.clock_ns)
        self._keyspace = keyspace
        self._timers = timers
        self._now_ms = platform.now_ms
        self._config = config
        self._latency = latency
        self._expiry_timer: Timer | None = None
        self.expiry.wake = self._expire_at
        self.reclaimer.wake = self._reclaim_soon
        self.trimmer.wake = self._trim_soon
        keyspace.discard = self.reclaimer.take_value
        for name in ("hz", "active-expire-effort", "lazyfree-lazy-expire"):
            config.on_change(name, lambda _value: self._configure())
        self._configure()

    def _configure(self) -> None:
        config = self._config
        self.expiry.hz = config.hz
        self.expiry.effort = config.active_expire_effort
        self._keyspace.expire_verb = b"UNLINK" if config.lazyfree_lazy_expire else b"DEL"

    def _expire_at(self, when_ms: int) -> None:
        """Let the next slice of expiry begin at `when_ms` of the wall clock, and not at any other time."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self._expiry_timer = None
        if when_ms < NEVER_MS:
            self._expiry_timer = self._timers.after(max(0, when_ms - self._now_ms()), self._expire)

    def _expire(self) -> None:
        before_ns = self.expiry.spent_ns
        self._expire_at(self.expiry.round(self._keyspace.now_ms))
        self._latency.add("expire-cycle", (self.expiry.spent_ns - before_ns) // 1_000_000)

    def _reclaim_soon(self) -> None:
        self._timers.after(RECLAIM_PAUSE_MS, self._reclaim)

    def _reclaim(self) -> None:
        if self.reclaimer.slice():
            self._reclaim_soon()

    def _trim_soon(self) -> None:
        self._timers.after(RECLAIM_PAUSE_MS, self._trim)

    def _trim(self) -> None:
        if not self._keyspace.paused:  # a manual failover has told its offset, which must not move
            self.trimmer.slice()
        if not self.trimmer.idle:
            self._trim_soon()
