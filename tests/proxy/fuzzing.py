"""Inputs that nobody would send: to the proxy from clients, and to the proxy from its nodes.

A client that sends noise costs only itself: another one's keys and replies are as they should be. A node whose replies
are spoiled costs its connections: each command still has one reply, or its client is let go.
"""

from __future__ import annotations

from random import Random

from node.net.replies import MalformedReply
from node.slots import slot_of
from proxy.cutter import Cutter
from tests.node.fuzzing import LEFT_OUT, WORDS, mutated
from tests.proxy.inside import LocalClient, LocalProxy
from tests.proxy.world import HALVES, World
from tests.support.wire import encode

FLUSH_AFTER = 500
"""How many inputs go by before the keys at the nodes are forgotten."""
WITNESS_AFTER = 20
"""How many inputs go by before another client looks whether it is served as ever."""
ROW_MAX = 8
CLIENTS = 4
RETRY_MS = 2000
"""Longer than a command is tried."""
PUSH = ord(">")


def _names(home: LocalProxy) -> list[bytes]:
    """The commands that make nobody else wait, and change nobody else's rights."""
    left_out = {*LEFT_OUT, b"client|pause", b"client|kill", b"acl|setuser", b"acl|deluser", b"monitor", b"acl|load"}
    every = [command.full_name.encode() for command in home.proxy.commands.every()]
    return [name for name in every if name not in left_out and name.split(b"|")[0] not in LEFT_OUT]


def _noise(luck: Random, names: list[bytes]) -> bytes:
    parts = []
    for _ in range(luck.randrange(1, 4)):
        line = encode(*luck.choice(names).split(b"|"), *luck.choices(WORDS, k=luck.randrange(7)))
        parts.append(mutated(luck, line) if luck.random() < 0.3 else line)
    return b"".join(parts)


def _whole_replies(data: bytes) -> list[bytes]:
    """The replies in what a client has got; AssertionError if they are not whole or malformed."""
    try:
        replies = Cutter().cut(data)
    except MalformedReply as error:
        raise AssertionError(f"{error}: {data!r}") from None
    assert b"".join(replies) == data, data
    return replies


def fuzz_clients(luck: Random, rounds: int) -> None:
    """Clients that send noise, in several parts, and go in the midst of it."""
    home = LocalProxy("requirepass ''")
    names = _names(home)
    witness, clients = home.client(), [home.client() for _ in range(CLIENTS)]
    for number in range(rounds):
        at = luck.randrange(CLIENTS)
        if clients[at].is_gone or luck.random() < 0.05:
            clients[at].close()
            clients[at] = home.client()
        data = _noise(luck, names)
        cut = luck.randrange(len(data) + 1) if luck.random() < 0.3 else len(data)
        clients[at].send(*filter(None, (data[:cut], data[cut:])))
        _whole_replies(clients[at].take())
        if number % WITNESS_AFTER == 0:
            _look(witness, number)
        if number % FLUSH_AFTER == 0:
            home.pass_ms(1000)
            for node in home.nodes:
                other = node.client()
                for line in ("FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH", "CLIENT UNPAUSE"):
                    other.raw(*line.split())
                other.session.lost("over")
    _end(home, [witness, *clients])
    assert not [line for line in home.log if "makes no sense" in line], home.log[-5:]


def _look(witness: LocalClient, number: int) -> None:
    """A client that is served as ever: its keys are where nobody else's noise is."""
    keys = [f"witness:{slot}" for slot in range(4)]
    assert witness.raw("MSET", *(word for key in keys for word in (key, f"{key}={number}"))) == b"+OK\r\n"
    wanted = b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in (f"{key}={number}".encode() for key in keys))
    assert witness.raw("MGET", *keys) == b"*4\r\n" + wanted
    assert witness.raw("ECHO", number) == b"$%d\r\n%d\r\n" % (len(str(number)), number)


def _end(home: LocalProxy, clients: list[LocalClient]) -> None:
    """All are gone, and nothing of them is left."""
    for client in clients:
        client.close()
    home.pass_ms(60_000)
    proxy = home.proxy
    assert not proxy.sessions and not proxy.pool.lent and not proxy.router.waiting
    assert not proxy.hub.wanted and not proxy.caches.trackers and not proxy.caches.news and not proxy.caches.apart
    assert not any(link.pending or link.queue for link in proxy.links)


COUNTED = [
    ("GET", "a"), ("SET", "b", "1"), ("MGET", "a", "b", "c", "{a}1"), ("DEL", "a", "b", "c"), ("INCR", "n"),
    ("MSET", "a", "1", "b", "2"), ("SUNIONSTORE", "s", "t", "u"), ("SADD", "t", "x"), ("RENAME", "a", "b"),
    ("LMOVE", "l", "m", "LEFT", "RIGHT"), ("RPUSH", "l", "x"), ("SMOVE", "t", "u", "x"), ("COPY", "a", "c"),
    ("KEYS", "*"), ("DBSIZE",), ("RANDOMKEY",), ("SCAN", "0"), ("WAIT", "0", "1"), ("LMPOP", "2", "l", "m", "LEFT"),
    ("EVAL", "return 1", "1", "a"), ("XADD", "x", "*", "f", "v"), ("XREAD", "STREAMS", "x", "y", "0", "0"),
    ("BLPOP", "l", "m", "0.01"), ("WATCH", "a", "b"), ("PFCOUNT", "a", "b"), ("SORT", "l", "ALPHA", "STORE", "m"),
    ("SCRIPT", "LOAD", "return 1"), ("INFO",), ("PING",), ("PUBLISH", "c", "x"), ("HGETALL", "h"), ("TYPE", "a"),
    ("FUNCTION", "LIST"), ("ZADD", "z", "1", "m"), ("ZUNION", "2", "z", "y"), ("OBJECT", "ENCODING", "a"),
    ("XREAD", "BLOCK", "5", "STREAMS", "x", "y", "$", "$"), ("CLIENT", "TRACKING", "ON"), ("PROXY", "INFO"),
    ("CLIENT", "TRACKING", "ON", "NOLOOP"), ("CLIENT", "TRACKING", "OFF"), ("MSETNX", "a", "1", "b", "2"),
]  # fmt: skip
"""Commands of which each has one reply."""
OTHER_REPLIES = (
    b"+OK\r\n", b":7\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"*0\r\n", b"%0\r\n", b"~1\r\n:1\r\n", b"#t\r\n",
    b",1.5\r\n", b"$3\r\nabc\r\n", b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", b"-ERR no\r\n", b"-MOVED 5 node:1\r\n",
    b"-ASK 5 node:2\r\n", b"-MOVED 99999 x\r\n", b"-MOVED\r\n", b"-TRYAGAIN x\r\n", b"-CLUSTERDOWN x\r\n",
    b"-LOADING x\r\n", b"-READONLY x\r\n", b"-NOSCRIPT x\r\n", b"-EXECABORT x\r\n",
    b">2\r\n$10\r\ninvalidate\r\n_\r\n", b">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", b">0\r\n", b"$5\r\nab\r\n", b"*3\r\n:1\r\n", b"hello\r\n",
)  # fmt: skip


def fuzz_nodes(luck: Random, rounds: int) -> None:
    """Replies of nodes that are spoiled, exchanged, doubled, or end in the middle."""
    home = LocalProxy("retry-timeout 200\nnode-timeout 300")

    def change(data: bytes) -> bytes | None:
        what = luck.randrange(40)
        if what > 4:
            return data
        if what == 0:
            return None
        return mutated(luck, data) if what < 3 else luck.choice(OTHER_REPLIES) + (data if what == 3 else b"")

    home.change = change
    client = home.client()
    for number in range(rounds):
        if client.is_gone or luck.random() < 0.02:
            client.close()
            client = home.client()
            if luck.random() < 0.5:
                client.raw("HELLO", "3")
        row: list[tuple[str, ...]] = luck.choices(COUNTED, k=luck.randrange(1, ROW_MAX))
        if luck.random() < 0.2:
            row = [("MULTI",), *row, ("EXEC",)]
        client.send(b"".join(encode(*command) for command in row))
        replies = _whole_replies(client.take())
        for _ in range(60):
            if client.is_gone or len([raw for raw in replies if raw[0] != PUSH]) >= len(row):
                break
            home.pass_ms(100)
            replies += _whole_replies(client.take())
        answers = [raw for raw in replies if raw[0] != PUSH]
        assert client.is_gone or len(answers) == len(row), f"{number}: {row} had {answers}"
    home.change = lambda data: data
    _end(home, [client])


def fuzz_replies(luck: Random, rounds: int) -> None:
    """Streams of replies, whole, spoiled and in pieces, to one connection: each command has one answer in the end."""
    pieces = [*OTHER_REPLIES, b"*1\r\n", b"%1\r\n", b"|1\r\n", b"$9999999999\r\n", b"$-2\r\n", b"\r\n", b"x" * 100]
    world = World()
    for _ in range(rounds):
        sent = len([world.send(b"INCR", b"foo") for _ in range(luck.randrange(1, 4))])
        link = world.at("b:2")
        data = mutated(luck, b"".join(luck.choices(pieces, k=luck.randrange(1, 5))))
        cut = luck.randrange(len(data) + 1)
        for part in (data[:cut], data[cut:]):
            if not link.ended:
                link.receive(part)
        for name in list(world.links.values()):
            name.lost("over")
        world.pass_time(RETRY_MS)
        for name in list(world.links.values()):
            name.lost("over")
        world.pass_time(RETRY_MS)
        assert len(world.answers) == sent, data
        assert all(_whole_replies(raw) == [raw] for raw in world.answers), data
        world.answers.clear()
        owner = world.topology.owners[slot_of(b"foo")]
        if owner is None or owner.name != "b:2":
            world.topology.adopt(HALVES)


FUZZERS = {"clients": fuzz_clients, "nodes": fuzz_nodes, "replies": fuzz_replies}
