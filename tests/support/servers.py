"""Server processes for tests: Debian's `redis-server` and ours, started the same way.

    with RedisServer(appendonly="yes") as theirs, HexadServer(appendonly="yes") as ours: ...

Options are directives with `_` for `-`; a list or tuple gives a directive several words (`save=()` is `--save ""`).
Each server has a directory and a free port of its own, logs into `log_path`, answers PONG before `start` returns and
is gone when the `with` block, or the test process, ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError, Simple, Wire

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0

Option = str | int | list[str] | tuple[str, ...]


class Server:
    """A process that speaks RESP. `args` stand before the options: a configuration file, for example.

    `port=0` together with `unixsocket` gives a server that only listens there. RuntimeError with the end of
    its log when it ends before it answers.
    """

    program: ClassVar[tuple[str, ...]]
    environment: ClassVar[dict[str, str]] = {}  # added to the environment of the tests

    def __init__(self, *args: str, port: int | None = None, directory: Path | None = None, **options: Option) -> None:
        self.args = args
        self.port = free_port() if port is None else port
        self._owns_directory = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="hexad-test-")) if directory is None else directory
        self.log_path = self.directory / "server.log"
        defaults: dict[str, Option] = {"bind": "127.0.0.1", "save": ()}
        self.options: dict[str, Option] = {**defaults, **options}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def command_line(self) -> list[str]:
        """What `start` runs."""
        words = [*self.program, *self.args, "--port", str(self.port), "--dir", str(self.directory)]
        for name, value in self.options.items():
            words.append("--" + name.replace("_", "-"))
            words += [str(word) for word in value] or [""] if isinstance(value, list | tuple) else [str(value)]
        return words

    def start(self, *, wait: bool = True, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Starts the process; with `wait`, returns once it answers PING (and has finished loading)."""
        assert self.process is None or self.process.poll() is not None, "already running"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **self.environment},
            )
        atexit.register(self.close)
        if wait:
            wait_until(self.answers, timeout_s, f"{self.program[-1]} on port {self.port} answers PING")
        return self

    def answers(self) -> bool:
        """Whether it answers PING by now; RuntimeError if it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.program} ended with {self.process.returncode}:\n{self.log()[-2000:]}")
        with self._bare_wire(timeout_s=2) as wire:
            reply = wire("PING")
        return reply == Simple("PONG") or (isinstance(reply, ReplyError) and reply.code == "NOAUTH")

    def _bare_wire(self, **settings: Any) -> Wire:
        path = self.options.get("unixsocket")
        if self.port == 0 and isinstance(path, str):
            return Wire(unix=str(self.directory / path), **settings)
        return Wire(self.port, **settings)

    def wire(self, **settings: Any) -> Wire:
        """A new connection (see `Wire`), authenticated with `requirepass` if the server was given one."""
        password = self.options.get("requirepass")
        if isinstance(password, str) and password:
            settings.setdefault("password", password)
        return self._bare_wire(**settings)

    def log(self) -> str:
        """All that the server has written to standard output and standard error."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def wait_for_log(self, pattern: str, timeout_s: float = START_TIMEOUT_S) -> re.Match[str]:
        """Waits until the log has a match of the regular expression, and returns the first."""
        return wait_until(lambda: re.search(pattern, self.log()), timeout_s, f"{pattern!r} in the log")

    def signal(self, number: int) -> None:
        """Sends a signal (SIGSTOP, SIGCONT, …) to the process."""
        assert self.process is not None, "not started"
        self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and waits for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, waits, and returns the exit code; kills it and raises TimeoutExpired when it does not end."""
        assert self.process is not None, "not started"
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)  # a stopped process cannot hear SIGTERM
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def restart(self) -> Self:
        """Stops it as an operator would and starts it again with the same directory and options."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Kills the process if it runs and removes the directory if it was made here."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.kill()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)


class RedisServer(Server):
    """Debian's redis-server 7.0."""

    program = ("redis-server",)


class HexadServer(Server):
    """`hexad server` of this checkout, with the interpreter that runs the tests."""

    program = (sys.executable, "-m", "hexad", "server")
    environment: ClassVar[dict[str, str]] = {"PYTHONPATH": str(ROOT)}
