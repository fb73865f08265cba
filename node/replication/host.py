"""What replication needs of its node (`node.server.Server` has all of it)."""

from collections.abc import Sequence
from typing import Any, Protocol

from node.keyspace.database import Database
from node.net.reactor import Reactor
from node.net.session import Session
from node.persistence.host import PersistenceHost
from node.persistence.saver import Saver
from node.stats import Stats
from node.tls import Tls


class Pauses(Protocol):
    """What holds commands back (`node.clients.Clients`)."""

    def pause(self, purpose: str, writes_only: bool, duration_ms: float) -> None: ...

    def unpause(self, purpose: str) -> None: ...

    def hold(self, session: Any) -> None: ...


class ReplicationHost(PersistenceHost, Protocol):
    """The node, as replication sees it."""

    reactor: Reactor
    stats: Stats
    tls: Tls

    @property
    def clients(self) -> Pauses: ...

    @property
    def sessions(self) -> dict[int, Any]: ...

    def register(self, session: Any) -> None:
        """Give a session that nobody connected to us for (the primary's) an id, and count it among the clients."""

    @property
    def saver(self) -> Saver: ...

    def reclaim(self, databases: Sequence[Database]) -> None:
        """Free what is handed over, in slices."""

    def reclaim_more(self) -> bool:
        """Free for a while what waits for it; False once nothing is left."""

    def output_limit_exceeded(self, client: Any, pending_bytes: int) -> bool: ...


AnySession = Session[Any]
