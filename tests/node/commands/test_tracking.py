"""Client-side caching beside a real redis-server: the same programs, the same messages to the same clients."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node.commands.traces import Line
from tests.support import HexadServer, Push, RedisServer, Wire, encode, wait_until
from tests.support.local import LocalNode

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
CLIENTS = 3

Turn = tuple[int, str]
"""(number of a client, its words; ID0 is the first client's number, CONTROL the number of one that is not tracked)"""

CHANGES = [
    "SET K V", "SET K V NX", "INCR K", "APPEND K V", "DEL K", "RENAME K K", "COPY K K", "RPUSH K V", "LPOP K",
    "SADD K V", "SORT K STORE K", "SUNIONSTORE K K K", "HSET K V V", "EXPIRE K 100000", "EXPIRE K -1", "PERSIST K",
    "MSET K V K V", "SETRANGE K 0 x", "GETDEL K", "GETEX K PERSIST", "FLUSHDB", "UNLINK K K",
]  # fmt: skip
READS = [
    "GET K", "GET K", "GET K", "MGET K K K", "EXISTS K", "LRANGE K 0 -1", "HGETALL K", "TYPE K", "SUNION K K", "TTL K",
]  # fmt: skip
MODES = [
    "CLIENT TRACKING ON", "CLIENT TRACKING ON NOLOOP", "CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON OPTOUT",
    "CLIENT TRACKING ON OPTIN NOLOOP", "CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON BCAST NOLOOP",
    "CLIENT TRACKING ON BCAST PREFIX a PREFIX b", "CLIENT TRACKING ON BCAST PREFIX b NOLOOP",
    "CLIENT TRACKING ON REDIRECT ID0", "CLIENT TRACKING ON REDIRECT ID1 NOLOOP", "CLIENT TRACKING ON REDIRECT CONTROL",
    "CLIENT TRACKING ON BCAST REDIRECT ID2", "CLIENT TRACKING OFF",
]  # fmt: skip
ASIDE = [
    "MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "CLIENT CACHING YES", "CLIENT CACHING YES", "CLIENT CACHING NO",
    "PING", "CLIENT TRACKINGINFO", "NONSENSE", "WATCH K", "CLIENT GETNAME", "SELECT 1", "SELECT 0",
]  # fmt: skip


def program_of(seed: int) -> list[Turn]:
    luck = Random(seed)

    def filled(template: str) -> str:
        names = {"K": ("aa", "ab", "b", "c"), "V": ("1", "2", "x")}
        return " ".join(luck.choice(names[word]) if word in names else word for word in template.split())

    program = [(number, luck.choice(MODES)) for number in range(CLIENTS - 1)]
    queueing: set[int] = set()
    for _ in range(50):
        number = luck.randrange(CLIENTS)
        # Who begins to track in a transaction that flushes hears of it or not in 7.0, as it happens.
        kinds = [READS, CHANGES, ASIDE, *([MODES] if number not in queueing else [])]
        words = filled(luck.choice(luck.choices(kinds, [8, 6, 5, 1][: len(kinds)])[0]))
        if words == "MULTI":
            queueing.add(number)
        elif words in ("EXEC", "DISCARD"):
            queueing.discard(number)
        program.append((number, words))
    return program


def in_any_order(text: bytes) -> list[bytes]:
    """What is redirected to the client whose command is running: 7.0 writes it before the reply, behind it, or into the
    midst of EXEC's array, as it happens; ours comes before. The order of all other messages has its own tests."""
    return sorted(text.split(b"\r\n"))


class Together:
    """The same clients at both servers. One more tracks all the time, so that ours never drops its table."""

    def __init__(self, redis: RedisServer) -> None:
        self.node = LocalNode(now_ms=time.time_ns() // 1_000_000)
        self.theirs = [redis.wire(protocol=3) for _ in range(CLIENTS + 1)]
        self.control: Wire = redis.wire(protocol=3)
        self.node.server.clients.next_id = self.theirs[0]("CLIENT", "ID")  # the same numbers, which replies show
        self.ours = [self.node.client() for _ in range(CLIENTS + 1)]
        self.our_control = self.node.client()
        for client in [*self.ours, self.our_control]:
            client.raw("HELLO", 3)
        self.names = {f"ID{at}": client.raw("CLIENT", "ID")[1:-2] for at, client in enumerate(self.ours)}
        self.names["CONTROL"] = self.control.raw("CLIENT", "ID")[1:-2]
        self.messages = 0

    def close(self) -> None:
        for wire in [*self.theirs, self.control]:
            wire.close()

    def run(self, program: list[Turn]) -> None:
        for number in range(CLIENTS + 1):
            for server in (self.theirs[number], self.ours[number]):
                server.raw("RESET")
            self.turn(number, "HELLO 3", compare=False)
        self.turn(0, "FLUSHALL")
        self.turn(CLIENTS, "CLIENT TRACKING ON")
        for number, words in program:
            self.turn(number, words)

    def turn(self, number: int, words: str, *, compare: bool = True) -> None:
        """One client says something; what every client (and at last the control) has got by then."""
        line = [self.names.get(word, word.encode()) for word in words.split()]
        expected = self.their_turn(number, line)
        got = self.our_turn(number, line)
        self.messages += sum(text.count(b"invalidate") for text in got)
        assert not compare or [in_any_order(text) for text in got] == [in_any_order(text) for text in expected], (
            number,
            words,
        )

    def their_turn(self, number: int, words: Line) -> list[bytes]:
        wire = self.theirs[number]
        wire.send(*words)
        assert select.select([wire.socket], [], [], 10)[0], "no reply"
        self.control.send("PING")  # once it has its reply, all the others have theirs
        told = b""
        while not told.endswith(b"+PONG\r\n"):
            told += self.control.read_some()
        return [drained(one) for one in self.theirs] + [told.removesuffix(b"+PONG\r\n")]

    def our_turn(self, number: int, words: Line) -> list[bytes]:
        reply = self.ours[number].raw(*words)
        self.node.server.before_send()
        texts = []
        for at, client in enumerate([*self.ours, self.our_control]):
            texts.append((reply if at == number else b"") + bytes(client.session.out))
            client.session.out.clear()
        return texts


def drained(wire: Wire) -> bytes:
    text = b""
    while select.select([wire.socket], [], [], 0)[0]:
        text += wire.read_some()
    return text


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_random_programs(redis: RedisServer) -> None:
    both = Together(redis)

    @settings(
        max_examples=50 * PROOF,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.integers(0, 1 << 32))
    def run(seed: int) -> None:
        both.run(program_of(seed))

    try:
        run()
    finally:
        both.close()
    assert both.messages > 200


# --- how it is asked for ----------------------------------------------------------------------------------------------

ASKED = [
    "CLIENT TRACKING", "CLIENT TRACKING x", "CLIENT TRACKING on x", "CLIENT TRACKING on optin optout",
    "CLIENT TRACKING on bcast optin", "CLIENT TRACKING on bcast optout", "CLIENT TRACKING on prefix a",
    "CLIENT TRACKING off prefix a redirect 99", "CLIENT TRACKING x redirect 99", "CLIENT TRACKING on redirect x",
    "CLIENT TRACKING on redirect", "CLIENT TRACKING on redirect ID1 redirect ID1", "CLIENT TRACKING on redirect 0",
    "CLIENT TRACKING on prefix", "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT CACHING yes", "CLIENT CACHING x",
    "CLIENT TRACKING on optin", "CLIENT TRACKING on optout", "CLIENT TRACKING on bcast", "CLIENT CACHING no",
    "CLIENT CACHING x", "CLIENT CACHING yes", "CLIENT TRACKINGINFO", "GET x", "CLIENT TRACKINGINFO",
    "CLIENT CACHING YES", "NONSENSE", "CLIENT TRACKINGINFO", "CLIENT CACHING YES", "MULTI", "GET x", "EXEC",
    "CLIENT TRACKINGINFO", "CLIENT TRACKING on", "CLIENT TRACKINGINFO", "CLIENT TRACKING on optout",
    "CLIENT CACHING yes", "CLIENT CACHING NO", "CLIENT TRACKINGINFO", "CLIENT TRACKING on optin",
    "CLIENT TRACKING on optout optin", "CLIENT TRACKING off", "CLIENT TRACKING on bcast prefix foo prefix bar",
    "CLIENT TRACKINGINFO", "CLIENT TRACKING on bcast prefix fo", "CLIENT TRACKING on bcast prefix foo",
    "CLIENT TRACKING on bcast", "CLIENT TRACKINGINFO", "CLIENT TRACKING on bcast prefix x",
    "CLIENT TRACKING on bcast noloop redirect ID1", "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT TRACKING off",
    "CLIENT TRACKING on bcast prefix a prefix ab", "CLIENT TRACKINGINFO", "CLIENT TRACKING on noloop",
    "CLIENT TRACKING on bcast bcast noloop", "CLIENT TRACKINGINFO x", "CLIENT CACHING", "CLIENT GETREDIR x", "RESET",
    "CLIENT TRACKINGINFO",
]  # fmt: skip


@pytest.fixture
def both(redis: RedisServer) -> Iterator[Together]:
    together = Together(redis)
    together.run([])
    yield together
    together.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_is_asked_for_and_refused(both: Together, protocol: int) -> None:
    for words in (f"HELLO {protocol}", *ASKED):
        both.turn(0, words, compare=not words.startswith("HELLO"))


def test_flags_in_client_list(both: Together) -> None:
    def told() -> list[bytes]:
        lists = [
            both.control.raw("CLIENT", "LIST", "ID", both.names["ID0"]),
            both.ours[1].raw("CLIENT", "LIST", "ID", both.names["ID0"]),
        ]
        return [b" ".join(re.findall(rb"(?:flags|redir)=\S+", text)) for text in lists]

    for words, expected in (
        ("PING", b"flags=N redir=-1"),
        ("CLIENT TRACKING ON", b"flags=t redir=0"),
        ("CLIENT TRACKING ON REDIRECT ID1", b"flags=t redir=" + both.names["ID1"]),
        ("CLIENT TRACKING OFF", b"flags=N redir=-1"),
        ("CLIENT TRACKING ON BCAST", b"flags=tB redir=0"),
    ):
        both.turn(0, words)
        assert told() == [expected, expected]


# --- messages ---------------------------------------------------------------------------------------------------------


def push(*keys: bytes) -> bytes:
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n" % len(keys) + b"".join(b"$%d\r\n%b\r\n" % (len(k), k) for k in keys)


ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"


class Clients:
    """Clients of one node, who say a line and then look what everybody has got."""

    def __init__(self, count: int, **options: object) -> None:
        self.node = LocalNode(**options)
        self.clients = [self.node.client() for _ in range(count)]
        for client in self.clients:
            client.raw("HELLO", 3)

    def __call__(self, number: int, *lines: str) -> list[bytes]:
        """What each client has got after these lines."""
        for words in lines:
            self.clients[number].session.receive(encode(*words.split()))
        self.node.server.before_send()
        texts = [bytes(client.session.out) for client in self.clients]
        for client in self.clients:
            client.session.out.clear()
        return texts

    def info(self, field: str) -> int:
        text = self.node.client().raw("INFO", "all").decode()
        return int(text.split(f"{field}:")[1].split("\r\n")[0])


def test_ones_own_change_is_told_after_its_reply() -> None:
    run = Clients(1)
    run(0, "CLIENT TRACKING ON")
    assert run(0, "GET a", "SET a 1", "GET a") == [b"_\r\n+OK\r\n" + push(b"a") + b"$1\r\n1\r\n"]
    assert run(0, "MULTI", "SET a 2", "GET a", "SET a 3", "EXEC")[0].endswith(b"+OK\r\n" + push(b"a") * 2)
    assert run(0, "GET a", "FLUSHALL")[0].endswith(b"+OK\r\n" + ALL)
    assert run(0, "CLIENT REPLY OFF", "GET a", "SET a 1", "CLIENT REPLY ON") == [push(b"a") + b"+OK\r\n"]


def test_who_waited_is_told_of_its_own_change_after_its_reply() -> None:
    run = Clients(2)
    run(0, "CLIENT TRACKING ON", "GET to", "BLMOVE from to LEFT LEFT 0")
    assert run(1, "RPUSH from x") == [b"$1\r\nx\r\n" + push(b"to"), b":1\r\n"]


def test_others_are_told_at_once_and_once() -> None:
    run = Clients(3)
    run(0, "CLIENT TRACKING ON")
    run(0, "MGET a b")
    assert run(1, "SET a 1", "SET a 2") == [push(b"a"), b"+OK\r\n+OK\r\n", b""]
    assert run(1, "FLUSHDB")[0] == ALL  # whatever it caches
    assert run(1, "SET b 1")[0] == b""


def test_keys_with_a_prefix_are_collected() -> None:
    run = Clients(3)
    run(0, "CLIENT TRACKING ON BCAST PREFIX user: PREFIX x")
    run(1, "CLIENT TRACKING ON BCAST NOLOOP")
    keys = ("user:2", "user:1", "other", "user:2", "x")
    got = run(2, *(f"INCR {key}" for key in keys))
    assert got[0] == push(b"user:1", b"user:2") + push(b"x")
    assert got[1] == push(b"other", b"user:1", b"user:2", b"x")
    assert run(1, "DEL x", "SET y 1") == [push(b"x"), b":1\r\n+OK\r\n", b""]
    run(0, "CLIENT TRACKING OFF")
    assert run(2, "SET x 1") == [b"", push(b"x"), b"+OK\r\n"]
    assert run.info("tracking_total_prefixes") == 1


def test_keys_that_expire_are_told_to_all_also_to_who_finds_out() -> None:
    run = Clients(2)
    run(0, "CLIENT TRACKING ON NOLOOP")
    run(1, "CLIENT TRACKING ON BCAST NOLOOP")
    run(0, "SET a 1 PX 10", "GET a")
    run.node.platform.time_ms += 20
    run.node.server.read_clock()
    assert run(0, "DBSIZE", "GET a") == [b":1\r\n_\r\n" + push(b"a"), push(b"a")]


def test_redirection() -> None:
    """To RESP3 as it is; to RESP2 as a message, where the other is subscribed to anything; else to nobody."""
    run = Clients(3)
    run(0, "HELLO 2")
    run(1, "HELLO 2")
    target = run.clients[1].session
    run(0, f"CLIENT TRACKING ON REDIRECT {target.id}")
    assert run(0, "GET a", "SET a 1") == [b"_\r\n+OK\r\n".replace(b"_", b"$-1"), b"", b""]
    run(1, "SUBSCRIBE __redis__:invalidate")
    message = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
    assert run(0, "GET a", "SET a 1")[1] == message + b"*1\r\n$1\r\na\r\n"
    assert run(2, "FLUSHALL")[1] == message + b"$-1\r\n"
    run(1, "RESET", "HELLO 3")
    assert run(0, "GET a", "SET a 1")[1] == push(b"a")


def test_a_redirection_that_broke_is_told() -> None:
    run = Clients(3)
    gone = run.clients[1].session
    run(0, f"CLIENT TRACKING ON REDIRECT {gone.id}", "GET a")
    gone.lost("")
    assert run(2, "SET a 1")[0] == b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % gone.id
    assert b"broken_redirect" in run(0, "CLIENT TRACKINGINFO")[0]
    assert b" flags=tR " in run(0, "CLIENT INFO")[0]
    run(0, f"CLIENT TRACKING ON REDIRECT {run.clients[2].session.id}")
    assert b"broken" not in run(0, "CLIENT TRACKINGINFO")[0]


def test_the_table_has_a_bound() -> None:
    """What goes is told, also to a client that wants to hear nothing of its own changes."""
    run = Clients(3, tracking_table_max_keys=10)
    run(0, "CLIENT TRACKING ON NOLOOP")
    run(1, "CLIENT TRACKING ON")
    told: set[bytes] = set()
    for number in range(30):
        for reader in (1, 0):
            told.update(re.findall(rb"k\d+", run(reader, f"GET k{number}")[0]))
        assert run.info("tracking_total_keys") <= 10
    assert len(told) == 20 and run.info("tracking_total_items") <= 20
    run.node.server.config.put("tracking-table-max-keys", 0)
    for number in range(30):
        run(0, f"GET k{number}")
    assert run.info("tracking_total_keys") == 30
    assert len(re.findall(rb"k\d+", run(2, "CONFIG SET tracking-table-max-keys 3")[0])) == 27


def test_counts_and_the_end() -> None:
    run = Clients(3)
    run(0, "CLIENT TRACKING ON")
    run(1, "CLIENT TRACKING ON")
    run(0, "MGET a b")
    run(1, "GET a", "GET a")
    fields = ("tracking_clients", "tracking_total_keys", "tracking_total_items", "tracking_total_prefixes")
    assert [run.info(field) for field in fields] == [2, 2, 3, 0]
    run(2, "SET a 1")
    assert [run.info(field) for field in fields] == [2, 1, 1, 0]
    run.clients[0].session.lost("")
    assert run.node.keyspace.listening
    run(1, "RESET")
    assert [run.info(field) for field in fields] == [0, 0, 0, 0] and not run.node.keyspace.listening


def test_nobody_else_pays() -> None:
    run = Clients(2)
    gates = run.clients[1].session.gates
    run(0, "CLIENT TRACKING ON")
    assert run.clients[1].session.gates == gates != run.clients[0].session.gates
    run(0, "CLIENT TRACKING OFF")
    assert run.clients[0].session.gates == gates


def test_a_subscriber_of_resp2_beside_redis(both: Together) -> None:
    """The way of clients that speak RESP2: a second connection, subscribed to the channel of invalidations."""
    for number in (0, 1):
        both.turn(number, "RESET")
        both.turn(number, "HELLO 2", compare=False)
    for number, words in (
        (1, "SUBSCRIBE __redis__:invalidate"),
        (0, "CLIENT TRACKING ON REDIRECT ID1"),
        (0, "MGET a b"),
        (2, "SET a 1"),
        (0, "SET b 1"),
        (2, "FLUSHALL"),
        (1, "UNSUBSCRIBE"),
        (0, "GET a"),
        (2, "SET a 1"),
        (1, "PSUBSCRIBE x"),
        (0, "GET a"),
        (2, "MSET a 1 b 2"),
        (0, "CLIENT TRACKING OFF"),
        (0, "CLIENT TRACKING ON BCAST REDIRECT ID1 NOLOOP"),
        (2, "MSET a 1 b 2"),
        (0, "SET a 2"),
    ):
        both.turn(number, words)
    assert both.messages == 8  # two replies name the channel, and the one that tracks all the time hears of FLUSHALL


# --- over sockets -----------------------------------------------------------------------------------------------------


def test_expiry_and_a_full_synchronization_are_told_without_any_request() -> None:
    with HexadServer() as ours, HexadServer(repl_diskless_sync_delay=0) as other:
        with ours.wire(protocol=3) as listener, ours.wire() as client:
            listener("CLIENT", "TRACKING", "ON", "BCAST")
            client("SET", "a", 1, "PX", 30)
            assert listener.read() == Push([b"invalidate", [b"a"]])
            assert listener.read() == Push([b"invalidate", [b"a"]])
            client("REPLICAOF", "127.0.0.1", other.port)
            assert listener.read() == Push([b"invalidate", None])


def test_the_cache_of_redis_py(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wants a server that says 7.4 or more, whatever that can do; the rest is the client's own."""
    from redis import Redis
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "7.2.0")
    with HexadServer() as server, server.wire() as other:
        caching = Redis(port=server.port, protocol=3, cache_config=CacheConfig(), decode_responses=True)
        other("SET", "key", "old")
        assert [caching.get("key") for _ in range(3)] == ["old"] * 3
        reads = int(other.info("commandstats")["cmdstat_get"].split("calls=")[1].split(",")[0])
        assert reads == 1 and caching.get_cache().size == 1
        other("SET", "key", "new")
        wait_until(lambda: caching.get("key") == "new", 5, "the new value is seen")
        other("FLUSHALL")
        wait_until(lambda: caching.get("key") is None, 5, "the loss is seen")
        caching.close()
