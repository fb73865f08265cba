"""Clients that wait for keys of a slot which is given away, beside redis-server."""

from __future__ import annotations

from typing import Any

import pytest

from node.slots import SLOTS, slot_of
from tests.support import HexadServer, RedisServer, ReplyError, wait_until

TIMEOUT_S = 10


@pytest.mark.parametrize("server_class", [RedisServer, HexadServer])
def test_who_waits_for_a_slot_that_goes_is_told(server_class: Any) -> None:
    with server_class(cluster_enabled="yes", cluster_require_full_coverage="no") as server:
        with server.wire() as control, server.wire() as waiting, server.wire() as staying:
            assert control("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1) == "OK"
            wait_until(lambda: control("GET", "k") is None, TIMEOUT_S, "the cluster is up")
            waiting.send("BLPOP", "k", 0)
            staying.send("BLPOP", "other", 0)
            wait_until(lambda: control.info("clients")["blocked_clients"] == "2", TIMEOUT_S, "both wait")
            assert control("CLUSTER", "DELSLOTS", slot_of(b"k")) == "OK"
            refusal = waiting.read()
            assert isinstance(refusal, ReplyError) and refusal.text == "CLUSTERDOWN Hash slot not served", refusal
            assert control("RPUSH", "other", 1) == 1 and staying.read() == [b"other", b"1"]


@pytest.mark.parametrize("server_class", [RedisServer, HexadServer])
def test_nobody_waits_in_a_cluster_that_is_down(server_class: Any) -> None:
    with server_class(cluster_enabled="yes") as server, server.wire() as control, server.wire() as waiting:
        assert control("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1) == "OK"
        wait_until(lambda: control("GET", "k") is None, TIMEOUT_S, "the cluster is up")
        waiting.send("BLPOP", "k", 0)
        wait_until(lambda: control.info("clients")["blocked_clients"] == "1", TIMEOUT_S, "somebody waits")
        assert control("CLUSTER", "DELSLOTS", slot_of(b"elsewhere")) == "OK"
        refusal = waiting.read()
        assert isinstance(refusal, ReplyError) and refusal.text == "CLUSTERDOWN The cluster is down", refusal
