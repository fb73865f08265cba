"""The door of `hexad/` to the outside: node processes, their directories, ports, addresses, signals.

    DIR/hexad-up.json     which topology lives here, written before its first node starts
    DIR/.hexad-up.lock    held while a `hexad up` works on DIR
    DIR/7000/             the node at port 7000: nodes.conf, dump.rdb, node.log; with Sentinels also node.conf, and for
                          a Sentinel sentinel.conf: files that they rewrite themselves
    DIR/proxy/            the proxy's log, if there is one

A node is a process of its own, isolated: the interpreter ignores the user's environment and the current directory
(`-I`), no descriptor but 0, 1 and 2 is inherited, standard output is its log, and it leads a session of its own, so
that Ctrl-C at the terminal reaches `hexad up` alone, which then stops its nodes in order.
"""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import trio

NODE_PROGRAM = (sys.executable, "-I", "-m", "hexad", "server")
"""The command line that starts a node; its options follow."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOG_NAME = "node.log"
RECORD_NAME = "hexad-up.json"
LOCK_NAME = ".hexad-up.lock"
TAIL_BYTES = 64 * 1024
"""How much of a log's end is looked at for its last lines."""


class PlaceError(Exception):
    """The directory cannot be used; the text says why."""


class Place:
    """The directory of a topology, locked as long as it is open."""

    def __init__(self, path: str, lock: IO[bytes]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: str) -> "Place":
        """Take a directory, made if need be. Raises PlaceError if it is in use or holds something else."""
        directory = Path(path).absolute()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / LOCK_NAME).open("ab")
        except OSError as error:
            raise PlaceError(f"{directory}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise PlaceError(
                f"{directory} is in use by another `hexad up`: stop it, or choose another --dir"
            ) from error
        others = {entry.name for entry in directory.iterdir()} - {LOCK_NAME}
        if others and RECORD_NAME not in others:
            lock.close()
            (directory / LOCK_NAME).unlink()
            raise PlaceError(f"{directory} is not empty and was not made by `hexad up`: choose another --dir")
        return cls(str(directory), lock)

    def close(self) -> None:
        self._lock.close()

    def read_record(self) -> dict[str, Any]:
        """What topology lives here; empty for a new directory. Raises PlaceError."""
        path = Path(self.path, RECORD_NAME)
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PlaceError(f"{path}: {error}") from error
        if not isinstance(record, dict):
            raise PlaceError(f"{path} does not say which topology lives there")
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Remember what topology lives here; the old record or the new one survives a crash. Raises PlaceError."""
        path = Path(self.path, RECORD_NAME)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("w") as file:
                file.write(json.dumps(record, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise PlaceError(f"{path}: {error.strerror}") from error

    def node_directory(self, port: int) -> Path:
        return Path(self.path, str(port))

    def provide_file(self, port: int, name: str, text: str) -> None:
        """Give the node at `port` a file to begin with, unless it has it. Raises PlaceError."""
        directory = self.node_directory(port)
        try:
            directory.mkdir(exist_ok=True)
            if not (directory / name).exists():
                (directory / name).write_text(text)
        except OSError as error:
            raise PlaceError(f"{directory / name}: {error.strerror}") from error

    @property
    def proxy_directory(self) -> Path:
        return Path(self.path, "proxy")

    def has_past(self, port: int) -> bool:
        """Tell whether the node at `port` left anything but its log."""
        directory = self.node_directory(port)
        return directory.is_dir() and any(entry.name != LOG_NAME for entry in directory.iterdir())


class NodeProcess:
    """One node's process."""

    def __init__(self, port: int, directory: Path, process: trio.Process) -> None:
        self.port = port
        self.log_path = str(directory / LOG_NAME)
        self._process = process

    @classmethod
    async def start(cls, program: Sequence[str], port: int, directory: Path, options: Sequence[str]) -> "NodeProcess":
        """Start a node in its directory. Raises PlaceError."""
        try:
            directory.mkdir(exist_ok=True)
            with (directory / LOG_NAME).open("ab") as log:
                process = await trio.lowlevel.open_process(
                    [*program, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    start_new_session=True,
                )
        except OSError as error:
            raise PlaceError(f"the node at port {port} cannot be started: {error}") from error
        return cls(port, directory, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, for people: "exit code 1", "killed by SIGKILL"; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def ended_well(self) -> bool:
        return self._process.poll() == 0

    async def wait(self) -> None:
        """Return once it has ended."""
        await self._process.wait()

    def terminate(self) -> None:
        """Ask it to end; a stopped process must go on first to hear that."""
        if self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()

    def kill(self) -> None:
        if self.is_running:
            self._process.kill()

    def last_log_lines(self, count: int) -> list[str]:
        """The end of its log."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]


def port_complaint(host: str, ports: Sequence[int]) -> str:
    """Why nodes cannot listen on all these ports, and what to do; empty if they can."""
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node does: TIME_WAIT is no hindrance
            try:
                probe.bind((host, port))
            except OSError as error:
                return _complaint(host, port, error)
    return ""


def _complaint(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is taken by another program (`ss -ltnp 'sport = :{port}'` names it): "
            "stop that, or choose other ports with --port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: choose another --host"
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that you do not have: choose ports above 1023 with --port"
    return f"port {port} cannot be listened on: {error.strerror}"


def ip_address(host: str) -> str:
    """The IP address of a host: nodes know one another by nothing else. Raises PlaceError."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise PlaceError(f"--host {host}: {error.strerror}") from error
    infos.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(infos[0][4][0])
