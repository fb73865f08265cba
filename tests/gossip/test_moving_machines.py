"""Both machines of a migration, step by step: what they want done at each event, and what they take for stale news."""

from __future__ import annotations

import pytest

from gossip.handover import DOUBT_MS
from gossip.moving import arrival, departure
from gossip.moving.arrival import Arrival
from gossip.moving.departure import ASK_MS, Departure

T = 10_000
SILENCE = 60_000
A, D = arrival, departure


def target() -> Arrival:
    return Arrival(0, silence_ms=SILENCE, pause_ms=T)


def asking() -> Arrival:
    """A target that has asked for the pause, at 1000."""
    machine = target()
    for event in (A.Connected(), A.Received(), A.Copied()):
        assert machine.handle(event, 900) == []
    assert machine.handle(A.SourceReady(), 950) == [A.Settle()]
    assert machine.handle(A.Settled(7), 1000) == [A.AskPause(7)]
    return machine


def test_a_target_takes_the_slots_in_the_epoch_that_it_has_named() -> None:
    machine = asking()
    assert machine.wake_ms == 1000 + T // 2
    assert machine.handle(A.Final(), 1010) == [A.Settle()]
    assert machine.handle(A.Settled(9), 1020) == [A.Take(7, 1000 + T // 2)]
    assert machine.handle(A.Taken(), 1021) == [A.Over()]
    assert machine.is_over and machine.wake_ms == A.NEVER
    assert machine.handle(A.Failed("late"), 1022) == []


@pytest.mark.parametrize("final", [False, True])
def test_a_target_that_comes_too_late_gives_up(final: bool) -> None:
    machine = asking()
    if final:
        machine.handle(A.Final(), 1010)
    assert machine.handle(A.Wakeup(), machine.wake_ms - 1) == []
    gave_up, over = machine.handle(A.Wakeup(), machine.wake_ms)
    assert isinstance(gave_up, A.GiveUp) and over == A.Over("the hand-over took too long", again=True)


def test_what_settles_too_late_is_not_taken() -> None:
    machine = asking()
    machine.handle(A.Final(), 1010)
    effects = machine.handle(A.Settled(7), 1000 + T // 2)
    assert [type(effect) for effect in effects] == [A.GiveUp, A.Over]


def test_a_source_that_says_nothing_is_left() -> None:
    machine = target()
    machine.handle(A.Connected(), 100)
    assert machine.wake_ms == 100 + SILENCE
    assert machine.handle(A.Wakeup(), 100 + SILENCE) == [A.Over("the source is silent", again=True)]


@pytest.mark.parametrize("event", [A.Final(), A.SourceReady(), A.Settled(3), A.Taken(), A.Copied()])
def test_a_target_that_dials_takes_nothing_else_for_news(event: A.Event) -> None:
    machine = target()
    assert machine.handle(event, 5) == [] and machine.step is A.Step.CONNECTING


# --- the source -------------------------------------------------------------------------------------------------------


def source(answers: list[int] | None = None) -> Departure:
    """A source; `answers` are the times since which nobody is known to have answered."""
    return Departure(
        0, silence_ms=SILENCE, pause_ms=T, lag_max_bytes=100, answered=lambda since: since not in (answers or [])
    )


def paused(answers: list[int] | None = None) -> Departure:
    """A source that holds writes back since 1000."""
    machine = source(answers)
    assert machine.handle(D.Moved(5000), 10) == []
    assert machine.handle(D.CopySent(), 20) == []  # it lags too far yet
    assert machine.handle(D.Moved(100, heard=True), 30) == [D.TellReady()]
    assert machine.handle(D.Moved(0, heard=True), 40) == []  # told once
    assert machine.handle(D.PauseAsked(7), 1000) == [D.HoldWrites()]
    assert machine.holds_writes and machine.wake_ms == 1000 + T
    return machine


def test_a_source_hands_over() -> None:
    machine = paused()
    assert machine.handle(D.OwnerChanged(by_target=True), 1010) == [D.ReleaseWrites(), D.Over()]
    assert machine.is_over and machine.handle(D.LinkLost("gone"), 1011) == []


def test_nobody_pauses_a_source_that_still_copies() -> None:
    machine = source()
    assert machine.handle(D.PauseAsked(7), 10) == [] and not machine.holds_writes


def test_a_target_that_gives_up_ends_the_pause_at_once() -> None:
    machine = paused()
    assert machine.handle(D.TargetGaveUp("no"), 1010) == [D.ReleaseWrites(), D.Over("no")]


def test_a_lost_link_ends_a_copy_but_no_pause() -> None:
    machine = source()
    assert machine.handle(D.LinkLost("gone"), 10) == [D.Over("gone")]
    machine = paused()
    assert machine.handle(D.LinkLost("gone"), 1010) == []
    assert machine.handle(D.Failed("canceled", again=False), 1020) == []
    assert machine.holds_writes


def test_in_doubt_a_source_writes_nothing_before_a_majority_has_had_its_say() -> None:
    unanswered = [1000 + T]
    machine = paused(unanswered)
    assert machine.handle(D.Wakeup(), 999 + T) == []
    now = 1000 + T
    for _ in range(5):
        assert machine.handle(D.Wakeup(), now) == [D.Ask()]
        assert machine.holds_writes
        now += ASK_MS
    unanswered.clear()
    answered = now
    while now < answered + DOUBT_MS:
        assert machine.handle(D.Wakeup(), now) == [D.Ask()]
        now += ASK_MS
    keep, release, over = machine.handle(D.Wakeup(), now)
    assert (keep, release) == (D.Keep(7), D.ReleaseWrites()) and isinstance(over, D.Over) and over.reason


def test_a_claim_that_is_heard_in_doubt_completes_it() -> None:
    machine = paused()
    machine.handle(D.Wakeup(), 1000 + T)
    assert machine.step is D.Step.DOUBT
    assert machine.handle(D.OwnerChanged(by_target=True), 1100 + T) == [D.ReleaseWrites(), D.Over()]


def test_a_source_that_loses_the_slots_otherwise_tells_the_target() -> None:
    machine = source()
    tell, over = machine.handle(D.OwnerChanged(by_target=False), 10)
    assert isinstance(tell, D.TellFailure) and tell.again and isinstance(over, D.Over)
