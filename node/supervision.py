"""What started this process and wants to hear of it: systemd (sd_notify), upstart, or nobody.

Formats: sd_notify(3): datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET names; upstart's `expect stop`:
the process stops itself (SIGSTOP) once it is ready to be watched.
"""

from node.log import Log
from node.platform import Platform


class Supervisor:
    """Who watches the process; `name` is "systemd", "upstart", or "" for nobody."""

    def __init__(self, platform: Platform, name: str, log: Log) -> None:
        self._platform = platform
        self._log = log
        self.name = name

    def tell(self, text: str) -> bool:
        """Tell systemd (nobody else listens); False if that failed."""
        if self.name != "systemd":
            return True
        try:
            self._platform.notify_supervisor(self._platform.environment("NOTIFY_SOCKET"), text)
        except OSError as error:
            self._log.warning(f"systemd supervision error: sd_notify: {error.strerror or error}")
            return False
        return True


def supervisor_of(platform: Platform, mode: str, log: Log) -> Supervisor:
    """The supervisor that the directive `supervised` (no, auto, systemd, upstart) asks for, if it is there."""
    if mode == "auto":
        mode = _found(platform, log)
    supervisor = Supervisor(platform, mode if mode in ("systemd", "upstart") else "", log)
    if supervisor.name == "systemd":
        log.warning(
            "WARNING supervised by systemd - you MUST set appropriate values for TimeoutStartSec and TimeoutStopSec "
            "in your service unit."
        )
        if not platform.environment("NOTIFY_SOCKET"):
            log.warning("systemd supervision requested or auto-detected, but NOTIFY_SOCKET not found!")
            supervisor.name = ""
        elif not supervisor.tell("STATUS=Redis is loading...\n"):
            supervisor.name = ""
    elif supervisor.name == "upstart":
        if not platform.environment("UPSTART_JOB"):
            log.warning("upstart supervision requested, but UPSTART_JOB not found!")
            supervisor.name = ""
        else:
            log.notice("supervised by upstart, will stop to signal readiness.")
            platform.forget_environment("UPSTART_JOB")
            platform.stop_self()
    return supervisor


def _found(platform: Platform, log: Log) -> str:
    if platform.environment("UPSTART_JOB"):
        log.notice("Upstart supervision detected.")
        return "upstart"
    if platform.environment("NOTIFY_SOCKET"):
        log.notice("Systemd supervision detected.")
        return "systemd"
    return ""
