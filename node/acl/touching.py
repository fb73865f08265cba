"""What a command touches, as far as permissions go: its keys with what it does to them, and its channels."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from node.acl.rules import READ, WRITE
from node.net.resp import Argv
from node.table import KEYED, MOVABLE_KEYS, Command

_BITS = {"ACCESS": READ, "INSERT": WRITE, "DELETE": WRITE, "UPDATE": WRITE}

TOUCHING = KEYED | MOVABLE_KEYS
"""Flags of the commands that have keys."""

CHANNELS: Mapping[str, tuple[int | None, bool]] = MappingProxyType(
    {
        "publish": (2, False),
        "spublish": (2, False),
        "subscribe": (None, False),
        "ssubscribe": (None, False),
        "psubscribe": (None, True),
    }
)
"""Commands that use channels: their channels stand from argument 1 to before this one (None: to the end); whether they
are patterns. Giving up a subscription needs no permission."""


def keys_touched(command: Command, argv: Argv) -> list[tuple[int, int]]:
    """The index of each key, with the permission that it takes: bits of READ and WRITE, 0 where it is merely named.

    For commands with TOUCHING flags. Arguments that make no sense name no keys: the command itself will say so.
    """
    if command.only_key:
        (spec,) = command.spec.keys
        return [(command.only_key, _permission(command.settled_flags(spec.flags, argv)))]
    flags: dict[int, tuple[str, ...]] = {}
    unknown: tuple[str, ...] = ()
    for spec in command.spec.keys:
        if "NOT_KEY" in spec.flags:
            continue
        settled = command.settled_flags(spec.flags, argv)
        if spec.begin == "unknown":
            unknown = settled
        positions = spec.positions(argv)
        if positions is None and spec.find == "keynum":
            return []
        for at in positions or ():
            flags.setdefault(at, settled)
    if command.spec.find_keys is not None:
        flags = {at: flags.get(at, unknown) for at in command.spec.find_keys(argv)}
    return [(at, _permission(names)) for at, names in flags.items()]


@cache  # a memo of a pure function: nodes in one process may share it, and specifications have few sets of flags
def _permission(names: tuple[str, ...]) -> int:
    bits = 0
    for name in names:
        bits |= _BITS.get(name, 0)
    return bits


def channels_touched(command: Command, argv: Argv) -> tuple[range, bool]:
    """The indices of the channels of one of the CHANNELS commands, and whether they are patterns."""
    end, is_pattern = CHANNELS[command.full_name]
    return range(1, len(argv) if end is None else end), is_pattern
