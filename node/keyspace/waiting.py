"""Clients that wait for keys: who waits for which, and who is served when one appears.

First come, first served, for each key. A blocking command registers a `Waiter` under its keys, and its session
parks. A command that makes a key only notes that (`key_appeared`); once it has been journalled and answered, `serve`
lets the waiters try, in the order in which the keys appeared and the clients came. A waiter that is served may itself
make keys (a chain of BLMOVEs): `serve` goes on until nothing more has appeared.

No bound but that of the clients: each has one waiter, with the keys that it named in one request.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from node.keyspace.keyspace import Keyspace

KeyName = tuple[int, bytes]
"""(number of the database, key)"""


class Waiter(Protocol):
    """A blocked client's request. Keys are the ones it waits for, in the order it named them."""

    db: int
    keys: list[bytes]
    hears_of_loss: bool
    """It wants to be asked also when a key has gone."""

    def try_key(self, key: bytes) -> bool:
        """The key may be there: take what was waited for, answer, return True; or False if it is not what is wanted."""


class Waiters:
    """All blocked clients of a node by key. `is_there(database, key)` tells whether a key exists."""

    def __init__(self, is_there: Callable[[int, bytes], bool]) -> None:
        self.keys: dict[KeyName, dict[Waiter, None]] = {}
        self.appeared: dict[KeyName, None] = {}  # always the same dict: a session looks at it after each command
        self.before_serving: Callable[[], None] = _nothing
        """Takes the time anew: what woke a waiter may have run for long, and the key that it made be over by now."""
        self._is_there = is_there

    def add(self, waiter: Waiter) -> None:
        """Register a waiter under each of its keys."""
        for key in waiter.keys:
            self.keys.setdefault((waiter.db, key), {})[waiter] = None

    def remove(self, waiter: Waiter) -> None:
        """Forget a waiter: it was served, timed out, was unblocked, or its client is gone."""
        for key in waiter.keys:
            name = (waiter.db, key)
            queue = self.keys.get(name)
            if queue is not None:
                queue.pop(waiter, None)
                if not queue:
                    del self.keys[name]

    def key_appeared(self, db: int, key: bytes) -> None:
        """A key was made, got what a waiter may want, or has gone."""
        if (db, key) in self.keys:
            self.appeared[db, key] = None

    def databases_swapped(self, keyspace: "Keyspace", *numbers: int) -> None:
        """SWAPDB: keys that are waited for may be there all of a sudden."""
        for db, key in self.keys:
            if db in numbers:
                self.appeared[db, key] = None

    def serve(self) -> None:
        """Let waiters try the keys that have appeared, until nothing more has."""
        self.before_serving()
        while self.appeared:
            names = list(self.appeared)
            self.appeared.clear()
            for name in names:
                self._serve_key(name)

    def _serve_key(self, name: KeyName) -> None:
        """Let those who wait for one key try; once it is gone, only those who hear of that."""
        there = self._is_there(*name)
        for waiter in list(self.keys.get(name, ())):
            if (there or waiter.hears_of_loss) and waiter in self.keys.get(name, ()) and waiter.try_key(name[1]):
                self.remove(waiter)
                there = self._is_there(*name)

    def every(self) -> Iterable[Waiter]:
        """Each waiter once."""
        return {waiter: None for queue in self.keys.values() for waiter in queue}


def _nothing() -> None:
    pass
