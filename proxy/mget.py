"""MGET over several slots, the usual way: all its nodes are connected, and no two of its keys share a slot.

A GET for each key, and one object for all that go over one connection: they are answered in a row. So the cost of a
key is little more than its bytes. Whatever is unusual (a redirect, a node that is lost) goes on as a `Call` of its own,
and what does not begin so is cut by `proxy.scatter`.
"""

from typing import TYPE_CHECKING, Any

from node.net.resp import Argv
from node.slots import slot_of
from proxy.calls import Call, Router
from proxy.link import Link
from proxy.topology import LinkKey

if TYPE_CHECKING:
    from proxy.session import ProxySession

_ERROR = ord("-")


class MultiGet:
    """An MGET that is under way; `raw` is its reply once all values are back."""

    __slots__ = ("argv", "born_ms", "key", "missing", "null", "owner", "pieces", "raw", "refusal", "router")

    def __init__(self, session: "ProxySession", router: Router, argv: Argv, key: LinkKey) -> None:
        self.raw: bytes | None = None
        self.owner = session
        self.router = router
        self.argv = argv
        self.key = key
        self.missing = len(argv) - 1
        self.pieces: list[bytes] = [b""] * self.missing
        self.refusal = b""  # an error of one key that is the reply to all
        self.null = b"_\r\n" if session.resp3 else b"$-1\r\n"
        self.born_ms = router.clock.now_ms

    def place(self, at: int, raw: bytes) -> None:
        """One value is back, or an error: MGET has nothing to say of what is no string."""
        if raw[0] == _ERROR:
            if not raw.startswith(b"-WRONGTYPE"):
                self.refusal = self.refusal or raw
            raw = self.null
        self.pieces[at] = raw
        self.missing -= 1
        if not self.missing:
            self.finish()

    def finish(self) -> None:
        """All are back."""
        self.raw = self.refusal or b"*%d\r\n%b" % (len(self.pieces), b"".join(self.pieces))
        router = self.router
        if router.clock.now_ms - self.born_ms >= router.slow_ms:
            router.was_slow(self)
        self.owner.answered(self)


class Row:
    """The GETs of one MGET over one connection: it stands among that one's commands once for each."""

    __slots__ = ("_at", "argv", "names", "places", "whole")

    def __init__(self, whole: MultiGet) -> None:
        self.whole = whole
        self.argv = whole.argv
        self._at = 0  # how many are answered
        self.names: list[bytes] = []
        self.places: list[int] = []

    def reply(self, raw: bytes) -> None:
        at = self._at
        self._at = at + 1
        whole = self.whole
        whole.pieces[self.places[at]] = raw
        whole.missing -= 1
        if not whole.missing:
            whole.finish()

    def _next(self) -> Call:
        """What is the usual way no longer, as a call of its own."""
        at = self._at
        self._at = at + 1
        whole, name = self.whole, self.names[at]
        owner = Piece(whole, self.places[at])
        return Call(whole.router, owner, [b"GET", name], slot_of(name), whole.key, reads=True)

    def refused(self, raw: bytes) -> None:
        self._next().refused(raw)

    def lost(self, link: Link, reason: str) -> None:
        self._next().lost(link, reason)

    def unsent(self, link: Link, reason: str) -> None:
        self._next().unsent(link, reason)


class Piece:
    """Who waits for one value that is on a detour."""

    __slots__ = ("_place", "_whole")

    def __init__(self, whole: MultiGet, place: int) -> None:
        self._whole = whole
        self._place = place

    def answered(self, call: Any) -> None:
        self._whole.place(self._place, call.raw)

    def detour(self) -> None:
        self._whole.owner.detour()

    def unknown(self) -> None:
        self._whole.owner.unknown()


def rows_of(session: "ProxySession", router: Router, argv: Argv, key: LinkKey) -> dict[Link, Row] | None:
    """What goes over which connection of an MGET that waits for nothing; None: it is not a usual one."""
    owners = router.topology.owners
    whole = MultiGet(session, router, argv, key)
    rows: dict[Any, Row] = {}
    links: dict[Link, Row] = {}
    slots = set()
    for place, name in enumerate(argv[1:]):
        slot = slot_of(name)
        owner = owners[slot]
        row = rows.get(owner)
        if row is None:
            link = owner.links.get(key) if owner is not None else None
            if link is None or not link.ready:
                return None
            row = rows[owner] = links[link] = Row(whole)
        row.names.append(name)
        row.places.append(place)
        slots.add(slot)
    if len(slots) != len(argv) - 1 or router.choose_reader is not None or not router.topology.is_cluster:
        return None
    return links
