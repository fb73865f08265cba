"""Beside genuine Redis nodes: they must take our machine for one of theirs, as member, voter and candidate."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gossip import report
from gossip.events import AddSlots, BecomePrimary, Failover, Meet, Replicate, ReplicateFrom
from gossip.packet import (
    PING,
    PONG,
    PRIMARY,
    Extensions,
    Gossip,
    GossipEntry,
    Packet,
    PacketReader,
    encode,
)
from tests.gossip.live import LiveNode, pump
from tests.support import RedisServer

TIMEOUT_MS = 1000


@contextlib.contextmanager
def real_nodes(count: int) -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                RedisServer(cluster_enabled="yes", cluster_node_timeout=TIMEOUT_MS, repl_diskless_sync_delay=0)
            )
            for _ in range(count)
        ]


def ask(server: RedisServer, *words: str | int) -> Any:
    with server.wire() as wire:
        return wire(*words)


def info(server: RedisServer) -> dict[str, str]:
    return dict(line.split(":", 1) for line in ask(server, "CLUSTER", "INFO").decode().split("\r\n") if line)


def id_of(server: RedisServer) -> str:
    return ask(server, "CLUSTER", "MYID").decode()


def exchange(port: int, packet: Packet, wanted: int) -> Packet:
    """Send one packet to a bus port and return the first answer of a kind."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(encode(packet))
        reader = PacketReader()
        while True:
            data = sock.recv(1 << 16)
            assert data, "closed"
            for answer in reader.feed(data):
                assert isinstance(answer, Packet), answer
                if answer.kind == wanted:
                    return answer


def test_a_real_node_answers_our_ping_with_a_pong_we_can_read() -> None:
    with real_nodes(1) as (server,):
        ask(server, "CLUSTER", "ADDSLOTS", 5, 6, 16383)
        extensions = Extensions(hostname="me.example", nodename="me", shard_id="ab" * 20)
        pong = exchange(server.port + 10000, Packet(PING, "cd" * 20, 1, 2, PRIMARY, body=Gossip((), extensions)), PONG)
        assert pong.sender == id_of(server) and pong.port == server.port and pong.flags & PRIMARY
        assert pong.slots == ((1 << 5 | 1 << 6 | 1 << 16383).to_bytes(2048, "little"))


def test_a_real_node_understands_gossip_of_ours() -> None:
    """Gossip counts from known nodes only: so a real machine meets it, then tells of a third node."""
    with real_nodes(1) as (server,), LiveNode(TIMEOUT_MS) as ours:
        ours.handle(Meet("127.0.0.1", server.port, server.port + 10000))
        theirs = id_of(server)
        ours.pump(lambda: theirs in ours.machine.state.nodes, 5, "handshake")
        ours.pump(lambda: ours.id in ask(server, "CLUSTER", "NODES").decode(), 5, "known")
        third = "ef" * 20
        entry = GossipEntry(third, 0, 0, "127.0.0.1", 9, 10, PRIMARY)
        packet = ours.machine.core.packet(PING, Gossip((entry,)))
        exchange(server.port + 10000, packet, PONG)
        assert third in ask(server, "CLUSTER", "NODES").decode()


def test_a_real_node_meets_us_by_its_own_word() -> None:
    with real_nodes(1) as (server,), LiveNode(TIMEOUT_MS) as ours:
        ask(server, "CLUSTER", "MEET", "127.0.0.1", ours.port)
        theirs = id_of(server)
        ours.pump(lambda: theirs in ours.machine.state.nodes, 5, "handshake")
        ours.pump(lambda: ours.id in ask(server, "CLUSTER", "NODES").decode(), 5, "their handshake")
        ours.pump(lambda: ours.machine.state.myself.ip == "127.0.0.1", 5, "our address")


def grown(servers: list[RedisServer], ours: LiveNode) -> None:
    """Two real primaries and ours share the slots."""
    shares = [tuple(range(16384 * n // 3, 16384 * (n + 1) // 3)) for n in range(3)]
    for server, share in zip(servers[:2], shares, strict=False):
        ask(server, "CLUSTER", "ADDSLOTSRANGE", share[0], share[-1])
    ours.handle(AddSlots(shares[2]))
    for server in servers:
        ours.handle(Meet("127.0.0.1", server.port, server.port + 10000))
    ours.pump(
        lambda: ours.machine.state.ok and all(info(s)["cluster_state"] == "ok" for s in servers), 15, "all are ok"
    )
    ours.pump(
        lambda: all(int(info(server)["cluster_known_nodes"]) == len(servers) + 1 for server in servers), 10, "all met"
    )


def masked(text: str) -> list[str]:
    """CLUSTER NODES without what differs by nature: who is myself, times, links."""
    lines = []
    for line in text.splitlines():
        words = line.replace("myself,", "").split(" ")
        words[4:6] = ["-", "-"]
        words[7] = "-"
        lines.append(" ".join(words))
    return sorted(lines)


@pytest.fixture(scope="module")
def four() -> Iterator[tuple[list[RedisServer], LiveNode]]:
    """Real primaries 0 and 1, ours as the third, and a real replica (2) of primary 0."""
    with real_nodes(3) as servers, LiveNode(TIMEOUT_MS) as ours:
        grown(servers, ours)
        primary_id = id_of(servers[0])
        ask(servers[2], "CLUSTER", "REPLICATE", primary_id)
        ours.pump(lambda: b"state=online" in ask(servers[0], "INFO", "replication"), 8, "it replicates")
        ask(servers[0], "SET", "{06S}", "x")  # a key in slot 0: an offset to speak of
        ours.pump(
            lambda: (
                ours.machine.state.nodes[primary_id].replicas
                and ours.machine.state.nodes[primary_id].replicas[0].offset > 0
                and len(ask(servers[1], "CLUSTER", "SLOTS")[0]) == 4
            ),
            10,
            "their replica is known",
        )
        yield servers, ours


def test_nodes_and_slots_and_shards_look_like_theirs(four: tuple[list[RedisServer], LiveNode]) -> None:
    servers, ours = four
    core = ours.machine.core
    ours.pump(lambda: _nodes_agree(servers, ours), 10, "all epochs are known to all")
    assert masked(report.nodes(core)) == masked(ask(servers[1], "CLUSTER", "NODES").decode())
    mine = report.slots(core)
    assert [[*entry[:2], *[[*n[:3], []] for n in entry[2:]]] for entry in mine] == ask(servers[1], "CLUSTER", "SLOTS")
    theirs = sorted(_shard(shard) for shard in ask(servers[1], "CLUSTER", "SHARDS"))
    assert sorted(_shard(shard) for shard in map(_flat, report.shards(core))) == theirs


def _nodes_agree(servers: list[RedisServer], ours: LiveNode) -> bool:
    return masked(report.nodes(ours.machine.core)) == masked(ask(servers[1], "CLUSTER", "NODES").decode())


def _flat(value: Any) -> Any:
    """A value as RESP2 has it."""
    if isinstance(value, dict):
        return [_flat(part) for pair in value.items() for part in pair]
    return [_flat(part) for part in value] if isinstance(value, list) else value


def _shard(shard: list[Any]) -> tuple[Any, Any]:
    """A shard without its replication offsets, which move."""
    assert shard[0] == b"slots" and shard[2] == b"nodes"
    nodes = []
    for node in shard[3]:
        fields = list(node)
        fields[fields.index(b"replication-offset") + 1] = 0
        nodes.append(fields)
    return shard[1], nodes


def test_info_and_links_have_their_fields(four: tuple[list[RedisServer], LiveNode]) -> None:
    servers, ours = four
    mine = dict(line.split(":", 1) for line in report.info(ours.machine.core).split("\r\n") if line)
    theirs = info(servers[1])
    stats = "cluster_stats_messages_"
    assert [k for k in mine if not k.startswith(stats)] == [k for k in theirs if not k.startswith(stats)]
    for name in ("state", "slots_assigned", "slots_ok", "known_nodes", "size", "current_epoch"):
        assert mine["cluster_" + name] == theirs["cluster_" + name], name
    found = _flat(report.links(ours.machine.core, lambda link: (0, 0)))
    real = ask(servers[1], "CLUSTER", "LINKS")
    assert [entry[::2] for entry in found[:1]] == [entry[::2] for entry in real[:1]]
    assert len(found) == len(real) == 6


def test_our_vote_counts_and_our_candidature_wins(four: tuple[list[RedisServer], LiveNode]) -> None:
    """A real primary dies: its real replica needs our vote.  Then we become a replica and win real votes."""
    servers, ours = four
    state = ours.machine.state
    servers[0].kill()
    replica = id_of(servers[2])
    ours.pump(lambda: state.nodes[replica].votes, 12, "the real replica took over")
    assert any(text.startswith(f"Failover auth granted to {replica}") for text in ours.log)
    ours.pump(lambda: state.ok and info(servers[1])["cluster_state"] == "ok", 8, "ok again")

    # A second machine of ours replicates the real winner and takes its place when asked to.
    with LiveNode(TIMEOUT_MS) as second:
        second.handle(Meet("127.0.0.1", servers[1].port, servers[1].port + 10000))

        def live(condition: Any, what: str) -> None:
            pump([ours, second], condition, 8, what)

        live(lambda: replica in second.machine.state.nodes, "met")
        live(lambda: second.machine.state.nodes[replica].votes, "slots")
        second.handle(Replicate(replica))
        assert ReplicateFrom("127.0.0.1", servers[2].port) in second.effects
        live(lambda: f"{second.id} " in ask(servers[2], "CLUSTER", "NODES").decode(), "known")
        live(lambda: second.machine.state.nodes[replica].link_up, "link")
        # Voters vote for replicas of one primary once in two timeouts; this primary has not lost any yet.
        second.handle(Failover("FORCE"))
        live(lambda: BecomePrimary() in second.effects, "real nodes voted for us")
        live(lambda: _owns(second.id, "0-5460", ask(servers[1], "CLUSTER", "NODES")), "real nodes know that we won")


def _owns(node_id: str, slots: str, nodes: bytes) -> bool:
    return any(
        f" {slots}" in line for line in nodes.decode().splitlines() if line.startswith(node_id) and "master" in line
    )
