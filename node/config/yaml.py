"""The same directives as a YAML mapping.

A scalar is the value as redis.conf has it (several words of a directive that takes several are divided by spaces);
`true` and `false` mean yes and no, an empty value the empty string.  A list gives one line an item for what may
be repeated (`save`, `client-output-buffer-limit`, `include`…), and the words of one line for what takes several
(`bind`, `replicaof`…).  An item may itself be a list of words.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from node.config.directives import find_directive
from node.config.errors import ConfigFileError
from node.config.lines import Line
from node.config.words import UnbalancedQuotes, split_words

if TYPE_CHECKING:
    from yaml import Node

REPEATED = frozenset((
    "save", "client-output-buffer-limit", "cluster-announce-network", "include", "user", "rename-command", "loadmodule",
))  # fmt: skip

_YES_NO = {"true": "yes", "on": "yes", "yes": "yes", "false": "no", "off": "no", "no": "no"}


def is_yaml(path: str) -> bool:
    """Whether a configuration file of that name holds YAML."""
    return path.endswith((".yaml", ".yml"))


def read_yaml(text: str, also_repeated: Collection[str] = ()) -> Iterator[Line]:
    """The directives as lines, numbered as in the YAML text.  Raises ConfigFileError.

    `also_repeated` names what may be repeated beside a node's directives.
    """
    import yaml

    rows = text.split("\n")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        number = mark.line + 1 if mark else 1
        raise ConfigFileError(f"YAML: {error.problem or error.context}", number, _row(rows, number)) from None
    except yaml.YAMLError as error:
        raise ConfigFileError(f"YAML: {error}") from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise _fault(rows, root, "YAML: a mapping of directives to values is expected")
    seen = set()
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _fault(rows, key, "YAML: the name of a directive is expected")
        if key.value.lower() in seen:
            raise _fault(rows, key, f"YAML: '{key.value}' appears twice: give a list instead")
        seen.add(key.value.lower())
        yield from _directive(rows, key.value, value, REPEATED.union(also_repeated))


def _directive(rows: list[str], name: str, value: "Node", repeated: Collection[str]) -> Iterator[Line]:
    if isinstance(value.value, list) and value.tag.endswith(":seq") and name.lower() in repeated:
        if not value.value and name.lower() == "save":
            yield _line(rows, value, [name, ""])
        for item in value.value:
            yield _line(rows, item, [name, *_words(rows, name, item)])
    else:
        yield _line(rows, value, [name, *_words(rows, name, value)])


def _words(rows: list[str], name: str, value: "Node") -> list[str]:
    """The words of one line."""
    if value.tag.endswith(":seq"):
        return [_scalar(rows, name, item) for item in value.value]
    word = _scalar(rows, name, value)
    directive = find_directive(name)
    takes_one = name.lower() == "include" if directive is None else not directive.is_multi_arg
    if takes_one or not word:
        return [word]
    try:
        return split_words(word)
    except UnbalancedQuotes:
        raise _fault(rows, value, "Unbalanced quotes in configuration line") from None


def _scalar(rows: list[str], name: str, node: "Node") -> str:
    if not isinstance(node.value, str):
        raise _fault(rows, node, f"YAML: the value of '{name}' must be a scalar or a list of scalars")
    if node.tag.endswith(":null"):
        return ""
    if node.tag.endswith(":bool"):
        return _YES_NO.get(node.value.lower(), node.value)
    return node.value


def _line(rows: list[str], node: "Node", words: list[str]) -> Line:
    number = node.start_mark.line + 1
    return Line(number, _row(rows, number), words)


def _fault(rows: list[str], node: "Node", reason: str) -> ConfigFileError:
    number = node.start_mark.line + 1
    return ConfigFileError(reason, number, _row(rows, number))


def _row(rows: list[str], number: int) -> str:
    return rows[number - 1].strip() if number <= len(rows) else ""
