"""What replication needs of its node (`node.server.Server` has all of it)."""

from typing import Any, Protocol

from node.config.config import Config
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.log import Log
from node.net.reactor import Reactor
from node.net.session import Session
from node.platform import Platform
from node.stats import Stats
from node.timers import Timers


class ReplicationHost(Protocol):
    """The node, as replication sees it."""

    platform: Platform
    config: Config
    log: Log
    timers: Timers
    journal: Journal
    keyspace: Keyspace
    reactor: Reactor
    stats: Stats
    loading: Any
    sessions: dict[int, Any]

    def reclaim(self, databases: Any) -> None:
        """Free what is handed over, in slices."""

    def read_clock(self) -> None:
        """Take the time for what is to come."""

    def conditions_changed(self) -> None:
        """The role, the link or the number of good replicas has changed: what guards look at."""

    def new_session(self, addr: str = "", laddr: str = "") -> Any: ...

    def output_limit_exceeded(self, client: Any, pending_bytes: int) -> bool: ...


AnySession = Session[Any]
