"""Every directive of Redis 7.2's redis.conf, as a table.

The facts stand in `directives.tsv`: one line a directive, in the order in which CONFIG GET and CONFIG REWRITE
show them.  Kinds are those of `values.py`; flags: `immutable` (only at the start), `protected` (CONFIG SET needs
`enable-protected-configs`), `not-while-loading`, `hidden` (CONFIG GET shows it by its exact name only),
`sensitive` (never logged), `multi-arg` (takes several words), `volatile` (names a file whose content counts: set to the
same name, it takes effect again).
"""

from typing import Any, NamedTuple


class Directive(NamedTuple):
    """What is known of one directive; `low` and `high` are the inclusive bounds of a number."""

    name: str
    alias: str | None
    kind: str
    default: str
    flags: frozenset[str]
    values: tuple[str, ...]
    low: int
    high: int

    @property
    def attribute(self) -> str:
        """The name under which `Config` holds the typed value."""
        return self.name.replace("-", "_")

    @property
    def is_immutable(self) -> bool:
        return "immutable" in self.flags

    @property
    def is_hidden(self) -> bool:
        return "hidden" in self.flags

    @property
    def is_sensitive(self) -> bool:
        return "sensitive" in self.flags

    @property
    def is_volatile(self) -> bool:
        return "volatile" in self.flags

    @property
    def is_multi_arg(self) -> bool:
        return "multi-arg" in self.flags


def _read(line: str) -> Directive:
    name, alias, kind, default, flags, values, low, high = line.split("\t")
    return Directive(
        name,
        alias or None,
        kind,
        default,
        frozenset(flags.split(",")) if flags else frozenset(),
        tuple(values.split("|")) if values else (),
        int(low or 0),
        int(high or 0),
    )


def _load() -> dict[str, Directive]:
    loader: Any = __spec__.loader  # reads package data from wherever the package was imported
    data: bytes = loader.get_data(__file__.removesuffix("directives.py") + "directives.tsv")
    return {directive.name: directive for directive in map(_read, data.decode().splitlines()[1:])}


DIRECTIVES = _load()
ALIASES = {directive.alias: directive for directive in DIRECTIVES.values() if directive.alias}

# Lines that Redis still takes, with just one value, and forgets.
FORGOTTEN = frozenset(("list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"))


def find_directive(name: str) -> Directive | None:
    """The directive of that name or old name, in any case of letters."""
    lowered = name.lower()
    return DIRECTIVES.get(lowered) or ALIASES.get(lowered)
