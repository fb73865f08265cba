"""Failovers as scripts: tests/traces/sentinel/*.txt hold commands and, under each, what the Sentinels then said.

A trace is reviewed as a diff: run with HEXAD_REWRITE_TRACES=1 to write what happens now, and read the change. A
script's commands, one a line behind `> `:

    world seed=N [sentinels=N] [replicas=N] [quorum=N] [down=MS] [timeout=MS]     begin (once, first)
    run MS                     let time pass
    until TEXT                 let time pass until a line with this text, 60 s at most
    crash NAME... / start NAME...   stop at once / start as it was configured last
    cut A B / isolate NAME... / heal
    delay MIN MAX              how long the wires take, in milliseconds
    pause NAME... / resume NAME...   the process sleeps
    priority NAME N / offset NAME N   of a node
    clock NAME MS              its clock jumps by so much
    disk NAME broken|works     whether its configuration file can be written
    failover NAME              SENTINEL FAILOVER
    show                       every node's role and every Sentinel's view
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinel.events import Failover, SentinelError
from tests.sentinel.world import World

TRACES = sorted((Path(__file__).parents[1] / "traces" / "sentinel").glob("*.txt"))


def perform(world: World, words: list[str]) -> list[str]:
    """Perform one command; return what it shows itself."""
    match words:
        case ["run", time_ms]:
            world.run(int(time_ms))
        case ["until", *text]:
            wanted = " ".join(text)
            world.run_until(lambda: any(wanted in line for line in world.trace), 60_000)
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
        case ["pause" | "resume" as verb, *names]:
            for name in names:
                world.hosts[name].is_paused = verb == "pause"
        case ["priority", name, number]:
            world.nodes[name].priority = int(number)
        case ["offset", name, number]:
            world.nodes[name].offset = int(number)
        case ["clock", name, jump_ms]:
            world.watchers[name].skew_ms += int(jump_ms)
        case ["disk", name, state]:
            world.watchers[name].disk_is_broken = state == "broken"
        case ["delay", least, most]:
            world.delay_ms = int(least), int(most)
        case ["failover", name]:
            try:
                world.watchers[name].handle(Failover("m"))
            except SentinelError as error:
                return [f"-{error}"]
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
            world = World(options.pop("seed"), **options)
            continue
        told += perform(world, words)
        told += world.trace
        world.trace.clear()
    return "\n".join(told) + "\n"


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_failover_goes_as_written(path: Path) -> None:
    written = path.read_text()
    now = play(written)
    if os.environ.get("HEXAD_REWRITE_TRACES"):
        path.write_text(now)
    assert now == written or os.environ.get("HEXAD_REWRITE_TRACES")
