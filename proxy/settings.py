"""The proxy's own settings, beside the directives that it shares with a node (`bind`, `requirepass`, `maxclients`…).

They come from a file (as redis.conf or YAML) and from options, the last word winning:

    cluster HOST:PORT,…     seeds of a cluster                     ┐
    sentinel HOST:PORT,…    Sentinels, with `master-name NAME`     ├ exactly one of them
    nodes HOST:PORT,…       a server, or a primary with replicas   ┘
    listen [HOST:]PORT      where clients come (6380)
    backend-user, backend-password    what the proxy tells the nodes who it is
    backend-login NAME USER PASSWORD  clients who are NAME here are USER at the nodes (may be repeated)
    read-policy             primary, prefer-replica or nearest
    cross-slot              relaxed or strict: transactions over slots
    unknown-outcome         error or close: what a client gets whose command was lost with its node
    retry-timeout           milliseconds that a command waits for a node that can serve it (15000)
    node-timeout            milliseconds without an answer after which a node's connection is given up (15000)
    refresh-period          milliseconds between looks at the topology (5000)
    drain-timeout           milliseconds that clients have to end after SIGTERM (10000)

Of a node's directives, `tls-replication yes` means here that nodes and Sentinels are dialled by TLS.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from node.config.errors import ConfigFileError
from node.config.lines import Line, read_lines, read_text
from node.config.words import quote
from node.config.yaml import is_yaml, read_yaml
from proxy.topology import Address, parse_address

PRIMARY, PREFER_REPLICA, NEAREST = "primary", "prefer-replica", "nearest"
RELAXED, STRICT = "relaxed", "strict"
ERROR, CLOSE = "error", "close"
DEFAULT_PORT = 6380
MILLISECONDS_MAX = 24 * 3600 * 1000


@dataclass
class ProxySettings:
    """How one proxy works. `seeds` are addresses of what `source` names."""

    source: str = ""  # "cluster", "sentinel" or "nodes"
    seeds: list[Address] = field(default_factory=list)
    master_name: str = ""
    backend_user: str = ""
    backend_password: str = ""
    read_policy: str = PRIMARY
    cross_slot: str = RELAXED
    unknown_outcome: str = ERROR
    retry_timeout_ms: int = 15_000
    node_timeout_ms: int = 15_000
    refresh_period_ms: int = 5_000
    drain_timeout_ms: int = 10_000
    logins: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """Users of the proxy that are users of their own at the nodes: name to name there and password."""

    @property
    def is_cluster(self) -> bool:
        return self.source == "cluster"


_CHOICES = {
    "read-policy": (PRIMARY, PREFER_REPLICA, NEAREST),
    "cross-slot": (RELAXED, STRICT),
    "unknown-outcome": (ERROR, CLOSE),
}
_TIMES = frozenset({"retry-timeout", "node-timeout", "refresh-period", "drain-timeout"})
_TEXTS = frozenset({"master-name", "backend-user", "backend-password"})
LOGIN = "backend-login"
_SOURCES = frozenset({"cluster", "sentinel", "nodes"})


def read(path: str | None, options: str | None, read_file: Callable[[str], str]) -> tuple[ProxySettings, str]:
    """The proxy's settings, and the lines that are left: directives of a node. Raises ConfigFileError."""
    settings, rest = ProxySettings(), [f"port {DEFAULT_PORT}", 'save ""']
    lines: list[Line] = []
    if path is not None:
        text = read_text(path, read_file)
        lines += read_yaml(text, also_repeated=(LOGIN,)) if is_yaml(path) else read_lines(text)
    lines += read_lines(options or "")
    for line in lines:
        rest += _take(settings, line)
    _check(settings)
    rest.append(f"databases {1 if settings.is_cluster else 16}")
    return settings, "\n".join(rest)


def _take(settings: ProxySettings, line: Line) -> Iterable[str]:
    """Take one line; returns what it says to a node's configuration."""
    name, words = line.words[0].lower(), line.words[1:]
    try:
        if name == "listen":
            return _listen(_one(name, words))
        if name in _SOURCES:
            if settings.source not in ("", name):
                raise ValueError(f"'{settings.source}' and '{name}' exclude each other")
            settings.source = name
            settings.seeds = [parse_address(text) for word in words for text in word.split(",") if text]
        elif name == LOGIN:
            _login(settings, words)
        elif name in _CHOICES:
            word = _one(name, words).lower()
            if word not in _CHOICES[name]:
                raise ValueError(f"'{name}' is one of {', '.join(_CHOICES[name])}")
            setattr(settings, name.replace("-", "_"), word)
        elif name in _TIMES:
            setattr(settings, name.replace("-", "_") + "_ms", _milliseconds(name, words))
        elif name in _TEXTS:
            setattr(settings, name.replace("-", "_"), _one(name, words))
        else:
            return [" ".join(quote(word) for word in line.words)]
    except ValueError as error:
        raise ConfigFileError(str(error), line.number, line.text) from None
    return []


def _one(name: str, words: list[str]) -> str:
    if len(words) != 1:
        raise ValueError(f"'{name}' takes one value")
    return words[0]


def _milliseconds(name: str, words: list[str]) -> int:
    word = _one(name, words)
    if not word.isdigit() or not 0 < int(word) <= MILLISECONDS_MAX:
        raise ValueError(f"'{name}' is a number of milliseconds from 1 to {MILLISECONDS_MAX}")
    return int(word)


def _login(settings: ProxySettings, words: list[str]) -> None:
    if len(words) != 3:
        raise ValueError(f"'{LOGIN}' takes a user of the proxy, one of the nodes, and the password of that one")
    name, user, password = (word.encode("utf-8", "surrogateescape") for word in words)
    if name in settings.logins:
        raise ValueError(f"'{words[0]}' has a '{LOGIN}' already")
    settings.logins[name] = user, password


def _listen(word: str) -> list[str]:
    if word.isdigit():
        return [f"port {word}"]
    host, port = parse_address(word)
    return [f"port {port}", f"bind {host}"]


def _check(settings: ProxySettings) -> None:
    if not settings.seeds:
        raise ConfigFileError("Say what is behind the proxy: --cluster, --sentinel or --nodes HOST:PORT,...")
    if settings.source == "sentinel" and not settings.master_name:
        raise ConfigFileError("--sentinel needs --master-name: which of the primaries that the Sentinels watch?")
