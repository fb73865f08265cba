"""Draws with repetitions, of which a client may ask for any number: as many as it may have waiting for it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from node.net.peer import CLOSE_NOW
from node.server import Client

ItemT = TypeVar("ItemT")

LOOK_AFTER = 4096
"""So many draws are made between two looks at what has come together."""
ITEM_BYTES = 8
"""What a short string takes on the wire beside its own bytes, about."""


def drawn(client: Client, items: Iterable[ItemT], size: Callable[[ItemT], int]) -> list[ItemT]:
    """The items of a reply.

    A client that could not have them all within its output limit is closed as soon as they exceed it: it might have
    asked for more than there is memory. A script has no such limit.

    size -- how many bytes an item has.
    """
    found: list[ItemT] = []
    pending_bytes = 0
    for piece in _pieces(items):
        found += piece
        if len(piece) == LOOK_AFTER and client.host.scripts.running is None:
            pending_bytes += sum(map(size, piece)) + ITEM_BYTES * LOOK_AFTER
            if client.output_limit_exceeded(pending_bytes):
                client.close(CLOSE_NOW)
                return []
    return found


def _pieces(items: Iterable[ItemT]) -> Iterator[list[ItemT]]:
    rest = iter(items)
    while piece := list(islice(rest, LOOK_AFTER)):
        yield piece
