"""A client's session at the proxy: the node's session, but what it asks for is done elsewhere.

Commands for one key, and those that are cut by slots, are sent on at once, and their answers wait in `answers` for
their turn: a pipeline is as long as the client makes it, up to `ANSWERS_MAX`. Everything else runs alone: it waits
until nothing is under way, and what comes after it waits for its end. So what a client sends is done in its order.

The session stops reading its client while too much is under way, while the node it wants does not read
(`Link.is_full`), and while the client itself does not read its answers.
"""

from collections import deque
from typing import Any

from node.net.peer import CLOSE_NOW, OPEN
from node.net.resp import Argv, Failure, Reply, encode
from node.net.session import PARKED, Session, Waiting
from node.slots import slot_of
from node.table import ANY, READ, RIGHTS, Command
from node.tracking import READERS_UNTRACKED
from proxy.calls import HALF_DONE, LOST, Call, UnitCall
from proxy.keywise import KEYWISE, Keywise, Shares, shares_of
from proxy.link import Link
from proxy.scatter import Gather, gather, plan_of
from proxy.settings import CLOSE
from proxy.shapes import forward
from proxy.stories import Telling
from proxy.topology import LinkKey

ANSWERS_MAX = 1024
"""How many commands of one client are under way at a time."""
OUT_BYTES_MAX = 1 << 20
"""A client that leaves so much unread has nothing more done for it."""


SCRIPTS = frozenset({"eval", "evalsha", "fcall"}) | READERS_UNTRACKED
"""Commands that read by the commands that they run."""


class Held(Waiting):
    """Why a session reads nothing just now."""

    postponed = True  # no blocking command: CLIENT UNBLOCK leaves it alone
    __slots__ = ()


class Unasked:
    """Something that answers nothing, in its place behind answers that are under way."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw: bytes | None = raw


IN_FLIGHT, SLOW_CLIENT, SLOW_NODE, SETTLING = Held(), Held(), Held(), Held()


class ProxySession(Session[Any]):
    """One client of the proxy."""

    __slots__ = ("_key", "answers", "has_detour", "late", "may_hear", "resume_at", "watching")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answers: deque[Call | Gather | Keywise | UnitCall | Unasked] = deque()
        self.has_detour = False  # one of `answers` was sent elsewhere: nothing more is sent before all are there
        self.resume_at = 0  # while IN_FLIGHT: how few answers may be missing
        self.watching: dict[int, Link] = {}  # the private connections of its WATCH, by slot
        self.may_hear: set[Any] = set()  # the channels of a SUBSCRIBE that its user at the nodes has been let hear
        self._key: LinkKey | None = None  # which connections its commands go over, as long as nothing changes that
        self.late = bytearray()  # what answers nothing, and follows the reply of the story that is being told

    @property
    def link_key(self) -> LinkKey:
        """Which connections its commands go over."""
        tracker = self.tracker
        caller = self.id if tracker is not None and tracker.noloop else 0
        self._key = LinkKey(self.resp3, self.db.index, False, self.login, caller)
        return self._key

    @property
    def private_key(self) -> LinkKey:
        """Which connections are lent to it alone."""
        return LinkKey(self.resp3, self.db.index, False, self.login)

    @property
    def login(self) -> bytes:
        """The name of its user, if that has a user of its own at the nodes."""
        return self.user if self.user in self.host.settings.logins else b""

    # --- what the client sends ------------------------------------------------------------------------------------

    def _serve_one(self, argv: Argv, data: bytes) -> bool:
        """Send on what has come alone, as `_serve` would, if nothing is in its way; False: something is."""
        host = self.host
        command = host.words.get(argv[0])
        if (
            command is None
            or ((run := command.run) is not forward and run is not gather)
            or (len(argv) != command.arity and (command.arity > 0 or len(argv) < -command.arity))
            or command.flags & self.gates
            or ((answers := self.answers) and (self.has_detour or len(answers) >= ANSWERS_MAX))
            or host.hub.is_settling
            or len(self.out) > OUT_BYTES_MAX
        ):
            return False
        key = self._key or self.link_key
        if not (self._send_one(command, argv, key, data) if run is forward else self._send_many(command, argv, key)):
            return False
        command.calls += 1
        host.commands_processed += 1
        return True

    def _serve(self, end_ns: int) -> None:
        host = self.host
        if host.hub.is_settling:
            self.parked = SETTLING
            host.hub.hold(self)
            return
        find, commands, at = host.words.get, self.commands, self.served
        first, count, answers = at, len(commands), self.answers
        key = self._key or self.link_key
        while at < count:
            argv = commands[at]
            command = find(argv[0])
            if (
                command is not None
                and ((run := command.run) is forward or run is gather)
                and (len(argv) == command.arity or (command.arity < 0 and len(argv) >= -command.arity))
                and (not (blocked := command.flags & self.gates) or self._may(blocked, command, argv))
            ):
                if answers and (self.has_detour or len(answers) >= ANSWERS_MAX):
                    self._hold(0 if self.has_detour else ANSWERS_MAX // 2)
                    break
                if run is forward:
                    sent = self._send_one(command, argv, key)
                else:
                    sent = self._send_many(command, argv, key)
                if sent:
                    at += 1
                    command.calls += 1
                    if at & 15 == 0 and host.clock_ns() > end_ns:
                        break
                    continue
                if self.parked is not None:
                    break
            if answers:
                self._hold(0)
                break
            at += 1
            self.served = at
            reply = host.execute(self, argv)
            key = self.link_key  # a command of the careful way may change it
            at = self.served  # the commands behind it may have been queued, too
            if reply is not PARKED:
                encode(reply, self.out, self.resp3)
            if self.closing or self.parked is not None or host.clock_ns() > end_ns:
                break
        self.served = at
        host.commands_processed += at - first
        if len(self.out) > OUT_BYTES_MAX and self.parked is None:
            self.parked = SLOW_CLIENT
            self.hears_of_sending = True

    def _may(self, blocked: int, command: Command, argv: Argv) -> bool:
        """Is a gate closed only for what this command does not do, or because what it reads has to be remembered?"""
        if blocked & ~(RIGHTS | ANY) or (blocked & RIGHTS and self.account.denial(command, argv) is not None):
            return False
        tracker = self.tracker
        if not blocked & ANY:
            return True
        if tracker is None or tracker.caching or self.is_unusual:
            return False
        self.may_keep(command, argv)
        return True

    def _send_one(self, command: Command, argv: Argv, key: LinkKey, data: bytes | None = None) -> bool:
        """Send a command on; False if it has to wait (then the session is parked) or is not for one slot.

        data -- the command in the wire's form, where it is at hand.
        """
        at = command.only_key
        if at:
            slot = slot_of(argv[at])
        else:
            found = self.host.slot_of_command(command, argv)
            if found is None:
                return False
            slot = found
        self.last_command = command
        router = self.host.router
        call = Call(router, self, argv, slot, key, command.flags & READ != 0)
        owner = router.topology.owners[slot]
        if owner is not None and (not call.reads or router.choose_reader is None):
            link = owner.links.get(key)
            if link is not None and link.ready:
                if link.is_full:
                    self.parked = SLOW_NODE
                    link.wait_for_room(self)
                    return False
                self.answers.append(call)
                link.send(call, data)
                return True
        self.answers.append(call)
        router.send(call)
        return True

    def _send_many(self, command: Command, argv: Argv, key: LinkKey) -> bool:
        """Cut a command by slots and send the parts on; False if it has to be looked at with more care."""
        if command.name in KEYWISE and (shares := shares_of(self.host.router, argv, key)) is not None:
            return self._send_rows(command, argv, key, shares)
        plan = plan_of(self.host, command, argv)
        if plan is None:
            return False
        owners = self.host.topology.owners
        for slot, _, _ in plan:
            owner = owners[slot]
            link = owner.links.get(key) if owner is not None else None
            if link is not None and link.is_full:
                self.parked = SLOW_NODE
                link.wait_for_room(self)
                return False
        self.last_command = command
        answer = Gather(self, plan)
        self.answers.append(answer)
        answer.send(self.host.router, key, reads=command.flags & READ != 0)
        return True

    def _send_rows(self, command: Command, argv: Argv, key: LinkKey, shares: Shares) -> bool:
        """Send a command key by key to nodes that are all connected; False if it has to wait for one of them."""
        for link, _ in shares.rows:
            if link.is_full:
                self.parked = SLOW_NODE
                link.wait_for_room(self)
                return False
        self.last_command = command
        whole = Keywise(self, self.host.router, command, argv, key)
        self.answers.append(whole)
        whole.send(shares)
        return True

    def begin_call(self, command: Command, argv: Argv, slot: int) -> Call:
        """Send a command on when nothing else is under way: from the careful way."""
        assert not self.answers
        if command.name in SCRIPTS:
            self.may_keep(command, argv)
        call = Call(self.host.router, self, argv, slot, self.link_key, command.flags & READ != 0)
        if self.reply_mode != b"on":
            call.silent = True
        self.answers.append(call)
        self.host.router.send(call)
        return call

    # --- what comes back ------------------------------------------------------------------------------------------

    def answered(self, _call: Any) -> None:
        """An answer is there: hand on all whose turn it is."""
        answers = self.answers
        out = self.out
        while answers and (raw := answers[0].raw) is not None:
            answers.popleft()
            out += raw
        if not answers:
            self.has_detour = False
        if self.parked is IN_FLIGHT and len(answers) <= self.resume_at:
            self.unpark()
        else:
            self.touch()

    def may_keep(self, command: Command, argv: Argv) -> None:
        """A command is sent of which `call` does not know: the client may keep copies of what it reads.

        What a script reads only its node knows: here the client has read all keys that the script was given.
        """
        if self.tracker is None:
            return
        if command.flags & READ and command.name not in READERS_UNTRACKED:
            self.host.tracking.remember(self.tracker, command, argv)
        elif command.name in SCRIPTS:
            self.host.tracking.remember_keys(self.tracker, [argv[at] for at in command.key_positions(argv) or ()])

    def push(self, value: Reply) -> None:
        """Send something that answers no request. It follows the answers that are under way: they may be older."""
        if not self.answers and type(self.parked) is not Telling:
            super().push(value)
            return
        out = bytearray()
        encode(value, out, self.resp3)
        if self.answers:
            self.answers.append(Unasked(bytes(out)))
        else:
            self.late += out

    def detour(self) -> None:
        """A command was not done where it was sent: those that follow must not overtake it."""
        self.has_detour = True

    def unknown(self) -> None:
        """A command of the client was lost with its node: it is told, or let go, as by a single Redis that ends."""
        if self.host.settings.unknown_outcome == CLOSE:
            self.close(CLOSE_NOW)

    def _hold(self, resume_at: int) -> None:
        self.parked = IN_FLIGHT
        self.resume_at = resume_at

    def released(self) -> None:
        """Nobody's subscription is under way any more."""
        if self.parked is SETTLING:
            self.unpark()

    def has_room(self) -> None:
        """The node that was slow has read, or is gone."""
        if self.parked is SLOW_NODE:
            self.unpark()

    def sent(self) -> None:
        super().sent()
        if self.parked is SLOW_CLIENT:
            self.hears_of_sending = False
            self.unpark()

    # --- what it holds at the nodes -------------------------------------------------------------------------------

    def unwatch(self) -> None:
        """No key is watched any more: the connection that watched them is free."""
        super().unwatch()
        if self.watching:
            watching, self.watching = self.watching, {}
            self.host.release(watching)

    def lost(self, reason: str) -> None:
        self.answers.clear()
        super().lost(reason)

    def resume(self, reply: Reply, time_ns: int = 0) -> None:
        """The wait is over; a client that has gone meanwhile gets nothing."""
        self._key = None
        if type(reply) is Failure and reply.startswith((LOST, HALF_DONE)):
            self.unknown()
        if self.parked is not None and self.closing == OPEN:
            super().resume(reply, time_ns)
            if self.late:
                self.out += self.late
                self.late.clear()
