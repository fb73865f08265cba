"""A failover, from the first suspicion that counts to the new primary.

    NONE -> WAIT_START -> SELECT_REPLICA -> SEND_PROMOTION -> WAIT_PROMOTION -> RECONFIGURE -> UPDATE_CONFIG -> NONE

`STEPS` has a function for each state that a look at the clock may move on; WAIT_PROMOTION also ends by what the
replica's INFO says (`promoted`). Up to WAIT_PROMOTION a failover may be given up; after it, the new primary is a
fact, and all that is left is to tell everybody. A vote that could not be saved (`State.unsaved`) elects nobody: after
a restart we would not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from sentinel import election, hello, links, roster, suspicion
from sentinel.core import Core
from sentinel.events import Crash, Failover, SentinelError
from sentinel.state import Primary, Replica, Step

RETRY_FAILOVER_TIMEOUTS = 2
"""Failovers of one primary begin at least so many failover timeouts apart."""
LINK_DOWN_DOWN_AFTERS = 10
"""A replica that had lost its primary so much longer than us has data too old to be chosen."""
INFO_FRESH_PING_PERIODS = 5
INFO_FRESH_INFO_PERIODS = 3
NO_RUN_ID = "\U0010ffff"
CRASH_EXIT_CODE = 99


# ---- beginning and ending --------------------------------------------------------------------------------------------


def start_if_needed(core: Core, primary: Primary) -> bool:
    """Begin a failover: the primary is down for enough of us, none runs, and the last one is long over."""
    if not primary.is_objectively_down or primary.in_failover:
        return False
    pause_ms = RETRY_FAILOVER_TIMEOUTS * primary.config.failover_timeout_ms
    if core.now_ms - primary.failover_start_ms < pause_ms:
        if primary.delay_logged_ms != primary.failover_start_ms:
            primary.delay_logged_ms = primary.failover_start_ms
            when = datetime.fromtimestamp((primary.failover_start_ms + pause_ms) / 1000, UTC)
            core.log("warning", f"Next failover delay: I will not start a failover before {when:%a %b %d %H:%M:%S %Y}")
        return False
    start(core, primary)
    return True


def start(core: Core, primary: Primary) -> None:
    """Begin a failover in an epoch of its own."""
    assert not primary.in_failover
    core.state.current_epoch += 1
    primary.failover_epoch = core.state.current_epoch
    core.save()
    core.tell("warning", "+new-epoch", primary, str(primary.failover_epoch))
    core.event("warning", "+try-failover", primary)
    primary.failover_start_ms = core.now_ms + core.rng.randrange(election.DESYNC_MS)
    _go(core, primary, Step.WAIT_START)


def order(core: Core, request: Failover) -> None:
    """SENTINEL FAILOVER: without asking anybody."""
    primary = core.state.primaries.get(request.name)
    if primary is None:
        raise SentinelError("ERR No such master with that name")
    if primary.in_failover:
        raise SentinelError("INPROG Failover already in progress")
    if choose(core, primary) is None:
        raise SentinelError("NOGOODSLAVE No suitable replica to promote")
    core.log("warning", f"Executing user requested FAILOVER of '{primary.name}'")
    start(core, primary)
    primary.forced = True


def advance(core: Core, primary: Primary) -> None:
    """Take the next step, if it is time for one."""
    step = STEPS.get(primary.step)
    if step is not None:
        step(core, primary)


def _go(core: Core, primary: Primary, step: Step) -> None:
    primary.step, primary.step_ms = step, core.now_ms


def _abort(core: Core, primary: Primary, kind: str) -> None:
    """Give up; what was begun with a replica that is still one does no harm."""
    core.event("warning", kind, primary)
    assert primary.step in (Step.WAIT_START, Step.SELECT_REPLICA, Step.SEND_PROMOTION, Step.WAIT_PROMOTION)
    _go(core, primary, Step.NONE)
    primary.forced, primary.promoted = False, None


def _age_ms(core: Core, primary: Primary) -> int:
    return core.now_ms - primary.step_ms


# ---- the steps -------------------------------------------------------------------------------------------------------


def _wait_start(core: Core, primary: Primary) -> None:
    """Until we are elected, or an operator wants it anyway."""
    elected = election.leader(core, primary) == core.state.my_id and not core.state.unsaved
    if not elected and not primary.forced:
        limit_ms = min(core.state.periods.election_timeout, primary.config.failover_timeout_ms)
        if core.now_ms - primary.failover_start_ms > limit_ms:
            _abort(core, primary, "-failover-abort-not-elected")
        return
    core.event("warning", "+elected-leader", primary)
    if core.state.crash_after_election:
        _crash(core)
    _go(core, primary, Step.SELECT_REPLICA)
    core.event("warning", "+failover-state-select-slave", primary)


def _crash(core: Core) -> None:
    core.log("warning", "Sentinel CRASH because of SENTINEL simulate-failure")
    core.emit(Crash(CRASH_EXIT_CODE))


def _select_replica(core: Core, primary: Primary) -> None:
    replica = choose(core, primary)
    if replica is None:
        _abort(core, primary, "-failover-abort-no-good-slave")
        return
    core.event("warning", "+selected-slave", replica)
    primary.promoted = replica
    _go(core, primary, Step.SEND_PROMOTION)
    core.event("notice", "+failover-state-send-slaveof-noone", replica)


def _send_promotion(core: Core, primary: Primary) -> None:
    replica = primary.promoted
    assert replica is not None
    if core.state.unsaved and not primary.forced:
        return  # the vote that elected us may be lost with us: it is saved first, or the failover times out
    if not links.follow(core, replica, "", 0):
        if _age_ms(core, primary) > primary.config.failover_timeout_ms:
            _abort(core, primary, "-failover-abort-slave-timeout")
        return
    core.event("notice", "+failover-state-wait-promotion", replica)
    _go(core, primary, Step.WAIT_PROMOTION)


def _wait_promotion(core: Core, primary: Primary) -> None:
    if _age_ms(core, primary) > primary.config.failover_timeout_ms:
        _abort(core, primary, "-failover-abort-slave-timeout")


def promoted(core: Core, primary: Primary, replica: Replica) -> None:
    """The chosen replica says that it is a primary: from here on it is the one, and everybody is told."""
    assert primary.step is Step.WAIT_PROMOTION and primary.promoted is replica
    primary.config_epoch = primary.failover_epoch
    _go(core, primary, Step.RECONFIGURE)
    core.save()
    core.event("warning", "+promoted-slave", replica)
    if core.state.crash_after_promotion:
        _crash(core)
    core.event("warning", "+failover-state-reconf-slaves", primary)
    core.reconfig_script(primary, "leader", "start", primary.address, replica.address)
    hello.hurry(core, primary)


def _reconfigure(core: Core, primary: Primary) -> None:
    """Send the other replicas to the new primary, few at a time."""
    busy = sum(replica.reconfigured in ("sent", "inprog") for replica in primary.replicas.values())
    for replica in _others(primary):
        if busy >= primary.config.parallel_syncs:
            break
        if replica.reconfigured == "sent":
            _give_up_waiting(core, replica)
        if replica.reconfigured or not replica.link.is_connected:
            continue
        if _send_to_promoted(core, primary, replica):
            core.event("notice", "+slave-reconf-sent", replica)
            busy += 1
    _end_if_done(core, primary)


def _others(primary: Primary) -> Iterator[Replica]:
    return (replica for replica in primary.replicas.values() if not replica.is_promoted)


def _give_up_waiting(core: Core, replica: Replica) -> None:
    """It was told and has not begun: it will be put right later, as any replica of a wrong primary."""
    if core.now_ms - replica.reconfigured_ms > core.state.periods.slave_reconf_timeout:
        core.event("notice", "-slave-reconf-sent-timeout", replica)
        replica.reconfigured = "done"


def _send_to_promoted(core: Core, primary: Primary, replica: Replica) -> bool:
    address = primary.current_address
    if not links.follow(core, replica, core.state.told(address), address.port):
        return False
    replica.reconfigured, replica.reconfigured_ms = "sent", core.now_ms
    return True


def _end_if_done(core: Core, primary: Primary) -> None:
    if primary.promoted is None or primary.promoted.is_down:
        return
    open_ones = [each for each in _others(primary) if each.reconfigured != "done" and not each.is_down]
    is_late = _age_ms(core, primary) > primary.config.failover_timeout_ms
    if is_late:
        core.event("warning", "+failover-end-for-timeout", primary)
    if not open_ones or is_late:
        core.event("warning", "+failover-end", primary)
        _go(core, primary, Step.UPDATE_CONFIG)
    if is_late:
        for replica in _others(primary):
            if replica.reconfigured not in ("done", "sent") and _send_to_promoted(core, primary, replica):
                core.event("notice", "+slave-reconf-sent-be", replica)


def _update_config(core: Core, primary: Primary) -> None:
    """Watch the promoted replica as the primary, and the old primary as one of its replicas."""
    assert primary.promoted is not None
    old, new = primary.address, primary.promoted.address
    core.tell("warning", "+switch-master", primary, f"{primary.name} {core.place(old)} {core.place(new)}")
    roster.move_primary(core, primary, new)


STEPS: dict[Step, Callable[[Core, Primary], None]] = {
    Step.WAIT_START: _wait_start,
    Step.SELECT_REPLICA: _select_replica,
    Step.SEND_PROMOTION: _send_promotion,
    Step.WAIT_PROMOTION: _wait_promotion,
    Step.RECONFIGURE: _reconfigure,
}


def finish_switch(core: Core, primary: Primary) -> None:
    """The last step, after all instances have had their look: it replaces the tables that are looked through."""
    if primary.step is Step.UPDATE_CONFIG:
        _update_config(core, primary)


# ---- the choice ------------------------------------------------------------------------------------------------------


def choose(core: Core, primary: Primary) -> Replica | None:
    """The replica to promote: lowest priority, then most data, then the smaller run id."""
    fit = [replica for replica in primary.replicas.values() if _is_fit(core, primary, replica)]
    return min(fit, key=_rank, default=None)


def _rank(replica: Replica) -> tuple[int, int, str]:
    return replica.priority, -replica.offset, replica.run_id.lower() or NO_RUN_ID


def _is_fit(core: Core, primary: Primary, replica: Replica) -> bool:
    """Whether a replica works, may be promoted, and has data that is not too old."""
    periods, now_ms = core.state.periods, core.now_ms
    if not suspicion.is_well(core, replica) or not replica.priority:
        return False
    fresh_ms = INFO_FRESH_INFO_PERIODS * periods.info_period
    since_down_ms = 0
    if primary.is_down:
        fresh_ms = INFO_FRESH_PING_PERIODS * periods.ping_period
        since_down_ms = now_ms - primary.down_since_ms
    if now_ms - replica.info_ms > fresh_ms:
        return False
    return replica.link_down_ms <= since_down_ms + LINK_DOWN_DOWN_AFTERS * primary.config.down_after_ms
