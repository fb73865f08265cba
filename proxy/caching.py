"""Client-side caching towards the proxy's clients: CLIENT TRACKING in front of many nodes.

Who has read what, and who is told, is the node's own table (`node.tracking`). What changes at the nodes arrives over
one connection to each (`News`), on which `CLIENT TRACKING ON BCAST` was said: it names every key that changes, whoever
has written it. So nothing depends on the way by which a client has read.

- A key is remembered before its read is sent, and news for a client with answers under way follow those answers
  (`ProxySession.push`): else a client could be told of a change first, get the older value then, and keep it for ever.
- What may have changed unheard is told as changed: when a connection for news breaks, when the next one stands, and
  when the primaries are others than before, each client is told that no copy is good any more.
- Where replicas are read, they are listened to as well: a copy that was read there is old once the replica has the
  write, not when the primary has it.

NOLOOP: a client that wants no news of its own writes has connections of its own, which no other client's commands use
(`LinkKey.caller`), with `CLIENT TRACKING ON BCAST NOLOOP REDIRECT`: the nodes themselves leave out what it writes over
them. What it writes over yet another connection (a transaction with WATCH, a command that waits) it is told.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from node.commands.client_tracking import wanted_tracker
from node.net.resp import OK, Argv, CommandError, Failure, Push, Reply
from node.tracking import Figures, Tracker, Tracking
from proxy.calls import AGAIN_MS
from proxy.everywhere import on_all
from proxy.link import Link
from proxy.pool import TooManyPrivate
from proxy.stories import AskLink, Pause, Story, begin, value_of
from proxy.topology import LinkKey, Node

if TYPE_CHECKING:
    from proxy.server import Proxy


class News:
    """What one node tells of its keys, over a connection of its own. `tracking` hears it.

    `opening` is said first: CLIENT TRACKING, or CLIENT ID where another connection's news are redirected to this one.
    """

    def __init__(
        self, proxy: "Proxy", link: Link, opening: Argv, tracking: Tracking, is_late: Callable[[], bool]
    ) -> None:
        self.link = link
        self.tracking = tracking
        self.dial = proxy.begin_dialling
        self.is_late = is_late  # may something have been read before this stood?
        self.is_up = False
        self.number = b""  # of the connection at its node, if it was asked for
        self.waiting: list[Link] = []  # connections that are dialled once the number is known
        link.on_push = self._told
        link.send(Opening(self, opening))

    def _told(self, raw: bytes) -> None:
        message = value_of(raw)
        if type(message) is not Push or len(message) != 2 or message[0] != b"invalidate":
            return
        keys = message[1]
        if keys is None:
            self.tracking.emptied()
        elif isinstance(keys, list):
            for key in keys:
                if type(key) is bytes:
                    self.tracking.outdated(key, True)


class Opening:
    """The first command of a connection for news; its answer says that it hears from now on."""

    __slots__ = ("_news", "argv")

    def __init__(self, news: News, argv: Argv) -> None:
        self._news = news
        self.argv = argv

    def reply(self, raw: bytes) -> None:
        news = self._news
        news.is_up = True
        news.number = raw[1:-2]
        if news.is_late():
            news.tracking.emptied()  # whatever has changed before nobody has heard
        waiting, news.waiting = news.waiting, []
        for link in waiting:
            news.dial(link)

    def refused(self, raw: bytes) -> None:
        self._news.link.fail(f"{self.argv[0].decode()}: {raw[1:-2].decode('utf-8', 'replace')}")

    def lost(self, _link: Link, _reason: str) -> None:
        pass

    unsent = lost


class Apart:
    """One client with NOLOOP: a table of its own, and what each node tells it."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.news: dict[Node, News] = {}
        self.is_settled = False  # the client has been told that it tracks

    def has_begun(self) -> bool:
        """Does the client know that it tracks?"""
        return self.is_settled


class Caches(Tracking):
    """The clients of a proxy that keep copies, and the nodes that tell what has changed."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        super().__init__(*self._parts(self._somebody_tracks))
        self.apart: dict[int, Apart] = {}  # clients with NOLOOP, by number
        self.news: dict[Node, News] = {}
        self._opening = 0  # how many clients wait until the nodes are listened to
        self._primaries: list[Node] = []
        self._timer: Any = None

    def _parts(self, listen: Callable[[bool], None]) -> Any:
        proxy = self._proxy
        return proxy, listen, proxy.platform.random.randrange, proxy.wake_outside_of_batch, self._keys_of_a_table_max

    def _keys_of_a_table_max(self) -> int:
        """All tables together keep the bound of one; 0 if there is none."""
        bound = self._proxy.config.tracking_table_max_keys
        return max(1, bound // (1 + len(self.apart))) if bound else 0

    # --- who tracks -----------------------------------------------------------------------------------------------

    def track(self, client: Any, tracker: Tracker) -> None:
        old = client.tracker
        if old is not None and old.noloop != tracker.noloop:  # it goes over to the other table, with what it has
            tracker.prefixes = {**old.prefixes, **tracker.prefixes}
            tracker.caching = old.caching
            self.untrack(client)
        Tracking.track(self._apart(client).tracking if tracker.noloop else self, client, tracker)

    def untrack(self, client: Any) -> None:
        apart = self.apart.pop(client.id, None)
        if apart is None:
            super().untrack(client)
            return
        apart.tracking.untrack(client)
        for news in apart.news.values():
            self._proxy.pool.drop(news.link)
        for link in [link for link in self._proxy.links if link.key.caller == client.id]:
            link.fail("its client does not track any more")

    def _apart(self, client: Any) -> Apart:
        apart = self.apart.get(client.id)
        if apart is None:
            apart = self.apart[client.id] = Apart(Tracking(*self._parts(_nobody_listens)))
        return apart

    def _table_of(self, client: Any) -> Tracking:
        apart = self.apart.get(client.id)
        return self if apart is None else apart.tracking

    def _tables(self) -> list[Tracking]:
        return [apart.tracking for apart in self.apart.values()]

    def figures(self) -> Figures:
        every = [super().figures(), *(table.figures() for table in self._tables())]
        return Figures(*(sum(column) for column in zip(*every, strict=True)))

    # --- what is told ---------------------------------------------------------------------------------------------

    def remember_keys(self, tracker: Tracker, keys: Iterable[bytes]) -> None:
        table = self._table_of(tracker.client)
        if table is self:
            super().remember_keys(tracker, keys)
        else:
            table.remember_keys(tracker, keys)

    def broadcast(self) -> None:
        super().broadcast()
        if self.apart:
            for table in self._tables():
                table.broadcast()

    def all_old(self) -> None:
        """Nobody's copies are to be trusted any more."""
        self.emptied()
        for table in self._tables():
            table.emptied()

    # --- listening to nodes ---------------------------------------------------------------------------------------

    def _is_tracking(self) -> bool:
        return bool(self.trackers)

    def _somebody_tracks(self, is_so: bool) -> None:
        if not is_so:
            self._listen_no_more()

    def _listen_no_more(self) -> None:
        """Close what nobody needs."""
        if self.trackers or self._opening:
            return
        news, self.news = self.news, {}
        for one in news.values():
            one.link.fail("nobody tracks any more")

    def _nodes(self) -> list[Node]:
        """The nodes that clients read at."""
        primaries = self._proxy.topology.primaries
        if self._proxy.router.choose_reader is None:
            return primaries
        return list(dict.fromkeys([*primaries, *(one for node in primaries for one in node.replicas)]))

    def listen(self) -> list[News]:
        """Listen to all nodes that are read, and to no others."""
        nodes = self._nodes()
        for node in self.news.keys() - set(nodes):
            self.news.pop(node).link.fail("nobody reads there")
        for node in nodes:
            if node not in self.news:
                link = Link(self._proxy, node, LinkKey(resp3=True), is_private=True)
                self.news[node] = News(
                    self._proxy, link, [b"CLIENT", b"TRACKING", b"ON", b"BCAST"], self, self._is_tracking
                )
        return list(self.news.values())

    def opened(self) -> Story:
        """Return when all nodes are listened to. Raises CommandError: not within the deadline."""
        proxy = self._proxy
        until_ms = proxy.monotonic_ms() + proxy.settings.retry_timeout_ms
        self._opening += 1
        try:
            while True:
                replies = yield [AskLink(news.link, [b"PING"]) for news in self.listen()]
                failed = [reply for reply in replies if type(reply) is Failure]
                if replies and not failed and (proxy.topology.is_whole or not proxy.topology.is_cluster):
                    self._primaries = proxy.topology.primaries
                    return
                if proxy.monotonic_ms() >= until_ms:
                    why = bytes(failed[0]) if failed else b"a slot has no owner"
                    raise CommandError(b"CLUSTERDOWN proxy: not all nodes can be listened to: " + why)
                proxy.look_soon()
                yield [Pause(AGAIN_MS)]
        finally:
            self._opening -= 1
            proxy.soon(self._listen_no_more)  # unless the client tracks by then

    def settle(self) -> None:
        """The topology may be another one: listen to the nodes that are read now."""
        primaries = self._proxy.topology.primaries
        is_other = primaries != self._primaries
        self._primaries = primaries
        if self.trackers:
            self.listen()
        for number in self.apart:
            client: Any = self._proxy.sessions.get(number)
            if client is not None:
                for node in self._nodes():
                    self._proxy.link(node, client.link_key)
        if is_other:
            self.all_old()

    def _settle_later(self) -> None:
        if self._timer is None and (self.trackers or self.apart):
            self._timer = self._proxy.timers.after(AGAIN_MS, self._settle_now)

    def _settle_now(self) -> None:
        self._timer = None
        self.settle()

    # --- connections come and go ----------------------------------------------------------------------------------

    def prepare(self, link: Link) -> bool:
        """May this connection be dialled now? A client's own is dialled when the connection for its news stands."""
        number = link.key.caller
        if not number:
            return True
        apart, proxy = self.apart.get(number), self._proxy
        if apart is None:
            proxy.soon(lambda: link.failed("its client does not track any more"))
            return False
        news = apart.news.get(link.node)
        if news is None:
            try:
                own = proxy.pool.take(link.node, LinkKey(resp3=True))
            except TooManyPrivate as error:
                text = str(error)
                proxy.soon(lambda: link.failed(text))
                return False
            news = apart.news[link.node] = News(proxy, own, [b"CLIENT", b"ID"], apart.tracking, apart.has_begun)
        if not news.is_up:
            news.waiting.append(link)
        return news.is_up

    def greeting(self, link: Link) -> list[Argv]:
        """What a client's own connection says to its node about its news."""
        apart = self.apart.get(link.key.caller)
        news = apart.news.get(link.node) if apart is not None else None
        if news is None:
            return []
        return [[b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"NOLOOP", b"REDIRECT", news.number]]

    def link_ended(self, link: Link) -> None:
        """A connection is gone. If news came by it, or were caused by it, some may be missing."""
        news = self.news.get(link.node)
        if news is not None and news.link is link:
            del self.news[link.node]
            if news.is_up:
                self.emptied()
            self._settle_later()
            return
        for apart in self.apart.values():
            news = apart.news.get(link.node)
            if news is not None and (news.link is link or apart.tracking.trackers.get(link.key.caller)):
                self._part_lost(apart, news, link)
                return

    def _part_lost(self, apart: Apart, news: News, link: Link) -> None:
        """Of a client's own connections to a node and that for its news both go."""
        del apart.news[link.node]
        apart.tracking.emptied()
        waiting, news.waiting = news.waiting, []
        for other in waiting:
            other.failed("the connection for its news was lost")
        if news.link is not link:
            self._proxy.pool.drop(news.link)
        for other in [one for one in self._proxy.links if one.node is link.node and one.key.caller]:
            if other.key.caller in apart.tracking.trackers:
                other.fail("the connection for its news was lost")
        self._settle_later()


def _nobody_listens(_is_so: bool) -> None:
    """A client with NOLOOP has its news from connections of its own, which go with it."""


# --- the command ------------------------------------------------------------------------------------------------------


def tracking(client: Any, argv: Argv) -> Reply:
    """CLIENT TRACKING: the client is told when all nodes are listened to, so that it misses nothing after that."""
    proxy: Proxy = client.host
    if argv[2].lower() != b"on":
        return proxy.originals["client|tracking"](client, argv)
    tracker = wanted_tracker(client, argv)
    return begin(client, _track(proxy, client, tracker))


def tracking_in_transaction(client: Any, argv: Argv) -> Reply:
    """CLIENT TRACKING whose turn has come in EXEC, which cannot wait for it."""
    if argv[2].lower() == b"on":
        raise CommandError("ERR proxy: CLIENT TRACKING ON is not allowed in a transaction")
    return tracking(client, argv)


def _track(proxy: "Proxy", client: Any, tracker: Tracker) -> Story:
    if not tracker.noloop:
        yield from proxy.caches.opened()
    proxy.caches.track(client, tracker)
    if tracker.noloop:
        yield from on_all(proxy, [b"PING"])
        proxy.caches.apart[client.id].is_settled = True
    return OK
