"""Deadlines of fields: what 7.4 and 8.0 answer (no such server is at hand, so their documented replies), what goes to
replicas and listeners, and that fields end: when asked for, by themselves, and on a replica only by its primary's word.
"""

from __future__ import annotations

import pytest

from node.datatypes.hashes import Hash
from tests.node.commands.test_strings_keys_effects import OurEffects
from tests.support.local import START_MS, LocalClient, LocalNode

S = START_MS // 1000
WRONG = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
NO_FIELDS_WORD = b"-ERR Mandatory argument FIELDS is missing or not at the right position\r\n"
ONE_TIME = b"-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified\r\n"


@pytest.fixture
def node() -> LocalNode:
    return LocalNode(enable_debug_command="yes")


@pytest.fixture
def client(node: LocalNode) -> LocalClient:
    client = node.client()
    client.raw("HSET", "h", "a", "1", "b", "2", "c", "3")
    client.raw("SET", "s", "x")
    return client


@pytest.fixture
def effects(node: LocalNode, client: LocalClient) -> OurEffects:
    return OurEffects(node)


def ints(reply: bytes) -> list[int]:
    return [int(part[1:]) for part in reply.split(b"\r\n")[1:-1]]


def bulks(reply: bytes) -> list[bytes | None]:
    parts = reply.split(b"\r\n")[1:-1]
    found: list[bytes | None] = []
    while parts:
        head = parts.pop(0)
        found.append(None if head == b"$-1" else parts.pop(0))
    return found


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ("HEXPIRE s 1 FIELDS 1 a", WRONG),
        ("HEXPIRE h x FIELDS 1 a", b"-ERR value is not an integer or out of range\r\n"),
        ("HEXPIRE h -1 FIELDS 1 a", b"-ERR invalid expire time, must be >= 0\r\n"),
        ("HEXPIRE h 99999999999 FIELDS 1 a", b"-ERR invalid expire time in 'hexpire' command\r\n"),
        ("HPEXPIREAT h 70368744177664 FIELDS 1 a", b"-ERR invalid expire time in 'hpexpireat' command\r\n"),
        ("HEXPIRE h 1 FIELD 1 a", NO_FIELDS_WORD),
        ("HEXPIRE h 1 NX XX 1 a", NO_FIELDS_WORD),
        ("HEXPIRE h 1 FIELDS 0 a", b"-ERR Parameter `numFields` should be greater than 0\r\n"),
        ("HEXPIRE h 1 FIELDS 2 a", b"-ERR The `numfields` parameter must match the number of arguments\r\n"),
        ("HEXPIRE h 1 FIELDS 1 a b", b"-ERR The `numfields` parameter must match the number of arguments\r\n"),
        ("HEXPIRE h 1 FIELDS 1", b"-ERR wrong number of arguments for 'hexpire' command\r\n"),
        ("HTTL h FIELDS x a", b"-ERR Number of fields must be a positive integer\r\n"),
        ("HTTL h WORDS 1 a", NO_FIELDS_WORD),
        ("HTTL s FIELDS 1 a", WRONG),
        ("HPERSIST h FIELDS 2 a", b"-ERR The `numfields` parameter must match the number of arguments\r\n"),
        ("HGETDEL s FIELDS 1 a", WRONG),
        ("HGETEX h EX 1 PX 1 FIELDS 1 a", NO_FIELDS_WORD),
        ("HGETEX h KEEPTTL FIELDS 1 a", NO_FIELDS_WORD),
        ("HGETEX h PXAT 1 1", NO_FIELDS_WORD),
        ("HSETEX h PERSIST FIELDS 1 a 1", b"-ERR unknown argument: PERSIST\r\n"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", b"-ERR Only one of FXX or FNX arguments can be specified\r\n"),
        ("HSETEX h EX 9 KEEPTTL FIELDS 1 a 1", ONE_TIME),
        ("HSETEX h KEEPTTL PX 9 FIELDS 1 a 1", ONE_TIME),
        ("HSETEX h KEEPTTL FNX a b EX", b"-ERR unknown argument: a\r\n"),
        ("HSETEX h PXAT FIELDS 1 a 1", b"-ERR value is not an integer or out of range\r\n"),
        ("HSETEX h FIELDS x a 1", b"-ERR invalid number of fields\r\n"),
        ("HSETEX h FIELDS 0 a 1", b"-ERR invalid number of fields\r\n"),
        ("HSETEX h EX 9 FIELDS 1", b"-ERR wrong number of arguments for 'hsetex' command\r\n"),
        ("HSETEX h FIELDS 1 a", b"-ERR wrong number of arguments for 'hsetex' command\r\n"),
        ("HSETEX h FIELDS 1 a 1 b", b"-ERR wrong number of arguments for 'hsetex' command\r\n"),
    ],
)
def test_mistakes_change_nothing(client: LocalClient, effects: OurEffects, words: str, reply: bytes) -> None:
    assert client.raw(*words.split()) == reply
    assert effects.effects == effects.events == []
    assert bulks(client.raw("HGETALL", "h")) == [b"a", b"1", b"b", b"2", b"c", b"3"]


def test_times_and_conditions(client: LocalClient) -> None:
    assert ints(client.raw("HEXPIRE", "h", 10, "FIELDS", 2, "a", "nosuch")) == [1, -2]
    assert ints(client.raw("HTTL", "h", "FIELDS", 3, "a", "b", "nosuch")) == [10, -1, -2]
    assert ints(client.raw("HPTTL", "h", "FIELDS", 1, "a")) == [10_000]
    assert ints(client.raw("HEXPIRETIME", "h", "FIELDS", 1, "a")) == [S + 10]
    assert ints(client.raw("HPEXPIRETIME", "h", "FIELDS", 1, "a")) == [START_MS + 10_000]
    assert ints(client.raw("HEXPIRE", "h", 20, "NX", "FIELDS", 2, "a", "b")) == [0, 1]
    assert ints(client.raw("HEXPIRE", "h", 15, "XX", "FIELDS", 2, "a", "c")) == [1, 0]
    assert ints(client.raw("HPEXPIRE", "h", 15_000, "GT", "FIELDS", 2, "a", "c")) == [0, 0]
    assert ints(client.raw("HEXPIREAT", "h", S + 18, "GT", "FIELDS", 1, "a")) == [1]
    assert ints(client.raw("HPEXPIREAT", "h", START_MS + 17_001, "LT", "FIELDS", 3, "a", "b", "c")) == [1, 1, 1]
    assert ints(client.raw("HTTL", "h", "FIELDS", 1, "a")) == [18]
    assert client.raw("OBJECT", "ENCODING", "h") == b"$10\r\nlistpackex\r\n"
    assert ints(client.raw("HPERSIST", "h", "FIELDS", 3, "a", "a", "nosuch")) == [1, -1, -2]
    for command in ("HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"):
        assert ints(client.raw(command, "none", "FIELDS", 2, "a", "b")) == [-2, -2]
    assert ints(client.raw("HEXPIRE", "none", 1, "FIELDS", 1, "a")) == [-2]
    assert bulks(client.raw("HGETDEL", "none", "FIELDS", 1, "a")) == [None]
    assert bulks(client.raw("HGETEX", "none", "FIELDS", 1, "a")) == [None]


def test_writing_drops_a_deadline_counting_keeps_it(client: LocalClient, effects: OurEffects) -> None:
    client.raw("HEXPIRE", "h", 10, "FIELDS", 3, "a", "b", "c")
    client.raw("HSET", "h", "a", "5")
    client.raw("HINCRBY", "h", "b", 1)
    effects.effects.clear()
    client.raw("HINCRBYFLOAT", "h", "c", "0.5")
    assert ints(client.raw("HTTL", "h", "FIELDS", 3, "a", "b", "c")) == [-1, 10, 10]
    deadline = b"%d" % (START_MS + 10_000)
    assert effects.effects == [
        (0, [b"HSET", b"h", b"c", b"3.5"]),
        (0, [b"HPEXPIREAT", b"h", deadline, b"FIELDS", b"1", b"c"]),
    ]


@pytest.mark.parametrize("words", ["SET h v", "MSET other v h v", "SET h v PX 9000"])
def test_a_string_in_the_place_of_a_hash_has_no_fields_to_look_at(client: LocalClient, words: str) -> None:
    client.raw(*"MSET other v".split())
    client.raw(*"HSET h f v".split())
    client.raw(*"HPEXPIRE h 1000 FIELDS 1 f".split())
    assert client.session.db.hash_deadlines
    client.raw(*words.split())
    assert not client.session.db.hash_deadlines


def test_what_replicas_and_listeners_hear(client: LocalClient, effects: OurEffects) -> None:
    client.raw("HEXPIRE", "h", 10, "FIELDS", 2, "a", "b")
    client.raw("HEXPIREAT", "h", 1, "FIELDS", 1, "c")
    client.raw("HPERSIST", "h", "FIELDS", 1, "a")
    client.raw("HGETDEL", "h", "FIELDS", 2, "a", "nosuch")
    client.raw("HEXPIRE", "h", 0, "FIELDS", 1, "b")
    assert [words for _, words in effects.effects] == [
        [b"HPEXPIREAT", b"h", b"%d" % (START_MS + 10_000), b"FIELDS", b"2", b"a", b"b"],
        [b"HDEL", b"h", b"c"],
        [b"HPERSIST", b"h", b"FIELDS", b"1", b"a"],
        [b"HDEL", b"h", b"a"],
        [b"HDEL", b"h", b"b"],
    ]
    assert [event.partition(b":")[2] for event, _ in effects.events] == [
        b"hexpire",
        b"hdel",
        b"hpersist",
        b"hdel",
        b"hdel",
        b"del",
    ]
    assert client.raw("EXISTS", "h") == b":0\r\n"


def test_hgetex(client: LocalClient, effects: OurEffects) -> None:
    assert bulks(client.raw("HGETEX", "h", "PX", 5000, "FIELDS", 3, "a", "b", "nosuch")) == [b"1", b"2", None]
    assert ints(client.raw("HPTTL", "h", "FIELDS", 2, "a", "b")) == [5000, 5000]
    assert bulks(client.raw("HGETEX", "h", "PERSIST", "FIELDS", 1, "a")) == [b"1"]
    assert bulks(client.raw("HGETEX", "h", "FIELDS", 1, "b")) == [b"2"]
    assert ints(client.raw("HPTTL", "h", "FIELDS", 2, "a", "b")) == [-1, 5000]
    assert bulks(client.raw("HGETEX", "h", "EXAT", 1, "FIELDS", 1, "a")) == [b"1"]
    assert client.raw("HEXISTS", "h", "a") == b":0\r\n"
    assert [words[0] for _, words in effects.effects] == [b"HPEXPIREAT", b"HPERSIST", b"HDEL"]


def test_hsetex(client: LocalClient, effects: OurEffects) -> None:
    assert client.raw("HSETEX", "h", "EX", 5, "FIELDS", 2, "a", "7", "d", "8") == b":1\r\n"
    assert ints(client.raw("HTTL", "h", "FIELDS", 2, "a", "d")) == [5, 5]
    assert client.raw("HSETEX", "h", "FNX", "FIELDS", 1, "a", "9") == b":0\r\n"
    assert client.raw("HSETEX", "h", "FXX", "KEEPTTL", "FIELDS", 1, "a", "9") == b":1\r\n"
    assert client.raw("HSETEX", "h", "FXX", "FIELDS", 2, "a", "9", "nosuch", "1") == b":0\r\n"
    assert ints(client.raw("HTTL", "h", "FIELDS", 1, "a")) == [5]
    assert client.raw("HSETEX", "h", "FIELDS", 1, "a", "10") == b":1\r\n"
    assert ints(client.raw("HTTL", "h", "FIELDS", 1, "a")) == [-1]
    assert client.raw("HSETEX", "new", "PXAT", 1, "FIELDS", 1, "a", "10") == b":1\r\n"
    assert client.raw("EXISTS", "new") == b":0\r\n"
    assert [words[0] for _, words in effects.effects] == [
        b"HSET", b"HPEXPIREAT", b"HSET", b"HPEXPIREAT", b"HSET", b"HSET", b"HDEL",
    ]  # fmt: skip


def test_a_field_ends_when_its_time_is_over(node: LocalNode, client: LocalClient, effects: OurEffects) -> None:
    client.raw("HPEXPIRE", "h", 50, "FIELDS", 1, "a")
    client.raw("HPEXPIRE", "h", 90, "FIELDS", 1, "b")
    effects.effects.clear()
    effects.events.clear()
    node.platform.time_ms += 50
    assert client.raw("HGET", "h", "a") == b"$-1\r\n"
    assert bulks(client.raw("HGETALL", "h")) == [b"b", b"2", b"c", b"3"]
    assert client.raw("HLEN", "h") == b":2\r\n"
    assert effects.effects == [(0, [b"HDEL", b"h", b"a"])]
    assert effects.events == [(b"__keyevent@0__:hexpired", b"h")]
    node.platform.time_ms += 40
    assert client.raw("HSETNX", "h", "b", "new") == b":1\r\n"
    assert effects.effects[1:] == [(0, [b"HDEL", b"h", b"b"]), (0, [b"HSETNX", b"h", b"b", b"new"])]


def test_fields_end_by_themselves_and_the_hash_with_them(node: LocalNode, client: LocalClient) -> None:
    for number in range(300):
        client.raw("HSET", "big", number, "x")
    client.raw("HPEXPIRE", "big", 5000, "FIELDS", 300, *range(300))
    client.raw("HPEXPIRE", "h", 2000, "FIELDS", 1, "a")
    client.raw("RENAME", "h", "renamed")
    client.raw("COPY", "renamed", "copied")
    client.raw("MOVE", "copied", 1)
    node.pass_ms(3000)
    for index, key in ((0, b"renamed"), (1, b"copied")):
        value = node.keyspace.databases[index].peek(key)
        assert dict(value.items()) == {b"b": b"2", b"c": b"3"}
    node.pass_ms(5000)
    assert node.keyspace.databases[0].peek(b"big") is None
    assert not node.keyspace.databases[0].hash_deadlines and not node.keyspace.databases[1].hash_deadlines
    for db in node.keyspace.databases[:2]:
        db.check()


def test_many_fields_at_once_are_hidden_until_they_are_removed(node: LocalNode, client: LocalClient) -> None:
    for number in range(1000):
        client.raw("HSET", "big", number, "x")
    client.raw("HPEXPIRE", "big", 50, "FIELDS", 999, *range(999))
    node.platform.time_ms += 60
    assert client.raw("HGET", "big", 500) == b"$-1\r\n"
    value = node.keyspace.databases[0].peek(b"big")
    assert 900 < len(value) < 1000, "an access removes a few"
    assert client.raw("HLEN", "big") == b":1\r\n"
    assert bulks(client.raw("HKEYS", "big")) == [b"999"]
    assert client.raw("HRANDFIELD", "big") == b"$3\r\n999\r\n"
    assert client.raw("HINCRBY", "big", 998, 5) == b":5\r\n"


def test_a_replica_hides_and_waits(node: LocalNode, client: LocalClient, effects: OurEffects) -> None:
    client.raw("HPEXPIRE", "h", 50, "FIELDS", 3, "a", "b", "c")
    effects.effects.clear()
    node.keyspace.removes_expired = False
    node.platform.time_ms += 50
    assert client.raw("HGET", "h", "a") == b"$-1\r\n"
    assert client.raw("HLEN", "h") == b":0\r\n"
    assert client.raw("HGETALL", "h") == b"*0\r\n"
    assert len(node.keyspace.databases[0].peek(b"h")) == 3
    assert effects.effects == []
    node.keyspace.obeying = True
    assert client.raw("HINCRBY", "h", "a", 1) == b":2\r\n", "its primary's word counts as its primary meant it"


def test_dump_and_reload_keep_deadlines(node: LocalNode, client: LocalClient) -> None:
    for fields in (3, 600):
        for number in range(3, fields):
            client.raw("HSET", "h", b"f%d" % number, "x" * 30)
        client.raw("HPEXPIRE", "h", 5000, "FIELDS", 1, "b")
        client.raw("HPEXPIRE", "h", 7000, "FIELDS", 1, "a")
        reply = client.raw("DUMP", "h")
        payload = reply.split(b"\r\n", 1)[1][:-2]
        assert payload[0] == (25 if fields == 3 else 24)
        assert client.raw("RESTORE", "copy", 0, payload, "REPLACE") == b"+OK\r\n"
        assert client.raw("DEBUG", "DIGEST-VALUE", "h") == client.raw("DEBUG", "DIGEST-VALUE", "copy")
        assert ints(client.raw("HPTTL", "copy", "FIELDS", 3, "a", "b", "c")) == [7000, 5000, -1]
        db = node.keyspace.databases[0]
        value = db.peek(b"copy")
        assert type(value) is Hash
        value.check()
        db.check()
    client.raw("HPERSIST", "h", "FIELDS", 2, "a", "b")
    assert client.raw("DUMP", "h").split(b"\r\n", 1)[1][:1] == b"\4", "7.4's form only where fields expire"
