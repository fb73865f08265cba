"""`hexad up` from outside: real processes, a real terminal, real clients."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis.cluster import RedisCluster

from tests.hexad.running import HEXAD, Up, command_line, free_ports, run_up
from tests.support import Wire, free_port, wait_until


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_cluster_its_data_and_its_return(tmp_path: Path) -> None:
    port = free_ports(6)
    with Up("--port", port, "--dir", tmp_path / "data") as up:
        up.wait_for(r"is ready")
        for at, slots in enumerate(["0-5460", "5461-10922", "10923-16383"]):
            up.wait_for(rf"node {port + at} \(pid \d+\): primary of slots {slots}\n")
            up.wait_for(rf"node {port + 3 + at} \(pid \d+\): replica of {port + at}\n")
        up.wait_for("cluster_state:ok")
        client = RedisCluster(host="127.0.0.1", port=port)
        for n in range(300):
            client.set(f"key:{n}", n)
        client.close()
        pids = [up.pid_of(port + at) for at in range(6)]
        assert up.stop() == 0
        assert up.output.endswith("Stopped.\n")
        assert all(map(is_gone, pids))
        assert up.output.index("Stopping: ") < up.output.index(f"Stopping: {port}")  # replicas first
    ids = [next((tmp_path / "data" / str(port + n)).glob("nodes.conf")).read_text() for n in range(6)]
    with Up("--dir", tmp_path / "data") as up:  # port and size are remembered
        up.wait_for("is ready")
        assert "assigning" not in up.output and "introducing" not in up.output and "replicas of 3" not in up.output
        client = RedisCluster(host="127.0.0.1", port=port)
        assert all(client.get(f"key:{n}") == b"%d" % n for n in range(300))
        client.close()
        assert up.stop(signal.SIGTERM) == 0
    for at, text in enumerate(ids):
        mine = re.search(r"(\w+) \S+ myself", text)
        assert mine and mine[1] in (tmp_path / "data" / str(port + at) / "nodes.conf").read_text()


def test_a_node_that_dies_is_shown_and_returns_as_a_replica(tmp_path: Path) -> None:
    port = free_ports(6)
    words = ("--port", port, "--dir", tmp_path, "--node-timeout-ms", 1000)
    with Up(*words) as up:
        up.wait_for("is ready")
        os.kill(up.pid_of(port), signal.SIGKILL)
        shown = up.wait_for(rf"node {port} \(pid \d+\): down \(killed by SIGKILL\)\n((?:    .*\n)+)")
        assert "Cluster state changed: ok" in shown[1] or len(shown[1].splitlines()) == 5
        up.wait_for(rf"node {port + 3} \(pid \d+\): primary of slots 0-5460")
        assert up.stop() == 1
        assert up.output.endswith("Stopped; not every node ended well by itself.\n")
    with Up("--dir", tmp_path, "--node-timeout-ms", 1000) as up:
        up.wait_for("is ready")
        up.wait_for(rf"node {port} \(pid \d+\): replica of {port + 3}\n")
        up.wait_for(rf"node {port + 3} \(pid \d+\): primary of slots 0-5460\n")
        assert up.stop() == 0


@pytest.mark.long
def test_a_start_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    port = free_ports(6)
    with Up("--port", port, "--dir", tmp_path) as up:
        up.wait_for("introducing")
        assert up.stop() == 0, up.output
        assert "is ready" not in up.output
    with Up("--dir", tmp_path) as up:
        up.wait_for(rf"node {port + 5} \(pid \d+\): replica of {port + 2}\n")
        assert up.stop() == 0, up.output


@pytest.mark.long
def test_a_lost_directory_is_filled_again(tmp_path: Path) -> None:
    """A primary that came back empty at its old address would make its replicas drop the only copy."""
    port = free_ports(6)
    words = ("--dir", tmp_path, "--node-timeout-ms", 1000)
    with Up("--port", port, *words) as up:
        up.wait_for("is ready")
        with Wire(port) as wire:
            assert wire("SET", "a{3}", "survives") == "OK"  # of slot 1584
            assert wire("WAIT", 1, 5000) == 1
        assert up.stop() == 0
    for path in (tmp_path / str(port)).iterdir():
        path.unlink()
    with Up(*words) as up:
        up.wait_for("is ready")
        up.wait_for(rf"node {port} \(pid \d+\): replica of {port + 3}\n")
        with Wire(port) as wire:
            assert len(wire("CLUSTER", "NODES").splitlines()) == 6
        with Wire(port + 3) as wire:
            assert wire("GET", "a{3}") == b"survives"
        assert up.stop() == 0


def test_standalone(tmp_path: Path) -> None:
    port = free_ports(1)
    words = ("--topology", "standalone", "--port", port, "--dir", tmp_path)
    with Up(*words) as up:
        up.wait_for(rf"standalone at 127.0.0.1:{port} is ready")
        up.wait_for(rf"node {port} \(pid \d+\): primary\n")
        with Wire(port) as wire:
            assert wire("SET", "k", "v") == "OK"
        assert up.stop() == 0


def test_a_proxy_in_front(tmp_path: Path) -> None:
    port, proxy_port = free_ports(3), free_port()
    words = ("--nodes", 3, "--replicas", 0, "--port", port, "--dir", tmp_path, "--proxy", proxy_port)
    with Up(*words, "--", "--requirepass", "secret") as up:
        up.wait_for("One Redis in front of it")
        with Wire(proxy_port, password="secret") as wire:
            assert wire("MSET", "a", "1", "b", "2", "c", "3") == "OK"
            assert wire("MGET", "a", "b", "c") == [b"1", b"2", b"3"]
        assert up.stop() == 0
    assert "Drained" in (tmp_path / "proxy" / "node.log").read_text()


def test_replication_with_a_password(tmp_path: Path) -> None:
    port = free_ports(3)
    words = ("--topology", "replication", "--port", port, "--dir", tmp_path, "--", "--requirepass", "secret")
    with Up(*words) as up:
        up.wait_for("is ready")
        for replica in (port + 1, port + 2):
            up.wait_for(rf"node {replica} \(pid \d+\): replica of {port}\n")
        with Wire(port, password="secret") as wire, Wire(port + 2, password="secret") as copy:
            wire("SET", "k", "v")
            assert wire("WAIT", 2, 5000) == 2
            assert copy("GET", "k") == b"v"
        assert up.stop() == 0
    with Up("--dir", tmp_path, "--", "--requirepass", "secret") as up:
        up.wait_for("is ready")
        with Wire(port + 1, password="secret") as copy:
            assert copy("GET", "k") == b"v"
        assert up.stop() == 0


def test_replicas_keep_their_data_when_the_primary_has_none(tmp_path: Path) -> None:
    port = free_ports(2)
    with Up("--topology", "replication", "--nodes", 2, "--port", port, "--dir", tmp_path) as up:
        up.wait_for("is ready")
        assert up.stop() == 0
    (tmp_path / str(port) / "dump.rdb").unlink()
    ended = run_up("--dir", tmp_path)
    assert ended.returncode == 1
    assert f"{tmp_path}/{port} holds no data, and the replicas would drop theirs" in ended.stderr
    assert (tmp_path / str(port + 1) / "dump.rdb").exists()


@pytest.mark.parametrize("taken", [2, 10_001])
def test_a_taken_port_is_named(taken: int, tmp_path: Path) -> None:
    port = free_ports(6)
    with socket.create_server(("127.0.0.1", port + taken)):
        ended = run_up("--port", port, "--dir", tmp_path)
    assert ended.returncode == 1
    assert f"hexad up: port {port + taken} is taken by another program" in ended.stderr
    assert "--port" in ended.stderr and ended.stdout == ""
    assert not (tmp_path / str(port)).exists()


def test_foreign_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    ended = run_up("--dir", tmp_path)
    assert ended.returncode == 1
    assert "is not empty and was not made by `hexad up`" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    ended = run_up("--dir", tmp_path / "photo.jpg")
    assert ended.returncode == 1 and "File exists" in ended.stderr


def test_a_directory_is_used_once(tmp_path: Path) -> None:
    words = ("--topology", "standalone", "--port", free_ports(1), "--dir", tmp_path)
    with Up(*words) as up:
        up.wait_for("is ready")
        second = run_up(*words)
        assert second.returncode == 1 and "is in use by another `hexad up`" in second.stderr
        assert up.stop() == 0
    changed = run_up("--dir", tmp_path, "--topology", "cluster")
    assert changed.returncode == 2
    assert "holds a standalone with topology standalone: leave out --topology cluster" in changed.stderr
    (tmp_path / "hexad-up.json").write_text("{")
    spoiled = run_up("--dir", tmp_path)
    assert spoiled.returncode == 1 and "hexad-up.json: " in spoiled.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "4"], "a cluster needs 3 to vote: --nodes 6"),
        (["--nodes", "many"], "invalid int value: 'many'"),
        (["--topology", "star"], "invalid choice: 'star'"),
        (["--", "--port", "1"], "--port is set for each node"),
    ],
)
def test_wrong_use(words: list[str], said: str, tmp_path: Path) -> None:
    ended = run_up("--dir", tmp_path, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr and "Traceback" not in ended.stderr


def test_help() -> None:
    ended = run_up("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for word in ("--nodes", "--replicas", "--port", "--dir", "--topology", "--host", "--node-timeout-ms", "exit codes"):
        assert word in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 100


def test_a_node_that_does_not_start_says_why(tmp_path: Path) -> None:
    port = free_ports(3)
    words = ("--topology", "replication", "--port", port, "--dir", tmp_path, "--", "--no-such-option", "1")
    ended = run_up(*words)
    assert ended.returncode == 1
    assert f"the node at port {port} ended (exit code 1); its log: {tmp_path}/{port}/node.log" in ended.stderr
    assert "Bad directive or wrong number of arguments" in ended.stderr
    assert "Stopped" in ended.stdout


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    words = ("--topology", "standalone", "--port", free_ports(1), "--dir", tmp_path)
    ended = run_up(*words, program=("/no/such/program",))
    assert ended.returncode == 1 and "No such file or directory" in ended.stderr


STUB = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps([sorted(map(int, os.listdir("/proc/self/fd"))), os.getsid(0) == os.getpid(), os.getcwd()]), flush=True)
time.sleep(60)
"""


def test_nodes_are_isolated_and_killed_by_a_second_signal(tmp_path: Path) -> None:
    port = free_ports(1)
    words = ("--topology", "standalone", "--port", port, "--dir", tmp_path)
    log = tmp_path / str(port) / "node.log"
    with Up(*words, program=(sys.executable, "-I", "-c", STUB)) as up:
        wait_until(lambda: log.exists() and log.read_text(), 20, "the stub's word")
        descriptors, leads_session, directory = json.loads(log.read_text())
        assert descriptors[:3] == [0, 1, 2] and len(descriptors) == 4  # the fourth lists them
        assert leads_session and directory == str(tmp_path / str(port))
        assert up.process is not None
        up.process.send_signal(signal.SIGINT)
        up.wait_for(rf"Stopping: {port} to save and end")
        assert up.stop() == 1


def test_at_a_terminal(tmp_path: Path) -> None:
    """The table is drawn, and Ctrl-C, typed, stops all cleanly: the nodes do not hear it themselves."""
    port = free_ports(1)
    words = ("--topology", "standalone", "--port", port, "--dir", tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLING, *command_line(HEXAD, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    seen = read_until(ours, b"Ctrl-C stops all nodes")
    assert b"primary" in seen and str(port).encode() in seen and b"Op/s" in seen
    os.write(ours, b"\x03")
    seen = read_until(ours, b"Stopped.")
    assert process.wait(30) == 0
    os.close(ours)
    log = (tmp_path / str(port) / "node.log").read_text()
    assert "Received SIGTERM scheduling shutdown" in log and "SIGINT" not in log


CONTROLLING = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    os.set_blocking(descriptor, False)

    def more() -> bool:
        nonlocal seen
        seen += os.read(descriptor, 65536)
        return wanted in seen

    wait_until(more, 30, f"{wanted!r} at the terminal")
    return seen


def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    port = free_ports(1)
    words = ("--topology", "standalone", "--port", port, "--dir", tmp_path)
    process = subprocess.Popen(command_line(HEXAD, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    wait_until(lambda: is_up(port), 20, "the node answers")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def is_up(port: int) -> bool:
    with Wire(port) as wire:
        return bool(wire("PING") == "PONG")


@pytest.mark.long
def test_sentinels_replace_the_primary_and_the_next_start_knows(tmp_path: Path) -> None:
    port = free_ports(6)
    words = ("--topology", "sentinel", "--port", port, "--dir", tmp_path, "--node-timeout-ms", 1000)
    secret = ("--", "--requirepass", "secret")
    with Up(*words, *secret) as up:
        up.wait_for("is ready")
        for sentinel in range(port + 3, port + 6):
            up.wait_for(rf"node {sentinel} \(pid \d+\): sentinel of {port}\n")
        with Wire(port, password="secret") as wire:
            wire("SET", "k", "v")
            assert wire("WAIT", 2, 5000) == 2
        os.kill(up.pid_of(port), signal.SIGKILL)
        replaced = up.wait_for(rf"node {port + 3} \(pid \d+\): sentinel of ({port + 1}|{port + 2})\n")
        primary = int(replaced[1])
        assert up.stop() == 1
    with Up("--dir", tmp_path, *secret) as up:
        up.wait_for("is ready")
        with Wire(primary, password="secret") as wire, Wire(port, password="secret") as old:
            assert wire("ROLE")[0] == b"master" and old("ROLE")[0] == b"slave"
            assert old("GET", "k") == b"v"
        assert up.stop() == 0
