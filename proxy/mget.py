"""MGET over several slots, the usual way: all its nodes are connected, and no two of its keys share a slot.

A GET for each key, and one object for all that go over one connection: they are answered in a row. So the cost of a
key is little more than its bytes. Whatever is unusual (a redirect, a node that is lost) goes on as a `Call` of its own,
and what does not begin so is cut by `proxy.scatter`.
"""

from typing import TYPE_CHECKING, Any

from node.net.resp import Argv
from node.slots import slot_of, slots_of
from proxy.calls import Call, Router
from proxy.link import Link
from proxy.scatter import null_of
from proxy.topology import LinkKey

if TYPE_CHECKING:
    from proxy.session import ProxySession

_ERROR = ord("-")


class MultiGet:
    """An MGET that is under way; `raw` is its reply once all values are back."""

    __slots__ = ("__dict__", "argv", "born_ms", "key", "missing", "owner", "pieces", "raw", "router")
    refusal = b""
    """An error of one key that is the reply to all; it stands in the `__dict__`, which few get."""

    def __init__(self, session: "ProxySession", router: Router, argv: Argv, key: LinkKey) -> None:
        self.raw: bytes | None = None
        self.owner = session
        self.router = router
        self.argv = argv
        self.key = key
        self.missing = len(argv) - 1
        self.pieces = argv.copy()  # of the reply: its head, then each key's value, once that is back
        self.pieces[0] = b"*%d\r\n" % self.missing
        self.born_ms = router.clock.now_ms

    def put(self, place: int, raw: bytes) -> None:
        """One value is back, or an error: MGET has nothing to say of what is no string."""
        if raw[0] == _ERROR:
            if not raw.startswith(b"-WRONGTYPE"):
                self.refusal = self.refusal or raw
            raw = null_of(self.owner)
        self.pieces[place] = raw
        self.missing -= 1
        if not self.missing:
            self.finish()

    def finish(self) -> None:
        """All are back."""
        self.raw = self.refusal or b"".join(self.pieces)
        router = self.router
        if router.clock.now_ms - self.born_ms >= router.slow_ms:
            router.was_slow(self)
        self.owner.answered(self)


class Row:
    """The GETs of one MGET over one connection: it stands among that one's commands once for each."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: MultiGet, places: list[int]) -> None:
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
        return Call(whole.router, Piece(whole, place), [b"GET", name], slot_of(name), whole.key, True)

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
        self._whole.put(self._place, call.raw)

    def detour(self) -> None:
        self._whole.owner.detour()

    def unknown(self) -> None:
        self._whole.owner.unknown()


def shares_of(router: Router, argv: Argv, key: LinkKey) -> list[tuple[Link, list[int]]] | None:
    """The places of the keys of an MGET by the connection that they go over, if it waits for nothing; None: it is not
    a usual one."""
    slots = slots_of(argv[1:])
    if len(set(slots)) != len(slots) or router.choose_reader is not None or not router.topology.is_cluster:
        return None
    owners = router.topology.owners
    shares: dict[Any, list[int]] = {}
    for place, slot in enumerate(slots, 1):
        owner = owners[slot]
        if owner in shares:
            shares[owner].append(place)
        else:
            shares[owner] = [place]
    found = []
    for owner, places in shares.items():
        link = owner.links.get(key) if owner is not None else None
        if link is None or not link.ready:
            return None
        found.append((link, places))
    return found
