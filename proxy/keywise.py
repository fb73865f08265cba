"""MGET, DEL, UNLINK, EXISTS, TOUCH over several slots, the usual way: all their nodes are connected.

A GET (DEL...) for each key, and one object for all that go over one connection: they are answered in a row. So the cost
of a key is little more than its bytes. Keys that share a slot are sent together, by a `Call`, and whatever is unusual
(a redirect, a node that is lost) goes on as a `Call` of its own; what does not begin so is cut by `proxy.scatter`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from node.net.resp import Argv
from node.slots import slot_of, slots_of
from node.table import READ, Command
from proxy.calls import Call, Owner, Router
from proxy.cutter import elements
from proxy.link import Link
from proxy.scatter import null_of
from proxy.stories import NO_SENSE, NONSENSE
from proxy.topology import LinkKey

if TYPE_CHECKING:
    from proxy.session import ProxySession

_ERROR, _ARRAY = ord("-"), ord("*")

KEYWISE = {"mget": b"GET", "del": b"DEL", "unlink": b"UNLINK", "exists": b"EXISTS", "touch": b"TOUCH"}
"""What is asked for one key, by what is asked for many."""


class Shares(NamedTuple):
    """Where the keys of a command are, each by its place in it."""

    rows: list[tuple[Link, list[int]]]
    """By connection, those that share their slot with no other; none, where the node is only asked for others."""
    together: list[tuple[int, list[int]]]
    """By slot, those that share it: a node gets them at once, so that they are of one moment."""


class Keywise:
    """A command that is under way key by key; `raw` is its reply once all answers are back."""

    __slots__ = ("__dict__", "argv", "born_ms", "command", "key", "missing", "owner", "pieces", "raw", "router")
    refusal = b""
    """An error of one key that is the reply to all; it stands in the `__dict__`, which few get."""

    def __init__(self, session: "ProxySession", router: Router, command: Command, argv: Argv, key: LinkKey) -> None:
        self.raw: bytes | None = None
        self.owner = session
        self.router = router
        self.command = command
        self.argv = argv
        self.key = key
        self.missing = len(argv) - 1
        self.pieces = argv.copy()  # of the reply: its head, then each key's answer, once that is back
        self.pieces[0] = b"*%d\r\n" % self.missing
        self.born_ms = router.clock.now_ms

    def send(self, shares: Shares) -> None:
        """Ask for all."""
        argv, word = self.argv, KEYWISE[self.command.name]
        for link, places in shares.rows:
            if places:
                link.send_each(word, argv, places, Row(self, places))
        for slot, places in shares.together:
            words = [argv[0], *[argv[place] for place in places]]
            self.router.send(self.call(Together(self, places), words, slot))

    def call(self, owner: Owner, words: Argv, slot: int) -> Call:
        """A part that goes on alone."""
        return Call(self.router, owner, words, slot, self.key, self.command.flags & READ != 0)

    @property
    def is_mget(self) -> bool:
        """Are the answers values, each for its place, and not counts?"""
        return self.command.name == "mget"

    def put(self, place: int, raw: bytes) -> None:
        """One answer is back, or an error: MGET has nothing to say of what is no string."""
        if raw[0] == _ERROR:
            if not self.is_mget or not raw.startswith(b"-WRONGTYPE"):
                self.refusal = self.refusal or raw
            raw = null_of(self.owner)
        self.pieces[place] = raw
        self.missing -= 1
        if not self.missing:
            self.finish()

    def finish(self) -> None:
        """All are back."""
        self.raw = self.refusal or (b"".join(self.pieces) if self.is_mget else self._total())
        router = self.router
        if router.clock.now_ms - self.born_ms >= router.slow_ms:
            router.was_slow(self)
        self.owner.answered(self)

    def _total(self) -> bytes:
        """How many keys were there, as the nodes have told of each, or of several at once."""
        try:
            return b":%d\r\n" % sum([int(piece[1:-2]) for piece in self.pieces[1:]])
        except NONSENSE:
            return b"-%b\r\n" % NO_SENSE


class Row:
    """The keys of one command over one connection: it stands among that one's commands once for each."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: Keywise, places: list[int]) -> None:
        self._whole = whole
        self._places = iter(places)  # in the command, of the keys that are not answered

    @property
    def argv(self) -> Argv:
        """The command that it is a part of."""
        return self._whole.argv

    def reply(self, raw: bytes) -> None:
        whole = self._whole
        whole.pieces[next(self._places)] = raw
        whole.missing -= 1
        if not whole.missing:
            whole.finish()

    def _next(self) -> Call:
        """What is the usual way no longer, as a call of its own."""
        whole, place = self._whole, next(self._places)
        name = whole.argv[place]
        return whole.call(Piece(whole, place), [KEYWISE[whole.command.name], name], slot_of(name))

    def refused(self, raw: bytes) -> None:
        self._next().refused(raw)

    def lost(self, link: Link, reason: str) -> None:
        self._next().lost(link, reason)

    def unsent(self, link: Link, reason: str) -> None:
        self._next().unsent(link, reason)


class Piece:
    """Who waits for the answer of one key that is on a detour."""

    __slots__ = ("_place", "_whole")

    def __init__(self, whole: Keywise, place: int) -> None:
        self._whole = whole
        self._place = place

    def answered(self, call: Any) -> None:
        self._whole.put(self._place, call.raw)

    def detour(self) -> None:
        self._whole.owner.detour()

    def unknown(self) -> None:
        self._whole.owner.unknown()


class Together:
    """Who waits for the answer of the keys that share a slot."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: Keywise, places: list[int]) -> None:
        self._whole = whole
        self._places = places

    def answered(self, call: Any) -> None:
        raw, places = call.raw, self._places
        if not self._whole.is_mget:
            values = [raw, *[b":0\r\n"] * (len(places) - 1)]
        else:
            values = elements(raw) if raw[0] == _ARRAY else []
        if len(values) != len(places):
            values = [raw if raw[0] == _ERROR else b"-%b\r\n" % NO_SENSE] * len(places)
        for place, value in zip(places, values, strict=True):
            self._whole.put(place, value)

    def detour(self) -> None:
        self._whole.owner.detour()

    def unknown(self) -> None:
        self._whole.owner.unknown()


def shares_of(router: Router, argv: Argv, key: LinkKey) -> Shares | None:
    """Where a command's keys are; None: it goes on as it is, or not all nodes are connected, or others may read."""
    slots = slots_of(argv[1:])
    slots_count = len(set(slots))
    if slots_count == 1 or router.choose_reader is not None or not router.topology.is_cluster:
        return None
    owners = router.topology.owners
    shares: dict[Any, list[int]] = {}
    alone: Iterable[tuple[int, int]] = enumerate(slots, 1)
    together: list[tuple[int, list[int]]] = []
    if slots_count != len(slots):
        alone, together = _apart(slots)
    for place, slot in alone:
        owner = owners[slot]
        if owner in shares:
            shares[owner].append(place)
        else:
            shares[owner] = [place]
    for slot, _ in together:
        shares.setdefault(owners[slot], [])
    rows = []
    for owner, places in shares.items():
        link = owner.links.get(key) if owner is not None else None
        if link is None or not link.ready:
            return None
        rows.append((link, places))
    return Shares(rows, together)


def _apart(slots: list[int]) -> tuple[list[tuple[int, int]], list[tuple[int, list[int]]]]:
    """The keys whose slot no other has, as (place, slot), and the places of all others by slot."""
    found: dict[int, list[int]] = {}
    for place, slot in enumerate(slots, 1):
        found.setdefault(slot, []).append(place)
    alone = [(places[0], slot) for slot, places in found.items() if len(places) == 1]
    return alone, [(slot, places) for slot, places in found.items() if len(places) > 1]
