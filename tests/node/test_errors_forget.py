"""An error reply leaves nothing behind: an exception that is raised again and again does not keep what raised it."""

from __future__ import annotations

import ast
import gc
from types import TracebackType

from tests.house.source import product
from tests.support.local import LocalNode

ERRORS = 200


def kept_tracebacks() -> int:
    gc.collect()
    return sum(isinstance(one, TracebackType) for one in gc.get_objects())


def test_errors_of_every_way_keep_no_frames() -> None:
    client = LocalNode().client()
    client.raw("RPUSH", "l", "a")
    ways = [
        [("GET", "l")],
        [("EVAL", "return redis.pcall('get', 'l')", 0)],
        [("EVAL", "return redis.call('set', 'l', 'a', 'b', 'c')", 0)],
        [("MULTI",), ("GET", "l"), ("EXEC",)],
        [("SET", "s", "x"), ("INCR", "s")],
        [("XREADGROUP", "GROUP", "g", "c", "BLOCK", "x", "STREAMS", "s", ">")],
        [("XACK", "l", "g", "x")],
        [("COMMAND", "GETKEYS", "MIGRATE", "h", "x", "k", "0", "x")],
        [("FCALL", "nosuch", 0)],
        [("BLPOP", "s", "0")],
    ]
    before = kept_tracebacks()
    for lines in ways:
        for _ in range(ERRORS):
            for line in lines:
                client.raw(*line)
    assert kept_tracebacks() - before < ERRORS / 10


def test_whoever_catches_an_error_of_a_command_lets_it_forget() -> None:
    careless = [
        f"{module.path}:{node.lineno}"
        for module in product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and "CommandError" in ast.unparse(node.type)
        and not any(isinstance(part, ast.Attribute) and part.attr in ("reply", "forget") for part in ast.walk(node))
    ]
    assert not careless
