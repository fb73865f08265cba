"""What INFO of a node changes: its role and replicas, and with them the progress of a failover and the repairs.

A repair waits until what it would repair has lasted: a node that is just being promoted or reconfigured by another
Sentinel looks wrong for a moment too.
"""

from __future__ import annotations

from sentinel import failover, links, roster
from sentinel.core import Core
from sentinel.info import NodeInfo, parse_info
from sentinel.state import Instance, Primary, Replica, Step

CONVERT_AFTER_PUBLISH_PERIODS = 4
"""A replica that calls itself a primary is turned back after so many hello periods: a later failover would be known
by then."""
SANE_INFO_PERIODS = 2


def learn(core: Core, instance: Instance, text: bytes) -> None:
    """Take in what a node says of itself."""
    instance.info = text
    info = parse_info(text)
    _run_id(core, instance, info)
    if isinstance(instance, Primary):
        _new_replicas(core, instance, info)
    if isinstance(instance, Replica):
        _replica_fields(core, instance, info)
    instance.info_ms = core.now_ms
    is_primary = instance.role_is_primary if info.is_primary is None else info.is_primary
    if is_primary != instance.role_is_primary:
        _role_changed(core, instance, is_primary)
    if core.state.tilt_since_ms:
        return  # nothing is decided now
    if isinstance(instance, Replica):
        if is_primary:
            _replica_is_primary(core, instance)
        else:
            _replica_follows(core, instance)


def _run_id(core: Core, instance: Instance, info: NodeInfo) -> None:
    if not info.run_id or info.run_id == instance.run_id:
        return
    if instance.run_id:
        core.event("notice", "+reboot", instance)
        if isinstance(instance, Primary) and instance.config.reboot_down_after_ms:
            instance.rebooted_ms = core.now_ms
    instance.run_id = info.run_id


def _new_replicas(core: Core, primary: Primary, info: NodeInfo) -> None:
    known = [replica.address for replica in primary.replicas.values()]
    for host, port in info.replicas:
        if any(address.is_same(host, port) for address in known):
            continue  # names are resolved only once
        address = core.address(host, port)
        replica = roster.add_replica(core, primary, address) if address is not None else None
        if replica is not None:
            core.event("notice", "+slave", replica)
            core.save()


def _replica_fields(core: Core, replica: Replica, info: NodeInfo) -> None:
    replica.link_down_ms = (info.link_down_s or 0) * 1000
    if info.is_primary:
        return
    host, port = info.primary_host, info.primary_port
    if host is not None and port is not None and (host, port) != (replica.primary_host, replica.primary_port):
        replica.primary_host, replica.primary_port = host, port
        replica.conf_changed_ms = core.now_ms
    if info.primary_link_is_up is not None:
        replica.primary_link_is_up = info.primary_link_is_up
    if info.priority is not None:
        replica.priority = info.priority
    if info.offset is not None:
        replica.offset = info.offset
    if info.is_announced is not None:
        replica.is_announced = info.is_announced


def _role_changed(core: Core, instance: Instance, is_primary: bool) -> None:
    instance.role_is_primary, instance.role_since_ms = is_primary, core.now_ms
    if isinstance(instance, Replica):
        instance.conf_changed_ms = core.now_ms
    kind = "+role-change" if is_primary == isinstance(instance, Primary) else "-role-change"
    core.event("verbose", kind, instance, f"new reported role is {'master' if is_primary else 'slave'}")


def _replica_is_primary(core: Core, replica: Replica) -> None:
    """Promoted by us, or by somebody else, or it was the primary before a failover and has come back."""
    primary = replica.primary
    if replica.is_promoted:
        if primary.step is Step.WAIT_PROMOTION:
            failover.promoted(core, primary, replica)
        return
    wait_ms = CONVERT_AFTER_PUBLISH_PERIODS * core.state.periods.publish_period
    if (
        _is_sane(core, primary)
        and _was_up_for(core, replica, wait_ms)
        and core.now_ms - replica.role_since_ms > wait_ms
        and links.follow(core, replica, core.state.told(primary.address), primary.address.port)
    ):
        core.event("notice", "+convert-to-slave", replica)


def _replica_follows(core: Core, replica: Replica) -> None:
    primary = replica.primary
    if not primary.address.is_same(replica.primary_host, replica.primary_port):
        _follows_another(core, replica)
    if replica.reconfigured == "sent":
        promoted = primary.promoted
        if promoted is not None and promoted.address.is_same(replica.primary_host, replica.primary_port):
            replica.reconfigured = "inprog"
            core.event("notice", "+slave-reconf-inprog", replica)
    if replica.reconfigured == "inprog" and replica.primary_link_is_up:
        replica.reconfigured = "done"
        core.event("notice", "+slave-reconf-done", replica)


def _follows_another(core: Core, replica: Replica) -> None:
    primary = replica.primary
    wait_ms = primary.config.failover_timeout_ms
    if (
        _is_sane(core, primary)
        and _was_up_for(core, replica, wait_ms)
        and core.now_ms - replica.conf_changed_ms > wait_ms
        and links.follow(core, replica, core.state.told(primary.address), primary.address.port)
    ):
        core.event("notice", "+fix-slave-config", replica)


def _is_sane(core: Core, primary: Primary) -> bool:
    """Whether the primary is one that replicas may be sent to."""
    fresh = core.now_ms - primary.info_ms < SANE_INFO_PERIODS * core.state.periods.info_period
    return primary.role_is_primary and not primary.is_down and not primary.is_objectively_down and fresh


def _was_up_for(core: Core, replica: Replica, span_ms: int) -> bool:
    """Whether the replica was not down within this time."""
    return not replica.down_since_ms or core.now_ms - replica.down_since_ms > span_ms
