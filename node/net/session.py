"""A client's session: bytes in, commands run, replies out. Sans-IO.

The usual case is short: authenticated, not in a transaction, nothing to refuse or to redirect. Then a command costs one
look-up, an arity check, one `&` of its flags with the session's `gates`, the call, and the journal if it wrote.
Whatever is unusual sets a gate, and one call of the node's `execute` goes the careful way instead.
"""

from typing import Any, Generic, Protocol, TypeVar

from node.keyspace.database import Database
from node.keyspace.keyspace import Keyspace
from node.keyspace.watching import Watcher
from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT, OPEN, RECEIVE_BYTES, RECEIVE_BYTES_MAX, Peer
from node.net.resp import (
    ARGUMENTS_MAX,
    BULK_HEADS,
    NO_REPLY,
    SMALL_INTEGERS,
    Argv,
    CommandError,
    Encoded,
    Failure,
    ProtocolError,
    Reply,
    RequestParser,
    encode,
)
from node.table import ANY, BRIEF, CONTAINER, IN_TRANSACTION, KEYED, READ, RIGHTS, Command, Row
from node.timers import Timers

TURN_NS = 1_000_000
"""How long one session is served before the others have their turn..."""
UNDIVIDED_BYTES = 16 * 1024
"""...unless its last read brought no more than this: Redis reads so much at a time and runs it to its end, so nobody
sees a client's short pipeline half done. It is promised nowhere, yet clients rely on it."""
ENDLESS_NS = 1 << 63
JUDGED_TOGETHER_MAX = 16
"""So many brief calls of a command are run in a row, and timed by one look at the clock."""

PARKED = Encoded(b"")
"""What a command returns that waits: its reply comes later, by `resume`. Found by identity."""


class Host(Protocol):
    """What a session needs of its node."""

    words: dict[bytes, Command]
    keyspace: Keyspace
    gates: int
    commands_processed: int
    slow_ns: int
    timers: Timers

    def clock_ns(self) -> int: ...
    def is_mine(self, command: Command, argv: Argv) -> bool:
        """Of a command that only the cluster's gate is closed for: does its key live here, as most do?"""

    def count_mine(self, command: Command, calls: list[Argv]) -> int:
        """How many of these calls, from the first on, are mine as by `is_mine`; fewer, where it is not plain."""

    def lets_pass(self, session: Any, command: Command, argv: Argv, blocked: int) -> bool:
        """As `is_mine`, of a command that these gates are closed for: does nothing stand against it after all?"""

    def execute(self, session: Any, argv: Argv) -> Reply: ...
    def command_failed(self, command: Command, failure: Failure) -> None: ...
    def was_slow(self, session: Any, command: Command, run: list[Argv], time_ns: int) -> None:
        """One of these runs of a command, or all of them together, took `time_ns`: `slow_ns` or more."""

    def session_lost(self, session: Any) -> None: ...
    def output_limit_exceeded(self, session: Any, pending_bytes: int) -> bool: ...
    def input_limit_exceeded(self, session: Any, waiting_bytes: int) -> bool: ...
    def protocol_error(self, session: Any, text: str) -> None: ...


REPLY_ON, REPLY_OFF, REPLY_SKIP, REPLY_SKIP_NEXT = b"on", b"off", b"skip", b"skip-next"
"""CLIENT REPLY: as usual; nothing until further notice; nothing to this command; nothing to this one and the next."""

UNWATCHED_INPUT_BYTES = 1 << 20
"""Input below this is never looked at: the least `client-query-buffer-limit`, and what a stranger may send."""

HostT = TypeVar("HostT", bound=Host)


class Waiting:
    """Why a session is parked: what to undo when it ends otherwise than by its reply."""

    __slots__ = ()
    postponed = False  # by CLIENT PAUSE: the command itself has not begun, and CLIENT UNBLOCK leaves it alone

    def cancelled(self, session: Any) -> None:
        """The client is gone, or was unblocked: forget it."""

    def timeout_reply(self) -> Reply:
        """What the client gets when its time is over (also by CLIENT UNBLOCK TIMEOUT)."""
        return None


class Transaction:
    """What a client has queued since MULTI."""

    __slots__ = ("bytes", "commands", "common_flags", "ending", "spoiled")

    def __init__(self) -> None:
        self.commands: list[tuple[Command, Argv]] = []
        self.bytes = 0  # of their arguments
        self.common_flags = -1  # those that all of them have; every bit there is while nothing is queued
        self.spoiled = False  # something was refused: EXEC will refuse all
        self.ending = False  # EXEC asks the guards


class Session(Peer, Generic[HostT]):
    """One client of the node `host`."""

    __slots__ = (
        "account",
        "addr",
        "asking",
        "authenticated",
        "commands",
        "created_ms",
        "db",
        "flags",
        "gates",
        "held",
        "host",
        "id",
        "identified",
        "kind",
        "laddr",
        "last_active_ms",
        "last_command",
        "lib_name",
        "lib_ver",
        "limit_since_ms",
        "may_block",
        "monitoring",
        "name",
        "no_evict",
        "no_touch",
        "own_gates",
        "parked_timer",
        "parser",
        "readonly",
        "received_bytes",
        "reply_mode",
        "resp3",
        "restricted",
        "role",
        "sent_bytes",
        "served",
        "subscriptions",
        "tls",
        "tracker",
        "transaction",
        "undivided",
        "unix",
        "user",
        "watcher",
        "write_offset",
    )  # fmt: skip

    def __init__(self, host: HostT, session_id: int, db: Database, parser: RequestParser) -> None:
        super().__init__()
        self.host = host
        self.id = session_id
        self.db = db
        self.parser = parser
        self.resp3 = False
        self.gates = 0  # the node's gates and its own: flags of commands that go the careful way
        self.own_gates = 0
        self.commands: list[Argv] = []  # taken from the parser, not yet run...
        self.served = 0  # ...from this place on
        self.undivided = True  # they are run in one turn, however long it takes
        self.authenticated = True
        self.identified = True  # by a password, or because none was needed when it came
        self.user = b"default"
        self.account: Any = None  # the rights of that user (node.acl.users.User); None: all there are
        self.restricted = False  # it has not every right
        self.asking = False
        self.transaction: Transaction | None = None
        self.watcher: Watcher | None = None  # the keys that may spoil it, once there are any
        self.monitoring = False  # MONITOR: it is shown what all clients run
        self.tracker: Any = None  # CLIENT TRACKING ON: how (node.tracking)
        self.readonly = False  # READONLY: a replica of a cluster may serve its reads
        self.reply_mode = REPLY_ON
        self.kind = b"normal"  # the class of its output limits: normal, replica, pubsub
        self.role: Any = None  # what a client becomes that is more: a replica's link
        self.write_offset = 0  # of the journal, after what it has done or could see: what WAIT waits for
        self.name = b""
        self.lib_name = b""
        self.lib_ver = b""
        self.no_evict = False
        self.no_touch = False
        self.addr = self.laddr = ""
        self.unix = False  # it came by the Unix socket
        self.tls = False  # it came by TLS
        self.created_ms = self.last_active_ms = 0
        self.last_command: Command | None = None
        self.received_bytes = 0
        self.may_block = True  # else a command that would wait answers as if its time were over
        self.parked_timer: Any = None
        self.limit_since_ms = 0
        self.subscriptions: Any = (
            None  # to channels, patterns and shard channels (`node.pubsub`); None if there are none
        )
        self.held: bytearray | None = (
            None  # while a command runs that may cause messages to this client: they come later
        )
        self.update_gates()

    def update_gates(self) -> None:
        """Call after a change of the node's gates or the session's own."""
        self.gates = self.host.gates | self.own_gates | CONTAINER

    def set_gate(self, gate: int, closed: bool) -> None:
        """Close or open a gate of this session alone."""
        self.own_gates = self.own_gates | gate if closed else self.own_gates & ~gate
        self.update_gates()

    def set_authenticated(self, authenticated: bool) -> None:
        """The client has shown a password (or needs none); without one all but a few commands are refused."""
        self.authenticated = self.parser.trusted = authenticated
        self._update_any_gate()

    def set_restricted(self, restricted: bool) -> None:
        """Whether each command has to be looked at: the client acts for a user that may not do everything."""
        self.restricted = restricted
        self.set_gate(RIGHTS, restricted)

    def set_reply_mode(self, mode: bytes) -> None:
        """Which replies the client wants: one of the REPLY_ constants."""
        self.reply_mode = mode
        self._update_any_gate()

    def set_asking(self, asking: bool) -> None:
        """ASKING: the next command, whichever it is, may use a slot that is being imported."""
        self.asking = asking
        self._update_any_gate()

    def set_transaction(self, transaction: Transaction | None) -> None:
        """MULTI begins one; `end_transaction` ends it."""
        self.transaction = transaction
        self.set_gate(IN_TRANSACTION, transaction is not None)

    def set_subscriptions(self, subscriptions: Any) -> None:
        """The client has become a subscriber, or None: it is one no longer. That decides its class, too."""
        self.subscriptions = subscriptions
        if self.kind in (b"normal", b"pubsub"):
            self.kind = b"normal" if subscriptions is None else b"pubsub"
        self._update_any_gate()

    def end_transaction(self) -> None:
        """EXEC, DISCARD, RESET: nothing is queued or watched any more."""
        self.unwatch()
        self.set_transaction(None)

    def unwatch(self) -> None:
        """No key that this client has watched can spoil its transaction, not even one that has changed already."""
        if self.watcher is not None:
            self.host.keyspace.watching.unwatch(self.watcher)
            self.watcher = None

    def set_tracker(self, tracker: Any) -> None:
        """How the keys that this client caches are tracked; None: not at all."""
        self.tracker = tracker
        self._update_any_gate()

    def become_replica(self) -> None:
        """From now on its output is the replication stream, in which no reply may stand."""
        self.kind = b"replica"
        self._update_any_gate()

    def set_no_touch(self, no_touch: bool) -> None:
        """Whether this client's reads leave the access clocks of keys alone."""
        self.no_touch = no_touch
        self.set_gate(READ, no_touch)

    @property
    def is_unusual(self) -> bool:
        """Is there more to each of its commands than that it is run and answered, tracking aside?"""
        unusual = self.reply_mode != REPLY_ON or not self.authenticated or self.asking
        return unusual or self.subscriptions is not None or self.kind == b"replica"

    def _update_any_gate(self) -> None:
        self.set_gate(ANY, self.is_unusual or self.tracker is not None)

    def wanted(self, reply: Reply) -> Reply:
        """The reply, or nothing where CLIENT REPLY says so."""
        if self.reply_mode == REPLY_ON or reply is PARKED:
            return reply
        if self.reply_mode == REPLY_SKIP_NEXT:  # CLIENT REPLY SKIP itself has just run
            self.reply_mode = REPLY_SKIP
        elif self.reply_mode == REPLY_SKIP:
            self.set_reply_mode(REPLY_ON)
        return NO_REPLY

    # --- input ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self.last_active_ms = self.host.keyspace.now_ms
        parser = self.parser
        commands = parser.take(data)
        if commands is None:
            parser.feed(data)
            waiting_bytes = parser.waiting_bytes
            if waiting_bytes > UNWATCHED_INPUT_BYTES and self.host.input_limit_exceeded(self, waiting_bytes):
                self.close()
                return
        else:
            self.commands = commands
            self.served = 1
            if len(commands) == 1 and not parser.waiting_bytes and self._serve_one(commands[0], data):
                return
            self.served = 0
        self.undivided = len(data) <= UNDIVIDED_BYTES
        self.proceed()

    def _serve_one(self, argv: Argv, _data: bytes) -> bool:
        """Run the command that a read brought, as `_serve` would, without what rows need. False: it is not usual.

        _data -- that read, for sessions that send it on.
        """
        host = self.host
        command = host.words.get(argv[0])
        if command is None or (len(argv) != command.arity and (command.arity > 0 or len(argv) < -command.arity)):
            return False
        blocked = command.flags & self.gates
        if (
            blocked
            and (blocked != KEYED or not host.is_mine(command, argv))
            and (blocked == KEYED or not host.lets_pass(self, command, argv, blocked))
        ):
            return False
        keyspace = host.keyspace
        dirty = keyspace.dirty
        self.last_command = command
        started = host.clock_ns()
        try:
            reply = command.run(self, argv)
        except CommandError as error:
            reply = error.reply
        if keyspace.dirty != dirty:
            keyspace.commit(self.db.index, argv)
            self.write_offset = keyspace.journal.offset
        if type(reply) is Failure:
            host.command_failed(command, reply)
        encode(reply, self.out, self.resp3)
        if keyspace.waiters.appeared:
            keyspace.waiters.serve()
        host.commands_processed += 1
        if reply is PARKED:
            return True
        time_ns = host.clock_ns() - started
        command.count(1, time_ns)
        if time_ns >= host.slow_ns:
            host.was_slow(self, command, [argv], time_ns)
        return True

    def proceed(self) -> None:
        """Run what has arrived, until nothing is left, the turn is over, or the session waits."""
        self.more = False
        host = self.host
        end_ns = ENDLESS_NS if self.undivided else host.clock_ns() + TURN_NS
        while self.closing == OPEN and self.parked is None:
            if self.served >= len(self.commands):
                self.served = 0
                try:
                    self.commands = self.parser.parse(ARGUMENTS_MAX if self.authenticated else 1)
                except ProtocolError as error:
                    self.commands = []
                    self._refuse(error)
                    return
                if not self.commands:
                    self.read_bytes = min(RECEIVE_BYTES_MAX, max(RECEIVE_BYTES, self.parser.awaited_bytes))
                    return
            self._serve(end_ns)
            if self.served < len(self.commands) and self.parked is None:
                self.more = self.closing == OPEN
                return
            if not self.parser.waiting_bytes and self.parked is None:
                return

    def _refuse(self, error: ProtocolError) -> None:
        text = str(error)
        self.host.protocol_error(self, text)
        failure = Failure(b"ERR Protocol error: " + text.encode("latin-1"))
        encode(self.wanted(failure), self.out, self.resp3)
        self.closing = CLOSE_WHEN_SENT

    def _serve(self, end_ns: int) -> None:
        """Run commands until none is left, the turn is over or the session waits.

        Equal commands in a row are counted and timed together: the clock costs as much as a small reply. Each time it
        is read anyway, what has run since it was last read is judged: a single command, or some brief ones of a row.
        """
        host = self.host
        slow_ns = host.slow_ns
        find, clock_ns, is_mine = host.words.get, host.clock_ns, host.is_mine
        commands, at = self.commands, self.served
        first, count = at, len(commands)
        running: Command | None = None  # the command of the row that is being counted...
        since = at  # ...from here on...
        started = looked = clock_ns()  # ...and from then on; `looked`: when the clock was last read...
        judged = at  # ...after the commands before this place
        look_at = at + JUDGED_TOGETHER_MAX  # where it is read next, be the command brief or not
        while at < count:
            argv = commands[at]
            command = find(argv[0])
            if command is not running:
                if running is not None:
                    now = clock_ns()
                    running.count(at - since, now - started)
                    if now - looked >= slow_ns and judged < at:  # else nothing has run: the system had us wait
                        host.was_slow(self, running, commands[judged:at], now - looked)
                    started = looked = now
                    judged = at
                running, since = None, at
            at += 1
            if (
                command is None
                or (len(argv) != command.arity and (command.arity > 0 or len(argv) < -command.arity))
                or (
                    (blocked := (flags := command.flags) & self.gates)
                    and (blocked != KEYED or not is_mine(command, argv))
                    and (blocked == KEYED or not host.lets_pass(self, command, argv, blocked))
                )
            ):
                if running is not None:  # the same command, but now there is something in its way
                    running.count(at - 1 - since, clock_ns() - started)
                    running = None
                self.served = at
                reply = host.execute(self, argv)
                at = self.served  # the commands behind it may have been dealt with, too
                if reply is not PARKED:
                    encode(reply, self.out, self.resp3)
                started = looked = clock_ns()
                since = judged = at
                if started > end_ns or self.closing or self.parked is not None:
                    break
                continue
            if running is None:
                running = self.last_command = command
            begin = at - 1
            if flags & BRIEF and at < count and commands[at][0] == argv[0] and blocked in (0, KEYED):
                at = self._row_end(command, at, keyed=bool(blocked))
            self._run_calls(command, commands[begin:at])
            if flags & BRIEF and at < look_at:
                continue
            look_at = at + JUDGED_TOGETHER_MAX
            self.served = at
            now = clock_ns()
            if now - looked >= slow_ns:
                host.was_slow(self, command, commands[judged:at], now - looked)
            looked, judged = now, at
            if self.closing or self.parked is not None or now > end_ns:
                break
        if running is not None:
            now = looked if judged == at else clock_ns()
            ended = at - since - (self.parked is not None)
            if ended:
                running.count(ended, now - started)
            if judged < at and now - looked >= slow_ns:
                host.was_slow(self, running, commands[judged:at], now - looked)
        self.served = at
        host.commands_processed += at - first

    def _row_end(self, command: Command, at: int, *, keyed: bool) -> int:
        """Where the calls end that are as the one before place `at`: of its name and length, and (`keyed`) as mine."""
        commands, start = self.commands, at
        name, size = commands[at - 1][0], len(commands[at - 1])
        end = min(len(commands), at - 1 + JUDGED_TOGETHER_MAX)
        while at < end and commands[at][0] == name and len(commands[at]) == size:
            at += 1
        return start + self.host.count_mine(command, commands[start:at]) if keyed else at

    def _run_calls(self, command: Command, calls: list[Argv]) -> None:
        """Run calls of a command that nothing stands against: several only if it is brief, and all of one length."""
        host = self.host
        keyspace, out = host.keyspace, self.out
        if len(calls) > 1 and command.row is not None:
            dirty = keyspace.dirty
            calls = self.run_row(command.row, calls, out)
            if keyspace.dirty != dirty:
                self.write_offset = keyspace.journal.offset
        dirty = keyspace.dirty
        run, appeared, heads = command.run, keyspace.waiters.appeared, BULK_HEADS
        for argv in calls:
            try:
                reply = run(self, argv)
            except CommandError as error:
                reply = error.reply
            if keyspace.dirty != dirty:
                dirty = keyspace.dirty
                keyspace.commit(self.db.index, argv)
                self.write_offset = keyspace.journal.offset
            kind = type(reply)
            if kind is bytes:
                size = len(reply)
                if size < 1024:
                    out += heads[size]
                    out += reply
                    out += b"\r\n"
                else:
                    out += b"$%d\r\n%b\r\n" % (size, reply)
            elif kind is Encoded:
                out += reply
            elif kind is int:
                out += SMALL_INTEGERS[reply] if 0 <= reply < 1024 else b":%d\r\n" % reply
            else:
                if kind is Failure:
                    host.command_failed(command, reply)
                encode(reply, out, self.resp3)
            if appeared:
                keyspace.waiters.serve()
                dirty = keyspace.dirty

    def run_row(self, row: Row, calls: list[Argv], out: bytearray) -> list[Argv]:
        """Run those calls of a command, all of one length, that its row takes; returns the others, which follow."""
        keyspace = self.host.keyspace
        if len(calls) == 1 or len(calls[0]) != row.size or not keyspace.unheeded:
            return calls
        dirty = keyspace.dirty
        done, replies = row.run(self, calls)
        out += replies
        if keyspace.dirty != dirty:
            keyspace.commit_row(self.db.index, calls[:done])
        return calls[done:]

    # --- waiting --------------------------------------------------------------------------------------------------

    def park(self, waiting: Waiting, timeout_ms: float = 0) -> Reply:
        """Wait, for `timeout_ms` at the most unless it is 0; returns what the running command has to return.

        The session's input stays unread meanwhile. Who may not wait answers as if the time were over.
        """
        assert self.parked is None
        if not self.may_block:
            waiting.cancelled(self)
            return waiting.timeout_reply()
        self.parked = waiting
        if timeout_ms:
            self.parked_timer = self.host.timers.after(timeout_ms, self.time_is_over)
        return PARKED

    def time_is_over(self) -> None:
        """What was waited for has not come in time: the client gets what it gets then."""
        waiting = self.parked
        waiting.cancelled(self)
        self.resume(waiting.timeout_reply())

    def unblock(self, reply: Reply) -> None:
        """Somebody else ends the wait: the client gets `reply`."""
        self.parked.cancelled(self)
        self.resume(reply)

    def resume(self, reply: Reply, time_ns: int = 0) -> None:
        """The wait is over: answer, and go on with what the client sent meanwhile.

        Only now is the command counted, with the time that it took to find the answer.
        """
        self.unpark()
        command = self.last_command
        if command is not None:
            command.count(1, time_ns)
            if type(reply) is Failure:
                self.host.command_failed(command, reply)
        encode(self.wanted(reply), self.out, self.resp3)

    def refuse_to_resume(self, refusal: Failure) -> None:
        """What was waited for is there, but not for this client any more: the command has not run."""
        self.unpark()
        encode(self.wanted(refusal), self.out, self.resp3)

    def unpark(self) -> None:
        """The wait is over without a reply of its own."""
        self.parked = None
        if self.parked_timer is not None:
            self.parked_timer.cancel()
            self.parked_timer = None
        self.more = self.served < len(self.commands) or self.parser.waiting_bytes > 0
        self.touch()

    def run_again(self) -> None:
        """The command that was postponed is to be run once the session is no longer parked."""
        assert self.served > 0
        self.served -= 1
        self.host.commands_processed -= 1

    # --- the end, and what comes unasked --------------------------------------------------------------------------

    def push(self, value: Reply) -> None:
        """Send something that answers no request; what the client's own command causes follows the reply to it."""
        if self.held is not None:
            encode(value, self.held, self.resp3)
        else:
            encode(value, self.out, self.resp3)
            self.touch()

    def push_bytes(self, data: bytes | bytearray) -> None:
        """Send wire bytes that answer no request; what the client's own command causes follows the reply to it."""
        if self.held is not None:
            self.held += data
        else:
            self.out += data
            self.touch()

    def sent(self) -> None:
        if self.role is None:
            self.limit_since_ms = 0
        else:
            self.role.sent()

    def close(self, how: int = CLOSE_NOW) -> None:
        """Ask for the end. Whoever goes no longer waits: what it waited for is left to the next."""
        super().close(how)
        if self.parked is not None:
            self.parked.cancelled(self)
            self.unpark()
            self.more = False

    def lost(self, reason: str) -> None:
        if self.parked is not None:
            self.parked.cancelled(self)
            self.unpark()
        self.host.session_lost(self)

    def output_limit_exceeded(self, pending_bytes: int) -> bool:
        return self.host.output_limit_exceeded(self, pending_bytes)
