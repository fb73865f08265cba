"""The software watchdog: a loop that stands still for longer than `watchdog-period` has its stack in the log.

It is an alarm of the process which the loop puts off as long as it turns.
"""

from node.server import Server
from node.timers import Timer

PERIOD_MS_MIN = 200
"""A shorter period would find fault with a loop that is merely busy. It is that of Redis at its default of `hz`."""


class Watchdog:
    """The watchdog of a program, on while `watchdog-period` is not 0."""

    def __init__(self, server: Server) -> None:
        self._platform = server.platform
        self._timers = server.timers
        self._timer: Timer | None = None
        self._period_ms = 0
        self._put_off_ms = 0.0
        server.config.on_change("watchdog-period", self._set_period)
        self._set_period(server.config["watchdog-period"])

    @property
    def has_expired(self) -> bool:
        """An alarm that rings now is the watchdog's, and not somebody's signal."""
        waited_ms = self._timers.monotonic_ms() - self._put_off_ms
        return bool(self._period_ms) and waited_ms >= self._period_ms - 1  # the two clocks may differ by a little

    def _set_period(self, period_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._period_ms = max(period_ms, PERIOD_MS_MIN) if period_ms else 0
        self._put_off()

    def _put_off(self) -> None:
        self._platform.set_alarm(self._period_ms / 1000)
        self._put_off_ms = self._timers.monotonic_ms()
        self._timer = self._timers.after(self._period_ms / 2, self._put_off) if self._period_ms else None
