"""The notification and reconfiguration scripts: a bounded queue, few at a time, and which failures are tried again.
Sans-IO.

A script that exits with 1 or dies of a signal is tried again, RETRIES_MAX times at most, each time after twice the
wait; any other exit code is its last word. One that runs too long is killed, which counts as a signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentinel.events import KillScript, RunScript

if TYPE_CHECKING:
    from sentinel.core import Core

QUEUE_MAX = 256
"""When more are scheduled, the oldest that does not run is forgotten."""
RUNNING_MAX = 16
RETRIES_MAX = 10
SIGKILL = 9


@dataclass(slots=True)
class Job:
    """One run of a script that is to come or goes on."""

    number: int
    argv: tuple[str, ...]
    retries: int = 0
    start_ms: int = 0
    """When it was started, or may be started again; 0 for at once."""
    is_running: bool = False
    is_killed: bool = False
    pid: int = 0


class Scripts:
    """The queue, oldest first."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._next = 1

    @property
    def running(self) -> int:
        return sum(job.is_running for job in self.jobs)

    def schedule(self, core: Core, argv: tuple[str, ...]) -> None:
        """Have a script run soon."""
        self.jobs.append(Job(self._next, argv))
        self._next += 1
        if len(self.jobs) > QUEUE_MAX:
            waiting = next((job for job in self.jobs if not job.is_running), None)
            assert waiting is not None, "fewer may run than may be queued"
            self.jobs.remove(waiting)

    def run_due(self, core: Core) -> None:
        """Start what may start, kill what runs too long."""
        free = RUNNING_MAX - self.running
        for job in self.jobs:
            if job.is_running:
                self._kill_if_late(core, job)
            elif free > 0 and job.start_ms <= core.now_ms:
                free -= 1
                job.is_running, job.is_killed, job.start_ms = True, False, core.now_ms
                job.retries += 1
                core.emit(RunScript(job.number, job.argv))

    def _kill_if_late(self, core: Core, job: Job) -> None:
        if job.is_killed or core.now_ms - job.start_ms <= core.state.periods.script_max_runtime:
            return
        job.is_killed = True
        core.tell("warning", "-script-timeout", None, f"{job.argv[0]} {job.pid}")
        core.emit(KillScript(job.number))

    def started(self, core: Core, number: int, pid: int) -> None:
        """A script has a process now."""
        job = self._find(number)
        if job is not None:
            job.pid = pid
            core.log("debug", f"+script-child {pid}")

    def ended(self, core: Core, number: int, exit_code: int, signal: int) -> None:
        """A script's process has ended: that is all, or it is tried again later."""
        job = self._find(number)
        if job is None:
            return
        core.log("debug", f"-script-child {job.pid} {exit_code} {signal}")
        if (signal or exit_code == 1) and job.retries < RETRIES_MAX:
            delay_ms = core.state.periods.script_retry_delay << (job.retries - 1)
            job.is_running, job.pid, job.start_ms = False, 0, core.now_ms + delay_ms
            return
        if signal or exit_code:
            core.tell("warning", "-script-error", None, f"{job.argv[0]} {signal} {exit_code}")
        self.jobs.remove(job)

    def _find(self, number: int) -> Job | None:
        return next((job for job in self.jobs if job.number == number), None)

    def report(self, now_ms: int) -> list[dict[bytes, object]]:
        """SENTINEL PENDING-SCRIPTS."""
        return [
            {
                b"argv": [word.encode("utf-8", "surrogateescape") for word in job.argv],
                b"flags": b"running" if job.is_running else b"scheduled",
                b"pid": b"%d" % job.pid,
                b"run-time" if job.is_running else b"run-delay": b"%d" % _span(job, now_ms),
                b"retry-num": b"%d" % job.retries,
            }
            for job in self.jobs
        ]


def _span(job: Job, now_ms: int) -> int:
    return now_ms - job.start_ms if job.is_running else max(0, job.start_ms - now_ms)
