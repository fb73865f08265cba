"""The support itself, beside a real redis-server."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support import (
    BigNumber,
    Push,
    RedisServer,
    ReplyError,
    RespMap,
    RespSet,
    Simple,
    TookTooLong,
    Verbatim,
    Wire,
    encode,
    free_port,
    wait_until,
)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(enable_debug_command="yes") as running:
        yield running


def test_raw_and_parsed(server: RedisServer) -> None:
    with server.wire() as wire:
        assert wire("PING") == "PONG"
        assert wire.raw("SET", "k", b"a\r\nb") == b"+OK\r\n"
        assert wire("GET", "k") == b"a\r\nb"
        assert wire.raw("GET", "k") == b"$4\r\na\r\nb\r\n"
        assert wire("GET", "none") is None
        assert wire("INCR", "k") == ReplyError("ERR value is not an integer or out of range")
        assert wire.pipeline([("SET", "n", 1), ("INCRBYFLOAT", "n", 0.5), ("MGET", "n", "none")]) == [
            Simple("OK"),
            b"1.5",
            [b"1.5", None],
        ]
        assert wire.info("server")["redis_version"].startswith("7.")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", b"Hello World"),
        ("integer", 12345),
        ("double", 3.141),
        ("null", None),
        ("array", [0, 1, 2]),
        ("set", RespSet([0, 1, 2])),
        ("map", RespMap([(0, False), (1, True), (2, False)])),
        ("attrib", b"Some real reply following the attribute"),
        ("push", Push([b"server-cpu-usage", 42])),
        ("verbatim", Verbatim("txt", b"This is a verbatim\nstring")),
        ("true", True),
        ("bignum", BigNumber(1234567999999999999999999999999999999)),
    ],
)
def test_every_resp3_type(server: RedisServer, kind: str, value: object) -> None:
    with server.wire(protocol=3) as wire:
        assert wire("DEBUG", "PROTOCOL", kind) == value
        if kind == "push":
            assert wire.read() == b"Some real reply following the push reply"
        assert wire("PING") == "PONG"


def test_raw_bytes_split_anywhere(server: RedisServer) -> None:
    request = encode("ECHO", "x" * 10)
    with server.wire() as wire:
        for cut in range(1, len(request)):
            wire.send_raw(request[:cut])
            wire.send_raw(request[cut:])
            assert wire.read() == b"x" * 10


def test_closed_and_silent(server: RedisServer) -> None:
    with server.wire() as wire:
        assert wire.is_silent()
        wire.send_raw(b"*1\r\n+PING\r\n")
        assert wire.read_to_end() == b"-ERR Protocol error: expected '$', got '+'\r\n"
        assert wire.is_closed()
        with pytest.raises(ConnectionError):
            wire.read()


def test_a_reply_that_times_out_can_be_read_later(server: RedisServer) -> None:
    with server.wire(timeout_s=0.05) as wire, server.wire() as other:
        wire.send("BLPOP", "list", 5)
        with pytest.raises(TimeoutError):
            wire.read()
        other("RPUSH", "list", "late")
        wire.timeout_s = 5
        assert wire.read() == [b"list", b"late"]


def test_life_of_a_server(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(requirepass="secret", save="3600 1")
    server.wait_for_log("Ready to accept connections")
    with server.wire() as wire:
        assert wire("SET", "k", "v") == "OK"
    with pytest.raises(ConnectionError, match="WRONGPASS"):
        Wire(server.port, password="wrong")
    server.restart()
    with server.wire() as wire:
        assert wire("GET", "k") == b"v"
    server.signal(signal.SIGSTOP)
    assert server.stop() == 0
    server.start()
    server.kill()
    assert server.process is not None and server.process.returncode == -signal.SIGKILL


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="Bad directive"), RedisServer(no_such_option="1"):
        pass


def test_unix_socket_alone(redis_server: Callable[..., RedisServer]) -> None:
    with redis_server(port=0, unixsocket="s").wire() as wire:
        assert wire("PING") == "PONG"


def test_waiting_names_what_it_saw() -> None:
    with pytest.raises(TookTooLong, match=r"the answer: not within 0 s; last seen: \[\]"):
        wait_until(list, 0, "the answer")

    def refuse() -> bool:
        raise ConnectionRefusedError("nobody")

    with pytest.raises(TookTooLong, match="nobody"):
        wait_until(refuse, 0.02, "the answer")


def test_ports_differ() -> None:
    assert len({free_port() for _ in range(50)}) == 50
