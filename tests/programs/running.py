"""What the tests of real programs share: the environment of those programs, and their processes.

The programs want a redis-py of their own choice, so they live in a virtual environment beside this file, made from
requirements.txt (BullMQ: from package.json) when a test first asks for it, and again when that file has changed.
Each program module runs in that environment as `python -m tests.programs.NAME ...` and is told the server by
HEXAD_PORT. What drives a program prints one JSON value, and the test compares it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import wait_until
from tests.support.servers import ROOT

HERE = Path(__file__).resolve().parent
INSTALL_TIMEOUT_S = 600
DRIVE_TIMEOUT_S = 120
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20


def _is_made_from(source: Path, stamp: Path) -> bool:
    return stamp.exists() and stamp.read_text() == hashlib.sha256(source.read_bytes()).hexdigest()


def _stamp(source: Path, stamp: Path) -> None:
    stamp.write_text(hashlib.sha256(source.read_bytes()).hexdigest())


@contextlib.contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Several test processes may want what nobody has installed so far."""
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def programs_python() -> Path:
    """The interpreter with all Python programs; installs them where that is not done."""
    source, home = HERE / "requirements.txt", HERE / ".venv"
    python = home / "bin" / "python"
    with _one_at_a_time(home):
        if _is_made_from(source, home / ".made"):
            return python
        shutil.rmtree(home, ignore_errors=True)
        _install(["bash", str(ROOT / "deploy" / "dev" / "venv.sh"), str(home)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _install([*pip, "-r", str(source)])
        _stamp(source, home / ".made")
    return python


def node_modules() -> Path:
    """Where BullMQ is; installs it where that is not done."""
    source, home = HERE / "package.json", HERE / "node_modules"
    with _one_at_a_time(home):
        if _is_made_from(source, home / ".made"):
            return home
        npm = shutil.which("npm")
        assert npm is not None, "npm is missing: `make test-long` installs it"
        _install([npm, "install", "--no-audit", "--no-fund", "--no-package-lock"])
        _stamp(source, home / ".made")
    return home


def _install(words: list[str]) -> None:
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


class Programs:
    """The processes of one test, told of one server; ended with the test, workers and their children too."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix="hexad-programs-"))
        self.running: list[Program] = []
        self.is_cluster = False  # behind a proxy there is one database, and only keys with a tag share a slot

    def environment(self) -> dict[str, str]:
        """The environment of every program: the server, our modules, and a home for what they write."""
        extra = {"HEXAD_PORT": str(self.port), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        if self.is_cluster:
            extra["HEXAD_CLUSTER"] = "1"
        return {**os.environ, **extra, "HEXAD_DIR": str(self.directory)}

    def start(self, *words: str, **extra: str) -> Program:
        """Starts a worker: `words` as a shell would run them, the first looked up in the programs' environment."""
        log = self.directory / f"{len(self.running)}.log"
        program = Program(self._command(words), {**self.environment(), **extra}, log)
        self.running.append(program)
        return program

    def drive(self, *words: str, **extra: str) -> Any:
        """Runs a program to its end: the JSON value on its last line."""
        environment = {**self.environment(), **extra}
        done = subprocess.run(
            self._command(words), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=DRIVE_TIMEOUT_S
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-6000:]}{self.logs()}"
        return json.loads(done.stdout.splitlines()[-1])

    def call(self, module: str, function: str) -> Any:
        """Calls a function of tests.programs in the programs' environment, imported as the workers import it."""
        return self.drive("python", "-c", f"import json, {module} as m; print(json.dumps(m.{function}()))")

    def _command(self, words: tuple[str, ...]) -> list[str]:
        if words[0] == "node":
            return list(words)
        return [str(programs_python().parent / words[0]), *words[1:]]

    def logs(self) -> str:
        """The end of what each worker has said."""
        return "".join(f"\n--- {one.words}\n{one.log()[-3000:]}" for one in self.running)

    def close(self) -> None:
        for program in self.running:
            program.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class Program:
    """A worker process with its children: one process group, and a log."""

    def __init__(self, words: list[str], environment: dict[str, str], log: Path) -> None:
        self.words, self.log_path = words, log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                words, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait_for_log(self, text: str, timeout_s: float = READY_TIMEOUT_S) -> Program:
        """Waits until the worker has said `text`. AssertionError with its log where it ended instead."""

        def said() -> bool:
            if text in self.log():
                return True
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.words} ended with {self.process.returncode}: {self.log()[-3000:]}")
            return False

        wait_until(said, timeout_s, f"{text!r} in the log of {self.words}")
        return self

    def stop(self) -> int:
        """SIGTERM to the first process, as a supervisor does: its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once: the power is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    end = kill


@contextlib.contextmanager
def programs_of(port: int) -> Iterator[Programs]:
    programs = Programs(port)
    try:
        yield programs
    finally:
        programs.close()
