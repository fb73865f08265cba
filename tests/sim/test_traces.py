"""Conversations as scripts: tests/traces/*.txt hold commands and, under each, what the nodes then said.

A trace is reviewed as a diff: run with HEXAD_REWRITE_TRACES=1 to write what happens now, and read the change. A
script's commands, one a line behind `> `:

    world seed=N [primaries=N] [replicas=N] [timeout=MS] [replica_votes=1]     begin (once, first)
    run MS                     let time pass
    crash NAME… / start NAME…  stop at once / start from its disk
    cut A B / isolate NAME… / heal
    order NAME failover|force|takeover
    forbid NAME                its settings forbid agreed voters
    silence NAME / offset NAME N    its settings forbid it to fail over / it has that much data
    show                       every node's view of everybody

A line of a view is a node: `*` a primary, `<p1` a replica of p1, `~` PFAIL, `!` FAIL, (slots@epoch).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gossip.events import Failover, SettingsChanged
from tests.sim.world import World

TRACES = sorted((Path(__file__).parents[1] / "traces").glob("*.txt"))


def perform(world: World, words: list[str]) -> list[str]:
    """Perform one command; return what it shows itself."""
    match words:
        case ["run", time_ms]:
            world.run(int(time_ms))
        case ["crash", *names]:
            for name in names:
                world.hosts[name].crash()
        case ["start", *names]:
            for name in names:
                world.hosts[name].start()
        case ["cut", one, other]:
            world.cut(one, other)
        case ["isolate", *names]:
            world.isolate(names)
        case ["heal"]:
            world.heal()
        case ["order", name, mode]:
            world.hosts[name].handle(Failover({"failover": ""}.get(mode, mode.upper())))
        case ["silence", name]:
            world.hosts[name].settings.replica_no_failover = True
            world.hosts[name].handle(SettingsChanged())
        case ["forbid", name]:
            world.hosts[name].settings.replica_votes = False
            world.hosts[name].handle(SettingsChanged())
        case ["offset", name, number]:
            world.hosts[name].data_offset = int(number)
        case ["show"]:
            return world.describe().splitlines()
        case _:
            raise ValueError(f"unknown command {words}")
    return []


def play(script: str) -> str:
    """Return the script with what happens now under each command.  Lines that begin with # stay."""
    world, told = None, []
    for line in script.splitlines():
        if line.startswith("#"):
            told.append(line)
        if not line.startswith("> "):
            continue
        told += ["", line] if told else [line]
        words = line[2:].split()
        if world is None:
            options = {name: int(value) for name, value in (word.split("=") for word in words[1:])}
            world = World(options.pop("seed"), options.pop("timeout", 2000), **options)
            continue
        told += perform(world, words)
        told += world.trace
        world.trace.clear()
        world.check_owners()
    return "\n".join(told) + "\n"


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_conversation_goes_as_written(path: Path) -> None:
    written = path.read_text()
    now = play(written)
    if os.environ.get("HEXAD_REWRITE_TRACES"):
        path.write_text(now)
    assert now == written or os.environ.get("HEXAD_REWRITE_TRACES")


def test_all_five_conversations_are_there() -> None:
    assert {path.stem for path in TRACES} >= {"vote", "failed-vote", "two-replicas", "old-primary", "minority"}
