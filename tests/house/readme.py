"""Which test runs each command of the README.

A newcomer types what the README shows, so each command there is run by a test: commands that stand alone are run as
they are, in the order of the README, in one temporary directory (`RUN_AS_IT_IS`); the others, which start clusters,
containers or installations, are run by a test of their own (`RUN_BY`). A command in neither fails the tests, and so
does an entry whose command or test is gone.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from tests.house.source import ROOT

README = ROOT / "README.md"
SHELL_BLOCKS = ("console", "sh")

# Command -> "path/of/test_file.py::test_name" (without parameters).
RUN_BY: dict[str, str] = {}

# Commands that need nothing but the environment of `make up`, and end by themselves with 0.
RUN_AS_IT_IS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Example:
    """One command of the README, the line it starts on, and the output shown below it."""

    command: str
    line: int
    output: tuple[str, ...] = ()


def examples(text: str) -> list[Example]:
    """The commands in fenced blocks marked console or sh.

    In a console block a command stands behind `$ ` and what follows is its output; in an sh block each line that is
    neither empty nor a comment is a command. A backslash at the end of a line continues it.
    """
    found: list[Example] = []
    kind: str | None = None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.lstrip().startswith("```"):
            kind = line.strip().removeprefix("```").strip() if kind is None else None
        elif kind in SHELL_BLOCKS:
            command = _command(line, kind)
            if command is None:
                if kind == "console" and found:
                    found[-1] = Example(found[-1].command, found[-1].line, (*found[-1].output, line))
                continue
            while command.endswith("\\"):
                command = command[:-1].rstrip() + " " + next(lines, (0, ""))[1].strip()
            found.append(Example(command, number))
    return found


def _command(line: str, kind: str) -> str | None:
    line = line.strip()
    if kind == "console":
        return line[2:].strip() if line.startswith("$ ") else None
    return line.removeprefix("$ ") if line and not line.startswith("#") else None


def unregistered(found: list[Example], run_by: dict[str, str], as_it_is: frozenset[str]) -> list[str]:
    """What does not fit between the README's commands and the registry, one line each."""
    commands = {example.command for example in found}
    missing = [e for e in found if e.command not in run_by and e.command not in as_it_is]
    return [
        *(f"README.md:{e.line}: no test runs {e.command!r}: name one in tests/house/readme.py" for e in missing),
        *(f"not in the README any more: {c!r}" for c in sorted((set(run_by) | as_it_is) - commands)),
        *(f"registered twice: {c!r}" for c in sorted(set(run_by) & as_it_is)),
        *(f"{c!r} is run by {t}, which does not exist" for c, t in sorted(run_by.items()) if not is_a_test(t)),
    ]


def is_a_test(test: str) -> bool:
    """There is such a test function (or method, as file::Class::name) in the checkout."""
    path, _, name = test.partition("::")
    if not name or not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return name.rpartition("::")[2] in functions
