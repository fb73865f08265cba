"""The source's part in one attempt to hand slots over, as events in and effects out: `gossip.moving` tells the story.

How to drive it.  `handle(event, now_ms)` returns the effects, to be performed in order; `now_ms` is of a clock that
does not jump.  A `Wakeup` is due at `wake_ms`.  `Over` is the last effect: from then on events are stale news.  What
the target may have done in silence, once writes were held back, is `gossip.handover`'s rule 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gossip.handover import DOUBT_MS

NEVER = 1 << 62
ASK_MS = 250
"""How often those who vote are asked whether they know of a claim."""


class Step(Enum):
    """How far it is; the value is what STATUS shows."""

    COPYING = "snapshot"
    STREAMING = "streaming"
    PAUSED = "handing-over"
    DOUBT = "in-doubt"
    DONE = "completed"
    FAILED = "failed"


# ---- events ------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class CopySent:
    """The snapshot is on its way, all of it."""


@dataclass(slots=True, frozen=True)
class Moved:
    """More was put into the stream, or acknowledged: `lag_bytes` are between the two."""

    lag_bytes: int
    heard: bool = False
    """The target has said so."""


@dataclass(slots=True, frozen=True)
class PauseAsked:
    """The target wants writes held back, and would take the slots in this epoch."""

    epoch: int


@dataclass(slots=True, frozen=True)
class TargetGaveUp:
    """The target will not take the slots in this attempt."""

    reason: str


@dataclass(slots=True, frozen=True)
class LinkLost:
    """Nothing is heard of the target any more; while writes are held back that says nothing about what it did."""

    reason: str


@dataclass(slots=True, frozen=True)
class OwnerChanged:
    """The slots are ours no longer: the target's, or somebody else's, or we are no primary any more."""

    by_target: bool


@dataclass(slots=True, frozen=True)
class Failed:
    """Something here ends the attempt; nobody has been told yet."""

    reason: str
    again: bool = True


@dataclass(slots=True, frozen=True)
class Wakeup:
    """`wake_ms` has come."""


Event = CopySent | Moved | PauseAsked | TargetGaveUp | LinkLost | OwnerChanged | Failed | Wakeup


# ---- effects -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class TellReady:
    """Tell the target that little is left."""


@dataclass(slots=True, frozen=True)
class HoldWrites:
    """Hold back whatever could write to the slots, and put the end of the stream behind what was written."""


@dataclass(slots=True, frozen=True)
class ReleaseWrites:
    """Let those who were held back go on."""


@dataclass(slots=True, frozen=True)
class Ask:
    """Ask all who vote what they know of the slots."""


@dataclass(slots=True, frozen=True)
class Keep:
    """Take an epoch above this one, in which the target might still claim the slots."""

    epoch: int


@dataclass(slots=True, frozen=True)
class TellFailure:
    """Tell the target, if the link stands, that this attempt is over."""

    reason: str
    again: bool


@dataclass(slots=True, frozen=True)
class Over:
    """The attempt has ended; without a reason the slots are the target's."""

    reason: str = ""


Effect = TellReady | HoldWrites | ReleaseWrites | Ask | Keep | TellFailure | Over


class Departure:
    """One attempt.

    pause_ms -- T, for so long nothing is written while the outcome is unknown.
    lag_max_bytes -- so little must be left before writes are held back.
    answered -- whether the target or a majority has answered since a time.
    """

    def __init__(
        self, now_ms: int, *, silence_ms: int, pause_ms: int, lag_max_bytes: int, answered: Callable[[int], bool]
    ) -> None:
        self.step = Step.COPYING
        self.paused_ms = 0
        self._silence_ms = silence_ms
        self._pause_ms = pause_ms
        self._lag_max_bytes = lag_max_bytes
        self._answered = answered
        self._lag_bytes = 0
        self._ready_told = False
        self._epoch = 0
        self._heard_ms = now_ms
        self._asked_ms = self._ask_again_ms = self._answered_ms = 0

    @property
    def is_over(self) -> bool:
        return self.step in (Step.DONE, Step.FAILED)

    @property
    def holds_writes(self) -> bool:
        return self.step in (Step.PAUSED, Step.DOUBT)

    @property
    def wake_ms(self) -> int:
        match self.step:
            case Step.COPYING | Step.STREAMING:
                return self._heard_ms + self._silence_ms
            case Step.PAUSED:
                return self.paused_ms + self._pause_ms
            case Step.DOUBT:
                return self._ask_again_ms
        return NEVER

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; a pair of step and event that is not listed is stale news."""
        if self.is_over:
            return []
        match event:
            case OwnerChanged(by_target):
                return self._owner_changed(by_target)
            case Failed(reason, again):
                return [] if self.holds_writes else self._end(reason, TellFailure(reason, again))
            case LinkLost(reason):
                return [] if self.holds_writes else self._end(reason)
            case TargetGaveUp(reason):
                return self._end(reason)
            case Wakeup():
                return self._look(now_ms)
            case PauseAsked(epoch):
                self._heard_ms = now_ms
                return self._pause(epoch, now_ms) if self.step is Step.STREAMING else []
            case CopySent():
                if self.step is Step.COPYING:
                    self.step = Step.STREAMING
            case Moved(lag_bytes, heard):
                self._lag_bytes = lag_bytes
                if heard:
                    self._heard_ms = now_ms
        return self._tell_if_ready()

    def _tell_if_ready(self) -> list[Effect]:
        if self.step is not Step.STREAMING or self._ready_told or self._lag_bytes > self._lag_max_bytes:
            return []
        self._ready_told = True
        return [TellReady()]

    def _pause(self, epoch: int, now_ms: int) -> list[Effect]:
        self.step, self._epoch, self.paused_ms = Step.PAUSED, epoch, now_ms
        return [HoldWrites()]

    def _owner_changed(self, by_target: bool) -> list[Effect]:
        released: list[Effect] = [ReleaseWrites()] if self.holds_writes else []
        if by_target and self.holds_writes:
            self.step = Step.DONE
            return [*released, Over()]
        reason = "the slots went to another owner"
        return self._end(reason, TellFailure(reason, again=True))

    def _end(self, reason: str, *told: Effect) -> list[Effect]:
        released: list[Effect] = [ReleaseWrites()] if self.holds_writes else []
        self.step = Step.FAILED
        return [*released, *told, Over(reason)]

    def _look(self, now_ms: int) -> list[Effect]:
        if now_ms < self.wake_ms:
            return []
        match self.step:
            case Step.PAUSED:
                self.step, self._asked_ms = Step.DOUBT, now_ms
                return self._ask(now_ms)
            case Step.DOUBT:
                return self._resolve(now_ms)
        reason = "the target is silent"
        return self._end(reason, TellFailure(reason, again=True))

    def _ask(self, now_ms: int) -> list[Effect]:
        self._ask_again_ms = now_ms + ASK_MS
        return [Ask()]

    def _resolve(self, now_ms: int) -> list[Effect]:
        """Nobody writes to the slots before a majority has had its say, and a while has passed for its updates."""
        if not self._answered_ms:
            if not self._answered(self._asked_ms):
                return self._ask(now_ms)
            self._answered_ms = now_ms
        if now_ms < self._answered_ms + DOUBT_MS:
            return self._ask(now_ms)
        return [Keep(self._epoch), *self._end("the target did not take the slots in time")]
