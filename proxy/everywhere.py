"""Commands about all keys, or for all nodes: KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHALL, WAIT.

Each primary is asked; a node that is out of reach is waited for as a command for one key is (`retry-timeout`).

SCAN walks the slots, in order, so that its cursor is a slot and means the same to every proxy, whatever moves
meanwhile. A slot is asked of its owner first; if its keys are on their way, the node to which they go is asked when
the owner has answered: keys move from the owner to the other only, so one that is not seen before its move is seen
after it. Keys that move may be told twice, none is left out. A slot is told as a whole.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from node.datatypes.numbers import parse_int
from node.glob import compile_glob
from node.net.resp import Argv, CommandError, Failure, Reply
from node.slots import SLOTS
from proxy.calls import AGAIN_MS, LOST
from proxy.shapes import forward
from proxy.stories import Ask, AskLink, AskNode, Pause, Story, begin, must, value_of
from proxy.topology import Node, parse_own_slots

if TYPE_CHECKING:
    from proxy.server import Proxy

SLOTS_AT_ONCE = 256
"""How many slots one call of SCAN counts at a time."""
SCAN_KEYS_MAX = 1 << 31


def on_all(proxy: "Proxy", argv: Argv) -> Story:
    """(node, reply) of every primary. A node that cannot be reached is looked for again until the deadline."""
    until_ms = proxy.monotonic_ms() + proxy.settings.retry_timeout_ms
    while True:
        nodes = proxy.topology.primaries
        replies = yield [AskNode(node, argv) for node in nodes]
        failed = [reply for reply in replies if type(reply) is Failure and reply.startswith(b"UNREACHABLE")]
        if nodes and not failed and (proxy.topology.is_whole or not proxy.topology.is_cluster):
            return list(zip(nodes, replies, strict=True))
        if proxy.monotonic_ms() >= until_ms:
            why = bytes(failed[0]) if failed else b"a slot has no owner"
            raise CommandError(b"CLUSTERDOWN proxy: not all slots can be reached: " + why)
        proxy.look_soon()
        yield [Pause(AGAIN_MS)]


def total(client: Any, argv: Argv) -> Story:
    """DBSIZE."""
    replies = yield from on_all(client.host, argv)
    return sum(must(reply) for _, reply in replies)


def earliest(client: Any, argv: Argv) -> Story:
    """LASTSAVE: since then not everything is on disk."""
    replies = yield from on_all(client.host, argv)
    return min(must(reply) for _, reply in replies)


def everybody(client: Any, argv: Argv) -> Story:
    """A command that all primaries run: their common reply, or the first error."""
    replies = yield from on_all(client.host, argv)
    for _, reply in replies:
        must(reply)
    return replies[0][1]


def keys(client: Any, argv: Argv) -> Story:
    """KEYS."""
    replies = yield from on_all(client.host, argv)
    return list(dict.fromkeys(key for _, reply in replies for key in must(reply)))


def random_key(client: Any, _argv: Argv) -> Story:
    """RANDOMKEY: a node is drawn by its share of the keys."""
    proxy: Proxy = client.host
    replies = yield from on_all(proxy, [b"DBSIZE"])
    sizes = [(node, int(must(size))) for node, size in replies]
    total_keys = sum(size for _, size in sizes)
    if total_keys <= 0:
        return None
    drawn = proxy.platform.random.randrange(total_keys)
    for node, size in sizes:
        drawn -= size
        if drawn < 0:
            (key,) = yield [AskNode(node, [b"RANDOMKEY"])]
            return must(key)
    return None


def anybody(client: Any, argv: Argv) -> Story:
    """A command that any one primary can answer for all."""
    proxy: Proxy = client.host
    owner = next(iter(proxy.topology.primaries), None)
    slot = proxy.topology.owners.index(owner) if owner is not None else 0
    (reply,) = yield [Ask(slot, argv, reads=True)]
    return reply


def wait(client: Any, argv: Argv) -> Story:
    """WAIT replicas timeout: the fewest replicas that any primary's last write has reached.

    A private connection has written nothing that a node would wait for, so it publishes to nobody first.
    """
    proxy: Proxy = client.host
    if any(parse_int(word) is None for word in argv[1:]):
        raise CommandError("ERR value is not an integer or out of range")
    if argv[2].startswith(b"-"):
        raise CommandError("ERR timeout is negative")
    key = client.private_key._replace(database=0)
    links = [proxy.pool.take(node, key) for node in proxy.topology.primaries]
    try:
        yield [AskLink(link, [b"PUBLISH", b"__hexad-proxy__:wait", b""]) for link in links]
        for link in links:
            link.patient_until_ms = proxy.monotonic_ms() + int(argv[2]) if int(argv[2]) else inf
        counts = yield [AskLink(link, argv) for link in links]
        return min((0 if _is_gone(count) else must(count) for count in counts), default=0)
    finally:
        for link in links:
            proxy.pool.give_back(link)


def _is_gone(reply: Reply) -> bool:
    """Was the node lost that was asked? Then nobody knows which replicas have what."""
    return type(reply) is Failure and reply.startswith((b"UNREACHABLE", LOST))


# --- SCAN -------------------------------------------------------------------------------------------------------------


class ScanWords:
    """The arguments of SCAN. Raises CommandError."""

    def __init__(self, argv: Argv) -> None:
        cursor = parse_int(argv[1])
        if cursor is None or not argv[1].isdigit():
            raise CommandError("ERR invalid cursor")
        self.slot = cursor
        self.count = 10
        self.pattern: bytes | None = None
        self.kind: bytes | None = None
        at = 2
        while at < len(argv):
            option = argv[at].lower()
            if at + 1 >= len(argv) or option not in (b"match", b"count", b"type"):
                raise CommandError("ERR syntax error")
            self._option(option, argv[at + 1])
            at += 2

    def _option(self, option: bytes, value: bytes) -> None:
        if option == b"match":
            self.pattern = None if value == b"*" else value
        elif option == b"type":
            self.kind = value.lower()
        else:
            count = parse_int(value)
            if count is None:
                raise CommandError("ERR value is not an integer or out of range")
            if count < 1:
                raise CommandError("ERR syntax error")
            self.count = min(count, SCAN_KEYS_MAX)


def scan(client: Any, argv: Argv) -> Reply:
    """SCAN: one cursor over all nodes. In front of one server it is that server's."""
    if not client.host.topology.is_cluster:
        return forward(client, argv)
    return begin(client, _scan(client, ScanWords(argv)))


def _scan(client: Any, words: ScanWords) -> Story:
    proxy: Proxy = client.host
    slot = words.slot
    found: dict[bytes, None] = {}
    while slot < SLOTS and len(found) < words.count:
        slots = range(slot, min(SLOTS, slot + SLOTS_AT_ONCE))
        counts = yield from _patiently(proxy, partial(_counts, proxy, slots))
        full = []
        wanted = words.count - len(found)
        for slot in slots:
            if counts[slot - slots.start] and wanted > 0:
                full.append(slot)
                wanted -= counts[slot - slots.start]
            if wanted <= 0:
                break
        slot += 1
        if full:
            keys_found = yield from _patiently(proxy, partial(_keys_in, proxy, full))
            found.update(dict.fromkeys(keys_found))
        if words.count < SLOTS_AT_ONCE:
            break  # a small COUNT is no reason to look at every slot in one call
    chosen = yield from _chosen(proxy, list(found), words)
    return [b"%d" % (slot if slot < SLOTS else 0), chosen]


def _patiently(proxy: "Proxy", look: Callable[[], Story]) -> Story:
    """What a look finds; one that met a node out of reach is repeated until the deadline."""
    until_ms = proxy.monotonic_ms() + proxy.settings.retry_timeout_ms
    while True:
        try:
            found = yield from look()
        except CommandError as error:
            if not error.reply.startswith((b"UNREACHABLE", LOST)) or proxy.monotonic_ms() >= until_ms:
                raise
            proxy.look_soon()
            yield [Pause(AGAIN_MS)]
        else:
            return found


def _counts(proxy: "Proxy", slots: range) -> Story:
    """How many keys each slot has, on all nodes that may have some."""
    orders = [[b"CLUSTER", b"COUNTKEYSINSLOT", b"%d" % slot] for slot in slots]
    replies, elsewhere = yield from _ask_slots(proxy, list(slots), orders)
    counts = [_count_of(raw) for raw in replies]
    for slot, raw in elsewhere:
        counts[slot - slots.start] += _count_of(raw)
    return counts


def _count_of(raw: bytes) -> int:
    """The number in a raw reply, without the way of values: there are 16384 of them in a whole SCAN."""
    return int(raw[1:-2]) if raw[:1] == b":" else int(must(value_of(raw)))


def _keys_in(proxy: "Proxy", slots: list[int]) -> Story:
    """The keys of some slots, wherever they are."""
    orders = [[b"CLUSTER", b"GETKEYSINSLOT", b"%d" % slot, b"%d" % SCAN_KEYS_MAX] for slot in slots]
    replies, elsewhere = yield from _ask_slots(proxy, slots, orders)
    found: list[bytes] = []
    for raw in [*replies, *(raw for _, raw in elsewhere)]:
        found += must(value_of(raw))
    return found


def _ask_slots(proxy: "Proxy", slots: list[int], orders: list[Argv]) -> Story:
    """Ask the owner of each slot, and then, of slots that are on their way, the node to which their keys go.

    The raw replies of the owners, and (slot, raw reply) of the others. Each owner is asked after its answers whether
    the slots were still its own: if not, the look was too late and is taken again.
    """
    if not proxy.topology.is_whole:
        yield from on_all(proxy, [b"PING"])
    owners = [_known(proxy.topology.owners[slot]) for slot in slots]
    nodes = list(dict.fromkeys(owners))
    counted = [AskNode(owner, order, raw=True) for owner, order in zip(owners, orders, strict=True)]
    replies = yield [*counted, *(AskNode(node, [b"CLUSTER", b"NODES"]) for node in nodes)]
    told = {node: parse_own_slots(must(text)) for node, text in zip(nodes, replies[len(slots) :], strict=True)}
    asks: list[tuple[int, AskNode]] = []
    for slot, owner, order in zip(slots, owners, orders, strict=True):
        own = told[owner]
        if slot not in own.slots:
            raise CommandError("UNREACHABLE the slot has just moved")
        target = own.leaving.get(slot)
        if target is not None:
            asks.append((slot, AskNode(proxy.topology.node(target), order, raw=True)))
    others = yield [ask for _, ask in asks]
    return replies[: len(slots)], [(slot, raw) for (slot, _), raw in zip(asks, others, strict=True)]


def _known(owner: Node | None) -> Node:
    if owner is None:
        raise CommandError("CLUSTERDOWN proxy: a slot has no owner: begin the SCAN's last call again")
    return owner


def _chosen(proxy: "Proxy", found: list[bytes], words: ScanWords) -> Story:
    """The keys that fit MATCH and TYPE."""
    if words.pattern is not None:
        fits = compile_glob(words.pattern)
        found = [key for key in found if fits(key)]
    if words.kind is not None and found:
        kinds = yield [Ask(proxy.slot(key), [b"TYPE", key], reads=True) for key in found]
        found = [key for key, kind in zip(found, kinds, strict=True) if must(kind) == words.kind]
    return found
