"""SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, PUBLISH and SPUBLISH through the proxy: see `proxy.messages`."""

from typing import TYPE_CHECKING, Any

from node.net.resp import NO_REPLY, Argv, CommandError, Failure, Reply
from node.pubsub import CHANNELS, PATTERNS, SHARD_CHANNELS, Kind
from proxy.messages import AGAIN_MS, VERBS, Feed, ListenerTable
from proxy.pool import TooManyPrivate
from proxy.stories import Ask, AskLink, Pause, Story, begin, must

if TYPE_CHECKING:
    from proxy.server import Proxy


def subscribing(kind: Kind, run: Any) -> Any:
    """The `run` of a command that subscribes, from the node's own."""

    def subscribe(client: Any, argv: Argv) -> Reply:
        if client.transaction is not None:
            raise CommandError("ERR proxy: subscribing is not allowed in a transaction")
        if client.login and not client.may_hear.issuperset(argv[1:]):
            return begin(client, _ask_leave(client, kind, argv))
        client.may_hear = set()
        return client.host.hub.subscribe(client, kind, run, argv)

    return subscribe


def _ask_leave(client: Any, kind: Kind, argv: Argv) -> Story:
    """Subscribe as the client's own user at a node, to see whether that may; then SUBSCRIBE is run anew.

    The subscription that all clients share is the proxy's own user's, which may hear more than this one.
    """
    proxy: Proxy = client.host
    names_given = dict.fromkeys(argv[1:])
    by_slot: dict[int, list[bytes]] = {}
    for name in names_given:
        by_slot.setdefault(proxy.slot(name) if kind is SHARD_CHANNELS else 0, []).append(name)
    for slot, names in by_slot.items():
        replies = yield from _try_to_hear(client, kind, slot, names)
        for reply in replies:
            must(reply)
    client.may_hear = set(names_given)
    client.run_again()
    return NO_REPLY


def _try_to_hear(client: Any, kind: Kind, slot: int, names: list[bytes]) -> Story:
    """What a node says to the client's user about these subscriptions. Redirects are followed until the deadline."""
    proxy: Proxy = client.host
    until_ms = proxy.monotonic_ms() + proxy.settings.retry_timeout_ms
    while True:
        owner = proxy.topology.owners[slot]
        replies: list[Reply] = [Failure(b"UNREACHABLE no node serves the slot")]
        if owner is not None:
            try:
                link = proxy.pool.take(owner, client.private_key._replace(resp3=False, database=0))
            except TooManyPrivate as error:
                raise CommandError(str(error)) from None
            try:
                replies = yield [AskLink(link, [VERBS[kind], name]) for name in names]
            finally:
                proxy.pool.drop(link)
        failures = [reply for reply in replies if type(reply) is Failure and proxy.may_come_right(reply)]
        if not failures or proxy.monotonic_ms() >= until_ms:
            return replies
        proxy.heed(failures[0])
        yield [Pause(AGAIN_MS)]


def publish(client: Any, argv: Argv) -> Story:
    """PUBLISH: at the node that messages are taken from. The count is that of the clients here, and of others there."""
    proxy: Proxy = client.host
    _, channel, _ = argv
    home = proxy.hub.home
    slot = proxy.topology.owners.index(home) if home is not None else 0
    table = proxy.pubsub
    before = table.receivers(channel)
    (count,) = yield [Ask(slot, argv)]
    feed = proxy.hub.feeds.get(home) if home is not None else None
    ours = 0 if feed is None else _fitting(feed, table, channel)
    return max(0, must(count) - ours) + before


def _fitting(feed: Feed, table: ListenerTable, channel: bytes) -> int:
    """How often the node has counted our feed as a receiver."""
    patterns = sum((PATTERNS, pattern) in feed.confirmed for pattern in table.patterns_for(channel))
    return ((CHANNELS, channel) in feed.confirmed) + patterns


def shard_publish(client: Any, argv: Argv) -> Story:
    """SPUBLISH: at the node of the channel's slot."""
    proxy: Proxy = client.host
    _, channel, _ = argv
    slot = proxy.slot(channel)
    owner = proxy.topology.owners[slot]
    before = len(proxy.pubsub.shard_channels.get(channel, ()))
    (count,) = yield [Ask(slot, argv)]
    feed = proxy.hub.feeds.get(owner) if owner is not None else None
    ours = feed is not None and (SHARD_CHANNELS, channel) in feed.confirmed
    return max(0, must(count) - ours) + before
