"""Publish and subscribe through the proxy: one subscription at a node, whoever and however many listen to it here.

Who listens is the node's own table (`node.pubsub`); this module sees to it that what any client listens to arrives:
`where` says at which nodes a name has to be subscribed to. Channels and patterns: one node, since a cluster passes
messages on to all. Keyspace events (`__key...`): every primary, since they are not passed on. Shard channels: the
node of their slot. A client is told that it has subscribed once the nodes have confirmed it, so nothing published
after that passes it by. Commands that come meanwhile, from any client, wait for that too, `HOLD_MS` at most: programs
subscribe over one connection and look over another, without waiting, since a single Redis takes the two in turn.
After a failover, or when a connection breaks, everything is subscribed to anew; what was published meanwhile is lost,
as it is when a Redis restarts.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from node.net.replies import ReplyParser
from node.net.resp import Argv, CommandError, Failure, Reply
from node.net.session import Waiting
from node.pubsub import CHANNELS, PATTERNS, SHARD_CHANNELS, Kind, PubSub
from proxy.link import Link, append_command
from proxy.topology import Node

if TYPE_CHECKING:
    from proxy.server import Proxy

Name = tuple[Kind, bytes]

VERBS = {CHANNELS: b"SUBSCRIBE", PATTERNS: b"PSUBSCRIBE", SHARD_CHANNELS: b"SSUBSCRIBE"}
_UNVERBS = {CHANNELS: b"UNSUBSCRIBE", PATTERNS: b"PUNSUBSCRIBE", SHARD_CHANNELS: b"SUNSUBSCRIBE"}
_MESSAGES = {b"message": CHANNELS, b"pmessage": PATTERNS, b"smessage": SHARD_CHANNELS}
_CONFIRMED = {b"subscribe": CHANNELS, b"psubscribe": PATTERNS, b"ssubscribe": SHARD_CHANNELS}
HOLD_MS = 100
"""A node that confirms more slowly holds nobody up for longer: then a message may be missed."""
AGAIN_MS = 100
"""How long a connection that broke is left alone before the next."""


class ListenerTable(PubSub):
    """The clients' subscriptions; `unwanted` hears of a name that nobody listens to any more."""

    def __init__(self, unwanted: Callable[[Kind, bytes], None]) -> None:
        super().__init__()
        self._unwanted = unwanted

    def _remove(self, client: Any, kind: Kind, name: bytes) -> None:
        super()._remove(client, kind, name)
        if name not in self.tables[kind.place]:
            self._unwanted(kind, name)

    def patterns_for(self, channel: bytes) -> list[bytes]:
        """The patterns of clients that fit a channel."""
        return [pattern for pattern, fits in self._fits.items() if fits(channel)]

    def receivers(self, channel: bytes) -> int:
        """How many times a message to a channel would be sent here."""
        return len(self.channels.get(channel, ())) + sum(len(self.patterns[p]) for p in self.patterns_for(channel))


class Feed:
    """The subscriptions at one node, over a connection of their own."""

    def __init__(self, hub: "Hub", node: Node) -> None:
        self._hub = hub
        self.node = node
        self.asked: set[Name] = set()
        self.confirmed: set[Name] = set()
        self._parser = ReplyParser()
        self._is_up = False
        self.link: Link = hub.proxy.feed_link(node)
        self.link.on_push = self._receive
        self.link.send(Opening(self))

    def opened(self) -> None:
        """The connection stands: subscribe to what has been asked for meanwhile."""
        self._is_up = True
        for kind, name in self.asked:
            self._say(VERBS[kind], name)

    def ask(self, name: Name) -> None:
        """Subscribe."""
        if name not in self.asked:
            self.asked.add(name)
            if self._is_up:
                self._say(VERBS[name[0]], name[1])

    def leave(self, name: Name) -> None:
        """Unsubscribe; does nothing if there is no such subscription."""
        if name in self.asked:
            self.asked.discard(name)
            self.confirmed.discard(name)
            if self._is_up:
                self._say(_UNVERBS[name[0]], name[1])

    def _say(self, verb: bytes, name: bytes) -> None:
        append_command(self.link.out, [verb, name])
        self.link.touch()

    def _receive(self, raw: bytes) -> None:
        self._parser.feed(raw)
        for value in self._parser.parse():
            if type(value) is Failure:  # a shard channel whose slot has moved, or no permission
                self._hub.refused(self, value)
                return
            self._told(value)

    def _told(self, parts: list[Any]) -> None:
        kind = _MESSAGES.get(parts[0])
        if kind is not None:
            from_elsewhere = kind is not SHARD_CHANNELS and self.node is not self._hub.home
            if from_elsewhere and not parts[-2].startswith(b"__key"):
                return  # the home node tells it, too: a cluster passes messages on
            self._hub.proxy.pubsub.deliver(kind, parts[1], tuple(parts))
        elif (confirmed := _CONFIRMED.get(parts[0])) is not None:
            if (confirmed, parts[1]) in self.asked:
                self.confirmed.add((confirmed, parts[1]))
                self._hub.confirmed((confirmed, parts[1]))
        elif parts[0] == b"sunsubscribe" and (SHARD_CHANNELS, parts[1]) in self.asked:  # its slot has moved away
            self.asked.discard((SHARD_CHANNELS, parts[1]))
            self.confirmed.discard((SHARD_CHANNELS, parts[1]))
            self._hub.proxy.look_soon()
            self._hub.settle_later()


class Opening:
    """The first command of a feed: its answer says that the connection stands; its loss, that the feed is gone."""

    __slots__ = ("_feed", "argv")

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.argv = [b"PING"]

    def reply(self, _raw: bytes) -> None:
        self._feed.opened()

    refused = reply

    def lost(self, _link: Link, _reason: str) -> None:
        pass

    unsent = lost


class Subscribing(Waiting):
    """A client that waits until what it subscribes to is confirmed by the nodes."""

    __slots__ = ("argv", "client", "hub", "missing", "run")
    postponed = True

    def __init__(self, hub: "Hub", client: Any, run: Any, argv: Argv, missing: set[Name]) -> None:
        self.hub = hub
        self.client = client
        self.run = run
        self.argv = argv
        self.missing = missing

    def cancelled(self, _session: Any) -> None:
        self.hub.give_up(self)

    def timeout_reply(self) -> Reply:
        return Failure(b"ERR proxy: no node confirmed the subscription in time")


class Hub:
    """What the proxy's clients listen to, brought from the nodes."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.feeds: dict[Node, Feed] = {}
        self.wanted: dict[Name, None] = {}
        self._waiting: dict[Subscribing, None] = {}
        self._home: Node | None = None
        self._timer: Any = None
        self._seen_changes = -1
        self.is_settling = False  # somebody subscribes, and it is not confirmed
        self._held: dict[Any, None] = {}  # the sessions that wait for that
        self._release_timer: Any = None

    # --- what clients want ----------------------------------------------------------------------------------------

    def subscribe(self, client: Any, kind: Kind, run: Any, argv: Argv) -> Reply:
        """Subscribe a client once the nodes have confirmed the names; `run` is the node's own command."""
        names = {(kind, name) for name in argv[1:]}
        for name in names:
            self.want(name)
        missing = {name for name in names if not self.is_confirmed(name)}
        if not missing:
            return run(client, argv)
        waiting = Subscribing(self, client, run, argv, missing)
        self._waiting[waiting] = None
        if not self.is_settling:
            self.is_settling = True
            self._release_timer = self.proxy.timers.after(HOLD_MS, self._release)
        return client.park(waiting, self.proxy.settings.retry_timeout_ms)

    def hold(self, session: Any) -> None:
        """Let a session go on once what is being subscribed to is confirmed; `released` is called."""
        self._held[session] = None

    def _release(self) -> None:
        self.is_settling = False
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        held, self._held = self._held, {}
        for session in held:
            session.released()

    def want(self, name: Name) -> None:
        """Have a name subscribed to."""
        if name not in self.wanted:
            self.wanted[name] = None
            for node in self.where(name):
                self._feed(node).ask(name)

    def unwanted(self, kind: Kind, name: bytes) -> None:
        """Nobody listens to a name any more, unless somebody is about to."""
        if any((kind, name) in waiting.missing for waiting in self._waiting):
            return
        if self.wanted.pop((kind, name), self) is not self:
            for feed in self.feeds.values():
                feed.leave((kind, name))

    def give_up(self, waiting: Subscribing) -> None:
        """A client waits for its subscription no longer."""
        self._waiting.pop(waiting, None)
        if not self._waiting and self.is_settling:
            self._release()
        for kind, name in waiting.missing:
            if name not in self.proxy.pubsub.tables[kind.place]:
                self.unwanted(kind, name)

    # --- where names are ------------------------------------------------------------------------------------------

    @property
    def home(self) -> Node | None:
        """The node that messages are taken from and published at."""
        primaries = self.proxy.topology.primaries
        if self._home is None or self._home not in primaries:
            self._home = primaries[0] if primaries else None
        return self._home

    def where(self, name: Name) -> Iterable[Node]:
        """The nodes at which a name has to be subscribed to."""
        kind, text = name
        topology = self.proxy.topology
        if kind is SHARD_CHANNELS:
            owner = topology.owners[self.proxy.slot(text)]
            return [owner] if owner is not None else []
        if text.startswith(b"__key") or (kind is PATTERNS and text[:1] in b"*?["):
            return topology.primaries
        return [self.home] if self.home is not None else []

    def is_confirmed(self, name: Name) -> bool:
        """Does the name arrive from everywhere it has to?"""
        nodes = list(self.where(name))
        return bool(nodes) and all(node in self.feeds and name in self.feeds[node].confirmed for node in nodes)

    def _feed(self, node: Node) -> Feed:
        feed = self.feeds.get(node)
        if feed is None:
            feed = self.feeds[node] = Feed(self, node)
        return feed

    # --- what happens ---------------------------------------------------------------------------------------------

    def confirmed(self, name: Name) -> None:
        """A node has confirmed a name."""
        if not self.is_confirmed(name):
            return
        for waiting in list(self._waiting):
            waiting.missing.discard(name)
            if waiting.missing:
                continue
            del self._waiting[waiting]
            try:
                reply = waiting.run(waiting.client, waiting.argv)
            except CommandError as error:
                reply = error.reply
            waiting.client.resume(reply)
        if not self._waiting and self.is_settling:
            self._release()

    def refused(self, feed: Feed, failure: Failure) -> None:
        """A node would not subscribe to something."""
        self.proxy.heed(failure)
        feed.link.fail(failure.decode("utf-8", "replace"))

    def link_ended(self, link: Link) -> None:
        """A connection is gone; if it was a feed, another takes its place."""
        feed = self.feeds.get(link.node)
        if feed is not None and feed.link is link:
            del self.feeds[link.node]
            if link.node is self._home:
                self._home = None
            self.settle_later()

    def settle_later(self) -> None:
        """See soon that every name is subscribed to where it has to be."""
        if self._timer is None and self.wanted:
            self._timer = self.proxy.timers.after(AGAIN_MS, self._settle_now)

    def _settle_now(self) -> None:
        self._timer = None
        self._seen_changes = -1
        self.settle()

    def settle(self) -> None:
        """The topology may be another one: subscribe where names are now, leave where they are no longer."""
        if self._seen_changes == self.proxy.topology.changes:
            return
        self._seen_changes = self.proxy.topology.changes
        wanted_at: dict[Node, set[Name]] = {}
        for name in self.wanted:
            for node in self.where(name):
                wanted_at.setdefault(node, set()).add(name)
        for node, names in wanted_at.items():
            feed = self._feed(node)
            for name in names - feed.asked:
                feed.ask(name)
        for node, feed in list(self.feeds.items()):
            for name in feed.asked - wanted_at.get(node, set()):
                feed.leave(name)
            if not feed.asked:
                del self.feeds[node]
                feed.link.fail("nobody listens any more")
        for name in list(self.wanted):
            self.confirmed(name)
