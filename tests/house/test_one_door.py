"""One door to the outside: sockets, files, clocks, luck, threads and processes are touched by Platform alone.

Everything else is handed a Platform, so that a simulation can be another one. Modules that decide do not even know
Trio; the few shells that perform are named here, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.source import Module, module_of, product

DOORS = {
    "node/platform.py": "Platform: the door itself",
    "node/net/tls.py": "the one module that knows OpenSSL, loaded only where TLS is configured",
    "node/allocators.py": "asks CPython's allocator and the C library's: a part of Platform",
    "hexad/processes.py": "starts, watches and ends the node processes of a local topology",
}

# What each of these reaches is the world's, so it belongs to Platform.
OUTSIDE_BY_KIND = {
    "sockets": ("asyncio", "http", "select", "selectors", "socket", "socketserver", "ssl", "urllib"),
    "files": ("fcntl", "fileinput", "glob", "mmap", "os", "pathlib", "posix", "shutil", "tempfile"),
    "clocks": ("sched", "time"),
    "luck": ("random", "secrets", "uuid"),
    "threads and processes": (
        "_thread",
        "concurrent",
        "ctypes",
        "multiprocessing",
        "signal",
        "subprocess",
        "threading",
    ),
    "the machine": ("getpass", "grp", "platform", "pty", "pwd", "resource", "syslog", "termios", "tty"),
}
OUTSIDE = frozenset(name for names in OUTSIDE_BY_KIND.values() for name in names)
HARMLESS = frozenset({"pathlib.PurePath", "pathlib.PurePosixPath", "random.Random", "urllib.parse", "os.PathLike"})
OUTSIDE_CALLS = frozenset({"open", "input", "breakpoint"})  # builtins
CLOCKS = frozenset({("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")})

SHELLS = {
    "node/platform.py": "clock, sockets and the wait for readable descriptors are Trio's",
    "node/migration.py": "the story of a key that moves to another node",
    "node/app.py": "the nursery of a node: runs the parts",
    "node/net/reactor.py": "the one task that serves all clients in batches",
    "node/net/client.py": "an async RESP client, for what is told in sequence",
    "node/net/dialogue.py": "the lines of a handshake, before the reactor takes the socket over",
    "node/program.py": "catches what a loop that could not start leaves behind",
    "node/replication/follower.py": "the life of a replica's link: dial, handshake, sync, back-off",
    "node/replication/transfer.py": "a snapshot on its way to replicas, in slices",
    "gossip/bus.py": "dials the bus links and takes those that others dial",
    "proxy/app.py": "the nursery of a proxy: runs the parts",
    "proxy/watch.py": "asks the nodes who they are, again and again",
    "sentinel/drive.py": "dials the links to watched instances and waits for scripts",
    "hexad/up.py": "the nursery of a local topology",
    "hexad/local.py": "starts, asks and stops the nodes of a local topology, each wait with a bound",
    "hexad/processes.py": "waits for processes",
    "hexad/cluster/program.py": "runs one command of `hexad cluster` until it ends or a signal comes",
    "hexad/cluster/look.py": "asks all nodes of a cluster at once",
    "hexad/cluster/measure.py": "counts commands for some seconds",
    "hexad/cluster/mover.py": "slots on their way: tells how far they are, and rests between them",
    "hexad/cluster/perform.py": "does the steps of a plan, each wait with a bound",
    "hexad/cluster/desk.py": "pursues a plan to its end, however the cluster changes",
    "hexad/cluster/creating.py": "joins new nodes, decision by decision",
    "hexad/cluster/watching.py": "looks at a cluster once a second",
    "hexad/backup/program.py": "runs a backup or a restore until it ends or a signal comes",
    "hexad/backup/nodes.py": "dials nodes, each wait with a bound",
    "hexad/backup/taking.py": "pauses all primaries and takes their snapshots at once",
    "hexad/backup/sending.py": "sends keys to all primaries at once, and again where slots have moved",
}


def outside_imports(module: Module) -> Iterator[tuple[int, str]]:
    for line, name in module.imports():
        harmless = any(name == allowed or name.startswith(allowed + ".") for allowed in HARMLESS)
        if name.split(".")[0] in OUTSIDE and not harmless:
            yield line, f"imports {name}"


def outside_calls(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in OUTSIDE_CALLS:
            yield node.lineno, f"calls {node.func.id}()"
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value).rpartition(".")[2]
            if (owner, node.func.attr) in CLOCKS:
                yield node.lineno, f"reads a clock by {owner}.{node.func.attr}()"


def trio_imports(module: Module) -> Iterator[tuple[int, str]]:
    for line, name in module.imports():
        if name.split(".")[0] in ("trio", "outcome"):
            yield line, f"imports {name}"


def through_the_wall(module: Module) -> list[str]:
    """What the module does that only a door, or a shell, may do."""
    found: list[tuple[int, str]] = []
    if module.path not in DOORS:
        found += [*outside_imports(module), *outside_calls(module)]
    if module.path not in SHELLS:
        found += trio_imports(module)
    return [f"{module.path}:{line}: {what}" for line, what in sorted(found)]


def test_only_platform_touches_the_outside() -> None:
    assert [line for module in product() for line in through_the_wall(module)] == []


def test_the_wall_notices() -> None:
    def one(text: str, path: str = "node/net/session.py") -> list[str]:
        return through_the_wall(module_of(path, text))

    assert one("import os.path\n") and one("from os import path\n") and one("import time as t\n")
    assert one("def f():\n    from random import random\n") and one("from pathlib import Path\n")
    assert one("import socket, struct\n") == ["node/net/session.py:1: imports socket"]
    assert one("with open('x') as f: pass\n") and one("x = datetime.datetime.now()\n")
    assert one("import trio\n") and one("from trio.lowlevel import wait_readable\n")
    assert one("import struct\nfrom random import Random\nfrom pathlib import PurePosixPath\nself.open(1)\n") == []
    assert one("from node.net.select import x\n") == []
    assert one("import os, socket, time, trio\n", "node/platform.py") == []
    assert one("import subprocess\n", "hexad/processes.py") == []
    assert one("import trio\n", "node/app.py") == [] != one("import os\n", "node/app.py")
