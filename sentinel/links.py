"""The links of the machine's side: what is sent over them, and how they end. The lowest of its parts.

A command whose reply matters is asked, others are ordered; both count as pending until their reply comes.
"""

from __future__ import annotations

from node.net.resp import Argv
from sentinel.core import Core
from sentinel.events import Ask, CloseLink, Send
from sentinel.state import Fellow, Instance, Link

# ---- sending ---------------------------------------------------------------------------------------------------------


def ping(core: Core, instance: Instance) -> None:
    """Ask for a sign of life."""
    link = instance.link
    link.ping_sent_ms = core.now_ms
    link.ping_unanswered_ms = link.ping_unanswered_ms or core.now_ms
    ask(core, instance, "ping", "PING")


def ask(core: Core, instance: Instance, kind: str, *words: str) -> None:
    """Send a command whose reply matters, if the link stands."""
    if instance.link.command_is_up:
        assert instance.link.command is not None
        send(core, instance, instance.link.command, *words, kind=kind)


def order(core: Core, instance: Instance, *words: str) -> None:
    """Send a command whose reply is only counted."""
    if instance.link.command_is_up:
        assert instance.link.command is not None
        send(core, instance, instance.link.command, *words)


def send(core: Core, instance: Instance, number: int, *words: str, kind: str = "") -> None:
    name = words[0]
    if not isinstance(instance, Fellow):
        name = instance.config.renamed.get(name.lower(), name)
    argv: Argv = [word.encode("utf-8", "surrogateescape") for word in (name, *words[1:])]
    core.emit(Send(number, argv, Ask(kind, instance) if kind else None))
    if number == instance.link.command:
        instance.link.pending += 1


def follow(core: Core, replica: Instance, host: str, port: int) -> bool:
    """Have a node replicate from there, or from nobody (port 0), write that down, and lose its clients, who must look
    for the primary anew. One transaction, so that it happens whole or not at all. False if it cannot be told now."""
    if not replica.link.is_connected:
        return False
    target = (host, str(port)) if port else ("NO", "ONE")
    order(core, replica, "MULTI")
    order(core, replica, "SLAVEOF", *target)
    order(core, replica, "CONFIG", "REWRITE")
    order(core, replica, "CLIENT", "KILL", "TYPE", "normal")
    order(core, replica, "CLIENT", "KILL", "TYPE", "pubsub")
    order(core, replica, "EXEC")
    return True


# ---- ending ----------------------------------------------------------------------------------------------------------


def link_down(core: Core, number: int) -> None:
    """A link is gone; it is dialled again when its time has come."""
    link = core.links.pop(number, None)
    if link is None:
        return
    if number == link.pubsub:
        link.pubsub, link.pubsub_is_up = None, False
    else:
        link.command, link.command_is_up, link.pending = None, False, 0


def close_command(core: Core, link: Link) -> None:
    """Give up the link for commands: it is dialled anew."""
    if link.command is not None:
        core.emit(CloseLink(link.command))
        link_down(core, link.command)


def close_pubsub(core: Core, link: Link) -> None:
    """Give up the link that listens."""
    if link.pubsub is not None:
        core.emit(CloseLink(link.pubsub))
        link_down(core, link.pubsub)


def close_link(core: Core, link: Link) -> None:
    """End both connections; what was asked will not be answered."""
    for number in (link.command, link.pubsub):
        if number is not None:
            core.links.pop(number, None)
            core.emit(CloseLink(number))
    link.command = link.pubsub = None
    link.command_is_up = link.pubsub_is_up = False
    link.pending = 0
