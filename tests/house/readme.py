"""Which test runs each command of the README.

A newcomer types what the README shows, so each command there is run by a test: commands that stand alone are run as
they are, in the order of the README, in one temporary directory (`RUN_AS_IT_IS`); the others, which start clusters,
containers or installations, are run by a test of their own (`RUN_BY`). A command in neither fails the tests, and so
does an entry whose command or test is gone.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from tests.house.source import ROOT

README = ROOT / "README.md"
SHELL_BLOCKS = ("console", "sh")

FIRST_STEPS = "tests/house/test_first_steps.py"

# Test -> its commands.
_RUNS = {
    f"{FIRST_STEPS}::test_make_up": [
        "make up",
        "make up ARGS='--port 8000 --dir /tmp/eight'",
    ],
    f"{FIRST_STEPS}::test_make_targets": [
        ". .venv/bin/activate && hexad --help",
        "make test",
        "make test ARGS='tests/node/test_votes.py'",
        "make test-long ARGS='--collect-only'",
        "make lint",
        "make -n proof",
        "make bench ARGS='--help'",
    ],
    f"{FIRST_STEPS}::test_ten_minutes": [
        "redis-cli -c -p 7000 set user:1 Ada",
        "redis-cli -c -p 7003 get user:1",
        "redis-cli -p 7000 cluster keyslot user:1",
        "redis-cli -p 7000 cluster info",
        "redis-cli --cluster check 127.0.0.1:7000",
        "redis-cli -c -p 7000 mset {user:1}:name Ada {user:1}:city London",
        "redis-cli -c -p 7000 mget {user:1}:name {user:1}:city",
        "printf 'set user:1 Ada\\nwait 1 1000\\n' | redis-cli -p 7001",
        "kill -9 $(redis-cli -p 7001 info server | tr -d '\\r' | sed -n 's/^process_id://p')",
        "redis-cli -c -p 7000 get user:1",
    ],
    f"{FIRST_STEPS}::test_one_node": [
        "hexad server --port 6379",
        'hexad server --port 6379 --save "60 1000" --requirepass secret',
        "hexad server my.conf",
        "hexad server my.yaml --loglevel verbose",
        "echo 'port 6379' | hexad server -",
        "hexad server --port 6380 --replicaof 127.0.0.1 6379",
    ],
    f"{FIRST_STEPS}::test_beside_one_node": [
        "python examples/cache_aside.py 6379",
        "python examples/rate_limit.py 6379",
        "python examples/lock.py 6379",
        "redis-benchmark -p 6379 -t get,set -n 10000 -q",
        "redis-cli -p 6379 config get 'repl-*'",
        "redis-cli -p 6379 info memory",
    ],
    f"{FIRST_STEPS}::test_topologies": [
        "hexad up",
        "hexad up --topology standalone --port 6379 --dir /tmp/one",
        "hexad up --topology replication --replicas 2 --port 6380 --dir /tmp/three",
        "hexad up --nodes 9 --replicas 2 --port 8000 --dir /tmp/nine",
        'hexad up --port 8100 --dir /tmp/secret --node-timeout-ms 2000 -- --requirepass secret --save "60 1"',
    ],
    "tests/house/test_images.py::test_cluster_comes_up_once_and_keeps_its_data": [
        "docker compose -f deploy/compose/cluster.yaml up -d",
        "docker compose -f deploy/compose/cluster.yaml down",
    ],
    "tests/house/test_images.py::test_replication": ["docker compose -f deploy/compose/replication.yaml up -d"],
    "tests/hexad/test_up.py::test_sentinels_replace_the_primary_and_the_next_start_knows": [
        "hexad up --topology sentinel --dir /tmp/watched",
    ],
    "tests/hexad/backup/test_live.py::test_three_shards_into_one_server_and_back": [
        "hexad cluster backup /backups/monday --node 127.0.0.1:7000",
        "hexad cluster restore /backups/monday --node 127.0.0.1:8000",
    ],
    "tests/hexad/test_up.py::test_a_proxy_in_front": ["hexad up --proxy --dir /tmp/proxied"],
    "tests/chaos/test_sentinel.py::test_the_primary_is_replaced": [
        "docker compose -f deploy/compose/sentinel.yaml up -d",
    ],
    "tests/hexad/cluster/test_commands.py::test_a_new_cluster": [
        "hexad cluster create 10.0.0.1:7000 10.0.0.2:7000 10.0.0.3:7000 10.0.0.1:7001 10.0.0.2:7001 10.0.0.3:7001",
    ],
    "tests/hexad/cluster/test_commands.py::test_looking": [
        "hexad cluster check 127.0.0.1:7000",
        "hexad cluster info 127.0.0.1:7000",
        "hexad cluster watch 127.0.0.1:7000",
    ],
    "tests/hexad/cluster/test_commands.py::test_our_own_nodes": ["hexad cluster fix 127.0.0.1:7000"],
    "tests/hexad/cluster/test_commands.py::test_nodes_come_and_go": [
        "hexad cluster add 127.0.0.1:7000 127.0.0.1:7006 --replica-of auto",
        "hexad cluster remove 127.0.0.1:7000 127.0.0.1:7006",
        "hexad cluster failover 127.0.0.1:7000 127.0.0.1:7001",
    ],
    "tests/hexad/cluster/test_commands.py::test_costs_of_slots": [
        "hexad cluster rebalance 127.0.0.1:7000 --by memory --dry-run",
    ],
    "tests/hexad/cluster/test_cut_short.py::test_reshard_rebalance_and_remove": [
        "hexad cluster reshard 127.0.0.1:7000 --to 127.0.0.1:7001 --slots 0-99",
    ],
    "tests/hexad/cluster/test_roles.py::test_a_rolling_restart": [
        "hexad cluster rolling-restart 127.0.0.1:7000 --command 'systemctl restart redis-%p' --back",
    ],
    "tests/house/test_images.py::test_standalone": ["docker compose -f deploy/compose/standalone.yaml up -d"],
}

# Command -> "path/of/test_file.py::test_name" (without parameters).
RUN_BY: dict[str, str] = {command: test for test, commands in _RUNS.items() for command in commands}

# Commands that need nothing but the environment of `make up`, and end by themselves with 0.
RUN_AS_IT_IS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Example:
    """One command of the README, the line it starts on, and the output shown below it."""

    command: str
    line: int
    output: tuple[str, ...] = ()


def examples(text: str) -> list[Example]:
    """The commands in fenced blocks marked console or sh.

    In a console block a command stands behind `$ ` and what follows is its output; in an sh block each line that is
    neither empty nor a comment is a command. A backslash at the end of a line continues it.
    """
    found: list[Example] = []
    kind: str | None = None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.lstrip().startswith("```"):
            kind = line.strip().removeprefix("```").strip() if kind is None else None
        elif kind in SHELL_BLOCKS:
            command = _command(line, kind)
            if command is None:
                if kind == "console" and found:
                    found[-1] = Example(found[-1].command, found[-1].line, (*found[-1].output, line))
                continue
            while command.endswith("\\"):
                command = command[:-1].rstrip() + " " + next(lines, (0, ""))[1].strip()
            found.append(Example(command, number))
    return found


def _command(line: str, kind: str) -> str | None:
    line = line.strip()
    if kind == "console":
        return line[2:].strip() if line.startswith("$ ") else None
    return line.removeprefix("$ ") if line and not line.startswith("#") else None


def snippets(text: str, kind: str) -> list[tuple[int, str]]:
    """The fenced blocks of one kind: the line on which each begins, and its text."""
    found: list[tuple[int, str]] = []
    inside: list[str] | None = None
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if inside is not None:
                found.append((start, "\n".join(inside) + "\n"))
                inside = None
            elif line == f"```{kind}":
                inside, start = [], number + 1
        elif inside is not None:
            inside.append(line)
    return found


def unregistered(found: list[Example], run_by: dict[str, str], as_it_is: frozenset[str]) -> list[str]:
    """What does not fit between the README's commands and the registry, one line each."""
    commands = {example.command for example in found}
    missing = [e for e in found if e.command not in run_by and e.command not in as_it_is]
    return [
        *(f"README.md:{e.line}: no test runs {e.command!r}: name one in tests/house/readme.py" for e in missing),
        *(f"not in the README any more: {c!r}" for c in sorted((set(run_by) | as_it_is) - commands)),
        *(f"registered twice: {c!r}" for c in sorted(set(run_by) & as_it_is)),
        *(f"{c!r} is run by {t}, which does not exist" for c, t in sorted(run_by.items()) if not is_a_test(t)),
    ]


def is_a_test(test: str) -> bool:
    """There is such a test function (or method, as file::Class::name) in the checkout."""
    path, _, name = test.partition("::")
    if not name or not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return name.rpartition("::")[2] in functions
