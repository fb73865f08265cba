"""Real servers to compare with, bare of any option that would show in CONFIG GET."""

import glob
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config import Config, ConfigError
from tests.support.waiting import wait_until

START_TIMEOUT_S = 15.0


class Peer:
    """A redis-server in a directory of its own, reached by its unix socket; `ask` returns text, errors included."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.path = str(directory / "peer.sock")
        command = ["redis-server", *arguments, "--port", "0", "--unixsocket", self.path, "--dir", str(directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        wait_until(self.connected, START_TIMEOUT_S, f"{command}: to listen")
        self.file = self.socket.makefile("rwb")

    def connected(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self.process.communicate()[1].decode())
        self.socket.connect(self.path)
        return True

    def ask(self, *words: str) -> object:
        data = b"*%d\r\n" % len(words)
        for word in words:
            raw = word.encode(errors="surrogateescape")
            data += b"$%d\r\n%s\r\n" % (len(raw), raw)
        self.file.write(data)
        self.file.flush()
        return self.read()

    def read(self) -> object:
        line = self.file.readline().decode(errors="surrogateescape").rstrip("\r\n")
        if line[0] == "*":
            return [self.read() for _ in range(int(line[1:]))]
        if line[0] == "$":
            return self.file.read(int(line[1:]) + 2)[:-2].decode(errors="surrogateescape")
        return line[1:]

    def get(self, *patterns: str) -> dict[str, str]:
        flat = self.ask("CONFIG", "GET", *patterns)
        assert isinstance(flat, list), flat
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def close(self) -> None:
        self.file.close()
        self.socket.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    peer = Peer(tmp_path_factory.mktemp("peer"), "--enable-protected-configs", "yes")
    yield peer
    peer.close()


def read_file(path: str) -> str:
    return Path(path).read_bytes().decode(errors="surrogateescape")


def check_dir(value: str) -> None:
    if not os.path.isdir(value):
        raise ConfigError(os.strerror(2))


def load(path: str | None = None, **more: object) -> Config:
    return Config.load(path, read_file=read_file, find_files=glob.glob, checks={"dir": check_dir}, **more)  # type: ignore[arg-type]
