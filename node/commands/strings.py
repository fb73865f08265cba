"""Strings: bytes under a key."""

from node.commands.family import command
from node.net.resp import OK, Argv, Reply
from node.server import Client


@command("get", 2, "readonly fast", acl="string", keys="@1/range:0:1:0/RO+ACCESS")
def get(client: Client, argv: Argv) -> Reply:
    return client.db.read_string(argv[1])


@command("set", -3, "write denyoom", acl="string", keys="@1/range:0:1:0/RW+ACCESS+UPDATE+VARIABLE_FLAGS")
def set_(client: Client, argv: Argv) -> Reply:
    if len(argv) == 3:
        _, key, value = argv
        client.db.set(key, value)
        client.db.changed(key, "set", "$")
        return OK
    return OK
