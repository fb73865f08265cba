"""The reactor: one Trio task that serves every socket of the node in batches.

All sockets are watched by one inner epoll, and Trio waits for that one descriptor. Each wake-up serves every ready peer
in one batch (receive, act, append replies), and then sends all of it: no task and no queue per client, and one place
between "replies are made" and "replies leave" where the journal can be made durable first (`before_send`).
A Trio stream for each connection reached a quarter of this throughput.

Rules: sockets are closed after the batch (another peer's, too: descriptors are used again at once). A peer with a long
pipeline gives the turn back after `SLICE_NS`. What a socket does not take stays in the peer's `out`, and its epoll
entry asks for room. An error of a socket closes that peer, never the node; any other exception is a bug and goes up.
"""

from collections import deque
from collections.abc import Callable

from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT, OPEN, SHUTDOWN, Peer
from node.platform import HUNG_UP, READABLE, WRITABLE, Alarm, LayeredSocket, Platform, Socket

SLICE_NS = 1_000_000
"""How long the reactor works before it lets Trio's other tasks (timers, dialling) run."""

_COMPACT_BYTES = 1 << 20
"""Sent bytes are cut off the front of a big output only once there are this many: each cut moves the rest."""
_SEND_BYTES = 1 << 20
UNLIMITED_BYTES = 16 * 1024
"""No output limit looks at less: it fits the buffer that Redis, too, gives every client."""


USUAL = READABLE | HUNG_UP
"""What a socket is watched for unless its peer is parked, slow or at its end."""
_UNSETTLED = -1
"""No mask: the connection is looked at more closely once the batch is over."""


class Connection:
    """A socket and its peer: the peer's `Transport`."""

    __slots__ = ("_reactor", "dirty", "ended", "fd", "free_bytes", "holds", "mask", "peer", "sent_bytes", "socket")

    def __init__(self, reactor: "Reactor", socket: Socket, peer: Peer) -> None:
        self._reactor = reactor
        self.socket = socket
        self.peer = peer
        self.fd = socket.fileno()
        self.mask = USUAL
        self.sent_bytes = 0  # how much of the front of `peer.out` has left already
        self.free_bytes = 0  # how much of it may leave, while some is held
        self.holds: list[tuple[int, int]] = []  # (mark, how much of it may leave from that mark on)
        self.dirty = False
        self.ended = False

    def touch(self) -> None:
        if not self.dirty:
            self.dirty = True
            self._reactor.dirty.append(self)
            if not self._reactor.in_batch:
                self._reactor.wake()

    def socket_number(self) -> int:
        return self.fd

    def unsent_bytes(self) -> int:
        return len(self.peer.out) - self.sent_bytes

    def sendable_bytes(self) -> int:
        """How much may leave now."""
        return (self.free_bytes if self.holds else len(self.peer.out)) - self.sent_bytes

    def hold(self, mark: int) -> bool:
        """Keep what the output has now until `mark` is released; True if nothing was kept for that mark before."""
        size, holds = len(self.peer.out), self.holds
        if holds and holds[-1][0] == mark:
            holds[-1] = mark, size
            return False
        if not holds:
            self.free_bytes = self.sent_bytes
        holds.append((mark, size))
        return True

    def release(self, mark: int) -> None:
        """What was kept until `mark` or an earlier one may leave."""
        holds = self.holds
        while holds and holds[0][0] <= mark:
            self.free_bytes = holds.pop(0)[1]

    def forget_sent(self) -> None:
        """Cut off the front of the output what has left."""
        count, self.sent_bytes = self.sent_bytes, 0
        del self.peer.out[:count]
        if self.holds:
            self.free_bytes -= count
            self.holds = [(mark, size - count) for mark, size in self.holds]

    def waits_to_send(self) -> bool:
        return self.mask > 0 and bool(self.mask & WRITABLE)

    def holds_back(self) -> bool:
        """Does the socket hold bytes of its own that have not left?"""
        return False


class LayeredConnection(Connection):
    """A connection whose socket has words of its own to send: a handshake."""

    __slots__ = ("_layer",)

    def __init__(self, reactor: "Reactor", socket: LayeredSocket, peer: Peer) -> None:
        super().__init__(reactor, socket, peer)
        self._layer = socket

    def holds_back(self) -> bool:
        try:
            return not self._layer.flush()
        except OSError:
            self.peer.closing = CLOSE_NOW
            return False


class Reactor:
    """Serves peers until it is cancelled."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.connections: dict[int, Connection] = {}
        self.dirty: list[Connection] = []
        self.in_batch = False
        self.before_batch: Callable[[], None] = _nothing
        """Called before each batch: reads the clock."""
        self.before_send: Callable[[], int] = _at_once
        """Called after each batch, before anything is sent: the mark whose `release` all output that there is now has
        to wait for, 0 if it may leave at once. Marks never fall. Further batches are served meanwhile: what they make
        waits in its turn, since it may tell of what is not safe yet."""
        self.is_full: Callable[[], bool] = _always
        """Asked before a batch while output is held: no more may be served until something is released."""
        self.settle: Callable[[], None] = _nothing
        """Called where output is held and nobody can wait: what it is held for must be done when this returns."""
        self._held: deque[tuple[int, list[Connection]]] = deque()  # (mark, who has output that waits for it)
        self.before_rest: Callable[[], None] = _nothing
        """Called when nothing more is there to serve, or a slice is over."""
        self.after_batch: Callable[[], None] = _nothing
        """Called after each batch, when what could be sent has left."""
        self.reset_counts()
        self._poller = platform.poller()
        self._busy: list[Connection] = []  # peers with input taken but not served
        self._bells = platform.poller()  # by itself: they are heard, too, while no more may be served
        self._poller.register(self._bells.fileno(), READABLE)
        self._heard: dict[int, Callable[[], None]] = {}  # what to call, by the descriptor of the bell
        self._alarm = platform.alarm()
        self.listen(self._alarm, self._alarm.clear)

    def reset_counts(self) -> None:
        """Let the counters begin anew."""
        self.received_bytes = self.sent_bytes = 0
        self.reads = self.writes = 0
        self.turns = 0
        self.busy_ns = 0  # the time that was worked

    def add(self, socket: Socket, peer: Peer) -> Connection:
        """Serve `peer` over a connected, non-blocking socket from now on."""
        if isinstance(socket, LayeredSocket):
            connection: Connection = LayeredConnection(self, socket, peer)
        else:
            connection = Connection(self, socket, peer)
        peer.transport = connection
        self.connections[connection.fd] = connection
        self._poller.register(connection.fd, connection.mask)
        if peer.out or peer.more:
            connection.touch()
        return connection

    def listen(self, bell: Alarm, heard: Callable[[], None]) -> None:
        """Call `heard` when the bell has rung."""
        self._heard[bell.fileno()] = heard
        self._bells.register(bell.fileno(), READABLE)

    def _hear(self) -> None:
        for fd, _ in self._bells.poll():
            self._heard[fd]()

    def wake(self) -> None:
        """Something was touched outside of a batch: the reactor may be asleep."""
        self._alarm.ring()

    async def run(self) -> None:
        """Serve for ever."""
        while True:
            self.before_rest()
            if self._held and self.is_full():
                await self._bells.wait()
                self._hear()
            elif self._busy or self.dirty:
                await self.platform.checkpoint()
            else:
                await self._poller.wait()
            start = now = self.platform.clock_ns()
            while self.turn() and now < start + SLICE_NS:
                now = self.platform.clock_ns()
            self.busy_ns += now - start

    def turn(self) -> bool:
        """Serve one batch; False if there was nothing to do, or too much output is held."""
        if self._held and self.is_full():
            return False
        ready = self._poller.poll()
        busy = self._busy
        if not ready and not busy and not self.dirty:
            return False
        self.turns += 1
        self.in_batch = True
        self.before_batch()
        if busy:
            self._busy = []
            for connection in busy:
                if connection.peer.more and connection.peer.closing == OPEN:
                    connection.peer.proceed()
                if not connection.dirty:
                    self._mark(connection)
        if ready:
            self._receive_all(ready)
        self.send_all()
        self.in_batch = False
        self.after_batch()
        return True

    def turn_within(self) -> None:
        """Serve a batch while another is being served: whoever runs for long inside a batch lets the others live.

        The peer on whose behalf it runs must be parked meanwhile, and touched afterwards.
        """
        in_batch = self.in_batch
        if self._held:
            self.settle()
        self.turn()
        if self._held:
            self.settle()
        self.in_batch = in_batch

    def _mark(self, connection: Connection) -> None:
        connection.dirty = True
        self.dirty.append(connection)

    def _receive_all(self, ready: list[tuple[int, int]]) -> None:
        """Take what has come, and have it acted on."""
        find = self.connections.get
        for fd, mask in ready:
            connection = find(fd)
            if connection is None:
                self._hear()
                continue
            if not connection.dirty:
                connection.dirty = True
                self.dirty.append(connection)  # not held in a local name: a batch within this one begins another list
            peer = connection.peer
            if peer.closing or peer.more:
                continue  # what has been taken is served first
            if peer.parked is not None:
                if mask & ~(READABLE | WRITABLE):  # gone while it waited: nobody is left to answer
                    self._ended(connection)
                elif mask & READABLE:  # it stays unread; most say nothing meanwhile, so that is seen to only now
                    connection.mask = _UNSETTLED
                continue
            if not mask & ~WRITABLE:
                continue
            try:
                data = connection.socket.recv(peer.read_bytes)
            except BlockingIOError:
                connection.mask = _UNSETTLED  # a handshake goes on: it may wait for room
                continue
            except OSError:
                peer.closing = CLOSE_NOW
                continue
            if not data:
                self._ended(connection)
                continue
            self.received_bytes += len(data)
            self.reads += 1
            peer.receive(data)

    def _ended(self, connection: Connection) -> None:
        """The other side sends no more. What this batch has made for it is sent, as far as the socket takes it."""
        connection.ended = True
        connection.peer.close(CLOSE_WHEN_SENT)

    @property
    def held(self) -> bool:
        """Output waits for a `release`."""
        return bool(self._held)

    def release(self, mark: int) -> None:
        """Let go what `before_send` has held until `mark` or an earlier one."""
        held = self._held
        if not held or held[0][0] > mark:
            return
        in_batch, self.in_batch = self.in_batch, True
        self.send_all()  # what has been made since the last batch does not leave with what was made before
        free: list[Connection] = []
        while held and held[0][0] <= mark:
            free += held.popleft()[1]
        for connection in free:
            connection.release(mark)
        self._send(free)
        self.send_all()
        self.in_batch = in_batch
        if not in_batch:
            self.wake()  # it may have waited because too much was held

    def send_all(self) -> None:
        """Send what the batch left behind, close what is to be closed, see to what each socket is watched for."""
        while True:
            mark = self.before_send()
            if mark and (not self._held or self._held[-1][0] != mark):
                self._held.append((mark, []))
            if not self.dirty:
                return
            dirty, self.dirty = self.dirty, []
            for connection in dirty:
                connection.dirty = False
            if mark:
                self._hold(dirty, mark)
            else:
                self._send(dirty)

    def _hold(self, connections: list[Connection], mark: int) -> None:
        """Keep what they have to send, but close and watch as if it were on its way."""
        waiting = self._held[-1][1]
        for connection in connections:
            if connection.hold(mark):
                waiting.append(connection)
            peer = connection.peer
            if connection.mask != USUAL or peer.closing or peer.more or len(peer.out) > UNLIMITED_BYTES:
                self._settle(connection)

    def _send(self, connections: list[Connection]) -> None:
        for connection in connections:
            peer = connection.peer
            out = peer.out
            size = len(out)
            usual = not (
                connection.mask != USUAL
                or peer.closing
                or peer.more
                or size > UNLIMITED_BYTES
                or peer.hears_of_sending
                or connection.sent_bytes
                or connection.holds
            )
            if usual and size:  # a short reply, which leaves in one piece as a rule
                try:
                    count = connection.socket.send(out)
                except OSError:
                    count = 0  # the longer way meets it again
                else:
                    self.sent_bytes += count
                    self.writes += 1
                usual = count == size
                if usual:
                    out.clear()
                else:
                    connection.sent_bytes = count
            if not usual:
                self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        peer = connection.peer
        if self.connections.get(connection.fd) is not connection:
            return  # closed earlier; its descriptor may belong to another by now
        if peer.out and peer.closing != CLOSE_NOW:
            if len(peer.out) > UNLIMITED_BYTES and peer.output_limit_exceeded(connection.unsent_bytes()):
                peer.close(CLOSE_NOW)
            elif connection.sendable_bytes():
                self._send_some(connection)
        holds_back = connection.holds_back()
        unsent = bool(peer.out) or holds_back
        if peer.closing == CLOSE_NOW or (peer.closing and (not unsent or (connection.ended and not connection.holds))):
            self._close(connection, "")
            return
        if peer.more:
            self._busy.append(connection)
        mask = 0 if peer.closing else HUNG_UP  # nothing is read any more: a half-closed socket would report for ever
        if connection.sendable_bytes() or holds_back:
            mask |= WRITABLE
        if peer.parked is None and not peer.closing:
            mask |= READABLE
        if mask != connection.mask:
            connection.mask = mask
            self._poller.modify(connection.fd, mask)

    def _send_some(self, connection: Connection) -> None:
        """Send as much as may leave, in one piece."""
        peer = connection.peer
        out = peer.out
        start, size = connection.sent_bytes, min(connection.sendable_bytes(), _SEND_BYTES)
        try:
            if size == len(out):
                count = connection.socket.send(out)
            else:
                with memoryview(out) as view:
                    count = connection.socket.send(view[start : start + size])
        except BlockingIOError:
            count = 0
        except OSError:
            peer.closing = CLOSE_NOW
            return
        self.sent_bytes += count
        self.writes += 1
        connection.sent_bytes += count
        pending = len(out) - connection.sent_bytes
        if not pending or connection.sent_bytes > max(_COMPACT_BYTES, pending):
            connection.forget_sent()
        if not pending and peer.hears_of_sending:
            peer.sent()

    def _close(self, connection: Connection, reason: str) -> None:
        del self.connections[connection.fd]
        connection.mask = 0
        self._poller.unregister(connection.fd)
        connection.socket.close()
        connection.peer.transport = None
        connection.peer.lost(reason)

    def detach(self, peer: Peer) -> Socket | None:
        """Stop serving `peer` and hand its socket back, unclosed."""
        connection = peer.transport
        if not isinstance(connection, Connection):
            return None
        del self.connections[connection.fd]
        self._poller.unregister(connection.fd)
        peer.transport = None
        return connection.socket

    def close(self) -> None:
        """Close every connection: the end of the node."""
        for connection in list(self.connections.values()):
            self._close(connection, SHUTDOWN)
        self._poller.close()
        self._bells.close()
        self._alarm.close()


def _nothing() -> None:
    pass


def _at_once() -> int:
    return 0


def _always() -> bool:
    return True
