"""The target's part in one attempt to get slots, as events in and effects out: `gossip.moving` tells the story.

How to drive it.  `handle(event, now_ms)` returns the effects, to be performed in order; `now_ms` is of a clock that
does not jump.  A `Wakeup` is due at `wake_ms`.  `Take` is answered at once by `Taken` or `Failed`.  `Over` is the last
effect: from then on events are stale news.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NEVER = 1 << 62


class Step(Enum):
    """How far it is; the value is what STATUS shows."""

    CONNECTING = "connecting"
    COPYING = "snapshot"
    STREAMING = "streaming"
    PREPARING = "preparing"
    ASKING = "handing-over"
    SETTLING = "settling"
    DONE = "completed"
    FAILED = "failed"


# ---- events ------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Connected:
    """The source has said yes: its stream begins."""


@dataclass(slots=True, frozen=True)
class Received:
    """Something of the stream came, and was run."""


@dataclass(slots=True, frozen=True)
class Copied:
    """The snapshot is here, all of it."""


@dataclass(slots=True, frozen=True)
class SourceReady:
    """The source says that little is left."""


@dataclass(slots=True, frozen=True)
class Final:
    """The source holds back writes, and everything it wrote before is here."""


@dataclass(slots=True, frozen=True)
class Settled:
    """What is here is as safe as our settings ask for."""

    epoch: int
    """In which the slots would be taken: above all that are known."""


@dataclass(slots=True, frozen=True)
class Taken:
    """The slots are ours."""


@dataclass(slots=True, frozen=True)
class Failed:
    """Something ends the attempt: the link, the source, a client, our role."""

    reason: str
    again: bool = True
    """Another attempt may go better."""


@dataclass(slots=True, frozen=True)
class Wakeup:
    """`wake_ms` has come."""


Event = Connected | Received | Copied | SourceReady | Final | Settled | Taken | Failed | Wakeup


# ---- effects -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class AskPause:
    """Ask the source to hold back writes."""

    epoch: int


@dataclass(slots=True, frozen=True)
class GiveUp:
    """Tell the source, if the link stands, that the slots will not be taken in this attempt."""

    reason: str


@dataclass(slots=True, frozen=True)
class Settle:
    """Wait until replicas and file have what is here; `Settled` answers."""


@dataclass(slots=True, frozen=True)
class Take:
    """Take the slots in this epoch, if the clock says less than `before_ms` before and after that is saved."""

    epoch: int
    before_ms: int


@dataclass(slots=True, frozen=True)
class Over:
    """The attempt has ended; without a reason the slots are ours."""

    reason: str = ""
    again: bool = False


Effect = AskPause | GiveUp | Settle | Take | Over


class Arrival:
    """One attempt.  `pause_ms` is the source's promise T: see `gossip.handover`."""

    def __init__(self, now_ms: int, *, silence_ms: int, pause_ms: int) -> None:
        self.step = Step.CONNECTING
        self.pause_asked_ms = 0
        self._silence_ms = silence_ms
        self._pause_ms = pause_ms
        self._epoch = 0
        self._heard_ms = now_ms

    @property
    def is_over(self) -> bool:
        return self.step in (Step.DONE, Step.FAILED)

    @property
    def before_ms(self) -> int:
        """Until when the slots may be taken."""
        return self.pause_asked_ms + self._pause_ms // 2

    @property
    def wake_ms(self) -> int:
        if self.is_over:
            return NEVER
        return self.before_ms if self.step in (Step.ASKING, Step.SETTLING) else self._heard_ms + self._silence_ms

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; a pair of step and event that is not listed is stale news."""
        if isinstance(event, Failed):
            return self._fail(event.reason, event.again)
        if isinstance(event, Wakeup):
            return self._look(now_ms)
        self._heard_ms = now_ms
        match self.step, event:
            case Step.CONNECTING, Connected():
                self.step = Step.COPYING
            case Step.COPYING, Copied():
                self.step = Step.STREAMING
            case Step.STREAMING, SourceReady():
                self.step = Step.PREPARING  # what our replica lacks now it need not get while writes are held back
                return [Settle()]
            case Step.PREPARING, Settled(epoch):
                self.step, self._epoch, self.pause_asked_ms = Step.ASKING, epoch, now_ms
                return [AskPause(epoch)]
            case Step.ASKING, Final():
                self.step = Step.SETTLING
                return [Settle()]
            case Step.SETTLING, Settled():
                return self._look(now_ms) or [Take(self._epoch, self.before_ms)]
            case Step.SETTLING, Taken():
                self.step = Step.DONE
                return [Over()]
        return []

    def _look(self, now_ms: int) -> list[Effect]:
        """Is it too late for what is waited for?"""
        if now_ms < self.wake_ms:
            return []
        if self.step in (Step.ASKING, Step.SETTLING):
            return self._fail("the hand-over took too long", again=True)
        return self._fail("the source is silent", again=True)

    def _fail(self, reason: str, again: bool) -> list[Effect]:
        if self.is_over:
            return []
        asked = self.step in (Step.ASKING, Step.SETTLING)
        self.step = Step.FAILED
        return [*([GiveUp(reason)] if asked else []), Over(reason, again)]
