"""The README, followed as a newcomer follows it: on ports that are free, in directories of the test's own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hexad.running import HEXAD, Up, command_line, free_ports
from tests.house.readme import README, RUN_BY, Example, examples, snippets
from tests.house.readme_tables import renewed
from tests.house.source import ROOT
from tests.support import HexadServer, Wire, free_port, wait_until
from tests.support.ports import BUS_OFFSET, _is_free
from tests.support.servers import START_TIMEOUT_S

HERE = "tests/house/test_first_steps.py"
CLIENTS = ROOT / "tests/clients"
VOTE_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 60.0
MAKE_TIMEOUT_S = 400.0
"""For a virtual environment to be filled, on a machine that does other things."""
COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def given_to(test: str) -> list[Example]:
    """The README's commands that this test runs, in order."""
    return [example for example in examples(README.read_text("utf-8")) if RUN_BY.get(example.command) == test]


def moved(text: str, cluster: int, single: int = 0) -> str:
    """The text with its ports moved: 7000-7005 to those from `cluster` on, 6379 and 6380 to `single` and the next."""
    text = re.sub(r"\b700([0-5])\b", lambda digit: str(cluster + int(digit[1])), text)
    return re.sub(r"\b63(79|80)\b", lambda end: str(single + int(end[1]) - 79), text)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where `hexad` and `python` are found, as after `. .venv/bin/activate`; it need not be installed."""
    directory = tmp_path_factory.mktemp("bin")
    up = shlex.join(command_line(HEXAD, []))
    script = f'#!/bin/sh\n[ "$1" != up ] || {{ shift; exec {up} "$@"; }}\nexec {shlex.join(HEXAD[:-1])} "$@"\n'
    (directory / "hexad").write_text(script)
    (directory / "hexad").chmod(0o755)
    path = f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "FAKETTY": "1"}  # redis-cli, as at a terminal


def output_of(words: list[str], env: dict[str, str], directory: Path = ROOT, timeout_s: float = 60.0) -> str:
    """What a command prints; AssertionError if it fails."""
    ended = subprocess.run(
        words, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
    )
    assert ended.returncode == 0, f"{words}\n{ended.stdout}{ended.stderr}"
    return COLOUR.sub("", ended.stdout)


def shows(example: Example, output: str) -> bool:
    """Each line that the README shows comes, in that order."""
    came = iter(line.strip() for line in output.splitlines())
    return all(line.strip() in came for line in example.output if line.strip() not in ("", "..."))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The first port of a cluster of `hexad up`."""
    port = free_ports(6)
    with Up("--port", port, "--dir", tmp_path_factory.mktemp("data"), "--node-timeout-ms", 2000) as up:
        up.wait_for("is ready")
        yield port


@pytest.fixture(scope="module")
def single() -> Iterator[int]:
    with HexadServer() as server:
        yield server.port


def run_snippets(kind: str, command: list[str], env: dict[str, str], cluster: int, single: int) -> int:
    """Run each snippet of a language; it must print what its comments say. How many there were."""
    found = snippets(README.read_text("utf-8"), kind)
    for line, code in found:
        wanted = re.findall(r"(?:print|console\.log)\(.*(?:#|//) (.*)$", code, re.MULTILINE)
        printed = output_of([*command, moved(code, cluster, single)], env).splitlines()
        assert wanted and printed == wanted, f"README.md:{line}"
    return len(found)


def test_python_snippets(environment: dict[str, str], cluster: int, single: int) -> None:
    assert run_snippets("python", [sys.executable, "-c"], environment, cluster, single) == 4


@pytest.mark.long
def test_javascript_snippets(environment: dict[str, str], cluster: int) -> None:
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing: `make test-long` installs it"
    if not all((CLIENTS / "node_modules" / name).exists() for name in ("ioredis", "redis")):
        output_of([npm, "install", "--no-audit", "--no-fund", "--no-package-lock"], environment, CLIENTS, 300)
    env = {**environment, "NODE_PATH": str(CLIENTS / "node_modules")}
    env.pop("FAKETTY")
    assert run_snippets("js", ["node", "-e"], env, cluster, 0) == 2


def test_ten_minutes(environment: dict[str, str], cluster: int) -> None:
    """Reads and writes, then a killed primary: what comes after it is asked again until the vote is over."""
    for example in given_to(f"{HERE}::test_ten_minutes"):
        words = ["bash", "-euo", "pipefail", "-c", moved(example.command, cluster)]
        said = ""

        def shown(example: Example = example, words: list[str] = words) -> bool:
            nonlocal said
            said = output_of(words, environment)
            return shows(example, said)

        with contextlib.suppress(AssertionError):
            if shown():
                continue
        wait_until(shown, VOTE_TIMEOUT_S, f"README.md:{example.line}: {example.command} shows what it should: {said}")


def test_beside_one_node(environment: dict[str, str], single: int, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = given_to(f"{HERE}::test_beside_one_node")
    for example in found:
        assert output_of(["bash", "-c", moved(example.command, 0, single)], environment, tmp_path), example
    assert len(found) == 6


@pytest.mark.parametrize("command", [example.command for example in given_to(f"{HERE}::test_one_node")])
def test_one_node(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Each starts, answers, and ends well when it is told to."""
    first = free_ports(2)
    for kind in ("conf", "yaml"):
        for _, text in snippets(README.read_text("utf-8"), kind):
            name = text.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(moved(text, 0, first))
    port = first + 1 if "6380" in command else first
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", moved(command, 0, first)],
            cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: answers(port), START_TIMEOUT_S, f"{command} answers: {log.read_text()}")
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(START_TIMEOUT_S)  # the shell, which may end before its server
        wait_until(lambda: "Redis is now ready to exit, bye bye..." in log.read_text(), START_TIMEOUT_S, "the end")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    with Wire(port) as wire:
        return str(wire("PING")) != ""


@pytest.mark.long
@pytest.mark.parametrize("command", [example.command for example in given_to(f"{HERE}::test_topologies")])
def test_topologies(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Each comes up, and ends well on Ctrl-C."""
    port = free_ports(9)
    words = re.sub(r"--port \d+", "", command).replace("/tmp/", f"{tmp_path}/")
    process = subprocess.Popen(
        ["bash", "-c", f"exec {words.replace('hexad up', f'hexad up --port {port}', 1)}"],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:  # bounded: `hexad up` bounds its own waits
            lines.append(line)
            if "is ready" in line:
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=READY_TIMEOUT_S)
        assert process.returncode == 0 and rest.endswith("Stopped.\n"), "".join(lines) + rest
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=READY_TIMEOUT_S)


# --- a fresh checkout -------------------------------------------------------------------------------------------------


class Terminal:
    """A program at a terminal of its own, where Ctrl-C is a key."""

    def __init__(self, words: list[str], directory: Path) -> None:
        self.seen = ""
        pid, self.descriptor = pty.fork()
        if pid == 0:
            os.chdir(directory)
            plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MAKEFLAGS")}
            os.execvpe(words[0], words, {**plain, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"})
        self.pid = pid
        self.over = False
        os.set_blocking(self.descriptor, False)

    def is_over(self) -> bool:
        """Has the program ended?"""
        if not self.over:
            self.over = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return self.over

    def read(self) -> str:
        """All that has been printed so far."""
        with contextlib.suppress(BlockingIOError, OSError):
            while more := os.read(self.descriptor, 65536):
                self.seen += COLOUR.sub("", more.decode("utf-8", "replace"))
        return self.seen

    def wait_for(self, text: str, timeout_s: float) -> None:
        try:
            wait_until(lambda: text in self.read() or self.is_over(), timeout_s, text)
            assert text in self.read()
        except Exception as error:
            raise AssertionError(f"{text!r} does not come:\n{self.seen[-3000:]}") from error

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def end(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait for its end; what does not end is killed, with all that it has started at this terminal."""

        def ended() -> bool:
            self.read()
            return self.is_over()

        try:
            wait_until(ended, timeout_s, "the end")
        except Exception:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        finally:
            os.close(self.descriptor)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of this working tree would hold: no virtual environment, no caches."""
    directory = tmp_path_factory.mktemp("checkout")
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    return directory


def default_ports_are_free() -> bool:
    return all(_is_free(port) and _is_free(port + BUS_OFFSET) for port in range(7000, 7006))


@pytest.mark.long
def test_make_up(checkout: Path, tmp_path: Path) -> None:
    """From nothing to a cluster, Ctrl-C, and the same cluster again; then elsewhere, as the README shows it."""
    port = 7000 if default_ports_are_free() else free_ports(6)
    words = ["make", "up", *([] if port == 7000 else [f"ARGS=--port {port}"])]
    for time in ("first", "second"):
        terminal = Terminal(words, checkout)
        try:
            terminal.wait_for("is ready", MAKE_TIMEOUT_S)
            terminal.wait_for("Ctrl-C stops all nodes", READY_TIMEOUT_S)
            if time == "first":
                say = f"redis-cli -c -p {port} set user:1 Ada; redis-cli --cluster check 127.0.0.1:{port}"
                assert "All 16384 slots covered" in output_of(["bash", "-c", say], dict(os.environ))
            assert output_of(["redis-cli", "-c", "-p", str(port + 5), "get", "user:1"], dict(os.environ)) == "Ada\n"
        finally:
            terminal.type("\x03")
            terminal.end()
        assert "Stopped." in terminal.seen and "Traceback" not in terminal.seen
    (elsewhere,) = (e.command for e in given_to(f"{HERE}::test_make_up") if "ARGS" in e.command)
    moved_to = elsewhere.replace("8000", str(free_port())).replace("/tmp", str(tmp_path))
    terminal = Terminal(["bash", "-c", f"exec {moved_to}"], checkout)
    try:
        terminal.wait_for("is ready", READY_TIMEOUT_S)
    finally:
        terminal.type("\x03")
        terminal.end()


@pytest.mark.long
@pytest.mark.parametrize("command", [example.command for example in given_to(f"{HERE}::test_make_targets")])
def test_make_targets(command: str, checkout: Path) -> None:
    """Each of the others does something and ends with 0, made short by its ARGS."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MAKEFLAGS")}
    short = f"{command} ARGS='tests/node/test_votes.py'" if command == "make test" else command
    assert output_of(["bash", "-c", short], env, checkout, MAKE_TIMEOUT_S)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_first_lines_are_the_way_in() -> None:
    assert [example.command for example in examples(README.read_text("utf-8"))][:2] == ["make up", "make test"]


def test_tables_say_what_the_code_says() -> None:
    text = README.read_text("utf-8")
    assert renewed(text) == text, "call `python -m tests.house.readme_tables`"
    assert text.count("<!-- table: ") == 3


def test_links_lead_somewhere() -> None:
    text = README.read_text("utf-8")
    titles = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= titles


def test_paths_exist() -> None:
    paths = re.findall(r"`((?:node|gossip|hexad|tests|examples|deploy)/[\w./]*)`", README.read_text("utf-8"))
    assert paths and [path for path in paths if not (ROOT / path).exists()] == []


def test_what_goes_wrong_goes_wrong_in_these_words() -> None:
    """Of each message in the table of troubles, a part of five letters or more stands in the code."""
    sources = "".join(path.read_text("utf-8") for top in ("node", "gossip", "hexad", "deploy") for path in files(top))
    table = README.read_text("utf-8").partition("| what you see |")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]*)`", table, re.MULTILINE)
    assert len(messages) >= 15
    for message in messages:
        parts = re.split(r"[…,]|'[^']*'|\(error\)|\(exit code.*|hexad up|--\w+ \d|\w*\d[\d.:]*|\bpython3\b", message)
        parts = [part.strip(" :;,") for part in parts]
        assert any(len(part) >= 5 and part in sources for part in parts), (message, parts)


def files(top: str) -> list[Path]:
    """Python and shell sources below a directory."""
    found = [path for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix in (".py", ".sh")]
    return sorted(found)


def test_help_of_the_command(environment: dict[str, str]) -> None:
    helped = output_of(["hexad", "--help"], environment)
    assert {"hexad up [options]", "hexad server [/path/to/redis.conf]"} <= set(re.findall(r"hexad \w+ \[\S+\]", helped))
    assert max(map(len, helped.splitlines())) <= 100
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version and output_of(["hexad", "--version"], environment) == f"hexad {version[1]}\n"


@pytest.mark.parametrize("words", [[], ["start"], ["--port", "1"]])
def test_wrong_words(words: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(["hexad", *words], env=environment, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "") and "Usage: hexad up" in ended.stderr
    assert not words or f"hexad: {words[0]!r} is none of its commands" in ended.stderr
