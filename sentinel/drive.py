"""The shell around the Sentinel machine: links are peers of the reactor, dialling is a Trio task, effects are
performed.

It decides nothing. Each effect has one method; a failure of a link or of a file is an event for the machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from node.net.peer import CLOSE_NOW, Peer
from node.net.replies import MalformedReply, ReplyParser
from node.net.resp import OK, Reply, encode_command
from node.server import Server
from sentinel.events import (
    Answer,
    Ask,
    CloseLink,
    Crash,
    Dial,
    Effect,
    Event,
    Heard,
    KillScript,
    LinkDown,
    LinkUp,
    Log,
    Publish,
    Replied,
    RunScript,
    SaveConfig,
    Saved,
    SaveFailed,
    ScriptEnded,
    ScriptStarted,
    Send,
    WakeAt,
    Wakeup,
)
from sentinel.machine import SentinelMachine

DIAL_TIMEOUT_S = 5.0
"""How long a connection may take to stand. The machine dials again, so a host that has come back is soon noticed."""
REPLY_BYTES_MAX = 16 * 1024 * 1024
"""The longest reply that a watched instance may send: INFO of a node with very many replicas and databases is
shorter."""
CANNOT_RUN = 2
"""The exit code of a script that could not be started; it is not tried again."""


class NodeLink(Peer):
    """One connection to a watched instance: for commands, or to listen."""

    __slots__ = ("asked", "drive", "listens", "number", "parser")

    def __init__(self, drive: Drive, number: int, listens: bool) -> None:
        super().__init__()
        self.drive = drive
        self.number = number
        self.listens = listens
        self.asked: deque[Ask | None] = deque()  # what has no reply yet; bounded by the machine
        self.parser = ReplyParser(REPLY_BYTES_MAX)

    def receive(self, data: bytes) -> None:
        self.parser.feed(data)
        try:
            while replies := self.parser.parse():
                for reply in replies:
                    self._hand_over(reply)
        except MalformedReply as error:
            self.drive.server.log.verbose(f"A watched instance sent no RESP: {error}")
            self.close(CLOSE_NOW)

    def _hand_over(self, reply: Reply) -> None:
        if self.listens:
            self.drive.handle(Heard(self.number, reply))
        elif self.asked:
            self.drive.handle(Replied(self.number, self.asked.popleft(), reply))
        else:
            raise MalformedReply("more replies than there were commands")

    def lost(self, _reason: str) -> None:
        self.drive.link_lost(self)


class Drive:
    """Drives one `SentinelMachine`; events come from links, timers, scripts and clients by `handle`."""

    def __init__(self, server: Server, machine: SentinelMachine, save: Callable[[], None]) -> None:
        self.server = server
        self.machine = machine
        self.links: dict[int, NodeLink] = {}
        self.save_failed = False  # the last one
        self._save = save
        self._dials: dict[int, trio.CancelScope] = {}
        self._processes: dict[int, Any] = {}
        self._timer: Any = None
        self._queue: deque[Event] = deque()
        self._performing = False
        self._now_ms = 0

    def begin(self) -> None:
        """Start to watch."""
        self.handle(Wakeup())

    def end(self) -> None:
        """The process ends: what becomes of the links is no news any more."""
        self.links.clear()
        if self._timer is not None:
            self._timer.cancel()

    # --- events in, effects out -----------------------------------------------------------------------------------

    def handle(self, event: Event) -> Reply:
        """Take one event; the reply to a client's order. Raises SentinelError if that is refused."""
        if self._performing:  # an effect caused it: after the others
            self._queue.append(event)
            return OK
        reply = self._take(event)
        while self._queue:
            self._take(self._queue.popleft())
        return reply

    def _take(self, event: Event) -> Reply:
        self._now_ms = self.server.platform.now_ms()
        return self._perform(self.machine.handle(event, self._now_ms))

    def _perform(self, effects: list[Effect]) -> Reply:
        reply: Reply = OK
        self._performing = True
        self.save_failed = False
        try:
            for effect in effects:
                if isinstance(effect, Answer):
                    reply = effect.refused if effect.vote and self.save_failed else effect.reply
                else:
                    PERFORM[type(effect)](self, effect)
        finally:
            self._performing = False
        return reply

    def _save_config(self, _effect: SaveConfig) -> None:
        """Remember before anything of the list is promised to others; go on watching if that cannot be."""
        log = self.server.log
        try:
            self._save()
        except OSError as error:
            log.warning(f"WARNING: Sentinel was not able to save the new configuration on disk!!!: {error.strerror}")
            self.save_failed = True
            self._queue.append(SaveFailed())
            return
        log.notice("Sentinel new configuration saved on disk")
        if self.machine.state.unsaved:
            self._queue.append(Saved())

    def _send(self, effect: Send) -> None:
        link = self.links.get(effect.link)
        if link is not None:
            if not link.listens:
                link.asked.append(effect.ask)
            link.out += encode_command(effect.argv)
            link.touch()

    def _publish(self, effect: Publish) -> None:
        self.server.pubsub.publish(_bytes(effect.channel), _bytes(effect.message))

    def _log(self, effect: Log) -> None:
        self.server.log.line(effect.level, effect.text)

    def _wake_at(self, effect: WakeAt) -> None:
        """The machine lives by the wall clock, which may jump; its rhythm does not."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.server.timers.after(effect.at_ms - self._now_ms, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.handle(Wakeup())

    def _crash(self, effect: Crash) -> None:
        self.server.platform.exit_now(effect.exit_code)

    # --- links ----------------------------------------------------------------------------------------------------

    def _dial(self, effect: Dial) -> None:
        scope = self._dials[effect.link] = trio.CancelScope()
        self.server.spawn(self._connect, effect, scope)

    async def _connect(self, effect: Dial, scope: trio.CancelScope) -> None:
        """Open one link, unless it takes too long or the machine gives it up meanwhile."""
        platform, sock = self.server.platform, None
        is_tls = self.server.config["tls-replication"]
        with scope:
            with trio.move_on_after(DIAL_TIMEOUT_S):
                try:
                    sock = await self.server.tls.dial(effect.host, effect.port, is_tls=is_tls)
                    addr, laddr = platform.addresses_of(sock)
                except OSError:
                    sock = None  # refused, unreachable, or reset as soon as it stood
        if self._dials.get(effect.link) is not scope:
            if sock is not None:
                sock.close()
            return
        del self._dials[effect.link]
        if sock is None:
            self.handle(LinkDown(effect.link))
            return
        link = self.links[effect.link] = NodeLink(self, effect.link, effect.listens)
        self.server.reactor.add(sock, link)
        self.handle(LinkUp(effect.link, _ip(laddr), _ip(addr)))

    def _close_link(self, effect: CloseLink) -> None:
        scope = self._dials.pop(effect.link, None)
        if scope is not None:
            scope.cancel()
        link = self.links.pop(effect.link, None)
        if link is not None:
            link.close(CLOSE_NOW)

    def link_lost(self, link: NodeLink) -> None:
        """The connection is gone; the machine hears of it unless it closed it itself."""
        if self.links.pop(link.number, None) is not None:
            self.handle(LinkDown(link.number))

    # --- scripts --------------------------------------------------------------------------------------------------

    def _run_script(self, effect: RunScript) -> None:
        self.server.spawn(self._watch_script, effect)

    async def _watch_script(self, effect: RunScript) -> None:
        try:
            process = await self.server.platform.start_program(effect.argv)
        except OSError:
            self.handle(ScriptEnded(effect.job, CANNOT_RUN, 0))
            return
        self._processes[effect.job] = process
        self.handle(ScriptStarted(effect.job, process.pid))
        try:
            code = await process.wait()
        finally:
            del self._processes[effect.job]
        self.handle(ScriptEnded(effect.job, max(code, 0), max(-code, 0)))

    def _kill_script(self, effect: KillScript) -> None:
        process = self._processes.get(effect.job)
        if process is not None:
            process.kill()


def _ip(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


PERFORM: dict[type, Callable[[Drive, Any], None]] = {
    SaveConfig: Drive._save_config,
    Send: Drive._send,
    Dial: Drive._dial,
    CloseLink: Drive._close_link,
    Publish: Drive._publish,
    Log: Drive._log,
    WakeAt: Drive._wake_at,
    RunScript: Drive._run_script,
    KillScript: Drive._kill_script,
    Crash: Drive._crash,
}
