"""Streams: what waits, what is journalled, what files and other servers get, and that costs stay flat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.datatypes.streams import Stream, element_size, radix_tree_nodes
from node.rdb import listpack
from node.rdb.dump import dump, restore, seal, unseal
from node.rdb.streams import check_stream
from tests.support import RedisServer
from tests.support.local import LocalClient, LocalNode
from tests.support.wire import Wire

Trace = list[list[bytes]]


class Recorder:
    """A reader of the journal that keeps commands as words."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def take_entry(self, _db: int, entry: bytes) -> None:
        self.entries.append(entry)


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


def stream_of(client: LocalClient, key: bytes = b"s") -> Stream:
    value = client.session.db.peek(key)
    assert isinstance(value, Stream)
    return value


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_readers_wait_and_all_of_them_get_the_entry(node: LocalNode) -> None:
    writer, one, two = node.client(), node.client(), node.client()
    for reader in (one, two):
        assert reader.raw("XREAD", "BLOCK", 0, "STREAMS", "s", "other", "$", "$") == b""
    writer.raw("XADD", "s", "5-1", "f", "v")
    for reader in (one, two):
        assert bytes(reader.session.out) == (
            b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
        )
    assert not node.keyspace.waiters.keys


def test_of_a_group_the_first_who_came_gets_the_entry(node: LocalNode) -> None:
    writer, one, two = node.client(), node.client(), node.client()
    writer.raw("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for name, reader in (("one", one), ("two", two)):
        assert reader.raw("XREADGROUP", "GROUP", "g", name, "BLOCK", 0, "STREAMS", "s", ">") == b""
    writer.raw("XADD", "s", "5-1", "f", "v")
    assert b"5-1" in one.session.out and not two.session.out
    writer.raw("XADD", "s", "5-2", "f", "v")
    assert b"5-2" in two.session.out
    stream_of(writer).check()


@pytest.mark.parametrize("loss", [("DEL", "s"), ("XGROUP", "DESTROY", "s", "g"), ("FLUSHALL",), ("RENAME", "s", "t")])
def test_all_readers_of_a_group_hear_that_it_is_gone(node: LocalNode, loss: tuple[str, ...]) -> None:
    writer, one, two = node.client(), node.client(), node.client()
    writer.raw("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for reader in (one, two):
        reader.raw("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    assert b"\r\ntotal_blocking_keys_on_nokey:1\r\n" in writer.raw("INFO", "clients")
    writer.raw(*loss)
    for reader in (one, two):
        assert bytes(reader.session.out).startswith(b"-NOGROUP No such key 's' or consumer group 'g'")
    assert not node.keyspace.waiters.keys


def test_another_type_in_its_place_is_told(node: LocalNode) -> None:
    writer, reader = node.client(), node.client()
    writer.raw("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    reader.raw("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    writer.raw("SET", "s", "x")
    assert bytes(reader.session.out).startswith(b"-WRONGTYPE")


def test_a_plain_reader_waits_on_through_the_loss_of_its_key(node: LocalNode) -> None:
    writer, reader = node.client(), node.client()
    writer.raw("XADD", "s", "5-1", "f", "v")
    assert reader.raw("XREAD", "BLOCK", 0, "STREAMS", "s", "$") == b""
    writer.raw("DEL", "s")
    writer.raw("XADD", "s", "5-1", "f", "v")
    assert not reader.session.out  # not behind what was there when it began
    writer.raw("XADD", "s", "5-2", "f", "v")
    assert b"5-2" in reader.session.out


def test_time_is_over(node: LocalNode) -> None:
    reader = node.client()
    assert reader.raw("XREAD", "BLOCK", 20, "STREAMS", "s", "$") == b""
    node.pass_ms(19)
    assert not reader.session.out
    node.pass_ms(1)
    assert bytes(reader.session.out) == b"*-1\r\n"
    assert not node.keyspace.waiters.keys


def test_who_may_not_wait_is_answered_at_once(node: LocalNode) -> None:
    reader = node.client()
    reader.session.may_block = False
    assert reader.raw("XREAD", "BLOCK", 0, "STREAMS", "s", "$") == b"*-1\r\n"


# --- effects ----------------------------------------------------------------------------------------------------------


def test_the_journal_makes_the_same_stream_elsewhere(node: LocalNode) -> None:
    """A replica that only gets the journal has the same entries, groups and deliveries."""
    recorder = Recorder()
    node.keyspace.journal.add_reader(recorder)
    client = node.client()
    for number in range(12):
        client.raw("XADD", "s", "*", "f", number)
        client.raw("XADD", "s", "MAXLEN", "~", 5, "LIMIT", 0, "*", "f", number, "g", number)
    client.raw("XGROUP", "CREATE", "s", "g", "0")
    client.raw("XREADGROUP", "GROUP", "g", "a", "COUNT", 9, "STREAMS", "s", ">")
    client.raw("XREADGROUP", "GROUP", "g", "b", "COUNT", 3, "NOACK", "STREAMS", "s", ">")
    client.raw("XREADGROUP", "GROUP", "g", "idle", "STREAMS", "s", "0")
    first = stream_of(client).first_id
    client.raw("XDEL", "s", b"%d-%d" % (first >> 64, first & (1 << 64) - 1))
    client.raw("XAUTOCLAIM", "s", "g", "b", 0, "-", "COUNT", 4)
    client.raw("XTRIM", "s", "MAXLEN", 7)
    other = LocalNode()
    for entry in recorder.entries:
        if entry.endswith((b"MULTI\r\n", b"EXEC\r\n")):
            continue
        session = other.server.new_session()
        session.receive(entry)
        assert not session.out.startswith(b"-"), (entry, bytes(session.out))
    assert dump(stream_of(other.client())) == dump(stream_of(client))


def test_an_id_by_itself_is_journalled_as_it_was(node: LocalNode) -> None:
    recorder = Recorder()
    node.keyspace.journal.add_reader(recorder)
    client = node.client()
    client.raw("XADD", "s", "NOMKSTREAM", "*", "f", "v")
    assert recorder.entries == []
    client.raw("XADD", "s", "7-*", "f", "v")
    assert recorder.entries == [b"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$3\r\n7-0\r\n$1\r\nf\r\n$1\r\nv\r\n"]


def test_a_consumer_that_gets_entries_is_made_by_them(node: LocalNode) -> None:
    """Only one that gets none, or does not acknowledge, has to be told of by itself."""
    recorder, client = Recorder(), node.client()
    client.raw("XADD", "s", "1-1", "f", "v")
    client.raw("XADD", "s", "1-2", "f", "v")
    client.raw("XGROUP", "CREATE", "s", "g", "0")
    node.keyspace.journal.add_reader(recorder)
    for name, *option in (("one",), ("two", "NOACK"), ("three",)):
        client.raw("XREADGROUP", "GROUP", "g", name, "COUNT", 1, *option, "STREAMS", "s", ">")
    made = [entry for entry in recorder.entries if b"CREATECONSUMER" in entry]
    assert [entry.split(b"\r\n")[-2] for entry in made] == [b"two", b"three"]


def test_a_copy_and_a_snapshot_are_not_touched_by_later_changes(node: LocalNode) -> None:
    client = node.client()
    for number in range(1, 250):
        client.raw("XADD", "s", f"{number}-1", "f", number)
    client.raw("XGROUP", "CREATE", "s", "g", 0)
    client.raw("XREADGROUP", "GROUP", "g", "a", "COUNT", 10, "STREAMS", "s", ">")
    client.raw("COPY", "s", "t")
    before = dump(stream_of(client, b"t"))
    client.raw("XADD", "s", "1000-1", "f", "v")
    client.raw("XDEL", "s", "120-1", "121-1")
    client.raw("XTRIM", "s", "MAXLEN", 60)
    client.raw("XACK", "s", "g", "1-1")
    client.raw("XCLAIM", "s", "g", "b", 0, "200-1", "FORCE")
    assert dump(stream_of(client, b"t")) == before
    stream_of(client).check()
    stream_of(client, b"t").check()


# --- files and other servers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Iterator[Wire]:
    with RedisServer() as server, server.wire() as wire:
        yield wire


def fill(client: LocalClient | Wire) -> None:
    call = client.raw if isinstance(client, LocalClient) else client
    call("DEL", "s")
    call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for number in range(1, 260):
        fields = ["f", number, "text", "x" * (number % 70)] if number % 9 else ["other", -number]
        call("XADD", "s", f"{number * 1000}-{number % 5}", *fields)
    call("XDEL", "s", "3000-3", "4000-4", "200000-0")
    call("XREADGROUP", "GROUP", "g", "alice", "COUNT", 7, "STREAMS", "s", ">")
    call("XREADGROUP", "GROUP", "g", "bob", "COUNT", 2, "STREAMS", "s", ">")
    call("XGROUP", "CREATE", "s", "empty", "5-5", "ENTRIESREAD", 3)


COMPARED = (
    ("XRANGE", "s", "-", "+"), ("XREVRANGE", "s", "+", "-"), ("XPENDING", "s", "g"), ("XINFO", "GROUPS", "s"),
    ("XINFO", "STREAM", "s"), ("DEBUG", "DIGEST-VALUE", "s"),
)  # fmt: skip


def raw(wire: Wire, *words: str) -> bytes:
    wire.send(*words)
    return wire.read_raw()


def test_what_redis_dumps_we_restore_and_the_reverse(node: LocalNode, theirs: Wire) -> None:
    client = node.client()
    fill(theirs)
    client.raw("RESTORE", "s", 0, theirs("DUMP", "s"), "REPLACE")
    stream_of(client).check()
    for words in COMPARED:
        assert client.raw(*words) == raw(theirs, *words), words
    fill(client)
    payload = dump(stream_of(client))
    assert theirs("RESTORE", "s", 0, payload, "REPLACE") is not None
    for words in COMPARED[:4] + COMPARED[5:]:  # nodes are written without what was deleted
        assert client.raw(*words) == raw(theirs, *words), words


def counters(client: LocalClient, group: str = "g") -> list[bytes]:
    """What a group has read, and how much it has yet to read."""
    parts = [part.split(b"\r\n") for part in client.raw("XINFO", "GROUPS", "s").split(b"$4\r\nname\r\n")]
    (found,) = [part for part in parts if part[1] == group.encode()]
    return [found[found.index(name) + 1] for name in (b"entries-read", b"lag")]


def test_what_a_group_has_yet_to_read(node: LocalNode) -> None:
    """Deleted entries before its place or behind it, and trimmed ones that it has not read."""
    client = node.client()
    for number in range(1, 11):
        client.raw("XADD", "s", f"{number}-0", "f", "v")
    client.raw("XGROUP", "CREATE", "s", "g", "0")
    for count, deleted, expected in (
        (2, "9-0", [b":2", b"$-1"]),  # what was deleted is still ahead
        (6, "0-9", [b"$-1", b"$-1"]),
        (1, "0-9", [b":10", b":0"]),
    ):
        client.raw("XREADGROUP", "GROUP", "g", "c", "COUNT", count, "STREAMS", "s", ">")
        client.raw("XDEL", "s", deleted)
        assert counters(client) == expected
    for number in range(11, 16):
        client.raw("XADD", "s", f"{number}-0", "f", "v")
    client.raw("XTRIM", "s", "MINID", "=", "13-0")
    assert counters(client) == [b":10", b":3"]
    client.raw("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "s", ">")
    assert counters(client) == [b":13", b":2"]
    client.raw("XTRIM", "s", "MAXLEN", 0)
    assert counters(client) == [b":13", b":0"]


def test_groups_of_old_payloads_get_the_counters_that_their_streams_tell(node: LocalNode, theirs: Wire) -> None:
    """Redis 5 and 6 did not keep what a group has read."""
    client = node.client()
    client.raw("XADD", "s", "5-0", "f", "v")
    client.raw("XADD", "s", "6-0", "f", "v")
    nodes = unseal(dump(stream_of(client)))[1:-9]
    groups = b"".join(b"\x02g%d" % at + bytes((at, 0, 0, 0)) for at in (0, 5, 6))
    payload = seal(b"\x0f" + nodes + b"\x02\x06\x00\x03" + groups, 9)
    theirs("FLUSHALL")
    theirs("RESTORE", "s", 0, payload)
    client.raw("RESTORE", "s", 0, payload, "REPLACE")
    assert counters(client, "g5") == [b":1", b":1"]
    assert client.raw("XINFO", "GROUPS", "s") == raw(theirs, "XINFO", "GROUPS", "s")


def test_an_empty_stream_is_kept(node: LocalNode, theirs: Wire) -> None:
    client = node.client()
    client.raw("XADD", "s", "5-1", "f", "v")
    client.raw("XDEL", "s", "5-1")
    payload = dump(stream_of(client))
    theirs("RESTORE", "s", 0, payload, "REPLACE")
    client.raw("RESTORE", "s", 0, payload, "REPLACE")
    assert client.raw("XINFO", "STREAM", "s") == raw(theirs, "XINFO", "STREAM", "s")


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_mangled_payload_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever stands in a payload with a good seal: an error of ours, or a stream without contradictions."""
    from node.rdb.codec import RdbError
    from node.rdb.dump import seal, unseal

    client = LocalNode().client()
    client.raw("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for number in range(1, 7):
        client.raw("XADD", "s", f"{number}-1", "f", number)
    client.raw("XREADGROUP", "GROUP", "g", "alice", "COUNT", 3, "STREAMS", "s", ">")
    body = bytearray(unseal(dump(stream_of(client))))
    at = data.draw(st.integers(1, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    try:
        value = restore(seal(bytes(body)))
    except RdbError:
        return
    assert isinstance(value, Stream)
    check_stream(value)


# --- the structure ----------------------------------------------------------------------------------------------------


@given(st.one_of(st.binary(max_size=200), st.integers(-(1 << 64), 1 << 64).map(lambda n: b"%d" % n)))
@settings(max_examples=200, deadline=None)
def test_sizes_are_those_of_listpacks(element: bytes) -> None:
    assert element_size(element) == len(listpack.encode([element])) - len(listpack.encode([]))


ENTRIES = st.tuples(
    st.sampled_from([1, 2, 100, 1 << 12, 1 << 63, (1 << 64) - 90, 1 << 64, 130 << 64, 1 << 73])
    | st.integers(1, 1 << 70),
    st.sampled_from([(b"f",), (b"f",), (b"g",), (b"f", b"g"), (b"-7",)]),
    st.binary(max_size=70) | st.integers(-(1 << 15), 1 << 15).map(lambda n: b"%d" % n),
)
"""How far an id is behind the one before, fields, and the value of all of them."""


def steps(*behind: int) -> list[tuple[int, tuple[bytes, ...], bytes]]:
    return [(step, (b"f",), b"v") for step in behind]


@example(5, steps(1, (1 << 64) - 1, 1, 1), 30)  # sequence numbers below that of the first id, then the same
@example((1 << 64) - 5, steps(1, 127 << 64, 1, 1, 1, 1), 30)  # over the end of the highest millisecond that is short
@given(st.integers(0, 1 << 65), st.lists(ENTRIES, min_size=1, max_size=30), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_node_knows_the_size_of_its_listpack(
    number: int, entries: list[tuple[int, tuple[bytes, ...], bytes]], copied_at: int
) -> None:
    stream = Stream()
    expected = []
    for at, (step, fields, value) in enumerate(entries):
        number += step
        pairs = [word for field in fields for word in (field, value)]
        expected.append((number, pairs))
        stream.append(number, pairs, sum(map(len, pairs)), 0, 10)
        if at == copied_at:
            stream = stream.copy()
    stream.check()
    assert list(stream.range(0, number)) == expected
    packed = restore(dump(stream))
    assert isinstance(packed, Stream)
    assert list(packed.range(0, number)) == expected
    assert [node.bytes for node in stream.nodes()] == [node.bytes for node in packed.nodes()]


@given(st.sets(st.integers(0, (1 << 128) - 1) | st.integers(0, 70000), max_size=40))
@settings(max_examples=200, deadline=None)
def test_nodes_of_the_radix_tree(keys: set[int]) -> None:
    """Counted the slow way: by the bytes that follow each prefix."""

    def count(some: list[bytes], depth: int) -> int:
        if depth == 16:
            return 1
        ahead = {key[depth] for key in some}
        if len(ahead) > 1:
            return 1 + sum(count([key for key in some if key[depth] == byte], depth + 1) for byte in ahead)
        end = depth
        while end < 16 and len({key[end] for key in some}) == 1:
            end += 1
        return 1 + count(some, end)

    names = [key.to_bytes(16) for key in keys]
    assert radix_tree_nodes(sorted(keys)) == (count(names, 0) if names else 1)


def test_costs_stay_flat() -> None:
    """Adding, and reading ten entries anywhere, touch a node or two however long the stream is."""
    stream = Stream()
    for number in range(1, 20_001):
        stream.append(number << 64, [b"f", b"v"], 2, 4096, 100)
    opened = 0
    for node in stream.nodes():
        node.raw = None
    for start in (1, 10_000, 19_990):
        found = list(stream.range(start << 64, start + 9 << 64))
        opened += len(found)
        assert [number >> 64 for number, _ in found] == list(range(start, start + 10))
    assert opened == 30
    assert stream.trim_to_length(10_000, approximately=True) == 10_000
    stream.check()
    while len(stream):
        stream.shed(512)
    assert not stream.nodes()
