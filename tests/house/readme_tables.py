"""The README's tables that say what the code says: made from it, between marks, and compared by a test.

`python -m tests.house.readme_tables` writes them anew into the README.
"""

from __future__ import annotations

import re

from node.app import every_spec
from node.commands.docs import load
from node.config.coming import BEYOND_PYTHON, MODULES_REFUSED, WITHOUT_MEANING
from node.config.directives import DIRECTIVES, FORGOTTEN
from tests.house.readme import README

TABLE = re.compile(r"<!-- table: ([a-z-]+) -->\n.*?<!-- end -->\n", re.DOTALL)


def commands() -> str:
    """Every command that there is, by group; of a container the number of its subcommands."""
    docs, names = load(), sorted(spec.name for spec in every_spec())
    groups: dict[str, list[str]] = {}
    for name in names:
        if "|" not in name:
            inside = sum(other.startswith(f"{name}|") for other in names)
            groups.setdefault(docs[name].group, []).append(name.upper() + (f" ({inside})" if inside else ""))
    rows = [f"| {group} | {', '.join(groups[group])} |" for group in sorted(groups)]
    return "\n".join(["| group | commands (subcommands) |", "|---|---|", *rows])


def coming() -> str:
    """Directives that are refused beyond their default."""
    rows = [f"| `{name}` | {why} | `{DIRECTIVES[name].default}` |" for name, why in sorted(BEYOND_PYTHON.items())]
    rows.append(f"| `loadmodule` | nothing: {MODULES_REFUSED} | no such line |")
    rows = [row.replace("| `` |", '| `""` |') for row in rows]
    return "\n".join(["| directive | asks for | what is taken |", "|---|---|---|", *rows])


def without_meaning() -> str:
    """Directives that are taken and shown but steer nothing, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(WITHOUT_MEANING.items()):
        reasons.setdefault(reason, []).append(f"`{name}`")
    reasons["lines of old configuration files that Redis takes and forgets, too"] = [
        f"`{n}`" for n in sorted(FORGOTTEN)
    ]
    rows = [f"| {', '.join(names)} | {reason} |" for reason, names in reasons.items()]
    return "\n".join(["| directives | why nothing comes of them |", "|---|---|", *rows])


MAKERS = {"commands": commands, "coming": coming, "without-meaning": without_meaning}


def renewed(text: str) -> str:
    """The README with its tables made anew. KeyError for the name of a table that nobody makes."""
    return TABLE.sub(lambda found: f"<!-- table: {found[1]} -->\n{MAKERS[found[1]]()}\n<!-- end -->\n", text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text("utf-8")), "utf-8")
