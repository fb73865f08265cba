"""Values: from words to Python and back, one pair of functions a kind.

`parse(directive, words, current)` gives the typed value or raises ConfigError with exactly the text of Redis.
`show` gives what CONFIG GET prints, `write` the lines that CONFIG REWRITE puts into the file.  `current` is the
value so far: some directives (the output limits) change only the part that is named.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from node.config.directives import Directive
from node.config.errors import ConfigError
from node.config.networks import parse_networks, show_networks
from node.config.words import quote

Value = Any  # by kind: bool, int, str, or one of the tuples below; `settings.py` says which

BIND_ADDRESSES_MAX = 16
SEEDS_MAX = 64
HOSTNAME_BYTES_MAX = 255
EVENT_CLASSES = "g$lshzxetdn"  # in the order in which they are printed; all but `n` together are `A`
EVENTS_IN_ALL = frozenset("g$lshzxetd")
EVENTS_BESIDE_ALL = "KEm"

_SPACE = " \t\n\v\f\r"
_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000**2, "mb": 1 << 20, "g": 1000**3, "gb": 1 << 30}
_TITLE_VARIABLES = frozenset(("title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"))
_LETTERS = "bkmgBKMG"
_DIGITS_MAX = 126  # longer ones Redis refuses to read, and int() would take its time
_INT64_MAX, _INT64_MIN, _UINT64_MAX = (1 << 63) - 1, -(1 << 63), (1 << 64) - 1


class OutputLimit(NamedTuple):
    """A client is closed above `hard_bytes`, or after `soft_s` seconds above `soft_bytes`; 0 is no limit."""

    hard_bytes: int
    soft_bytes: int
    soft_s: int


OutputLimits = Mapping[str, OutputLimit]
"""The output limits by class of client: `normal`, `replica` and `pubsub`, in this order; never changed in place."""

CLIENT_CLASSES = ("normal", "replica", "pubsub")


# --- Numbers ---


def _integer(word: str) -> int:
    """A number exactly as it would be printed."""
    number = _c_integer(word)
    if number is None or str(number) != word or not _INT64_MIN <= number <= _INT64_MAX:
        raise ConfigError("argument couldn't be parsed into an integer")
    return number


def _c_integer(word: str) -> int | None:
    """A number as strtol reads it: white space and a sign before it, nothing at all being zero; None if it is none."""
    if not word:
        return 0
    number = word.lstrip(_SPACE)
    digits = number[1:] if number[:1] in ("+", "-") else number
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        return None
    return min(max(int(number), _INT64_MIN), _INT64_MAX + 1)  # one too many stays out of range


def _in_range(directive: Directive, number: int) -> int:
    if directive.low <= number <= directive.high:
        return number
    form = "o" if directive.kind == "octal" else "d"
    raise ConfigError(f"argument must be between {directive.low:{form}} and {directive.high:{form}} inclusive")


def memory(word: str) -> int | None:
    """The bytes that `100mb` and the like name, modulo 2^64 as in C; None if it is no such thing."""
    digits = word.rstrip(_LETTERS)
    unit = _UNITS.get(word[len(digits) :].lower())
    if unit is None or len(digits) > _DIGITS_MAX or (digits and not (digits.isascii() and digits.isdigit())):
        return None
    return min(int(digits or 0), _UINT64_MAX) * unit & _UINT64_MAX


def _parse_int(directive: Directive, words: list[str], current: Value) -> Value:
    return _in_range(directive, _integer(words[0]))


def _parse_octal(directive: Directive, words: list[str], current: Value) -> Value:
    word = words[0].lstrip(_SPACE)
    digits = word[1:] if word[:1] in ("+", "-") else word
    if not digits or len(digits) > _DIGITS_MAX or digits.strip("01234567"):
        raise ConfigError("argument couldn't be parsed as an octal number")
    return _in_range(directive, int(word, 8))


def _parse_memory(directive: Directive, words: list[str], current: Value) -> Value:
    number = memory(words[0])
    if number is None:
        raise ConfigError("argument must be a memory value")
    return _in_range(directive, _signed(number) if directive.high <= _INT64_MAX else number)


def _parse_percent(directive: Directive, words: list[str], current: Value) -> Value:
    """A memory value, or a share of `maxmemory` in percent, kept as a negative number."""
    word = words[0]
    if word.endswith("%") and (share := _c_integer(word[:-1])) is not None and share >= 0 and str(share) == word[:-1]:
        if share > 100:
            raise ConfigError("percentage argument must be less or equal to 100")
        return -share
    number = memory(word)
    if number is None:
        raise ConfigError("argument must be a memory or percent value")
    if _signed(number) < 0:
        raise ConfigError("percentage argument must be less or equal to 100")
    return number


def _signed(number: int) -> int:
    return number - (1 << 64) if number > _INT64_MAX else number


def _show_percent(value: Value) -> str:
    return f"{-value}%" if value < 0 else str(value)


def memory_text(number: int) -> str:
    """Bytes in the largest unit that divides them, as CONFIG REWRITE writes them."""
    for unit in ("gb", "mb", "kb"):
        if number and number % _UNITS[unit] == 0:
            return f"{number // _UNITS[unit]}{unit}"
    return str(number)


# --- Words ---


def _parse_bool(directive: Directive, words: list[str], current: Value) -> Value:
    word = words[0].lower()
    if word not in ("yes", "no"):
        raise ConfigError("argument must be 'yes' or 'no'")
    if directive.name == "activedefrag" and word == "yes":
        raise ConfigError(
            "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc"
            " like the one shipped by default with the Redis source distribution"
        )
    return word == "yes"


def _show_bool(value: Value) -> str:
    return "yes" if value else "no"


def _parse_enum(directive: Directive, words: list[str], current: Value) -> Value:
    word = words[0].lower()
    if word not in directive.values:
        raise _not_one_of(directive)
    return word


def _not_one_of(directive: Directive) -> ConfigError:
    return ConfigError(f"argument(s) must be one of the following: {', '.join(directive.values)}")


def _parse_flags(directive: Directive, words: list[str], current: Value) -> Value:
    """A set of words as a tuple in the table's order; the first of the table means the empty set."""
    given = {word.lower() for word in words}
    if not given or not given <= set(directive.values):
        raise _not_one_of(directive)
    if {"save", "nosave"} <= given:
        raise ConfigError("shutdown options SAVE and NOSAVE can't be used simultaneously")
    return tuple(value for value in directive.values[1:] if value in given)


def _show_flags(value: Value) -> str:
    return " ".join(value) or "default"


def _parse_string(directive: Directive, words: list[str], current: Value) -> Value:
    check = _STRING_CHECKS.get(directive.name)
    if check is not None:
        check(directive.name, words[0])
    return words[0]


def _check_file_name(name: str, word: str) -> None:
    thing = "dirname" if name == "appenddirname" else "filename"
    if not word and name != "dbfilename":
        raise ConfigError(f"{name} can't be empty")
    if "/" in word:
        raise ConfigError(f"{name} can't be a path, just a {thing}")


def _check_hostname(name: str, word: str) -> None:
    if len(word.encode(errors="surrogateescape")) > HOSTNAME_BYTES_MAX:
        raise ConfigError("Hostnames must be less than 256 characters")
    if not re.fullmatch(r"[0-9A-Za-z.-]*", word):
        raise ConfigError("Hostnames may only contain alphanumeric characters, hyphens or dots")


def _check_node_name(name: str, word: str) -> None:
    is_long = len(word.encode(errors="surrogateescape")) > HOSTNAME_BYTES_MAX
    if is_long or re.search(r"[^!-~]|[!#$%&()*+:;<>?@\[\]^{|}~]", word):
        raise ConfigError("Announced human node name contained invalid character")


def _check_title(name: str, word: str) -> None:
    rest = re.sub(r"\{([a-z-]+)\}", lambda match: "" if match[1] in _TITLE_VARIABLES else "{", word)
    if not word or "{" in rest:
        raise ConfigError("template format is invalid or contains unknown variables")


_STRING_CHECKS: dict[str, Callable[[str, str], None]] = {
    "appendfilename": _check_file_name,
    "appenddirname": _check_file_name,
    "dbfilename": _check_file_name,
    "cluster-announce-hostname": _check_hostname,
    "cluster-announce-human-nodename": _check_node_name,
    "proc-title-template": _check_title,
}


# --- Directives with a form of their own ---


def _parse_save(directive: Directive, words: list[str], current: Value) -> Value:
    """Pairs (seconds, changes); none at all means never."""
    numbers = [_c_integer(word) for word in words]
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    good = [(seconds, changes) for seconds, changes in points if seconds and seconds > 0 and changes is not None]
    if len(words) % 2 or len(good) < len(points) or any(changes < 0 for _, changes in good):
        raise ConfigError("Invalid save parameters")
    return tuple(good)


def _show_save(value: Value) -> str:
    return " ".join(f"{seconds} {changes}" for seconds, changes in value)


def _parse_limits(directive: Directive, words: list[str], current: Value) -> Value:
    if len(words) % 4:
        raise ConfigError("Wrong number of arguments in buffer limit configuration.")
    limits: dict[str, OutputLimit] = dict(current)
    for at in range(0, len(words), 4):
        name = words[at].lower()
        name = "replica" if name == "slave" else name
        if name not in CLIENT_CLASSES:
            raise ConfigError("Invalid client class specified in buffer limit configuration.")
        hard, soft, seconds = memory(words[at + 1]), memory(words[at + 2]), _c_integer(words[at + 3])
        if hard is None or soft is None or seconds is None or seconds < 0:
            raise ConfigError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
        limits[name] = OutputLimit(hard, soft, seconds)
    return limits


def _show_limits(value: Value) -> str:
    rows = zip(("normal", "slave", "pubsub"), value.values(), strict=True)
    return " ".join(f"{name} {limit.hard_bytes} {limit.soft_bytes} {limit.soft_s}" for name, limit in rows)


def _parse_bind(directive: Directive, words: list[str], current: Value) -> Value:
    """Addresses to listen on; a leading `-` allows one to be missing."""
    if len(words) > BIND_ADDRESSES_MAX:
        raise ConfigError("Too many bind addresses specified.")
    return tuple(words)


def _parse_addresses(directive: Directive, words: list[str], current: Value) -> Value:
    """Nodes as host:port or host:port@busport; an IPv6 address stands in brackets."""
    words = [word for word in words if word]  # the empty text is no address
    for word in words:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]{1,255}):(\d{1,5})(?:@(\d{1,5}))?", word)
        if found is None or not all(0 < int(port) < 65536 for port in found.groups()[1:] if port is not None):
            raise ConfigError(f"'{word}' is no node's address: host:port or host:port@busport is expected")
    if len(words) > SEEDS_MAX:
        raise ConfigError(f"at most {SEEDS_MAX} addresses are taken")
    return tuple(words)


def _parse_networks(directive: Directive, words: list[str], current: Value) -> Value:
    return parse_networks(words)


def _parse_dir(directive: Directive, words: list[str], current: Value) -> Value:
    if len(words) != 1:
        raise ConfigError("wrong number of arguments")
    return words[0]


def _parse_events(directive: Directive, words: list[str], current: Value) -> Value:
    """The classes of keyspace events in the order in which they are printed, `A` always for the classes in it.

    `n` beside `A` is kept here and in the file that is rewritten, but not printed: Redis forgets it there.
    """
    given = set("".join(words))
    if not given <= {*EVENT_CLASSES, *EVENTS_BESIDE_ALL, "A"}:
        raise ConfigError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
    if "A" in given or given >= EVENTS_IN_ALL:
        classes = "An" if "n" in given else "A"
    else:
        classes = "".join(event for event in EVENT_CLASSES if event in given)
    return classes + "".join(event for event in EVENTS_BESIDE_ALL if event in given)


def _show_events(value: Value) -> str:
    return str(value).replace("An", "A")


def _parse_oom_scores(directive: Directive, words: list[str], current: Value) -> Value:
    if len(words) != 3:
        raise ConfigError("wrong number of arguments")
    scores = [score for word in words if (score := _c_integer(word)) is not None and -2000 <= score <= 2000]
    if len(scores) < 3:
        raise ConfigError("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
    return tuple(scores)


def _parse_percentiles(directive: Directive, words: list[str], current: Value) -> Value:
    shares = []
    for word in words:
        share = _float(word)
        if share is None:
            raise ConfigError("Invalid latency-tracking-info-percentiles parameters")
        if not 0 <= share <= 100:
            raise ConfigError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        shares.append(share)
    return tuple(shares)


def _float(word: str) -> float | None:
    """A number as strtold reads it, hexadecimal and infinite ones too; None if it is none."""
    if "_" in word or word != word.strip():
        return None
    try:
        share = float.fromhex(word) if "x" in word.lower() else float(word)
    except (ValueError, OverflowError):
        return None
    return None if share != share else share


def _show_percentiles(value: Value) -> str:
    return " ".join(f"{share:.10g}" for share in value)


def _parse_replicaof(directive: Directive, words: list[str], current: Value) -> Value:
    """(host, port) of the primary, or None."""
    if len(words) != 2:
        raise ConfigError("wrong number of arguments")
    host, port = words
    if host.lower() == "no" and port.lower() == "one":
        return None
    number = _c_integer(port)
    if number is None or not 0 <= number <= 65535:
        raise ConfigError("Invalid master port")
    return (host, number) if host else None


def _show_replicaof(value: Value) -> str:
    return f"{value[0]} {value[1]}" if value else ""


def _show_words(value: Value) -> str:
    return " ".join(map(str, value))


_PARSE: dict[str, Callable[[Directive, list[str], Value], Value]] = {
    "bool": _parse_bool,
    "int": _parse_int,
    "memory": _parse_memory,
    "percent": _parse_percent,
    "octal": _parse_octal,
    "enum": _parse_enum,
    "flags": _parse_flags,
    "string": _parse_string,
    "save": _parse_save,
    "client-output-buffer-limit": _parse_limits,
    "bind": _parse_bind,
    "addresses": _parse_addresses,
    "networks": _parse_networks,
    "dir": _parse_dir,
    "notify-keyspace-events": _parse_events,
    "oom-score-adj-values": _parse_oom_scores,
    "latency-tracking-info-percentiles": _parse_percentiles,
    "replicaof": _parse_replicaof,
}

_SHOW: dict[str, Callable[[Value], str]] = {
    "bool": _show_bool,
    "percent": _show_percent,
    "octal": "{:o}".format,
    "flags": _show_flags,
    "save": _show_save,
    "client-output-buffer-limit": _show_limits,
    "bind": _show_words,
    "addresses": _show_words,
    "networks": show_networks,
    "notify-keyspace-events": _show_events,
    "oom-score-adj-values": _show_words,
    "latency-tracking-info-percentiles": _show_percentiles,
    "replicaof": _show_replicaof,
}


def parse(directive: Directive, words: list[str], current: Value = None) -> Value:
    """The typed value that `words` give to the directive.  Raises ConfigError."""
    if not directive.is_multi_arg and directive.kind != "dir" and len(words) != 1:
        raise ConfigError("wrong number of arguments")
    return _PARSE[directive.kind](directive, words, current)


def parse_text(directive: Directive, text: str, current: Value = None) -> Value:
    """The same for a value given as one text, as CONFIG SET does: several words are divided by single spaces."""
    if directive.is_multi_arg:
        return parse(directive, text.split(" ") if text else [], current)
    return parse(directive, [text], current)


def show(directive: Directive, value: Value) -> str:
    """The value as CONFIG GET prints it."""
    return _SHOW.get(directive.kind, str)(value)


def write(directive: Directive, value: Value, default: Value) -> list[tuple[str, bool]]:
    """The lines that CONFIG REWRITE wants for the directive, each with whether it must be there.

    A line that need not be there only replaces an old one; a directive without lines loses its old ones.
    """
    name, kind = directive.name, directive.kind
    if kind in ("string", "dir"):
        return (
            [(f"{name} {quote(value)}", value != default or kind == "dir")]
            if value or default or name == "logfile"
            else []
        )
    if kind == "memory":
        return [(f"{name} {memory_text(value)}", value != default)]
    if kind == "percent" and value >= 0:
        return [(f"{name} {memory_text(value)}", value != default)]
    if kind == "notify-keyspace-events":
        return [(f"{name} {quote(value)}", value != default)]
    if kind == "save":
        return [(f"save {seconds} {changes}", True) for seconds, changes in value] or [('save ""', True)]
    if kind == "networks":
        return [(f"{name} {' '.join(line)}", True) for line in value]
    if kind == "client-output-buffer-limit":
        return _write_limits(value, default)
    if (kind == "bind" and value == default) or (kind == "replicaof" and value is None):
        return []
    if kind == "bind" and any(not word or " " in word for word in value):  # no addresses, but to be read again
        return [(f"{name} {' '.join(map(quote, value))}", True)]
    text = show(directive, value) or '""'
    always = kind in ("latency-tracking-info-percentiles", "bind", "replicaof")
    return [(f"{name} {text}", always or value != default)]


def _write_limits(value: OutputLimits, default: OutputLimits) -> list[tuple[str, bool]]:
    lines = []
    for name, limit in value.items():
        sizes = f"{memory_text(limit.hard_bytes)} {memory_text(limit.soft_bytes)} {limit.soft_s}"
        lines.append((f"client-output-buffer-limit {name} {sizes}", limit != default[name]))
    return lines
