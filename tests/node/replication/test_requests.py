"""What a primary answers to whoever calls himself a replica, word by word, beside genuine Redis where it can."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.node.replication.support import TIMEOUT_S, follow, is_connected, node, offset_of, wait_connected
from tests.support import ReplyError, Server, Simple, Wire, wait_until

BIG = 3000
"""Keys of a data set that no socket buffer holds whole."""


@pytest.fixture
def primary() -> Iterator[Server]:
    with node("hexad") as running:
        yield running


class FakeReplica:
    """A replica's words, one by one."""

    def __init__(self, server: Server) -> None:
        self.wire = server.wire(timeout_s=TIMEOUT_S)

    def ask(self, *words: str | int) -> str:
        """Send PSYNC or SYNC; the line that answers."""
        self.wire.send(*words)
        return self.line()

    def line(self) -> str:
        """The next line that is not empty."""
        line = b""
        while not line.strip():
            line = b""
            while not line.endswith(b"\n"):
                line += self.take(1)
        return line.strip().decode()

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.some(count - len(data))
        return data

    def some(self, limit: int) -> bytes:
        self.wire.socket.settimeout(TIMEOUT_S)
        data = self.wire.socket.recv(limit)
        if not data:
            raise ConnectionError("closed")
        return data

    def snapshot(self) -> bytes:
        """The payload that comes now, of either form."""
        header = self.line()
        if not header.startswith("$EOF:"):
            return self.take(int(header[1:]))
        mark, payload = header[5:].encode(), b""
        while not payload.endswith(mark):
            payload += self.some(1 << 16)
        return payload.removesuffix(mark)

    def join(self) -> tuple[str, int]:
        """All of a full synchronisation; (replication id, offset)."""
        assert self.wire("REPLCONF", "listening-port", 1234, "capa", "eof", "capa", "psync2") == "OK"
        word, replid, offset = self.ask("PSYNC", "?", -1).split()
        assert word == "+FULLRESYNC"
        assert self.snapshot().startswith(b"REDIS00")
        self.wire.send("REPLCONF", "ACK", offset)
        return replid, int(offset)


def fill(server: Server, count: int = BIG) -> None:
    luck = random.Random(1)  # values that do not compress
    with server.wire() as wire:
        for start in range(0, count, 500):
            wire.pipeline([("SET", f"key:{number:08}", luck.randbytes(5000)) for number in range(start, start + 500)])


def replicas_of(wire: Wire) -> int:
    return len(wire("ROLE")[2])


# --- forms of the payload ---------------------------------------------------------------------------------------------


def test_sync_of_old_gets_a_payload_with_its_length_and_then_the_stream(primary: Server) -> None:
    with primary.wire() as wire:
        assert wire("SET", "a", "1") == "OK"
        replica = FakeReplica(primary)
        replica.wire.send("SYNC")
        assert replica.snapshot().startswith(b"REDIS00")
        assert wire("SET", "b", "2") == "OK"
        stream = replica.take(23 + 27)
        assert stream.endswith(b"SET\r\n$1\r\nb\r\n$1\r\n2\r\n") and b"SELECT" in stream


def test_without_capa_eof_the_length_comes_first(primary: Server) -> None:
    replica = FakeReplica(primary)
    assert replica.ask("PSYNC", "?", -1).startswith("+FULLRESYNC ")
    assert replica.snapshot().startswith(b"REDIS00")
    with primary.wire() as wire:
        wait_until(lambda: replicas_of(wire) == 1, TIMEOUT_S, "it is online without having acknowledged")


def test_diskless_sync_no_sends_the_length_to_all() -> None:
    with node("hexad", repl_diskless_sync="no") as server:
        fill(server, 1000)
        replica = FakeReplica(server)
        assert replica.wire("REPLCONF", "capa", "eof") == "OK"
        assert replica.ask("PSYNC", "?", -1).startswith("+FULLRESYNC ")
        header = replica.line()
        assert header[0] == "$" and len(replica.take(int(header[1:]))) == int(header[1:])


def test_an_rdb_only_client_is_let_go(primary: Server) -> None:
    replica = FakeReplica(primary)
    assert replica.wire("REPLCONF", "capa", "eof", "rdb-only", 1) == "OK"
    replica.wire.send("SYNC")
    assert replica.snapshot().startswith(b"REDIS00")
    assert replica.wire.is_closed()


def test_redis_cli_takes_a_backup(primary: Server, tmp_path: Path) -> None:
    fill(primary, 1000)
    path = tmp_path / "backup.rdb"
    subprocess.run(["redis-cli", "-p", str(primary.port), "--rdb", str(path)], check=True, capture_output=True)
    checked = subprocess.run(["redis-check-rdb", str(path)], check=True, capture_output=True, text=True)
    assert "1000 keys read" in checked.stdout


# --- who gets a snapshot when -----------------------------------------------------------------------------------------


def test_replicas_that_come_within_the_delay_share_a_snapshot() -> None:
    with node("hexad", repl_diskless_sync_delay=1) as server, ExitStack() as stack:
        replicas = [stack.enter_context(node("redis")) for _ in range(3)]
        wires = [replica.wire() for replica in replicas]
        for wire in wires:
            follow(wire, server.port)
        wait_connected(*wires)
        assert server.log().count("Starting BGSAVE for SYNC") == 1


def test_enough_replicas_end_the_delay() -> None:
    with node("hexad", repl_diskless_sync_delay=1000, repl_diskless_sync_max_replicas=2) as server:
        first, second = FakeReplica(server), FakeReplica(server)
        for replica in (first, second):
            assert replica.wire("REPLCONF", "capa", "eof") == "OK"
        first.wire.send("PSYNC", "?", -1)
        assert first.wire.is_silent()
        second.wire.send("PSYNC", "?", -1)
        for replica in (first, second):
            assert replica.line().startswith("+FULLRESYNC")
            assert replica.snapshot().startswith(b"REDIS00")


def test_who_comes_during_a_snapshot_waits_for_the_next(primary: Server) -> None:
    fill(primary)
    first, second = FakeReplica(primary), FakeReplica(primary)
    for replica in (first, second):
        assert replica.wire("REPLCONF", "capa", "eof") == "OK"
    assert first.ask("PSYNC", "?", -1).startswith("+FULLRESYNC ")
    second.wire.send("PSYNC", "?", -1)
    with primary.wire() as wire:
        assert wire("SET", "between", "1") == "OK"
    assert second.wire.is_silent()
    assert b"between" not in first.snapshot()
    assert second.line().startswith("+FULLRESYNC ")
    assert b"between" in second.snapshot()


def test_a_replica_that_dies_while_it_takes_a_snapshot_hurts_nobody(primary: Server) -> None:
    fill(primary)
    first = FakeReplica(primary)
    first.wire("REPLCONF", "capa", "eof")
    assert first.ask("PSYNC", "?", -1).startswith("+FULLRESYNC ")
    first.take(100_000)
    first.wire.close()
    second = FakeReplica(primary)
    second.join()
    with primary.wire() as wire:
        wait_until(lambda: replicas_of(wire) == 1, TIMEOUT_S, "one replica")


def test_writes_during_a_snapshot_come_after_it(primary: Server) -> None:
    fill(primary)
    replica = FakeReplica(primary)
    replica.wire("REPLCONF", "capa", "eof")
    offset = int(replica.ask("PSYNC", "?", -1).split()[2])
    with primary.wire() as wire:
        for number in range(0, BIG, 7):
            assert wire("SET", f"key:{number:08}", "changed") == "OK"
        end = offset_of(wire)
    assert b"changed" not in replica.snapshot()
    replica.wire.send("REPLCONF", "ACK", offset)
    assert replica.take(end - offset).count(b"changed") == len(range(0, BIG, 7))


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_partial_resync_sends_exactly_what_is_missing(primary: Server) -> None:
    replid, offset = FakeReplica(primary).join()
    with primary.wire() as wire:
        for number in range(10):
            assert wire("SET", "k", number) == "OK"
        end = offset_of(wire)
    whole = FakeReplica(primary)
    assert whole.ask("PSYNC", replid, offset + 1) == "+CONTINUE"  # it did not say that it knows psync2
    stream = whole.take(end - offset)
    for at in (0, 1, 30, len(stream)):
        replica = FakeReplica(primary)
        assert replica.wire("REPLCONF", "capa", "psync2") == "OK"
        assert replica.ask("PSYNC", replid.upper() if at == 0 else replid, offset + 1 + at) in (
            f"+CONTINUE {replid}",
            f"+FULLRESYNC {replid} {end}",
        )
        if at:
            assert replica.take(len(stream) - at) == stream[at:]


@pytest.mark.parametrize("place", ["before", "beyond", "other"])
def test_what_cannot_go_on_gets_everything(primary: Server, place: str) -> None:
    with primary.wire() as wire:
        assert wire("SET", "a", "1") == "OK"
    replid, offset = FakeReplica(primary).join()
    replica = FakeReplica(primary)
    asked = {"before": (replid, 0), "beyond": (replid, offset + 2), "other": ("f" * 40, offset + 1)}[place]
    assert replica.ask("PSYNC", *asked).startswith(f"+FULLRESYNC {replid} ")


def test_a_replica_that_asks_twice_is_not_heard(primary: Server) -> None:
    replica = FakeReplica(primary)
    replica.join()
    replica.wire.send("PSYNC", "?", -1)
    replica.wire.send("SYNC")
    assert replica.wire.is_silent()
    assert primary.log().count("Starting BGSAVE for SYNC") == 1


@pytest.mark.parametrize(("words", "name"), [(["PING"], "ping"), (["GET", "k"], "get"), (["NO"], "<unknown>")])
def test_a_command_that_has_a_reply_ends_a_replicas_link(primary: Server, words: list[str], name: str) -> None:
    """Else the reply would stand in the midst of what the replica takes for the stream."""
    replica = FakeReplica(primary)
    replica.ask("PSYNC", "?", -1)
    replica.wire.send(*words)
    rest = replica.wire.read_to_end()
    assert b"PONG" not in rest and b"-ERR" not in rest
    primary.wait_for_log(f"Replica generated a reply to command '{name}', disconnecting it: id=")
    assert ("== CRITICAL == This master is sending an error to its replica" in primary.log()) == (name != "ping")


def test_nobody_syncs_with_a_replica_that_has_no_primary() -> None:
    with node("hexad") as server, server.wire() as wire:
        follow(wire, 1)
        replica = FakeReplica(server)
        no_link = "-NOMASTERLINK Can't SYNC while not connected with my master"
        assert replica.ask("PSYNC", "?", -1) == no_link
        assert replica.ask("SYNC") == no_link


def test_failover_request_of_the_primary(primary: Server) -> None:
    with node("hexad") as other, other.wire() as wire:
        replica = FakeReplica(other)
        assert replica.ask("PSYNC", "x", 1, "FAILOVER") == "-ERR PSYNC FAILOVER can't be sent to a master."
        follow(wire, primary.port)
        wait_connected(wire)
        assert replica.ask("PSYNC", "x", 1, "failover") == "-ERR PSYNC FAILOVER replid must match my replid."
        replid = other.wait_for_log(r"Full resync from master: (\w+):").group(1)
        offset = offset_of(wire)
        assert replica.wire("REPLCONF", "capa", "psync2") == "OK"
        assert replica.ask("PSYNC", replid, offset + 1, "FAILOVER").startswith("+CONTINUE ")
        assert wire("ROLE")[0] == b"master"


def test_a_real_primary_hands_over_with_failover() -> None:
    with node("redis") as old, node("hexad") as new, old.wire() as first, new.wire() as second:
        follow(second, old.port)
        wait_connected(second)
        assert first("SET", "a", "1") == "OK"
        wait_until(lambda: first("FAILOVER", "TO", "127.0.0.1", new.port) == "OK", TIMEOUT_S, "the failover begins")
        wait_until(lambda: second("ROLE")[0] == b"master", TIMEOUT_S, "ours is the primary")
        wait_connected(first)
        assert second("SET", "b", "2") == "OK"
        wait_until(lambda: first("GET", "b") == b"2", TIMEOUT_S, "the old one follows")


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_replica_that_says_nothing_is_dropped() -> None:
    with node("hexad", repl_timeout=1) as server, server.wire() as wire:
        replica = FakeReplica(server)
        replica.join()
        wait_until(lambda: replicas_of(wire) == 1, TIMEOUT_S, "it is online")
        wait_until(lambda: replicas_of(wire) == 0, TIMEOUT_S, "it is dropped")
        server.wait_for_log("Disconnecting timedout replica \\(streaming sync\\): 127.0.0.1:1234")


def test_a_replica_that_reads_nothing_is_dropped_in_the_midst_of_its_snapshot() -> None:
    with node("hexad", repl_timeout=60) as server, server.wire() as wire:
        fill(server)
        replica = FakeReplica(server)
        replica.wire("REPLCONF", "capa", "eof")
        replica.wire.send("PSYNC", "?", -1)
        wait_until(lambda: wire.info("persistence")["rdb_bgsave_in_progress"] == "1", TIMEOUT_S, "the snapshot begins")
        wire("CONFIG", "SET", "repl-timeout", "1")
        server.wait_for_log("Disconnecting timedout replica \\(full sync\\)")
        FakeReplica(server).join()


def test_a_replica_beyond_its_output_limit_is_dropped() -> None:
    with node("hexad", client_output_buffer_limit=["replica", "2mb", "0", "0"]) as server, server.wire() as wire:
        replica = FakeReplica(server)
        replica.join()
        wait_until(lambda: replicas_of(wire) == 1, TIMEOUT_S, "it is online")
        value = "x" * 500_000

        def dropped() -> bool:
            assert wire("SET", "big", value) == "OK"
            return replicas_of(wire) == 0

        wait_until(dropped, TIMEOUT_S, "it is dropped")
        server.wait_for_log("overcoming of output buffer limits")


def test_the_backlog_ends_when_nobody_came_back() -> None:
    with node("hexad", repl_backlog_ttl=1) as server:
        replica = FakeReplica(server)
        replid, offset = replica.join()
        replica.wire.close()
        server.wait_for_log("Replication backlog freed after 1 seconds without connected replicas")
        late = FakeReplica(server)
        answer = late.ask("PSYNC", replid, offset + 1)
        assert answer.startswith("+FULLRESYNC") and replid not in answer


# --- words ------------------------------------------------------------------------------------------------------------

WORDS: list[tuple[str | int, ...]] = [
    ("REPLCONF",),
    ("REPLCONF", "listening-port"),
    ("REPLCONF", "listening-port", "x"),
    ("REPLCONF", "listening-port", 70000),
    ("REPLCONF", "ip-address", "10.0.0.1"),
    ("REPLCONF", "ip-address", "x" * 256),
    ("REPLCONF", "capa", "whatever"),
    ("REPLCONF", "nonsense", 1),
    ("REPLCONF", "rdb-only", "x"),
    ("REPLCONF", "rdb-filter-only", "functions"),
    ("REPLCONF", "rdb-filter-only", "nonsense"),
    ("REPLCONF", "listening-port", 1, "capa"),
    ("PSYNC", "?"),
    ("PSYNC", "?", "x"),
    ("SYNC", 1),
    ("REPLICAOF", "localhost"),
    ("REPLICAOF", "localhost", "x"),
    ("REPLICAOF", "localhost", -1),
    ("REPLICAOF", "localhost", 65536),
    ("REPLICAOF", "no", "one"),
    ("SLAVEOF", "no", "one"),
    ("ROLE",),
    ("ROLE", "x"),
    ("READONLY",),
    ("READWRITE",),
    ("WAIT",),
    ("WAIT", 0, 0),
    ("WAIT", -1, 0),
    ("WAIT", "x", 0),
    ("WAIT", 1, "x"),
    ("WAIT", 1, -1),
    ("WAIT", 1, "99999999999999999999"),
    ("WAIT", 1, 10),
    ("WAIT", 1, "1.5"),
]


def test_words_are_those_of_redis(primary: Server, redis_server: Callable[..., Server]) -> None:
    with redis_server().wire() as theirs, primary.wire() as ours:
        for words in WORDS:
            assert (words, ours(*words)) == (words, theirs(*words))


def test_words_at_a_replica_are_those_of_redis(redis_server: Callable[..., Server]) -> None:
    with node("hexad", replica_serve_stale_data="no") as mine, mine.wire() as ours:
        theirs = redis_server(replica_serve_stale_data="no").wire()
        for wire in (ours, theirs):
            follow(wire, 1)
        for words in [("SET", "a", "1"), ("GET", "a"), ("PING",), ("WAIT", 0, 0), ("REPLICAOF", "127.0.0.1", 1)]:
            assert (words, ours(*words)) == (words, theirs(*words))


# --- too few replicas -------------------------------------------------------------------------------------------------


def test_min_replicas_to_write() -> None:
    refused = ReplyError("NOREPLICAS Not enough good replicas to write.")
    with node("hexad", min_replicas_to_write=1, min_replicas_max_lag=1) as server, server.wire() as wire:
        assert wire("SET", "a", "1") == refused
        assert wire("GET", "a") is None
        with node("redis") as replica, replica.wire() as other:
            follow(other, server.port)
            wait_until(lambda: wire("SET", "a", "1") == Simple("OK"), TIMEOUT_S, "a good replica")
            wait_until(lambda: is_connected(other), TIMEOUT_S, "the link is up")
            replica.kill()
            wait_until(lambda: wire("SET", "a", "1") == refused, TIMEOUT_S, "no good replica")


def test_a_client_that_dies_in_wait_leaves_nothing(primary: Server) -> None:
    with primary.wire() as wire:
        for _ in range(3):
            waiting = primary.wire()
            waiting.send("WAIT", 1, 0)
            waiting.close()
        replica = FakeReplica(primary)
        replica.join()
        replica.wire.send("REPLCONF", "ACK", 1_000_000)
        assert wire("WAIT", 1, 5000) == 1


def test_wait_ends_when_the_primary_becomes_a_replica(primary: Server) -> None:
    waiting = primary.wire()
    waiting.send("WAIT", 1, 0)
    with primary.wire() as wire:
        follow(wire, 1)
    assert waiting.read() == ReplyError(
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
    )
    assert waiting.is_closed()
    with suppress(OSError):
        waiting.close()
