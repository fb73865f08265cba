"""`hexad cluster backup` and `restore` run in the process of the tests; data of every kind, and how it is compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hexad.cluster.program import main
from node.platform import Platform
from node.slots import slot_of
from tests.support import Server, Wire

DEBUG = {"enable_debug_command": "yes"}
LIBRARY = "#!lua name=mine\nredis.register_function('mine', function() return 7 end)"
LONG = 5200
"""Elements of what is long, above `feeding.LONG_ELEMENTS`."""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Heard(Platform):
    """A Platform whose words are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.out = self.err = ""

    def write_out(self, text: str) -> None:
        self.out += text

    def write_error(self, text: str) -> None:
        self.err += text

    def is_terminal(self) -> bool:
        return False


def run(*words: str | Path, at: Server | int, platform: Heard | None = None) -> Ran:
    """Run one of the two commands beside a node."""
    heard = platform or Heard()
    port = at if isinstance(at, int) else at.port
    code = main([*map(str, words), "--node", f"127.0.0.1:{port}"], heard)
    return Ran(code, heard.out, heard.err)


class Shards:
    """Wires to the primaries, each command to the one that its key belongs to."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.wires = [server.wire(timeout_s=60.0) for server in servers]
        self.owner = [self.wires[0]] * 16384
        for wire in self.wires if len(self.wires) > 1 else ():
            for line in wire("CLUSTER", "NODES").decode().splitlines():
                words = line.split()
                if "myself" in words[2]:
                    for first, _, last in (word.partition("-") for word in words[8:]):
                        for slot in range(int(first), int(last or first) + 1):
                            self.owner[slot] = wire

    def of(self, key: str) -> Wire:
        return self.owner[slot_of(key.encode())]

    def __call__(self, name: str, key: str, *words: Any) -> Any:
        return self.of(key)(name, key, *words)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()

    def clear(self) -> None:
        for wire in self.wires:
            assert wire("FLUSHALL") == "OK" and wire("FUNCTION", "FLUSH") == "OK"

    def all(self) -> dict[bytes, tuple[object, object]]:
        """Every key with its digest and the time at which it expires."""
        found = {}
        for wire in self.wires:
            keys = wire("KEYS", "*")
            digests = wire.pipeline([("DEBUG", "DIGEST-VALUE", key) for key in keys])
            times = wire.pipeline([("PEXPIRETIME", key) for key in keys])
            found |= {key: (digest[0], time) for key, digest, time in zip(keys, digests, times, strict=True) if digest}
        return found

    def size(self) -> int:
        return sum(wire("DBSIZE") for wire in self.wires)


def fill(shards: Shards, *, count: int = 200, genuine: bool = False) -> None:
    """Strings, containers of each type, short and long, with and without expiry; a library of functions."""
    for wire in shards.wires:
        assert wire("FUNCTION", "LOAD", "REPLACE", LIBRARY) == b"mine"
    for number in range(count):
        assert shards("SET", f"text:{number}", f"value {number}") == "OK"
    in_pairs = [str(number) for number in range(LONG)]
    for size, name in ((10, "short"), (LONG, "long")):
        words = in_pairs[:size]
        shards("RPUSH", f"list:{name}", *words)
        shards("SADD", f"set:{name}", *words, *["x"])
        shards("SADD", f"ints:{name}", *words)
        shards("ZADD", f"zset:{name}", *[part for word in words for part in (f"{int(word) / 8}", "m" + word)])
        shards("HSET", f"hash:{name}", *[part for word in words for part in (word, "v" + word)])
        assert shards("PEXPIREAT", f"hash:{name}", 4_000_000_000_123) == 1
    shards("ZADD", "zset:ends", "inf", "top", "-inf", "bottom", "-0", "zero", "1.7976931348623157e308", "most")
    shards("SET", "string:long", "x" * 1_300_000)
    shards("SET", "string:bytes", bytes(range(256)) * 8)
    shards("SET", "bits", "42")
    shards("PFADD", "hll", *in_pairs[:500])
    shards("SET", "soon", "gone", "PXAT", 4_000_000_000_000)
    for number in range(300):
        shards("XADD", "stream", f"{number + 1}-1", "field", number)
    shards.of("stream")("XGROUP", "CREATE", "stream", "group", "5")
    shards.of("stream")("XREADGROUP", "GROUP", "group", "ada", "COUNT", 7, "STREAMS", "stream", ">")
    if not genuine:
        shards("HSET", "fields", "a", 1, "b", 2)
        assert shards("HPEXPIREAT", "fields", 4_000_000_000_000, "FIELDS", 1, "a") == [1]
        shards("HSET", "fields:long", *[part for word in in_pairs for part in (word, "v")])
        assert shards("HPEXPIREAT", "fields:long", 4_000_000_000_000, "FIELDS", 2, "1", "2") == [1, 1]
