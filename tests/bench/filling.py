"""Containers for the measurements: their elements, and the commands that write them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.support.servers import Server

AT_ONCE = 500
"""Elements of one command."""
Words = tuple[bytes | str | int, ...]


class Shape(NamedTuple):
    """How a container of one type is written: a command, and the words of the n-th element."""

    command: str
    element: Callable[[int], Words]


def name(number: int) -> bytes:
    return b"element:%012d" % number


SHAPES = {
    "list": Shape("RPUSH", lambda n: (name(n),)),
    "hash": Shape("HSET", lambda n: (name(n), b"value:%06d" % n)),
    "set": Shape("SADD", lambda n: (name(n),)),
    "zset": Shape("ZADD", lambda n: (n * 7919 % 1_000_003, name(n))),
}


def commands(kind: str, key: str, elements: int) -> Iterator[Words]:
    """The commands that make a container of so many elements."""
    if kind == "stream":
        for number in range(elements):
            yield ("XADD", key, f"{number + 1}-0", "field", "value")
        return
    shape = SHAPES[kind]
    for start in range(0, elements, AT_ONCE):
        words = (word for n in range(start, min(start + AT_ONCE, elements)) for word in shape.element(n))
        yield (shape.command, key, *words)


def fill(server: Server, kind: str, elements: int, keys: int = 1) -> None:
    """Write `keys` containers, named `kind:0` and so on."""
    with server.wire(timeout_s=120) as wire:
        batch: list[Words] = []
        for number in range(keys):
            for words in commands(kind, f"{kind}:{number}", elements):
                batch.append(words)
                if len(batch) >= AT_ONCE // (1 if len(words) < AT_ONCE else 50):
                    wire.pipeline(batch)
                    batch.clear()
        wire.pipeline(batch)
