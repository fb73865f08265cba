"""Watched keys: which clients' transactions an event spoils. WATCH, and the check that EXEC makes.

A `Watcher` is one client's set of watched keys. The first of them that changes spoils it for good (until UNWATCH or the
end of its transaction), so nothing more is kept for it from then on. A touch costs one look-up, and nobody who watches
nothing pays: the keyspace only calls while there are watched keys.

What counts as a change:

- any command that touches the key, whether or not the value is another one afterwards;
- its removal by expiry, eviction, FLUSHALL, SWAPDB, a full synchronization or the loss of its slot;
- that its time is over at EXEC, though nobody has removed it yet (`is_spoiled`).

A key whose time was over already when it was watched is as good as not there, so its removal is no change. And what an
emptied or swapped database did not hold before and does not hold after has not changed.
"""

from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.keyspace.database import Database

KeyName = tuple[int, bytes]
"""(number of the database, key)"""


class Watcher:
    """What one client watches, and whether any of it has changed."""

    __slots__ = ("keys", "spoiled")

    def __init__(self) -> None:
        self.keys: dict[KeyName, bool] = {}  # True: its time was over when it was watched, and it is still there
        self.spoiled = False


class Watching:
    """All watched keys of a node."""

    def __init__(self, databases: "list[Database]", listen: Callable[[bool], None]) -> None:
        self.keys: dict[KeyName, dict[Watcher, None]] = {}
        self._databases = databases
        self._listen = listen

    def watch(self, watcher: Watcher, db: "Database", keys: Iterable[bytes]) -> None:
        """Watch keys of `db`, too. A watcher that is spoiled needs no more of them."""
        if watcher.spoiled:
            return
        if not self.keys:
            self._listen(True)
        for key in keys:
            name = (db.index, key)
            if name not in watcher.keys:
                watcher.keys[name] = db.is_over(key)
                self.keys.setdefault(name, {})[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """Forget all that it watches."""
        for name in watcher.keys:
            watchers = self.keys[name]
            del watchers[watcher]
            if not watchers:
                del self.keys[name]
        watcher.keys = {}
        if not self.keys:
            self._listen(False)

    def is_spoiled(self, watcher: Watcher) -> bool:
        """Has something changed, or is a key's time over that was alive when it was watched?"""
        return watcher.spoiled or any(
            not was_over and self._databases[index].is_over(key) for (index, key), was_over in watcher.keys.items()
        )

    # --- events ---------------------------------------------------------------------------------------------------

    def touch(self, db: "Database", key: bytes) -> None:
        """`key` has changed, or has gone."""
        name = (db.index, key)
        watchers = self.keys.get(name)
        if watchers is None:
            return
        gone = not db.holds(key)
        for watcher in list(watchers):
            if gone and watcher.keys[name]:
                watcher.keys[name] = False
            else:
                self._spoil(watcher)

    def left(self, db: "Database", keys: Container[bytes]) -> None:
        """A whole slot, with these keys, has left `db`; each of them is told of only later."""
        for index, key in list(self.keys):
            if index == db.index and key in keys:
                self.touch(db, key)

    def replace(self, db: "Database", by: "Database | None" = None) -> None:
        """`db` is about to hold what `by` holds now; None: nothing at all."""
        if db is not self._databases[db.index]:  # one that is being loaded beside the clients'
            return
        for name in [name for name in self.keys if name[0] == db.index]:
            key = name[1]
            was, comes = db.holds(key), by is not None and by.holds(key)
            if not was and not comes:
                continue
            over = by is not None and by.is_over(key)
            for watcher in list(self.keys.get(name, ())):
                nothing_before = watcher.keys[name] if was else True
                if nothing_before and (over or not comes):
                    watcher.keys[name] = over
                else:
                    self._spoil(watcher)

    def _spoil(self, watcher: Watcher) -> None:
        self.unwatch(watcher)
        watcher.spoiled = True
