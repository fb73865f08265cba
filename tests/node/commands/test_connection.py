"""The connection's own commands and CLIENT's and COMMAND's errors, beside a real server: byte by byte."""

from collections.abc import Iterator

import pytest

from tests.support import HexadServer, RedisServer, ReplyError, RespMap, Wire

Pair = tuple[Wire, Wire]

SCRIPTS = [
    "ping; ping a; ping a b; echo; echo a; echo a b",
    "select x; select 99; select -1; select 9999999999; select 99999999999999999999",
    "select 3; set a 1; select 0; get a",
    "auth x; auth a b; auth default b; auth a b c; auth",
    "hello 4; hello x; hello 1; hello 99999999999999999999; hello 3 foo; hello 3 auth a; hello 3 setname",
    "hello 3 auth a b; hello 2 foo; hello 3 setname bad\x01name",
    "reset; reset x; select 5; reset; get a",
    "client; client foo; client kill; client kill 1.2.3.4:5; client kill id x; client kill id 0; client kill id -5",
    "client kill id 999999; client kill foo bar; client kill type foo; client kill user foo; client kill skipme foo",
    "client kill id 5 addr; client kill id 1 maxage 5; client kill skipme no id 999999; client kill laddr 1:2 id",
    "client kill addr 1.1.1.1:1 type normal user default skipme yes; client kill type master; client kill type slave",
    "client list type foo; client list id; client list id x; client list foo; client list type normal extra",
    "client list id 999999; client list type pubsub; client list type replica; client list type",
    "client pause x; client pause -1; client pause 10 foo; client pause 99999999999999999999; client pause 5 all x",
    "client pause 0; client pause 1 write; client pause 1 ALL; client unpause; client unpause x",
    "client unblock x; client unblock 999999; client unblock 5 foo; client unblock 5 error x; client unblock",
    "client reply foo; client reply; client no-evict foo; client no-evict on; client no-evict off; client no-evict",
    "client getname; client setname a; client getname; client setname bad\x01; client getname; reset; client getname",
    "client reply skip; ping; ping; client reply skip; foo; ping; client reply on",
    "client reply off; ping; client reply skip; ping; client reply on; ping",
    "client reply skip; client reply skip; ping; ping",
    "client reply off; reset; ping",
    "foo; foo aaaa bbbb; foo " + "x" * 200 + "; " + "y" * 200 + " a; get; get a b",
    "foo " + " ".join(["a" * 30] * 10),
    "command foo; command list filterby foo x; command list filterby; command list filterby aclcat nope",
    "command list filterby module x; command list foo; command list filterby pattern nope*",
    "command list filterby a b c",
    "command getkeys; command getkeys get a b; command getkeys get a; command getkeys set a b; command getkeys foo a",
    "command getkeysandflags set a b; command getkeysandflags set a b get; command getkeysandflags get a",
    "command getkeys client id; command info nope; command info client|foo; command docs nope; command count x",
]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, HexadServer]]:
    with RedisServer() as theirs, HexadServer() as ours:
        yield theirs, ours


@pytest.fixture
def pair(servers: tuple[RedisServer, HexadServer]) -> Iterator[Pair]:
    theirs, ours = servers
    with theirs.wire() as their, ours.wire() as mine:
        yield their, mine


def up_to_the_end(wire: Wire) -> bytes:
    """All that the server has to say up to now."""
    wire.send_raw(b"CLIENT REPLY ON\r\nECHO that-was-all\r\n")
    heard = b""
    while not heard.endswith(b"that-was-all\r\n"):
        heard += wire.read_some()
    return heard


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script[:30])
def test_the_same_bytes_as_a_real_server(pair: Pair, script: str, protocol: int) -> None:
    data = "".join(line.strip(" ") + "\r\n" for line in script.split(";")).encode("latin-1")
    replies = []
    for wire in pair:
        if protocol == 3:
            wire("HELLO", 3)
        wire.send_raw(data)
        replies.append(up_to_the_end(wire))
    assert replies[0] == replies[1]


def test_hello_tells_of_this_server(servers: tuple[RedisServer, HexadServer]) -> None:
    with servers[1].wire() as wire:
        reply = wire("HELLO", "3", "SETNAME", "me")
        assert isinstance(reply, RespMap)
        assert [name for name, _ in reply.pairs] == [
            b"server",
            b"version",
            b"proto",
            b"id",
            b"mode",
            b"role",
            b"modules",
        ]
        assert reply[b"server"] == b"redis" and reply[b"proto"] == 3 and reply[b"version"] == b"7.2.6"
        assert reply[b"mode"] == b"standalone" and reply[b"role"] == b"master" and reply[b"modules"] == []
        assert wire("CLIENT", "GETNAME") == b"me" and wire("CLIENT", "ID") == reply[b"id"]
        assert wire("HELLO")[b"proto"] == 3  # without a version nothing changes
        assert wire("HELLO", 2)[4:6] == [b"proto", 2]


def test_who_may_come_in_with_a_password() -> None:
    with HexadServer(requirepass="sesame") as server, Wire(server.port) as wire:
        refusal = wire("HELLO", 3)
        assert isinstance(refusal, ReplyError) and refusal.text.startswith(
            "NOAUTH HELLO must be called with the client"
        )
        assert wire("HELLO", 3, "AUTH", "default", "wrong") == ReplyError(
            "WRONGPASS invalid username-password pair or user is disabled."
        )
        assert wire("GET", "a") == ReplyError("NOAUTH Authentication required.")
        assert isinstance(wire("HELLO", 3, "AUTH", "default", "sesame", "SETNAME", "x"), RespMap)
        assert wire("GET", "a") is None and wire("CLIENT", "GETNAME") == b"x"
        assert wire("RESET") == "RESET"
        assert wire("GET", "a") == ReplyError("NOAUTH Authentication required.")
        assert wire("AUTH", "default", "sesame") == "OK"
        assert wire("CLIENT", "GETNAME") is None
