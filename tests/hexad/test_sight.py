"""What nodes say, read into data: by the real server's words, and by tables."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexad.sight import key_count, parse_info, parse_nodes, parse_ranges, ranges_of, ranges_text, slots_in
from tests.support import RedisServer

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_real_server() -> None:
    with RedisServer(cluster_enabled="yes") as server, server.wire() as wire:
        wire("CLUSTER", "ADDSLOTS", 1, 2, 3, 9)
        wire("CLUSTER", "SETSLOT", 9, "MIGRATING", wire("CLUSTER", "MYID"))
        (me,) = parse_nodes(wire("CLUSTER", "NODES"))
        assert me.port == server.port and me.ranges == ((1, 3), (9, 9))
        assert "myself" in me.flags and not me.is_replica and not me.is_failing and not me.is_arriving
        info = parse_info(wire("INFO"))
        assert info["role"] == "master" and key_count(info) == 0


def test_every_form_of_a_line() -> None:
    text = (
        b"a 127.0.0.1:7000@17000,host.example myself,slave b 0 0 3 connected\n"
        b"b ::1:7001@17001 master,fail? - 1 2 3 disconnected 0-5 7 [9->-c] [10-<-c]\n"
        b"c :0@0 master,noaddr - 1 2 0 disconnected\n"
        b"d 127.0.0.1:7003@17003 handshake - 0 0 0 disconnected\n"
    )
    a, b, c, d = parse_nodes(text)
    assert (a.host, a.port, a.primary, a.is_replica) == ("127.0.0.1", 7000, "b", True)
    assert (b.host, b.port, b.ranges, b.is_failing, b.config_epoch) == ("::1", 7001, ((0, 5), (7, 7)), True, 3)
    assert (c.host, c.port) == ("", 0)
    assert d.is_arriving
    assert (b.migrating, b.importing, b.bus_port) == (((9, "c"),), ((10, "c"),), 17001)
    assert (a.migrating, a.importing, a.bus_port) == ((), (), 17000)


@pytest.mark.parametrize("text", [b"PONG", b"a b c d e f g h"])
def test_no_line_at_all(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_nodes(text)


@RELAXED
@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_the_slots(slots: set[int]) -> None:
    ranges = ranges_of(slots)
    assert slots_in(ranges) == slots
    assert all(ranges[n][1] + 1 < ranges[n + 1][0] for n in range(len(ranges) - 1))


@RELAXED
@given(st.sets(st.integers(0, 16383)))
def test_ranges_are_read_as_they_are_written(slots: set[int]) -> None:
    assert parse_ranges(ranges_text(ranges_of(slots)).replace(" ", ",")) == slots


@pytest.mark.parametrize("text", ["x", "5-", "-5", "9-3", "16384", "0-16384", "1-2-3"])
def test_what_is_no_range_of_slots(text: str) -> None:
    with pytest.raises(ValueError, match=r"slot"):
        parse_ranges(text)


def test_texts() -> None:
    assert ranges_text([(0, 5), (7, 7)]) == "0-5 7"
    assert key_count({"db0": "keys=3,expires=0,avg_ttl=0", "db9": "keys=4,expires=1", "dbx": "1"}) == 7
