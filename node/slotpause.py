"""Slots that are being handed over: for a moment nothing may write to them; reads go on.

As with MIGRATE (`node.migration`), commands that could change a key there are postponed and then run from their start,
redirects included; so are those that may change any key (FLUSHALL, a script that names no key). Whoever holds slots
back lets them go within a bounded time: the hold itself has no end.
"""

from collections.abc import Callable
from typing import Any

from node.net.resp import Argv, Reply
from node.net.session import Session, Waiting
from node.slots import slot_of
from node.table import KEYED, READ, WRITE, Command


class Held(Waiting):
    """A command that waits for its slot: it is run from its start then."""

    __slots__ = ("_pause",)
    postponed = True

    def __init__(self, pause: "SlotPause") -> None:
        self._pause = pause

    def cancelled(self, session: Session[Any]) -> None:
        self._pause.waiting.pop(session, None)


class SlotPause:
    """The slots of one node (`held`, a bitmap) that nothing may be written to."""

    def __init__(self, conditions_changed: Callable[[], None]) -> None:
        self.held = 0
        self.waiting: dict[Session[Any], None] = {}  # in the order in which they came
        self._conditions_changed = conditions_changed

    def hold(self, slots: int) -> None:
        """Hold back writes to these slots."""
        self.held |= slots
        self._conditions_changed()

    def release(self, slots: int) -> None:
        """Hold back no more; whoever waits for another slot is postponed anew, in the same order."""
        self.held &= ~slots
        self._conditions_changed()
        waiting, self.waiting = self.waiting, {}
        for client in waiting:
            client.run_again()
            client.unpark()

    def holds(self, command: Command, argv: Argv) -> bool:
        """Could the command change a key of a slot that is held?"""
        if command.flags & READ:
            return False
        if not command.flags & KEYED:
            return bool(command.flags & WRITE)
        positions = command.key_positions(argv)
        if positions is None:
            return False  # it words itself what is wrong with its arguments
        return not positions or any(self.held >> slot_of(argv[at]) & 1 for at in positions)

    def postpone(self, client: Session[Any]) -> Reply:
        """Hold back the command that `client` is about to run."""
        self.waiting[client] = None
        return client.park(Held(self))
