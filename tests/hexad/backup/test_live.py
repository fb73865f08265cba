"""Backups of live clusters and servers, ours and genuine ones, and the way back into other shapes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from hexad.backup import restoring, taking
from hexad.backup.folder import LOCK, Folder
from hexad.backup.program import STATE_NAME
from hexad.backup.reading import entries, sources_of
from hexad.backup.sending import Sender, Target
from hexad.backup.taking import Backup, Source
from node.platform import Platform
from tests.hexad.backup.support import DEBUG, LIBRARY, Heard, Shards, fill, run
from tests.support import HexadServer, RedisServer, Server, free_port, wait_until
from tests.support.certificates import Authority
from tests.support.cluster import LocalCluster
from tests.support.servers import ROOT
from tests.support.wire import Wire

KEYS = 3500
"""More than three batches of a file."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(HexadServer, nodes=3, replicas=0, **DEBUG) as made:
        yield made


@pytest.fixture
def shards(cluster: LocalCluster) -> Iterator[Shards]:
    """The cluster, empty."""
    found = Shards(cluster.nodes)
    found.clear()
    with contextlib.closing(found):
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[HexadServer]:
    with HexadServer(**DEBUG) as made:
        yield made


@pytest.fixture
def one(server: HexadServer) -> Iterator[tuple[HexadServer, Shards]]:
    """A server without a cluster, empty."""
    with contextlib.closing(Shards([server])) as found:
        found.clear()
        yield server, found


def rewrite_keys(shards: Shards, count: int) -> None:
    for wire in shards.wires:
        keys = [f"k:{n}" for n in range(count) if shards.of(f"k:{n}") is wire]
        assert wire.pipeline([("SET", key, key) for key in keys]) == ["OK"] * len(keys)


# ---- there and back ------------------------------------------------------------------------------------------------


def test_three_shards_into_one_server_and_back(
    cluster: LocalCluster, shards: Shards, one: tuple[HexadServer, Shards], tmp_path: Path
) -> None:
    fill(shards)
    before = shards.all()
    made = run("backup", tmp_path / "b", "--json", at=cluster.nodes[0])
    assert made.code == 0, made
    told = json.loads(made.out)
    assert told == json.loads((tmp_path / "b/manifest.json").read_text())
    assert sum(shard["keys"] for shard in told["shards"]) == len(before)
    assert sorted(os.listdir(tmp_path / "b")) == ["manifest.json", *(f"shard-{n}.rdb" for n in (1, 2, 3))]
    server, alone = one
    there = run("restore", tmp_path / "b", at=server)
    assert there.code == 0 and f"{len(before)} keys restored into 1 primaries" in there.out, there
    assert alone.all() == before
    assert alone.wires[0]("FCALL", "mine", 0) == 7
    assert alone.wires[0]("XPENDING", "stream", "group")[0] == 7

    again = run("backup", tmp_path / "c", at=server)
    assert again.code == 0, again
    shards.clear()
    back = run("restore", tmp_path / "c", "--json", at=cluster.nodes[2])
    assert back.code == 0, back
    assert json.loads(back.out) | {"restored": 0} == {
        "restored": 0, "there": 0, "expired": 0, "strays": 0, "functions": 1, "primaries": 3,
    }  # fmt: skip
    assert shards.all() == before
    assert not (tmp_path / "c" / STATE_NAME).exists()


def test_a_genuine_server_and_ours_in_both_directions(redis_server: Any, hexad_server: Any, tmp_path: Path) -> None:
    """The genuine one has saved its file by itself: what is restored needs no manifest."""
    theirs, ours = redis_server(**DEBUG), hexad_server(**DEBUG)
    with contextlib.closing(Shards([theirs])) as there, contextlib.closing(Shards([ours])) as here:
        fill(there, genuine=True)
        there.wires[0]("SELECT", 9)
        there.wires[0]("SET", "elsewhere", "9")
        assert there.wires[0]("SAVE") == "OK"
        there.wires[0]("SELECT", 0)
        file = theirs.directory / "dump.rdb"
        done = run("restore", file, "--state", tmp_path / "state", at=ours)
        assert done.code == 0, done
        assert here.all() == there.all()
        assert here.wires[0]("SELECT", 9) == "OK" and here.wires[0]("GET", "elsewhere") == b"9"
        here.wires[0]("SELECT", 0)

        assert run("backup", tmp_path / "b", at=ours).code == 0
        there.clear()
        done = run("restore", tmp_path / "b", at=theirs)
        assert done.code == 0, done
        assert here.all() == there.all()
        assert there.wires[0]("FCALL", "mine", 0) == 7


@pytest.fixture(scope="module")
def genuine() -> Iterator[LocalCluster]:
    """With the delay that a Redis waits for further replicas: its writers must not wait for that."""
    with LocalCluster(RedisServer, nodes=3, replicas=0, repl_diskless_sync_delay=30, **DEBUG) as made:
        yield made


@pytest.mark.long
def test_a_genuine_cluster_into_ours(
    genuine: LocalCluster, cluster: LocalCluster, shards: Shards, tmp_path: Path
) -> None:
    with contextlib.closing(Shards(genuine.nodes)) as there:
        there.clear()
        fill(there, genuine=True)
        made = run("backup", tmp_path / "b", "--json", at=genuine.nodes[0])
        assert made.code == 0, made
        assert run("restore", tmp_path / "b", at=cluster.nodes[0]).code == 0
        assert shards.all() == there.all()


# ---- one moment ----------------------------------------------------------------------------------------------------


class Chain(threading.Thread):
    """Writes key after key, each on the next shard, and only when the one before it was answered."""

    def __init__(self, servers: list[Server], name: str) -> None:
        super().__init__(daemon=True)
        self.shards = Shards(servers)
        self.name_in_keys = name
        self.written = 0
        self.ends = threading.Event()
        # Tags that lie on the shards in turn, so that each write is somewhere else than the one before.
        tags: dict[int, str] = {}
        for number in itertools.count():
            tags.setdefault(id(self.shards.of(f"{{{number}}}")), str(number))
            if len(tags) == len(servers):
                break
        self.tags = list(tags.values())

    def run(self) -> None:
        while not self.ends.is_set():
            key = f"{self.name_in_keys}:{{{self.tags[self.written % len(self.tags)]}}}:{self.written}"
            assert self.shards("SET", key, 1) == "OK"
            self.written += 1


def numbers_in(directory: Path, name: str) -> list[int]:
    """What of a chain is in a backup."""
    platform = Platform()
    keys = [e.key for s in sources_of(platform, [str(directory)]) for batch, _ in entries(platform, s) for e in batch]
    return sorted(int(key.rpartition(b":")[2]) for key in keys if key.startswith(name.encode() + b":"))


def chained_backups(servers: list[Server], directory: Path, patch: pytest.MonkeyPatch, rounds: int = 3) -> None:
    """Backups while the chains write. Each node hears of the pause, and begins its snapshot, later than the one
    before it: were there no pause, or did one end too early, each round would show it."""

    def later(step: Any) -> Any:
        async def late(self: Backup, source: Source) -> None:
            await trio.sleep(0.1 * int(source.file[6:-4]))
            await step(self, source)

        return late

    patch.setattr(Backup, "_pause", later(Backup._pause))
    patch.setattr(Backup, "_begin_snapshot", later(Backup._begin_snapshot))
    chains = [Chain(servers, f"chain{number}") for number in range(4)]
    for chain in chains:
        chain.start()
    try:
        for number in range(rounds):
            before = [chain.written for chain in chains]
            for chain, written in zip(chains, before, strict=True):
                wait_until(lambda: chain.written > written + 10, 20, "writes go on")  # noqa: B023
            before = [chain.written for chain in chains]
            made = run("backup", directory / str(number), at=servers[0])
            assert made.code == 0, made
            for chain, written in zip(chains, before, strict=True):
                found = numbers_in(directory / str(number), chain.name_in_keys)
                assert found == list(range(len(found))), "a write is missing that another one followed"
                assert len(found) >= written
    finally:
        for chain in chains:
            chain.ends.set()
        for chain in chains:
            chain.join(20)
            chain.shards.close()


def test_no_write_is_there_without_the_one_that_it_followed(
    cluster: LocalCluster, shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chained_backups(list(cluster.nodes), tmp_path, monkeypatch)


@pytest.mark.long
def test_the_same_of_genuine_nodes(genuine: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chained_backups(list(genuine.nodes), tmp_path, monkeypatch)


# ---- another attempt -----------------------------------------------------------------------------------------------


def once(patch: pytest.MonkeyPatch, step: str, instead: Any) -> None:
    """The first call of a step does something else."""
    usual = getattr(Backup, step)
    calls = itertools.count()

    async def stepped(self: Backup, source: Any) -> None:
        await (usual if next(calls) else instead)(self, source)

    patch.setattr(Backup, step, stepped)


def test_a_pause_that_may_be_over_is_made_anew(
    one: tuple[HexadServer, Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_self: Backup, _source: Source) -> None:
        await trio.sleep(1)

    server, alone = one
    alone("SET", "key", 1)
    monkeypatch.setattr(taking, "ATTEMPT_WAIT_S", 0)
    once(monkeypatch, "_begin_snapshot", slow)
    made = run("backup", tmp_path / "b", "--pause-ms", "500", at=server)
    assert made.code == 0 and "no snapshot of" in made.out, made
    monkeypatch.setattr(Backup, "_begin_snapshot", slow)
    monkeypatch.setattr(taking, "ATTEMPTS_MAX", 2)
    assert "given up after 2 attempts" in run("backup", tmp_path / "c", "--pause-ms", "500", at=server).err
    assert alone("SET", "key", 2) == "OK" and os.listdir(tmp_path / "c") == []


def give(slot: int, target: Wire, source: Wire) -> None:
    """A slot changes hands. The epoch is raised: a claim with the lower one of the two loses at the third node."""
    for wire in (target, source):
        assert wire("CLUSTER", "SETSLOT", slot, "NODE", target("CLUSTER", "MYID")) == "OK"
    target("CLUSTER", "BUMPEPOCH")


def test_slots_that_move_meanwhile_are_no_backup(
    cluster: LocalCluster, shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_keys(shards, 50)
    source, target = shards.owner[0], shards.owner[16383]
    taken = next(
        n for n, wire in enumerate(shards.owner) if wire is source and not source("CLUSTER", "COUNTKEYSINSLOT", n)
    )
    moves = iter([taken])

    def move() -> None:
        for slot in moves:
            give(slot, target, source)

    before("_check_unchanged", monkeypatch, move)
    made = run("backup", tmp_path / "b", at=cluster.nodes[0])
    try:
        assert made.code == 0 and "has other slots" in made.out, made
        told = json.loads((tmp_path / "b/manifest.json").read_text())
        assert [taken, taken] in [span for shard in told["shards"] for span in shard["slots"]]
    finally:
        give(taken, source, target)
        cluster.wait_until_agreed()


@pytest.mark.long
def test_a_snapshot_that_had_begun_for_another_replica_is_too_old(
    redis_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis lets us share its child's file, which knows nothing of what was written since."""

    async def at_once(_self: Backup, _source: Source) -> None:
        pass

    server = redis_server(rdb_key_save_delay=20_000)
    with contextlib.closing(Shards([server])) as alone, server.wire() as replica:
        rewrite_keys(alone, 100)
        replica.send("SYNC")
        wire = alone.wires[0]
        wait_until(lambda: wire.info("persistence")["rdb_bgsave_in_progress"] == "1", 20, "the child has begun")
        assert wire("SET", "since", 1) == "OK"
        once(monkeypatch, "_until_idle", at_once)
        made = run("backup", tmp_path / "b", at=server)
        assert made.code == 0 and "had begun before the pause" in made.out, made
        assert b"since" in (tmp_path / "b/shard-1.rdb").read_bytes()


# ---- what is cut short ---------------------------------------------------------------------------------------------


class Failing(Heard):
    """Its n-th call that changes files fails."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.calls, self.fails_at = 0, fails_at

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(28, "No space left on device")

    def open_write(self, path: str) -> Any:
        self._count()
        return super().open_write(path)

    def fsync(self, file: Any) -> None:
        self._count()
        super().fsync(file)

    def replace(self, old: str, new: str) -> None:
        self._count()
        super().replace(old, new)

    def fsync_directory(self, path: str) -> None:
        self._count()
        super().fsync_directory(path)

    def replace_file(self, path: str, data: bytes, *, durable: bool = True) -> None:
        self._count()
        super().replace_file(path, data, durable=durable)


def test_a_backup_that_fails_anywhere_looks_whole_nowhere(one: tuple[HexadServer, Shards], tmp_path: Path) -> None:
    server, alone = one
    rewrite_keys(alone, 20)
    directory = tmp_path / "b"
    for fails_at in itertools.count(1):
        platform = Failing(fails_at)
        made = run("backup", directory, at=server, platform=platform)
        assert alone("SET", "written", fails_at) == "OK", "writers go on"
        if made.code == 0:
            break
        assert "No space left" in made.err
        assert os.listdir(directory) == []
        assert run("restore", directory, "--flush", at=server).code == 1
    assert fails_at > 5
    assert not (directory / LOCK).exists()
    assert "holds a backup already" in run("backup", directory, at=server).err
    assert sorted(os.listdir(directory)) == ["manifest.json", "shard-1.rdb"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_backup_that_is_killed_is_made_by_the_next_call(
    one: tuple[HexadServer, Shards], tmp_path: Path, how: int
) -> None:
    """While the file comes: a delay after each key makes that take long."""
    server, alone = one
    rewrite_keys(alone, KEYS)
    wire = alone.wires[0]
    assert wire("CONFIG", "SET", "rdb-key-save-delay", "2000") == "OK"
    directory = tmp_path / "b"
    words = [sys.executable, "-m", "hexad", "cluster", "backup", directory, "--node", f"127.0.0.1:{server.port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: (directory / "shard-1.rdb.tmp").exists(), 20, "the file has begun")
        assert process.poll() is None
        process.send_signal(how)
        _, said = process.communicate(timeout=20)
    assert process.returncode == (1 if how == signal.SIGTERM else -how)
    assert how == signal.SIGKILL or b"cut short" in said
    assert not (directory / "manifest.json").exists()
    assert wire("SET", "new", 1) == "OK" and wire("CONFIG", "SET", "rdb-key-save-delay", "0") == "OK"
    if how == signal.SIGKILL:
        (directory / "shard-2.rdb").write_bytes(b"REDIS")  # as of a shard that was ready
        assert "a part of a backup" in run("restore", directory, "--flush", at=server).err
    assert run("backup", directory, at=server).code == 0
    assert sorted(os.listdir(directory)) == ["manifest.json", "shard-1.rdb"]


CRASH_POINTS = ("_open", "_until_idle", "_introduce", "_pause", "_begin_snapshot", "_take_file", "_check_unchanged")
"""Before each of these steps of a backup somebody dies."""
PAUSE_MS = 2000


@pytest.fixture(scope="module")
def doomed() -> Iterator[LocalCluster]:
    with LocalCluster(HexadServer, nodes=3, replicas=0, cluster_require_full_coverage="no") as made:
        yield made


def before(point: str, patch: pytest.MonkeyPatch, then: Any) -> None:
    """Have `then` called before the step begins for the second primary."""
    step = getattr(Backup, point)

    async def stepped(self: Backup, what: Any, *more: Any) -> Any:
        if point == "_check_unchanged" or "shard-2.rdb" in (*more, getattr(what, "file", "")):
            then()
        return await step(self, what, *more)

    patch.setattr(Backup, point, stepped)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=pytest.mark.long if point in ("_pause", "_take_file") else pytest.mark.proof)
        for point in CRASH_POINTS
    ],
)
def test_a_primary_dies_at_any_step(
    doomed: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """There is no backup, and no other primary's writers wait longer than a pause."""
    shards = Shards(doomed.nodes)
    victim = doomed.nodes[sorted(range(3), key=lambda n: shards.owner.index(shards.wires[n]))[1]]
    survivors = [wire for node, wire in zip(doomed.nodes, shards.wires, strict=True) if node is not victim]
    before(point, monkeypatch, victim.kill)
    try:
        made = run("backup", tmp_path / "b", "--pause-ms", str(PAUSE_MS), at=doomed.nodes[0])
        assert made.code == 1 and f":{victim.port}" in made.err, made
        assert os.listdir(tmp_path / "b") == []
        for wire in survivors:
            key = next(f"x:{n}" for n in range(1000) if shards.of(f"x:{n}") is wire)
            assert wire("SET", key, 1) == "OK"
    finally:
        shards.close()
        victim.start()
        doomed.wait_until_whole()


@pytest.mark.long
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_the_backup_dies_at_any_step(
    doomed: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """As by kill -9: it tells no node that the pause is over. The next one is made nevertheless."""

    async def nothing(_self: Backup, _source: Source) -> None:
        pass

    def die() -> None:
        raise ConnectionError("dead")

    with monkeypatch.context() as patch:
        patch.setattr(Backup, "_unpause", nothing)
        patch.setattr(Folder, "clear", lambda _folder: None)
        before(point, patch, die)
        assert "dead" in run("backup", tmp_path / "b", "--pause-ms", str(PAUSE_MS), at=doomed.nodes[0]).err
    assert not (tmp_path / "b/manifest.json").exists()
    with contextlib.closing(Shards(doomed.nodes)) as shards:
        for number in range(10):
            assert shards("SET", f"x:{number}", 1) == "OK"
        assert run("backup", tmp_path / "b", at=doomed.nodes[0]).code == 0


@pytest.mark.long
def test_by_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    ours = ca.issue("ours")
    port = free_port()
    with HexadServer(tls_port=port, **ours.options(ca)) as server, server.wire() as wire:
        assert wire("SET", "key", "value") == "OK"
        tls = ours.words(ca)
        assert run("backup", tmp_path / "b", *tls, at=port).code == 0
        assert "certificate" in run("backup", tmp_path / "c", "--tls", at=port).err
        assert run("restore", tmp_path / "b", "--flush", *tls, at=port).code == 0
        assert wire("GET", "key") == b"value"


# ---- restore -------------------------------------------------------------------------------------------------------


@pytest.fixture
def backup(one: tuple[HexadServer, Shards], tmp_path: Path) -> Path:
    """A backup of KEYS keys of one server."""
    server, alone = one
    rewrite_keys(alone, KEYS)
    assert run("backup", tmp_path / "b", at=server).code == 0
    return tmp_path / "b"


def test_a_target_with_keys_is_left_alone_or_overwritten_or_emptied(
    one: tuple[HexadServer, Shards], backup: Path
) -> None:
    server, alone = one
    alone("SET", "k:1", "changed")
    alone("SET", "stranger", "1")
    refused = run("restore", backup, at=server)
    assert refused.code == 1 and "--replace" in refused.err and alone("GET", "k:1") == b"changed"
    assert run("restore", backup, "--replace", at=server).code == 0
    assert alone("GET", "k:1") == b"k:1" and alone.size() == KEYS + 1
    assert run("restore", backup, "--flush", at=server).code == 0
    assert alone.size() == KEYS
    assert run("restore", backup, "--flush", "--replace", at=server).code == 2


@pytest.mark.parametrize("lost", [False, True], ids=["", "target lost"])
@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_restore_that_was_cut_short_goes_on(
    one: tuple[HexadServer, Shards], backup: Path, monkeypatch: pytest.MonkeyPatch, batches: int, lost: bool
) -> None:
    server, alone = one
    alone.clear()
    monkeypatch.setattr(restoring, "STATE_MS", 0)
    sent = Sender.send
    done = 0

    async def send(self: Sender, batch: Any) -> None:
        nonlocal done
        if done == batches:
            await sent(self, batch[: len(batch) // 2])
            raise ConnectionError("cut")
        done += 1
        await sent(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", send)
        assert "cut" in run("restore", backup, at=server).err
    assert 0 < alone.size() < KEYS
    if lost:
        alone.clear()
    done_now = run("restore", backup, "--json", at=server)
    assert done_now.code == 0, done_now
    assert alone.size() == KEYS and alone("GET", f"k:{KEYS - 1}") == f"k:{KEYS - 1}".encode()
    assert json.loads(done_now.out)["there"] == (0 if lost else batches * 1000)
    assert os.listdir(backup).count(STATE_NAME) == 0


def test_a_target_that_loses_its_data_meanwhile_gets_all_of_it(
    backup: Path, hexad_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hexad_server(**DEBUG)
    sent = Sender.send
    batches = itertools.count()

    async def send(self: Sender, batch: Any) -> None:
        if next(batches) == 2:
            server.kill()
            server.start()
        await sent(self, batch)

    monkeypatch.setattr(Sender, "send", send)
    done = run("restore", backup, "--json", at=server)
    assert done.code == 0, done
    with server.wire() as wire:
        assert wire("DBSIZE") == KEYS
    assert json.loads(done.out)["restored"] == KEYS


def test_a_state_of_another_target_is_not_gone_on_with(one: tuple[HexadServer, Shards], backup: Path) -> None:
    server, alone = one
    alone.clear()
    (backup / STATE_NAME).write_text('{"target": ["127.0.0.1:1"], "files": {}}')
    assert "another target" in run("restore", backup, at=server).err
    (backup / STATE_NAME).write_text("{")
    assert "is damaged" in run("restore", backup, at=server).err
    assert alone.size() == 0


def test_keys_follow_slots_that_have_moved(
    cluster: LocalCluster, shards: Shards, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch goes by a layout that holds no more: every answer is MOVED."""
    looked = Target.look
    looks = 0

    async def look(self: Target) -> None:
        nonlocal looks
        await looked(self)
        looks += 1
        if looks == 1:
            first, second, third = self.layout.primaries
            turned = {first: second, second: third, third: first}
            self._owners = {slot: turned[owner] for slot, owner in self._owners.items()}

    monkeypatch.setattr(Target, "look", look)
    done = run("restore", backup, at=cluster.nodes[0])
    assert done.code == 0 and looks > 1, done
    assert shards.size() == KEYS and shards("GET", "k:7") == b"k:7"


def test_what_cannot_end_well_is_refused_before_anything_is_changed(
    cluster: LocalCluster, shards: Shards, one: tuple[HexadServer, Shards], tmp_path: Path
) -> None:
    server, alone = one
    alone("SET", "a", 1)
    alone.wires[0]("SELECT", 3)
    alone.wires[0]("SET", "b", 1)
    assert run("backup", tmp_path / "b", at=server).code == 0
    assert "database 3" in run("restore", tmp_path / "b", at=cluster.nodes[0]).err
    file = tmp_path / "b/shard-1.rdb"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for flush in ([], ["--flush"]):
        assert "is damaged" in run("restore", tmp_path / "b", *flush, at=server).err
    (tmp_path / "b/manifest.json").unlink()
    assert "shard-1.rdb" in run("restore", tmp_path / "b", "--flush", at=server).err
    file.write_bytes(data[:-5])
    assert "Short read" in run("restore", file, "--flush", at=server).err
    assert alone.wires[0]("GET", "b") == b"1" and shards.size() == 0
    assert "neither" in run("restore", tmp_path, at=server).err
    assert run("restore", tmp_path / "nothing", at=server).code == 1
    assert "127.0.0.1:1: " in run("backup", tmp_path / "c", at=1).err


def test_a_key_in_two_files_is_told(one: tuple[HexadServer, Shards], backup: Path) -> None:
    server, alone = one
    alone.clear()
    shutil.copy(backup / "shard-1.rdb", backup / "shard-2.rdb")
    (backup / "manifest.json").unlink()
    assert "in two files" in run("restore", backup, at=server).err
    (backup / STATE_NAME).unlink()
    assert run("restore", backup, "--replace", at=server).code == 0 and alone.size() == KEYS


def test_keys_of_slots_that_were_another_shards_stay_behind(
    cluster: LocalCluster, shards: Shards, one: tuple[HexadServer, Shards], tmp_path: Path
) -> None:
    """As a move leaves them that stopped between its two halves."""
    rewrite_keys(shards, 50)
    assert run("backup", tmp_path / "b", at=cluster.nodes[0]).code == 0
    manifest = json.loads((tmp_path / "b/manifest.json").read_text())
    first = manifest["shards"][0]
    first["slots"] = [[0, 100]]
    (tmp_path / "b/manifest.json").write_text(json.dumps(manifest))
    server, alone = one
    done = json.loads(run("restore", tmp_path / "b", "--json", at=server).out)
    assert done["restored"] + done["strays"] == 50 and 0 < done["strays"] == first["keys"] - (
        alone.size() - sum(shard["keys"] for shard in manifest["shards"][1:])
    )


def test_a_password_is_said_to_every_node(hexad_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = hexad_server(requirepass="secret")
    assert "NOAUTH" in run("backup", tmp_path / "b", at=server).err
    monkeypatch.setenv("REDISCLI_AUTH", "secret")
    assert run("backup", tmp_path / "b", at=server).code == 0
    assert run("restore", tmp_path / "b", at=server).code == 0


def test_another_backup_keeps_out_and_strange_directories_too(one: tuple[HexadServer, Shards], tmp_path: Path) -> None:
    server, _ = one
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in run("backup", tmp_path, at=server).err
    directory = tmp_path / "b"
    directory.mkdir()
    with Platform().lock_file(str(directory / LOCK)):
        assert "another backup" in run("backup", directory, at=server).err


def test_libraries_that_are_there_are_not_overwritten(one: tuple[HexadServer, Shards], tmp_path: Path) -> None:
    server, alone = one
    wire = alone.wires[0]
    assert wire("FUNCTION", "LOAD", LIBRARY) == b"mine" and alone("SET", "text", 1) == "OK"
    assert run("backup", tmp_path / "b", at=server).code == 0
    alone("DEL", "text")
    assert run("restore", tmp_path / "b", at=server).code == 0
    alone.clear()
    assert wire("FUNCTION", "LOAD", LIBRARY.replace("7", "8")) == b"mine"
    assert "FUNCTION LOAD" in run("restore", tmp_path / "b", at=server).err
    (tmp_path / "b" / STATE_NAME).unlink()
    assert run("restore", tmp_path / "b", "--replace", at=server).code == 0
    assert wire("FCALL", "mine", 0) == 7
    assert wire("GET", "text") == b"1"
