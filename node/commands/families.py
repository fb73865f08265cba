"""All families of commands, by the modules in which they declare themselves. A new family needs a line here."""

from importlib import import_module

from node.commands.family import FAMILIES
from node.table import Spec

MODULES = (
    "acl",
    "bitmaps",
    "client",
    "client_tracking",
    "command",
    "config",
    "connection",
    "databases",
    "debug",
    "expire",
    "functions",
    "geo",
    "hash_deadlines",
    "hashes",
    "hyperloglog",
    "info",
    "keys",
    "latency",
    "lists",
    "memory",
    "migrate",
    "module",
    "monitor",
    "persistence",
    "pubsub",
    "replication",
    "scan",
    "scripting",
    "server",
    "sets",
    "slowlog",
    "sort",
    "sortedset_algebra",
    "sortedset_pops",
    "sortedset_ranges",
    "sortedsets",
    "streamgroups",
    "streams",
    "strings",
    "transactions",
)


def specs() -> list[Spec]:
    """Every declaration of the families, in the order in which they were made."""
    for name in MODULES:
        import_module(f"node.commands.{name}")
    return list(FAMILIES.specs.values())
