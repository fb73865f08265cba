"""Stand-in until the real configuration lands: every directive with its default, typed; `--name value` pairs."""

from collections.abc import Iterable
from importlib import resources
from typing import Any


class Config(dict[str, Any]):
    """Directive -> typed value."""


def default() -> Config:
    """Every directive as it is without a configuration file."""
    config = Config()
    for line in resources.files("node.config").joinpath("directives.tsv").read_text().splitlines()[1:]:
        name, _, kind, text = line.split("\t")[:4]
        config[name] = typed(name, kind, [text])
    return config


def typed(name: str, kind: str, words: list[str]) -> Any:
    """The value that `words` mean for a directive of that kind."""
    text = " ".join(words)
    if kind == "bool":
        return text == "yes"
    if name == "client-output-buffer-limit":
        flat = text.replace("slave", "replica").split()
        return {flat[at]: (int(flat[at + 1]), int(flat[at + 2]), int(flat[at + 3])) for at in range(0, len(flat), 4)}
    if name == "bind":
        return text.split()
    if name == "save":
        numbers = [int(word) for word in text.split()]
        return list(zip(numbers[::2], numbers[1::2], strict=True))
    if kind.split()[0] in ("int", "uint", "size", "ulong", "long", "longlong", "ulonglong", "off", "time"):
        return int(text or "0", 8 if "octal" in kind else 10)
    return text


def from_words(words: Iterable[str]) -> Config:
    """Defaults, and what a command line says."""
    config = default()
    kinds = {}
    for line in resources.files("node.config").joinpath("directives.tsv").read_text().splitlines()[1:]:
        name, alias, kind = line.split("\t")[:3]
        kinds[name] = (name, kind)
        kinds[alias] = (name, kind)
    name, values = "", list[str]()
    for word in [*words, "--"]:
        if word.startswith("--"):
            if name:
                proper, kind = kinds[name]
                config[proper] = typed(proper, kind, values)
            name, values = word[2:], []
        else:
            values += word.split()
    return config
