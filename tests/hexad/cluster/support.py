"""`hexad cluster` run as a process, and in this one; clusters to run it on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

from hexad.cluster.program import main
from node.platform import Platform
from node.slots import slot_of
from tests.support.cluster import parse_nodes
from tests.support.servers import ROOT, HexadServer, RedisServer, Server

LIMIT_S = 60
PASSWORD = "a secret"
"""Of every node here, and known to every command from its environment: so MIGRATE must say it, too."""
CHILD = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hexad.__main__ import main; sys.exit(main())"


def begin(*words: object) -> subprocess.Popen[str]:
    """Start `hexad cluster` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, "cluster", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "REDISCLI_AUTH": PASSWORD},
    )


class Told(Platform):
    """Notes what is said, and answers every question alike; nobody sees a terminal unless told so."""

    def __init__(self, answer: str = "", *, terminal: bool = False) -> None:
        super().__init__(1)
        self.answer = answer
        self.terminal = terminal
        self.out = self.err = ""

    def write_out(self, text: str) -> None:
        self.out += text

    def write_error(self, text: str) -> None:
        self.err += text

    def read_line(self) -> str:
        return self.answer

    def is_terminal(self) -> bool:
        return self.terminal

    def environment(self, name: str) -> str:
        return PASSWORD if name == "HEXAD_PASSWORD" else ""


def run(*words: object, code: int = 0) -> str:
    """Run `hexad cluster` in this process, without a terminal; what it printed."""
    told = Told()
    ended = main([str(word) for word in words], told)
    assert ended == code, f"{words}: {ended}\n{told.out}{told.err}"
    return told.out + told.err


def events(*words: object, code: int = 0) -> list[dict[str, Any]]:
    """The same with --json."""
    told = Told()
    ended = main([*(str(word) for word in words), "--json"], told)
    assert ended == code, f"{words}: {ended}\n{told.out}{told.err}"
    return [json.loads(line) for line in told.out.splitlines()]


def agrees(node: Server) -> None:
    """redis-cli finds nothing to complain of, either."""
    secret = ["-a", PASSWORD, "--no-auth-warning"] if node.options.get("requirepass") else []
    command = ["redis-cli", *secret, "--cluster", "check", at(node)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0 and "[ERR]" not in done.stdout and "[WARNING]" not in done.stdout, done.stdout


def at(node: Server) -> str:
    return f"127.0.0.1:{node.port}"


def id_of(node: Server) -> str:
    with node.wire() as wire:
        return wire("CLUSTER", "MYID").decode()


def slots_of(node: Server) -> int:
    """How many slots it owns in its own eyes."""
    with node.wire() as wire:
        return next(line.slots for line in parse_nodes(wire("CLUSTER", "NODES").decode()) if "myself" in line.flags)


def fill(nodes: Sequence[Server], keys: Sequence[str]) -> None:
    """Write each key to its owner, with itself for a value."""
    with contextlib.ExitStack() as stack:
        wires = {node.port: stack.enter_context(node.wire()) for node in nodes}
        any_wire = next(iter(wires.values()))
        owners = {}
        for first, last, primary, *_ in any_wire("CLUSTER", "SLOTS"):
            owners |= dict.fromkeys(range(first, last + 1), primary[1])
        for key in keys:
            reply = wires[owners[slot_of(key.encode())]]("SET", key, key)
            assert reply == "OK", (key, reply)


def holders(nodes: Sequence[Server], keys: Sequence[str]) -> dict[str, int]:
    """How often each key lies on a primary: once, if all is well."""
    found = dict.fromkeys(keys, 0)
    for node in nodes:
        with contextlib.suppress(OSError), node.wire() as wire:
            if wire.info("replication")["role"] == "master":
                for key in wire("KEYS", "*"):
                    if key.decode() in found:
                        found[key.decode()] += 1
    return found


def each_once(nodes: Sequence[Server], keys: Sequence[str]) -> None:
    wrong = {key: count for key, count in holders(nodes, keys).items() if count != 1}
    assert not wrong, f"keys that are not on exactly one primary: {dict(list(wrong.items())[:10])}"


def put_astray(owner: Server, stray: Server, slot: int, name: str) -> None:
    """Give a node another value of a key whose slot it does not own."""
    with stray.wire() as there:
        assert there("CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(owner)) == "OK"
        there("ASKING")
        assert there("SET", name, "another value") == "OK"
        assert there("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"


@contextlib.contextmanager
def bare(kind: type[Server], count: int, **options: Any) -> Iterator[list[Server]]:
    """Nodes in cluster mode that know nobody."""
    defaults = {
        "cluster_enabled": "yes",
        "cluster_node_timeout": 3000,
        "repl_diskless_sync_delay": 0,
        "requirepass": PASSWORD,
        "masterauth": PASSWORD,
    }
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kind(**{**defaults, **options})) for _ in range(count)]


KINDS = {"hexad": HexadServer, "redis": RedisServer}


class Supervised:
    """Starts each of these processes again as soon as it has ended, as systemd or a restart policy would."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = nodes
        self.restarts = dict.fromkeys((node.port for node in nodes), 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(LIMIT_S)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            for node in self.nodes:
                if node.process is not None and node.process.poll() is not None:
                    node.start(wait=False)
                    self.restarts[node.port] += 1
