"""Keys on their way to another node: what MIGRATE does, told in sequence.

Redis stops the whole server while MIGRATE runs. Here only the keys that move stand still. From its DUMP until the other
node has confirmed it and it is deleted, a key is *held*: commands that may change it are postponed, as CLIENT PAUSE
postpones them, and then run from their start, redirects included; so do those that may change any key (FLUSHALL,
SWAPDB). Reads go on, since the value is the same on both sides and nobody is sent to the other side before the key is
gone from this one. Every wait has the timeout that the client gave, so the hold has an end.

A key is deleted, and its DEL journalled, only once the other node has answered for it; where a link breaks in between,
the keys that were answered for are gone from here, and the others are where they were. While writes are paused (a
manual failover has told its offset) nothing is deleted; a node that has become a replica deletes nothing at all.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import trio

from node.keyspace.database import Database
from node.net.resp import OK, Argv, Failure, Reply
from node.net.session import Waiting
from node.net.target import Target
from node.rdb.dump import dump
from node.replication.replication import UNBLOCKED
from node.server import Client, Server
from node.table import KEYED, READ, Command
from node.timers import Timer, Timers

TARGETS_MAX = 64
"""So many connections to other nodes are kept for the next MIGRATE; the one longest unused makes place."""
TARGET_IDLE_MS = 10_000
"""How long a connection is kept that nobody uses."""
CHUNK_BYTES = 64 * 1024
"""So much is serialized at a time; then other clients have their turn. A single key is never split."""
PAUSED_AGAIN_MS = 10
"""How often a handover looks whether paused writes may go on."""

GUARDED_MS = 100
"""How long the keys of this node stay guarded when none is on its way any more. To open and close that gate, for each
client, would be dear: MIGRATEs come in rows of thousands."""

CANNOT_CONNECT = Failure(b"IOERR error or timeout connecting to the client")
NEVER_SELECTED = -1


class Order(NamedTuple):
    """What MIGRATE was asked for."""

    host: str
    port: int
    db: int
    timeout_ms: int
    """For connecting, and for each wait in which no byte moves."""
    copy: bool
    replace: bool
    auth: Argv
    """The AUTH to send first; empty for none."""
    keys: Argv


class Held(Waiting):
    """A command that waits for a key to be gone: it is run from its start then."""

    __slots__ = ("_migration",)
    postponed = True

    def __init__(self, migration: "Migration") -> None:
        self._migration = migration

    def cancelled(self, session: Client) -> None:
        self._migration.waiting.pop(session, None)


class Moving(Waiting):
    """The client of a MIGRATE. When it is gone, or unblocked, the keys move all the same."""

    __slots__ = ("_began_ns", "client")

    def __init__(self, client: Client) -> None:
        self.client: Client | None = client
        self._began_ns = client.host.clock_ns()

    def cancelled(self, session: Client) -> None:
        self.client = None

    def timeout_reply(self) -> Reply:
        return _broken("reading")

    def answer(self, reply: Reply) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.write_offset = client.host.journal.offset
            client.resume(reply, client.host.clock_ns() - self._began_ns)


class Destination(Target):
    """A connection to another node, and the database that is selected there."""

    __slots__ = ("address", "db", "unused_since_ms")

    def __init__(self, migration: "Migration", timers: Timers, address: tuple[str, int]) -> None:
        super().__init__(timers, migration.connection_lost)
        self.address = address
        self.db = NEVER_SELECTED
        self.unused_since_ms = 0.0


class Migration:
    """The keys of one node that are on their way, and the connections that are kept for the next ones."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.held: set[bytes] = set()  # keys of any database
        self.waiting: dict[Client, None] = {}  # clients that wait for one of them, in the order in which they came
        self._unused: dict[tuple[str, int], Destination] = {}  # longest unused first
        self._sweep_timer: Timer | None = None
        self.guards = False  # commands are asked whether they could change a key that is on its way
        self._was_used = False  # since it was last looked whether that is needed

    @property
    def cached_sockets(self) -> int:
        """Connections that are kept: INFO's migrate_cached_sockets."""
        return len(self._unused)

    # --- holding --------------------------------------------------------------------------------------------------

    def holds(self, command: Command, argv: Argv) -> bool:
        """Could the command change a key that is on its way?"""
        if not self.held or command.flags & READ:
            return False
        if not command.flags & KEYED:
            return True
        positions = command.key_positions(argv)
        return positions is not None and any(argv[at] in self.held for at in positions)

    def postpone(self, client: Client) -> Reply:
        """Hold back the command that `client` is about to run."""
        self.waiting[client] = None
        return client.park(Held(self))

    def start(self, client: Client, order: Order) -> Reply:
        """Begin to move keys that are there; the client waits."""
        self.held.update(order.keys)
        self._was_used = True
        if not self.guards:
            self.guards = True
            self._server.conditions_changed()
            self._server.timers.after(GUARDED_MS, self._look)
        moving = Moving(client)
        reply = client.park(moving)
        Handover(self._server, self, client.db, order, moving).begin()
        return reply

    def over(self, order: Order, moving: Moving, reply: Reply) -> None:
        """The keys of an order have moved, or stay."""
        self.held.difference_update(order.keys)
        waiting, self.waiting = self.waiting, {}
        for client in waiting:  # whoever waits for another key is postponed anew, in the same order
            client.run_again()
            client.unpark()
        moving.answer(reply)

    def _look(self) -> None:
        """Guard no longer what has not been on its way for a while."""
        if self.held or self._was_used:
            self._was_used = False
            self._server.timers.after(GUARDED_MS, self._look)
            return
        self.guards = False
        self._server.conditions_changed()

    # --- connections ----------------------------------------------------------------------------------------------

    def kept(self, order: Order) -> Destination | None:
        """A connection to the order's node that stands, for nobody else meanwhile."""
        return self._unused.pop((order.host, order.port), None)

    async def connect(self, order: Order) -> Destination:
        """A new one. Raises OSError, ValueError."""
        if not 0 < order.port <= 65535:
            raise ConnectionRefusedError(f"no port: {order.port}")  # so Redis takes it
        server = self._server
        with trio.move_on_after(order.timeout_ms / 1000):
            # As in Redis: nodes of a cluster that links them by TLS serve MIGRATE at their TLS ports.
            sock = await server.tls.dial(order.host, order.port, is_tls=server.config["tls-cluster"])
            destination = Destination(self, server.timers, (order.host, order.port))
            server.reactor.add(sock, destination)
            return destination
        raise TimeoutError(f"{order.host}:{order.port}: no connection within {order.timeout_ms} ms")

    def connection_lost(self, destination: Destination) -> None:
        """The connection has ended: whoever uses it hears of that, and if nobody does it is not used any more."""
        if self._unused.get(destination.address) is destination:
            del self._unused[destination.address]

    def keep(self, destination: Destination) -> None:
        """Keep a sound connection for the next one that asks."""
        if not destination.is_open:
            return
        timers = self._server.timers
        destination.unused_since_ms = timers.monotonic_ms()
        self._drop([destination.address] if destination.address in self._unused else [])
        self._unused[destination.address] = destination
        self._drop(list(self._unused)[:-TARGETS_MAX])
        if self._sweep_timer is None:
            self._sweep_timer = timers.after(TARGET_IDLE_MS, self._sweep)

    def _drop(self, addresses: Iterable[tuple[str, int]]) -> None:
        for address in addresses:
            self._unused.pop(address).close()

    def _sweep(self) -> None:
        """Close what nobody has used for too long."""
        timers = self._server.timers
        over_ms = timers.monotonic_ms() - TARGET_IDLE_MS
        self._drop([address for address, target in self._unused.items() if target.unused_since_ms <= over_ms])
        self._sweep_timer = None
        if self._unused:
            oldest = next(iter(self._unused.values()))
            self._sweep_timer = timers.at(oldest.unused_since_ms + TARGET_IDLE_MS, self._sweep)


class Handover:
    """The story of one MIGRATE, step by step: each is taken where the one before it has come to its end."""

    def __init__(self, server: Server, migration: Migration, db: Database, order: Order, moving: Moving) -> None:
        self._server = server
        self._migration = migration
        self._db = db
        self._order = order
        self._moving = moving
        self._was_replica = server.replication.is_replica
        self._left = list(reversed(order.keys))  # still to be sent, the next one last
        self._sent: list[bytes] = []  # keys that were sent and not answered for...
        self._greeting: list[Argv] = []  # ...and what went before them
        self._moved = False  # the other node has confirmed a key
        self._refusal: Failure | None = None  # the first error that the client is to hear of
        self._sound = True  # the connection's state is known
        self._is_last_try = False

    def begin(self) -> None:
        """Send the first keys, over a connection that is kept or a new one."""
        destination = self._migration.kept(self._order)
        if destination is None:
            self._server.spawn(self._connect)
        else:
            self._send(destination)

    async def _connect(self) -> None:
        try:
            destination = await self._migration.connect(self._order)
        except (OSError, ValueError) as error:  # ValueError: what was given is no host name at all
            self._end(_not_connected(error))
            return
        self._send(destination)

    def _end(self, reply: Reply) -> None:
        self._migration.over(self._order, self._moving, reply)

    def _send(self, destination: Destination) -> None:
        """Send the next chunk, or end where there is none."""
        self._sent, commands = self._chunk() if self._sound else ([], [])
        if commands:
            self._greeting = self._greet(destination)
            told = partial(self._hear, destination)
            destination.ask([*self._greeting, *commands], self._order.timeout_ms, told)
            return
        if self._sound:
            self._migration.keep(destination)
        else:
            destination.close()
        self._end(self._refusal or OK)

    def _hear(self, destination: Destination, replies: list[Reply], failure: OSError | None) -> None:
        """What has come of a chunk. Where the link broke, only some of it was answered."""
        self._hear_greeting(destination, replies)
        self._part(destination, self._confirmed(replies[len(self._greeting) :]), failure)

    def _part(self, destination: Destination, keys: list[bytes], failure: OSError | None) -> None:
        """Delete the keys that the other node has, and go on."""
        if keys and self._db.keyspace.paused:
            again = partial(self._part, destination, keys, failure)
            self._server.timers.after(PAUSED_AGAIN_MS, again)
            return
        if keys and self._server.replication.is_replica == self._was_replica:
            self._delete(keys)
        elif keys:
            self._sound, self._refusal = False, UNBLOCKED
        if failure is None:
            self._send(destination)
        else:
            self._try_again(destination, failure)

    def _try_again(self, destination: Destination, failure: OSError) -> None:
        """A kept connection may have been closed by the other end meanwhile: then a fresh one is tried, once."""
        if self._is_last_try or self._moved or isinstance(failure, TimeoutError):
            self._end(self._refusal or _broken(destination.stage))
            return
        self._is_last_try = True
        self._left = list(reversed(self._order.keys))
        self.begin()

    def _chunk(self) -> tuple[list[bytes], list[Argv]]:
        """The next keys, and the commands that make them at the other node. Keys that have expired stay behind."""
        server, db = self._server, self._db
        word = b"RESTORE" if server.cluster is None else b"RESTORE-ASKING"
        options = [b"REPLACE"] if self._order.replace else []
        compress = server.config.rdbcompression
        server.read_clock()
        keys: list[bytes] = []
        commands: list[Argv] = []
        size = 0
        while self._left and size < CHUNK_BYTES:
            key = self._left.pop()
            value = db.peek(key)
            if value is None:
                continue
            deadline = db.deadline(key) if db.deadline_count else None
            ttl_ms = 0 if deadline is None else max(1, deadline - db.keyspace.now_ms)
            payload = dump(value, compress)
            keys.append(key)
            commands.append([word, key, b"%d" % ttl_ms, payload, *options])
            size += len(key) + len(payload)
        return keys, commands

    def _greet(self, destination: Destination) -> list[Argv]:
        """What comes before the keys: the password, each time it is given, and the database unless it is selected."""
        order = self._order
        greeting: list[Argv] = [order.auth] if order.auth and not self._moved else []
        if destination.db != order.db:
            greeting.append([b"SELECT", b"%d" % order.db])
        return greeting

    def _hear_greeting(self, destination: Destination, replies: list[Reply]) -> None:
        for argv, reply in zip(self._greeting, replies, strict=False):
            if isinstance(reply, Failure):
                self._sound = False
                self._refused(reply)
            elif argv[0] == b"SELECT":
                destination.db = self._order.db

    def _confirmed(self, replies: list[Reply]) -> list[bytes]:
        """The keys that the other node has confirmed and that need not be here any more."""
        confirmed = []
        for key, reply in zip(self._sent, replies, strict=False):
            if isinstance(reply, Failure):
                self._refused(reply)
            elif self._sound:  # else it may have gone into another database than was asked for
                confirmed.append(key)
        self._moved |= bool(confirmed)
        return [] if self._order.copy else confirmed

    def _refused(self, reply: Failure) -> None:
        if self._refusal is None:
            self._refusal = Failure(b"ERR Target instance replied with error: " + reply)

    def _delete(self, keys: list[bytes]) -> None:
        db, keyspace = self._db, self._db.keyspace
        self._server.read_clock()
        deleted = []
        for key in keys:
            if db.deadline_count and db.peek(key) is None:
                continue  # it has expired on the way
            value = db.remove(key)
            if value is None:
                continue  # it was evicted
            if type(value) is not bytes:
                keyspace.discard(value)
            db.changed(key, "del", "g")
            deleted.append(key)
        if deleted:
            keyspace.commit(db.index, (b"DEL", *deleted))


def _not_connected(error: Exception) -> Failure:
    """Redis finds out about a refused connection when it writes; about all other failures before."""
    return _broken("writing") if isinstance(error, ConnectionRefusedError) else CANNOT_CONNECT


def _broken(stage: str) -> Failure:
    return Failure(b"IOERR error or timeout %b to target instance" % stage.encode())
