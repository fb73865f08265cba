"""A connection to one node, and the commands that are on their way over it. Sans-IO: a peer of the reactor.

A shared link carries the commands of many clients, pipelined; the node answers in the order in which they were sent,
so the oldest one that is pending gets the next reply. A private link is lent to one client at a time (WATCH, blocking
commands, subscriptions).

A link begins closed: what is sent before the connection stands, and the handshake is answered, waits in `unsent`. So,
when a link ends, it knows which commands have certainly not reached the node (`Pending.unsent`) and which may have
(`Pending.lost`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from node.net.peer import CLOSE_NOW, OPEN, RECEIVE_BYTES, RECEIVE_BYTES_MAX, Peer
from node.net.replies import MalformedReply
from node.net.resp import Argv
from proxy.cutter import Cutter
from proxy.topology import LinkKey, Node

UNSENT_COMMANDS_MAX = 100_000
"""How many commands wait for a connection that is being made; more are refused."""
OUT_BYTES_MAX = 4 << 20
"""A node that does not read has so much of its clients' commands waiting; who has more for it waits himself."""
_HEADS = {
    word: [b"*2\r\n$%d\r\n%b\r\n$%d\r\n" % (len(word), word, length) for length in range(1024)]
    for word in (b"GET", b"DEL", b"UNLINK", b"EXISTS", b"TOUCH")
}
"""What stands before a short key that is sent alone, by the command's word and the key's length."""
_FIRST, _ERROR, _PUSH = 0, ord("-"), ord(">")


class Pending(Protocol):
    """A command on its way to a node."""

    @property
    def argv(self) -> Argv: ...

    def reply(self, raw: bytes) -> None:
        """The node has answered."""

    def refused(self, raw: bytes) -> None:
        """The node has answered with an error."""

    def lost(self, link: "Link", reason: str) -> None:
        """The link has ended, and the command may have reached the node or not."""

    def unsent(self, link: "Link", reason: str) -> None:
        """The link has ended, and the command has not reached the node."""


class LinkHost(Protocol):
    """What a link needs of its proxy."""

    def monotonic_ms(self) -> float: ...
    def dial(self, link: "Link") -> None:
        """Begin to connect; the link hears of the end by `connected` or `failed`."""

    def handshake(self, link: "Link") -> list[Argv]:
        """What a new connection says first."""

    def link_ended(self, link: "Link") -> None:
        """The link is of no more use."""


class Link(Peer):
    """One connection. `key` is its state at the node."""

    __slots__ = (
        "cutter", "ended", "host", "is_private", "key", "node", "on_push", "parked_sessions", "patient_until_ms",
        "pending", "progress_ms", "queue", "ready",
    )  # fmt: skip

    def __init__(self, host: LinkHost, node: Node, key: LinkKey, *, is_private: bool = False) -> None:
        super().__init__()
        self.host = host
        self.node = node
        self.key = key
        self.is_private = is_private
        self.cutter = Cutter()
        self.pending: deque[Pending] = deque()  # sent, unanswered
        self.queue: list[Pending] = []  # not sent, since there is no connection yet
        self.ready = False
        self.ended = False
        self.on_push: Callable[[bytes], None] | None = None  # gets messages that answer nothing
        self.parked_sessions: dict[Any, None] = {}  # clients that wait for room in `out`
        self.patient_until_ms = 0.0  # a command that waits for others may leave it silent until then
        self.progress_ms = host.monotonic_ms()  # when the node last answered, or had nothing to answer
        host.dial(self)

    # --- sending --------------------------------------------------------------------------------------------------

    def send(self, call: Pending, data: bytes | None = None) -> None:
        """Send one command, or keep it until there is a connection.

        data -- the command in the wire's form, where it is at hand.
        """
        if not self.ready:
            if self.ended:  # while its story did something else
                call.unsent(self, "the connection was lost")
                return
            if len(self.queue) >= UNSENT_COMMANDS_MAX:
                call.unsent(self, "too many commands wait for the connection")
                return
            self.queue.append(call)
            return
        if not self.pending:
            self.progress_ms = self.host.monotonic_ms()
        self.pending.append(call)
        out = self.out
        if not out:  # else the reactor knows already
            self.touch()
        if data is not None:
            out += data
        else:
            append_command(out, call.argv)

    def send_each(self, word: bytes, argv: Argv, places: list[int], call: Pending) -> None:
        """Send a GET, DEL... for each of the keys at these places; the link is `ready`, and `call` gets all replies."""
        if not self.pending:
            self.progress_ms = self.host.monotonic_ms()
        self.pending.extend([call] * len(places))
        out, heads = self.out, _HEADS[word]
        if not out:
            self.touch()
        for place in places:
            name = argv[place]
            size = len(name)
            if size < 1024:
                out += heads[size]
                out += name
                out += b"\r\n"
            else:
                append_command(out, [word, name])

    def send_row(self, calls: Sequence[Pending]) -> None:
        """Send commands so that nobody's come between them."""
        for call in calls:
            self.send(call)

    @property
    def is_full(self) -> bool:
        """The node does not read what it has already."""
        return len(self.out) > OUT_BYTES_MAX

    def wait_for_room(self, session: Any) -> None:
        """Let this client go on once the node has read what waits for it."""
        self.parked_sessions[session] = None
        self.hears_of_sending = True

    def sent(self) -> None:
        self.hears_of_sending = False
        sessions, self.parked_sessions = self.parked_sessions, {}
        for session in sessions:
            session.has_room()

    # --- the beginning --------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a connection: greet the node, then send what waits."""
        steps = self.host.handshake(self)
        for argv in steps:
            self.pending.append(Greeting(self, argv, is_last=argv is steps[-1]))
            append_command(self.out, argv)
        self.progress_ms = self.host.monotonic_ms()
        self.touch()

    def greeted_by_node(self) -> None:
        """The handshake is over."""
        self.ready = True
        queue, self.queue = self.queue, []
        for call in queue:
            self.send(call)

    # --- receiving ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        try:
            replies = self.cutter.cut(data)
        except MalformedReply as error:
            self.fail(f"no RESP: {error}")
            return
        self.read_bytes = min(RECEIVE_BYTES_MAX, max(RECEIVE_BYTES, self.cutter.awaited_bytes))
        if not replies:
            return
        pending, all_good = self.pending, self.cutter.all_good
        for raw in replies:
            if all_good and pending:
                pending.popleft().reply(raw)
                continue
            kind = raw[_FIRST]
            if kind == _PUSH or not pending:
                if not self._unasked(raw, kind):
                    return
            elif kind == _ERROR:
                pending.popleft().refused(raw)
            else:
                pending.popleft().reply(raw)
        self.progress_ms = self.host.monotonic_ms()

    def _unasked(self, raw: bytes, kind: int) -> bool:
        """A message that answers nothing; False if that ends the link."""
        if self.on_push is not None:
            self.on_push(raw)
        elif kind != _PUSH:
            self.fail("a reply that nobody asked for")
            return False
        return self.closing == OPEN

    # --- the end --------------------------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """This link is of no more use: end it, and tell all who wait for it."""
        if self.ended:
            return
        self.ended = True
        self.ready = False
        self.host.link_ended(self)
        self.close(CLOSE_NOW)
        pending = list(self.pending)
        self.pending.clear()  # `receive` may be at it, and must find none whom a further reply could be for
        queue, self.queue = self.queue, []
        sessions, self.parked_sessions = self.parked_sessions, {}
        for call in pending:
            call.lost(self, reason)
        for call in queue:
            call.unsent(self, reason)
        for session in sessions:
            session.has_room()

    def failed(self, reason: str) -> None:
        """No connection could be made."""
        self.fail(reason)

    def lost(self, reason: str) -> None:
        self.fail(reason or "the node closed the connection")

    def is_stuck(self, now_ms: float, patience_ms: float) -> bool:
        """Has the node left its oldest command unanswered for longer than `patience_ms`?"""
        silent_since_ms = max(self.progress_ms, self.patient_until_ms)
        return bool(self.pending or self.queue) and now_ms - silent_since_ms > patience_ms


class Greeting:
    """One command of the handshake."""

    __slots__ = ("_is_last", "_link", "argv")

    def __init__(self, link: Link, argv: Argv, *, is_last: bool) -> None:
        self._link = link
        self.argv = argv
        self._is_last = is_last

    def reply(self, _raw: bytes) -> None:
        if self._is_last:
            self._link.greeted_by_node()

    def refused(self, raw: bytes) -> None:
        name = self.argv[0].upper()
        if name == b"READONLY" or self.argv[1] == b"SETNAME":  # one without a cluster, or an old node: all the same
            self.reply(raw)
            return
        text = f"{name.decode()}: {raw[1:-2].decode('utf-8', 'replace')}"
        queue: list[Pending] = []
        if name == b"AUTH":  # that will not come right by itself: whoever waits is told at once
            queue, self._link.queue = self._link.queue, []
        self._link.fail(text)
        for call in queue:
            call.refused(f"-NOPERM proxy: {self._link.node.name} does not let us in: {text}\r\n".encode())

    def lost(self, _link: Link, _reason: str) -> None:
        pass

    def unsent(self, _link: Link, _reason: str) -> None:
        pass


def append_command(out: bytearray, argv: Argv) -> None:
    """Append a command in the wire's form; the short ones, which are most, in one go."""
    count = len(argv)
    if count == 2:
        name, key = argv
        out += b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(key), key)
    elif count == 3:
        name, key, value = argv
        out += b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(key), key, len(value), value)
    else:
        out += b"*%d\r\n" % count
        for word in argv:
            out += b"$%d\r\n%b\r\n" % (len(word), word)
