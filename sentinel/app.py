"""A Sentinel, built from its parts: a node without data whose commands are a Sentinel's, and the machine that
watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node import app
from node.config import Config
from node.config.lines import Line
from node.config.yaml import is_yaml
from node.log import Log
from node.platform import Platform
from node.server import CannotStart, Server
from sentinel import conf
from sentinel.commands import every_spec
from sentinel.core import Core
from sentinel.service import SentinelService
from sentinel.state import RUN_ID_LENGTH, State


class Files:
    """What the lines of a configuration ask of the world before there is a node: the machine's `Facts` as far as
    that."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def port(self) -> int:
        return 0

    def password(self) -> str:
        return ""

    def resolve(self, host: str) -> str:
        return self._platform.resolve_now(host)

    def is_executable(self, path: str) -> bool:
        return self._platform.is_executable(path)


def load_state(platform: Platform, lines: list[Line]) -> State:
    """What the `sentinel` lines of a configuration say. Raises ConfigFileError."""
    core = Core(State(), Files(platform), platform.random)
    core.begin(platform.now_ms())
    conf.load(core, lines)
    core.state.my_id = core.state.my_id or platform.random_hex(RUN_ID_LENGTH)
    return core.state


def build(platform: Platform, config: Config, log: Log, state: State, config_file: str) -> Server:
    """A Sentinel that watches nobody yet. Raises CannotStart without a file that it can write."""
    check_file(platform, config_file)
    server = app.build(platform, config, log, every_spec())
    server.config_file = config_file
    server.sentinel = SentinelService(server, state)
    return server


def check_file(platform: Platform, path: str) -> None:
    """A Sentinel must be able to remember what it promised. Raises CannotStart."""
    if not path:
        raise CannotStart("Sentinel needs config file on disk to save state. Exiting...")
    if is_yaml(path):
        raise CannotStart(f"Sentinel config file {path} is YAML, which cannot be rewritten. Exiting...")
    try:
        platform.open_append(path).close()
    except OSError as error:
        raise CannotStart(f"Sentinel config file {path} is not writable: {error.strerror}. Exiting...") from error


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """Serve and watch while the block runs. Raises CannotListen."""
    sentinel = server.sentinel
    assert isinstance(sentinel, SentinelService)
    async with app.running(server, has_data=False):
        sentinel.drive.begin()
        try:
            yield
        finally:
            sentinel.drive.end()
