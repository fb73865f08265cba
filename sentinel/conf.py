"""The `sentinel …` lines of a configuration file: what they say becomes a State, and a State becomes lines again.

The file is where a Sentinel remembers its id, its votes and who belongs to whom; it is rewritten whenever one of
these changes. Lines may stand in any order: first are read those on this Sentinel, then those that name primaries,
then what is said of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from node.config.errors import ConfigError, ConfigFileError
from node.config.lines import Line
from node.config.words import quote
from node.datatypes.numbers import parse_int
from sentinel import roster
from sentinel.core import Core
from sentinel.hello import EPOCH_MAX
from sentinel.info import PORT_MAX
from sentinel.state import RUN_ID_LENGTH, Address, Primary, State

BAD_LINE = "Unrecognized sentinel configuration statement."
NO_PRIMARY = "No such master with specified name."

Wanted = Iterator[tuple[str, list[tuple[str, bool]]]]


# ---- reading ---------------------------------------------------------------------------------------------------------


def load(core: Core, lines: Iterable[Line]) -> None:
    """Fill the state of `core`, which is new. Raises ConfigFileError with the line that cannot be."""
    ranked = sorted(lines, key=lambda line: _rank(line.words))
    for line in ranked:
        try:
            _take(core, line.words[1:])
        except ConfigError as error:
            raise ConfigFileError(error.reason, line.number, line.text) from None


def _rank(words: list[str]) -> int:
    directive = DIRECTIVES.get(words[1].lower()) if len(words) > 1 else None
    return 2 if directive is None else directive.rank


def _take(core: Core, words: list[str]) -> None:
    directive = DIRECTIVES.get(words[0].lower()) if words else None
    if directive is None or len(words) - 1 not in directive.counts:
        raise ConfigError(BAD_LINE)
    directive.take(core, *words[1:])


def _primary(core: Core, name: str) -> Primary:
    primary = core.state.primaries.get(name)
    if primary is None:
        raise ConfigError(NO_PRIMARY)
    return primary


def _address(core: Core, host: str, port: str) -> Address:
    address = core.address(host, _number(port))
    if address is None:
        raise ConfigError("Can't resolve instance hostname.")
    if not 0 <= address.port <= PORT_MAX:
        raise ConfigError("Invalid port number.")
    return address


def _number(text: str) -> int:
    """A number as C's atoi reads it: 0 for what is none."""
    return parse_int(text.strip().encode("utf-8", "surrogateescape")) or 0


def _yes_or_no(text: str, option: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ConfigError(f"Please specify yes or no for the {option}.")
    return text.lower() == "yes"


def _monitor(core: Core, name: str, host: str, port: str, quorum: str) -> None:
    if _number(quorum) <= 0:
        raise ConfigError("Quorum must be 1 or greater.")
    address = _address(core, host, port)
    if name in core.state.primaries:
        raise ConfigError("Duplicate master name.")
    roster.add_primary(core, name, address, _number(quorum))


def _positive(attribute: str) -> Callable[..., None]:
    def take(core: Core, name: str, text: str) -> None:
        primary = _primary(core, name)
        if _number(text) <= 0:
            raise ConfigError("negative or zero time parameter.")
        setattr(primary.config, attribute, _number(text))

    return take


def _parallel_syncs(core: Core, name: str, text: str) -> None:
    _primary(core, name).config.parallel_syncs = _number(text)


def _reboot_down_after(core: Core, name: str, text: str) -> None:
    primary = _primary(core, name)
    if _number(text) < 0:
        raise ConfigError("negative time parameter.")
    primary.config.reboot_down_after_ms = _number(text)


def _script(attribute: str, what: str) -> Callable[..., None]:
    def take(core: Core, name: str, path: str) -> None:
        primary = _primary(core, name)
        if not core.facts.is_executable(path):
            raise ConfigError(f"{what} seems non existing or non executable.")
        setattr(primary.config, attribute, path)

    return take


def _text(attribute: str) -> Callable[..., None]:
    def take(core: Core, name: str, text: str) -> None:
        setattr(_primary(core, name).config, attribute, text)

    return take


def _current_epoch(core: Core, text: str) -> None:
    core.state.current_epoch = max(core.state.current_epoch, _epoch(text))


def _epoch(text: str) -> int:
    return min(max(_number(text), 0), EPOCH_MAX)


def _my_id(core: Core, text: str) -> None:
    if len(text) != RUN_ID_LENGTH:
        raise ConfigError("Malformed Sentinel id in myid option.")
    core.state.my_id = text


def _config_epoch(core: Core, name: str, text: str) -> None:
    """Later than the current epoch there is none."""
    primary = _primary(core, name)
    primary.config_epoch = _epoch(text)
    _current_epoch(core, text)


def _leader_epoch(core: Core, name: str, text: str) -> None:
    primary = _primary(core, name)
    primary.leader_epoch = _epoch(text)
    _current_epoch(core, text)


def _known_replica(core: Core, name: str, host: str, port: str) -> None:
    primary = _primary(core, name)
    if roster.add_replica(core, primary, _address(core, host, port)) is None:
        raise ConfigError("Duplicate hostname and port for replica.")


def _known_fellow(core: Core, name: str, host: str, port: str, run_id: str = "") -> None:
    primary = _primary(core, name)
    if run_id and roster.add_fellow(core, primary, run_id, _address(core, host, port)) is None:
        raise ConfigError("Duplicate runid for sentinel.")


def _rename(core: Core, name: str, old: str, new: str) -> None:
    renamed = _primary(core, name).config.renamed
    if old.lower() in renamed:
        raise ConfigError("Same command renamed multiple times with rename-command.")
    renamed[old.lower()] = new


def _announce_port(core: Core, text: str) -> None:
    core.state.announce_port = _number(text)


def _global_text(attribute: str) -> Callable[..., None]:
    def take(core: Core, text: str) -> None:
        setattr(core.state, attribute, text)

    return take


def _global_switch(attribute: str) -> Callable[..., None]:
    plural = "s" if attribute == "deny_scripts_reconfig" else ""
    option = f"{attribute.replace('_', '-')} option{plural}"

    def take(core: Core, text: str) -> None:
        setattr(core.state, attribute, _yes_or_no(text, option))

    return take


class Directive(NamedTuple):
    """One kind of line: when it is read, how many words follow its name, and what it does."""

    rank: int
    counts: tuple[int, ...]
    take: Callable[..., None]


DIRECTIVES: dict[str, Directive] = {
    "announce-ip": Directive(0, (1,), _global_text("announce_ip")),
    "announce-port": Directive(0, (1,), _announce_port),
    "deny-scripts-reconfig": Directive(0, (1,), _global_switch("deny_scripts_reconfig")),
    "sentinel-user": Directive(0, (1,), _global_text("sentinel_user")),
    "sentinel-pass": Directive(0, (1,), _global_text("sentinel_pass")),
    "current-epoch": Directive(0, (1,), _current_epoch),
    "myid": Directive(0, (1,), _my_id),
    "resolve-hostnames": Directive(0, (1,), _global_switch("resolve_hostnames")),
    "announce-hostnames": Directive(0, (1,), _global_switch("announce_hostnames")),
    "monitor": Directive(1, (4,), _monitor),
    "down-after-milliseconds": Directive(2, (2,), _positive("down_after_ms")),
    "failover-timeout": Directive(2, (2,), _positive("failover_timeout_ms")),
    "parallel-syncs": Directive(2, (2,), _parallel_syncs),
    "notification-script": Directive(2, (2,), _script("notification_script", "Notification script")),
    "client-reconfig-script": Directive(2, (2,), _script("reconfig_script", "Client reconfiguration script")),
    "auth-pass": Directive(2, (2,), _text("auth_pass")),
    "auth-user": Directive(2, (2,), _text("auth_user")),
    "config-epoch": Directive(2, (2,), _config_epoch),
    "leader-epoch": Directive(2, (2,), _leader_epoch),
    "known-slave": Directive(2, (3,), _known_replica),
    "known-replica": Directive(2, (3,), _known_replica),
    "known-sentinel": Directive(2, (3, 4), _known_fellow),
    "rename-command": Directive(2, (3,), _rename),
    "master-reboot-down-after-period": Directive(2, (2,), _reboot_down_after),
}


# ---- writing ---------------------------------------------------------------------------------------------------------


def wanted_lines(state: State) -> Wanted:
    """The lines of each kind, and whether they must be there, in the order of new ones: for CONFIG REWRITE's sheet."""
    yield _line("myid", state.my_id)
    yield _line("deny-scripts-reconfig", _switch(state.deny_scripts_reconfig), needed=not state.deny_scripts_reconfig)
    yield _line("resolve-hostnames", _switch(state.resolve_hostnames), needed=state.resolve_hostnames)
    yield _line("announce-hostnames", _switch(state.announce_hostnames), needed=state.announce_hostnames)
    for primary in state.primaries.values():
        yield from _lines_of(state, primary)
    yield _line("current-epoch", str(state.current_epoch))
    yield _line("announce-ip", state.announce_ip, needed=bool(state.announce_ip))
    yield _line("announce-port", str(state.announce_port), needed=bool(state.announce_port))
    yield _line("sentinel-user", state.sentinel_user, needed=bool(state.sentinel_user))
    yield _line("sentinel-pass", state.sentinel_pass, needed=bool(state.sentinel_pass))
    for name in DIRECTIVES:
        yield f"sentinel {name}", []


def _line(name: str, *words: str, needed: bool = True) -> tuple[str, list[tuple[str, bool]]]:
    text = " ".join(["sentinel", name, *map(_quoted, words)])
    return f"sentinel {name}", [(text, True)] if needed else []


def _quoted(word: str) -> str:
    is_plain = word.isprintable() and word.isascii() and not set(word) & set(" \"'\\#")
    return word if word and is_plain else quote(word)


def _switch(value: bool) -> str:
    return "yes" if value else "no"


def _lines_of(state: State, primary: Primary) -> Wanted:
    """What is said of one primary. A promoted replica already stands as the primary, and the old one in its place."""
    config, name, periods = primary.config, primary.name, state.periods
    current = primary.current_address
    yield _line("monitor", name, current.host, str(current.port), str(config.quorum))
    for option, value, default in (
        ("down-after-milliseconds", config.down_after_ms, periods.default_down_after),
        ("failover-timeout", config.failover_timeout_ms, periods.default_failover_timeout),
        ("parallel-syncs", config.parallel_syncs, 1),
        ("notification-script", config.notification_script, ""),
        ("client-reconfig-script", config.reconfig_script, ""),
        ("auth-pass", config.auth_pass, ""),
        ("auth-user", config.auth_user, ""),
        ("master-reboot-down-after-period", config.reboot_down_after_ms, 0),
    ):
        if value != default:
            yield _line(option, name, str(value))
    yield _line("config-epoch", name, str(primary.config_epoch))
    yield _line("leader-epoch", name, str(primary.leader_epoch))
    for replica in primary.replicas.values():
        address = primary.address if replica.address == current else replica.address
        yield _line("known-replica", name, address.host, str(address.port))
    for fellow in primary.fellows.values():
        if fellow.run_id:
            yield _line("known-sentinel", name, fellow.address.host, str(fellow.address.port), fellow.run_id)
    for old, new in config.renamed.items():
        yield _line("rename-command", name, old, new)
