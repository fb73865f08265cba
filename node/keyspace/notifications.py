"""Keyspace notifications: what happens to keys, as messages to the subscribers of this node.

`notify-keyspace-events` says which classes of events are told (`g` generic, `$` string, ... `A` for most of them) and
where: K in the channel of the key, `__keyspace@<db>__:<key>`, whose messages are events; E in the channel of the event,
`__keyevent@<db>__:<event>`, whose messages are keys. An event goes to both in this order. Other nodes never hear of it:
each tells of the changes that it makes itself, a replica of those that it copies.
"""

from typing import Protocol

from node.config.values import EVENTS_IN_ALL
from node.keyspace.keyspace import Keyspace


class Publisher(Protocol):
    """Where the messages go."""

    @property
    def has_listeners(self) -> bool: ...

    def publish(self, channel: bytes, message: bytes) -> int: ...


class Notifications:
    """Turns the events of a keyspace into messages."""

    def __init__(self, keyspace: Keyspace, publisher: Publisher) -> None:
        self._keyspace = keyspace
        self._publisher = publisher
        self._classes: frozenset[str] = frozenset()
        self._by_key = self._by_event = False
        keyspace.notify = self.tell

    def set_classes(self, flags: str) -> None:
        """Tell of these from now on: the value of `notify-keyspace-events`, in its normal form."""
        self._by_key, self._by_event = "K" in flags, "E" in flags
        classes = frozenset(flags) - frozenset("KEA")
        self._classes = classes | EVENTS_IN_ALL if "A" in flags else classes
        self._keyspace.set_listening("notifications", bool(self._classes) and (self._by_key or self._by_event))

    def tell(self, kind: str, event: str, key: bytes, db: int) -> None:
        """Tell of one event, if its class is wanted and anybody listens."""
        if kind not in self._classes or not self._publisher.has_listeners:
            return
        name = event.encode()
        if self._by_key:
            self._publisher.publish(b"__keyspace@%d__:%b" % (db, key), name)
        if self._by_event:
            self._publisher.publish(b"__keyevent@%d__:%b" % (db, name), key)
