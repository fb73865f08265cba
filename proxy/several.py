"""Commands that look at several keys and take from some of them: LMPOP and ZMPOP; XREAD and XREADGROUP cut by slots.

A pop asks one key after another, in the client's order, until one gives: what is popped is always delivered. Streams
are told in the client's order.
"""

from typing import TYPE_CHECKING, Any

from node.datatypes.numbers import parse_int
from node.net.resp import NULL_ARRAY, Argv, CommandError, NullArray, Reply
from proxy.stories import Ask, Story, must

if TYPE_CHECKING:
    from proxy.server import Proxy

UNBALANCED = "ERR Unbalanced '{name}' list of streams: for each stream key an ID, '+', or '$' must be specified."


def is_nothing(reply: Reply) -> bool:
    """A null of either kind."""
    return reply is None or type(reply) is NullArray


def multi_pop(client: Any, argv: Argv) -> Story:
    """LMPOP, ZMPOP: numkeys key [key ...] END [COUNT count]."""
    count = parse_int(argv[1]) or 0
    keys, rest = argv[2 : 2 + count], argv[2 + count :]
    for key in keys:
        (popped,) = yield [Ask(client.host.slot(key), [argv[0], b"1", key, *rest])]
        if not is_nothing(must(popped)):
            return popped
    return NULL_ARRAY


class StreamWords:
    """XREAD or XREADGROUP taken apart: what stands before STREAMS, the streams, and how long to wait."""

    def __init__(self, argv: Argv) -> None:
        at = next((at for at, word in enumerate(argv) if at and word.lower() == b"streams"), 0)
        if not at:
            raise CommandError("ERR syntax error")
        names = argv[at + 1 :]
        if not names or len(names) % 2:
            raise CommandError(UNBALANCED.format(name=argv[0].decode("latin-1").lower()))
        half = len(names) // 2
        self.streams = list(zip(names[:half], names[half:], strict=True))
        self.head: Argv = []
        self.block_ms: int | None = None
        self._take_block(argv[:at])

    def _take_block(self, words: Argv) -> None:
        at = 0
        while at < len(words):
            if words[at].lower() == b"block" and at + 1 < len(words):
                timeout_ms = parse_int(words[at + 1])
                if timeout_ms is None:
                    raise CommandError("ERR timeout is not an integer or out of range")
                if timeout_ms < 0:
                    raise CommandError("ERR timeout is negative")
                self.block_ms = timeout_ms
                at += 2
                continue
            takes = 3 if words[at].lower() == b"group" else 2 if words[at].lower() == b"count" else 1
            self.head += words[at : at + takes]
            at += takes

    def parts(self, proxy: "Proxy") -> dict[int, Argv]:
        """The command for each slot, without BLOCK."""
        grouped: dict[int, list[tuple[bytes, bytes]]] = {}
        for key, entry in self.streams:
            grouped.setdefault(proxy.slot(key), []).append((key, entry))
        return {
            slot: [*self.head, b"STREAMS", *(key for key, _ in pairs), *(entry for _, entry in pairs)]
            for slot, pairs in grouped.items()
        }

    def joined(self, replies: list[Reply]) -> Reply:
        """One reply of those of the parts, in the client's order."""
        found: dict[bytes, Reply] = {}
        as_map = False
        for reply in replies:
            if is_nothing(must(reply)):
                continue
            as_map = as_map or type(reply) is dict
            found.update(reply.items() if type(reply) is dict else reply)
        if not found:
            return NULL_ARRAY
        ordered = {key: found[key] for key, _ in self.streams if key in found}
        return ordered if as_map else [[key, entries] for key, entries in ordered.items()]
