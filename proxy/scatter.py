"""Commands that are cut by slots: a part for each, sent at once, the answers put together. Sans-IO.

DEL, UNLINK, EXISTS, TOUCH add up, MGET puts each value in its place, MSET is OK when all parts are. Each part is
atomic, the whole is not: another client may see some parts done and others not yet. If a part fails, its error is
the reply, and the other parts are done nevertheless, as on a Redis that runs one DEL a key.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from node.net.resp import NO_REPLY, Argv, CommandError, Reply
from node.slots import slot_of
from node.table import READ, Command
from proxy.calls import Call, Router
from proxy.cutter import elements
from proxy.stories import NO_SENSE, NONSENSE
from proxy.topology import LinkKey

if TYPE_CHECKING:
    from proxy.server import Proxy

_ERROR = ord("-")


Part: TypeAlias = tuple[int, Argv, list[int]]
"""A slot, what goes there, and which of the command's keys (from 0) are in it. A bare tuple: an MGET makes many."""


def plan_of(host: "Proxy", command: Command, argv: Argv) -> list[Part] | None:
    """The parts of a command; None if its arguments make no sense."""
    step = 2 if command.name == "mset" else 1
    words = argv[1:]
    if len(words) % step:
        return None
    if not host.topology.is_cluster:
        return [(0, argv, list(range(len(words) // step)))]
    if command.name == "mget":
        return _plan_of_mget(words)
    parts: dict[int, Part] = {}
    for place in range(0, len(words), step):
        slot = slot_of(words[place])
        part = parts.get(slot)
        if part is None:
            part = parts[slot] = (slot, [argv[0]], [])
        part[1].extend(words[place : place + step])
        part[2].append(place // step)
    return list(parts.values())


def _plan_of_mget(keys: list[bytes]) -> list[Part]:
    """A slot with one key is asked by GET: its reply is the value itself, and need not be taken apart."""
    parts: dict[int, Part] = {}
    for place, key in enumerate(keys):
        slot = slot_of(key)
        part = parts.get(slot)
        if part is None:
            parts[slot] = (slot, [b"GET", key], [place])
        else:
            part[1][0] = b"MGET"
            part[1].append(key)
            part[2].append(place)
    return list(parts.values())


def gather(client: Any, argv: Argv) -> Reply:
    """Run a command that is cut by slots when nothing else is under way."""
    command = client.host.commands.find(argv[0])
    plan = plan_of(client.host, command, argv)
    if plan is None:
        raise CommandError(f"ERR wrong number of arguments for '{command.full_name}' command")
    answer = Gather(client, plan, silent=client.reply_mode != b"on")
    client.answers.append(answer)
    answer.send(client.host.router, client.link_key, reads=command.flags & READ != 0)
    return NO_REPLY


def null_of(client: Any) -> bytes:
    """What a client gets for a value that is not there."""
    return b"_\r\n" if client.resp3 else b"$-1\r\n"


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
        self._calls = [Call(router, self, argv, slot, key, reads) for slot, argv, _ in self._plan]
        owners = router.topology.owners
        for call in self._calls:
            owner = owners[call.slot]
            link = owner.links.get(key) if owner is not None else None
            if link is not None and link.ready and (not reads or router.choose_reader is None):
                link.send(call)
            else:
                router.send(call)

    def detour(self) -> None:
        self._session.detour()

    def unknown(self) -> None:
        self._session.unknown()

    def answered(self, _call: Call) -> None:
        """One part is back."""
        self._missing -= 1
        if self._missing:
            return
        self.raw = b"" if self._silent else self._reply([call.raw or b"" for call in self._calls])
        self._session.answered(self)

    def _reply(self, answers: list[bytes]) -> bytes:
        if len(answers) == 1 and self._plan[0][1][0] != b"GET":
            return answers[0]
        try:
            return put_together(self._plan, answers, null_of(self._session))
        except NONSENSE:
            return b"-%b\r\n" % NO_SENSE


def put_together(plan: list[Part], answers: list[bytes], null: bytes) -> bytes:
    """The reply of a command that was cut, from those of its parts: a sum, OK, or each value where its key stood."""
    for (_, argv, _), raw in zip(plan, answers, strict=True):
        if raw[0] == _ERROR and not (argv[0] == b"GET" and raw.startswith(b"-WRONGTYPE")):
            return raw
    name = plan[0][1][0]
    if name not in (b"GET", b"MGET") and answers[0][:1] == b":":
        return b":%d\r\n" % sum(int(raw[1:-2]) for raw in answers)
    if name not in (b"GET", b"MGET") and answers[0][:1] == b"+":
        return answers[0]
    pieces: dict[int, bytes] = {}
    for (_, argv, places), raw in zip(plan, answers, strict=True):
        if argv[0] == b"GET":  # MGET has nothing to say of what is no string
            pieces[places[0]] = raw if raw[0] != _ERROR else null
        else:
            pieces.update(zip(places, elements(raw), strict=True))
    return b"*%d\r\n%b" % (len(pieces), b"".join([pieces[place] for place in range(len(pieces))]))
