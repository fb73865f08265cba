"""Clients of every network are told addresses that they reach."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import RedisCluster

from gossip import networks, report
from gossip.events import SettingsChanged
from gossip.packet import PING, PONG, SPEAKS_HEXAD, Extensions, Gossip, PacketReader, encode
from gossip.route import Request, redirect
from node.config.networks import AnnouncedNetwork, NetworkAddress
from node.slots import slot_of
from tests.gossip.machines import IDS, Alone, logged, sent
from tests.proxy.support import ProxyServer
from tests.sim.world import World
from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.cluster import LocalCluster
from tests.support.wire import ReplyError

OUTSIDE = {"outside": NetworkAddress("127.0.0.1", 7101, 7201)}
NAMED = {"outside": NetworkAddress("n3.example.com")}


def told(alone: Alone, name: str, text: str | None, standing: int | None = 1) -> str:
    """`name` sends a heartbeat with these addresses; what is logged."""
    body = Gossip(extensions=Extensions(standing=standing, networks=text or ""))
    return logged(alone.hear(name, PONG, body, mflags=SPEAKS_HEXAD))


# ---- which network is a client's -----------------------------------------------------------------------------------

LINES = [
    AnnouncedNetwork("wide", "0.0.0.0/0,::/0", "h"),
    AnnouncedNetwork("lan", "10.0.0.0/8,fd00::/8", "h"),
    AnnouncedNetwork("gateway", "10.1.0.1", "h"),
    AnnouncedNetwork("leg", "at:10.9.0.5,at:fd09::/16", "h"),
    AnnouncedNetwork("port", "port:7443", "h"),
]


@pytest.mark.parametrize(
    ("addr", "laddr", "name"),
    [
        ("10.2.3.4:5000", "10.1.0.9:7000", "lan"),
        ("10.1.0.1:5000", "10.1.0.9:7000", "gateway"),
        ("192.0.2.1:5000", "10.1.0.9:7000", "wide"),
        ("[fd01::7]:5000", "[fd01::1]:7000", "lan"),
        ("[::ffff:10.1.0.1]:5000", "[::ffff:10.1.0.9]:7000", "gateway"),
        ("[2001:db8::1]:5000", "[fd01::1]:7000", "wide"),
        ("10.1.0.1:5000", "10.9.0.5:7000", "leg"),
        ("[fe80::1%eth0]:5000", "[fd09::1]:7000", "leg"),
        ("10.1.0.1:5000", "10.9.0.5:7443", "port"),
        ("/run/hexad.sock:0", "/run/hexad.sock:0", ""),
    ],
)
def test_port_then_our_address_then_the_narrowest_block_tell_the_network(addr: str, laddr: str, name: str) -> None:
    found = networks.ClientNetworks(reversed(LINES))
    assert found.of(addr, laddr) == found.of(addr, laddr) == name
    assert networks.ClientNetworks(()).of(addr, laddr) == ""


def test_only_so_many_clients_are_remembered() -> None:
    found = networks.ClientNetworks(LINES)
    for number in range(networks.CLIENTS_KEPT + 5):
        assert found.of(f"10.2.{number >> 8}.{number & 255}:1", "10.1.0.9:7000") == "lan"
    assert len(found._known) == 5


# ---- what nodes tell one another -----------------------------------------------------------------------------------

hosts = st.sampled_from(["10.0.0.1", "fd00::1", "a-b.example_c", "x" * 255])
ports = st.integers(0, 65535)
addresses = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), st.builds(NetworkAddress, hosts, ports, ports), max_size=16
)


@given(addresses)
def test_addresses_arrive_as_they_were_told(told: dict[str, NetworkAddress]) -> None:
    body = Gossip(extensions=Extensions(networks=networks.render(told)))
    alone = ALONE
    (packet,) = PacketReader().feed(encode(alone.packet("p2", PONG, body)))
    assert networks.parse(packet.body.extensions.networks) == told  # type: ignore[union-attr]


ALONE = Alone("p1")


@pytest.mark.parametrize(
    "text",
    ["x", "a h 1", "a h 1 2 3", " h 1 2", "a  1 2", "a h 70000 0", "a h 0000099999 0",
     "a h -1 0", "a h\r 1 2", "a h 1 2\n", "a/ h 1 2",
     "a h 1 2\nb", "a h ٣ 1", "\n".join(f"n{n} h 1 2" for n in range(17)), "a " + "h" * 256 + " 1 2"],
)  # fmt: skip
def test_what_is_no_address_is_not_taken(text: str) -> None:
    alone = Alone("p1")
    told(alone, "p2", networks.render(OUTSIDE))
    assert "not taken" in told(alone, "p2", text)
    assert alone.node("p2").networks == {} and not told(alone, "p2", text), "it is logged once"


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    found = networks.parse(text)
    assert found is None or networks.parse(networks.render(found)) == found


def test_an_address_goes_when_its_node_tells_it_no_more_and_stays_while_nothing_is_told() -> None:
    alone = Alone("p1")
    told(alone, "p2", networks.render(OUTSIDE))
    alone.hear("p2", PING, Gossip())
    told(alone, "p2", "", standing=None)
    assert alone.node("p2").networks == OUTSIDE
    told(alone, "p2", "")
    assert alone.node("p2").networks == {}


def test_genuine_nodes_are_told_nothing_of_it() -> None:
    alone = Alone("p1")
    alone.settings.networks = OUTSIDE
    alone.handle(SettingsChanged())
    assert alone.node("p1").networks == OUTSIDE
    for mflags, text in ((0, ""), (SPEAKS_HEXAD | 4, "outside 127.0.0.1 7101 7201")):
        (pong,) = sent(alone.hear("p2", PING, Gossip(), mflags=mflags), PONG)
        assert pong.body.extensions.networks == text  # type: ignore[union-attr]


def test_every_node_learns_the_addresses_of_all() -> None:
    world = World(3, replicas=1)
    for number, host in enumerate(world.hosts.values()):
        host.settings.networks = {"outside": NetworkAddress("127.0.0.1", 7100 + number)}
    world.run_until(world.agreed, 8000)
    ups = [host.up for host in world.hosts.values()]
    wanted = {up.core.myself.id: up.core.settings.networks for up in ups}
    views = [{node.id: node.networks for node in up.state.nodes.values()} for up in ups]
    assert views == [wanted] * 6


# ---- what clients are told -----------------------------------------------------------------------------------------


def with_addresses() -> Alone:
    """p2 and p3 have an address outside, p2's replica and p1 have none."""
    alone = Alone("p1")
    told(alone, "p2", networks.render(OUTSIDE))
    told(alone, "p3", networks.render(NAMED))
    return alone


def test_redirects_name_the_address_in_the_clients_network() -> None:
    core = with_addresses().machine.core
    keys = {core.state.owners[slot_of(b"%d" % n)]: b"%d" % n for n in range(100)}
    by_name = {name: keys[core.state.nodes[IDS[name]]] for name in ("p2", "p3")}

    def moved(name: str, **asked: Any) -> str:
        key = by_name[name]
        answer = redirect(core, Request([key], [slot_of(key)]), lambda _key: False, **asked)
        assert answer is not None
        return answer.split()[2]

    assert moved("p2", network="outside") == "127.0.0.1:7101"
    assert moved("p2", network="outside", tls=True) == "127.0.0.1:7201"
    assert moved("p3", network="outside") == f"n3.example.com:{core.state.nodes[IDS['p3']].port}"
    plain = moved("p2")
    assert plain == moved("p2", network="inside") != "127.0.0.1:7101"


def test_reports_name_the_address_in_the_clients_network() -> None:
    alone = with_addresses()
    core = alone.machine.core
    rows = {row[2][2]: row[2] for row in report.slots(core, network="outside")}
    assert rows[IDS["p2"].encode()] == [b"127.0.0.1", 7101, IDS["p2"].encode(), {}]
    assert rows[IDS["p1"].encode()][0] == alone.node("p1").ip.encode()
    lines = {line.split()[0]: line.split()[1] for line in report.nodes(core, network="outside").splitlines()}
    assert lines[IDS["p2"]] == f"127.0.0.1:7101@{alone.node('p2').cport}"
    assert lines[IDS["p3"]].startswith("n3.example.com:")
    shown = {n[b"id"]: n for shard in report.shards(core, network="outside") for n in shard[b"nodes"]}
    p2, p3 = shown[IDS["p2"].encode()], shown[IDS["p3"].encode()]
    assert (p2[b"ip"], p2[b"endpoint"], p2[b"port"], p2[b"tls-port"]) == (b"127.0.0.1", b"127.0.0.1", 7101, 7201)
    assert (p3[b"ip"], p3[b"endpoint"], p3[b"hostname"]) == (alone.node("p3").ip.encode(), *[b"n3.example.com"] * 2)
    for tell in (report.slots, report.nodes, report.shards):
        assert tell(core) == tell(core, network="inside") != tell(core, network="outside")


# ---- live ----------------------------------------------------------------------------------------------------------

OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def two_legs() -> Iterator[LocalCluster]:
    """Three primaries that listen at 127.0.0.1 and 127.0.0.2, and tell each client the address that it came to."""
    options: dict[str, Any] = {
        "bind": ["127.0.0.1", OTHER],
        "cluster_announce_network": ["other", f"at:{OTHER}", OTHER],
    }
    with LocalCluster(HexadServer, nodes=3, replicas=0, **options) as cluster:

        def knows_all(node: HexadServer) -> bool:
            with Wire(node.port, host=OTHER) as wire:
                return wire("CLUSTER", "NODES").count(OTHER.encode()) == 3

        wait_until(lambda: all(map(knows_all, cluster.nodes)), 20, "the nodes know each other's addresses")
        yield cluster


def connections(cluster: LocalCluster, name: str) -> list[set[str]]:
    """For each node the addresses at which clients of that name came in."""
    found = []
    for node in cluster.nodes:
        with node.wire() as wire:
            lines = [
                dict(w.split("=", 1) for w in line.split()) for line in wire("CLIENT", "LIST").decode().split("\n")
            ]
        found.append({line["laddr"].rpartition(":")[0] for line in lines if line.get("name") == name})
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", OTHER])
def test_redis_py_stays_in_its_network(two_legs: LocalCluster, host: str) -> None:
    with RedisCluster(host=host, port=two_legs.nodes[0].port, client_name="py" + host) as client:
        for number in range(50):
            assert client.set(f"key:{number}", number)
        assert connections(two_legs, "py" + host) == [{host}] * 3


@pytest.mark.parametrize("host", ["127.0.0.1", OTHER])
def test_redis_cli_follows_redirects_in_its_network(two_legs: LocalCluster, host: str) -> None:
    port = two_legs.nodes[0].port
    told = set()
    for number in range(20):
        with Wire(port, host=host) as wire:
            reply = wire("SET", f"key:{number}", number)
        if isinstance(reply, ReplyError):
            told.add(str(reply).split()[-1].rpartition(":")[0])
        done = subprocess.run(
            ["redis-cli", "-c", "-h", host, "-p", str(port), "set", f"key:{number}", "x"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == "OK"
    assert told == {host}


def test_config_set_changes_what_all_nodes_tell(two_legs: LocalCluster) -> None:
    first, second = two_legs.nodes[:2]
    with first.wire() as wire, Wire(second.port, host=OTHER) as other:
        before = wire("CONFIG", "GET", "cluster-announce-network")[1].decode()
        line = f"other at:{OTHER} elsewhere.example:7999"
        assert wire("CONFIG", "SET", "cluster-announce-network", line) == "OK"
        wait_until(lambda: b" elsewhere.example:7999@" in other("CLUSTER", "NODES"), 20, "it is told")
        assert "'nonsense' names no clients" in str(
            wire("CONFIG", "SET", "cluster-announce-network", "other nonsense h")
        )
        assert wire("CONFIG", "SET", "cluster-announce-network", before) == "OK"
        wait_until(lambda: b"elsewhere" not in other("CLUSTER", "NODES"), 20, "it is told no more")


def test_migrate_takes_the_address_that_its_client_was_told(two_legs: LocalCluster) -> None:
    """As `redis-cli --cluster reshard` outside sends it: the source reaches the target where nodes reach it."""
    source, target = two_legs.nodes[:2]
    line = f"other at:{OTHER} mapped.example:7999"
    with target.wire() as there, Wire(source.port, host=OTHER) as wire:
        before = there("CONFIG", "GET", "cluster-announce-network")[1].decode()
        assert there("CONFIG", "SET", "cluster-announce-network", line) == "OK"
        wait_until(lambda: b"mapped.example" in wire("CLUSTER", "NODES"), 20, "it is told")
        key = next(f"m:{n}" for n in range(1000) if not isinstance(wire("SET", f"m:{n}", "v"), ReplyError))
        slot = slot_of(key.encode())
        ids = [node.wire()("CLUSTER", "MYID") for node in (source, target)]
        assert there("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0]) == "OK"
        assert wire("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1]) == "OK"
        assert wire("GET", "{" + key + "}x") == ReplyError(f"ASK {slot} mapped.example:7999")
        assert wire("MIGRATE", "mapped.example", 7999, key, 0, 5000) == "OK"
        assert there("CLUSTER", "SETSLOT", slot, "NODE", ids[1]) == "OK"
        assert there("GET", key) == b"v"
        assert there("CONFIG", "SET", "cluster-announce-network", before) == "OK"


def test_a_proxy_stays_in_its_network(two_legs: LocalCluster) -> None:
    proxy = ProxyServer()
    proxy.options["cluster"] = f"{OTHER}:{two_legs.nodes[0].port}"
    with proxy, proxy.wire() as wire:
        assert [wire("SET", f"key:{number}", number) for number in range(50)] == ["OK"] * 50
        assert connections(two_legs, "hexad-proxy") == [{OTHER}] * 3


@pytest.mark.long
def test_genuine_nodes_beside_it_keep_their_own_rule() -> None:
    """A mixed pair: the Redis tells its usual addresses, Hexad tells the client's of itself and the usual of Redis."""
    line = ["other", f"at:{OTHER}", OTHER]
    common: dict[str, Any] = {"cluster_enabled": "yes", "bind": ["127.0.0.1", OTHER], "protected_mode": "no"}
    with HexadServer(**common, cluster_announce_network=line) as ours, RedisServer(**common) as theirs:
        with Wire(ours.port, host=OTHER) as wire, theirs.wire() as genuine:
            assert wire("CLUSTER", "MEET", "127.0.0.1", theirs.port) == "OK"
            wait_until(lambda: genuine("CLUSTER", "NODES").count(b"connected") == 2, 20, "they have met")
            wait_until(lambda: wire("CLUSTER", "NODES").count(b" connected") == 2, 20, "they have met")
            seen = {line.split()[1].split(b"@")[0] for line in wire("CLUSTER", "NODES").splitlines()}
            assert seen == {f"{OTHER}:{ours.port}".encode(), f"127.0.0.1:{theirs.port}".encode()}
            assert OTHER.encode() not in genuine("CLUSTER", "NODES")
            assert "extension" not in theirs.log()
