"""The ways of a full synchronisation: streamed or from a file, loaded as it comes or from the disk."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.replication.support import (
    PAIRS,
    TIMEOUT_S,
    follow,
    full_syncs,
    node,
    offset_of,
    partial_syncs,
    wait_connected,
    wait_same_offset,
)
from tests.node.replication.test_following import Conversation, FakePrimary, gives, marked, until_over
from tests.node.replication.test_requests import FakeReplica
from tests.support import RedisServer, ReplyError, Server, Wire, wait_until

WAYS = [("yes", "disabled"), ("yes", "swapdb"), ("no", "disabled"), ("no", "swapdb"), ("no", "on-empty-db")]
"""(repl-diskless-sync of the primary, repl-diskless-load of the replica)"""


def persisted(server: Server) -> list[str]:
    return sorted(path.name for path in server.directory.glob("*.rdb"))


def fill(wire: Wire, count: int, prefix: str = "key") -> None:
    wire.pipeline([("SET", f"{prefix}:{number}", f"value {number}") for number in range(count)])


@pytest.mark.parametrize("kinds", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_every_way_in_every_direction(kinds: tuple[str, str]) -> None:
    with node(kinds[0], save="3600 1") as primary, node(kinds[1], save="3600 1") as replica:
        up, down = primary.wire(), replica.wire()
        for count, (sync, load) in enumerate(WAYS, 1):
            up("CONFIG", "SET", "repl-diskless-sync", sync)
            down("CONFIG", "SET", "repl-diskless-load", load)
            fill(up, 50, f"way:{count}")
            up("ZADD", f"z:{count}", 1, "a", 2.5, "b")
            down("REPLICAOF", "NO", "ONE")
            if load == "on-empty-db":
                down("FLUSHALL")
            else:
                down("SET", "old", "1")
            follow(down, primary.port)
            wait_connected(down)
            up("SET", "after", count)
            wait_same_offset(up, down)
            assert down("DBSIZE") == up("DBSIZE") and down("GET", "after") == b"%d" % count
            log = (primary.log(), replica.log())
            assert log[0].count("BGSAVE for SYNC with target: disk") == [0, 0, 1, 2, 3][count - 1]
            assert full_syncs(replica) == count
            assert ("to disk" if load == "disabled" else "to parser") in log[1].rpartition("receiving")[2]


# --- the replica's side -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rdb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """3000 keys of genuine Redis."""
    with RedisServer() as server, server.wire() as wire:
        fill(wire, 3000, "new")
        path = tmp_path_factory.mktemp("rdb") / "dump.rdb"
        subprocess.run(["redis-cli", "-p", str(server.port), "--rdb", str(path)], check=True, capture_output=True)
        return Path(path).read_bytes()


@pytest.fixture
def slow_loader() -> Iterator[Server]:
    """It holds one old key, and takes 100 µs for each that it loads."""
    with node("hexad", enable_debug_command="yes", save="3600 1", key_load_delay=100) as running:
        with running.wire() as wire:
            wire("SET", "old", "data")
        yield running


def state(wire: Wire) -> str:
    """What a client sees: the old data, the new, nothing, or that a data set is being loaded."""
    new, old = wire.pipeline([("GET", "new:2999"), ("GET", "old")])
    if isinstance(new, ReplyError):
        assert new.code == "LOADING"
        return "loading"
    return "new" if new else "old" if old else "nothing"


def states(wire: Wire, end: str, go_on: Callable[[], None]) -> list[str]:
    """What is seen one after the other, from before `go_on` until `end`."""
    seen = [state(wire)]
    go_on()

    def look() -> bool:
        now = state(wire)
        if now != seen[-1]:
            seen.append(now)
        return now == end

    wait_until(look, TIMEOUT_S, f"{end} after {seen}")
    return seen


def test_by_way_of_the_disk_old_data_is_served_until_the_file_is_whole(slow_loader: Server, rdb: bytes) -> None:
    release = threading.Event()

    def rest(talk: Conversation) -> None:
        release.wait(TIMEOUT_S)
        talk.say(marked(rdb)[20_000:])
        until_over(talk)

    with FakePrimary(gives(marked(rdb)[:20_000], rest)) as primary, slow_loader.wire() as wire:
        follow(wire, primary.port)
        wait_until(lambda: wire("ROLE")[3] == b"sync", TIMEOUT_S, "the snapshot is coming")
        assert state(wire) == "old" and wire.info("persistence")["loading"] == "0"
        assert states(wire, "new", release.set) == ["old", "loading", "new"]
        assert (slow_loader.directory / "dump.rdb").read_bytes() == rdb and persisted(slow_loader) == ["dump.rdb"]


def test_a_small_data_set_comes_between_two_requests() -> None:
    """What a new replica of an empty cluster is asked for is not refused for a moment: CLUSTER NODES, for example."""
    small = b"REDIS0010\xfe\x00\x00\x08new:2999\x01v\xff" + bytes(8)
    with node("hexad", save="3600 1") as replica, FakePrimary(gives(marked(small))) as primary:
        wire = replica.wire()
        seen = []
        for _ in range(3):  # a busy machine may take longer for it than a slice
            wire("MSET", "new:2999", "", "old", "data")
            seen.append(states(wire, "new", lambda: follow(wire, primary.port)))
            wire("REPLICAOF", "NO", "ONE")
        assert ["old", "new"] in seen
        wait_until(lambda: persisted(replica) == ["dump.rdb"], TIMEOUT_S, "it is the node's file")
        assert (replica.directory / "dump.rdb").read_bytes() == small


@pytest.mark.parametrize("mode", ["swapdb", "on-empty-db"])
def test_clients_are_told_that_data_of_another_history_is_being_loaded(mode: str, rdb: bytes) -> None:
    release = threading.Event()

    def rest(talk: Conversation) -> None:
        release.wait(TIMEOUT_S)
        talk.say(marked(rdb)[20_000:])
        until_over(talk)

    with node("hexad", repl_diskless_load=mode) as replica, FakePrimary(gives(marked(rdb)[:20_000], rest)) as primary:
        wire = replica.wire()
        follow(wire, primary.port)
        wait_until(lambda: state(wire) == "loading", TIMEOUT_S, "it loads")
        fields = wire.info("persistence")
        assert fields["loading"] == "1" and fields["async_loading"] == "0" and "loading_total_bytes" in fields
        assert states(wire, "new", release.set) == ["loading", "new"]


def test_swapdb_serves_the_old_state_of_the_same_history_meanwhile(rdb: bytes) -> None:
    def rest(talk: Conversation) -> None:
        release.wait(TIMEOUT_S)
        talk.say(marked(rdb)[20_000:])
        until_over(talk)

    release = threading.Event()
    small = b"REDIS0010\xfe\x00\x00\x03old\x04data\xff" + bytes(8)  # no checksum
    stories = gives(marked(small), lambda _: None), gives(marked(rdb)[:20_000], rest)
    with node("hexad", repl_diskless_load="swapdb") as replica, FakePrimary(*stories) as primary:
        wire = replica.wire()
        follow(wire, primary.port)
        wait_until(lambda: primary.told == 2 and wire("ROLE")[3] == b"sync", TIMEOUT_S, "the second snapshot")
        wait_until(lambda: wire.info("persistence")["async_loading"] == "1", TIMEOUT_S, "it loads beside")
        fields = wire.info("persistence")
        assert fields["loading"] == "0" and "loading_loaded_bytes" in fields
        assert state(wire) == "old"
        loading = ReplyError("LOADING Redis is loading the dataset in memory")
        assert wire("REPLICAOF", "NO", "ONE") == wire("CONFIG", "SET", "appendonly", "yes") == wire("SAVE") == loading
        assert states(wire, "new", release.set) == ["old", "new"]
        assert wire.info("persistence")["async_loading"] == "0"


def test_killed_while_it_loads_it_goes_on_from_the_file(slow_loader: Server) -> None:
    with node("hexad") as primary:
        up = primary.wire()
        fill(up, 3000, "new")
        with slow_loader.wire() as wire:
            follow(wire, primary.port)
            wait_until(lambda: state(wire) == "loading", TIMEOUT_S, "it loads")
        slow_loader.kill()
        up("SET", "meanwhile", "1")
        slow_loader.options |= {"replicaof": ["127.0.0.1", str(primary.port)], "key_load_delay": 0}
        slow_loader.start()
        down = slow_loader.wire()
        wait_connected(down)
        wait_same_offset(up, down)
        assert down("DBSIZE") == 3001 and partial_syncs(slow_loader) == 1 and full_syncs(slow_loader) == 1


def test_what_cannot_be_loaded_from_disk_leaves_nothing_and_is_asked_for_again(rdb: bytes) -> None:
    other = b"REDIS0010\xfe\x70\x00\x01a\x01b\xff" + bytes(8)  # a database that we do not have
    with node("hexad") as replica, FakePrimary(gives(marked(other)), gives(marked(rdb))) as primary:
        wire = replica.wire()
        wire("SET", "old", "data")
        follow(wire, primary.port)
        wait_connected(wire)
        assert wire("DBSIZE") == 3000 and full_syncs(replica) == 2
        replica.wait_for_log("Failed trying to load the MASTER synchronization DB from disk: ")


def test_a_running_save_gives_way_to_the_primarys_file() -> None:
    with node("hexad") as primary, node("hexad", rdb_key_save_delay=10_000) as replica:
        up, down = primary.wire(), replica.wire()
        fill(up, 10, "new")
        fill(down, 1000, "old")
        assert down("BGSAVE")
        follow(down, primary.port)
        wait_connected(down)
        replica.wait_for_log("Background saving terminated by signal 10")
        assert down("DBSIZE") == 10 and down.info("persistence")["rdb_bgsave_in_progress"] == "0"
        replica.kill()
        replica.start()
        assert replica.wire()("DBSIZE") == 10


# --- the primary's side -----------------------------------------------------------------------------------------------


def test_who_comes_while_the_file_is_written_shares_it() -> None:
    options = {"repl_diskless_sync": "no", "rdb_key_save_delay": 1000}
    with node("hexad", **options) as server, server.wire() as wire:
        fill(wire, 500)
        first, second, third = (FakeReplica(server) for _ in range(3))
        place = first.ask("PSYNC", "?", -1)
        wire("SET", "later", "1")
        assert second.ask("PSYNC", "?", -1) == place
        assert wire.info("replication")["slave1"].find("state=wait_bgsave") > 0
        wire("CONFIG", "SET", "rdb-key-save-delay", 0)
        snapshots = [first.snapshot(), second.snapshot()]
        assert snapshots[0] == snapshots[1] == (server.directory / "dump.rdb").read_bytes()
        for replica in (first, second):
            assert b"later" in replica.take(60)
        assert server.log().count("Starting BGSAVE for SYNC") == 1
        assert third.ask("PSYNC", "?", -1) != place
        assert b"later" in third.snapshot()


def test_what_is_streamed_is_told_as_a_save_and_ends_with_the_last_who_wants_it() -> None:
    with node("hexad", rdb_key_save_delay=60_000_000) as primary, primary.wire() as up:
        up("SET", "k", "v")
        with primary.wire() as down:
            down("REPLCONF", "capa", "eof")
            down.send("PSYNC", "?", "-1")
            wait_until(lambda: up.info("persistence")["current_save_keys_processed"] == "1", TIMEOUT_S, "it is sent")
            assert up.info("persistence")["rdb_bgsave_in_progress"] == "1"
            assert "state=wait_bgsave" in up.info("replication")["slave0"]
        wait_until(lambda: up.info("persistence")["rdb_bgsave_in_progress"] == "0", TIMEOUT_S, "it is given up")
        assert "Diskless rdb transfer, last replica dropped" in primary.log()


@pytest.mark.parametrize("save", ["", "3600 1"])
def test_a_save_goes_on_without_replicas_only_where_files_are_wanted(save: str) -> None:
    options = {"repl_diskless_sync": "no", "rdb_key_save_delay": 60_000_000, "save": save}
    with node("hexad", **options) as primary, primary.wire() as up:
        up("SET", "k", "v")
        with primary.wire() as down:
            down.send("PSYNC", "?", "-1")
            wait_until(lambda: up.info("persistence")["rdb_bgsave_in_progress"] == "1", TIMEOUT_S, "it is saved")
        primary.wait_for_log("Connection with replica .* lost")
        assert up.info("persistence")["rdb_bgsave_in_progress"] == ("1" if save else "0")
        up("CONFIG", "SET", "rdb-key-save-delay", "0")


def test_a_save_that_runs_already_is_waited_for() -> None:
    options = {"repl_diskless_sync": "no", "rdb_key_save_delay": 1000}
    with node("hexad", **options) as server, server.wire() as wire:
        fill(wire, 300)
        wire("BGSAVE")
        wire("SET", "later", "1")
        replica = FakeReplica(server)
        replica.wire.send("PSYNC", "?", -1)
        server.wait_for_log("BGSAVE for replication delayed")
        wire("CONFIG", "SET", "rdb-key-save-delay", 0)
        assert replica.line().startswith("+FULLRESYNC") and b"later" in replica.snapshot()


def test_a_save_that_is_called_off_or_fails_lets_its_replicas_go() -> None:
    options = {"repl_diskless_sync": "no", "rdb_key_save_delay": 10_000}
    with node("hexad", **options) as server, server.wire() as wire:
        fill(wire, 300)
        replica = FakeReplica(server)
        assert replica.ask("PSYNC", "?", -1).startswith("+FULLRESYNC")
        wire("FLUSHALL")
        server.wait_for_log("SYNC failed. BGSAVE child returned an error")
        assert replica.wire.is_closed()
        wire("CONFIG", "SET", "rdb-key-save-delay", 0)
        again = FakeReplica(server)
        assert again.ask("PSYNC", "?", -1).startswith("+FULLRESYNC") and again.snapshot()


@pytest.mark.parametrize("kinds", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_files_of_a_synchronisation_go_where_nothing_is_to_be_saved(kinds: tuple[str, str]) -> None:
    options = {"rdb_del_sync_files": "yes", "repl_diskless_sync": "no"}
    with node(kinds[0], **options) as primary, node(kinds[1], **options) as replica:
        up, down = primary.wire(), replica.wire()
        fill(up, 10)
        follow(down, primary.port)
        wait_connected(down)
        for server in (primary, replica):
            wait_until(lambda server=server: persisted(server) == [], TIMEOUT_S, "no file is left")
        assert down("DBSIZE") == 10 and offset_of(down)
