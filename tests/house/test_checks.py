"""The whole product is clean under `mypy --strict` and `ruff`, with the settings of pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.source import ROOT

TIMEOUT_S = 240


@pytest.mark.parametrize(
    "command",
    [["mypy"], ["ruff", "check", "."]],
    ids=["mypy", "ruff"],
)
def test_clean(command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
