"""`maxmemory-clients`: the clients that hold most are closed when all together hold too much. Sans-IO.

While a limit is set, what a client holds is measured after each batch that it had a part in, when its replies have left
as far as its socket took them. So nobody pays for it who has no limit, and with one a batch costs what it touched.

As in Redis, clients stand in buckets by powers of two of what they hold, and those of the highest bucket go first: a
few that hold much, rather than many that hold little. A client that asked with CLIENT NO-EVICT ON counts, but stays; so
do replicas and our primary, which do not count.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from node.config.config import Config
from node.log import Log
from node.net.peer import CLOSE_NOW
from node.net.reactor import Reactor
from node.net.session import Session
from node.stats import Stats

Client: TypeAlias = Session[Any]

SESSION_BYTES = 2048
"""What a session costs that holds nothing."""
NAME_BYTES = 128
"""What a client's name of something in the tables of a node takes, about: a watched key, a channel, a prefix."""
BUCKET_MIN_LOG, BUCKET_MAX_LOG = 15, 33
"""Up to 32 KiB clients are all alike, and from 8 GiB on."""
EVICTABLE = (b"normal", b"pubsub")


def memory_bytes(client: Client) -> int:
    """What a client holds: CLIENT LIST's tot-mem."""
    parser, transport, transaction = client.parser, client.transport, client.transaction
    unsent = len(client.out) if transport is None else transport.unsent_bytes()
    total = SESSION_BYTES + unsent + parser.waiting_bytes + parser.arguments_bytes + len(client.name)
    if client.served < len(client.commands):
        total += sum([sum(map(len, argv)) for argv in client.commands[client.served :]])
    names = len(client.watcher.keys) if client.watcher is not None else 0
    if client.subscriptions is not None:
        names += sum(map(len, client.subscriptions))
    if client.tracker is not None:
        names += len(client.tracker.prefixes)
    return total + NAME_BYTES * names + (0 if transaction is None else transaction.bytes)


class ClientMemoryHost(Protocol):
    """What the eviction of clients needs of its node."""

    config: Config
    log: Log
    stats: Stats
    reactor: Reactor


class ClientMemory:
    """What the clients of one node hold. `limit` is in bytes; 0: none."""

    def __init__(
        self,
        host: ClientMemoryHost,
        sessions: dict[int, Client],
        describe: Callable[[Client], bytes],
    ) -> None:
        self._host = host
        self._sessions = sessions
        self._describe = describe
        self.limit = 0
        self.total = 0
        self._sizes: dict[Client, int] = {}
        self._buckets: list[dict[Client, None]] = [{} for _ in range(BUCKET_MIN_LOG, BUCKET_MAX_LOG + 1)]
        self._touched: dict[Client, None] = {}  # by the batch that is going on
        for name in ("maxmemory-clients", "maxmemory"):
            host.config.on_change(name, lambda _value: self.configure())
        self.configure()

    def configure(self) -> None:
        """The limit has changed: a number of bytes, or a share of `maxmemory` in percent."""
        config = self._host.config
        wanted = config.maxmemory_clients
        self.limit = wanted if wanted >= 0 else config.maxmemory * -wanted // 100
        self._host.reactor.after_batch = self._batch_over if self.limit else _nothing
        self._sizes.clear()
        self._touched.clear()
        self.total = 0
        for bucket in self._buckets:
            bucket.clear()
        if self.limit:
            self._touched.update(dict.fromkeys(self._sessions.values()))

    def note_batch(self) -> None:
        """Replies are about to leave: whoever had a part in this batch is measured after it."""
        if self.limit:
            for connection in self._host.reactor.dirty:
                peer = connection.peer
                if isinstance(peer, Session):
                    self._touched[peer] = None

    def must_go(self, client: Client, waiting_bytes: int) -> bool:
        """Does one client hold more than all may, with its input that is about to be served? It is told of, too."""
        if not 0 < self.limit < waiting_bytes or client.no_evict or client.kind not in EVICTABLE:
            return False
        self._note_eviction(client)
        return True

    def forget(self, client: Client) -> None:
        """A client is gone."""
        if self.limit:
            self._touched.pop(client, None)
            self._drop(client)

    def _batch_over(self) -> None:
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        for client in touched:
            self._drop(client)
            if client.id in self._sessions and client.kind in EVICTABLE and client.closing != CLOSE_NOW:
                self._take(client)
        if self.total > self.limit:
            self._evict()

    def _take(self, client: Client) -> None:
        size = self._sizes[client] = memory_bytes(client)
        self.total += size
        if not client.no_evict:
            self._bucket(size)[client] = None

    def _drop(self, client: Client) -> None:
        size = self._sizes.pop(client, None)
        if size is not None:
            self.total -= size
            self._bucket(size).pop(client, None)

    def _bucket(self, size: int) -> dict[Client, None]:
        log = min(max(size.bit_length() - 1, BUCKET_MIN_LOG), BUCKET_MAX_LOG)
        return self._buckets[log - BUCKET_MIN_LOG]

    def _evict(self) -> None:
        """Close clients, those of the highest bucket first, until the rest is within the limit."""
        for bucket in reversed(self._buckets):
            while bucket and self.total > self.limit:
                client = next(iter(bucket))
                self._note_eviction(client)
                self._drop(client)
                client.close(CLOSE_NOW)

    def _note_eviction(self, client: Client) -> None:
        self._host.log.notice(f"Evicting client: {self._describe(client).decode('utf-8', 'surrogateescape')}")
        self._host.stats.evicted_clients += 1


def _nothing() -> None:
    pass
