"""Commands that are cut by slots: a part for each, sent at once, the answers put together. Sans-IO.

DEL, UNLINK, EXISTS, TOUCH add up, MGET puts each value in its place, MSET is OK when all parts are. Each part is
atomic, the whole is not: another client may see some parts done and others not yet. If a part fails, its error is
the reply, and the other parts are done nevertheless, as on a Redis that runs one DEL a key.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from node.net.resp import NO_REPLY, Argv, CommandError, Reply
from node.slots import slot_of
from node.table import READ, Command
from proxy.calls import Call, LinkKey, Router
from proxy.cutter import elements

if TYPE_CHECKING:
    from proxy.server import Proxy


class Part(NamedTuple):
    """What goes to one slot, and which of the command's keys (from 0) are in it."""

    slot: int
    argv: Argv
    places: list[int]


def plan_of(host: "Proxy", command: Command, argv: Argv) -> list[Part] | None:
    """The parts of a command; None if its arguments make no sense."""
    step = 2 if command.name == "mset" else 1
    words = argv[1:]
    if len(words) % step:
        return None
    if not host.topology.is_cluster:
        return [Part(0, argv, list(range(len(words) // step)))]
    parts: dict[int, Part] = {}
    for place in range(0, len(words), step):
        slot = slot_of(words[place])
        part = parts.get(slot)
        if part is None:
            part = parts[slot] = Part(slot, [argv[0]], [])
        part.argv.extend(words[place : place + step])
        part.places.append(place // step)
    return list(parts.values())


def gather(client: Any, argv: Argv) -> Reply:
    """Run a command that is cut by slots when nothing else is under way."""
    command = client.host.commands.find(argv[0])
    plan = plan_of(client.host, command, argv)
    if plan is None:
        raise CommandError(f"ERR wrong number of arguments for '{command.full_name}' command")
    answer = Gather(client, plan, silent=client.reply_mode != b"on")
    client.answers.append(answer)
    answer.send(client.host.router, (client.resp3, client.db.index, False), reads=command.flags & READ != 0)
    return NO_REPLY


class Gather:
    """The parts that are under way of one command; `raw` is its reply once all are back."""

    __slots__ = ("_calls", "_missing", "_plan", "_session", "_silent", "raw")

    def __init__(self, session: Any, plan: list[Part], *, silent: bool = False) -> None:
        self.raw: bytes | None = None
        self._session = session
        self._plan = plan
        self._silent = silent
        self._missing = len(plan)
        self._calls: list[Call] = []

    def send(self, router: Router, key: LinkKey, *, reads: bool) -> None:
        """Send all parts."""
        for part in self._plan:
            call = Call(router, self, part.argv, part.slot, key, reads=reads)
            self._calls.append(call)
        for call in self._calls:
            router.send(call)

    def detour(self) -> None:
        self._session.detour()

    def answered(self, _call: Call) -> None:
        """One part is back."""
        self._missing -= 1
        if self._missing:
            return
        self.raw = b"" if self._silent else self._reply([call.raw or b"" for call in self._calls])
        self._session.answered(self)

    def _reply(self, answers: list[bytes]) -> bytes:
        if len(answers) == 1:
            return answers[0]
        return put_together(self._plan, answers)


def put_together(plan: list[Part], answers: list[bytes]) -> bytes:
    """The reply of a command that was cut, from those of its parts: a sum, OK, or each value where its key stood."""
    kind = answers[0][:1]
    for raw in answers:
        if raw[:1] == b"-":
            return raw
    if kind == b":":
        return b":%d\r\n" % sum(int(raw[1:-2]) for raw in answers)
    if kind == b"+":
        return answers[0]
    pieces = [b""] * sum(len(part.places) for part in plan)
    for part, raw in zip(plan, answers, strict=True):
        for place, piece in zip(part.places, elements(raw), strict=True):
            pieces[place] = piece
    return b"*%d\r\n" % len(pieces) + b"".join(pieces)
