"""Private connections: lent to one client at a time, kept a while for the next. Sans-IO."""

from collections.abc import Callable

from proxy.link import Link
from proxy.topology import LinkKey, Node

IDLE_LINKS_MAX = 16
"""How many private connections to a node are kept for their next use."""
PRIVATE_LINKS_MAX = 10_000
"""How many clients at a time may have a private connection to one node."""


class TooManyPrivate(Exception):
    """More clients than are let wait at one node; the text is for the client."""


class Pool:
    """The private connections to all nodes. `make(node, key)` begins a new one."""

    def __init__(self, make: Callable[[Node, LinkKey], Link]) -> None:
        self._make = make
        self.lent: dict[Link, None] = {}

    def take(self, node: Node, key: LinkKey) -> Link:
        """A connection that is nobody else's; `give_back` or `drop` it. Raises TooManyPrivate."""
        link: Link
        for link in node.idle:
            if link.key == key:
                node.idle.remove(link)
                break
        else:
            if node.private_count >= PRIVATE_LINKS_MAX:
                raise TooManyPrivate(f"ERR proxy: {PRIVATE_LINKS_MAX} clients have a connection of their own already")
            link = self._make(node, key)
        link.patient_until_ms = 0.0
        node.private_count += 1
        self.lent[link] = None
        return link

    def give_back(self, link: Link) -> None:
        """The client is done with it; a connection in the middle of something is closed."""
        if self.lent.pop(link, self) is self:
            return
        link.node.private_count -= 1
        if link.pending or link.queue or not link.ready or len(link.node.idle) >= IDLE_LINKS_MAX:
            link.fail("no longer needed")
        else:
            link.node.idle.append(link)

    def drop(self, link: Link) -> None:
        """The client is done with it, and nobody knows what state it is in."""
        if self.lent.pop(link, self) is not self:
            link.node.private_count -= 1
        link.fail("no longer needed")

    def ended(self, link: Link) -> None:
        """A private connection is gone."""
        if self.lent.pop(link, self) is not self:
            link.node.private_count -= 1
        if link in link.node.idle:
            link.node.idle.remove(link)

    def unwatch(self, link: Link) -> None:
        """A connection that has watched keys is free: forget them before its next use."""
        if link in self.lent and link.ready and not link.pending:
            link.send(Unwatching(self, link))
        else:
            self.drop(link)


class Unwatching:
    """UNWATCH on a connection that goes back."""

    __slots__ = ("_link", "_pool", "argv")

    def __init__(self, pool: Pool, link: Link) -> None:
        self._pool = pool
        self._link = link
        self.argv = [b"UNWATCH"]

    def reply(self, _raw: bytes) -> None:
        self._pool.give_back(self._link)

    def refused(self, _raw: bytes) -> None:
        self._pool.drop(self._link)

    def lost(self, _link: Link, _reason: str) -> None:
        pass

    def unsent(self, _link: Link, _reason: str) -> None:
        pass
