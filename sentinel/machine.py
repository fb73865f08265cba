"""The Sentinel machine: one Sentinel's part, as events in and effects out.

How to drive it. One owner calls `handle(event, now_ms)` and performs the effects of the returned list in order, all
of them before the next call; nothing else changes the machine or its state.

- `now_ms` is Unix time in milliseconds of the wall clock. If it jumps, the machine notices (TILT) and decides nothing
  for a while, since all that it knows are times.
- Begin with `Wakeup()`, and then again whenever the time of the last `WakeAt` has come.
- `SaveConfig` stands before all else: write the state as it is then, durably. If that fails, perform the rest, but
  answer a vote by the `refused` of its `Answer`, and let `SaveFailed` follow; `Saved` when it works again.
- `Dial` opens a link, and is answered by `LinkUp` or `LinkDown`. `CloseLink` ends any link, and nothing follows it.
  `Send` never waits; every command gets one `Replied`, in order, unless the link goes down.
- An order raises `SentinelError`, whose text is the whole reply, before anything has changed; without an error its
  reply is OK, or the `Answer` among the effects.
- `machine.core` may be read at any time between calls (reports).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from sentinel import admin, contact, election, failover, hello, links, suspicion
from sentinel.core import Core, Facts
from sentinel.events import (
    Answer,
    Effect,
    Event,
    Failover,
    Flush,
    Heard,
    HelloReceived,
    LinkDown,
    LinkUp,
    Monitor,
    QuestionReceived,
    Remove,
    Replied,
    ResetMatching,
    Saved,
    SaveFailed,
    ScriptEnded,
    ScriptStarted,
    SetGlobal,
    SetOptions,
    SetPeriods,
    SimulateFailure,
    Wakeup,
)
from sentinel.state import Instance, Primary, State

TICKS_PER_S = 10
TICKS_RANDOM_PER_S = 10
"""The timer comes so often, and up to so much more often, at random: Sentinels that notice the same failure at the
same time would ask each other for votes at the same time, and nobody would win."""
SAVE_AGAIN_MS = 1000
"""How often a configuration file that could not be written is tried again."""


class SentinelMachine:
    """One Sentinel. `handle` is the only door; `core` and its state are for reading."""

    __slots__ = ("core",)

    def __init__(self, state: State, facts: Facts, rng: Random) -> None:
        assert state.my_id, "a Sentinel has an id before it begins"
        self.core = Core(state, facts, rng)

    @property
    def state(self) -> State:
        return self.core.state

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; return what must be done, in order. Raises SentinelError for an order that is refused."""
        core = self.core
        core.begin(now_ms)
        HANDLERS[type(event)](core, event)
        return core.finish()


# ---- the timer -------------------------------------------------------------------------------------------------------


def _wakeup(core: Core, _event: Wakeup) -> None:
    """Look at everything once."""
    if not core.state.looked_ms:
        _begin(core)
    _look_at_clock(core)
    for primary in list(core.state.primaries.values()):
        for instance in primary.everybody():
            _look_at(core, instance)
    for primary in list(core.state.primaries.values()):
        failover.finish_switch(core, primary)
    core.scripts.run_due(core)
    if core.state.unsaved and core.now_ms % SAVE_AGAIN_MS < SAVE_AGAIN_MS // TICKS_PER_S:
        core.save()
    core.wake_in(1000 // (TICKS_PER_S + core.rng.randrange(TICKS_RANDOM_PER_S)))


def _begin(core: Core) -> None:
    """The first look: what was heard before the start says nothing about now."""
    core.save()
    core.log("warning", f"Sentinel ID is {core.state.my_id}")
    for primary in core.state.primaries.values():
        admin.announce(core, primary)


def _look_at_clock(core: Core) -> None:
    """TILT: the clock jumped, or this process slept. All ages that we know are wrong by as much."""
    state, periods = core.state, core.state.periods
    delta_ms = core.now_ms - state.looked_ms if state.looked_ms else 0
    state.looked_ms = core.now_ms
    if delta_ms < 0:  # otherwise nothing would be dialled or sent until the clock is again where it was
        for primary in state.primaries.values():
            for instance in primary.everybody():
                instance.forget_future(core.now_ms)
                instance.link.forget_future(core.now_ms)
    if delta_ms < 0 or delta_ms > periods.tilt_trigger:
        state.tilt_since_ms = core.now_ms
        core.event("warning", "+tilt", None, "#tilt mode entered")
    elif state.tilt_since_ms and core.now_ms - state.tilt_since_ms >= periods.tilt_period:
        state.tilt_since_ms = 0
        core.event("warning", "-tilt", None, "#tilt mode exited")


def _look_at(core: Core, instance: Instance) -> None:
    """Keep in contact, and decide what there is to decide; the latter not in TILT."""
    contact.reconnect(core, instance)
    contact.send_periodically(core, instance)
    if core.state.tilt_since_ms:
        return
    suspicion.judge(core, instance)
    if isinstance(instance, Primary):
        suspicion.judge_together(core, instance)
        if failover.start_if_needed(core, instance):
            suspicion.ask_fellows(core, instance, at_once=True)
        failover.advance(core, instance)
        suspicion.ask_fellows(core, instance)


def _link_down(core: Core, event: LinkDown) -> None:
    links.link_down(core, event.link)


# ---- what others say and ask -----------------------------------------------------------------------------------------


def _hello_received(core: Core, event: HelloReceived) -> None:
    hello.receive(core, event.payload)


def _question(core: Core, event: QuestionReceived) -> None:
    """A fellow asks what we think of a primary, and perhaps for our vote."""
    primary = core.state.primary_at(event.host, event.port)
    is_down = primary is not None and primary.is_down and not core.state.tilt_since_ms
    leader, epoch = "", 0
    if primary is not None and event.run_id != "*":
        leader, epoch = election.vote(core, primary, event.epoch, event.run_id)
        if core.state.unsaved:
            core.save()  # an earlier vote is not on disk yet: it must be, before it is told
    core.emit(Answer([int(is_down), (leader or "*").encode(), epoch], [int(is_down), b"*", 0], vote=True))


# ---- files and scripts -----------------------------------------------------------------------------------------------


def _save_failed(core: Core, _event: SaveFailed) -> None:
    core.state.unsaved = True


def _saved(core: Core, _event: Saved) -> None:
    core.state.unsaved = False


def _script_started(core: Core, event: ScriptStarted) -> None:
    core.scripts.started(core, event.job, event.pid)


def _script_ended(core: Core, event: ScriptEnded) -> None:
    core.scripts.ended(core, event.job, event.exit_code, event.signal)


def _flush(core: Core, _order: Flush) -> None:
    core.save()


HANDLERS: dict[type, Callable[[Core, Any], None]] = {
    Wakeup: _wakeup,
    LinkUp: contact.link_up,
    LinkDown: _link_down,
    Replied: contact.replied,
    Heard: contact.heard,
    HelloReceived: _hello_received,
    QuestionReceived: _question,
    SaveFailed: _save_failed,
    Saved: _saved,
    ScriptStarted: _script_started,
    ScriptEnded: _script_ended,
    Failover: failover.order,
    Monitor: admin.monitor,
    Remove: admin.remove,
    ResetMatching: admin.reset_matching,
    SetOptions: admin.set_options,
    SetGlobal: admin.set_global,
    SetPeriods: admin.set_periods,
    SimulateFailure: admin.simulate_failure,
    Flush: _flush,
}
