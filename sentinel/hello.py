"""Hellos: how Sentinels of one primary find each other and agree where it is.

Eight fields by commas: ip, port, run id and current epoch of the sender; name, ip, port and config epoch of the
primary as the sender sees it. The config epoch orders what is said about the primary's address: the larger one is
newer.
"""

from __future__ import annotations

from node.datatypes.numbers import parse_int
from sentinel import links, roster
from sentinel.core import Core
from sentinel.info import PORT_MAX
from sentinel.state import Address, Fellow, Instance, Primary

CHANNEL = "__sentinel__:hello"
FIELDS = 8
EPOCH_MAX = (1 << 63) - 1


def send(core: Core, instance: Instance) -> None:
    """Say hello over one instance's link."""
    state, primary = core.state, instance.primary
    if not instance.link.is_connected:
        return
    ip = state.announce_ip or instance.link.local_ip
    port = state.announce_port or core.facts.port()
    address = primary.current_address
    payload = (
        f"{ip},{port},{state.my_id},{state.current_epoch},"
        f"{primary.name},{state.told(address)},{address.port},{primary.config_epoch}"
    )
    links.ask(core, instance, "hello", "PUBLISH", CHANNEL, payload)


def hurry(core: Core, primary: Primary) -> None:
    """Let the next look at each instance of this primary send a hello: there is news."""
    for instance in primary.everybody():
        instance.hello_sent_ms = min(instance.hello_sent_ms, core.now_ms - core.state.periods.publish_period - 1)


def receive(core: Core, payload: bytes) -> None:
    """A hello came, over a node or directly."""
    fields = payload.decode("utf-8", "surrogateescape").split(",")
    if len(fields) != FIELDS:
        return
    host, _, run_id, _, name, primary_host, _, _ = fields
    numbers = [parse_int(fields[at].encode("utf-8", "surrogateescape")) for at in (1, 3, 6, 7)]
    port, epoch, primary_port, config_epoch = (-1 if number is None else number for number in numbers)
    primary = core.state.primaries.get(name)
    if primary is None or not (0 < port <= PORT_MAX and 0 < primary_port <= PORT_MAX):
        return
    if not run_id or run_id == core.state.my_id or min(epoch, config_epoch) < 0 or max(epoch, config_epoch) > EPOCH_MAX:
        return
    fellow = _know(core, primary, run_id, host, port)
    if fellow is None:
        return
    if max(epoch, config_epoch) > core.state.current_epoch:
        adopt_epoch(core, primary, max(epoch, config_epoch))
    if config_epoch > primary.config_epoch:
        _adopt_address(core, fellow, primary_host, primary_port, config_epoch)
    fellow.hello_ms = core.now_ms


def adopt_epoch(core: Core, primary: Primary, epoch: int) -> None:
    """Somebody is in a later epoch: so are we."""
    core.state.current_epoch = epoch
    core.save()
    core.tell("warning", "+new-epoch", primary, str(epoch))


def _know(core: Core, primary: Primary, run_id: str, host: str, port: int) -> Fellow | None:
    """The sender of a hello, after what it says about itself has been taken in; None if its host has no address."""
    known = primary.fellows.get(run_id)
    if known is not None and known.address.is_same(host, port):
        return known
    address = core.address(host, port)
    if address is None:
        return None
    has_moved = roster.remove_fellow(core, primary, run_id)
    if has_moved:
        core.event("notice", "+sentinel-address-switch", primary, f"ip {host} port {port} for {run_id}")
    else:
        _drop_namesake(core, primary, address)
    fellow = roster.add_fellow(core, primary, run_id, address)
    assert fellow is not None, "its run id was unknown"
    if has_moved:
        links.close_link(core, fellow.link)
        roster.move_fellow(core, fellow)
    else:
        core.event("notice", "+sentinel", fellow)
    core.save()
    return fellow


def _drop_namesake(core: Core, primary: Primary, address: Address) -> None:
    """Two run ids at one address: the one that we knew has been replaced, wherever we knew it."""
    for other in primary.fellows.values():
        if other.address.is_there(address):
            core.event("notice", "+sentinel-invalid-addr", other)
            for each in core.state.primaries.values():
                roster.remove_fellow(core, each, other.run_id)
            return


def _adopt_address(core: Core, fellow: Fellow, host: str, port: int, config_epoch: int) -> None:
    """A fellow knows of a later failover than we do."""
    primary = fellow.primary
    if primary.address.is_same(host, port):
        primary.config_epoch = config_epoch
        core.save()
        return
    new = core.address(host, port)
    if new is None:
        return
    primary.config_epoch = config_epoch
    core.event("warning", "+config-update-from", fellow)
    old = primary.address
    core.tell("warning", "+switch-master", primary, f"{primary.name} {core.place(old)} {core.place(new)}")
    core.reconfig_script(primary, "observer", "start", old, new)
    roster.move_primary(core, primary, new)
