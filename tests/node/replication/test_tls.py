"""Replication by TLS, to and from a genuine server, and who is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import HexadServer, RedisServer, Server, wait_until
from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port

SYNC_S = 20.0


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def shown(ca: Authority) -> Certificate:
    return ca.issue("node")


def node(kind: type[Server], ca: Authority, shown: Certificate, **options: str | int) -> Server:
    more = {"tls_port": free_port(), "tls_replication": "yes", "repl_diskless_sync_delay": 0}
    return kind(**{**more, **shown.options(ca), **options})


@pytest.mark.parametrize(
    ("primary_kind", "replica_kind"),
    [(HexadServer, RedisServer), (RedisServer, HexadServer), (HexadServer, HexadServer)],
)
def test_a_replica_by_tls(
    ca: Authority, shown: Certificate, primary_kind: type[Server], replica_kind: type[Server]
) -> None:
    value = random.Random(3).randbytes(3_000_000)
    with node(primary_kind, ca, shown) as primary, node(replica_kind, ca, shown) as replica:
        with primary.wire() as theirs, replica.wire() as ours:
            assert theirs("SET", "big", value) == "OK"
            port = primary.options["tls_port"]
            assert ours("REPLICAOF", "127.0.0.1", str(port)) == "OK"
            wait_until(lambda: ours.info("replication")["master_link_status"] == "up", SYNC_S, "the link is up")
            assert ours("GET", "big") == value
            assert theirs("APPEND", "big", value) == 6_000_000
            assert theirs("WAIT", 1, 10_000) == 1
            assert ours("GET", "big") == value + value
            line = theirs.info("replication")["slave0"]
            assert f"port={replica.options['tls_port']},state=online" in line


def test_a_primary_of_another_ca_is_not_followed(ca: Authority, shown: Certificate, tmp_path: Path) -> None:
    strange = Authority(tmp_path, "strange")
    alien = strange.issue("alien")
    with node(HexadServer, strange, alien, tls_auth_clients="no") as primary, node(HexadServer, ca, shown) as replica:
        with replica.wire() as wire:
            assert wire("SET", "mine", "1") == "OK"
            assert wire("REPLICAOF", "127.0.0.1", str(primary.options["tls_port"])) == "OK"
            replica.wait_for_log("Error condition on socket for SYNC: TLS handshake failed: certificate verify failed")
            assert wire("GET", "mine") == b"1"


def test_a_plain_port_is_not_followed_by_tls(ca: Authority, shown: Certificate) -> None:
    """It takes our first words for the beginning of a command, and waits for the rest: so time must end it."""
    with HexadServer() as primary:
        options = {"replicaof": ["127.0.0.1", str(primary.port)], "repl_timeout": 1}
        with node(HexadServer, ca, shown, **options) as replica:
            replica.wait_for_log("Error condition on socket for SYNC: Connection timed out")
        with primary.wire() as wire:
            assert wire("PING") == "PONG"
