"""The pure parts: backlog, history, stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.peer import CLOSE_NOW, Peer
from node.replication.backlog import SIZE_BYTES_MIN, Backlog
from node.replication.history import NO_ID, History
from node.replication.stream import OUTPUT_BYTES_MAX, Replica, State, Stream
from node.replication.transfer import SLICE_NS, slice_ns
from node.stats import Stats

A, B = "a" * 40, "b" * 40


# --- backlog ----------------------------------------------------------------------------------------------------------


def test_an_empty_backlog_holds_only_what_is_to_come() -> None:
    backlog = Backlog(SIZE_BYTES_MIN, 100)
    assert (backlog.start, backlog.end, backlog.length) == (101, 100, 0)
    assert [backlog.holds(offset) for offset in (100, 101, 102)] == [False, True, False]
    assert backlog.read(101, 10) == b""


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.binary(max_size=9000), st.integers(0, 60_000)), max_size=20),
    st.integers(0, 50_000),
)
def test_a_backlog_is_a_window_of_the_stream(first: int, steps: list[tuple[bytes, int]], size: int) -> None:
    backlog, stream = Backlog(size, first), b""
    for data, needed in steps:
        backlog.append(data)
        stream += data
        backlog.trim(first + 1 + needed)
        assert backlog.end == first + len(stream)
        assert backlog.length >= min(len(stream), max(size, SIZE_BYTES_MIN))
        assert backlog.holds(min(first + 1 + needed, backlog.end + 1)) or backlog.start > first + 1 + needed
        assert backlog.read(backlog.start, len(stream)) == stream[backlog.start - first - 1 :]


def test_a_backlog_keeps_what_somebody_needs_and_may_shrink_later() -> None:
    backlog = Backlog(1 << 20, 0)
    backlog.append(bytes(60_000))
    backlog.resize(20_000)
    backlog.trim(10)
    assert backlog.start == 10
    backlog.trim(60_001)
    assert backlog.length == 20_000


# --- history ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replid", "offset", "covered"),
    [(B, 1, True), (B, 500, True), (A, 100, True), (A, 101, True), (A, 102, False), ("c" * 40, 1, False)],
)
def test_a_promoted_node_knows_its_old_name_up_to_the_promotion(replid: str, offset: int, covered: bool) -> None:
    history = History(A)
    history.continue_as(B, 100)
    assert history.covers(replid, offset) is covered


def test_a_new_history_knows_no_old_name() -> None:
    history = History(A)
    history.continue_as(B, 100)
    history.renew(A)
    assert (history.replid, history.replid2, history.second_offset) == (A, NO_ID, -1)
    assert not history.covers(B, 1)


# --- stream -----------------------------------------------------------------------------------------------------------


class FakeSession(Peer):
    addr = "127.0.0.1:4000"


def replica_at(stream: Stream, position: int) -> Replica:
    replica = Replica(FakeSession(), stream)  # type: ignore[arg-type]
    replica.position = position
    stream.replicas.append(replica)
    return replica


@given(st.data())
def test_every_replica_gets_every_byte_from_its_place_on(data: st.DataObject) -> None:
    stream = Stream(Stats())
    stream.begin(SIZE_BYTES_MIN, 0)
    sent, received, starts = bytearray(), dict[Replica, bytearray](), dict[Replica, int]()
    for _ in range(data.draw(st.integers(1, 30))):
        step = data.draw(st.sampled_from(["write", "write", "join", "online", "drain", "lose"]))
        some = list(received)
        if step == "write":
            piece = data.draw(st.binary(min_size=1, max_size=40)) * data.draw(st.sampled_from([1, 500, 20_000]))
            sent += piece
            stream.take(piece)
            stream.flush()
        elif step == "join":
            stream.flush()
            replica = replica_at(stream, len(sent) + 1)
            replica.state = State.TAKING
            received[replica], starts[replica] = bytearray(), len(sent)
        elif some:
            replica = data.draw(st.sampled_from(some))
            if step == "online" and replica.state is State.TAKING:
                stream.go_online(replica)
            elif step == "drain":
                assert len(replica.session.out) <= OUTPUT_BYTES_MAX
                received[replica] += replica.session.out
                replica.session.out.clear()
                replica.sent()
            elif step == "lose":
                replica.lost()
                del received[replica]
    for replica, bytes_taken in received.items():
        if replica.state is State.TAKING:
            stream.go_online(replica)
        while replica.session.out:
            bytes_taken += replica.session.out
            replica.session.out.clear()
            replica.sent()
        assert bytes_taken == sent[starts[replica] :]


def test_the_backlog_does_not_grow_for_those_who_are_gone() -> None:
    stream = Stream(Stats())
    stream.begin(SIZE_BYTES_MIN, 0)
    replica = replica_at(stream, 1)
    replica.state = State.TAKING
    stream.take(bytes(100_000))
    stream.flush()
    assert stream.backlog is not None and stream.backlog.length == 100_000
    replica.lost()
    assert stream.backlog.length == SIZE_BYTES_MIN and not stream.replicas


def test_who_lags_too_far_is_dropped() -> None:
    stream = Stream(Stats())
    stream.begin(SIZE_BYTES_MIN, 0)
    stream.lags_too_far = lambda replica: replica.waiting_bytes > 1_000_000
    replica = replica_at(stream, 1)
    stream.go_online(replica)
    for _ in range(13):
        stream.take(bytes(100_000))
        stream.flush()
    assert replica.session.closing == CLOSE_NOW and replica.state is None


def test_dropping_replicas_makes_room_for_a_new_stream() -> None:
    stream = Stream(Stats())
    stream.begin(SIZE_BYTES_MIN, 0)
    replica = replica_at(stream, 1)
    stream.go_online(replica)
    stream.take(b"old")
    stream.drop_replicas()
    stream.begin(SIZE_BYTES_MIN, 7000)
    stream.take(b"new")
    stream.flush()
    assert stream.backlog is not None and stream.backlog.read(7001, 10) == b"new"
    assert replica.session.closing == CLOSE_NOW and not replica.session.out


# --- the snapshot's pace ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "limits", "slice_ms"),
    [(0, (256, 64), 1), (32, (256, 64), 5.5), (64, (256, 64), 10), (500, (256, 64), 10), (128, (256, 0), 5.5)],
)
def test_a_snapshot_hurries_as_its_replicas_fall_behind(kept: int, limits: tuple[int, int], slice_ms: float) -> None:
    assert slice_ns(kept, *limits) == slice_ms * 1_000_000


def test_without_a_limit_it_keeps_its_pace() -> None:
    assert slice_ns(1 << 40, 0, 0) == SLICE_NS
