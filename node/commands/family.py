"""Where the families of commands declare themselves: `from node.commands.family import command`."""

from node.table import Registry

FAMILIES = Registry()
"""The declarations of all families in node/commands: complete, and never changed again, once they are imported."""

command = FAMILIES.command
row = FAMILIES.row
container = FAMILIES.container
