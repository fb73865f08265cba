"""Every shell script of the project is clean under shellcheck."""

from __future__ import annotations

import subprocess

from tests.house.source import ROOT

PLACES = (".ci", "deploy", "tests")
SHELLS = (b"#!/usr/bin/env bash\n", b"#!/bin/bash\n", b"#!/bin/sh\n")


def scripts() -> list[str]:
    """Paths of all files that begin as bash or sh scripts do."""
    files = [p for place in PLACES for p in (ROOT / place).rglob("*") if p.is_file() and "node_modules" not in p.parts]
    return sorted(p.relative_to(ROOT).as_posix() for p in files if p.read_bytes().startswith(SHELLS))


def test_scripts_are_clean() -> None:
    found = scripts()
    assert {".ci/run", "deploy/dev/venv.sh", "deploy/docker/entrypoint"} <= set(found)
    ended = subprocess.run(["shellcheck", "-x", *found], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
