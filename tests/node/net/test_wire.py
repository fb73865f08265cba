"""Malformed and odd requests, sent to a real server and to ours: the same bytes come back, the same way to the end."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.support import HexadServer, RedisServer, Wire

Pair = tuple[RedisServer, HexadServer]

QUIET_S = (0.03, 0.5)
"""A server that has said nothing for so long waits for more; the second one where the first told a difference."""

PING = b"*1\r\n$4\r\nPING\r\n"
ODD = [
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n",
    b"*-1\r\n*0\r\n\r\nPING\r\n",
    b"*2147483648\r\n",
    b"*2147483647\r\nx\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n\x00\r\n",
    b"*1\r\n\xff\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*+1\r\n",
    b"*\r\n",
    b"*01\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGxx" + PING,
    b"*1\r\n$4\rxPING\r\n",
    b"*1\rx$4\r\nPING\r\n",
    b"*1\r\n$0\r\n\r\n",
    b'"PING\r\n',
    b'"PING"x\r\n',
    b'PING "a\\x41\\n"\r\n',
    b"ECHO 'a\\'b\\n'\r\n",
    b'ECHO "\\x4g\\a\\b\\t\\r\\q"\r\n',
    b'ECHO a"b"\r\n',
    b'ECHO a"b"c\r\n',
    b"  ECHO   a  \r\n",
    b"\n\r\n\tPING\n",
    b"\rPING\r\n",
    b"+PING\r\n",
    b"PING\x00\r\nPING\r\n",
    b"A" * 65536,
    b"A" * 65537,
    b"A" * 65535 + b"\r\n",
    b"*" + b"1" * 65537,
    b"*1\r\n$" + b"1" * 65537,
    b"*1\r\n" + b"1" * 65537,
    b"PING\r\n*1\r\n$x\r\n",
    b"*9223372036854775808\r\n",
    b"*-9223372036854775809\r\nPING\r\n",
    b"*1\r\n$-0\r\n",
    b"*0\r\n*0\r\nPING\r\n",
    b"*1\n$4\nPING\n",
    b"*1\r\n$4\r\nPING\n" + PING,
    b"\xff\xfe\r\n",
    b'"\\x4\r\n',
    b"POST / HTTP/1.1\r\n",
    b"PING\r\nhost: x\r\nPING\r\n",
    b"QUIT a b\r\nPING\r\n",
]
UNAUTHENTICATED = [
    b"*10\r\n",
    b"*11\r\n",
    b"*1\r\n$16384\r\n",
    b"*1\r\n$16385\r\n",
    b"AUTH sesame\r\n*11\r\n" + b"$4\r\nECHO\r\n" * 11,
    b"AUTH x\r\n*11\r\n",
    b"FOO\r\nGET\r\nGET a\r\nQUIT\r\n",
    b"HELLO 5\r\nHELLO 3 AUTH default x\r\nHELLO 3 SETNAME \x01\r\n",
    b"AUTH default sesame\r\nAUTH foo sesame\r\nAUTH sesame\r\nPING\r\nRESET\r\nPING\r\n",
    b"CLIENT REPLY OFF\r\nGET a\r\n",
    b"PING\r\nECHO a\r\nCLIENT ID\r\nCOMMAND COUNT\r\nSELECT 1\r\nRESET\r\n",
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with RedisServer() as theirs, HexadServer() as ours:
        yield theirs, ours


@pytest.fixture(scope="module")
def locked() -> Iterator[Pair]:
    with RedisServer(requirepass="sesame") as theirs, HexadServer(requirepass="sesame") as ours:
        yield theirs, ours


def assert_same(pair: Pair, data: bytes) -> None:
    theirs, ours = pair
    if heard(ours, data, QUIET_S[0]) != heard(theirs, data, QUIET_S[0]):
        assert heard(ours, data, QUIET_S[1]) == heard(theirs, data, QUIET_S[1])


def heard(server: RedisServer | HexadServer, data: bytes, quiet_s: float) -> tuple[bytes, bool]:
    """What the server says to these bytes, and whether it hangs up."""
    with Wire(server.port, timeout_s=quiet_s) as wire:
        wire.send_raw(data)
        closed = wire.is_closed()
        return (b"" if wire.is_silent(0.001) else wire.read_some()), closed


@pytest.mark.parametrize("data", ODD, ids=lambda data: repr(data[:30]))
def test_odd_requests(pair: Pair, data: bytes) -> None:
    assert_same(pair, data)


@pytest.mark.parametrize("data", UNAUTHENTICATED, ids=lambda data: repr(data[:30]))
def test_before_a_password(locked: Pair, data: bytes) -> None:
    assert_same(locked, data)


def test_random_damage(pair: Pair) -> None:
    """A hundred broken pipelines: behind each a PING on another connection still works."""
    theirs, ours = pair
    luck = Random(20260)
    pieces = [
        b"\r\n",
        b"*",
        b"$",
        b"1",
        b"-1",
        b"4",
        b"PING",
        b"ECHO",
        b"\0",
        b'"',
        b"'",
        b"\xff",
        b" ",
        b"$4\r\nPING\r\n",
    ]
    for _ in range(60):
        data = PING + b"".join(luck.choices(pieces, k=luck.randint(1, 12))) + b"\r\n"
        with Wire(ours.port) as mine, Wire(theirs.port) as their:
            for wire in (mine, their):
                wire.send_raw(data + b"\r\n" + PING)
                wire.half_close()
            assert mine.read_to_end() == their.read_to_end(), data
    with ours.wire() as wire:
        assert wire("PING") == "PONG"
