"""Orders of operators: which primaries are watched, and how. All words are checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from node.datatypes.numbers import parse_int
from node.glob import compile_glob
from sentinel import links, roster
from sentinel.core import Core
from sentinel.events import (
    Answer,
    Monitor,
    Remove,
    ResetMatching,
    SentinelError,
    SetGlobal,
    SetOptions,
    SetPeriods,
    SimulateFailure,
)
from sentinel.info import PORT_MAX
from sentinel.state import Config, Periods, Primary

DENIED = (
    "ERR Reconfiguration of scripts path is denied for security reasons. Check the deny-scripts-reconfig configuration "
    "directive in your Sentinel configuration"
)
GLOBALS = ("resolve-hostnames", "announce-hostnames", "announce-ip", "announce-port", "sentinel-user", "sentinel-pass")
"""What SENTINEL CONFIG knows, in the order of GET; `loglevel` is the node's and comes last."""


def primary_named(core: Core, name: str) -> Primary:
    """The primary of that name. Raises SentinelError."""
    primary = core.state.primaries.get(name)
    if primary is None:
        raise SentinelError("ERR No such master with that name")
    return primary


# ---- which primaries -------------------------------------------------------------------------------------------------


def monitor(core: Core, order: Monitor) -> None:
    """SENTINEL MONITOR."""
    if order.quorum <= 0:
        raise SentinelError("ERR Quorum must be 1 or greater.")
    address = core.address(order.host, order.port)
    if address is None or not address.ip:
        raise SentinelError("ERR Invalid IP address or hostname specified")
    if not 0 <= order.port <= PORT_MAX:
        raise SentinelError("ERR Invalid port number.")
    if order.name in core.state.primaries:
        raise SentinelError("ERR Duplicate master name.")
    announce(core, roster.add_primary(core, order.name, address, order.quorum))
    core.save()


def announce(core: Core, primary: Primary) -> None:
    """Tell that a primary is watched."""
    core.event("warning", "+monitor", primary, f"quorum {primary.config.quorum}")


def remove(core: Core, order: Remove) -> None:
    """SENTINEL REMOVE."""
    primary = primary_named(core, order.name)
    core.event("warning", "-monitor", primary)
    roster.remove_primary(core, primary)
    core.save()


def reset_matching(core: Core, order: ResetMatching) -> None:
    """SENTINEL RESET: whoever belonged to these primaries is found anew."""
    matches = compile_glob(order.pattern)
    found = [p for name, p in core.state.primaries.items() if matches(name.encode("utf-8", "surrogateescape"))]
    for primary in found:
        roster.reset(core, primary, keep_fellows=False)
        core.event("warning", "+reset-master", primary)
    if found:
        core.save()
    core.emit(Answer(len(found)))


# ---- how one is watched ----------------------------------------------------------------------------------------------


def set_options(core: Core, order: SetOptions) -> None:
    """SENTINEL SET name option value [option value ...]."""
    primary = primary_named(core, order.name)
    changes: list[tuple[Callable[[Config], None], str]] = []
    words, logs_in_anew = list(order.words), False
    while words:
        option = words.pop(0).lower()
        wanted = 2 if option == "rename-command" else 1
        check = OPTIONS.get(option)
        if check is None or len(words) < wanted:
            raise SentinelError(f"ERR Unknown option or number of arguments for SENTINEL SET '{option}'")
        values, words = words[:wanted], words[wanted:]
        change = check(core, *values)
        if change is None:
            raise SentinelError(f"ERR Invalid argument '{values[-1]}' for SENTINEL SET '{option}'")
        logs_in_anew = logs_in_anew or option.startswith("auth-")
        shown = "******" if option == "auth-pass" else " ".join(values)
        changes.append((change, f"{option} {shown}"))
    for change, text in changes:
        change(primary.config)
        core.event("warning", "+set", primary, text)
    if logs_in_anew:
        for instance in (primary, *primary.replicas.values()):
            links.close_link(core, instance.link)
    core.save()


Change = Callable[[Config], None] | None


def _number(attribute: str, least: int) -> Callable[..., Change]:
    def check(_core: Core, text: str) -> Change:
        number = parse_int(text.encode("utf-8", "surrogateescape"))
        if number is None or number < least:
            return None
        return lambda config: setattr(config, attribute, number)

    return check


def _text(attribute: str) -> Callable[..., Change]:
    def check(_core: Core, text: str) -> Change:
        return lambda config: setattr(config, attribute, text)

    return check


def _script(attribute: str, what: str) -> Callable[..., Change]:
    def check(core: Core, path: str) -> Change:
        if core.state.deny_scripts_reconfig:
            raise SentinelError(DENIED)
        if path and not core.facts.is_executable(path):
            raise SentinelError(f"ERR {what} seems non existing or non executable")
        return lambda config: setattr(config, attribute, path)

    return check


def _rename(_core: Core, old: str, new: str) -> Change:
    if not old or not new:
        return None

    def change(config: Config) -> None:
        config.renamed.pop(old.lower(), None)
        if new.lower() != old.lower():  # the same word takes a new name back
            config.renamed[old.lower()] = new

    return change


OPTIONS: dict[str, Callable[..., Change]] = {
    "down-after-milliseconds": _number("down_after_ms", 1),
    "failover-timeout": _number("failover_timeout_ms", 1),
    "parallel-syncs": _number("parallel_syncs", 1),
    "notification-script": _script("notification_script", "Notification script"),
    "client-reconfig-script": _script("reconfig_script", "Client reconfiguration script"),
    "auth-pass": _text("auth_pass"),
    "auth-user": _text("auth_user"),
    "quorum": _number("quorum", 1),
    "rename-command": _rename,
    "master-reboot-down-after-period": _number("reboot_down_after_ms", 0),
}


# ---- all of us -------------------------------------------------------------------------------------------------------


def check_global(option: str, value: str) -> None:
    """Whether SENTINEL CONFIG SET can take a value. Raises SentinelError."""
    port = parse_int(value.encode("utf-8", "surrogateescape"))
    if option.endswith("-hostnames"):
        right = value.lower() in ("yes", "no")
    else:
        right = option != "announce-port" or (port is not None and 0 <= port <= PORT_MAX)
    if not right:
        raise SentinelError(f"ERR Invalid value '{value}' to SENTINEL CONFIG SET '{option}'")


def set_global(core: Core, order: SetGlobal) -> None:
    """SENTINEL CONFIG SET of one option."""
    check_global(order.option, order.value)
    set_global_value(core, order.option, order.value)
    if order.option in ("sentinel-user", "sentinel-pass"):  # fellows are to see who we are now
        for primary in core.state.primaries.values():
            for fellow in primary.fellows.values():
                links.close_link(core, fellow.link)
    core.save()


def set_global_value(core: Core, option: str, value: str) -> None:
    """Take a value that has been checked."""
    attribute = option.replace("-", "_")
    old = getattr(core.state, attribute)
    new = value.lower() == "yes" if isinstance(old, bool) else int(value) if isinstance(old, int) else value
    setattr(core.state, attribute, new)


def globals_matching(core: Core, patterns: list[bytes], loglevel: str) -> dict[bytes, bytes]:
    """SENTINEL CONFIG GET."""
    state = core.state
    values = {name: getattr(state, name.replace("-", "_")) for name in GLOBALS} | {"loglevel": loglevel}
    fits = [compile_glob(pattern, nocase=True) for pattern in patterns]
    return {
        name.encode(): _shown(value).encode("utf-8", "surrogateescape")
        for name, value in values.items()
        if any(fit(name.encode()) for fit in fits)
    }


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


# ---- experiments -----------------------------------------------------------------------------------------------------


def period_names() -> list[str]:
    """The options of SENTINEL DEBUG, in order."""
    return [field.name.replace("_", "-") for field in fields(Periods)]


def set_periods(core: Core, order: SetPeriods) -> None:
    """SENTINEL DEBUG name value [name value ...]."""
    changes: dict[str, int] = {}
    words = list(order.words)
    while words:
        option = words.pop(0)
        if option.lower() not in period_names() or not words:
            raise SentinelError(f"ERR Unknown option or number of arguments for SENTINEL DEBUG '{option}'")
        text = words.pop(0)
        number = parse_int(text.encode("utf-8", "surrogateescape"))
        if number is None or number <= 0:
            raise SentinelError(f"ERR Invalid argument '{text}' for SENTINEL DEBUG '{option}'")
        changes[option.lower().replace("-", "_")] = number
    for name, number in changes.items():
        setattr(core.state.periods, name, number)


def simulate_failure(core: Core, order: SimulateFailure) -> None:
    """SENTINEL SIMULATE-FAILURE."""
    core.state.crash_after_election = order.after_election
    core.state.crash_after_promotion = order.after_promotion
