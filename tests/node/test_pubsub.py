"""Publish and subscribe on one node: what the differential programs cannot show, or what 7.2 does otherwise."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from node.keyspace.journal import TO_FILE
from node.net.peer import CLOSE_NOW
from node.pubsub import WATCHED_OUTPUT_BYTES
from tests.node.commands.test_notifications_differential import array_at
from tests.node.replication.support import PAIRS, follow, node, wait_connected
from tests.support import HexadServer, wait_until
from tests.support.local import LocalClient, LocalNode
from tests.support.wire import Push, ReplyError, encode

TIMEOUT_S = 15.0


def message(*words: bytes, push: bool = False) -> bytes:
    data = encode(*words)
    return b">" + data[1:] if push else data


def subscriber(local: LocalNode, *words: str, resp3: bool = False) -> LocalClient:
    client = local.client()
    client.session.resp3 = resp3
    assert b"subscribe" in client.raw(*words)
    return client


def taken(client: LocalClient) -> bytes:
    data = bytes(client.session.out)
    client.session.out.clear()
    return data


# --- what a client sends to itself ------------------------------------------------------------------------------------


def test_a_clients_own_message_follows_the_reply() -> None:
    """As in 7.2; 7.0 sent it first."""
    client = subscriber(LocalNode(), "SUBSCRIBE", "a", resp3=True)
    assert client.raw("PUBLISH", "a", "m") == b":1\r\n" + message(b"message", b"a", b"m", push=True)


@pytest.mark.parametrize("resp3", [False, True])
def test_no_message_within_the_reply_to_exec(resp3: bool) -> None:
    client = LocalNode().client()
    client.session.resp3 = resp3
    for line in ("MULTI", "PUBLISH a early", "SUBSCRIBE a", "PUBLISH a late", "SSUBSCRIBE a"):
        client.raw(*line.split())
    mark = b">" if resp3 else b"*"
    assert client.raw("EXEC") == (
        b"*4\r\n:0\r\n" + mark + b"3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:1\r\n"
        b"-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\r\n" + message(b"message", b"a", b"late", push=resp3)
    )


def test_events_that_a_client_causes_follow_the_reply() -> None:
    local = LocalNode()
    client = subscriber(local, "PSUBSCRIBE", "__keyevent*", resp3=True)
    client.raw("CONFIG", "SET", "notify-keyspace-events", "E$x")
    told = message(b"pmessage", b"__keyevent*", b"__keyevent@0__:set", b"k", push=True)
    assert client.raw("SET", "k", "v", "PX", "100") == b"+OK\r\n" + told
    local.pass_ms(1000)
    assert taken(client) == message(b"pmessage", b"__keyevent*", b"__keyevent@0__:expired", b"k", push=True)


def test_a_subscriber_that_waits_still_gets_messages() -> None:
    local = LocalNode()
    client = subscriber(local, "SUBSCRIBE", "a", resp3=True)
    assert client.raw("BLPOP", "list", "0") == b""
    other = local.client()
    assert other.raw("PUBLISH", "a", "m") == b":1\r\n"
    assert taken(client) == message(b"message", b"a", b"m", push=True)
    other.raw("RPUSH", "list", "x")
    assert taken(client) == encode("list", "x")


def test_client_reply_off_lets_messages_through() -> None:
    client = subscriber(LocalNode(), "SUBSCRIBE", "a", resp3=True)
    assert client.raw("CLIENT", "REPLY", "OFF") == b""
    assert client.raw("SUBSCRIBE", "b") == b">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
    assert client.raw("PUBLISH", "a", "m") == message(b"message", b"a", b"m", push=True)
    assert client.raw("UNSUBSCRIBE", "b") == b">3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n"
    assert client.raw("GET", "a") == b""
    assert client.raw("CLIENT", "REPLY", "ON") == b"+OK\r\n"


# --- who is a subscriber ----------------------------------------------------------------------------------------------


def test_reset_and_disconnecting_end_all_subscriptions() -> None:
    local = LocalNode()
    names = [f"channel{number}" for number in range(3000)]
    stays = subscriber(local, "SUBSCRIBE", *names[:10])
    for end in ("RESET", "lost"):
        goes = subscriber(local, "SUBSCRIBE", *names)
        goes.raw("PSUBSCRIBE", *names)
        goes.raw("SSUBSCRIBE", *names)
        info = local.client().raw("INFO", "stats")
        assert b"pubsub_channels:3000" in info and b"pubsub_patterns:3000" in info
        assert b"pubsubshard_channels:3000" in info
        if end == "RESET":
            assert goes.raw("RESET") == b"+RESET\r\n" and goes.raw("GET", "k") == b"$-1\r\n"
        goes.session.lost("")
        assert len(local.server.pubsub.channels) == 10 and not local.server.pubsub.patterns
        local.server.pubsub.check()
    assert stays.raw("UNSUBSCRIBE").count(b"unsubscribe") == 10
    assert not local.server.pubsub.has_listeners and stays.session.subscriptions is None


def test_subscribers_are_a_class_of_clients() -> None:
    local = LocalNode(timeout=10)
    plain, listens = local.client(), subscriber(local, "SUBSCRIBE", "a", "b")
    listens.raw("PSUBSCRIBE", "c*")
    listens.raw("SSUBSCRIBE", "d")
    (line,) = [line for line in plain.raw("CLIENT", "LIST", "TYPE", "pubsub").split(b"\n") if b"id=" in line]
    assert b" flags=P " in line and b" sub=2 psub=1 ssub=1 " in line
    local.pass_ms(60_000)  # `timeout` closes who is idle, but no subscriber
    assert plain.session.closing == CLOSE_NOW and not listens.session.closing
    killer = local.client()
    assert killer.raw("CLIENT", "KILL", "TYPE", "pubsub") == b":1\r\n" and listens.session.closing == CLOSE_NOW


def test_a_client_may_go_back_to_resp2() -> None:
    client = subscriber(LocalNode(), "SUBSCRIBE", "a", resp3=True)
    assert client.raw("GET", "k") == b"_\r\n" and client.raw("PING") == b"+PONG\r\n"
    client.raw("HELLO", "2")
    assert client.raw("GET", "k").startswith(b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE")
    assert client.raw("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    client.raw("UNSUBSCRIBE")
    assert client.raw("PING") == b"+PONG\r\n"


def test_plain_commands_of_others_stay_on_the_short_way() -> None:
    local = LocalNode()
    other = local.client()
    gates = other.session.gates
    client = subscriber(local, "SUBSCRIBE", "a")
    assert other.session.gates == gates != client.session.gates
    client.raw("UNSUBSCRIBE")
    assert client.session.gates == gates


# --- where messages go ------------------------------------------------------------------------------------------------


class Taken:
    """Both readers of a journal."""

    def __init__(self) -> None:
        self.stream = b""
        self.file: list[bytes] = []

    def take(self, data: bytes) -> None:
        self.stream += data

    def take_entry(self, db: int, entry: bytes) -> None:
        self.file.append(entry)


def commands_of(stream: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(stream):
        words, at = array_at(stream, at)
        found.append(b" ".join(words))
    return found


def test_publications_go_to_replicas_in_their_place_and_to_no_file() -> None:
    local = LocalNode()
    reader = Taken()
    local.server.journal.set_stream(reader)
    local.server.journal.add_reader(reader)
    client = local.client()
    for line in ("PUBLISH a 1", "SPUBLISH a 2", "MULTI", "SET k 1", "PUBLISH a 3", "SET k 2", "EXEC", "SET k 3"):
        client.raw(*line.split())
    assert commands_of(reader.stream) == [
        b"SELECT 0", b"PUBLISH a 1", b"SPUBLISH a 2", b"MULTI", b"SET k 1", b"PUBLISH a 3", b"SET k 2", b"EXEC",
        b"SET k 3",
    ]  # fmt: skip
    assert commands_of(b"".join(reader.file)) == [b"MULTI", b"SET k 1", b"SET k 2", b"EXEC", b"SET k 3"]
    assert client.session.write_offset == local.server.journal.offset == len(reader.stream)
    local.server.journal.append(0, (b"DEL", b"k"), TO_FILE)
    assert len(reader.file) == 6


@pytest.mark.parametrize(("primary", "replica"), PAIRS)
def test_messages_reach_the_subscribers_of_replicas(primary: str, replica: str) -> None:
    with node(primary) as first, node(replica) as second, first.wire() as publisher, second.wire(protocol=3) as wire:
        follow(wire, first.port)
        wait_connected(wire)
        wire("CONFIG", "SET", "notify-keyspace-events", "KEA")
        for words in (("SUBSCRIBE", "a"), ("SSUBSCRIBE", "s"), ("SUBSCRIBE", "__keyevent@0__:set")):
            assert isinstance(wire(*words), Push)
        assert publisher("PUBLISH", "a", "m") == 0 and wire.read() == Push([b"message", b"a", b"m"])
        assert publisher("SPUBLISH", "s", "m") == 0 and wire.read() == Push([b"smessage", b"s", b"m"])
        assert publisher("SET", "k", "v") == "OK" and wire.read() == Push([b"message", b"__keyevent@0__:set", b"k"])


def test_a_slow_subscriber_is_closed_and_nobody_else_is_hurt() -> None:
    with HexadServer(client_output_buffer_limit=["pubsub", "2mb", "0", "0"]) as server:
        with server.wire() as slow, server.wire() as quick, server.wire() as publisher:
            for wire in (slow, quick):
                wire("SUBSCRIBE", "a")
            for number in range(100):
                body = b"%d" % number + b"x" * 300_000
                assert publisher("PUBLISH", "a", body) in (1, 2)
                assert quick.read() == [b"message", b"a", body]
            assert publisher("PUBLISH", "a", "last") == 1 and quick.read()[2] == b"last"
            assert slow.is_closed()
            assert "scheduled to be closed ASAP for overcoming of output buffer limits" in server.log()


def test_one_transaction_cannot_fill_the_memory_by_a_subscriber() -> None:
    local = LocalNode()
    listens, publisher = subscriber(local, "SUBSCRIBE", "a"), local.client()
    publisher.raw("MULTI")
    for _ in range(40):
        publisher.raw("PUBLISH", "a", b"x" * WATCHED_OUTPUT_BYTES)
    assert publisher.raw("EXEC").count(b":1") == 40
    assert listens.session.closing == CLOSE_NOW and len(listens.session.out) <= WATCHED_OUTPUT_BYTES


# --- keyspace events --------------------------------------------------------------------------------------------------


@given(st.text("KEg$lshzxetdmnA", max_size=8))
@settings(max_examples=60, deadline=None)
def test_only_wanted_events_are_told_where_they_are_wanted(flags: str) -> None:
    local = LocalNode()
    listens = subscriber(local, "PSUBSCRIBE", "__key*")
    client = local.client()
    assert client.raw("CONFIG", "SET", "notify-keyspace-events", flags) == b"+OK\r\n"
    for line in ("SELECT 3", "SET k v", "DEL k", "HSET h f v", "GET none"):
        client.raw(*line.split())
    classes = set(flags) | set("g$lshzxetd" if "A" in flags else "")
    events = [("n", "new", "k"), ("$", "set", "k"), ("g", "del", "k"), ("n", "new", "h"), ("h", "hset", "h"),
              ("m", "keymiss", "none")]  # fmt: skip
    expected = b""
    for kind, event, key in events:
        if kind in classes and "K" in flags:
            expected += message(b"pmessage", b"__key*", f"__keyspace@3__:{key}".encode(), event.encode())
        if kind in classes and "E" in flags:
            expected += message(b"pmessage", b"__key*", f"__keyevent@3__:{event}".encode(), key.encode())
    assert taken(listens) == expected
    assert local.keyspace.listening == (bool(classes - set("KEA")) and bool(classes & set("KE")))


def test_events_may_be_on_from_the_start() -> None:
    with HexadServer(notify_keyspace_events="gEK$") as server, server.wire() as wire, server.wire() as listens:
        assert wire("CONFIG", "GET", "notify-keyspace-events")[1] == b"g$KE"
        listens("SUBSCRIBE", "__keyspace@0__:k")
        wire("SET", "k", "v")
        assert listens.read() == [b"message", b"__keyspace@0__:k", b"set"]
        refused = wire("CONFIG", "SET", "notify-keyspace-events", "KEq")
        assert isinstance(refused, ReplyError) and "Invalid event class character" in refused.text


def test_redis_cli_listens() -> None:
    with HexadServer() as server, server.wire() as wire:
        command = ["redis-cli", "-p", str(server.port), "--csv", "psubscribe", "n*"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout is not None
            try:
                assert listener.stdout.readline().startswith("Reading messages")
                assert listener.stdout.readline() == '"psubscribe","n*",1\n'
                assert wire("PUBLISH", "news", "hello") == 1
                assert listener.stdout.readline() == '"pmessage","n*","news","hello"\n'
            finally:
                listener.kill()


def test_a_killed_subscriber_is_no_receiver() -> None:
    local = LocalNode()
    subscriber(local, "SUBSCRIBE", "a")
    killer = local.client()
    assert killer.raw("CLIENT", "KILL", "TYPE", "pubsub") == b":1\r\n"
    assert killer.raw("PUBLISH", "a", "m") == b":0\r\n"


# --- for others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_listens(protocol: int) -> None:
    with HexadServer() as server, redis.Redis(port=server.port, protocol=protocol) as client:
        pubsub: Any = client.pubsub()
        heard: list[bytes] = []
        pubsub.subscribe("plain", handled=lambda found: heard.append(found["data"]))
        pubsub.psubscribe("p*")
        for _ in range(3):
            assert wait_until(lambda: pubsub.get_message(timeout=0.1), TIMEOUT_S, "subscribed")
        assert client.publish("plain", "hello") == 2 and client.publish("handled", "there") == 1
        for kind in ("message", "pmessage"):
            found = wait_until(lambda: pubsub.get_message(timeout=0.1), TIMEOUT_S, "a message")
            assert (found["type"], found["data"]) == (kind, b"hello")
        wait_until(lambda: pubsub.get_message(timeout=0.1) or heard, TIMEOUT_S, "the handler is called")
        assert heard == [b"there"] and client.pubsub_numsub("plain", "none") == [(b"plain", 1), (b"none", 0)]
        pubsub.close()
