"""What the proxy does with each command: the node's declarations, with another `run` where data is concerned.

    the proxy itself    PING, HELLO, AUTH, CLIENT, CONFIG, COMMAND, ACL, MULTI...: the node's own code
    one slot            sent on as it is (`shapes.forward`)
    cut by slots        DEL, MGET, MSET... (`scatter`)
    stories             several steps at several nodes, when the keys are in several slots
    everywhere          KEYS, SCAN, DBSIZE, FLUSHALL...
    refused             what only makes sense at a node

A command that names keys and is not listed here is sent on; one that names none is refused.
"""

from collections.abc import Callable, Iterable
from typing import Any

from node.net.resp import NO_REPLY, Argv, CommandError, Reply
from node.pubsub import CHANNELS, PATTERNS, SHARD_CHANNELS
from node.table import KEYED, Run, Spec, never_run
from proxy import blocking, caching, everywhere, merging, moves, scripts, several, subscribing, telling, transactions
from proxy.scatter import gather
from proxy.settings import STRICT
from proxy.shapes import crossing, forward, keys_of, refused_here
from proxy.stories import Tell, begin, told

LOCAL = frozenset(
    "ping echo select auth hello reset quit time lolwut multi discard unwatch command config client acl role monitor "
    "readwrite readonly asking cluster latency slowlog proxy unsubscribe punsubscribe sunsubscribe pubsub".split()
)
"""Commands, or heads of commands, that the proxy runs as a node would."""

SUBSCRIBE = {"subscribe": CHANNELS, "psubscribe": PATTERNS, "ssubscribe": SHARD_CHANNELS}
GATHERED = frozenset("del unlink exists touch mget mset".split())
MERGED = frozenset(
    "sinter sunion sdiff sinterstore sunionstore sdiffstore sintercard zunion zinter zdiff zintercard zunionstore "
    "zinterstore zdiffstore zrangestore pfcount pfmerge bitop sort geosearchstore georadius georadiusbymember "
    "lcs".split()
)
AT_A_NODE = "is for one node: ask that node itself"


def _msetnx(client: Any, argv: Argv) -> Reply:
    """MSETNX over slots: what `cross-slot` says."""
    command = client.host.commands.find(argv[0])
    if len(argv) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'msetnx' command")
    if client.host.settings.cross_slot == STRICT:
        raise crossing(keys_of(command, argv))
    client.host.relaxed_transactions += 1
    return begin(client, moves.msetnx(client, argv))


OVER_SLOTS: dict[str, Run] = {
    **{name: told(merging.merge) for name in MERGED},
    "rename": told(moves.rename),
    "renamenx": told(moves.rename),
    "copy": told(moves.copy),
    "smove": told(moves.smove),
    "lmove": told(moves.lmove),
    "rpoplpush": told(moves.lmove),
    "msetnx": _msetnx,
    "lmpop": told(several.multi_pop),
    "zmpop": told(several.multi_pop),
}
"""What is done where the keys are in several slots; in one, the command is sent on as it is."""

EVERYWHERE: dict[str, Tell] = {
    "dbsize": everywhere.total,
    "flushall": everywhere.everybody,
    "flushdb": everywhere.everybody,
    "keys": everywhere.keys,
    "randomkey": everywhere.random_key,
    "wait": everywhere.wait,
    "script|load": scripts.load,
    "script|flush": scripts.flush,
    "script|exists": scripts.exist,
    "script|kill": scripts.kill,
    "function|kill": scripts.kill,
    "lastsave": everywhere.earliest,
    "module|list": everywhere.anybody,
    **dict.fromkeys(("function|load", "function|delete", "function|flush", "function|restore"), everywhere.everybody),
    **dict.fromkeys(("function|list", "function|dump", "function|stats"), everywhere.anybody),
}


def across(over_slots: Run) -> Run:
    """The `run` of a command that is sent on where it can be, and else done step by step."""

    def run(client: Any, argv: Argv) -> Reply:
        proxy = client.host
        command = proxy.commands.resolve(argv)
        slot = proxy.slot_of_command(command, argv)
        if slot is None:
            return over_slots(client, argv)
        client.begin_call(command, argv, slot)
        return NO_REPLY

    return run


def specs(of_node: Iterable[Spec]) -> tuple[list[Spec], dict[str, Run]]:
    """The declarations of the proxy's commands from those of a node, and the node's own `run` of each."""
    originals: dict[str, Run] = {}
    found: list[Spec] = []
    for spec in of_node:
        originals[spec.name] = spec.run
        found.append(spec._replace(run=_run_of(spec)))
    return [*found, *telling.specs()], originals


def _run_of(spec: Spec) -> Run:
    name = spec.name
    own: Callable[..., Any] | None = RUNS.get(name) or blocking.RUNS.get(name)
    if own is not None:
        return own
    if name in SUBSCRIBE:
        return subscribing.subscribing(SUBSCRIBE[name], spec.run)  # type: ignore[no-any-return]
    head = name.partition("|")[0]
    if spec.run is never_run or head in LOCAL or name.endswith("|help"):
        return spec.run
    if spec.flags & KEYED:
        return forward
    return refused_here(AT_A_NODE)  # type: ignore[no-any-return]


RUNS: dict[str, Run] = {
    **dict.fromkeys(GATHERED, gather),
    **{name: across(run) for name, run in OVER_SLOTS.items()},
    **{name: told(tell) for name, tell in EVERYWHERE.items()},
    "scan": everywhere.scan,
    "eval": scripts.evaluate,
    "eval_ro": scripts.evaluate,
    "evalsha": scripts.evaluate_sha,
    "evalsha_ro": scripts.evaluate_sha,
    "publish": told(subscribing.publish),
    "spublish": told(subscribing.shard_publish),
    "watch": transactions.watch,
    "exec": transactions.execute,
    "info": telling.info,
    "migrate": refused_here(AT_A_NODE),
    "client|tracking": caching.tracking,
}
