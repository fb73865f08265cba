"""The clients of one node: who may come in, who must leave, what is told of them, and the pause that holds them back.

Sans-IO. Who must leave: a client that is idle for longer than `timeout`; one whose unread output is above the limits of
its class (`client-output-buffer-limit`), at once or for too long; one whose input that cannot be served yet is above
`client-query-buffer-limit`. Nothing here ticks: a timer stands for the earliest time at which somebody may have to go.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeAlias

from node.access import NOBODY, Access
from node.client_memory import ClientMemory, memory_bytes
from node.config.config import Config
from node.config.values import OutputLimit
from node.keyspace.keyspace import Keyspace
from node.log import Log
from node.monitoring import Monitors
from node.net.peer import CLOSE_NOW
from node.net.reactor import Reactor
from node.net.resp import Argv, Reply, RequestParser, encode_command
from node.net.session import Session, Waiting
from node.platform import Platform, Socket
from node.pubsub import PubSub, counts
from node.stats import Stats
from node.timers import Timer, Timers
from node.tracking import Tracking

Client: TypeAlias = Session[Any]

STRANGER_INPUT_BYTES_MAX = 1 << 20
"""What a client may have waiting before it has shown a password, whatever `client-query-buffer-limit` says."""
STRANGER_OUTPUT_BYTES_MAX = 17 * 1024
"""What such a client may leave unread, whatever `client-output-buffer-limit` says: a reply buffer and a little more."""
IDLE_ROUND_MS_MIN = 1000
"""Looking at all clients for idle ones need not be done more often: `timeout` counts seconds."""
REPLY_BYTES = 16 * 1024
"""The size of Redis's reply buffer, which its output limits do not count: CLIENT LIST speaks of it."""

TOO_MANY = b"-ERR max number of clients reached\r\n"
PROTECTED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. If you want to connect "
    b"from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode "
    b"sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the "
    b"same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. "
    b"Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by "
    b"editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the "
    b"server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' "
    b"option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above "
    b"things in order for the server to start accepting connections from the outside.\r\n"
)


class ClientsHost(Protocol):
    """What the clients need of their node."""

    platform: Platform
    config: Config
    log: Log
    stats: Stats
    timers: Timers
    reactor: Reactor
    keyspace: Keyspace
    pubsub: PubSub
    tracking: Tracking
    monitors: Monitors
    access: Access
    session_type: type[Session[Any]]

    def new_parser(self) -> RequestParser: ...
    def conditions_changed(self) -> None: ...


class Pause(NamedTuple):
    """What is held back until when; `until_ms` is of the monotonic clock."""

    writes_only: bool
    until_ms: float


class Postponed(Waiting):
    """A command that a pause holds back: it is run from its start when the pause is over."""

    __slots__ = ("_clients",)
    postponed = True

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients

    def cancelled(self, session: Client) -> None:
        self._clients.postponed.pop(session, None)


class Clients:
    """The sessions of one node by id, and the rules they live by."""

    def __init__(self, host: ClientsHost) -> None:
        self._host = host
        self.sessions: dict[int, Client] = {}
        self.next_id = 1
        self.pauses: dict[str, Pause] = {}  # by purpose: "client" (CLIENT PAUSE), "failover", "shutdown"
        self.postponed: dict[Client, None] = {}  # in the order in which they came
        self._pause_timer: Timer | None = None
        self._soft_timers: dict[int, Timer] = {}  # by client: when its soft output limit is to be looked at again
        self._idle_timer: Timer | None = None
        self.memory = ClientMemory(host, self.sessions, self.describe)
        config = host.config
        config.on_change("timeout", lambda _timeout_s: self.watch_idle())
        config.on_change("proto-max-bulk-len", self._bulk_limit_changed)

    # --- coming ---------------------------------------------------------------------------------------------------

    def welcome(
        self, sock: Socket, addr: str, laddr: str, *, is_unix: bool = False, is_tls: bool = False
    ) -> Client | None:
        """Serve a connection that was just accepted, or tell it why not and close it."""
        host = self._host
        refusal = self.refusal(addr, is_unix=is_unix)
        if refusal is not None:
            self.turn_away(sock, refusal)
            return None
        host.platform.keep_alive(sock, host.config["tcp-keepalive"])
        client = self.add(addr, laddr)
        client.unix = is_unix
        client.tls = is_tls
        host.reactor.add(sock, client)
        return client

    def turn_away(self, sock: Socket, words: bytes = b"") -> None:
        """Close a connection that is not served, with a word if it can hear one yet."""
        self._host.stats.connections_rejected += 1
        if words:
            with suppress(OSError):
                sock.send(words)
        sock.close()

    @property
    def is_full(self) -> bool:
        return len(self.sessions) >= int(self._host.config["maxclients"])

    def refusal(self, addr: str, *, is_unix: bool) -> bytes | None:
        """What somebody at `addr` is told instead of being served; None lets it in."""
        config = self._host.config
        if self.is_full:
            return TOO_MANY
        guarded = config["protected-mode"] and self._host.access.users.default.nopass
        if guarded and not is_unix and not _is_loopback(addr):
            return PROTECTED
        return None

    def add(self, addr: str, laddr: str) -> Client:
        """A session for a client that has just connected."""
        host = self._host
        client: Client = host.session_type(host, self.next_id, host.keyspace.databases[0], host.new_parser())
        self.next_id += 1
        client.addr, client.laddr = addr, laddr
        client.created_ms = client.last_active_ms = host.keyspace.now_ms
        host.access.welcome(client)
        self.sessions[client.id] = client
        host.stats.connections_received += 1
        if self._idle_timer is None:
            self.watch_idle()
        return client

    def register(self, client: Client) -> None:
        """Count a session among the clients that we opened ourselves: our primary's."""
        client.id = self.next_id
        self.next_id += 1
        client.user = NOBODY  # it may do everything
        client.created_ms = client.last_active_ms = self._host.keyspace.now_ms
        self.sessions[client.id] = client

    def _bulk_limit_changed(self, bytes_max: int) -> None:
        for client in self.sessions.values():
            client.parser.bulk_bytes_max = bytes_max

    def lost(self, client: Client) -> None:
        """A client's connection is gone."""
        self.sessions.pop(client.id, None)
        self._host.pubsub.forget(client)
        client.unwatch()
        self._host.tracking.untrack(client)
        self._host.monitors.remove(client)
        self.memory.forget(client)
        timer = self._soft_timers.pop(client.id, None)
        if timer is not None:
            timer.cancel()
        if client.role is not None:
            client.role.lost()

    # --- looking --------------------------------------------------------------------------------------------------

    def present(self) -> Iterator[Client]:
        """The clients that are not on their way out, oldest first."""
        return (client for client in self.sessions.values() if client.closing != CLOSE_NOW)

    def describe(self, client: Client, running: Argv | None = None) -> bytes:
        """The line of CLIENT LIST; `running` is the command that `client` runs at this moment."""
        now_ms = self._host.keyspace.now_ms
        waiting = client.commands[client.served :]
        arguments_bytes = client.parser.arguments_bytes + sum(map(len, running or ()))
        input_bytes = client.parser.waiting_bytes + sum(
            len(encode_command(argv)) for argv in ([running] if running else []) + waiting
        )
        transport = client.transport
        unsent = transport.unsent_bytes() if transport is not None else len(client.out)
        listed = max(0, unsent - REPLY_BYTES)
        total = memory_bytes(client) + sum(map(len, running or ()))
        writing = transport is not None and transport.waits_to_send()
        channels, patterns, shard_channels = counts(client)
        transaction = client.transaction
        queued, multi_bytes = (-1, 0) if transaction is None else (len(transaction.commands), transaction.bytes)
        command = client.last_command.full_name if client.last_command is not None else "NULL"
        return (
            f"id={client.id} addr={client.addr} laddr={client.laddr} "
            f"fd={transport.socket_number() if transport is not None else -1} name={_text(client.name)} "
            f"age={(now_ms - client.created_ms) // 1000} idle={(now_ms - client.last_active_ms) // 1000} "
            f"flags={flags(client)} db={client.db.index} sub={channels} psub={patterns} ssub={shard_channels} "
            f"multi={queued} qbuf={input_bytes} qbuf-free=0 argv-mem={arguments_bytes} multi-mem={multi_bytes} "
            f"rbs={REPLY_BYTES} rbp={REPLY_BYTES} "
            f"obl={unsent - listed} oll={-(-listed // REPLY_BYTES)} omem={listed} tot-mem={total} "
            f"events={'rw' if writing else 'r'} cmd={command} user={_text(client.user)} "
            f"redir={client.tracker.redirect if client.tracker is not None else -1} "
            f"resp={3 if client.resp3 else 2} lib-name={_text(client.lib_name)} lib-ver={_text(client.lib_ver)}"
        ).encode("utf-8", "surrogateescape")

    # --- leaving --------------------------------------------------------------------------------------------------

    def kill(self, wanted: Callable[[Client], bool]) -> int:
        """Cut off the clients that are wanted; how many."""
        found = [client for client in self.present() if wanted(client)]
        for client in found:
            self._host.pubsub.forget(client)  # nobody counts it as a receiver any more
            client.close(CLOSE_NOW)
        return len(found)

    def output_limit_exceeded(self, client: Client, pending_bytes: int) -> bool:
        """True if `client` reads too slowly for its class."""
        hard, soft, soft_s = self._output_limit(client)
        if client.role is not None:
            pending_bytes += client.role.waiting_bytes
        now_ms = self._host.keyspace.now_ms
        is_stranger = not client.authenticated
        if not (hard and pending_bytes >= hard) and not (is_stranger and pending_bytes > STRANGER_OUTPUT_BYTES_MAX):
            if not soft or pending_bytes < soft:
                client.limit_since_ms = 0
                return False
            if not client.limit_since_ms:
                client.limit_since_ms = now_ms
                if client.id not in self._soft_timers:
                    self._look_later(client, _soft_end_ms(now_ms, soft_s) - now_ms)
                return False
            if now_ms < _soft_end_ms(client.limit_since_ms, soft_s):
                return False
        self._host.stats.output_limit_disconnections += 1
        self._host.log.warning(
            f"Client {_text(self.describe(client))} scheduled to be closed ASAP for overcoming of output buffer limits."
        )
        return True

    def _look_later(self, client: Client, delay_ms: float) -> None:
        self._soft_timers[client.id] = self._host.timers.after(max(0, delay_ms) + 1, lambda: self._look_again(client))

    def _look_again(self, client: Client) -> None:
        """Some time after a soft limit was passed: nothing more may have been written, so nobody else looks."""
        del self._soft_timers[client.id]
        transport = client.transport
        if transport is None or client.closing == CLOSE_NOW or not client.limit_since_ms:
            return
        if self.output_limit_exceeded(client, transport.unsent_bytes()):
            client.close(CLOSE_NOW)
        elif client.limit_since_ms:  # it was passed anew, later than this timer knew
            due_ms = _soft_end_ms(client.limit_since_ms, self._output_limit(client).soft_s)
            self._look_later(client, due_ms - self._host.keyspace.now_ms)

    def _output_limit(self, client: Client) -> OutputLimit:
        config = self._host.config
        kind = "normal" if client.kind == b"master" else client.kind.decode()
        limit = config.client_output_buffer_limit[kind]
        if kind == "replica" and 0 < limit.hard_bytes < config.repl_backlog_size:
            return limit._replace(hard_bytes=config.repl_backlog_size)  # so much is kept for all of them anyway
        return limit

    def input_limit_exceeded(self, client: Client, waiting_bytes: int) -> bool:
        """True if `client` has sent more than may wait to be served."""
        if self.memory.must_go(client, waiting_bytes):
            return True
        bound = self._host.config["client-query-buffer-limit"]
        if waiting_bytes <= bound and (client.authenticated or waiting_bytes <= STRANGER_INPUT_BYTES_MAX):
            return False
        self._host.stats.input_limit_disconnections += 1
        self._host.log.warning(f"Closing client that reached max query buffer length: {_text(self.describe(client))}")
        return True

    def watch_idle(self) -> None:
        """Close who was idle for longer than `timeout`, and come back for the next. Call when `timeout` changes."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        timeout_ms = self._host.config["timeout"] * 1000
        if not timeout_ms or not self.sessions:
            return
        now_ms = self._host.keyspace.now_ms
        next_ms = now_ms + timeout_ms
        for client in list(self.present()):
            if client.kind != b"normal" or client.parked is not None or client.role is not None:
                continue
            if client.monitoring:
                continue
            due_ms = client.last_active_ms + timeout_ms
            if due_ms < now_ms:
                self._host.log.verbose("Closing idle client")
                client.close(CLOSE_NOW)
            else:
                next_ms = min(next_ms, due_ms)
        self._idle_timer = self._host.timers.after(max(IDLE_ROUND_MS_MIN, next_ms - now_ms + 1), self.watch_idle)

    # --- held back ------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> Pause | None:
        """The strictest of the pauses in force."""
        return min(self.pauses.values(), default=None)

    def pause(self, purpose: str, writes_only: bool, duration_ms: float) -> None:
        """Hold commands back. A pause for the same purpose is only made stricter and longer."""
        until_ms = self._host.timers.monotonic_ms() + duration_ms
        old = self.pauses.get(purpose)
        if old is not None:
            writes_only, until_ms = writes_only and old.writes_only, max(until_ms, old.until_ms)
        self.pauses[purpose] = Pause(writes_only, until_ms)
        self._pauses_changed()

    def unpause(self, purpose: str) -> None:
        """End the pause for this purpose; commands are let go once none is left that holds them."""
        if self.pauses.pop(purpose, None) is not None:
            self._pauses_changed()

    def postpone(self, client: Client) -> Reply:
        """Hold back the command that `client` is about to run."""
        self.postponed[client] = None
        return client.park(Postponed(self))

    def hold(self, session: Client) -> None:
        """Hold back whatever a primary sends: a pause is for its stream, too, as in Redis."""
        self.postponed[session] = None
        session.parked = Postponed(self)

    def _pauses_changed(self) -> None:
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self.pauses:
            first_ms = min(pause.until_ms for pause in self.pauses.values())
            self._pause_timer = self._host.timers.at(first_ms, self._pauses_over)
        self._host.keyspace.paused = bool(self.pauses)
        self._host.conditions_changed()
        waiting, self.postponed = self.postponed, {}
        for client in waiting:  # whoever is still held back is postponed anew, in the same order
            client.run_again()
            client.unpark()

    def _pauses_over(self) -> None:
        now_ms = self._host.timers.monotonic_ms()
        self.pauses = {purpose: pause for purpose, pause in self.pauses.items() if pause.until_ms > now_ms}
        self._pauses_changed()


def flags(client: Client) -> str:
    """The letters of CLIENT LIST's `flags`; N where there is nothing to say."""
    told = {
        "O": client.monitoring,
        "S": client.kind == b"replica",
        "M": client.kind == b"master",
        "P": client.subscriptions is not None,
        "x": client.transaction is not None,
        "b": client.parked is not None,
        "t": client.tracker is not None,
        "R": client.tracker is not None and client.tracker.broken,
        "B": client.tracker is not None and client.tracker.bcast,
        "d": client.watcher is not None and client.watcher.spoiled,
        "c": client.closing != 0,
        "U": client.unix,
        "r": client.readonly,
        "e": client.no_evict,
        "T": client.no_touch,
        getattr(client.role, "letter", ""): client.role is not None,  # g, o: slots go, or come, over this link
    }
    return "".join(letter for letter, true in told.items() if true) or "N"


def _soft_end_ms(since_ms: int, soft_s: int) -> int:
    """Until when a soft limit may be exceeded since a moment: for more than its seconds by the clock's seconds."""
    return (since_ms // 1000 + soft_s + 1) * 1000


def is_local(client: Client) -> bool:
    """Does the client come from this machine: by a Unix socket or the loopback interface?"""
    return client.unix or _is_loopback(client.addr)


def _is_loopback(addr: str) -> bool:
    return addr.startswith(("127.", "[::1]:"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
