"""The process: how it starts, what it says, how it ends, and with which code; beside redis-server where it has it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from node.memory import human
from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.ports import free_port
from tests.support.servers import ROOT

START_CPU_S = 1.0
"""Bound for the processor's time of a start, with slack for slow machines; to the first PONG it shall take 0.35 s."""
RESIDENT_BYTES = 48 << 20
"""Bound for a bare node; 40 MB is what it shall hold."""


def run(
    *words: str, program: tuple[str, ...] = HexadServer.program, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*program, *words], input=stdin, capture_output=True, text=True, timeout=15, env=environment)


def test_lines_of_the_log(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server()
    server.wait_for_log("Ready to accept connections tcp")
    assert server.stop() == 0
    stamp = r"\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3}"
    pid = server.pid
    wanted = [
        rf"{pid}:C {stamp} \* oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo",
        rf"{pid}:C {stamp} \* Redis version=7\.2\.6, bits=64, commit=00000000, modified=0, pid={pid}, just started",
        rf"{pid}:C {stamp} \* Configuration loaded",
        rf"{pid}:M {stamp} \* monotonic clock: POSIX clock_gettime",
        rf"{pid}:M {stamp} \* Running mode=standalone, port={server.port}\.",
        rf"{pid}:M {stamp} \* PID: {pid}",
        rf"{pid}:M {stamp} \* Server initialized",
        rf"{pid}:M {stamp} \* Ready to accept connections tcp",
        rf"{pid}:signal-handler \(\d+\) Received SIGTERM scheduling shutdown\.\.\.",
        rf"{pid}:M {stamp} \* User requested shutdown\.\.\.",
        rf"{pid}:M {stamp} # Redis is now ready to exit, bye bye\.\.\.",
    ]
    lines = server.log().splitlines()
    assert len(lines) == len(wanted), server.log()
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


def test_the_drawing_shows_who_it_is(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(always_show_logo="yes")
    assert f" PID: {server.pid}" in server.log() and f"Port: {server.port}" in server.log()


@pytest.mark.parametrize(
    "words",
    [
        ("--nosuch", "1"),
        ("--port", "x"),
        ("--dir", "/no/such/directory"),
        ("--logfile", "/no/such/directory/log"),
        ("--save", "1 x"),
    ],
)
def test_bad_configurations_end_as_with_a_real_server(words: tuple[str, ...]) -> None:
    theirs, ours = run(*words, program=RedisServer.program), run(*words)
    assert ours.returncode == theirs.returncode == 1
    assert ours.stderr.replace("7.2.6", "N") == theirs.stderr.replace("7.0.15", "N")
    assert ours.stdout == theirs.stdout == ""


@pytest.mark.parametrize("name", ["/no/such/file.conf", "no-such.conf"])
def test_an_unreadable_file(name: str) -> None:
    """It is named so that one finds it, wherever one stands."""
    ended = run(name)
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).count("\n") == 1
    shown = Path.cwd() / name
    assert f"Fatal error, can't open config file '{shown}': No such file or directory" in ended.stderr


@pytest.mark.parametrize(
    ("options", "last_words"),
    [
        ({"port": "TAKEN"}, "Failed listening on port TAKEN (tcp), aborting."),
        ({"bind": "192.0.2.1"}, "Failed listening on port PORT (tcp), aborting."),
        ({"unixsocket": "/no/such/directory/s"}, "Failed opening Unix socket: bind: No such file or directory"),
        ({"unixsocket": "/"}, "Failed opening Unix socket: bind: Address already in use"),
        (
            {"unixsocket": "/" + "s" * 107},
            "Failed opening Unix socket: unix socket path too long (108), must be under 108",
        ),
        ({"port": "0"}, "Configured to not listen anywhere, exiting."),
    ],
)
def test_addresses_that_cannot_be_had(
    hexad_server: Callable[..., HexadServer], options: dict[str, str], last_words: str
) -> None:
    taken, port = str(hexad_server().port), str(free_port())
    words = {"port": port, "bind": "127.0.0.1", **options}
    flat = [part for name, value in words.items() for part in (f"--{name}", value.replace("TAKEN", taken))]
    ended = run(*flat)
    assert ended.returncode == 1 and ended.stderr == ""
    assert ended.stdout.splitlines()[-1].endswith(" # " + last_words.replace("TAKEN", taken).replace("PORT", port))


def test_an_address_that_may_be_missing(hexad_server: Callable[..., HexadServer]) -> None:
    with hexad_server(bind="127.0.0.1 -192.0.2.1").wire() as wire:
        assert wire("PING") == "PONG"


def test_pid_file(hexad_server: Callable[..., HexadServer], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = hexad_server(pidfile=str(path))
    wait_until(path.exists, 5, "the pid file")
    assert path.read_text() == f"{server.pid}\n"
    server.stop()
    assert not path.exists() and "Removing the pid file." in server.log()
    other = hexad_server(pidfile="/no/such/directory/pid")
    other.wait_for_log("# Failed to write PID file: No such file or directory")


def test_log_file_may_be_moved(hexad_server: Callable[..., HexadServer], tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = hexad_server(logfile=str(path), enable_debug_command="yes")
    with server.wire() as wire:
        path.rename(tmp_path / "old")
        wire("DEBUG", "LOG", "fresh")
        assert "DEBUG LOG: fresh" in path.read_text() and "fresh" not in (tmp_path / "old").read_text()
    assert server.log() == ""


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux's")
def test_the_score_for_a_system_without_memory_follows_settings_and_role(
    hexad_server: Callable[..., HexadServer],
) -> None:
    found = int(Path("/proc/self/oom_score_adj").read_text())
    low, high = found + (1000 - found) // 3, found + (1000 - found) // 2
    server = hexad_server(oom_score_adj="absolute", oom_score_adj_values=(str(low), str(high), str(high)))
    assert server.process is not None
    path = Path(f"/proc/{server.process.pid}/oom_score_adj")
    with server.wire() as wire:

        def after(*words: str) -> int:
            assert wire(*words) == "OK"
            return int(path.read_text())

        assert int(path.read_text()) == low
        assert after("REPLICAOF", "127.0.0.1", "1") == high
        assert after("CONFIG", "SET", "oom-score-adj-values", "0 1 2", "oom-score-adj", "relative") == found + 1
        assert after("CONFIG", "SET", "oom-score-adj", "no") == found


def test_daemon(tmp_path: Path) -> None:
    port = free_port()
    pidfile = tmp_path / "pid"
    words = ("--port", str(port), "--daemonize", "yes", "--pidfile", str(pidfile), "--dir", str(tmp_path), "--save", "")
    assert run(*words).returncode == 0
    wait_until(lambda: pidfile.exists() and pidfile.read_text(), 10, "the pid file")
    pid = int(pidfile.read_text())
    try:
        with wait_until(lambda: Wire(port), 10, "the daemon listens") as wire:
            assert wire.info("server")["process_id"] == str(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), 10, "the daemon ends")


@pytest.mark.parametrize("left_behind", ["nothing", "file", "socket", "dangling link"])
def test_unix_socket(tmp_path: Path, left_behind: str) -> None:
    """It takes the place of whatever has its name, and is gone when the node is."""
    path = tmp_path / "node.sock"
    if left_behind == "file":
        path.touch()
    elif left_behind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif left_behind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    with HexadServer(port=0, unixsocket=str(path), unixsocketperm="700", enable_debug_command="local") as server:
        with server.wire() as wire:
            assert wire("DEBUG", "LOG", "local") == "OK"
            assert wire.info("server")["listener0"] == f"name=unix,bind={path}"
        assert path.stat().st_mode & 0o777 == 0o700
        server.wait_for_log("Ready to accept connections unix")
        server.stop()
        assert not path.exists() and "* Removing the unix socket file." in server.log()


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        environment = {**HexadServer.environment, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        kind = type("Supervised", (HexadServer,), {"environment": environment})
        with kind(supervised="auto") as server, server.wire() as wire:
            assert wire.info("server")["process_supervised"] == "systemd"
            told = [heard.recv(200) for _ in range(3)]
            assert told == [b"STATUS=Redis is loading...\n", b"STATUS=Ready to accept connections\n", b"READY=1\n"]
            server.stop()
            assert heard.recv(200) == b"STOPPING=1\n"


def test_nothing_is_inherited_and_the_port_is_free_at_once() -> None:
    read_end, low_end = os.pipe()
    write_end = fcntl.fcntl(low_end, fcntl.F_DUPFD, 300)  # beyond what a short look would find
    os.close(low_end)
    os.set_inheritable(write_end, True)
    port = free_port()
    words = [*HexadServer.program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment, pass_fds=(write_end,))
    try:
        os.close(write_end)
        with wait_until(lambda: Wire(port), 10, "it listens") as wire:
            assert select.select([read_end], [], [], 10)[0] and os.read(read_end, 1) == b""  # nobody has the other end
            assert wire.info("server")["process_id"] == str(process.pid)
            process.terminate()
            assert process.wait(10) == 0
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))
    finally:
        process.kill()
        os.close(read_end)


def test_interrupt_ends_as_shutdown(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(save="3600 1")
    server.signal(signal.SIGINT)
    assert server.process is not None and server.process.wait(10) == 0
    assert "Received SIGINT scheduling shutdown..." in server.log()
    assert (server.directory / "dump.rdb").exists()


def test_a_second_interrupt_ends_at_once(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(save="3600 1", rdb_key_save_delay="30000000")
    with server.wire() as wire:
        wire("SET", "k", "v")
        server.signal(signal.SIGINT)
        wait_until(lambda: list(server.directory.glob("temp-*.rdb")), 5, "a save that has begun")
        server.signal(signal.SIGINT)
        assert server.process is not None and server.process.wait(5) == 1
    assert "You insist... exiting now." in server.log()
    assert not list(server.directory.glob("*.rdb"))


def test_signals_that_ask_where_it_is(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(enable_debug_command="yes")
    with server.wire() as wire:
        server.signal(signal.SIGALRM)
        server.wait_for_log(r"Received SIGALRM\n\n------ STACK TRACE ------\n(.|\n)*program.py")
        wire("CONFIG", "SET", "watchdog-period", "1")
        wire("DEBUG", "SLEEP", "0.3")
        server.wait_for_log(r"WATCHDOG TIMER EXPIRED(.|\n)*in sleep\n(.|\n)*------ STACK TRACE DONE")
        assert wire("PING") == "PONG"
        server.signal(signal.SIGABRT)
        assert server.process is not None and server.process.wait(5) == -signal.SIGABRT
    assert re.search(r"BUG REPORT START(.|\n)*crashed by signal: 6(.|\n)*CLIENT LIST OUTPUT", server.log())
    server.start()
    with server.wire() as wire:
        wire.send("DEBUG", "SEGFAULT")
        assert server.process.wait(5) == -signal.SIGSEGV
    assert re.search(r"Segmentation fault\n(.|\n)*in segfault\n", server.log())


def test_words_instead_of_a_node() -> None:
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("Redis server v=7.2.6 sha=00000000:0 malloc=")
    assert run("-v").stdout == version.stdout
    usage = run("--help")
    assert usage.returncode == run("-h", program=RedisServer.program).returncode == 1
    assert usage.stderr.startswith("Usage: hexad server [/path/to/redis.conf]")
    assert run("--test-memory", "1").returncode == 1
    command = (sys.executable, "-m", "hexad")
    assert run("--help", program=command).returncode == 0
    assert run("nonsense", program=command).returncode == 2


def test_configuration_from_standard_input() -> None:
    ended = run("-", stdin="port 0\nloglevel verbose\n")
    assert ended.returncode == 1 and ended.stdout.endswith("# Configured to not listen anywhere, exiting.\n")


def test_start_is_quick_and_small(hexad_server: Callable[..., HexadServer]) -> None:
    """By the processor's time, which other programs hardly change: a loaded machine starts nothing quickly."""
    times_s = []
    server = hexad_server()
    for _ in range(3):
        server.stop()
        server.start()
        with server.wire() as wire:
            used = wire.info("cpu")
            times_s.append(float(used["used_cpu_user"]) + float(used["used_cpu_sys"]))
            assert int(wire.info("memory")["used_memory_rss"]) < RESIDENT_BYTES
    assert min(times_s) < START_CPU_S, times_s


def test_human_sizes() -> None:
    sizes = {0: "0B", 1023: "1023B", 1024: "1.00K", 1536: "1.50K", 5 << 20: "5.00M", 3 << 30: "3.00G", 1 << 50: "1.00P"}
    assert {size: human(size) for size in sizes} == sizes
