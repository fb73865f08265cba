"""What takes several steps at the nodes, told as a story: a generator that asks and gets replies. Sans-IO.

    def rename(client, argv):
        payload, = yield [Ask(slot_of(source), [b"DUMP", source])]
        ...
        return OK

Each `yield` sends its commands at once and comes back with the replies as values (`node.net.replies`), in the same
order; an error is a `Failure`. What the story returns, or the CommandError that it raises, is the client's reply. The
client's session is parked meanwhile. A client that goes ends its story at the `yield` where it stands: `finally` gives
back what it had borrowed.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from node.net.replies import MalformedReply, ReplyParser
from node.net.resp import Argv, CommandError, Failure, Reply
from node.net.session import Waiting
from proxy.calls import Call, unknown_outcome
from proxy.link import Link
from proxy.topology import Node

if TYPE_CHECKING:
    from proxy.session import ProxySession


class Ask(NamedTuple):
    """A command for the node of `slot`. With `reads` it may be repeated if its link breaks."""

    slot: int
    argv: Argv
    reads: bool = False


class AskNode(NamedTuple):
    """A command for one node, whatever slots it serves; with `raw` the reply is what came, not its value."""

    node: Node
    argv: Argv
    raw: bool = False


class AskLink(NamedTuple):
    """A command over a private connection; with `raw` the reply is what came, not its value."""

    link: Link
    argv: Argv
    raw: bool = False


class Unit(NamedTuple):
    """Commands for the node of `slot` that run as one MULTI/EXEC; the reply is EXEC's."""

    slot: int
    commands: Sequence[Argv]


class RawUnit(NamedTuple):
    """As `Unit`; the reply is what came, not its value."""

    slot: int
    commands: Sequence[Argv]


class Pause(NamedTuple):
    """Wait; the reply is None."""

    ms: float


class First(NamedTuple):
    """Wait until one of these has answered, and no longer than `ms` (0: without end). The reply is a list with the
    replies that are there and None for the others; the connections of those are in the middle of something."""

    asks: Sequence[AskLink]
    ms: float


@dataclass(eq=False, slots=True)
class Turn:
    """Wait until no other story has the turn of `name`; `Turns.end` passes it on."""

    name: bytes


Step: TypeAlias = "Sequence[Ask | AskNode | AskLink | Unit | RawUnit | Pause | First | Turn]"
Story: TypeAlias = Generator[Step, list[Reply], Reply]
Tell: TypeAlias = Callable[[Any, Argv], Story]


class Turns:
    """Stories that must not run beside one another, by name: first come, first served."""

    def __init__(self) -> None:
        self._queues: dict[bytes, dict[Turn, Callable[[], None]]] = {}

    def begin(self, turn: Turn, call: Callable[[], None]) -> None:
        """Call `call` once it is this one's turn."""
        queue = self._queues.setdefault(turn.name, {})
        queue[turn] = call
        if len(queue) == 1:
            call()

    def end(self, turn: Turn) -> None:
        """This one is done, or no longer wants its turn."""
        queue = self._queues.get(turn.name)
        if queue is None or turn not in queue:
            return
        had_turn = next(iter(queue)) is turn
        del queue[turn]
        if not queue:
            del self._queues[turn.name]
        elif had_turn:
            next(iter(queue.values()))()


NONSENSE = (TypeError, ValueError, LookupError, AttributeError, MalformedReply)
"""What is raised by code that reckons with a reply of another kind: a broken node must not end the proxy."""
NO_SENSE = Failure(b"ERR proxy: a node's reply makes no sense")
"""What a client is told then."""


def value_of(raw: bytes) -> Reply:
    """A raw reply as a value."""
    parser = ReplyParser()
    parser.feed(raw)
    try:
        return parser.parse()[0]
    except MalformedReply as error:
        return Failure(f"ERR proxy: a node's reply makes no sense: {error}".encode())


def must(reply: Reply) -> Reply:
    """The reply, unless it is an error: then that is the client's reply, too."""
    if type(reply) is Failure:
        raise CommandError(bytes(reply))
    return reply


def told(tell: Tell) -> Callable[[Any, Argv], Reply]:
    """A command's `run` from its story."""

    def run(client: Any, argv: Argv) -> Reply:
        return begin(client, tell(client, argv))

    return run


def begin(client: "ProxySession", story: Story) -> Reply:
    """Tell a story to a client: its reply, or PARKED."""
    return Telling(client, story).begin()


def begin_blocking(client: "ProxySession", story: Story, timed_out: Reply) -> Reply:
    """As `begin`, for a command that waits for others: CLIENT UNBLOCK ends it with `timed_out`."""
    return BlockedTelling(client, story, timed_out).begin()


class Telling(Waiting):
    """A story that is being told: what a session waits for."""

    postponed = True  # no blocking command: CLIENT UNBLOCK leaves it alone
    __slots__ = ("_client", "_is_over", "_missing", "_number", "_replies", "_story", "_timer")

    def __init__(self, client: "ProxySession", story: Story) -> None:
        self._client = client
        self._story = story
        self._number = 0  # of the step: answers to an older one come too late
        self._replies: list[Reply] = []
        self._missing = 0
        self._is_over = False
        self._timer: Any = None

    def begin(self) -> Reply:
        """Take the first step; the reply if that was all, else PARKED."""
        is_over, reply = self._advance(None)
        return reply if is_over else self._client.park(self)

    def cancelled(self, _session: Any) -> None:
        """The client is gone."""
        self._end_step()
        if not self._is_over:
            self._is_over = True
            self._story.close()

    def timeout_reply(self) -> Reply:
        return None

    def _end_step(self) -> None:
        self._number += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self, replies: list[Reply] | None) -> tuple[bool, Reply]:
        """Go on with the story: whether it is over, and its reply then."""
        self._end_step()
        try:
            while True:
                step = next(self._story) if replies is None else self._story.send(replies)
                if step:
                    _check(step)
                    break
                replies = []
        except StopIteration as end:
            self._is_over = True
            return True, end.value
        except CommandError as error:
            self._is_over = True
            return True, error.reply
        except NONSENSE as error:  # a node has answered with something else than it was asked for
            self._is_over = True
            self._story.close()
            self._client.host.log.warning(f"A story ended at a reply that makes no sense: {error!r}")
            return True, NO_SENSE
        self._send(step)
        return False, None

    def _send(self, step: Step) -> None:
        self._replies = [None] * len(step)
        self._missing = len(step)
        client, number = self._client, self._number
        router = client.host.router
        key = client.link_key
        for place, ask in enumerate(step):
            if type(ask) is Ask:
                router.send(Call(router, Listener(self, number, place), ask.argv, ask.slot, key, ask.reads))
            elif type(ask) is Unit:
                router.send_unit(Listener(self, number, place), ask.slot, ask.commands, key)
            elif type(ask) is RawUnit:
                loads = client.host.known_scripts.loads_for(list(ask.commands))
                router.send_unit(RawListener(self, number, place), ask.slot, ask.commands, key, loads)
            elif type(ask) is AskNode:
                listener = RawListener if ask.raw else Listener
                client.host.link(ask.node, key).send(Direct(listener(self, number, place), ask.argv))
            elif type(ask) is AskLink:
                listener = RawListener if ask.raw else Listener
                ask.link.send(Direct(listener(self, number, place), ask.argv))
            elif type(ask) is Pause:
                self._timer = client.host.timers.after(ask.ms, lambda place=place: self._placed(number, place, None))
            elif type(ask) is First:
                self._race(ask)
            elif type(ask) is Turn:
                client.host.turns.begin(ask, lambda place=place: self._placed(number, place, None))

    def _race(self, race: First) -> None:
        """The step is over as soon as one has answered: the only thing in its step."""
        number, replies = self._number, [None] * len(race.asks)
        self._replies = [replies]
        for place, ask in enumerate(race.asks):
            ask.link.send(Direct(Racer(self, number, place), ask.argv))
        if race.ms and self._number == number:
            self._timer = self._client.host.timers.after(race.ms, lambda: self._placed(number, 0, replies))

    def finished_first(self, number: int, place: int, raw: bytes) -> None:
        """One of those that race has answered."""
        if number == self._number and not self._is_over:
            replies = self._replies[0]
            replies[place] = value_of(raw)
            self._placed(number, 0, replies)

    def placed_as_it_came(self, number: int, place: int, raw: bytes) -> None:
        """A reply has come that the story wants raw."""
        if number == self._number and not self._is_over:
            self._placed(number, place, raw)

    def placed_raw(self, number: int, place: int, raw: bytes) -> None:
        """A reply has come."""
        if number == self._number and not self._is_over:
            self._placed(number, place, value_of(raw))

    def _placed(self, number: int, place: int, reply: Reply) -> None:
        if number != self._number or self._is_over:
            return
        self._replies[place] = reply
        self._missing -= 1
        if self._missing:
            return
        client = self._client
        if client.parked is not self:  # the first step is still being sent
            client.host.soon(lambda: self._go_on(number))
        else:
            self._go_on(number)

    def _go_on(self, number: int) -> None:
        if number != self._number or self._is_over:
            return
        is_over, reply = self._advance(self._replies)
        if is_over:
            self._client.resume(reply)


def _check(step: Step) -> None:
    """Raise TypeError for a command that is none: a node has said something else than what was to go into it."""
    for ask in step:
        for argv in _commands_of(ask):
            if any(type(word) is not bytes for word in argv):
                raise TypeError("a command of something else than strings")


def _commands_of(ask: Any) -> Sequence[Argv]:
    if isinstance(ask, Unit | RawUnit):
        return ask.commands
    if isinstance(ask, First):
        return [one.argv for one in ask.asks]
    return [ask.argv] if isinstance(ask, Ask | AskNode | AskLink) else ()


class BlockedTelling(Telling):
    """The story of a command that waits for what other clients do."""

    postponed = False
    __slots__ = ("_timed_out",)

    def __init__(self, client: "ProxySession", story: Story, timed_out: Reply) -> None:
        super().__init__(client, story)
        self._timed_out = timed_out

    def timeout_reply(self) -> Reply:
        return self._timed_out


class Listener:
    """Brings the answer of one command of a step to its place."""

    __slots__ = ("_number", "_place", "_telling")

    def __init__(self, telling: Telling, number: int, place: int) -> None:
        self._telling = telling
        self._number = number
        self._place = place

    def answered(self, call: Any) -> None:
        self._telling.placed_raw(self._number, self._place, call.raw)

    def detour(self) -> None:
        pass

    def unknown(self) -> None:
        pass  # what comes of it is the story's to say


class RawListener(Listener):
    """As a Listener, for a reply that is wanted as it came."""

    __slots__ = ()

    def answered(self, call: Any) -> None:
        self._telling.placed_as_it_came(self._number, self._place, call.raw)


class Racer(Listener):
    """As a Listener, for a step that ends with its first answer."""

    __slots__ = ()

    def answered(self, call: Any) -> None:
        self._telling.finished_first(self._number, self._place, call.raw)


class Direct:
    """A command for one connection, whose errors, redirects too, are the story's."""

    __slots__ = ("_listener", "argv", "raw")

    def __init__(self, listener: Listener, argv: Argv) -> None:
        self._listener = listener
        self.argv = argv
        self.raw = b""

    def reply(self, raw: bytes) -> None:
        self.raw = raw
        self._listener.answered(self)

    refused = reply

    def lost(self, link: Link, reason: str) -> None:
        self.reply(unknown_outcome(link, reason))

    def unsent(self, link: Link, reason: str) -> None:
        self.reply(f"-UNREACHABLE {link.node.name}: {reason}".replace("\r", " ").replace("\n", " ").encode() + b"\r\n")
