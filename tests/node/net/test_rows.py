"""Commands that come in one read, of which those that are alike run in a row, beside the same commands one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node.net import session
from node.net.resp import Argv, Reply, encode_command
from node.net.session import JUDGED_TOGETHER_MAX
from node.table import KEYED
from tests.support import HexadServer
from tests.support.local import LocalNode
from tests.support.waiting import wait_until

KEYS = [b"a", b"b", b"{a}c", b"e", b"n"]

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"17", b"-5", b"007", b"9223372036854775807", b"word", b"x" * 1030])
commands = st.one_of(
    st.tuples(st.just(b"SET"), keys, values),
    st.tuples(st.just(b"set"), keys, values),
    st.tuples(st.just(b"SET"), keys, values, st.just(b"NX")),
    st.tuples(st.just(b"SET"), keys, values, st.just(b"PX"), st.just(b"1")),
    st.tuples(st.just(b"SET"), keys),
    st.tuples(st.just(b"GET"), keys),
    st.tuples(st.just(b"GET"), keys),
    st.tuples(st.just(b"APPEND"), keys, values),
    st.tuples(st.just(b"INCR"), keys),
    st.tuples(st.just(b"LPUSH"), st.sampled_from([b"a", b"l"]), values),
    st.tuples(st.just(b"RPOP"), st.sampled_from([b"a", b"l"])),
    st.tuples(st.just(b"HSET"), st.sampled_from([b"a", b"h"]), st.just(b"field"), values),
    st.tuples(st.just(b"ZADD"), st.just(b"z"), st.sampled_from([b"1", b"2", b"x"]), values),
    st.tuples(st.just(b"DEL"), keys),
    st.tuples(st.just(b"PING")),
    st.tuples(st.just(b"SELECT"), st.sampled_from([b"0", b"1"])),
    st.tuples(st.sampled_from([b"MULTI", b"EXEC", b"NONSENSE", b"CLIENT"])),
).map(list)
rows = st.tuples(commands, st.sampled_from([1, 1, 2, 5, JUDGED_TOGETHER_MAX + 3])).map(lambda row: [row[0]] * row[1])
pipelines = st.lists(rows, max_size=20).map(lambda parts: [argv for part in parts for argv in part])


class Serving:
    """A node with one client, whose journal is read."""

    def __init__(self, resp3: bool, listens: bool, as_in_a_cluster: bool) -> None:
        self.node = LocalNode()
        self.client = self.node.client()
        server = self.node.server
        self.careful: list[Argv] = []  # what went the careful way, as what lives elsewhere does
        self._execute = server.execute
        server.execute = self._carefully  # type: ignore[method-assign]
        if as_in_a_cluster:
            self.client.session.set_gate(KEYED, True)
            server.is_mine = lambda _command, argv: argv[1] != b"e"  # type: ignore[method-assign]
            server.count_mine = lambda _command, calls: [*(argv[1] for argv in calls), b"e"].index(b"e")  # type: ignore[method-assign]
        self.client.session.resp3 = resp3
        self.node.keyspace.set_listening("a test", listens)
        self.journalled: dict[int, bytes] = {}
        server.journal.add_reader(self)

    def _carefully(self, session: Any, argv: Argv) -> Reply:
        if session.transaction is None:
            self.careful.append(argv)
        return self._execute(session, argv)

    def take_entry(self, db: int, entry: bytes) -> None:
        self.journalled[db] = self.journalled.get(db, b"") + entry

    def serve(self, data: bytes) -> bytes:
        session = self.client.session
        session.receive(data)
        while session.more:
            session.proceed()
        reply = bytes(session.out)
        session.out.clear()
        return reply

    @property
    def state(self) -> dict[str, object]:
        """All that the commands have left behind."""
        server, keyspace = self.node.server, self.node.keyspace
        counted = {
            name: (command.calls, command.failed, command.rejected) for name, command in server.commands.top.items()
        }
        return {
            "journalled": self.journalled,
            "careful": self.careful,
            "counted": counted,
            "errors": dict(server.stats.errors),
            "dirty": keyspace.dirty,
            "processed": server.commands_processed,
            "hits": [(db.hits, db.misses, db.size) for db in keyspace.databases],
            "offset": self.client.session.write_offset,
        }


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(pipelines, st.booleans(), st.booleans(), st.booleans())
@example([[b"LPUSH", b"a", b"1"], *[[b"GET", b"a"]] * 3], False, False, False)
@example([*[[b"SET", b"a", b"1"]] * 3, *[[b"SET", b"b", b"1"]] * 3, *[[b"GET", b"b"]] * 3], True, False, True)
def test_a_pipeline_does_what_its_commands_do(
    pipeline: list[Argv], resp3: bool, listens: bool, as_in_a_cluster: bool
) -> None:
    at_once, one_by_one = (Serving(resp3, listens, as_in_a_cluster) for _ in range(2))
    encoded = [encode_command(argv) for argv in pipeline]
    replies = at_once.serve(b"".join(encoded))
    assert replies == b"".join(map(one_by_one.serve, encoded))
    assert at_once.state == one_by_one.state


@pytest.mark.parametrize("words", [(b"GET",), (b"GET", b"INCR"), (b"GET", b"GET", b"SCARD")])
def test_a_long_pipeline_gives_the_turn_back(words: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TURN_NS", 0)
    serving = LocalNode().client().session
    serving.receive(b"".join(encode_command([word, b"key:%d" % at]) for at in range(2000) for word in words))
    assert serving.more
    assert 0 < serving.served < 3 * JUDGED_TOGETHER_MAX


def test_a_row_in_a_cluster_ends_at_a_key_that_lives_elsewhere() -> None:
    lines = [(b"SET", b"key:%d" % number, b"%d" % number) for number in range(100)]
    lines += [(b"GET", key) for _, key, _ in lines] + [(b"INCR", key) for _, key, _ in lines]
    options = {"cluster_enabled": "yes", "cluster_require_full_coverage": "no"}
    with HexadServer(**options) as server, server.wire() as wire:
        assert wire("CLUSTER", "ADDSLOTSRANGE", 0, 12_000) == "OK"
        wait_until(lambda: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 10, "the node serves its slots")
        one_by_one = [wire.raw(*line) for line in lines]
        assert wire("FLUSHALL") == "OK"
        for line in lines:
            wire.send(*line)
        assert [wire.read_raw() for _ in lines] == one_by_one
        assert 10 < sum(reply.startswith(b"-CLUSTERDOWN Hash slot not served") for reply in one_by_one) < 290
