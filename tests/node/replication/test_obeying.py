"""Rows of a primary's stream, run at once, beside the same commands one by one."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node.net.resp import Argv, encode_command
from node.obeying import OBEYED_AT_ONCE_MAX, obey, obey_row
from node.replication.link import PrimarySession
from tests.support.local import START_MS, LocalClient, LocalNode

KEYS = [b"a", b"b", b"{a}c", b"{a}d", b"e"]
LATER = b"%d" % (START_MS + 5000)
HASH_ENDS = (b"HPEXPIREAT", b"h", LATER, b"FIELDS", b"1", b"field")

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"17", b"word", b"x" * 70])
commands = st.one_of(
    st.tuples(st.just(b"SET"), keys, values),
    st.tuples(st.just(b"SET"), keys, values),
    st.tuples(st.just(b"set"), keys, values),
    st.tuples(st.just(b"SET"), keys, values, st.just(b"PXAT"), st.just(LATER)),
    st.tuples(st.just(b"PEXPIREAT"), keys, st.just(LATER)),
    st.tuples(st.just(b"DEL"), keys),
    st.tuples(st.just(b"DEL"), st.just(b"h")),
    st.tuples(st.just(b"HSET"), st.just(b"h"), st.just(b"field"), values),
    st.sampled_from([HASH_ENDS, HASH_ENDS, (b"SET", b"h", b"1"), (b"SET", b"h", b"2")]),
    st.tuples(st.just(b"INCR"), keys),
    st.tuples(st.just(b"LPUSH"), st.just(b"l"), values),
    st.tuples(st.just(b"SET"), st.just(b"l"), values),
    st.tuples(st.just(b"NONSENSE"), keys),
    st.tuples(st.just(b"SET"), keys),
).map(list)
rows = st.tuples(commands, st.sampled_from([1, 1, 2, 5, OBEYED_AT_ONCE_MAX + 3])).map(lambda row: [row[0]] * row[1])
streams = st.lists(rows, max_size=25).map(lambda parts: [argv for part in parts for argv in part])


class Following:
    """A node that obeys a stream; `listens`: somebody wants to hear of changes."""

    def __init__(self, listens: bool) -> None:
        self.node = LocalNode()
        self.node.server.replication.become_replica("primary", 6379)
        self.session = PrimarySession(self.node.server, obey_row, lambda _reason: None)
        self.client: LocalClient = self.node.client()
        if listens:
            self.node.keyspace.set_listening("a test", True)

    @property
    def state(self) -> dict[str, object]:
        """All that the commands have left behind."""
        keyspace, client = self.node.keyspace, self.client
        kept = {key: client.raw("DEBUG", "DIGEST-VALUE", key) for key in (*KEYS, b"h", b"l")}
        ends = {key: client.raw("PEXPIRETIME", key) for key in (*KEYS, b"h", b"l")}
        fields = keyspace.databases[0].hash_deadlines
        table = self.node.server.commands
        calls = {
            word: (command.calls, command.failed)
            for word in (b"set", b"del", b"incr", b"hset", b"lpush")
            if (command := table.find(word)) is not None
        }
        return {"kept": kept, "ends": ends, "fields": set(fields), "calls": calls, "dirty": keyspace.dirty}


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(streams, st.booleans())
@example([[b"HSET", b"h", b"field", b"v"], list(HASH_ENDS), *[[b"SET", b"h", b"v"]] * 2], False)
@example([[b"SET", b"a", b"v"], [b"PEXPIREAT", b"a", LATER], *[[b"SET", b"a", b"w"]] * 2], False)
def test_a_row_does_what_its_commands_do(stream: list[Argv], listens: bool) -> None:
    at_once, one_by_one = Following(listens), Following(listens)
    at_once.session.receive(b"".join(encode_command(argv) for argv in stream))
    for argv in stream:
        obey(one_by_one.session, argv)
    assert at_once.state == one_by_one.state


def test_a_row_stands_in_the_file_command_by_command() -> None:
    following = Following(listens=False)
    taken: list[bytes] = []

    class File:
        def take_entry(self, _db: int, entry: bytes) -> None:
            taken.append(entry)

    following.node.server.journal.add_reader(File())
    stream = [encode_command([b"SET", b"key:%d" % n, b"v"]) for n in range(3 * OBEYED_AT_ONCE_MAX)]
    following.session.receive(b"".join(stream))
    assert taken == stream and following.client.raw("DBSIZE") == b":%d\r\n" % len(stream)
