"""Features in each other's company, here and at a real server: what each of several connections reads, byte by byte.

A story is a list of (connection, command); a connection that stays silent reads nothing. Every command is sent and
answered before the next, and at the end of each story all that was pushed is read too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import HexadServer, RedisServer, Server, Wire
from tests.support.wire import Argument

Line = tuple[Argument, ...]
Story = list[tuple[int, Line]]

STORIES: dict[str, Story] = {
    "WATCH sees what a script does, and EXEC is nil": [
        (0, ("SET", "k", "1")),
        (0, ("WATCH", "k")),
        (1, ("EVAL", "redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])", 1, "k")),
        (0, ("MULTI",)),
        (0, ("INCR", "k")),
        (0, ("EXEC",)),
        (0, ("GET", "k")),
    ],
    "WATCH of a key that a script expires at once": [
        (0, ("SET", "k", "1")),
        (0, ("WATCH", "k")),
        (1, ("EVAL", "return redis.call('PEXPIRE', KEYS[1], 0)", 1, "k")),
        (0, ("MULTI",)),
        (0, ("PING",)),
        (0, ("EXEC",)),
    ],
    "a script within a transaction publishes to who listens": [
        (1, ("SUBSCRIBE", "c")),
        (0, ("MULTI",)),
        (0, ("EVAL", "return redis.call('PUBLISH', 'c', ARGV[1])", 0, "hello")),
        (0, ("PUBLISH", "c", "world")),
        (0, ("EXEC",)),
        (1, ("PING",)),
    ],
    "a subscriber in RESP2 may do little else": [
        (0, ("SUBSCRIBE", "c")),
        (0, ("GET", "k")),
        (0, ("MULTI",)),
        (0, ("PING", "x")),
        (0, ("UNSUBSCRIBE",)),
        (0, ("GET", "k")),
    ],
    "SUBSCRIBE within MULTI": [
        (0, ("MULTI",)),
        (0, ("SUBSCRIBE", "c")),
        (0, ("EXEC",)),
        (1, ("PUBLISH", "c", "m")),
        (0, ("PING",)),
    ],
    "keyspace events of a transaction, a script and an expiry come in order": [
        (1, ("CONFIG", "SET", "notify-keyspace-events", "KEA")),
        (1, ("PSUBSCRIBE", "__key*__:*")),
        (0, ("MULTI",)),
        (0, ("SET", "k", "v", "PX", "100000")),
        (0, ("RENAME", "k", "l")),
        (0, ("EXEC",)),
        (0, ("EVAL", "redis.call('RPUSH', KEYS[1], 'a', 'b') return redis.call('LPOP', KEYS[1], 2)", 1, "list")),
        (0, ("PEXPIREAT", "l", "1")),
        (1, ("PUNSUBSCRIBE",)),
        (0, ("CONFIG", "SET", "notify-keyspace-events", "")),
    ],
    "one who waits for a list is served when the transaction is over": [
        (1, ("CLIENT", "NO-EVICT", "off")),
        (0, ("MULTI",)),
        (0, ("RPUSH", "list", "a")),
        (0, ("BLPOP", "list", "0")),
        (0, ("BLPOP", "list", "0")),
        (0, ("EXEC",)),
    ],
    "errors within a transaction: before and at EXEC": [
        (0, ("MULTI",)),
        (0, ("NOSUCH",)),
        (0, ("SET", "k")),
        (0, ("EXEC",)),
        (0, ("SET", "k", "v")),
        (0, ("MULTI",)),
        (0, ("LPUSH", "k", "x")),
        (0, ("EVAL", "return redis.call('LPUSH', KEYS[1], 'x')", 1, "k")),
        (0, ("EVAL", "return redis.pcall('LPUSH', KEYS[1], 'x')", 1, "k")),
        (0, ("SET", "k", "w")),
        (0, ("EXEC",)),
        (0, ("GET", "k")),
    ],
    "a user who loses a right within a transaction": [
        (1, ("ACL", "SETUSER", "u", "on", "nopass", "+@all", "~*")),
        (0, ("AUTH", "u", "x")),
        (0, ("MULTI",)),
        (0, ("SET", "k", "v")),
        (1, ("ACL", "SETUSER", "u", "-set")),
        (0, ("EXEC",)),
        (0, ("EVAL", "return redis.acl_check_cmd('SET', KEYS[1], 'v')", 1, "k")),
        (1, ("EXISTS", "k")),
        (0, ("AUTH", "default", "")),
        (1, ("ACL", "DELUSER", "u")),
    ],
    "FLUSHALL and SWAPDB touch what is watched": [
        (0, ("SET", "k", "v")),
        (0, ("WATCH", "k")),
        (1, ("SWAPDB", "0", "1")),
        (0, ("MULTI",)),
        (0, ("PING",)),
        (0, ("EXEC",)),
        (0, ("WATCH", "nokey")),
        (1, ("FLUSHALL",)),
        (0, ("MULTI",)),
        (0, ("PING",)),
        (0, ("EXEC",)),
    ],
    "scripts see the time stand still, and keep their clients' database": [
        (0, ("SET", "k", "v", "PX", "100000")),
        (0, ("EVAL", "local a = redis.call('TIME') for i = 1, 1e5 do end return a[2] == redis.call('TIME')[2]", 0)),
        (0, ("EVAL", "redis.call('SELECT', 3) redis.call('SET', 'k', 'three') return redis.call('DBSIZE')", 0)),
        (0, ("GET", "k")),
        (0, ("SELECT", "3")),
        (0, ("GET", "k")),
        (0, ("SELECT", "0")),
    ],
    "caching, a transaction and a script tell once of a key": [
        (1, ("HELLO", "3", "SETNAME", "x")),
        (0, ("SET", "k", "v")),
        (1, ("CLIENT", "TRACKING", "on")),
        (1, ("GET", "k")),
        (0, ("MULTI",)),
        (0, ("INCR", "n")),
        (0, ("SET", "k", "w")),
        (0, ("SET", "k", "x")),
        (0, ("EXEC",)),
        (1, ("GET", "k")),
        (0, ("EVAL", "redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], 'y')", 1, "k")),
        (1, ("CLIENT", "TRACKING", "off")),
        (1, ("HELLO", "2")),
    ],
    "RESET leaves everything": [
        (0, ("MULTI",)),
        (0, ("SET", "k", "v")),
        (0, ("RESET",)),
        (0, ("EXEC",)),
        (0, ("SUBSCRIBE", "c")),
        (0, ("RESET",)),
        (0, ("GET", "k")),
    ],
}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with RedisServer() as theirs, HexadServer() as ours:
        yield theirs, ours


def told(server: Server, story: Story) -> list[list[bytes]]:
    """What each connection has read by the end: every reply, and every message that came between."""
    with server.wire() as one, server.wire() as other:
        wires = (one, other)
        one("FLUSHALL")
        read: list[list[bytes]] = [[], []]
        for number, words in story:
            wires[number].send(*words)
            read[number] += answers(wires[number], words)
        for number, wire in enumerate(wires):
            read[number] += rest(wire)
        return read


def answers(wire: Wire, words: Line) -> list[bytes]:
    """The reply, and what was pushed before it over RESP3. HELLO's is left out: it names the server's version."""
    found = [wire.read_raw()]
    while found[-1].startswith(b">"):
        found.append(wire.read_raw())
    return found[:-1] if words[0] == "HELLO" else found


def rest(wire: Wire) -> list[bytes]:
    """All that has come and was not read, up to the reply of a PING of our own."""
    wire.send("PING", "the end")
    found: list[bytes] = []
    while not found or b"the end" not in found[-1]:
        found.append(wire.read_raw())
    return found


@pytest.mark.parametrize("name", STORIES)
def test_what_everybody_reads(name: str, servers: tuple[Server, Server]) -> None:
    theirs, ours = (told(server, STORIES[name]) for server in servers)
    assert ours == theirs
