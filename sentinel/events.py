"""What a Sentinel machine is told and what it wants done. Both are plain data.

An instance inside `Ask` is the machine's own and means nothing to the shell, which hands it back with the reply.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.net.resp import Argv, Reply
from sentinel.state import Instance


class SentinelError(Exception):
    """An order that is refused; the text is the whole error reply."""


@dataclass(slots=True, frozen=True)
class Ask:
    """Whom a command was for, and what its reply is: ping, info, hello, vote."""

    kind: str
    instance: Instance


# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Wakeup:
    """The time of the last WakeAt has come."""


@dataclass(slots=True, frozen=True)
class LinkUp:
    """A dialled link stands; the addresses are IPs of its two ends."""

    link: int
    local_ip: str
    peer_ip: str


@dataclass(slots=True, frozen=True)
class LinkDown:
    """A link has ended, or could not be dialled; what was asked over it will not be answered."""

    link: int


@dataclass(slots=True, frozen=True)
class Replied:
    """The reply to a command over a link; replies come in the order of the commands."""

    link: int
    ask: Ask | None
    reply: Reply


@dataclass(slots=True, frozen=True)
class Heard:
    """Something came over a link that was dialled to listen: a message, or the reply to what was sent there."""

    link: int
    reply: Reply


@dataclass(slots=True, frozen=True)
class SaveFailed:
    """The last SaveConfig could not be carried out."""


@dataclass(slots=True, frozen=True)
class Saved:
    """The last SaveConfig is durable."""


@dataclass(slots=True, frozen=True)
class ScriptStarted:
    """A script runs."""

    job: int
    pid: int


@dataclass(slots=True, frozen=True)
class ScriptEnded:
    """A script has ended: by itself (`signal` 0) or by a signal. Exit code 127 tells that it could not be run."""

    job: int
    exit_code: int
    signal: int


# ---- orders: each may raise SentinelError ---------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class HelloReceived:
    """PUBLISH of a hello to us."""

    payload: bytes


@dataclass(slots=True, frozen=True)
class QuestionReceived:
    """SENTINEL IS-MASTER-DOWN-BY-ADDR; answered by an Answer. `run_id` is "*" if no vote is asked for."""

    host: str
    port: int
    epoch: int
    run_id: str


@dataclass(slots=True, frozen=True)
class Failover:
    """SENTINEL FAILOVER."""

    name: str


@dataclass(slots=True, frozen=True)
class Monitor:
    """SENTINEL MONITOR."""

    name: str
    host: str
    port: int
    quorum: int


@dataclass(slots=True, frozen=True)
class Remove:
    """SENTINEL REMOVE."""

    name: str


@dataclass(slots=True, frozen=True)
class ResetMatching:
    """SENTINEL RESET; answered by an Answer with the number of primaries."""

    pattern: bytes


@dataclass(slots=True, frozen=True)
class SetOptions:
    """SENTINEL SET."""

    name: str
    words: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class SetGlobal:
    """SENTINEL CONFIG SET of one option."""

    option: str
    value: str


@dataclass(slots=True, frozen=True)
class SetPeriods:
    """SENTINEL DEBUG with options."""

    words: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class SimulateFailure:
    """SENTINEL SIMULATE-FAILURE."""

    after_election: bool
    after_promotion: bool


@dataclass(slots=True, frozen=True)
class Flush:
    """SENTINEL FLUSHCONFIG."""


Event = (
    Wakeup
    | LinkUp
    | LinkDown
    | Replied
    | Heard
    | SaveFailed
    | Saved
    | ScriptStarted
    | ScriptEnded
    | HelloReceived
    | QuestionReceived
    | Failover
    | Monitor
    | Remove
    | ResetMatching
    | SetOptions
    | SetGlobal
    | SetPeriods
    | SimulateFailure
    | Flush
)


# ---- effects ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class SaveConfig:
    """Write the configuration file from the state as it is now, durably; it stands first in a list."""


@dataclass(slots=True, frozen=True)
class Dial:
    """Open a link; answered by LinkUp, or LinkDown. Names are resolved anew each time."""

    link: int
    host: str
    port: int
    listens: bool
    """What comes over it is Heard, not Replied."""


@dataclass(slots=True, frozen=True)
class CloseLink:
    """Close a link, or give up dialling it; nothing of it is news any more."""

    link: int


@dataclass(slots=True, frozen=True)
class Send:
    """Send a command; its reply comes as Replied with `ask` (None: only counted)."""

    link: int
    argv: Argv
    ask: Ask | None


@dataclass(slots=True, frozen=True)
class Publish:
    """Tell our own subscribers."""

    channel: str
    message: str


@dataclass(slots=True, frozen=True)
class Log:
    """A line of the log; level is one of debug, verbose, notice, warning."""

    level: str
    text: str


@dataclass(slots=True, frozen=True)
class RunScript:
    """Start a script; answered by ScriptStarted, and ScriptEnded in any case."""

    job: int
    argv: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class KillScript:
    """Kill a script that takes too long; ScriptEnded follows."""

    job: int


@dataclass(slots=True, frozen=True)
class WakeAt:
    """Bring a Wakeup at this time; replaces the time asked for before."""

    at_ms: int


@dataclass(slots=True, frozen=True)
class Answer:
    """The reply to the order just handled; without one it is OK. `vote` tells that it promises a vote: if the
    SaveConfig of the same list fails, `refused` is the reply."""

    reply: Reply
    refused: Reply = None
    vote: bool = False


@dataclass(slots=True, frozen=True)
class Crash:
    """End the process at once with this exit code: SENTINEL SIMULATE-FAILURE asked for it."""

    exit_code: int


Effect = SaveConfig | Dial | CloseLink | Send | Publish | Log | RunScript | KillScript | WakeAt | Answer | Crash
