"""The node's log, in the form of Redis's lines, since supervisors and test harnesses read them.

    PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message

ROLE is M (primary), S (replica) or X (sentinel); LEVEL is `.` debug, `-` verbose, `*` notice, `#` warning.
"""

from collections.abc import Callable

from node.platform import Platform

LEVELS = {"debug": ".", "verbose": "-", "notice": "*", "warning": "#"}
_ORDER = list(LEVELS)


class Log:
    """Writes lines of at least `level` through `write`. `role` is asked for at each line."""

    def __init__(self, platform: Platform, write: Callable[[str], None], level: str = "notice") -> None:
        self.platform = platform
        self.write = write
        self.copy: Callable[[str, str], None] | None = None  # takes (level, message) too: the system's log
        self.role: Callable[[], str] = lambda: "M"
        self.threshold = 0
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Leave out what is less important than `level`; "nothing" leaves out all."""
        self.threshold = _ORDER.index(level) if level in LEVELS else len(_ORDER)

    def line(self, level: str, text: str) -> None:
        """Write one line."""
        if _ORDER.index(level) < self.threshold:
            return
        date, milliseconds = self.platform.local_time(self.platform.now_ms())
        self.write(f"{self.platform.pid}:{self.role()} {date}.{milliseconds:03d} {LEVELS[level]} {text}\n")
        if self.copy is not None:
            self.copy(level, text)

    def raw(self, text: str) -> None:
        """Write text as it is: a drawing, a report."""
        if self.threshold <= _ORDER.index("warning"):
            self.write(text)

    def debug(self, text: str) -> None:
        self.line("debug", text)

    def verbose(self, text: str) -> None:
        self.line("verbose", text)

    def notice(self, text: str) -> None:
        self.line("notice", text)

    def warning(self, text: str) -> None:
        self.line("warning", text)
