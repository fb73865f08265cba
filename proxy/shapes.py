"""Sending a command on as it is, when all its keys are in one slot; and the error where they are not and must be."""

from typing import TYPE_CHECKING, Any

from node.net.resp import NO_REPLY, Argv, CommandError, Failure, Reply
from node.slots import slot_of
from node.table import Command

if TYPE_CHECKING:
    from proxy.server import Proxy

SHOWN_KEYS_MAX = 8
"""How many keys an error names."""
SHOWN_KEY_BYTES_MAX = 64


def forward(client: Any, argv: Argv) -> Reply:
    """Send a command on to the node that serves its keys, when nothing else is under way."""
    proxy: Proxy = client.host
    command = proxy.commands.resolve(argv)
    assert command is not None
    slot = proxy.slot_of_command(command, argv)
    if slot is None:
        raise crossing(keys_of(command, argv))
    client.begin_call(command, argv, slot)
    return NO_REPLY


def keys_of(command: Command, argv: Argv) -> list[bytes]:
    """The keys that a command names; none where its arguments make no sense."""
    return [argv[at] for at in command.key_positions(argv) or ()]


def crossing(keys: list[bytes], what: str = "keys in one command") -> CommandError:
    """The error of what cannot be done over several slots: it names the keys and their slots."""
    shown = ", ".join(
        f"'{key[:SHOWN_KEY_BYTES_MAX].decode('utf-8', 'backslashreplace')}' in {slot_of(key)}"
        for key in keys[:SHOWN_KEYS_MAX]
    )
    more = f" and {len(keys) - SHOWN_KEYS_MAX} more" if len(keys) > SHOWN_KEYS_MAX else ""
    return CommandError(f"CROSSSLOT proxy: these {what} are in different slots: {shown}{more}")


def refused_here(text: str) -> Any:
    """The `run` of a command that a proxy does not have."""

    def run(_client: Any, argv: Argv) -> Reply:
        name = argv[0].decode("utf-8", "backslashreplace").upper()[:SHOWN_KEY_BYTES_MAX]
        return Failure(f"ERR proxy: {name} {text}".encode())

    return run
