"""One command on its way to a node and back: followed over redirects, repeated where that is safe. Sans-IO.

What is safe: a command that has not been sent, one that a node refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN, LOADING,
READONLY: it has done nothing), and one that only reads. Anything else whose link broke may have been run or not, and
its client is told just that. All this ends at a deadline, counted from the first trouble.

A client's order is kept: while one of its commands is on a detour, no further one of its is sent (`detour`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from node.net.resp import Argv
from node.timers import Timers
from proxy.link import UNSENT_COMMANDS_MAX, Link, Pending
from proxy.topology import Address, LinkKey, Node, Topology

DETOURS_AT_ONCE_MAX = 8
"""So many redirects of one command are followed at once; then it waits a little: two nodes send it to one another."""
AGAIN_MS = 50
"""How long a command waits before it is tried again; news of the topology come first."""

_WAITS = frozenset({b"TRYAGAIN", b"CLUSTERDOWN", b"LOADING", b"MASTERDOWN", b"READONLY"})


NOTHING_IS_SLOW_MS = 1 << 62


class Clock(Protocol):
    """The time of the batch that is being served."""

    now_ms: int


class Owner(Protocol):
    """Who waits for an answer."""

    def answered(self, call: Any) -> None:
        """`call.raw` is there."""

    def detour(self) -> None:
        """A command has not been run where it was sent first."""

    def unknown(self) -> None:
        """A command was lost with its node: the answer that comes says so."""


class Call:
    """One command for the node that serves `slot`."""

    __slots__ = ("__dict__", "argv", "born_ms", "key", "owner", "raw", "reads", "router", "silent", "slot")

    # What only trouble changes: it stands in the `__dict__` then, which the others never get.
    detours = 0
    until_ms = 0.0
    """When to give up; 0 while all goes well."""

    def __init__(self, router: "Router", owner: Owner, argv: Argv, slot: int, key: LinkKey, reads: bool) -> None:
        self.router = router
        self.owner = owner
        self.argv = argv
        self.slot = slot
        self.key = key
        self.reads = reads  # it may be repeated
        self.silent = False  # the client wants no reply
        self.raw: bytes | None = None  # the reply
        self.born_ms = router.clock.now_ms

    def reply(self, raw: bytes) -> None:
        self.raw = b"" if self.silent else raw
        router = self.router
        if router.clock.now_ms - self.born_ms >= router.slow_ms:
            router.was_slow(self)
        self.owner.answered(self)

    def refused(self, raw: bytes) -> None:
        code = raw[1 : raw.find(b" ")]
        if code in _CODES:
            self.router.refused(self, code, raw)
        else:
            self.reply(raw)

    def lost(self, link: Link, reason: str) -> None:
        if self.reads:
            self.router.again(self, f"{link.node.name}: {reason}")
        else:
            self.router.unknown_outcomes += 1
            self.owner.unknown()
            self.reply(unknown_outcome(link, reason))

    def unsent(self, link: Link, reason: str) -> None:
        self.router.again(self, f"{link.node.name}: {reason}")


_CODES = _WAITS | {b"MOVED", b"ASK"}


LOST = b"ERR proxy: lost "
"""How the error of a command begins that may have been run or not."""
HALF_DONE = b"ERR proxy: a transaction over several slots was done in part: "
"""How the error of a transaction begins of which one node has run its part and another has not, or is lost."""


def unknown_outcome(link: Link, reason: str) -> bytes:
    """The error of a command that may have been run or not."""
    text = f"-{LOST.decode()}{link.node.name} ({_one_line(reason)}) after the command was sent: its outcome is unknown"
    return text.encode() + b"\r\n"


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


class Ignored:
    """A command that prepares the one after it, whose reply tells all: ASKING, SCRIPT LOAD."""

    __slots__ = ("argv",)

    def __init__(self, argv: Argv) -> None:
        self.argv = argv

    def reply(self, _raw: bytes) -> None:
        pass

    refused = reply

    def lost(self, _link: Link, _reason: str) -> None:
        pass

    def unsent(self, _link: Link, _reason: str) -> None:
        pass


class UnitCall:
    """Commands that run as one MULTI/EXEC: sent in a row that nothing comes between. Its answer is EXEC's reply.

    A redirect, or a node that does not serve just now, shows at one of the commands and spoils EXEC: then nothing has
    been done, and the whole is sent again.
    """

    __slots__ = (
        "before", "commands", "detours", "key", "owner", "raw", "reads", "refusal", "router", "silent", "slot",
        "until_ms",
    )  # fmt: skip

    def __init__(
        self,
        router: "Router",
        owner: Owner,
        commands: Sequence[Argv],
        slot: int,
        key: LinkKey,
        *,
        before: Sequence[Argv] = (),
        silent: bool = False,
    ) -> None:
        self.silent = silent
        self.before = before  # commands that must have run before, unseen: SCRIPT LOAD
        self.router = router
        self.owner = owner
        self.commands = commands
        self.slot = slot
        self.key = key
        self.reads = False
        self.raw: bytes | None = None
        self.detours = 0
        self.until_ms = 0.0
        self.refusal = b""  # the first error of a command that was to be queued

    def send_over(self, link: Link, *, asking: bool = False) -> None:
        """Send it all."""
        self.refusal = b""
        if not link.ready and len(link.queue) + len(self.commands) + len(self.before) + 2 > UNSENT_COMMANDS_MAX:
            self.router.again(self, f"{link.node.name}: too many commands wait for the connection")
            return
        last = UnitPart(self, [b"EXEC"], is_last=True)
        row: list[Pending] = [Ignored(argv) for argv in self.before]
        if asking:  # it lasts while commands are queued; behind MULTI it would be one of them
            row.append(Ignored([b"ASKING"]))
        row += [UnitPart(self, argv) for argv in ([b"MULTI"], *self.commands)]
        link.send_row([*row, last])

    def reply(self, raw: bytes) -> None:
        self.raw = b"" if self.silent else raw
        self.owner.answered(self)

    def executed(self, raw: bytes) -> None:
        """EXEC has answered."""
        code = self.refusal[1 : self.refusal.find(b" ")]
        if code in _CODES:
            self.router.refused(self, code, self.refusal)
        elif raw[:1] == b"-" and (code := raw[1 : raw.find(b" ")]) in _CODES:
            self.router.refused(self, code, raw)
        else:
            self.reply(b"-EXECABORT Transaction discarded because of: " + self.refusal[1:] if self.refusal else raw)


class UnitPart:
    """One command of a unit on its way."""

    __slots__ = ("_is_last", "_unit", "argv")

    def __init__(self, unit: UnitCall, argv: Argv, *, is_last: bool = False) -> None:
        self.argv = argv
        self._unit = unit
        self._is_last = is_last

    def reply(self, raw: bytes) -> None:
        if self._is_last:
            self._unit.executed(raw)

    def refused(self, raw: bytes) -> None:
        if self._is_last:
            self._unit.executed(raw)
        elif not self._unit.refusal:
            self._unit.refusal = raw

    def lost(self, link: Link, reason: str) -> None:
        if self._is_last:
            self._unit.router.unknown_outcomes += 1
            self._unit.owner.unknown()
            self._unit.reply(unknown_outcome(link, reason))

    def unsent(self, link: Link, reason: str) -> None:
        if self._is_last:
            self._unit.router.again(self._unit, f"{link.node.name}: {reason}")


class Router:
    """Brings calls to nodes. `link(node, key)` gives the shared connection; `trouble()` asks for a newer topology."""

    def __init__(
        self,
        topology: Topology,
        timers: Timers,
        *,
        link: Callable[[Node, LinkKey], Link],
        trouble: Callable[[], None],
        retry_timeout_ms: float,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.slow_ms = NOTHING_IS_SLOW_MS  # a call that takes as long, with all its detours, is told to `was_slow`
        self.was_slow: Callable[[Any], None] = lambda _call: None
        self.topology = topology
        self.timers = timers
        self._link = link
        self._trouble = trouble
        self.retry_timeout_ms = retry_timeout_ms
        self.choose_reader: Callable[[Node], Node] | None = None  # which node reads, where that is not the primary
        self.waiting: list[tuple[Call | UnitCall, str]] = []  # calls that will be tried again, and why
        self._timer: Any = None
        self.redirects = self.retries = self.unknown_outcomes = self.given_up = 0

    def send_after(self, first: Ignored, call: Call) -> None:
        """Send a call to the node of its slot, another command before it."""
        owner = self.topology.owners[call.slot]
        if owner is None:
            self.again(call, f"no node serves slot {call.slot}")
        else:
            self._link(owner, call.key).send_row([first, call])

    def send_unit(
        self, owner: Owner, slot: int, commands: Sequence[Argv], key: LinkKey, before: Sequence[Argv] = ()
    ) -> None:
        """Run commands as one MULTI/EXEC at the node of a slot; those `before` are run first, unseen."""
        self.send(UnitCall(self, owner, commands, slot, key, before=before))

    def send(self, call: "Call | UnitCall") -> None:
        """Send a call to the node of its slot."""
        owner = self.topology.owners[call.slot]
        if owner is None:
            self.again(call, f"no node serves slot {call.slot}")
            return
        key = call.key
        if isinstance(call, UnitCall):
            call.send_over(self._link(owner, key))
            return
        if call.reads and self.choose_reader is not None and not call.detours:
            reader = self.choose_reader(owner)
            if reader is not owner:
                owner, key = reader, key._replace(reads_only=True)
        self._link(owner, key).send(call)

    def refused(self, call: "Call | UnitCall", code: bytes, raw: bytes) -> None:
        """A node has sent a call elsewhere, or to a later time."""
        if code in _WAITS:
            if code == b"READONLY" and call.key.reads_only:
                call.reply(raw)  # a command that writes nevertheless
                return
            self.again(call, raw[1:-2].decode("utf-8", "replace"))
            return
        target = _target(raw, self.topology.owners[call.slot])
        if target is None:
            call.reply(raw)
            return
        self.redirects += 1
        call.detours += 1
        call.owner.detour()
        slot, address = target
        if code == b"MOVED":
            node = self.topology.moved(slot, address)
            self._trouble()
        else:
            node = self.topology.node(address)
        if call.detours > DETOURS_AT_ONCE_MAX:
            self.again(call, raw[1:-2].decode("utf-8", "replace"))
            return
        link = self._link(node, call.key)
        if isinstance(call, UnitCall):
            call.send_over(link, asking=code == b"ASK")
        else:
            link.send_row([call] if code == b"MOVED" else [Ignored([b"ASKING"]), call])

    def again(self, call: "Call | UnitCall", reason: str) -> None:
        """Try a call that has not been run a little later, unless its time is over."""
        now_ms = self.timers.monotonic_ms()
        if not call.until_ms:
            call.until_ms = now_ms + self.retry_timeout_ms
        if now_ms >= call.until_ms:
            self.given_up += 1
            text = f"-CLUSTERDOWN proxy: not run, since no node took it within {self.retry_timeout_ms:g} ms: "
            call.reply((text + _one_line(reason)).encode("utf-8", "replace") + b"\r\n")
            return
        self.retries += 1
        call.detours += 1
        call.owner.detour()
        self.waiting.append((call, reason))
        self._trouble()
        if self._timer is None:
            self._timer = self.timers.after(AGAIN_MS, self._time_is_over)

    def _time_is_over(self) -> None:
        self._timer = None
        self.try_again()

    def try_again(self) -> None:
        """Send all that waits, in its order: there are news, or it has waited long enough."""
        waiting, self.waiting = self.waiting, []
        for call, reason in waiting:
            if call.until_ms <= self.timers.monotonic_ms():
                self.again(call, reason)
            else:
                self.send(call)


def _target(raw: bytes, asked: Node | None) -> tuple[int, Address] | None:
    """Slot and address of a redirect; None if it makes no sense."""
    words = raw[1:-2].split(b" ")
    if len(words) < 3 or not words[1].isdigit() or int(words[1]) > 16383:
        return None
    host, _, port = words[2].rpartition(b":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        return None
    if not host and asked is not None:  # the node that was asked, at another port
        host = asked.address[0].encode()
    return int(words[1]), (host.strip(b"[]").decode("utf-8", "replace"), int(port))
