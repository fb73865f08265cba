"""`maxmemory-clients`: who is closed when the clients hold too much together."""

from __future__ import annotations

from contextlib import suppress

import pytest

from node.client_memory import NAME_BYTES, memory_bytes
from tests.support import HexadServer, Wire, wait_until
from tests.support.local import LocalClient, LocalNode


def held(client: LocalClient, size: int) -> None:
    """Let the client hold so much output that it does not take."""
    client.session.out += b"x" * size


class Batches:
    """Clients of a node without sockets, and the batches that a reactor would make."""

    def __init__(self, limit: str, count: int) -> None:
        self.node = LocalNode()
        self.clients = [self.node.client() for _ in range(count)]
        self.memory = self.node.server.clients.memory
        self.clients[0].raw("CONFIG", "SET", "maxmemory-clients", limit)

    def batch(self, *numbers: int) -> None:
        self.memory._touched.update(dict.fromkeys(self.clients[number].session for number in numbers))
        self.node.server.reactor.after_batch()

    def closed(self) -> list[int]:
        return [number for number, client in enumerate(self.clients) if client.session.closing]


def test_the_biggest_go_first() -> None:
    batches = Batches("1mb", 4)
    held(batches.clients[1], 200_000)
    held(batches.clients[2], 700_000)
    batches.batch(1, 2)
    assert batches.closed() == []
    held(batches.clients[3], 300_000)
    batches.batch(3)
    assert batches.closed() == [2]
    assert batches.node.server.stats.evicted_clients == 1 and batches.memory.total < 1 << 20


def test_who_asked_for_it_stays_but_counts() -> None:
    batches = Batches("500kb", 3)
    batches.clients[1].raw("CLIENT", "NO-EVICT", "ON")
    held(batches.clients[1], 600_000)
    held(batches.clients[2], 50_000)
    batches.batch(1, 2)
    assert 1 not in batches.closed() and 2 in batches.closed()


def test_replicas_and_primaries_do_not_count() -> None:
    batches = Batches("100kb", 2)
    batches.clients[1].session.kind = b"replica"
    held(batches.clients[1], 1_000_000)
    batches.batch(1)
    assert batches.closed() == [] and batches.memory.total < 100_000


def test_what_is_given_back_counts_no_more() -> None:
    batches = Batches("1mb", 2)
    before = batches.memory.total
    for _ in range(5):
        held(batches.clients[1], 900_000)
        batches.batch(1)
        batches.clients[1].session.out.clear()
        batches.batch(1)
    assert batches.closed() == [] and batches.memory.total - before < 10_000
    batches.node.server.clients.lost(batches.clients[1].session)
    assert batches.clients[1].session not in batches.memory._sizes


def test_a_share_of_maxmemory() -> None:
    node = LocalNode()
    client = node.client()
    memory = node.server.clients.memory
    client.raw("CONFIG", "SET", "maxmemory-clients", "5%")
    assert memory.limit == 0
    client.raw("CONFIG", "SET", "maxmemory", "200mb")
    assert memory.limit == 10 << 20
    client.raw("CONFIG", "SET", "maxmemory-clients", "0")
    assert memory.limit == 0 and not memory._sizes


@pytest.mark.parametrize("words", ["WATCH", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "CLIENT TRACKING ON BCAST"])
def test_names_in_the_tables_of_the_node_count(words: str) -> None:
    node = LocalNode()
    client = node.client()
    before = memory_bytes(client.session)
    named = [part for number in range(100) for part in (["PREFIX"] if "BCAST" in words else []) + [f"n{number}n"]]
    client.raw(*words.split(), *named)
    assert memory_bytes(client.session) >= before + 100 * NAME_BYTES


@pytest.mark.parametrize("how", ["output", "input", "command", "transaction"])
def test_a_client_that_holds_too_much_is_closed(how: str) -> None:
    with HexadServer(save=(), client_output_buffer_limit=("normal", 0, 0, 0)) as server, server.wire() as wire:
        wire("SET", "big", "x" * 5_000_000)
        wire("CONFIG", "SET", "maxmemory-clients", "4mb")
        with Wire(server.port, timeout_s=10) as greedy:
            with suppress(OSError):  # it may be closed while it still sends
                if how == "output":
                    greedy.send_raw(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 20)
                elif how == "input":
                    greedy.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9000000\r\n" + b"x" * 8_000_000)
                elif how == "command":
                    greedy.send("SET", "k", "x" * 4_200_000)
                else:
                    greedy("MULTI")
                    for _ in range(9):
                        greedy("SET", "k", "x" * 500_000)
            wait_until(lambda: wire.info("stats")["evicted_clients"] == "1", 10, "it is closed")
        assert "Evicting client: id=" in server.log() and wire("PING") == "PONG" and wire("EXISTS", "k") == 0
        wire("CLIENT", "NO-EVICT", "ON")
        assert int(wire.info("memory")["mem_clients_normal"]) > 0
