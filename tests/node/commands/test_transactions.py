"""MULTI, EXEC and DISCARD beside a real redis-server: the same words, the same replies, one unit for replicas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.dispatch import PLAIN_TRANSACTION
from tests.support import HexadServer, RedisServer, wait_until
from tests.support.local import LocalNode
from tests.support.servers import Server
from tests.support.wire import ReplyError, Wire, encode


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with HexadServer(repl_diskless_sync_delay=0) as ours, RedisServer() as theirs:
        yield ours, theirs


@pytest.fixture(scope="module")
def wires(servers: tuple[Server, Server]) -> Iterator[tuple[Wire, Wire]]:
    ours, theirs = servers
    with ours.wire() as mine, theirs.wire() as his:
        yield mine, his


LINES = [
    "MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "SET a 1", "SET b x", "INCR a", "INCR b", "GET a", "APPEND b y",
    "DEL a b", "NONSENSE", "GET", "SELECT 1", "SELECT 0", "MGET a b", "PING", "EXPIRE a 100", "RESET", "SET a 1 EX 0",
    "WAIT 1 10", "CLIENT GETNAME", "SYNC", "SETRANGE b 600000000 x", "FLUSHALL", "DBSIZE",
    "EXEC now",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=25))
def test_random_talks(wires: tuple[Wire, Wire], lines: list[str]) -> None:
    lines = ["RESET", "FLUSHALL", *lines]
    seen = [[wire(*line.split()) for line in lines if line != "SYNC"] for wire in wires]
    for line, mine, his in zip([line for line in lines if line != "SYNC"], *seen, strict=True):
        assert mine == his, line


@pytest.mark.parametrize("command", ["SYNC", "PSYNC ? -1", "SHUTDOWN"])
def test_what_must_not_be_queued(wires: tuple[Wire, Wire], command: str) -> None:
    told = []
    for wire in wires:
        wire("RESET")
        told.append([wire("MULTI"), wire(*command.split()), wire("EXEC")])
    assert told[0] == told[1]


def test_resp3_replies_and_a_client_that_is_described(servers: tuple[Server, Server]) -> None:
    told = []
    for server in servers:
        with server.wire(protocol=3) as wire:
            wire("MULTI")
            wire("CONFIG", "GET", "maxclients")
            wire("GET", "nothing")
            with server.wire() as other:
                line = other("CLIENT", "LIST", "ID", wire.id) if hasattr(wire, "id") else other("CLIENT", "LIST")
                assert b" multi=2 " in line and b"flags=x" in line
            told.append(wire("EXEC"))
    assert told[0] == told[1]


def test_an_exec_waits_for_the_end_of_a_pause(servers: tuple[Server, Server]) -> None:
    for server in servers:
        with server.wire() as wire, server.wire() as other:
            wire("FLUSHALL")
            wire("MULTI")
            wire("INCR", "n")
            other("CLIENT", "PAUSE", 10_000, "WRITE")
            wire.send("EXEC")
            assert other("GET", "n") is None
            other("CLIENT", "UNPAUSE")
            assert wire.read() == [1]


def test_a_refusal_at_exec_discards(servers: tuple[Server, Server]) -> None:
    told = []
    for server in servers:
        with server.wire() as wire, server.wire() as other:
            wire("MULTI")
            wire("SET", "k", "v")
            other("CONFIG", "SET", "min-replicas-to-write", 3)
            told.append([wire("EXEC"), wire("EXEC")])
            other("CONFIG", "SET", "min-replicas-to-write", 0)
    assert told[0] == told[1]


def test_a_replica_gets_one_unit(servers: tuple[Server, Server]) -> None:
    with RedisServer(replicaof=("127.0.0.1", str(servers[0].port))) as replica, replica.wire() as at:
        with servers[0].wire() as wire:
            wire("SET", "a", 0)
            wait_until(lambda: at("GET", "a") == b"0", 10, "it is synchronized")
            with replica.wire() as monitor:
                assert monitor("MONITOR") == "OK"
                wire("MULTI")
                for words in (("INCR", "a"), ("SELECT", 2), ("SET", "b", 1), ("GET", "a")):
                    wire(*words)
                assert wire("EXEC") == [1, "OK", "OK", None]
                wire("SET", "last", 1)
                wire("SELECT", 0)
                lines: list[str] = []
                while not lines or '"last"' not in lines[-1]:
                    lines.append(str(monitor.read()))
            said = [
                line.partition("] ")[2].partition("'")[0]
                for line in lines
                if '"PING"' not in line and "GETACK" not in line
            ]
            words = [" ".join(line.replace('"', "").split()) for line in said if line]
            wanted = ["MULTI", "INCR a", "SELECT 2", "SET b 1", "EXEC", "SET last 1"]
            assert words[words.index("MULTI") :] == wanted


def test_a_cluster_takes_a_transaction_of_one_slot() -> None:
    with HexadServer(cluster_enabled="yes") as server, server.wire() as wire:
        wire("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: wire("SET", "x", 1) == "OK", 10, "the slots are served")
        for keys, reply in ((("{t}a", "{t}b"), ["OK", "OK"]), (("a", "b"), None)):
            assert wire("MULTI") == "OK"
            for key in keys:
                wire("SET", key, 1)
            told = wire("EXEC")
            if reply is None:
                assert isinstance(told, ReplyError), told
            else:
                assert told == reply
        assert wire("EXEC") == ReplyError("ERR EXEC without MULTI")


def test_rows_of_a_transaction_are_counted_judged_and_answered_one_by_one() -> None:
    node = LocalNode()
    client, other = node.client(), node.client()
    words = [("SET", "n", number) for number in range(20)] + [("INCR", "n")] * 2 + [("LPUSH", "n", 1), ("GET", "n")]
    replies = b"+OK\r\n" * 20 + b":20\r\n:21\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    piece = b"".join(encode(*line) for line in [("MULTI",), *words, ("EXEC",)])
    node.server.read_clock()
    client.session.receive(piece)
    assert bytes(client.session.out) == b"+OK\r\n" + 24 * b"+QUEUED\r\n" + b"*24\r\n" + replies + b"$2\r\n21\r\n"
    stats = other.raw("INFO", "commandstats")
    for line in (b"set:calls=20,", b"incr:calls=2,", b"lpush:calls=1,", b"get:calls=1,", b"exec:calls=1,"):
        assert b"cmdstat_" + line in stats
    assert b"failed_calls=1" in next(line for line in stats.split() if line.startswith(b"cmdstat_lpush"))


def test_nothing_stands_in_the_way_of_a_usual_transaction() -> None:
    client = LocalNode().client()
    client.raw("MULTI")
    assert client.session.gates == PLAIN_TRANSACTION, "else EXEC asks every guard for every command"
    client.raw("SET", "a", 1)
    assert client.raw("DEBUG", "SLEEP", 0).startswith(b"-ERR DEBUG command not allowed")
    assert client.raw("EXEC").startswith(b"-EXECABORT")


@pytest.mark.parametrize("option", [(), ("NX",)])
@pytest.mark.parametrize("heard", [False, True])
def test_a_row_of_one_command_is_journalled_and_heard_of_one_by_one(heard: bool, option: tuple[str, ...]) -> None:
    node = LocalNode()
    client, watcher = node.client(), node.client()
    entries: list[bytes] = []

    class Reader:
        def take_entry(self, db: int, entry: bytes) -> None:
            entries.append(entry)

    node.server.journal.add_reader(Reader())
    if heard:
        watcher.raw("WATCH", "c")
        watcher.raw("MULTI")
    pairs = [("a", 1), ("{b}", "x"), ("a", 2), ("c", 3), ("d", 4), ("e", 5)]
    words = [("SET", key, value, *(option if key == "d" else ())) for key, value in pairs]
    dirty = node.keyspace.dirty
    for line in (("MULTI",), *words):
        client.raw(*line)
    assert client.raw("EXEC") == b"*6\r\n" + 6 * b"+OK\r\n"
    assert entries == [encode("MULTI"), *(encode(*line) for line in words), encode("EXEC")]
    assert node.keyspace.dirty - dirty == 6
    assert client.raw("MGET", "a", "{b}", "c", "d", "e").split()[2::2] == [b"2", b"x", b"3", b"4", b"5"]
    if heard:
        assert watcher.raw("EXEC") == b"*-1\r\n"


def test_a_slow_row_of_a_transaction_is_told() -> None:
    node = LocalNode()
    client, now_ns = node.client(), 0

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += 20_000_000
        return now_ns

    client.raw("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    client.raw("MULTI")
    client.raw("SET", "n", 1)
    node.server.clock_ns = clock_ns
    assert client.raw("EXEC") == b"*1\r\n+OK\r\n"
    assert b"$3\r\nSET\r\n$1\r\nn\r\n" in client.raw("SLOWLOG", "GET")


def test_a_transaction_that_makes_its_client_a_subscriber_is_answered_before_its_messages() -> None:
    client = LocalNode().client()
    client.raw("HELLO", 3)
    for line in ("MULTI", "SET a 1", "SUBSCRIBE c", "PUBLISH c x", "SET a 2"):
        client.raw(*line.split())
    reply = client.raw("EXEC")
    assert reply.startswith(b"*4\r\n+OK\r\n") and reply.index(b":1\r\n+OK\r\n") < reply.index(b"$7\r\nmessage")


def test_a_limit_of_memory_that_comes_between_refuses_exec() -> None:
    node = LocalNode()
    client = node.client()
    for line in ("MULTI", "SET a 1"):
        client.raw(*line.split())
    node.client().raw("CONFIG", "SET", "maxmemory", 1)
    assert client.raw("EXEC").startswith(b"-EXECABORT Transaction discarded because of: OOM")
    assert client.raw("GET", "a") == b"$-1\r\n" and client.session.transaction is None


def test_what_a_client_ran_last_is_exec() -> None:
    client = LocalNode().client()
    for line in ("MULTI", "GET a", "LPUSH l x", "EXEC"):
        client.raw(*line.split())
    assert b" cmd=exec " in client.session.host.clients.describe(client.session)
