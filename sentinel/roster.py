"""Who is watched: instances come, go, are reset, and a primary moves to another address. Parts call this, never each
other's tables.

Fellows share links: whoever watches several primaries with us is pinged once.
"""

from __future__ import annotations

from sentinel.core import Core
from sentinel.links import close_link
from sentinel.state import Address, Config, Fellow, Instance, Primary, Replica, Step


def add_primary(core: Core, name: str, address: Address, quorum: int) -> Primary:
    """Watch a primary, and say so."""
    periods = core.state.periods
    config = Config(quorum, periods.default_down_after, periods.default_failover_timeout)
    primary = Primary(name, address, config, core.now_ms)
    core.state.primaries[name] = primary
    return primary


def remove_primary(core: Core, primary: Primary) -> None:
    """Watch it no longer, nor anybody who belongs to it."""
    del core.state.primaries[primary.name]
    for instance in primary.everybody():
        _release(core, instance)


def add_replica(core: Core, primary: Primary, address: Address) -> Replica | None:
    """Watch a replica; None if it is known."""
    name = f"{address.host}:{address.port}"
    if any(replica.address.is_there(address) for replica in primary.replicas.values()):
        return None
    replica = primary.replicas[name] = Replica(name, address, primary, core.now_ms)
    return replica


def add_fellow(core: Core, primary: Primary, run_id: str, address: Address) -> Fellow | None:
    """Watch another Sentinel of this primary; None if its run id is known."""
    if run_id in primary.fellows:
        return None
    fellow = primary.fellows[run_id] = Fellow(run_id, address, primary, core.now_ms)
    fellow.run_id = run_id
    share_link(core, fellow)
    return fellow


def share_link(core: Core, fellow: Fellow) -> None:
    """Use the link that the same Sentinel has as another primary's fellow, if it has one."""
    for primary in core.state.primaries.values():
        other = primary.fellows.get(fellow.run_id)
        if other is not None and other is not fellow and other.link is not fellow.link:
            fellow.link = other.link
            fellow.link.users.append(fellow)
            return


def remove_fellow(core: Core, primary: Primary, run_id: str) -> bool:
    """Forget the fellow with this run id; False if it is unknown."""
    fellow = primary.fellows.pop(run_id, None)
    if fellow is not None:
        _release(core, fellow)
    return fellow is not None


def move_fellow(core: Core, fellow: Fellow) -> None:
    """A fellow has a new address: under every primary that it watches with us."""
    for primary in core.state.primaries.values():
        other = primary.fellows.get(fellow.run_id)
        if other is None or other is fellow:
            continue
        close_link(core, other.link)
        other.address = fellow.address
        core.event("notice", "+sentinel-address-update", other)


def reset(core: Core, primary: Primary, *, keep_fellows: bool) -> None:
    """Begin anew with a primary: its replicas, and what was heard of it, are forgotten."""
    for replica in primary.replicas.values():
        _release(core, replica)
    primary.replicas = {}
    if not keep_fellows:
        for fellow in primary.fellows.values():
            _release(core, fellow)
        primary.fellows = {}
    close_link(core, primary.link)
    primary.link.forget_pings(core.now_ms)
    primary.is_down = primary.is_objectively_down = primary.forced = primary.script_kill_sent = False
    primary.down_since_ms = primary.objectively_down_since_ms = primary.rebooted_ms = 0
    primary.leader = primary.run_id = ""
    primary.step, primary.step_ms, primary.failover_start_ms = Step.NONE, 0, 0
    primary.promoted = None
    primary.role_is_primary, primary.role_since_ms = True, core.now_ms


def move_primary(core: Core, primary: Primary, address: Address) -> None:
    """The primary is at another address now: its replicas, the old primary among them, are watched as that one's."""
    known = [replica.address for replica in primary.replicas.values()]
    if not primary.address.is_there(address):
        known.append(primary.address)
    reset(core, primary, keep_fellows=True)
    primary.address = address
    for each in known:
        if not each.is_there(address):
            replica = add_replica(core, primary, each)
            if replica is not None:
                core.event("notice", "+slave", replica)
    core.save()


def _release(core: Core, instance: Instance) -> None:
    instance.gone = True
    instance.link.users.remove(instance)
    if not instance.link.users:
        instance.link.users.append(instance)  # nobody else's: it tells what it was to the end
        close_link(core, instance.link)
