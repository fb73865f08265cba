"""What a replica makes of its primary's bytes: offsets and data do not depend on how the bytes are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import app
from node.config import Config
from node.log import Log
from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, encode_command
from node.platform import Platform
from node.replication.link import PrimarySession
from node.server import Server


class StillPlatform(Platform):
    """Its clock stands still."""

    def monotonic_ms(self) -> float:
        return 1000.0


def quiet(_text: str) -> None:
    pass


class Following:
    """A node that follows a primary, without a socket between them."""

    def __init__(self) -> None:
        platform = StillPlatform()
        config = Config()
        self.server: Server = app.build(platform, config, Log(platform, quiet))
        self.server.replication.become_replica("primary", 6379)
        self.applied: list[Argv] = []
        self.lost: list[str] = []
        self.session = PrimarySession(self.server, self.apply, self.lost.append)

    def apply(self, session: Any, commands: list[Argv], at: int) -> int:
        self.applied.append(commands[at])
        return at + 1

    @property
    def offset(self) -> int:
        return self.server.journal.offset

    @property
    def relayed(self) -> bytes:
        stream = self.server.replication.primary.stream
        stream.flush()
        assert stream.backlog is not None
        return stream.backlog.read(stream.backlog.start, 1 << 30)


GETACK: Argv = [b"REPLCONF", b"GETACK", b"*"]
simple = st.sampled_from(
    [[b"SET", b"k", b"v"], [b"ping"], [b"SET", b"long", b"\r\n" * 30], [b"SET", b"k", b""], GETACK, [b"replconf", b"x"]]
)
transaction = st.lists(simple, max_size=4).map(lambda inner: [[b"MULTI"], *inner, [b"EXEC"]])
streams = st.lists(st.one_of(simple.map(lambda argv: [argv]), transaction), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


def expected(units: list[list[Argv]]) -> tuple[list[Argv], bytes]:
    """What is applied, and what is acknowledged, by the words of the protocol."""
    applied, answers, offset = list[Argv](), b"", 0
    for unit in units:
        inner = unit if unit[0] != [b"MULTI"] else unit[1:-1]
        for argv in inner:
            if argv == GETACK:
                answers += encode_command([b"REPLCONF", b"ACK", b"%d" % offset])
            else:
                applied.append(argv)
        offset += sum(len(encode_command(argv)) for argv in unit)
    return applied, answers


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # each example builds a node
@given(streams, st.lists(st.integers(0, 5000), max_size=8))
def test_any_cut_gives_the_same(units: list[list[Argv]], places: list[int]) -> None:
    data = b"".join(encode_command(argv) for unit in units for argv in unit)
    node = Following()
    for piece in cut(data, places):
        node.session.receive(piece)
    applied, answers = expected(units)
    assert node.applied == applied
    assert node.session.out == answers
    assert node.offset == len(data)
    assert node.relayed == data


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # each example builds a node
@given(streams, st.integers(0, 5000))
def test_a_link_that_breaks_goes_on_where_the_offset_is(units: list[list[Argv]], place: int) -> None:
    data = b"".join(encode_command(argv) for unit in units for argv in unit)
    node = Following()
    node.session.receive(data[: place % (len(data) + 1)])
    again = PrimarySession(node.server, node.apply, node.lost.append)
    again.receive(data[node.offset :])
    assert node.applied == expected(units)[0]
    assert node.relayed == data and node.offset == len(data)


def test_a_transaction_counts_with_its_exec() -> None:
    node = Following()
    node.session.receive(encode_command([b"SET", b"a", b"1"]) + encode_command([b"MULTI"]))
    before = node.offset
    assert before == len(encode_command([b"SET", b"a", b"1"]))
    node.session.receive(encode_command([b"SET", b"b", b"2"]))
    assert node.offset == before and len(node.applied) == 1
    node.session.receive(encode_command([b"EXEC"]))
    assert len(node.applied) == 2 and node.offset > before


def test_bytes_that_are_no_protocol_end_the_link() -> None:
    node = Following()
    node.session.receive(encode_command([b"SET", b"a", b"1"]) + b"*1\r\n+oops\r\n")
    assert node.session.closing == CLOSE_NOW
    assert node.offset == len(encode_command([b"SET", b"a", b"1"]))


def test_line_ends_between_commands_are_in_the_stream_too() -> None:
    node = Following()
    data = b"\n" + encode_command([b"SET", b"a", b"1"]) + b"\r\n" + encode_command(GETACK)
    node.session.receive(data)
    assert node.relayed == data and node.offset == len(data)
