"""The words of CLUSTER, and ASKING: what is known of each before it runs.

They stand apart from the code behind them, so that a node without a cluster can refuse them without loading any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from node.net.resp import Argv, CommandError, Reply
from node.server import Client
from node.table import Registry, Run, Spec

ORDER = "no_async_loading admin stale"
DIFFERS = "nondeterministic_output"


class Word(NamedTuple):
    """What `Registry.command` is told of a command."""

    arity: int
    flags: str
    acl: str = ""
    tips: str = ""


WORDS = {
    "asking": Word(1, "fast", acl="connection"),
    "cluster|help": Word(2, "loading stale"),
    "cluster|info": Word(2, "stale", tips=DIFFERS),
    "cluster|nodes": Word(2, "stale", tips=DIFFERS),
    "cluster|myid": Word(2, "stale"),
    "cluster|myshardid": Word(2, "stale", tips=DIFFERS),
    "cluster|slots": Word(2, "loading stale", tips=DIFFERS),
    "cluster|slot-stats": Word(-4, "loading stale", tips=DIFFERS + " request_policy:all_shards"),
    "cluster|shards": Word(2, "loading stale", tips=DIFFERS),
    "cluster|links": Word(2, "stale", tips=DIFFERS),
    "cluster|replicas": Word(3, "admin stale", tips=DIFFERS),
    "cluster|slaves": Word(3, "admin stale", tips=DIFFERS),
    "cluster|count-failure-reports": Word(3, "admin stale", tips=DIFFERS),
    "cluster|keyslot": Word(3, "stale"),
    "cluster|countkeysinslot": Word(3, "stale"),
    "cluster|getkeysinslot": Word(4, "stale", tips=DIFFERS),
    "cluster|meet": Word(-4, ORDER),
    "cluster|forget": Word(3, ORDER),
    "cluster|replicate": Word(3, ORDER),
    "cluster|failover": Word(-2, ORDER),
    "cluster|reset": Word(-2, "admin stale noscript"),
    "cluster|set-config-epoch": Word(3, ORDER),
    "cluster|bumpepoch": Word(2, ORDER, tips=DIFFERS),
    "cluster|saveconfig": Word(2, ORDER),
    "cluster|addslots": Word(-3, ORDER),
    "cluster|delslots": Word(-3, ORDER),
    "cluster|addslotsrange": Word(-4, ORDER),
    "cluster|delslotsrange": Word(-4, ORDER),
    "cluster|flushslots": Word(2, ORDER),
    "cluster|setslot": Word(-4, ORDER),
}


def declare(registry: Registry, name: str) -> Callable[[Run], Run]:
    """Let the decorated function be the command `name` of this registry."""
    word = WORDS[name]
    return registry.command(name, word.arity, word.flags, acl=word.acl, tips=word.tips)


def refused() -> list[Spec]:
    """The commands of a node without a cluster: known, so that a wrong number of arguments is told first."""
    registry = Registry()
    registry.container("cluster")
    for name in WORDS:
        declare(registry, name)(_refuse)
    return list(registry.specs.values())


def _refuse(_client: Client, _argv: Argv) -> Reply:
    raise CommandError("ERR This instance has cluster support disabled")
