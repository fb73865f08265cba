"""The source's side carried out: one `Export` is one attempt of one target to get some slots of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gossip.events import AskVoters, KeepSlots
from gossip.handover import have_answered
from gossip.moving.departure import (
    Ask,
    CopySent,
    Departure,
    Effect,
    Event,
    Failed,
    HoldWrites,
    Keep,
    LinkLost,
    Moved,
    Over,
    OwnerChanged,
    ReleaseWrites,
    Step,
    TellFailure,
    TellReady,
    Wakeup,
)
from gossip.moving.stream import CannotFollow, EntrySieve, SlotCopy
from gossip.moving.task import CANCELED, COMPLETED, FAILED, Task
from node.net.peer import CLOSE_WHEN_SENT
from node.net.resp import OK, encode_command
from node.net.session import REPLY_OFF
from node.server import Client
from node.timers import Timer

if TYPE_CHECKING:
    from gossip.moving.mover import Mover

SLICE_NS = 1_000_000
"""How long a slice of the copy holds the loop, between the requests of clients."""
OUTPUT_BYTES_MAX = 256 * 1024
"""How much is put into the link's output at a time; what the journal tells beyond it waits in the log."""


def control(*words: bytes | str | int) -> bytes:
    """A word of the two nodes to each other, among the commands."""
    texts = [word if isinstance(word, bytes) else str(word).encode("utf-8", "replace") for word in words]
    return encode_command([b"CLUSTER", b"SYNCSLOTS", *texts])


class Export:
    """The `role` of the target's session here, and a reader of the journal."""

    letter = "g"
    """In CLIENT LIST's flags."""

    def __init__(self, mover: Mover, task: Task, session: Client) -> None:
        server = mover.server
        config = server.config
        self.task = task
        self.session = session
        self.machine = Departure(
            mover.now_ms(),
            silence_ms=config["repl-timeout"] * 1000,
            pause_ms=config["cluster-slot-migration-write-pause-timeout"],
            lag_max_bytes=config["cluster-slot-migration-handoff-max-lag-bytes"],
            answered=self._answered,
        )
        self._mover = mover
        self._server = server
        self._sieve = EntrySieve(server.commands, task.slots)
        self._copy = SlotCopy(
            server.keyspace.databases[0], task.slots, server.clock_ns, compress=config["rdbcompression"]
        )
        self._log = bytearray()  # what the journal has told and the output has not taken yet
        self._is_copying = True
        self._sent_bytes = self._acked_bytes = 0
        self._drained = trio.Event()
        self._timer: Timer | None = None
        self._canceled = False
        self._ended = False
        server.journal.add_slot_reader(self)
        session.role, session.kind, session.hears_of_sending = self, b"replica", True
        session.set_reply_mode(REPLY_OFF)  # from here on what it gets is the stream, and no answers in between
        session.out += OK
        self._became()
        mover.passes("source asked")
        server.spawn(self._send_copy)
        self._arm()

    # --- the machine ----------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Let the machine decide, and do what it says."""
        if self._ended:
            return
        for effect in self.machine.handle(event, self._mover.now_ms()):
            self._perform(effect)
        self._became()
        self._arm()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case TellReady():
                self._put(control("READY"))
                self._mover.passes("source ready")
            case HoldWrites():
                self._server.slot_pause.hold(self.task.slots)
                self._put(control("FINAL"))
                self._mover.passes("source held")
                self._mover.log(f"Writes to slots {self._mover.shown(self.task)} are held back: they are handed over")
            case ReleaseWrites():
                self.task.write_pause_ms = self._mover.now_ms() - self.machine.paused_ms
                self._server.slot_pause.release(self.task.slots)
            case Ask():
                self._mover.order(AskVoters())
            case Keep(epoch):
                self._mover.order(KeepSlots(epoch))
            case TellFailure(reason, again):
                self._put_last(control("FAIL", "again" if again else "never", reason))
            case Over(reason):
                self._end(reason)

    def _answered(self, since_ms: int) -> bool:
        core = self._mover.core
        return have_answered(core, core.state.nodes.get(self.task.target_id), since_ms)

    def _became(self) -> None:
        task, now_ms = self.task, self._mover.now_ms()
        task.keys_copied = self._copy.keys_done
        task.lag_bytes = self._sent_bytes - self._acked_bytes
        if not self.machine.is_over:
            task.became(self.machine.step.value, now_ms)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ended:
            self._timer = self._mover.at(self.machine.wake_ms, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.handle(Wakeup())

    def owners_changed(self) -> None:
        """Slots have changed hands somewhere: are ours still ours?"""
        state = self._mover.core.state
        if state.myself.is_primary and not self.task.slots & ~state.myself.slots:
            return
        self._mover.passes("source lost")
        target = state.nodes.get(self.task.target_id)
        self.handle(OwnerChanged(target is not None and not self.task.slots & ~target.slots))

    def cancel(self) -> bool:
        """End it, if it can be ended still.  A target that was told to begin tries again, as Redis's does."""
        if self.machine.holds_writes or self._ended:
            return False
        self._canceled = True
        self.handle(Failed("canceled at the source", again=not self.task.pulled))
        return True

    def make_way(self) -> bool:
        """End it for another attempt of the same target, if it can be ended still."""
        if not self.machine.holds_writes:
            self.handle(Failed("another attempt has begun"))
        return self._ended

    # --- the stream -----------------------------------------------------------------------------------------------

    async def _send_copy(self) -> None:
        """The snapshot, in slices between requests, at the pace of the link."""
        while not self._ended and (chunk := self._copy.next_chunk(SLICE_NS)) is not None:
            self._sent_bytes += len(chunk)
            self.session.out += chunk
            self.session.touch()
            self._mover.passes("source copying")
            self.handle(Moved(self._sent_bytes - self._acked_bytes))
            await self._server.platform.checkpoint()
            while len(self.session.out) > OUTPUT_BYTES_MAX and not self._ended:
                self._drained = trio.Event()
                await self._drained.wait()
        if self._ended:
            return
        copied = control("COPIED", self._copy.keys_done)
        self._sent_bytes += len(copied)
        self.session.out += copied
        self._is_copying = False
        self._pump()
        self._mover.passes("source copied")
        self.handle(CopySent())

    def take_entry(self, db: int, entry: bytes) -> None:
        """The journal has another entry."""
        if self.machine.step not in (Step.COPYING, Step.STREAMING):
            return  # behind the end: nobody but time and memory changes what is held, and the target has both, too
        try:
            data = self._sieve.sift(db, entry)
        except CannotFollow as error:
            self.handle(Failed(str(error), again=False))
            return
        if data:
            self._put(data)
            self.handle(Moved(self._sent_bytes - self._acked_bytes))

    def _put(self, data: bytes) -> None:
        """Put something behind all that is to be sent."""
        self._sent_bytes += len(data)
        self._log += data
        self._pump()

    def _put_last(self, data: bytes) -> None:
        """Put something behind what has begun to be sent: nothing else follows.  A link that lags far is just cut."""
        if not self._is_copying and len(self._log) <= OUTPUT_BYTES_MAX:
            data = bytes(self._log) + data
        elif not self._is_copying:
            data = b""
        self._log.clear()
        self.session.out += data
        self.session.touch()

    def _pump(self) -> None:
        """Give the link as much as its output takes; before the copy's end nothing but that."""
        out, log = self.session.out, self._log
        room = OUTPUT_BYTES_MAX - len(out)
        if log and room > 0 and not self._is_copying:
            out += log[:room]
            del log[:room]
            self.session.touch()
        if len(log) > OUTPUT_BYTES_MAX and self._server.output_limit_exceeded(self.session, len(out)):
            self.handle(Failed("the target is too slow for what is written here (client-output-buffer-limit replica)"))

    # --- the session's role ---------------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """What is kept for the link beside its output."""
        return len(self._log)

    def sent(self) -> None:
        """The link's output has left."""
        self._drained.set()
        self._pump()

    def lost(self) -> None:
        """The link is gone."""
        self.handle(LinkLost("the link to the target is lost"))
        self._stop_sending()

    def acknowledged(self, bytes_run: int) -> None:
        """The target has run so many bytes of the stream."""
        self._acked_bytes = max(self._acked_bytes, min(bytes_run, self._sent_bytes))
        self.task.ack_ms = self._mover.now_ms()
        self.handle(Moved(self._sent_bytes - self._acked_bytes, heard=True))

    # --- the end --------------------------------------------------------------------------------------------------

    def _stop_sending(self) -> None:
        self._server.journal.remove_slot_reader(self)
        self._copy.close()
        self._drained.set()

    def _end(self, reason: str) -> None:
        self._ended = True
        self._stop_sending()
        if reason:
            self.task.last_error = reason
        state = CANCELED if self._canceled else FAILED if reason else COMPLETED
        self.task.became(state, self._mover.now_ms())
        self.session.close(CLOSE_WHEN_SENT)
        self._mover.export_over(self)
        self._mover.passes("source over")
