"""The end of a node: SHUTDOWN's options over the wire, and the wait for replicas as a scripted trace."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from node import app
from node.config import Config
from node.log import Log
from node.platform import SIGTERM, Platform
from node.server import Server
from node.shutdown import Shutdown
from tests.support import HexadServer, RedisServer
from tests.support.wire import ReplyError


@pytest.mark.parametrize("words", [("x",), ("SAVE", "NOSAVE"), ("ABORT", "NOW"), ("ABORT",), ("NOSAVE", "ABORT")])
def test_refusals_are_those_of_a_real_server(words: tuple[str, ...]) -> None:
    with (
        RedisServer() as theirs,
        HexadServer() as ours,
        theirs.wire() as their_wire,
        ours.wire() as our_wire,
    ):
        assert our_wire("SHUTDOWN", *words) == their_wire("SHUTDOWN", *words)
        assert our_wire("PING") == "PONG"


@pytest.mark.parametrize(
    ("save", "words", "saved"),
    [
        ((), (), False),
        ((), ("SAVE",), True),
        (("3600", "1"), (), True),
        (("3600", "1"), ("NOSAVE",), False),
        (("3600", "1"), ("NOSAVE", "NOW", "FORCE"), False),
    ],
)
def test_what_is_saved(
    hexad_server: Callable[..., HexadServer], save: tuple[str, ...], words: tuple[str, ...], saved: bool
) -> None:
    server = hexad_server(save=save)
    with server.wire() as wire:
        wire("SET", "k", "v")
        wire.send("SHUTDOWN", *words)
        assert wire.read_to_end() == b""
    assert server.process is not None and server.process.wait(10) == 0
    assert (server.directory / "dump.rdb").exists() == saved
    assert ("Saving the final RDB snapshot before exiting." in server.log()) == saved


def test_a_node_that_cannot_save_goes_on(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(save="3600 1")
    with server.wire() as wire:
        wire("SET", "k", "v")
        shutil.rmtree(server.directory, ignore_errors=True)
        assert wire("SHUTDOWN") == ReplyError("ERR Errors trying to SHUTDOWN. Check logs.")
        assert wire("GET", "k") == b"v"
        wire.send("SHUTDOWN", "FORCE")
        assert wire.read_to_end() == b""
    assert server.process is not None and server.process.wait(10) == 0


class Replicas:
    """A stand-in for the node's replication: tells who lags."""

    is_replica = False

    def __init__(self) -> None:
        self.behind = ["192.0.2.1:7001"]

    def lagging(self) -> list[str]:
        return self.behind

    def log_at_shutdown(self) -> None:
        pass


class Clock(Platform):
    """A platform whose monotonic clock stands until it is moved."""

    moment_ms = 1000.0

    def monotonic_ms(self) -> float:
        return self.moment_ms


class Trace:
    """A node about to end, its clock, and what became of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.codes: list[int] = []
        config = Config()
        config.put("save", ())
        config.put("enable-debug-command", "yes")
        self.server: Server = app.build(self.clock, config, Log(self.clock, self.lines.append))
        self.server.replication = self.replicas = Replicas()
        self.shutdown: Shutdown = self.server.shutdown
        self.shutdown.ended = self.codes.append

    def signal(self, number: int) -> None:
        self.shutdown.signalled = number
        self.shutdown.act_on_signal()

    def pass_ms(self, milliseconds: float) -> None:
        self.clock.moment_ms += milliseconds
        self.server.timers.run_due()


def test_it_waits_for_replicas() -> None:
    trace = Trace()
    trace.signal(SIGTERM)
    assert trace.server.clients.paused is not None and trace.server.clients.paused.writes_only
    trace.pass_ms(5000)
    assert trace.codes == [] and trace.shutdown.left_ms() == 5000
    trace.replicas.behind = []
    trace.pass_ms(100)
    assert trace.codes == [0]
    assert "Waiting for replicas before shutting down." in trace.lines[1]


def test_it_waits_no_longer_than_it_may() -> None:
    trace = Trace()
    trace.signal(SIGTERM)
    trace.pass_ms(9990)
    assert trace.codes == []
    trace.pass_ms(100)
    assert trace.codes == [0]


def test_the_wait_can_be_taken_back() -> None:
    trace = Trace()
    trace.signal(SIGTERM)
    client = trace.server.clients.add("", "")
    client.receive(b"SHUTDOWN\r\n")
    assert client.out == b"" and client.parked is not None
    other = trace.server.clients.add("", "")
    other.receive(b"SHUTDOWN ABORT\r\n")
    assert other.out == b"+OK\r\n" and client.out == b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n"
    assert trace.server.clients.paused is None
    trace.pass_ms(20_000)
    assert trace.codes == [] and "Shutdown manually aborted." in trace.lines[-1]
    other.receive(b"SHUTDOWN NOW\r\n")
    assert trace.codes == [0]


def test_a_signal_can_be_taken_back_before_it_is_acted_on() -> None:
    trace = Trace()
    client = trace.server.clients.add("", "")
    client.receive(b"DEBUG PAUSE-CRON 1\r\n")
    trace.signal(SIGTERM)
    client.receive(b"SHUTDOWN ABORT\r\nDEBUG PAUSE-CRON 0\r\n")
    assert client.out == b"+OK\r\n" * 3 and trace.codes == []
    trace.replicas.behind = []
    client.receive(b"DEBUG PAUSE-CRON 1\r\n")
    trace.signal(SIGTERM)
    assert trace.codes == []
    client.receive(b"DEBUG PAUSE-CRON 0\r\n")
    assert trace.codes == [0]
