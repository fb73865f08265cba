"""Publish and subscribe on one node: who listens to which channel, and how a message reaches them. Sans-IO.

Three kinds of subscription: to channels, to patterns of channels, and to shard channels, which are a name space of
their own and belong to the hash slot of their name. Each has a table of its own from name to subscribers, and a client
that has any subscription has its own list of them (`Session.subscriptions`), so that it can be taken out of all tables
when it goes.

A message is encoded once, and its bytes are appended to the output of every subscriber: RESP2 and RESP3 differ in one
byte. What a client's own command sends to it follows the reply of that command (`Session.push_bytes`).

Which channels a user may use is decided before: see `node.acl.touching` for those that a command names.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from node.glob import Predicate, compile_glob
from node.net.peer import CLOSE_NOW
from node.net.session import Session

Client: TypeAlias = Session[Any]

WATCHED_OUTPUT_BYTES = 1 << 20
"""Output of a subscriber above this is held against its limit at each message, and not only at the end of the batch:
one transaction may publish any number of them."""


class Kind(NamedTuple):
    """One of the three kinds of subscription, by the words of its replies."""

    place: int  # of its table, and of its list among a client's subscriptions
    subscribed: bytes
    unsubscribed: bytes
    message: bytes


CHANNELS = Kind(0, b"subscribe", b"unsubscribe", b"message")
PATTERNS = Kind(1, b"psubscribe", b"punsubscribe", b"pmessage")
SHARD_CHANNELS = Kind(2, b"ssubscribe", b"sunsubscribe", b"smessage")
KINDS = (CHANNELS, PATTERNS, SHARD_CHANNELS)

Subscriptions: TypeAlias = tuple[dict[bytes, None], dict[bytes, None], dict[bytes, None]]
"""What one client has subscribed to, by `Kind.place`, in the order in which it did."""

Subscribers: TypeAlias = dict[Client, None]


def counts(client: Client) -> tuple[int, int, int]:
    """How many channels, patterns and shard channels a client has subscribed to."""
    if client.subscriptions is None:
        return 0, 0, 0
    channels, patterns, shard_channels = client.subscriptions
    return len(channels), len(patterns), len(shard_channels)


def subscription_count(client: Client, kind: Kind) -> int:
    """The number in the replies of (un)subscribing: shard channels are counted alone, the others together."""
    channels, patterns, shard_channels = counts(client)
    return shard_channels if kind is SHARD_CHANNELS else channels + patterns


class PubSub:
    """The subscriptions of one node's clients."""

    def __init__(self) -> None:
        self.channels: dict[bytes, Subscribers] = {}
        self.patterns: dict[bytes, Subscribers] = {}
        self.shard_channels: dict[bytes, Subscribers] = {}
        self.tables = (self.channels, self.patterns, self.shard_channels)
        self._fits: dict[bytes, Predicate] = {}  # for each pattern that has subscribers

    # --- messages -------------------------------------------------------------------------------------------------

    @property
    def has_listeners(self) -> bool:
        """Could a message to a channel that is no shard channel reach anybody here?"""
        return bool(self.channels or self.patterns)

    def publish(self, channel: bytes, message: bytes, *, sharded: bool = False) -> int:
        """Send `message` to the subscribers of `channel` at this node; how many times it was sent.

        A client gets it once for the channel, then once for each of its patterns that fits.
        """
        sent = 0
        kind = SHARD_CHANNELS if sharded else CHANNELS
        subscribers = self.tables[kind.place].get(channel)
        if subscribers is not None:
            _send(subscribers, (kind.message, channel, message))
            sent = len(subscribers)
        if self.patterns and not sharded:
            for pattern, fits in self._fits.items():
                if fits(channel):
                    subscribers = self.patterns[pattern]
                    _send(subscribers, (PATTERNS.message, pattern, channel, message))
                    sent += len(subscribers)
        return sent

    def deliver(self, kind: Kind, name: bytes, parts: tuple[bytes, ...]) -> None:
        """Hand on a message that came from elsewhere to those who listen to `name` in this way."""
        subscribers = self.tables[kind.place].get(name)
        if subscribers is not None:
            _send(subscribers, parts)

    # --- subscriptions --------------------------------------------------------------------------------------------

    def subscribe(self, client: Client, kind: Kind, name: bytes) -> bool:
        """Subscribe `client` to `name`; False if it was already."""
        if client.subscriptions is None:
            client.set_subscriptions(({}, {}, {}))
        own = client.subscriptions[kind.place]
        if name in own:
            return False
        own[name] = None
        subscribers = self.tables[kind.place].get(name)
        if subscribers is None:
            subscribers = self.tables[kind.place][name] = {}
            if kind is PATTERNS:
                self._fits[name] = compile_glob(name)
        subscribers[client] = None
        return True

    def unsubscribe(self, client: Client, kind: Kind, name: bytes) -> bool:
        """End one subscription; False if there was none."""
        if client.subscriptions is None or name not in client.subscriptions[kind.place]:
            return False
        del client.subscriptions[kind.place][name]
        self._remove(client, kind, name)
        if not any(client.subscriptions):
            client.set_subscriptions(None)
        return True

    def forget(self, client: Client) -> None:
        """End all subscriptions of a client that goes, or begins anew, without a word to it."""
        if client.subscriptions is None:
            return
        for kind in KINDS:
            for name in client.subscriptions[kind.place]:
                self._remove(client, kind, name)
        client.set_subscriptions(None)

    def _remove(self, client: Client, kind: Kind, name: bytes) -> None:
        table = self.tables[kind.place]
        subscribers = table[name]
        del subscribers[client]
        if not subscribers:
            del table[name]
            if kind is PATTERNS:
                del self._fits[name]

    def drop_shard_channels(self, is_foreign: Callable[[bytes], bool]) -> None:
        """End the subscriptions to shard channels that are served elsewhere now; the subscribers are told."""
        for channel in [channel for channel in self.shard_channels if is_foreign(channel)]:
            for client in list(self.shard_channels[channel]):
                self.unsubscribe(client, SHARD_CHANNELS, channel)
                client.push_bytes(confirmation(client, SHARD_CHANNELS, SHARD_CHANNELS.unsubscribed, channel))

    def check(self) -> None:
        """Assert that tables and clients agree (for tests)."""
        for kind in KINDS:
            for name, subscribers in self.tables[kind.place].items():
                assert subscribers, name
                assert all(name in client.subscriptions[kind.place] for client in subscribers), name
        assert self._fits.keys() == self.patterns.keys()


def _send(subscribers: Subscribers, parts: tuple[bytes, ...]) -> None:
    """Append one message to the output of each subscriber."""
    body = message_body(parts)
    plain, push = b"*" + body, b">" + body
    for client in subscribers:
        data = push if client.resp3 else plain
        if client.held is not None:
            client.held += data
            continue
        out = client.out
        out += data
        if len(out) > WATCHED_OUTPUT_BYTES:
            _restrain(client)
        transport = client.transport
        if transport is not None:
            transport.touch()


def _restrain(client: Client) -> None:
    """A subscriber has much output: close it if that is more than its class may have, and keep nothing for it then."""
    transport = client.transport
    pending_bytes = len(client.out) if transport is None else transport.unsent_bytes()
    if client.closing != CLOSE_NOW and client.output_limit_exceeded(pending_bytes):
        client.close(CLOSE_NOW)
    if client.closing == CLOSE_NOW:
        client.out.clear()


def message_body(parts: tuple[bytes, ...]) -> bytes:
    """An array of bulk strings without its first byte, which is `*` in RESP2 and `>` in RESP3."""
    return b"%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def confirmation(client: Client, kind: Kind, word: bytes, name: bytes | None) -> bytes:
    """What a client gets for one name that it has subscribed to or left; None where there was nothing to leave."""
    if name is None:
        shown = b"_\r\n" if client.resp3 else b"$-1\r\n"
    else:
        shown = b"$%d\r\n%b\r\n" % (len(name), name)
    mark = b">" if client.resp3 else b"*"
    return b"%b3\r\n$%d\r\n%b\r\n%b:%d\r\n" % (mark, len(word), word, shown, subscription_count(client, kind))


def subscriber_counts(table: dict[bytes, Subscribers], names: Iterable[bytes]) -> list[bytes | int]:
    """Each name, and how many subscribers it has."""
    found: list[bytes | int] = []
    for name in names:
        found += (name, len(table.get(name, ())))
    return found
