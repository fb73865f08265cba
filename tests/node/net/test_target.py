"""A connection to another node that the reactor serves: each conversation ends once, in replies or in a failure."""

from __future__ import annotations

from typing import Any

import pytest

from node.net.peer import CLOSE_NOW, OPEN, SHUTDOWN
from node.net.resp import Failure, Status
from node.net.target import SENT_AT_ONCE_BYTES, Target
from node.timers import Timers

OK = Status(b"OK")


class Clock:
    """Timers whose time is moved by hand, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.timers = Timers(lambda: self.now_ms)

    def move(self, to_ms: float) -> None:
        while self.timers.next_ms <= to_ms:
            self.now_ms = self.timers.next_ms
            self.timers.run_due()
        self.now_ms = to_ms


class Wire:
    """A transport from which the test takes what is sent."""

    def __init__(self, peer: Target) -> None:
        self.peer = peer

    def touch(self) -> None: ...

    def socket_number(self) -> int:
        return -1

    def unsent_bytes(self) -> int:
        return len(self.peer.out)

    def waits_to_send(self) -> bool:
        return False


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.lost: list[Any] = []
        self.told: list[tuple[list[Any], OSError | None]] = []
        self.target = Target(self.clock.timers, self.lost.append)
        self.target.transport = Wire(self.target)

    def ask(self, *commands: list[bytes], timeout_ms: float = 100) -> None:
        self.target.ask(commands, timeout_ms, lambda replies, failure: self.told.append((replies, failure)))

    @property
    def failure(self) -> OSError | None:
        ((_, failure),) = self.told
        return failure


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_replies_are_told_when_the_last_is_there_however_they_are_cut(scene: Scene) -> None:
    for data in (b"+OK\r\n+OK\r\n", b"+OK\r\n-ERR no\r\n", b":7\r\n$1\r\nx\r\n"):
        for cut in range(len(data)):
            scene.told.clear()
            scene.ask([b"A"], [b"B"])
            assert scene.target.out == b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n"
            scene.target.out.clear()
            if cut:
                scene.target.receive(data[:cut])
            assert not scene.told
            scene.target.receive(data[cut:])
            ((replies, failure),) = scene.told
            assert failure is None and scene.target.is_open
            expected = {b"+": [OK, OK], b":": [7, b"x"]}.get(data[:1]) if b"-" not in data else [OK, Failure(b"ERR no")]
            assert replies == expected


def test_a_wait_in_which_no_byte_moves_is_too_long(scene: Scene) -> None:
    scene.ask([b"A"], [b"B"])
    scene.target.out.clear()
    scene.clock.move(90)
    scene.target.receive(b"+OK\r\n")
    scene.clock.move(180)
    assert not scene.told
    scene.clock.move(190)
    assert scene.told[0][0] == [OK] and isinstance(scene.failure, TimeoutError)
    assert scene.target.closing == CLOSE_NOW and scene.target.stage == "reading"


def test_what_still_leaves_is_waited_for_and_what_is_stuck_is_not(scene: Scene) -> None:
    scene.ask([b"A" * 10 * SENT_AT_ONCE_BYTES])
    for when_ms in range(90, 1000, 90):
        del scene.target.out[:1000]
        scene.clock.move(when_ms)
    assert not scene.told
    scene.clock.move(990 + 130)
    assert isinstance(scene.failure, TimeoutError) and scene.target.stage == "writing"


def test_what_nobody_asked_for_ends_the_connection(scene: Scene) -> None:
    scene.target.receive(b"+OK\r\n")
    assert scene.target.closing == CLOSE_NOW and not scene.target.is_open and not scene.told
    other = Scene()
    other.ask([b"A"])
    other.target.receive(b"+OK\r\n+OK\r\n")
    assert isinstance(other.failure, ConnectionError)
    third = Scene()
    third.ask([b"A"])
    third.target.receive(b"HTTP/1.1 400\r\n")
    assert isinstance(third.failure, ConnectionError)


def test_a_lost_connection_is_told_and_one_that_is_lost_already_soon(scene: Scene) -> None:
    scene.ask([b"A"])
    scene.target.transport = None
    scene.target.lost("")
    assert scene.lost == [scene.target] and isinstance(scene.failure, ConnectionError)
    scene.told.clear()
    scene.ask([b"A"])
    assert not scene.told, "never before it returns"
    scene.clock.move(1)
    assert isinstance(scene.failure, ConnectionError)


def test_the_end_of_the_node_begins_nothing_anew(scene: Scene) -> None:
    scene.ask([b"A"])
    scene.target.transport = None
    scene.target.lost(SHUTDOWN)
    scene.clock.move(1000)
    assert not scene.told and scene.target.closing != OPEN
