"""What a replica makes of a primary that is slow, wrong, or dies: the old data stays until new data is whole."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.replication.support import (
    PAIRS,
    TIMEOUT_S,
    Proxy,
    follow,
    full_syncs,
    node,
    offset_of,
    partial_syncs,
    wait_connected,
)
from tests.support import RedisServer, Server, Wire, wait_until

REPLID = b"a" * 40
PAUSE_MS = 6000
PING_BYTES = len(b"*1\r\n$4\r\nPING\r\n")
Say = Callable[["Conversation"], None]


class Conversation:
    """One connection of a replica to us, its primary."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def hear(self) -> list[bytes]:
        """The next request; raises ConnectionError at the end."""
        line = self.file.readline().strip()
        if not line:
            raise ConnectionError
        if line[:1] != b"*":
            return line.split()
        return [self.file.read(int(self.file.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def greet(self) -> list[bytes]:
        """Answer the handshake politely; returns the PSYNC."""
        while (request := self.hear())[0] != b"PSYNC":
            self.say(b"+PONG\r\n" if request[0] == b"PING" else b"+OK\r\n")
        return request


class FakePrimary:
    """Answers each connection with the next of `stories`; the last one is told again and again."""

    def __init__(self, *stories: Say) -> None:
        self.stories = list(stories)
        self.told = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock, contextlib.suppress(ConnectionError):
                    sock.settimeout(TIMEOUT_S)
                    story = self.stories[min(self.told, len(self.stories) - 1)]
                    self.told += 1
                    story(Conversation(sock))

    def __enter__(self) -> FakePrimary:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()


@pytest.fixture(scope="module")
def rdb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A data set of genuine Redis: new:0 to new:199 in database 0, one key in database 3."""
    with RedisServer() as server, server.wire() as wire:
        wire.pipeline([("SET", f"new:{number}", f"value {number}") for number in range(200)])
        wire("SELECT", 3)
        wire("SET", "three", "3")
        path = tmp_path_factory.mktemp("rdb") / "dump.rdb"
        subprocess.run(["redis-cli", "-p", str(server.port), "--rdb", str(path)], check=True, capture_output=True)
        return Path(path).read_bytes()


@pytest.fixture
def replica() -> Iterator[Server]:
    with node("hexad", repl_timeout=2) as running, running.wire() as wire:
        wire("SET", "old", "data")
        yield running


def until_over(talk: Conversation) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while True:
            talk.hear()


def gives(payload: bytes, then: Say = until_over) -> Say:
    def story(talk: Conversation) -> None:
        talk.greet()
        talk.say(b"+FULLRESYNC %s 1000\r\n" % REPLID + payload)
        then(talk)

    return story


def marked(rdb: bytes) -> bytes:
    return b"$EOF:" + b"m" * 40 + b"\r\n" + rdb + b"m" * 40


def assert_taken(wire: Wire) -> None:
    wait_connected(wire)
    assert wire("GET", "old") is None and wire("GET", "new:199") == b"value 199" and wire("DBSIZE") == 200
    assert offset_of(wire) >= 1000


@pytest.mark.parametrize("form", ["counted", "marked", "after newlines"])
def test_every_form_of_a_snapshot(replica: Server, rdb: bytes, form: str) -> None:
    counted = b"$%d\r\n%s" % (len(rdb), rdb)
    payload = {"counted": counted, "marked": marked(rdb), "after newlines": b"\n\n\n" + counted}[form]
    with FakePrimary(gives(payload)) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        assert_taken(wire)


def test_the_stream_may_follow_in_the_same_breath(replica: Server, rdb: bytes) -> None:
    stream = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n"
    with FakePrimary(gives(b"$%d\r\n%s" % (len(rdb), rdb) + stream)) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: wire("GET", "x") == b"1", TIMEOUT_S, "the stream")
        assert offset_of(wire) == 1000 + len(stream)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_primary_that_dies_in_mid_transfer_leaves_the_old_data(replica: Server, rdb: bytes, share: float) -> None:
    def cut(talk: Conversation) -> None:
        pass

    broken = marked(rdb)[: int(len(rdb) * share)]
    with FakePrimary(gives(broken, cut), gives(broken, cut), gives(marked(rdb))) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: primary.told >= 2, TIMEOUT_S, "another try")
        assert_taken(wire)
        assert full_syncs(replica) == 3


def test_old_data_is_served_while_new_data_comes(replica: Server, rdb: bytes) -> None:
    release = threading.Event()

    def rest(talk: Conversation) -> None:
        release.wait(TIMEOUT_S)
        talk.say(marked(rdb)[2000:])
        until_over(talk)

    with FakePrimary(gives(marked(rdb)[:2000], rest)) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: wire("ROLE")[3] == b"sync", TIMEOUT_S, "the snapshot is coming")
        fields = wire.info("replication")
        assert fields["master_sync_in_progress"] == "1" and fields["master_link_status"] == "down"
        assert wire("GET", "old") == b"data"
        release.set()
        assert_taken(wire)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "checksum": lambda rdb: marked(rdb[:-1] + bytes([rdb[-1] ^ 1])),
    "magic": lambda rdb: marked(b"RADIS" + rdb[5:]),
    "opcode": lambda rdb: marked(rdb[:9] + b"\xf0" + rdb[9:]),
    "mark": lambda rdb: marked(rdb)[:-40] + b"n" * 40,
    "length": lambda rdb: b"$%d\r\n%s" % (len(rdb) - 20, rdb),
    "negative": lambda _: b"$-5\r\n",
    "no length": lambda _: b"$x\r\n",
    "not a bulk": lambda _: b"+OK\r\n",
    "error": lambda _: b"-ERR no memory for that\r\n",
    "endless line": lambda _: b"$" + b"1" * 200_000,
}


WAYS = [(how, "disabled") for how in BROKEN] + [(how, "swapdb") for how in ("checksum", "opcode", "mark", "length")]


@pytest.mark.parametrize(("how", "load"), WAYS)
def test_a_broken_snapshot_is_never_taken(replica: Server, rdb: bytes, how: str, load: str) -> None:
    with FakePrimary(gives(BROKEN[how](rdb)), gives(marked(rdb))) as primary, replica.wire() as wire:
        wire("CONFIG", "SET", "repl-diskless-load", load)
        follow(wire, primary.port)
        wait_until(lambda: primary.told >= 1, TIMEOUT_S, "the first try")
        assert_taken(wire)
        assert full_syncs(replica) == 2
        assert ("Internal error in RDB reading offset" in replica.log()) == (load == "swapdb")


@pytest.mark.parametrize(
    "answer",
    [
        b"-NOMASTERLINK later",
        b"-LOADING later",
        b"+FULLRESYNC short 1",
        b"+FULLRESYNC %s x" % REPLID,
        b"*1",
        b"-ERR no",
    ],
)
def test_an_answer_that_says_no_is_followed_by_another_try(replica: Server, rdb: bytes, answer: bytes) -> None:
    def refuses(talk: Conversation) -> None:
        talk.greet()
        talk.say(b"\n" + answer + b"\r\n")
        with contextlib.suppress(TimeoutError):
            if talk.hear() == [b"SYNC"]:
                talk.say(b"-ERR not that either\r\n")

    with FakePrimary(refuses, refuses, gives(marked(rdb))) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        assert_taken(wire)


def test_a_primary_without_psync_is_asked_by_sync(replica: Server, rdb: bytes) -> None:
    heard: list[list[bytes]] = []

    def old(talk: Conversation) -> None:
        talk.greet()
        talk.say(b"-ERR unknown command 'PSYNC'\r\n")
        heard.append(talk.hear())
        talk.say(b"$%d\r\n%s" % (len(rdb), rdb) + b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n")
        until_over(talk)

    with FakePrimary(old) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: wire("GET", "x") == b"1", TIMEOUT_S, "snapshot and stream")
        assert heard == [[b"SYNC"]]


def test_getack_is_answered_with_the_offset_before_it(replica: Server, rdb: bytes) -> None:
    heard: list[list[bytes]] = []

    def asks(talk: Conversation) -> None:
        heard.append(talk.hear())
        talk.say(b"*1\r\n$4\r\nping\r\n*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n")
        heard.append(talk.hear())
        until_over(talk)

    with FakePrimary(gives(marked(rdb), asks)) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: len(heard) == 2, TIMEOUT_S, "two acknowledgements")
        assert heard == [[b"REPLCONF", b"ACK", b"1000"], [b"REPLCONF", b"ACK", b"1014"]]


def test_a_silent_primary_is_left(replica: Server, rdb: bytes) -> None:
    with FakePrimary(gives(marked(rdb))) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_connected(wire)
        wait_until(lambda: primary.told == 2, TIMEOUT_S, "another connection")
        replica.wait_for_log("MASTER timeout: no data nor PING received")


def test_promotion_in_mid_transfer_keeps_the_old_data(replica: Server, rdb: bytes) -> None:
    with FakePrimary(gives(marked(rdb)[:2000])) as primary, replica.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: wire("ROLE")[3] == b"sync", TIMEOUT_S, "the snapshot is coming")
        assert wire("REPLICAOF", "NO", "ONE") == "OK"
        assert wire("ROLE")[0] == b"master" and wire("GET", "old") == b"data"
        assert wire("SET", "more", "1") == "OK"


# --- passwords, starts and ends ---------------------------------------------------------------------------------------


def test_the_primarys_password() -> None:
    with node("redis", requirepass="secret") as primary, node("hexad", masterauth="wrong") as replica:
        wire = replica.wire()
        follow(wire, primary.port)
        replica.wait_for_log("Unable to AUTH to MASTER: -WRONGPASS")
        assert wire("CONFIG", "SET", "masterauth", "secret") == "OK"
        wait_connected(wire)


@pytest.mark.parametrize("kinds", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_a_user_of_the_primary_that_may_do_no_more_than_follow(kinds: tuple[str, str]) -> None:
    with node(kinds[0]) as primary, node(kinds[1], masteruser="follower", masterauth="secret") as replica:
        up, down = primary.wire(), replica.wire()
        assert up("ACL", "SETUSER", "follower", "on", ">secret", "+psync", "+replconf", "+ping") == "OK"
        assert up("SET", "a", "1") == "OK"
        follow(down, primary.port)
        wait_connected(down)
        assert up("SET", "b", "1") == "OK"
        wait_until(lambda: down("GET", "b") == b"1" and down("GET", "a") == b"1", TIMEOUT_S, "snapshot and stream")
        assert "user=follower" in str(up("CLIENT", "LIST", "TYPE", "replica"))


@pytest.mark.parametrize("kind", ["redis", "hexad"])
def test_a_restarted_replica_goes_on_where_its_file_ends(kind: str) -> None:
    with node(kind) as primary:
        up = primary.wire()
        with node("hexad", replicaof=["127.0.0.1", str(primary.port)]) as replica:
            wait_connected(replica.wire())
            up("SELECT", 5)
            up("SET", "before", "1")
            wait_until(lambda: offset_of(replica.wire()) == offset_of(up), TIMEOUT_S, "the same offset")
            assert replica.wire()("SAVE") == "OK"
            replica.stop()
            up("SET", "meanwhile", "1")
            replica.start()
            down = replica.wire()
            wait_connected(down)
            up("SET", "after", "1")
            wait_until(lambda: offset_of(down) == offset_of(up), TIMEOUT_S, "the same offset")
            down("SELECT", 5)
            assert [down("GET", key) for key in ("before", "meanwhile", "after")] == [b"1"] * 3
            assert full_syncs(replica) == 1


def test_a_restarted_primary_serves_its_replicas_without_a_copy() -> None:
    with node("hexad", save="3600 1", enable_debug_command="yes") as primary, node("redis") as replica:
        up, down = primary.wire(), replica.wire()
        follow(down, primary.port)
        wait_connected(down)
        assert up("SET", "a", "1") == "OK"
        up("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        assert up("SET", "gone", "1", "PX", "1") == "OK"
        wait_until(lambda: offset_of(up) == offset_of(down), TIMEOUT_S, "the same offset")
        primary.stop()
        primary.start()
        up = primary.wire()
        wait_connected(down)
        assert up("SET", "b", "2") == "OK"
        wait_until(lambda: down("GET", "b") == b"2", TIMEOUT_S, "the stream goes on")
        assert full_syncs(replica) == 1
        assert down("DBSIZE") == 2, "it heard what had expired when the file was loaded"


def test_a_shutdown_waits_for_what_replicas_lack() -> None:
    with node("hexad", shutdown_timeout=10) as primary, node("redis") as replica, Proxy(primary.port) as proxy:
        up, down = primary.wire(), replica.wire()
        follow(down, proxy.port)
        wait_connected(down)
        assert up("SET", "a", "1") == "OK"
        assert up("WAIT", 1, 5000) == 1
        proxy.stop_after_bytes = proxy.passed_bytes
        for number in range(100):
            assert up("SET", f"late:{number}", "x" * 1000) == "OK"
        up.send("SHUTDOWN")
        primary.wait_for_log("Waiting for replicas before shutting down")
        proxy.stop_after_bytes = None
        assert primary.process is not None and primary.process.wait(TIMEOUT_S) == 0
        wait_until(lambda: down("GET", "late:99") == b"x" * 1000, TIMEOUT_S, "all has arrived")
        primary.wait_for_log("1 of 1 replicas are in sync when shutting down")


@pytest.mark.parametrize(("kind", "mode"), [("redis", "WRITE"), ("hexad", "WRITE"), ("hexad", "ALL")])
def test_a_pause_holds_the_stream_back_and_the_link_lives(kind: str, mode: str) -> None:
    """CLIENT PAUSE on a replica: nothing of its primary's stream is run, and a silence of our own is no timeout."""
    with (
        node(kind) as primary,
        node(kind, repl_timeout=2) as replica,
        primary.wire() as writer,
        replica.wire() as reader,
    ):
        follow(reader, primary.port)
        wait_connected(reader)
        reader("CLIENT", "PAUSE", PAUSE_MS, mode)
        for number in range(100):
            writer("SET", f"held:{number}", "x")
        written = offset_of(writer)
        wait_until(
            lambda: offset_of(writer) >= written + 3 * PING_BYTES, TIMEOUT_S, "as long as the replica's patience"
        )
        shown = writer.info("replication")["slave0"]
        acknowledged = int(shown.partition("offset=")[2].partition(",")[0])
        assert acknowledged < written - 99 * len("SET held:1 x"), "none of them has been run"
        wait_until(lambda: reader("DBSIZE") == 100, TIMEOUT_S, "all come when the pause is over")
        assert full_syncs(replica) == 1 and not partial_syncs(replica)
