"""Who is down: for us (SDOWN), and for so many Sentinels that it counts (ODOWN).

A primary is also down for us when it has said for long that it is a replica, or has come back from a restart and
takes too long to work again. ODOWN is no vote: it is what enough of us think at about the same time.
"""

from __future__ import annotations

from sentinel import links
from sentinel.core import Core
from sentinel.state import Fellow, Instance, Primary, Replica

ANSWERS_KEPT_ASK_PERIODS = 5
"""What a fellow has said about a primary counts for so long."""
SILENT_PUBLISH_PERIODS = 3
"""A link that listens hears at least ourselves every publish period; one so long silent is dead."""
ROLE_INFO_PERIODS = 2


def judge(core: Core, instance: Instance) -> None:
    """Decide whether one instance is down for us, and renew links that are silent."""
    _renew_silent_links(core, instance)
    if _seems_down(core, instance):
        if not instance.is_down:
            instance.is_down, instance.down_since_ms = True, core.now_ms
            core.event("warning", "+sdown", instance)
    elif instance.is_down:
        core.event("warning", "-sdown", instance)
        instance.is_down = instance.script_kill_sent = False


def silence_ms(core: Core, instance: Instance) -> int:
    """For how long an instance owes us a valid answer."""
    link = instance.link
    if link.ping_unanswered_ms:
        return core.now_ms - link.ping_unanswered_ms
    return 0 if link.is_connected else core.now_ms - link.available_ms


def _seems_down(core: Core, instance: Instance) -> bool:
    config, periods, now_ms = instance.config, core.state.periods, core.now_ms
    if silence_ms(core, instance) > config.down_after_ms:
        return True
    if not isinstance(instance, Primary):
        return False
    patience_ms = config.down_after_ms + ROLE_INFO_PERIODS * periods.info_period
    if not instance.role_is_primary and now_ms - instance.role_since_ms > patience_ms:
        return True
    return bool(instance.rebooted_ms) and now_ms - instance.rebooted_ms > config.reboot_down_after_ms


def _renew_silent_links(core: Core, instance: Instance) -> None:
    link, periods, now_ms = instance.link, core.state.periods, core.now_ms
    half_ms = instance.config.down_after_ms / 2
    if (
        link.command is not None
        and now_ms - link.command_dialled_ms > periods.min_link_reconnect_period
        and link.ping_unanswered_ms
        and now_ms - link.ping_unanswered_ms > half_ms
        and now_ms - link.answered_ms > half_ms
    ):
        links.close_command(core, link)
    if (
        link.pubsub is not None
        and now_ms - link.pubsub_dialled_ms > periods.min_link_reconnect_period
        and now_ms - link.heard_ms > SILENT_PUBLISH_PERIODS * periods.publish_period
    ):
        links.close_pubsub(core, link)


def judge_together(core: Core, primary: Primary) -> None:
    """Decide whether a primary is down for enough of us."""
    count = 0
    if primary.is_down:
        count = 1 + sum(fellow.says_down for fellow in primary.fellows.values())
    is_down = primary.is_down and count >= primary.config.quorum
    if is_down and not primary.is_objectively_down:
        primary.objectively_down_since_ms = core.now_ms
        core.event("warning", "+odown", primary, f"#quorum {count}/{primary.config.quorum}")
    elif not is_down and primary.is_objectively_down:
        core.event("warning", "-odown", primary)
    primary.is_objectively_down = is_down


def ask_fellows(core: Core, primary: Primary, *, at_once: bool = False) -> None:
    """Ask what the others think of a primary that is down for us; and for their votes, if we are in a failover."""
    period_ms = core.state.periods.ask_period
    for fellow in primary.fellows.values():
        elapsed_ms = core.now_ms - fellow.asked_ms
        if elapsed_ms > ANSWERS_KEPT_ASK_PERIODS * period_ms:
            fellow.says_down, fellow.leader = False, ""
        if not primary.is_down or not fellow.link.is_connected or (not at_once and elapsed_ms < period_ms):
            continue
        _ask(core, primary, fellow)


def _ask(core: Core, primary: Primary, fellow: Fellow) -> None:
    """A vote is asked for in the failover's own epoch, though others may be further by now: one of another epoch
    elects nobody."""
    epoch, candidate, address = core.state.current_epoch, "*", primary.address
    if primary.in_failover:
        epoch, candidate = primary.failover_epoch, core.state.my_id
    words = ("SENTINEL", "is-master-down-by-addr", core.state.told(address), str(address.port), str(epoch), candidate)
    links.ask(core, fellow, "vote", *words)


def is_well(core: Core, replica: Replica) -> bool:
    """Whether a replica has answered lately and over standing links."""
    fresh = core.now_ms - replica.link.available_ms <= 5 * core.state.periods.ping_period
    return not replica.is_down and replica.link.is_connected and fresh
