"""Output that is held until a mark is released, over real sockets: nothing leaves too early, nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT, Peer
from node.net.reactor import Connection, Reactor
from node.platform import Platform

PATTERN = bytes(range(251))
PEERS = 2
SIZES = [0, 1, 5, 20_000, 300_000, 1_500_000]
"""Of one output: none, what fits a socket, what has to be looked at for limits, what leaves in several pieces."""


class Writer(Peer):
    """Has been told to send so much, by and by."""

    def __init__(self) -> None:
        super().__init__()
        self.made_bytes = 0

    def make(self, size: int) -> None:
        """The stream goes on: which byte stands where in it can be told."""
        start = self.made_bytes % len(PATTERN)
        self.out += (PATTERN * (size // len(PATTERN) + 2))[start : start + size]
        self.made_bytes += size
        self.touch()

    def receive(self, data: bytes) -> None:
        self.make(len(data))


class World:
    """A reactor whose marks a test gives and releases, and what has come out of it."""

    def __init__(self) -> None:
        self.reactor = Reactor(Platform())
        self.reactor.before_send = lambda: self.due if self.due > self.done else 0
        self.reactor.is_full = lambda: False
        self.due = self.done = 0
        self.writers: list[Writer] = []
        self.ends: list[socket.socket] = []
        self.heard_bytes = [0] * PEERS
        self.made: list[list[tuple[int, int]]] = [[] for _ in range(PEERS)]  # (mark, how much there was)
        for _ in range(PEERS):
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.setblocking(False)
            self.writers.append(Writer())
            self.reactor.add(ours, self.writers[-1])
            self.ends.append(theirs)

    def batch(self, number: int, size: int, *, wrote: bool) -> None:
        """One writer makes so much; if it `wrote`, all that is made from now on has to wait for another mark."""
        self.due += wrote
        self.writers[number].make(size)
        self.reactor.turn()
        mark = self.due if self.due > self.done else 0
        self.made[number].append((mark, self.writers[number].made_bytes))

    def release(self, count: int) -> None:
        self.done = min(self.due, self.done + count)
        self.reactor.release(self.done)

    def hear(self, number: int) -> int:
        """Take what has arrived, and see that it is what it ought to be."""
        got = 0
        while True:
            try:
                data = self.ends[number].recv(1 << 20)
            except BlockingIOError:
                break
            if not data:
                break
            start = self.heard_bytes[number] % len(PATTERN)
            assert data == (PATTERN * (len(data) // len(PATTERN) + 2))[start : start + len(data)]
            self.heard_bytes[number] += len(data)
            got += len(data)
        free = max((size for mark, size in self.made[number] if mark <= self.done), default=0)
        assert self.heard_bytes[number] <= free, "it has left too early"
        return got

    def settle(self) -> None:
        """Release everything and hear it to its end."""
        self.release(self.due)
        while self.reactor.turn() or sum(self.hear(number) for number in range(PEERS)):
            pass

    def close(self) -> None:
        self.reactor.close()
        for end in self.ends:
            end.close()


@contextmanager
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


numbers = st.integers(0, PEERS - 1)
batches = st.tuples(st.just("batch"), numbers, st.sampled_from(SIZES), st.booleans())
steps = st.one_of(
    batches,
    batches,
    st.tuples(st.just("release"), st.integers(1, 3)),
    st.tuples(st.just("hear"), numbers),
    st.tuples(st.just("turn")),
    st.tuples(st.just("touch"), numbers, st.sampled_from(SIZES)),
)


def act(world: World, step: tuple[object, ...]) -> None:
    match step:
        case ("batch", int(number), int(size), bool(wrote)):
            world.batch(number, size, wrote=wrote)
        case ("release", int(count)):
            world.release(count)
        case ("hear", int(number)):
            world.hear(number)
        case ("turn",):
            world.reactor.turn()
        case ("touch", int(number), int(size)):  # a task writes between two batches, of what is not safe yet
            world.due += 1
            world.writers[number].make(size)
            world.made[number].append((world.due, world.writers[number].made_bytes))


def tell(trace: list[tuple[object, ...]]) -> None:
    with world() as made:
        for step in trace:
            act(made, step)
        made.settle()
        assert made.heard_bytes == [writer.made_bytes for writer in made.writers]
        assert not made.reactor.held
        for connection in made.reactor.connections.values():
            assert not connection.holds and not connection.sent_bytes and not connection.peer.out


@settings(deadline=None, max_examples=150)
@given(st.lists(steps, max_size=30))
def test_nothing_leaves_before_its_mark_and_everything_after_it(trace: list[tuple[object, ...]]) -> None:
    tell(trace)


def _release_all(connection: Connection, _mark: int) -> None:
    connection.holds.clear()


def _forget_sent(connection: Connection) -> None:
    del connection.peer.out[: connection.sent_bytes]
    connection.sent_bytes = 0


PLANTED: dict[str, tuple[str, Callable[..., object]]] = {
    "a release lets all go": ("release", _release_all),
    "what has left is not taken off what may": ("forget_sent", _forget_sent),
    "what is held is sendable": ("sendable_bytes", lambda self: len(self.peer.out) - self.sent_bytes),
}
TRACE: list[tuple[object, ...]] = [
    ("batch", 0, 5, True),
    ("batch", 0, 0, True),
    ("release", 1),
    ("batch", 0, 5, True),
    ("hear", 0),
    ("release", 1),
    ("hear", 0),
    ("batch", 0, 20_000, True),
    ("hear", 0),
    ("release", 1),
    ("hear", 0),
]


@pytest.mark.parametrize("bug", PLANTED)
def test_the_trace_notices(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(TRACE)
    monkeypatch.setattr(Connection, *PLANTED[bug])
    with pytest.raises(AssertionError):
        tell(TRACE)


def test_requests_are_served_while_output_is_held_until_that_is_too_much() -> None:
    with world() as made:
        made.batch(0, 5, wrote=True)
        made.ends[1].send(b"1234567")
        assert made.reactor.turn() and made.writers[1].made_bytes == 7
        made.reactor.is_full = lambda: True
        made.ends[1].send(b"1234567")
        assert not made.reactor.turn() and made.writers[1].made_bytes == 7
        made.made[1].append((1, 7))
        made.release(1)
        assert made.hear(0) == 5 and made.hear(1) == 7
        assert made.reactor.turn() and made.writers[1].made_bytes == 14


def test_who_closes_hears_first_what_is_held_for_him() -> None:
    with world() as made:
        made.batch(0, 5, wrote=True)
        made.ends[0].shutdown(socket.SHUT_WR)  # he has said all, and listens on
        made.writers[1].close(CLOSE_WHEN_SENT)
        for _ in range(3):
            made.reactor.turn()
        assert not made.reactor.turn(), "nobody spins for one who only waits"
        assert len(made.reactor.connections) == 1 and made.ends[1].recv(1) == b"", "nothing was held for the other"
        made.release(1)
        assert made.hear(0) == 5 and made.ends[0].recv(1) == b""
        assert not made.reactor.connections


def test_what_is_closed_at_once_takes_what_is_held_along() -> None:
    with world() as made:
        made.batch(0, 5, wrote=True)
        made.writers[0].close(CLOSE_NOW)
        made.reactor.turn()
        assert not made.hear(0) and made.ends[0].recv(1) == b""
        made.settle()
        assert not made.reactor.held
