"""The target's side carried out: one `Import` is a task, with as many attempts as it takes.

What arrives is run on a database of its own and journalled, so that replicas and the append-only file have it before
the slots are taken.  It is dropped, and journalled as dropped, when an attempt fails.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from gossip.events import AnnounceSlots, ClusterError, ReturnSlots, TakeSlots
from gossip.moving.arrival import (
    Arrival,
    AskPause,
    Connected,
    Copied,
    Effect,
    Event,
    Failed,
    Final,
    GiveUp,
    Over,
    Received,
    Settle,
    Settled,
    SourceReady,
    Take,
    Taken,
    Wakeup,
)
from gossip.moving.exports import control
from gossip.moving.runner import SourceSession
from gossip.moving.stream import is_flush
from gossip.moving.task import CANCELED, COMPLETED, FAILED, Task
from gossip.packet import ranges_in
from node.keyspace.database import Database
from node.keyspace.gates import AckWaiter
from node.net.dialogue import Dialogue, DialogueError
from node.net.peer import CLOSE_NOW, CLOSE_WHEN_SENT
from node.net.resp import Argv, CommandError, encode_command
from node.platform import Socket
from node.timers import Timer

if TYPE_CHECKING:
    from gossip.moving.mover import Mover

RETRY_MS_MIN, RETRY_MS_MAX = 250, 5000
"""The pause before another attempt, doubled each time."""
RETRIES_MAX = 40
"""About three minutes of attempts: a failover of the source takes less."""
SETTLE_MS = 1000
"""For so long a replica of ours is waited for before the slots are taken."""
KEEP_ALIVE_MS = 1000
"""How often the source hears that we are here while nothing comes from it."""
DIAL_MS = 5000


class Import:
    """A task of ours to get slots.  A reader of the journal, too: a flush ends what would survive it."""

    def __init__(self, mover: Mover, task: Task) -> None:
        self.task = task
        self.db = Database(0, mover.server.keyspace)
        self.machine: Arrival | None = None
        self.session: SourceSession | None = None
        self._mover = mover
        self._server = mover.server
        self._timer: Timer | None = None
        self._alive_timer: Timer | None = None
        self._settle_timer: Timer | None = None
        self._settling: AckWaiter | None = None
        self._attempt_over = trio.Event()
        self._dialling = trio.CancelScope()  # what waits for the source's yes
        self._again = True
        self._canceled = False
        self._is_taking = False

    # --- attempts -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Attempt by attempt, until the slots are here or nothing more is to be hoped for."""
        task, pause_ms = self.task, RETRY_MS_MIN
        while True:
            await self._attempt()
            if task.state == COMPLETED or not self._may_go_on():
                break
            await trio.sleep(pause_ms / 1000)
            pause_ms = min(RETRY_MS_MAX, 2 * pause_ms)
            if not self._may_go_on():
                break
            task.retries += 1
            task.became("connecting", self._mover.now_ms())
        if task.state != COMPLETED:
            task.became(CANCELED if self._canceled else FAILED, self._mover.now_ms())
        self._mover.import_over(self)

    def _may_go_on(self) -> bool:
        return self._again and not self._canceled and not self.task.pulled and self.task.retries < RETRIES_MAX

    async def _attempt(self) -> None:
        """One attempt, from the first word to the last."""
        mover, task, config = self._mover, self.task, self._server.config
        self._attempt_over, self._dialling = trio.Event(), trio.CancelScope()
        self._again = True
        machine = self.machine = Arrival(
            mover.now_ms(),
            silence_ms=config["repl-timeout"] * 1000,
            pause_ms=config["cluster-slot-migration-write-pause-timeout"],
        )
        self._begin_data()
        self._arm()
        try:
            with self._dialling:
                await self._connect()
        except (OSError, DialogueError, trio.TooSlowError) as error:
            self.handle(Failed(f"cannot reach the source: {str(error) or 'timeout'}"))
        await self._attempt_over.wait()
        assert machine.is_over, task.id

    async def _connect(self) -> None:
        """Dial the source, and let its stream in.  Raises OSError, DialogueError, trio.TooSlowError."""
        mover, task, server = self._mover, self.task, self._server
        await mover.dropped(task.slots)
        try:
            source = mover.source_of(task.slots)  # whoever owns them now: a failover may have changed that
        except CommandError as error:
            self.handle(Failed(error.reply.decode().removeprefix("ERR ")))
            return
        task.source_id = source.id
        if not source.speaks_hexad:
            self.handle(Failed(mover.not_hexad(source), again=False))
            return
        with trio.fail_after(DIAL_MS / 1000):
            sock = await server.tls.dial(source.ip, source.port, is_tls=server.config["tls-cluster"])
        try:
            dialogue = Dialogue(server.platform, sock)
            with trio.fail_after(DIAL_MS / 1000):
                answer = await introduce(mover, dialogue, self._request())
        except BaseException:
            sock.close()
            raise
        if answer[:1] != b"+":
            sock.close()
            self.handle(Failed(f"the source refuses: {answer[1:].decode('utf-8', 'replace')}"))
            return
        self._follow(sock, dialogue.rest())

    def _request(self) -> Argv:
        ranges = [b"%d" % bound for pair in ranges_in(self.task.slots) for bound in pair]
        return [b"CLUSTER", b"SYNCSLOTS", b"SYNC", self.task.id.encode(), self._mover.my_id.encode(), *ranges]

    def _follow(self, sock: Socket, rest: bytes) -> None:
        """The source has said yes: from here on the reactor serves its stream."""
        server = self._server
        if self.machine is None or self.machine.is_over:
            sock.close()
            return
        session = self.session = SourceSession(server, self.db, self.heard, partial(self._lost))
        session.addr, session.laddr = server.platform.addresses_of(sock)
        self.task.start_ms = self._mover.now_ms()
        self.handle(Connected())
        server.register(session)
        server.reactor.add(sock, session)
        self._mover.passes("target connected")
        self._alive_timer = server.timers.after(KEEP_ALIVE_MS, self._keep_alive)
        if rest:
            server.read_clock()
            session.receive(rest)

    # --- the machine ----------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Let the machine decide, and do what it says."""
        machine = self.machine
        if machine is None or machine.is_over:
            return
        for effect in machine.handle(event, self._mover.now_ms()):
            self._perform(effect)
        if not machine.is_over:
            self.task.became(machine.step.value, self._mover.now_ms())
        self._arm()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case AskPause(epoch):
                self._tell(control("PAUSE", epoch))
                self._mover.passes("target asked")
            case GiveUp(reason):
                self._tell(control("GIVEUP", reason))
            case Settle():
                self._settle()
            case Take(epoch, before_ms):
                self._take(epoch, before_ms)
            case Over(reason, again):
                self._end(reason, again)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.machine is not None and not self.machine.is_over:
            self._timer = self._mover.at(self.machine.wake_ms, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.handle(Wakeup())

    def _tell(self, data: bytes) -> None:
        if self.session is not None:
            self.session.out += data
            self.session.touch()

    def heard(self, words: Argv) -> None:
        """The source has said something, or (no words) more of its commands have been run."""
        match words:
            case []:
                self._acknowledge()
                self._mover.passes("target copying")
                self.handle(Received())
            case [b"COPIED", _]:
                self._mover.passes("target copied")
                self.handle(Copied())
            case [b"READY"]:
                self._acknowledge()
                self.handle(SourceReady())
            case [b"FINAL"]:
                self._mover.passes("target final")
                self.handle(Final())
            case [b"FAIL", again, reason]:
                self.handle(Failed(f"the source says: {reason.decode('utf-8', 'replace')}", again == b"again"))
            case [b"ERROR", again, reason]:
                self.handle(Failed(reason.decode("utf-8", "replace"), again == b"again"))
            case _:
                self.handle(Failed(f"the source says what is not known here: {words[0][:40]!r}", again=False))

    def _acknowledge(self) -> None:
        session = self.session
        if session is not None:
            self.task.keys_copied = self.db.size
            self._tell(control("ACK", session.run_bytes))

    def _keep_alive(self) -> None:
        self._alive_timer = self._server.timers.after(KEEP_ALIVE_MS, self._keep_alive)
        self._acknowledge()

    def _lost(self) -> None:
        self.session = None
        self.handle(Failed("the link to the source is lost"))

    def cancel(self) -> None:
        """A client, or our own end, wants no more of it."""
        self._canceled = True
        self.handle(Failed("canceled", again=False))

    def owners_changed(self) -> None:
        """Slots have changed hands somewhere, or our role has changed."""
        if self.machine is None or self.machine.is_over or self._is_taking:
            return
        if self._mover.core.myself.is_replica:
            self.handle(Failed("this node is a replica now", again=False))
            return
        refusal = self._mover.why_not_from(self.task)
        if refusal:
            self.handle(Failed(refusal))

    def take_entry(self, _db: int, entry: bytes) -> None:
        """Our journal has another entry: was everything flushed here, or at our replicas by it?"""
        if is_flush(entry):
            self.handle(Failed("the data set was flushed", again=False))

    # --- the data -------------------------------------------------------------------------------------------------

    def _begin_data(self) -> None:
        server = self._server
        self.db = Database(0, server.keyspace)
        server.keyspace.arriving.append(self.db)
        server.journal.add_slot_reader(self)
        self._mover.leftover_changed()
        self._mover.passes("target began")

    def _drop_data(self) -> None:
        """What came is not ours: nobody has seen it, and replicas and file are told that it is gone."""
        server = self._server
        server.journal.remove_slot_reader(self)
        if self.db in server.keyspace.arriving:
            server.keyspace.arriving.remove(self.db)
            server.background.trimmer.take(self.db, [slot for slot, here in enumerate(self.db.occupied) if here])
        self._mover.leftover_changed()

    def _settle(self) -> None:
        """Wait for a replica, if there is one, and for the append-only file, if there is one.

        Once the slots are taken nobody else has their keys. A node that died then without having written them down
        would come back as the owner of nothing.
        """
        replication, aof, offset = self._server.replication, self._server.aof, self._server.journal.offset
        needs_file = aof.is_whole

        def safe_places(at: int) -> int:
            fsynced = not needs_file or aof.fsynced_offset >= at
            return int(fsynced and (not replication.primary.online or replication.primary.count_acks(at) > 0))

        if safe_places(offset):
            self._settled()
            return
        if needs_file:
            aof.hasten()
        self._settling = AckWaiter(offset, 1, safe_places, lambda _count: self._settled())
        replication.primary.gates.hold(self._settling)
        replication.primary.getack_wanted = True
        self._server.wake_outside_of_batch()
        self._settle_timer = self._server.timers.after(SETTLE_MS, partial(self._not_settled, needs_file, offset))

    def _not_settled(self, needs_file: bool, offset: int) -> None:
        """A replica that says nothing is no reason to stay; a file that does not have it is."""
        self._settle_timer = None
        if not needs_file or self._server.aof.fsynced_offset >= offset:
            self._settled()

    def _settled(self) -> None:
        self._end_settling()
        self.handle(Settled(self._mover.core.state.max_epoch() + 1))

    def _end_settling(self) -> None:
        if self._settle_timer is not None:
            self._settle_timer.cancel()
            self._settle_timer = None
        if self._settling is not None:
            self._server.replication.primary.gates.release(self._settling)
            self._settling = None

    def _take(self, epoch: int, before_ms: int) -> None:
        """The commit: what is here, and what is saved, changes as one, since nothing is served in between."""
        mover, task, keyspace = self._mover, self.task, self._server.keyspace
        main = keyspace.databases[0]
        if self.session is None or any(main.slots[number] is not None for number in mover.numbers(task.slots)):
            self.handle(Failed("the link to the source is lost, or keys stand in the way"))
            return
        if mover.now_ms() >= before_ms:
            self.handle(Failed("the hand-over took too long"))
            return
        mover.passes("target settled")
        self._is_taking = True
        refusal = self._take_in_time(epoch, before_ms)
        self._is_taking = False
        if refusal:
            self.handle(Failed(refusal))
            return
        keyspace.arriving.remove(self.db)
        main.take_slots_of(self.db)
        task.became(COMPLETED, mover.now_ms())
        mover.passes("target adopted")
        mover.bus.handle(AnnounceSlots())
        mover.passes("target announced")
        self._server.conditions_changed()
        self.handle(Taken())

    def _take_in_time(self, epoch: int, before_ms: int) -> str:
        """Take the slots and save that; why it was not done, or was undone, if so."""
        mover, task = self._mover, self.task
        try:
            mover.bus.handle(TakeSlots(task.slots, task.source_id, epoch))
        except ClusterError as error:
            return error.reply.decode().removeprefix("ERR ")
        mover.passes("target saved")
        if mover.now_ms() < before_ms:
            return ""
        # Saving took long, or we were stopped meanwhile: the source may write again by now.
        mover.bus.handle(ReturnSlots(task.slots, task.source_id))
        return "saving the hand-over took too long"

    def _end(self, reason: str, again: bool) -> None:
        """The attempt is over."""
        assert self.machine is not None
        task, session = self.task, self.session
        self._again = again
        self._end_settling()
        if self._alive_timer is not None:
            self._alive_timer.cancel()
            self._alive_timer = None
        if self.machine.pause_asked_ms:
            task.write_pause_ms = self._mover.now_ms() - self.machine.pause_asked_ms
        self.session = None
        if session is not None:
            session.end()
            session.close(CLOSE_WHEN_SENT if reason else CLOSE_NOW)
        if reason:
            task.last_error = reason
            self._mover.log(f"Import of slots {self._mover.shown(task)} failed: {reason}", "warning")
        else:
            task.last_error = ""
            self._mover.log(f"Import of slots {self._mover.shown(task)} is complete")
        self._drop_data()
        self._mover.passes("target over")
        self._dialling.cancel()
        self._attempt_over.set()


async def introduce(mover: Mover, dialogue: Dialogue, request: Argv) -> bytes:
    """Say who we are, if that is asked for, and what we want; the answer's line.  Raises DialogueError, OSError."""
    config = mover.server.config
    if config["masterauth"]:
        user = [config["masteruser"].encode()] if config["masteruser"] else []
        await dialogue.send(encode_command([b"AUTH", *user, config["masterauth"].encode()]))
        answer = await dialogue.line()
        if answer[:1] == b"-":
            return answer
    await dialogue.send(encode_command(request))
    return await dialogue.line()
