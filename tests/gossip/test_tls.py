"""A cluster whose bus runs by TLS: our nodes and a genuine one, and what clients of either kind are told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gossip import nodesconf
from tests.gossip.migrating import key_in, status, wait_over
from tests.support import HexadServer, RedisServer, Server, Wire, wait_until
from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port
from tests.support.wire import ReplyError

UP_S = 40.0


class Cluster:
    """Two of ours and a genuine node, made by redis-cli over TLS."""

    def __init__(self, ca: Authority, shown: Certificate, stack: ExitStack) -> None:
        self.ca, self.shown = ca, shown
        self.nodes = [stack.enter_context(self.node(kind)) for kind in (HexadServer, HexadServer, RedisServer)]
        addresses = [f"127.0.0.1:{tls_port(node)}" for node in self.nodes]
        command = ["redis-cli", *shown.words(ca), "--cluster", "create", *addresses, "--cluster-yes"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=UP_S)
        assert made.returncode == 0, made.stdout + made.stderr
        for node in self.nodes:
            with node.wire() as wire:
                wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), UP_S, "the cluster is up")

    def node(self, kind: type[Server]) -> Server:
        options = {"cluster_enabled": "yes", "cluster_node_timeout": 3000, "tls_cluster": "yes"}
        return kind(**options, tls_replication="yes", tls_port=free_port(), **self.shown.options(self.ca))

    def secure(self, node: Server) -> Wire:
        return Wire(tls_port(node), "localhost", tls=self.ca.client_context(self.shown))


def tls_port(node: Server) -> int:
    return int(str(node.options["tls_port"]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    ca = Authority(tmp_path_factory.mktemp("certificates"))
    with ExitStack() as stack:
        yield Cluster(ca, ca.issue("node"), stack)


def test_clients_are_told_the_port_of_their_kind(cluster: Cluster) -> None:
    secure_ports = {tls_port(node) for node in cluster.nodes}
    plain_ports = {node.port for node in cluster.nodes}
    for node in cluster.nodes:
        with cluster.secure(node) as secure, node.wire() as plain:
            for wire, ports in ((secure, secure_ports), (plain, plain_ports)):
                assert {entry[2][1] for entry in wire("CLUSTER", "SLOTS")} == ports
                lines = wire("CLUSTER", "NODES").decode().splitlines()
                assert {int(line.split()[1].split("@")[0].rpartition(":")[2]) for line in lines} == ports
                moved = [wire("GET", f"key{number}") for number in range(20)]
                told = {int(reply.text.rpartition(":")[2]) for reply in moved if isinstance(reply, ReplyError)}
                assert told and told <= ports
            shards = secure("CLUSTER", "SHARDS")
            fields = [dict(zip(shard[3][0][::2], shard[3][0][1::2], strict=True)) for shard in shards]
            assert {entry[b"tls-port"] for entry in fields} == secure_ports
            assert {entry[b"port"] for entry in fields} == plain_ports


def test_a_client_finds_its_way_and_keys_move(cluster: Cluster) -> None:
    """redis-cli -c follows redirects over TLS; MIGRATE dials the other node's TLS port."""
    cli = ["redis-cli", "-c", "-p", str(tls_port(cluster.nodes[0])), *cluster.shown.words(cluster.ca)]
    for number in range(12):
        made = subprocess.run([*cli, "SET", f"key{number}", "v"], capture_output=True, text=True, timeout=10)
        assert made.stdout.strip() == "OK"
    ours, theirs = cluster.nodes[0], cluster.nodes[2]
    with ours.wire() as wire, theirs.wire() as other:
        key = next(f"key{number}" for number in range(12) if wire("GET", f"key{number}") == b"v")
        slot, mine, his = wire("CLUSTER", "KEYSLOT", key), wire("CLUSTER", "MYID"), other("CLUSTER", "MYID")
        assert other("CLUSTER", "SETSLOT", slot, "IMPORTING", mine) == "OK"
        assert wire("CLUSTER", "SETSLOT", slot, "MIGRATING", his) == "OK"
        assert wire("MIGRATE", "127.0.0.1", str(tls_port(theirs)), key, 0, 5000) == "OK"
        assert wire("GET", key) == ReplyError(f"ASK {slot} 127.0.0.1:{theirs.port}")
        assert wire("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
        assert other("MIGRATE", "127.0.0.1", str(tls_port(ours)), key, 0, 5000) == "OK"
        assert other("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
        assert wire("GET", key) == b"v"


def test_slots_move_as_a_whole_with_a_password(cluster: Cluster) -> None:
    """The two nodes dial each other's TLS port, and log in as replicas do."""
    source, target, _ = cluster.nodes
    with source.wire() as one, target.wire() as other:
        mine = one("CLUSTER", "MYID")
        first = next(entry[0] for entry in one("CLUSTER", "SLOTS") if entry[2][2] == mine)
        key = key_in(first + 1)
        assert one("SET", key, "v") == "OK"
        try:
            for wire in (one, other):
                assert wire("CONFIG", "SET", "masterauth", "wrong", "requirepass", "secret") == "OK"
            task_id = other("CLUSTER", "MIGRATION", "IMPORT", first, first + 1)
            wait_until(lambda: "WRONGPASS" in status(other, task_id)["last_error"], UP_S, "it tells why it waits")
            for wire in (one, other):
                assert wire("CONFIG", "SET", "masterauth", "secret") == "OK"
            task = wait_over(other, task_id)
            assert task["state"] == "completed" and other("GET", key) == b"v", task
            assert other("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, first + 1, "NODE", mine) == "OK"
            wait_until(lambda: one("GET", key) == b"v", UP_S, "they are back")
        finally:
            for wire in (one, other):
                assert wire("CONFIG", "SET", "masterauth", "", "requirepass", "") == "OK"


def test_a_replica_joins_by_tls(cluster: Cluster) -> None:
    genuine = cluster.nodes[2]
    with ExitStack() as stack:
        replica = stack.enter_context(cluster.node(HexadServer))
        with replica.wire() as wire, genuine.wire() as primary:
            assert wire("CLUSTER", "MEET", "127.0.0.1", str(tls_port(genuine))) == "OK"
            wait_until(lambda: wire("CLUSTER", "INFO").count(b"cluster_known_nodes:4"), UP_S, "it knows all")
            wait_until(lambda: wire("CLUSTER", "REPLICATE", primary("CLUSTER", "MYID")) == "OK", UP_S, "it may follow")
            wait_until(lambda: wire.info("replication")["master_link_status"] == "up", UP_S, "it follows")
            assert wire("DBSIZE") == primary("DBSIZE")
        config = (replica.directory / "nodes.conf").read_text()
        assert f"127.0.0.1:{tls_port(genuine)}@{tls_port(genuine) + 10000},,tcp-port={genuine.port}" in config


def test_a_stranger_gets_no_link(cluster: Cluster) -> None:
    """The bus wants certificates whatever tls-auth-clients says, and plain bytes end only their connection."""
    ours = cluster.nodes[0]
    with ours.wire() as wire:
        assert wire("CONFIG", "SET", "tls-auth-clients", "no") == "OK"
        with Wire(tls_port(ours), "localhost", tls=cluster.ca.client_context()) as client:
            assert client("PING") == "PONG"
        with pytest.raises(OSError):
            link = Wire(tls_port(ours) + 10000, "localhost", tls=cluster.ca.client_context())
            assert link.read_some() and link.is_closed(), "the refusal comes with the first read"
            raise ConnectionError
        with Wire(tls_port(ours) + 10000) as plain:
            plain.send_raw(b"RCmb" + bytes(2000))
            assert plain.is_closed()
        assert b"cluster_state:ok" in wire("CLUSTER", "INFO")


A, S = "a" * 40, "5" * 40


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("label", ["tls-port", "tcp-port"])
def test_the_file_says_which_port_is_which(tls: bool, label: str) -> None:
    """A cluster may have gone over to TLS, or back, since the file was written."""
    text = (
        f"{A} 127.0.0.1:7001@17001,,{label}=7101,shard-id={S} myself,master - 0 0 3 connected 0-99\n"
        "vars currentEpoch 3 lastVoteEpoch 0\n"
    )
    state = nodesconf.parse(text, tls=tls)
    same = tls == (label == "tcp-port")
    assert (state.myself.port, state.myself.pport) == ((7001, 7101) if same else (7101, 7001))
    again = nodesconf.parse(nodesconf.render(state, tls=tls), tls=tls)
    assert (again.myself.port, again.myself.pport) == (state.myself.port, state.myself.pport)
