"""`hexad up` as a process under test, with a choice of the program that is a node."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import TookTooLong, free_port, wait_until
from tests.support.ports import BUS_OFFSET, _is_free
from tests.support.servers import ROOT

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

HEXAD = (
    sys.executable,
    "-I",
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hexad.__main__ import main; sys.exit(main())",
    "server",
)
"""What NODE_PROGRAM is, for a checkout that is not installed."""

DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from hexad.up import main
sys.exit(main(sys.argv[3:], json.loads(sys.argv[2])))
"""


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free, as are their bus ports."""
    while True:
        first = free_port()
        if all(_is_free(port) and _is_free(port + BUS_OFFSET) for port in range(first, first + count)):
            return first


def command_line(program: Sequence[str], words: Sequence[str | int | Path]) -> list[str]:
    return [sys.executable, "-c", DRIVER, str(ROOT), json.dumps(list(program)), *map(str, words)]


def run_up(*words: str | int | Path, program: Sequence[str] = HEXAD) -> subprocess.CompletedProcess[str]:
    """A `hexad up` that is expected to end by itself."""
    return subprocess.run(
        command_line(program, words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


class Up:
    """A running `hexad up`: `output` is all that it has printed; killed, with its nodes, when the block ends."""

    def __init__(self, *words: str | int | Path, program: Sequence[str] = HEXAD) -> None:
        self.words = words
        self.program = program
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the block
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            command_line(self.program, self.words), stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._file.close()

    @property
    def output(self) -> str:
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode("utf-8", "replace")

    def wait_for(self, pattern: str, timeout_s: float = READY_TIMEOUT_S) -> re.Match[str]:
        """The first match of the pattern in the output, once there is one."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            if match is None and self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}:\n{self.output}")
            return match

        try:
            return wait_until(found, timeout_s, f"{pattern!r} in the output")
        except TookTooLong as error:
            raise TookTooLong(f"{error}:\n{self.output}") from None

    def pid_of(self, port: int) -> int:
        return int(self.wait_for(rf"node {port} \(pid (\d+)\)")[1])

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, wait for the end, return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)
