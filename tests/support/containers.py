"""Docker for tests: an engine, wherever it can be had, and compose projects in it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE_SCRIPT = ROOT / "tests/chaos/engine.sh"
ENGINE_TIMEOUT_S = 400  # a machine with none of the packages, busy: they are installed and a base image is made
COMMAND_TIMEOUT_S = 300
IMAGE, GENUINE_IMAGE = "hexad:test", "hexad-genuine:test"
COMPOSES = {"v2": ["docker", "compose"], "1.29": ["docker-compose"]}


def run(command: list[str], env: dict[str, str] | None = None, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Runs a command from the root of the checkout and returns its output; AssertionError with both streams."""
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout_s
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def engine_environment() -> dict[str, str]:
    """Makes Docker usable and returns the variables that its commands, and the Docker SDK, then need.

    Where that cannot be (no rights, no Debian) the test is skipped, except in CI: there it fails.
    """
    ended = subprocess.run([ENGINE_SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=ENGINE_TIMEOUT_S)
    if ended.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Docker engine: {ended.stderr}")
    return dict(re.findall(r"^export (\w+)=(.*)$", ended.stdout, re.MULTILINE))


def build_image(env: dict[str, str]) -> str:
    """Builds the image of this checkout and returns its name; the second time in a row the engine finds all of it."""
    run(["docker", "build", "-q", "-f", "deploy/Dockerfile", "-t", IMAGE, "."], env)
    return IMAGE


def build_genuine_image(env: dict[str, str]) -> str:
    """The same with genuine Redis in the node's place, to have the same measured on it."""
    build = ["docker", "build", "-q", "--build-arg", f"IMAGE={build_image(env)}", "-t", GENUINE_IMAGE]
    run([*build, "tests/chaos/genuine"], env)
    return GENUINE_IMAGE


def free_port_prefix() -> str:
    """Three digits to which 0-5 can be added for six free ports, with free bus ports 10000 above them."""
    for prefix in range(710, 1000):
        ports = [10 * prefix + digit + bus for digit in range(6) for bus in (0, 10_000)]
        if all(_is_free(port) for port in ports):
            return str(prefix)
    raise OSError("no six free ports in a row between 7100 and 9995")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass
class Compose:
    """One project of a file in deploy/compose. `env` holds the file's variables; `version` is a key of COMPOSES.

    Both versions name containers differently, so they are found by label.
    """

    file: str
    project: str
    env: dict[str, str] = field(default_factory=dict)
    version: str = "v2"

    def __call__(self, *arguments: str) -> str:
        path = f"deploy/compose/{self.file}"
        return run([*COMPOSES[self.version], "-p", self.project, "-f", path, *arguments], self.env)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        labels = [f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={service}"]
        found = self.docker("ps", "-aq", "--no-trunc", *[word for label in labels for word in ("-f", label)]).split()
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def state(self, service: str) -> str:
        """`healthy`, `starting` or `unhealthy` where there is a health check, else `running`, `exited 0`…"""
        state = json.loads(self.docker("inspect", "-f", "{{json .State}}", self.container(service)))
        if state["Status"] == "exited":
            return f"exited {state['ExitCode']}"
        return str(state.get("Health", {}).get("Status", state["Status"]))

    def docker(self, *arguments: str) -> str:
        return run(["docker", *arguments], self.env)

    def down(self) -> None:
        """Removes containers, network and volumes."""
        self("down", "-v", "-t", "3", "--remove-orphans")


def project(file: str, name: str, env: dict[str, str], version: str = "v2") -> Iterator[Compose]:
    """A project that is not up yet, and is gone at the end; for `yield from` in a fixture."""
    compose = Compose(file, name, env, version)
    compose.down()  # what a run that was killed left behind
    try:
        yield compose
    finally:
        compose.down()
