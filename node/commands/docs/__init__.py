"""What commands are for and which arguments they take: the data of COMMAND DOCS.

A JSON file a group lies beside this module (its name is the group), and is read only when somebody asks, so a node
that nobody asks pays nothing. The files are the source: what is shown of a command is changed there. In them

- a command stands under its full name (``client|kill``), names in the order of their bytes;
- fields have the names of the reply, and one that says nothing is left out;
- ``display_text`` is left out where it equals the argument's name, which is the usual case;
- ``tips`` are those of COMMAND INFO (COMMAND DOCS has none).

The shape of the reply is that of Redis 7.2: map of name -> map of ``summary since group complexity doc_flags
deprecated_since replaced_by history arguments subcommands``; an argument is a map of ``name type display_text
key_spec_index token summary since deprecated_since flags arguments``. Arguments that only hold others (``oneof`` and
``block``) have no ``display_text``. Names and texts are bulk strings, flags are simple strings; flags and history are
sets in RESP3, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

ARGUMENT_TYPES = frozenset(
    ("string", "integer", "double", "key", "pattern", "unix-time", "pure-token", "oneof", "block")
)
ARGUMENT_FLAGS = frozenset(("optional", "multiple", "multiple_token"))
HOLDER_TYPES = frozenset(("oneof", "block"))
"""Types of arguments that only hold others."""

Reply: TypeAlias = "bytes | str | int | list[Reply] | tuple[Reply, ...] | dict[bytes, Reply]"
"""bytes: bulk string; str: simple string; list: array; tuple: set in a fixed order; dict: map."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command, or several (``oneof``: one of those inside; ``block``: all of them in turn)."""

    name: str
    type: str
    display_text: str | None = None
    key_spec_index: int | None = None
    """Which of the command's key specs finds it; only for keys."""
    token: str | None = None
    """The word that stands before it, or that it is (``pure-token``)."""
    summary: str | None = None
    since: str | None = None
    deprecated_since: str | None = None
    flags: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Doc:
    """What is known of a command besides what its table entry declares; versions are Redis's."""

    group: str
    summary: str
    since: str
    complexity: str | None = None
    """None for the few that Redis gives none."""
    doc_flags: tuple[str, ...] = ()
    """``deprecated``, ``syscmd``: not for users."""
    deprecated_since: str | None = None
    replaced_by: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    """(version, what changed in it), oldest first."""
    tips: tuple[str, ...] = ()
    """How proxies and cluster clients may treat it: COMMAND INFO's tips."""
    arguments: tuple[Argument, ...] = ()


def load() -> dict[str, Doc]:
    """Read all documentation: full name in lower case -> its Doc.

    It takes some milliseconds and nothing is kept here: who asks often keeps the result.
    Raises ValueError naming the command if a file holds something that is not a documentation.
    """
    import json  # here and not above: only who asks pays for these imports
    from importlib.resources import files

    docs: dict[str, Doc] = {}
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        group, _, ending = file.name.partition(".")
        if ending == "json":
            for name, found in json.loads(file.read_text(encoding="utf-8")).items():
                docs[name] = _doc(name, group, found)
    return docs


def docs_reply(
    names_available: Iterable[str],
    names_asked: Iterable[str] | None = None,
    docs: Mapping[str, Doc] | None = None,
) -> dict[bytes, Reply]:
    """The reply of COMMAND DOCS.

    `names_available` are the full names, in lower case, of the commands and subcommands that the node has: no other is
    shown. `names_asked` are the words of the client, in any case, full names too; one that is unknown is left out, as
    Redis does. None asks for every command. `docs` is what `load()` gave, where the caller has kept it.
    """
    available = set(names_available)
    docs = {name: doc for name, doc in (load() if docs is None else docs).items() if name in available}
    if names_asked is None:
        shown = [name for name in docs if "|" not in name]
    else:
        shown = [name for name in map(str.lower, names_asked) if name in docs]
    subcommands: dict[str, list[str]] = {}
    for name in docs:
        container, bar, _ = name.partition("|")
        if bar:
            subcommands.setdefault(container, []).append(name)
    return {name.encode(): _doc_map(name, docs, subcommands) for name in shown}


def _doc(name: str, group: str, found: dict[str, Any]) -> Doc:
    try:
        found["arguments"] = [_argument(argument) for argument in found.get("arguments", ())]
        found["history"] = [(version, change) for version, change in found.get("history", ())]
        return Doc(group=group, **_frozen(found))
    except (TypeError, ValueError) as error:
        raise ValueError(f"documentation of {name!r}: {error}") from error


def _argument(found: dict[str, Any]) -> Argument:
    found["arguments"] = [_argument(argument) for argument in found.get("arguments", ())]
    argument = Argument(**_frozen(found))
    if argument.type not in ARGUMENT_TYPES or not ARGUMENT_FLAGS.issuperset(argument.flags):
        raise ValueError(f"bad type or flags of argument {argument.name!r}")
    return argument


def _frozen(found: dict[str, Any]) -> dict[str, Any]:
    return {field: tuple(value) if type(value) is list else value for field, value in found.items()}


def _doc_map(name: str, docs: Mapping[str, Doc], subcommands: Mapping[str, list[str]]) -> dict[bytes, Reply]:
    doc = docs[name]
    shown: dict[bytes, Reply] = {b"summary": doc.summary.encode(), b"since": doc.since.encode()}
    shown[b"group"] = doc.group.encode()
    _add_texts(shown, complexity=doc.complexity)
    if doc.doc_flags:
        shown[b"doc_flags"] = doc.doc_flags
    _add_texts(shown, deprecated_since=doc.deprecated_since, replaced_by=doc.replaced_by)
    if doc.history:
        shown[b"history"] = tuple([version.encode(), change.encode()] for version, change in doc.history)
    if doc.arguments:
        shown[b"arguments"] = [_argument_map(argument) for argument in doc.arguments]
    if name in subcommands:
        shown[b"subcommands"] = {inner.encode(): _doc_map(inner, docs, subcommands) for inner in subcommands[name]}
    return shown


def _argument_map(argument: Argument) -> dict[bytes, Reply]:
    shown: dict[bytes, Reply] = {b"name": argument.name.encode(), b"type": argument.type.encode()}
    if argument.type not in HOLDER_TYPES:
        _add_texts(shown, display_text=argument.display_text or argument.name)
    if argument.key_spec_index is not None:
        shown[b"key_spec_index"] = argument.key_spec_index
    _add_texts(shown, token=argument.token, summary=argument.summary, since=argument.since)
    _add_texts(shown, deprecated_since=argument.deprecated_since)
    if argument.flags:
        shown[b"flags"] = argument.flags
    if argument.arguments:
        shown[b"arguments"] = [_argument_map(inner) for inner in argument.arguments]
    return shown


def _add_texts(shown: dict[bytes, Reply], **texts: str | None) -> None:
    """Add the fields that say something, in the order given."""
    for field, text in texts.items():
        if text is not None:
            shown[field.encode()] = text.encode()
