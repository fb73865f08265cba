"""What persistence needs of its node (`node.server.Server` has all of it)."""

from collections.abc import Callable
from typing import Any, Protocol

from node.config.config import Config
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.latencymonitor import LatencyMonitor
from node.log import Log
from node.memory import MemoryAccount
from node.platform import Platform
from node.timers import Timers


class PersistenceHost(Protocol):
    """The node, as files and snapshots see it."""

    platform: Platform
    config: Config
    log: Log
    timers: Timers
    journal: Journal
    keyspace: Keyspace
    memory: MemoryAccount
    latency: LatencyMonitor
    loading: Any
    loading_beside: Any
    """The progress of a load beside the data set, which is served meanwhile."""
    functions: Any
    """The libraries of functions: `replace_all` takes their sources, and raises CommandError where one is no good."""
    spawn: Callable[..., None]
    """`spawn(async_function, *args)` starts a task that ends with the node, if not earlier."""

    checksums_matter: bool
    """False: files are read whatever their checksums say."""

    def clock_ns(self) -> int: ...

    def read_clock(self) -> None: ...

    def conditions_changed(self) -> None:
        """Something that guards look at has changed: loading, or the success of the last save."""


REDIS_VERSION = b"7.2.6"
"""What our files say has written them, since loaders judge by it."""


def path_of(host: PersistenceHost, name: str) -> str:
    """The path of a file in the node's directory."""
    return f"{host.config.dir.rstrip('/') or '/'}/{name}"
