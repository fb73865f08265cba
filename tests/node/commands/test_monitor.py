"""MONITOR beside a real redis-server: the same lines, but for the times and the ports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from node.monitoring import quoted
from tests.support import HexadServer, RedisServer, Server, Wire, wait_until
from tests.support.local import LocalNode

TIME = re.compile(rb"\+\d+\.\d{6} \[")
PORT = re.compile(rb" 127\.0\.0\.1:\d+\]")

SCRIPT: list[tuple[str | bytes, ...]] = [
    ("AUTH", "x"), ("AUTH", "u", "p"), ("AUTH", "a", "b", "c"), ("HELLO", "2", "AUTH", "default", "pw", "SETNAME", "m"),
    ("HELLO", "2", "SETNAME", "auth", "AUTH", "default", "pw"), ("HELLO", "3"), ("HELLO", "2"), ("NOSUCH",), ("GET",),
    ("CONFIG", "GET", "port"), ("CLIENT", "ID"), ("client", "GetName"), ("CLIENT", "LIST", "x"),
    ("SET", b"a\n\r\t\a\b\\\"\x01'\xc3\xa9\0 ", ""), ("MULTI",), ("SET", "b", "1"), ("GET", "a", "b"), ("EXEC",),
    ("MULTI",), ("SET", "b", "1"), ("INCR", "b"), ("EXEC",), ("MULTI",), ("PING",), ("DISCARD",), ("WATCH", "q"),
    ("MULTI",), ("SET", "q", "2"), ("EXEC",),
    ("MIGRATE", "127.0.0.1", "1", "nokey", "0", "10", "AUTH", "pw"),
    ("MIGRATE", "127.0.0.1", "1", "nokey", "0", "10", "COPY", "AUTH2", "us", "pw"),
    ("MIGRATE", "127.0.0.1", "1", "", "0", "10", "AUTH", "pw", "KEYS", "auth", "x"),
    ("MIGRATE", "127.0.0.1", "1", "b", "0", "10", "AUTH2", "us"),
    ("BLPOP", "nolist", "0.001"), ("DISCARD",), ("SELECT", "1"), ("PING",), ("FLUSHALL",), ("LPUSH", "b", "x"),
    ("SORT", "b"), ("RESET",), ("SELECT", "99"), ("COMMAND", "COUNT"), ("ECHO", "the end"),
]  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with RedisServer(unixsocket="s.sock") as theirs, HexadServer(unixsocket="s.sock") as ours:
        yield theirs, ours


def lines_of(monitor: Wire, last: bytes) -> list[bytes]:
    """What the monitor is shown until a line that ends with `last`, without what differs from run to run."""
    told: list[bytes] = []
    while not told or not told[-1].endswith(last):
        line = monitor.read_raw()
        assert TIME.match(line), line
        told.append(PORT.sub(b" PORT]", TIME.sub(b"[", line)).removesuffix(b"\r\n"))
    return told


def test_the_same_lines(servers: tuple[Server, Server]) -> None:
    shown = []
    for server in servers:
        with server.wire() as monitor, server.wire() as second, server.wire() as client:
            assert [monitor("MONITOR"), second("MONITOR")] == ["OK", "OK"]
            for words in SCRIPT:
                client(*words)
            shown.append(lines_of(monitor, b'"the end"'))
            assert lines_of(second, b'"the end"') == shown[-1]
    assert shown[1] == shown[0]
    assert len(shown[0]) > 35 and not any(b'"pw"' in line for line in shown[0] if b'"KEYS"' not in line)


def test_a_unix_socket_is_named(servers: tuple[Server, Server]) -> None:
    for server in servers:
        path = str(server.directory / "s.sock")
        with server.wire() as monitor, Wire(unix=path) as client:
            monitor("MONITOR")
            client("ECHO", "the end")
            assert lines_of(monitor, b'"the end"') == [b'[0 unix:s.sock] "ECHO" "the end"']


def test_who_monitors_may_say_little(servers: tuple[Server, Server]) -> None:
    """Its own commands are shown to it after their replies; it may not look at keys; RESET ends it."""
    script = ["PING", "GET a", "SET a 1", "MULTI", "GET a", "ECHO x", "DISCARD", "RESET"]
    told = []
    for server in servers:
        with server.wire() as monitor, server.wire() as other:
            monitor("MONITOR")
            monitor.send("MONITOR")  # no reply at all
            for words in script:
                monitor.send(*words.split())
            wait_until(
                lambda: b"RESET" in (flags := other("CLIENT", "LIST")) or b"flags=O" not in flags, 5, "it is over"
            )
            other("SET", "unseen", "1")
            monitor.send("ECHO", "the end")
            text = b""
            while not text.endswith(b"the end\r\n"):
                text += monitor.read_some()
            told.append(PORT.sub(b" PORT]", TIME.sub(b"[", text)))
    assert told[1] == told[0]
    assert b"unseen" not in told[0] and b"can't interact with the keyspace" in told[0]


def test_not_inside_of_a_transaction(servers: tuple[Server, Server]) -> None:
    replies = []
    for server in servers:
        with server.wire() as wire:
            replies.append(wire.pipeline([("MULTI",), ("MONITOR",), ("EXEC",), ("PING",)]))
    assert replies[1] == replies[0]


def test_redis_cli_monitor(servers: tuple[Server, Server]) -> None:
    ours = servers[1]
    cli = subprocess.Popen(["redis-cli", "-p", str(ours.port), "monitor"], stdout=subprocess.PIPE)
    assert cli.stdout is not None
    try:
        assert cli.stdout.readline() == b"OK\n"
        with ours.wire() as client:
            client("SET", "key", "value")
        assert cli.stdout.readline().endswith(b'] "SET" "key" "value"\n')
    finally:
        cli.terminate()
        cli.wait(5)


def test_gates_are_closed_only_while_somebody_monitors() -> None:
    node = LocalNode()
    first, second = node.client(), node.client()
    before = second.session.gates
    first.raw("MONITOR")
    assert second.session.gates != before and b"flags=O " in second.raw("CLIENT", "LIST")
    first.session.lost("")
    assert second.session.gates == before and not node.server.monitors


def test_quoting() -> None:
    assert quoted(bytes(range(7, 14))) == b'"\\a\\b\\t\\n\\x0b\\x0c\\r"' and quoted(b"") == b'""'
