"""The five `lazyfree-` directives: what is big is freed in slices in any case; they choose what the journal says."""

from __future__ import annotations

import pytest

from tests.support.local import LocalNode

BIG = 1000
"""Elements of a value that is worth freeing in slices."""

CASES: dict[str, tuple[tuple[str, ...], bytes | None, bytes | None]] = {
    "lazyfree-lazy-user-del": (("DEL", "big"), None, None),
    "lazyfree-lazy-server-del": (("RENAME", "other", "big"), None, None),
    "lazyfree-lazy-user-flush": (("FLUSHALL",), None, None),
    "lazyfree-lazy-expire": (("GET", "big"), b"DEL", b"UNLINK"),
    "lazyfree-lazy-eviction": (("CONFIG",), b"DEL", b"UNLINK"),
}


@pytest.mark.parametrize("wanted", ["no", "yes"])
@pytest.mark.parametrize("directive", CASES)
def test_each_directive_has_its_meaning(directive: str, wanted: str) -> None:
    command, verb, lazy_verb = CASES[directive]
    node = LocalNode()
    client = node.client()
    entries: list[bytes] = []

    class Reader:
        def take_entry(self, db: int, entry: bytes) -> None:
            entries.append(entry)

    node.server.journal.add_reader(Reader())
    client.raw("CONFIG", "SET", directive, wanted)
    client.raw("RPUSH", "big", *range(BIG))
    client.raw("SET", "other", "v")
    if directive == "lazyfree-lazy-expire":
        client.raw("PEXPIRE", "big", 10)
        node.platform.time_ms += 20
    elif directive == "lazyfree-lazy-eviction":
        client.raw("DEL", "other")
        client.raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        client.raw("CONFIG", "SET", "maxmemory", str(node.server.memory.read() - 300_000))
        command = ("SET", "other", "v")
    entries.clear()
    client.raw(*command)
    reclaimer = node.server.background.reclaimer
    assert reclaimer.pending + reclaimer.freed > 0, "big values are freed in slices in any case"
    expected = lazy_verb if wanted == "yes" else verb
    if expected is not None:
        assert any(expected in entry and b"big" in entry for entry in entries), entries
    client.raw("CONFIG", "SET", "maxmemory", 0)
    node.pass_ms(100)
    info = dict(line.split(":", 1) for line in client.raw("INFO", "memory").decode().split("\r\n") if ":" in line)
    assert info["lazyfree_pending_objects"] == "0" and int(info["lazyfreed_objects"]) > 0
