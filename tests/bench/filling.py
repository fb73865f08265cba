"""Containers for the measurements: their elements, and the commands that write them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from node.net.resp import encode_command
from tests.support.servers import Server
from tests.support.wire import Wire

AT_ONCE = 500
"""Elements of one command."""
Words = tuple[bytes, ...]


class Shape(NamedTuple):
    """How a container of one type is written: a command, and the words of the n-th element."""

    command: bytes
    element: Callable[[int], Words]


def name(number: int) -> bytes:
    return b"element:%012d" % number


SHAPES = {
    "list": Shape(b"RPUSH", lambda n: (name(n),)),
    "hash": Shape(b"HSET", lambda n: (name(n), b"value:%06d" % n)),
    "set": Shape(b"SADD", lambda n: (name(n),)),
    "zset": Shape(b"ZADD", lambda n: (b"%d" % (n * 7919 % 1_000_003), name(n))),
}


def commands(kind: str, key: bytes, elements: int) -> Iterator[list[bytes]]:
    """The commands that make a container of so many elements."""
    if kind == "stream":
        for number in range(1, elements + 1):
            yield [b"XADD", key, b"%d-0" % number, b"field", b"value"]
        return
    shape = SHAPES[kind]
    for start in range(0, elements, AT_ONCE):
        words = [word for n in range(start, min(start + AT_ONCE, elements)) for word in shape.element(n)]
        yield [shape.command, key, *words]


def fill(server: Server, kind: str, elements: int, keys: int = 1) -> None:
    """Write `keys` containers, named `kind:0` and so on."""
    with server.wire(timeout_s=120) as wire:
        batch: list[bytes] = []
        for number in range(keys):
            for words in commands(kind, b"%b:%d" % (kind.encode(), number), elements):
                batch.append(encode_command(words))
                if len(batch) >= AT_ONCE // (1 if len(words) < AT_ONCE else 50):
                    send(wire, batch)
        send(wire, batch)


def send(wire: Wire, batch: list[bytes]) -> None:
    """Send what is in the batch, wait for the replies, and empty it."""
    wire.send_raw(b"".join(batch))
    for _ in batch:
        wire.read()
    batch.clear()
