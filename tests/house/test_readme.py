"""Each command of the README is run by a test, and those that stand alone are run here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.readme import README, RUN_AS_IT_IS, RUN_BY, Example, examples, unregistered
from tests.house.source import ROOT

COMMAND_TIMEOUT_S = 60


def run_shown(example: Example, directory: Path) -> str:
    """Runs a command as a reader who has called `make up` would; its output, or AssertionError if it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.command],
        cwd=directory,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert ended.returncode == 0, f"README.md:{example.line}: {example.command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


def check_shown(example: Example, directory: Path) -> None:
    """Each line of output that the README shows must come, in that order; `...` stands for anything."""
    came = iter(line.strip() for line in run_shown(example, directory).splitlines())
    for line in example.output:
        wanted = line.strip()
        if wanted and wanted not in ("...", "…"):
            assert wanted in came, f"README.md:{example.line}: {example.command} does not print {wanted!r}"


def test_every_command_has_its_test() -> None:
    assert unregistered(examples(README.read_text("utf-8")), RUN_BY, RUN_AS_IT_IS) == []


def test_commands_that_stand_alone(tmp_path: Path) -> None:
    for example in examples(README.read_text("utf-8")):
        if example.command in RUN_AS_IT_IS:
            check_shown(example, tmp_path)


TEXT = """
```console
$ echo one \\
    two
one two
$ make up
```
```python
$ not a command
```
```sh
# a comment
pwd
```
"""


def test_what_counts_as_a_command() -> None:
    assert examples(TEXT) == [Example("echo one two", 3, ("one two",)), Example("make up", 6), Example("pwd", 13)]


def test_the_registry_notices() -> None:
    here = "tests/house/test_readme.py::test_the_registry_notices"
    found = examples(TEXT)
    assert unregistered(found, {"make up": here}, frozenset({"pwd", "echo one two"})) == []
    assert unregistered(found, {"make up": here}, frozenset({"pwd"})) == [
        "README.md:3: no test runs 'echo one two': name one in tests/house/readme.py"
    ]
    assert len(unregistered(found, {"make up": here + "_not", "gone": here}, frozenset({"pwd", "echo one two"}))) == 2


def test_what_is_shown_must_come(tmp_path: Path) -> None:
    check_shown(Example("echo a; echo b", 1, ("a", "...", "b")), tmp_path)
    for wrong in (Example("echo a", 1, ("b",)), Example("echo b; echo a", 1, ("a", "b")), Example("false", 1)):
        with pytest.raises(AssertionError, match=r"README\.md:1"):
            check_shown(wrong, tmp_path)
