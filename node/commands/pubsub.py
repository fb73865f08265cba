"""Publish and subscribe: SUBSCRIBE and its kin, PUBLISH and SPUBLISH, and PUBSUB, which looks at who listens.

Subscribing answers once for each name, as a message of its own: in RESP3 a push, which even CLIENT REPLY OFF lets
through.
"""

from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.glob import compile_glob
from node.keyspace.journal import TO_REPLICAS
from node.net.resp import NO_REPLY, Argv, CommandError, Encoded, Reply, Status
from node.net.session import REPLY_ON
from node.pubsub import (
    CHANNELS,
    PATTERNS,
    SHARD_CHANNELS,
    Kind,
    Subscribers,
    confirmation,
    subscriber_counts,
)
from node.server import Client

SHARD_KEYS = "@1/range:-1:1:0/NOT_KEY"


# --- subscribing ------------------------------------------------------------------------------------------------------


@command("subscribe", -2, "pubsub noscript loading stale sentinel")
def subscribe(client: Client, argv: Argv) -> Reply:
    return _subscribe(client, CHANNELS, argv)


@command("psubscribe", -2, "pubsub noscript loading stale sentinel")
def psubscribe(client: Client, argv: Argv) -> Reply:
    return _subscribe(client, PATTERNS, argv)


@command("ssubscribe", -2, "pubsub noscript loading stale sharded", keys=SHARD_KEYS)
def ssubscribe(client: Client, argv: Argv) -> Reply:
    return _subscribe(client, SHARD_CHANNELS, argv)


@command("unsubscribe", -1, "pubsub noscript loading stale sentinel")
def unsubscribe(client: Client, argv: Argv) -> Reply:
    return _unsubscribe(client, CHANNELS, argv)


@command("punsubscribe", -1, "pubsub noscript loading stale sentinel")
def punsubscribe(client: Client, argv: Argv) -> Reply:
    return _unsubscribe(client, PATTERNS, argv)


@command("sunsubscribe", -1, "pubsub noscript loading stale sharded", keys=SHARD_KEYS)
def sunsubscribe(client: Client, argv: Argv) -> Reply:
    return _unsubscribe(client, SHARD_CHANNELS, argv)


def _subscribe(client: Client, kind: Kind, argv: Argv) -> Reply:
    """Subscribe to each name. Who must have one reply for a command may not; a transaction may, but for shards."""
    if not client.may_block and (client.transaction is None or kind is SHARD_CHANNELS):
        raise CommandError(b"ERR %b isn't allowed for a DENY BLOCKING client" % kind.subscribed.upper())
    pubsub = client.host.pubsub
    told = bytearray()
    for name in argv[1:]:
        pubsub.subscribe(client, kind, name)
        told += confirmation(client, kind, kind.subscribed, name)
    return _answer(client, told)


def _unsubscribe(client: Client, kind: Kind, argv: Argv) -> Reply:
    """Leave each name; without names all of this kind, which is answered even if there are none."""
    names = argv[1:]
    if not names and client.subscriptions is not None:
        names = list(client.subscriptions[kind.place])
    pubsub = client.host.pubsub
    told = bytearray()
    for name in names:
        pubsub.unsubscribe(client, kind, name)
        told += confirmation(client, kind, kind.unsubscribed, name)
    if not names:
        told += confirmation(client, kind, kind.unsubscribed, None)
    return _answer(client, told)


def _answer(client: Client, told: bytearray) -> Reply:
    """The confirmations, which a client gets also where it wants no replies."""
    if client.reply_mode == REPLY_ON:
        return Encoded(told)
    client.push_bytes(told)
    return NO_REPLY


# --- publishing -------------------------------------------------------------------------------------------------------


@command("publish", 3, "pubsub loading stale fast may_replicate sentinel")
def publish(client: Client, argv: Argv) -> Reply:
    return _publish(client, argv, sharded=False)


@command("spublish", 3, "pubsub loading stale fast may_replicate sharded", keys="@1/range:0:1:0/NOT_KEY")
def spublish(client: Client, argv: Argv) -> Reply:
    return _publish(client, argv, sharded=True)


def _publish(client: Client, argv: Argv, *, sharded: bool) -> int:
    """Send a message to the subscribers here, and on to other nodes: by the bus, or without a cluster to replicas.

    The reply counts the subscribers of this node only.
    """
    _, channel, message = argv
    server = client.host
    sent = server.pubsub.publish(channel, message, sharded=sharded)
    if server.cluster is not None:
        server.cluster.broadcast(channel, message, sharded=sharded)
    else:
        server.journal.append(client.db.index, argv, TO_REPLICAS)
        client.write_offset = server.journal.offset
    return sent


# --- looking ----------------------------------------------------------------------------------------------------------

container("pubsub")


@command("pubsub|help", 2, "loading stale")
def help_(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("pubsub", describe("pubsub"))]


@command("pubsub|channels", -2, "pubsub loading stale")
def channels(client: Client, argv: Argv) -> Reply:
    return _names(client.host.pubsub.channels, argv)


@command("pubsub|shardchannels", -2, "pubsub loading stale")
def shardchannels(client: Client, argv: Argv) -> Reply:
    return _names(client.host.pubsub.shard_channels, argv)


@command("pubsub|numsub", -2, "pubsub loading stale")
def numsub(client: Client, argv: Argv) -> Reply:
    return subscriber_counts(client.host.pubsub.channels, argv[2:])


@command("pubsub|shardnumsub", -2, "pubsub loading stale")
def shardnumsub(client: Client, argv: Argv) -> Reply:
    return subscriber_counts(client.host.pubsub.shard_channels, argv[2:])


@command("pubsub|numpat", 2, "pubsub loading stale")
def numpat(client: Client, argv: Argv) -> Reply:
    return len(client.host.pubsub.patterns)


def _names(table: dict[bytes, Subscribers], argv: Argv) -> list[bytes]:
    """The names of a table that the pattern fits, if there is one."""
    if len(argv) > 3:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '%b'. Try PUBSUB HELP." % argv[1][:128]
        )
    if len(argv) == 2:
        return list(table)
    return list(filter(compile_glob(argv[2]), table))
